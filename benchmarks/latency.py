"""`./mx bench latency`: the time from an order to the report of its fill, with one client and one order at a time.

Each order trades at once with a resting order, over REST and over a WebSocket. Everything is durable. There is no other
load, so no order waits for another.
"""

import asyncio
import contextlib
import http.client
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks import harness, servers

ORDER = {"symbol": "AAPL", "quantity": "1", "price": "100.00"}
TAKE = {**ORDER, "side": "buy", "order_type": "ioc"}
WARM_UP_ORDERS = 200


class Fill(msgspec.Struct):
    """The fields of a report that the client reads."""

    exec_type: str = ""


class Message(msgspec.Struct):
    """The fields of a message that the client reads."""

    report: Fill | None = None


class Taker(WSListener):
    """A WebSocket that waits for one fill at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.filled = asyncio.Event()
        self._decoder = msgspec.json.Decoder(Message)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Set `filled` if the message is the report of a fill."""
        if frame.msg_type != WSMsgType.TEXT:
            transport.disconnect()
            return
        message = self._decoder.decode(frame.get_payload_as_bytes())
        if message.report is not None and message.report.exec_type == "TRADE":
            self.filled.set()


def account(gateway: str, name: str) -> dict[str, str]:
    """Open an account. Return the header that authenticates it."""
    answer = httpx.post(f"{gateway}/clients", json={"client_id": name}, timeout=30).json()
    return {"Authorization": f"Bearer {answer['api_key']}"}


def over_rest(gateway: str, taker: dict[str, str], count: int) -> list[float]:
    """Return the times from a request to its answer, which contains the trade, in seconds."""
    connection = http.client.HTTPConnection(gateway.removeprefix("http://"))
    body, times = msgspec.json.encode(TAKE), []
    for _ in range(count):
        began = time.perf_counter()
        connection.request("POST", "/orders", body, {**taker, "Content-Type": "application/json"})
        answer = connection.getresponse().read()
        times.append(time.perf_counter() - began)
        assert b'"trade_id"' in answer, answer
    connection.close()
    return times


async def over_websocket(gateway: str, taker: dict[str, str], count: int) -> list[float]:
    """Return the times from a message to the report of the fill, in seconds."""
    url = gateway.replace("http", "ws") + "/ws/orders"
    transport, listener = await ws_connect(Taker, url, extra_headers=taker)
    assert isinstance(listener, Taker)
    message, times = msgspec.json.encode({"op": "order", "id": 1, **TAKE}), []
    for _ in range(count):
        listener.filled.clear()
        began = time.perf_counter()
        transport.send(WSMsgType.TEXT, message)
        await listener.filled.wait()
        times.append(time.perf_counter() - began)
    transport.disconnect()
    return times


def measure(database: str, log: str, namespace: str, count: int) -> Iterator[tuple[str, list[float]]]:
    """Measure REST and WebSocket on a fresh exchange. Yield the name and the sorted times in seconds of each."""
    with (
        servers.fresh(database, log, namespace),
        tempfile.TemporaryDirectory() as folder,
        servers.exchange(database, log, namespace, Path(folder), MX_REQUESTS_PER_SECOND="0") as services,
    ):
        gateway = services["order_entry_gateway"].url
        maker, taker = account(gateway, "maker"), account(gateway, "taker")
        answer = httpx.post(f"{gateway}/orders", json={**ORDER, "side": "sell", "quantity": "9000"}, headers=maker)
        assert answer.status_code == 201, answer.text
        yield "REST", sorted(over_rest(gateway, taker, WARM_UP_ORDERS + count)[WARM_UP_ORDERS:])
        yield "WebSocket", sorted(uvloop.run(over_websocket(gateway, taker, WARM_UP_ORDERS + count))[WARM_UP_ORDERS:])


def main() -> None:
    """Run the benchmark and print its table."""
    options = harness.arguments(__doc__ or "", events=2000, log=True, counted="orders, at most 4,000")
    figures = {}
    with harness.Report("latency", options) as report, servers.postgres() as database:
        table = report.table("log", "", "p50:", "p95:", "p99:")
        for index, (log_name, log) in enumerate(servers.logs(database, options.log).items()):
            with contextlib.closing(measure(database, log, f"l{os.getpid()}_{index}_", options.events)) as protocols:
                for protocol, times in protocols:
                    percentiles = {f"p{part}_ms": times[len(times) * part // 100] * 1000 for part in (50, 95, 99)}
                    table.add(log_name, protocol, *(f"{value:.2f} ms" for value in percentiles.values()))
                    figures[f"{log_name}, {protocol}"] = percentiles
    report.finish({"orders": options.events, "figures": figures})


if __name__ == "__main__":
    main()
