"""`./mx bench flood`: does a client that floods the gateway slow the others?

Twenty clients enter orders at a steady 200 a second: first alone, then while one client with one key sends whatever it can
over eight WebSockets and eight HTTP connections from another process, then alone again.
"""

import asyncio
import contextlib
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import httpx
import uvloop
from websockets.asyncio.client import connect

from benchmarks import harness, servers
from benchmarks.gateway import load

CONNECTIONS = 8
RATE = 200
ORDER = '{"id":1,"op":"order","symbol":"AAPL","side":"buy","quantity":1,"price":"1.00"}'


def flood(gateway: str, key: str, seconds: float, sent: "multiprocessing.Queue[int]") -> None:
    """Sends as fast as the gateway takes it; how many requests that were."""

    async def over_websocket(until: float) -> int:
        count = 0
        url = gateway.replace("http", "ws") + "/ws/orders"
        async with connect(
            url, additional_headers={"Authorization": f"Bearer {key}"}, compression=None, ping_interval=None, close_timeout=1
        ) as socket:

            async def hear() -> None:
                async for _ in socket:
                    pass

            hearing = asyncio.create_task(hear())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until - time.monotonic()):
                    while True:
                        await socket.send(ORDER)
                        count += 1
                        await asyncio.sleep(0)
            hearing.cancel()
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
        ways = [way(until) for way in (over_websocket, over_http) for _ in range(CONNECTIONS)]
        return sum(await asyncio.gather(*ways))

    sent.put(asyncio.run(everything()))


def measure(database: str, log: str, namespace: str, seconds: float) -> dict[str, dict[str, float]]:
    """The three parts of a run."""
    results: dict[str, dict[str, float]] = {}
    with (
        servers.fresh(database, log, namespace),
        tempfile.TemporaryDirectory() as folder,
        servers.exchange(database, log, namespace, Path(folder)) as services,
    ):
        gateway = services["order_entry_gateway"].url
        key = httpx.post(f"{gateway}/clients", json={"client_id": "flood"}, timeout=60).json()["api_key"]
        for part, floods in (("alone", False), ("with the flood", True), ("alone again", False)):
            sent: multiprocessing.Queue[int] = multiprocessing.Queue()
            other = multiprocessing.Process(target=flood, args=(gateway, key, seconds + 3, sent))
            if floods:
                other.start()
            times, _, refused = uvloop.run(load(gateway, 20, RATE, seconds, prefix=part.replace(" ", "-")))
            results[part] = {name: times[int(len(times) * p)] * 1000 for name, p in (("p50_ms", 0.5), ("p99_ms", 0.99))}
            results[part]["refused"] = refused
            if floods:
                results[part]["flood_requests_per_second"] = sent.get(timeout=60) / (seconds + 3)
                other.join()
    return results


def main() -> None:
    """Measures, and prints a table."""
    options = harness.arguments(__doc__ or "", events=10)
    rows = []
    figures = {}
    with servers.postgres() as database:
        logs = servers.logs(database)
        for place, (name, log) in enumerate(logs.items()):
            figures[name] = measure(database, log, f"fl{os.getpid()}_{place}_", options.events)
            for part, one in figures[name].items():
                flooded = one.get("flood_requests_per_second")
                told = "" if flooded is None else f"{flooded:,.0f}/s"
                times = f"{one['p50_ms']:.1f} ms | {one['p99_ms']:.1f} ms"
                rows.append(f"| {name}, {part} | {times} | {one['refused']} | {told} |")
    head = f"| 20 clients, {RATE} requests/s | p50 | p99 | refused | the flood |\n| --- | ---: | ---: | ---: | ---: |"
    text = "\n".join([head, *rows])
    print(text)
    if options.write:
        harness.write_section("flood", text)
    harness.finish(options, "flood", figures)


if __name__ == "__main__":
    main()
