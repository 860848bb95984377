"""`./mx bench flood`: how much a client that floods the gateway slows the others.

Twenty clients enter orders at a steady 200 a second: first alone, then during the flood, then alone again. The flood is one
client with one key. It sends as many requests as it can over eight WebSockets and eight HTTP connections, from another
process.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import uvloop
from websockets.asyncio.client import connect

from benchmarks import harness, servers
from benchmarks.gateway import load

CONNECTIONS = 8
REQUESTS_PER_SECOND = 200
ORDER = '{"id":1,"op":"order","symbol":"AAPL","side":"buy","quantity":1,"price":"1.00"}'


def flood(gateway: str, key: str, seconds: float, sent: "multiprocessing.Queue[int]") -> None:
    """Send requests as fast as the gateway takes them. Put their number into `sent`."""

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the benchmark handles Ctrl-C and ends this process

    async def over_websocket(until: float) -> int:
        count = 0
        url = gateway.replace("http", "ws") + "/ws/orders"
        async with connect(
            url, additional_headers={"Authorization": f"Bearer {key}"}, compression=None, ping_interval=None, close_timeout=1
        ) as socket:

            async def receive() -> None:
                async for _ in socket:
                    pass

            receiving = asyncio.create_task(receive())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until - time.monotonic()):
                    while True:
                        await socket.send(ORDER)
                        count += 1
                        await asyncio.sleep(0)
            receiving.cancel()
        return count

    async def over_http(until: float) -> int:
        count = 0
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
            while time.monotonic() < until:
                with contextlib.suppress(httpx.HTTPError):
                    await http.get(f"{gateway}/orders/1")
                    count += 1
        return count

    async def everything() -> int:
        until = time.monotonic() + seconds
        senders = [send(until) for send in (over_websocket, over_http) for _ in range(CONNECTIONS)]
        return sum(await asyncio.gather(*senders))

    sent.put(asyncio.run(everything()))


def measure(database: str, log: str, namespace: str, seconds: float) -> Iterator[tuple[str, dict[str, float]]]:
    """Run the three parts. Yield the name and the figures of each as it ends."""
    with (
        servers.fresh(database, log, namespace),
        tempfile.TemporaryDirectory() as folder,
        servers.exchange(database, log, namespace, Path(folder)) as services,
    ):
        gateway = services["order_entry_gateway"].url
        key = httpx.post(f"{gateway}/clients", json={"client_id": "flood"}, timeout=60).json()["api_key"]
        for part, floods in (("alone", False), ("with the flood", True), ("alone again", False)):
            sent: multiprocessing.Queue[int] = multiprocessing.Queue()
            other = multiprocessing.Process(target=flood, args=(gateway, key, seconds + 3, sent), daemon=True)
            if floods:
                other.start()
            times, _, refused = uvloop.run(load(gateway, 20, REQUESTS_PER_SECOND, seconds, prefix=part.replace(" ", "-")))
            result = {name: times[int(len(times) * p)] * 1000 for name, p in (("p50_ms", 0.5), ("p99_ms", 0.99))}
            result["refused"] = refused
            if floods:
                result["flood_requests_per_second"] = sent.get(timeout=60) / (seconds + 3)
                other.join()
            yield part, result


def main() -> None:
    """Run the benchmark and print its table."""
    options = harness.arguments(__doc__ or "", seconds=10, log=True)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    with harness.Report("flood", options) as report, servers.postgres() as database:
        table = report.table(
            f"20 clients, {REQUESTS_PER_SECOND} requests/s", "p50:", "p99:", "refused:", "requests of the flood:"
        )
        for index, (name, log) in enumerate(servers.logs(database, options.log).items()):
            namespace = f"fl{os.getpid()}_{index}_"
            with contextlib.closing(measure(database, log, namespace, options.seconds)) as parts:
                for part, measured in parts:
                    flooded = measured.get("flood_requests_per_second")
                    flood_rate = "" if flooded is None else f"{flooded:,.0f}/s"
                    times = (f"{measured[key]:.1f} ms" for key in ("p50_ms", "p99_ms"))
                    table.add(f"{name}, {part}", *times, measured["refused"], flood_rate)
                    figures.setdefault(name, {})[part] = measured
    report.finish(figures)


if __name__ == "__main__":
    main()
