"""`./mx bench gateway`: the latency from order to report over WebSockets, with the whole exchange at a steady rate.

Each order has a scheduled time, independent of the answers before it. Its latency counts from that time, so a stall of the
exchange counts for all orders that are due during it. This process sends the load, and reports its share of a processor.
"""

import asyncio
import itertools
import os
import random
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import httpx
import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks import harness, servers

RATES = (1_000,)
"""Requests a second."""
CLIENTS = (50, 1_000)
WARM_UP_SECONDS = 3.0
MIN_SLEEP_SECONDS = 0.0005
"""The shortest sleep of the load. Requests that are due during it go out together, and it counts as their latency."""


class Order(msgspec.Struct):
    """The fields of an order that the load reads."""

    order_id: str
    resting: bool


class Refused(msgspec.Struct):
    """The fields of a refusal that the load reads."""

    code: str


class Answer(msgspec.Struct):
    """The fields of an answer that the load reads."""

    id: int = 0
    ok: bool = True
    order: Order | None = None
    error: Refused | None = None


_decoder = msgspec.json.Decoder(Answer)
REPORT = b'{"op":"report"'


class Client(WSListener):
    """A WebSocket and its requests without an answer."""

    def __init__(self, number: int, times: list[float], symbols: Sequence[str] = servers.SYMBOLS) -> None:
        super().__init__()
        self._symbols = symbols
        self._rng = random.Random(number)
        self._times = times
        self._due: dict[int, float] = {}
        self._numbers = itertools.count(1)
        self._resting: deque[str] = deque()
        self.refused = 0
        self.transport: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport of the new connection."""
        self.transport = transport

    def act(self, due: float) -> None:
        """Send a request: three in ten are cancels, one in ten is a marketable order, the others are passive orders."""
        number, draw = next(self._numbers), self._rng.random()
        self._due[number] = due
        if draw < 0.3 and self._resting:
            request = f'{{"id":{number},"op":"cancel","order_id":"{self._resting.popleft()}"}}'
        else:
            takes, buys, far = draw > 0.9, self._rng.random() < 0.5, self._rng.random()
            price = 100 + (5 if takes else -1) * (1 if buys else -1) * (1 + int(10 * far)) / 10
            symbol = self._symbols[int(self._rng.random() * len(self._symbols))]
            request = (
                f'{{"id":{number},"op":"order","symbol":"{symbol}","side":"{"buy" if buys else "sell"}",'
                f'"order_type":"{"ioc" if takes else "limit"}","quantity":1,"price":"{price:.2f}"}}'
            )
        self.transport.send(WSMsgType.TEXT, request.encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Record the latency of an answer. Reports are ignored."""
        if frame.msg_type != WSMsgType.TEXT:
            transport.disconnect()  # the gateway has stopped
            return
        body = frame.get_payload_as_bytes()
        if body.startswith(REPORT):
            return
        answer = _decoder.decode(body)
        due = self._due.pop(answer.id, None)
        if due is None:
            return
        self._times.append(time.perf_counter() - due)
        if answer.error is not None:
            self.refused += answer.error.code != "ORDER_CLOSED"
        elif answer.order is not None and answer.order.resting:
            self._resting.append(answer.order.order_id)


async def load(
    gateway: str,
    count: int,
    rate: float,
    seconds: float,
    prefix: str = "c",
    accounts: bool = True,
    symbols: Sequence[str] = servers.SYMBOLS,
) -> tuple[list[float], float, int]:
    """Send `rate` requests a second for `seconds` after a warm-up, over `count` WebSockets.

    Without `accounts` the clients do not authenticate. Return the sorted latencies in seconds, this process's share of a
    processor, and the number of refusals.
    """
    times: list[float] = []
    async with httpx.AsyncClient(timeout=60) as http:
        gate = asyncio.Semaphore(20)

        async def enter(number: int) -> Client:
            async with gate:
                header = {}
                if accounts:
                    opened = (await http.post(f"{gateway}/clients", json={"client_id": f"{prefix}{number}"})).json()
                    header["Authorization"] = f"Bearer {opened['api_key']}"
                url = gateway.replace("http", "ws") + "/ws/orders"
                _, client = await ws_connect(lambda: Client(number, times, symbols), url, extra_headers=header)
                assert isinstance(client, Client)
                return client

        clients = await asyncio.gather(*(enter(number) for number in range(count)))
    begin, used = time.perf_counter(), os.times()
    for number in range(int(rate * (WARM_UP_SECONDS + seconds))):
        due = begin + number / rate
        now = time.perf_counter()
        if due > now:
            await asyncio.sleep(max(due - now, MIN_SLEEP_SECONDS))
        if number == int(rate * WARM_UP_SECONDS):
            times.clear()
        clients[number % count].act(due)
    elapsed, now = time.perf_counter() - begin, os.times()
    await asyncio.sleep(2)
    for client in clients:
        client.transport.disconnect()
    share = (now.user + now.system - used.user - used.system) / elapsed
    return sorted(times), share, sum(client.refused for client in clients)


def measure(database: str, log: str, namespace: str, clients: int, rate: int, seconds: float) -> dict[str, float]:
    """Run the load once on fresh databases and a fresh log."""
    with (
        servers.fresh(database, log, namespace),
        tempfile.TemporaryDirectory() as folder,
        servers.exchange(database, log, namespace, Path(folder)) as services,
    ):
        times, share, refused = uvloop.run(load(services["order_entry_gateway"].url, clients, rate, seconds))
        lag = services["market_data_feed"].status()
        behind = lag["offset"] - lag["stored_offset"]
    p50, p95, p99 = (times[int(len(times) * part)] * 1000 for part in (0.5, 0.95, 0.99))
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "orders": len(times), "load_share": share, "refused": refused,
            "bodies_not_stored": behind}  # fmt: skip


def main() -> None:
    """Run the benchmark and print its table."""
    options = harness.arguments(__doc__ or "", seconds=20, rates=RATES, log=True)
    results: dict[str, dict[str, float]] = {}
    with harness.Report("gateway", options) as report, servers.postgres() as database:
        table = report.table("", "requests/s:", "p50:", "p95:", "p99:", "the load's share of a core:")
        for index, (name, log) in enumerate(servers.logs(database, options.log).items()):
            for rate, clients in itertools.product(options.rates, CLIENTS):
                figures = measure(database, log, f"g{index}{clients}_{rate}_", clients, rate, options.seconds)
                results[f"{name}, {clients} WebSockets, {rate}/s"] = figures
                times = (f"{figures[key]:.1f} ms" for key in ("p50_ms", "p95_ms", "p99_ms"))
                table.add(f"{name}, {clients:,} WebSockets", f"{rate:,}", *times, f"{figures['load_share']:.0%}")
    report.finish({"seconds": options.seconds, "figures": results})


if __name__ == "__main__":
    main()
