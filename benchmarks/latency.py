"""`./mx bench latency`: one client, one order at a time, from the submission to the report of the fill.

An order that takes at once what another has left in the book, over REST and over a WebSocket, everything durable. Nobody
else trades: this is what the way itself takes, without any waiting for others.
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
WARM_UP = 200


class Fill(msgspec.Struct):
    """What is looked at in a report."""

    exec_type: str = ""


class Said(msgspec.Struct):
    """What is looked at in a message."""

    report: Fill | None = None


class Taker(WSListener):
    """A WebSocket that waits for a fill at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.filled = asyncio.Event()
        self._decoder = msgspec.json.Decoder(Said)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Hears."""
        if frame.msg_type != WSMsgType.TEXT:
            transport.disconnect()
            return
        said = self._decoder.decode(frame.get_payload_as_bytes())
        if said.report is not None and said.report.exec_type == "TRADE":
            self.filled.set()


def account(gateway: str, name: str) -> dict[str, str]:
    """Opens an account; the header that it is known by."""
    answer = httpx.post(f"{gateway}/clients", json={"client_id": name}, timeout=30).json()
    return {"Authorization": f"Bearer {answer['api_key']}"}


def over_rest(gateway: str, taker: dict[str, str], count: int) -> list[float]:
    """Seconds from the request to its answer, which has the trade."""
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
    """Seconds from the message to the report of the fill."""
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
    """Both ways over a fresh exchange, each as it is done: sorted times in seconds."""
    with (
        servers.fresh(database, log, namespace),
        tempfile.TemporaryDirectory() as folder,
        servers.exchange(database, log, namespace, Path(folder), MX_REQUESTS_PER_SECOND="0") as services,
    ):
        gateway = services["order_entry_gateway"].url
        maker, taker = account(gateway, "maker"), account(gateway, "taker")
        asked = httpx.post(f"{gateway}/orders", json={**ORDER, "side": "sell", "quantity": "9000"}, headers=maker)
        assert asked.status_code == 201, asked.text
        yield "REST", sorted(over_rest(gateway, taker, WARM_UP + count)[WARM_UP:])
        yield "WebSocket", sorted(uvloop.run(over_websocket(gateway, taker, WARM_UP + count))[WARM_UP:])


def main() -> None:
    """Measures, and prints a table."""
    options = harness.arguments(__doc__ or "", events=2000, log=True, counted="orders, at most 4,000")
    figures = {}
    with harness.Report("latency", options) as report, servers.postgres() as database:
        table = report.table("log", "", "p50:", "p95:", "p99:")
        for place, (log_name, log) in enumerate(servers.logs(database, options.log).items()):
            with contextlib.closing(measure(database, log, f"l{os.getpid()}_{place}_", options.events)) as ways:
                for way, times in ways:
                    found = {f"p{part}_ms": times[len(times) * part // 100] * 1000 for part in (50, 95, 99)}
                    table.add(log_name, way, *(f"{value:.2f} ms" for value in found.values()))
                    figures[f"{log_name}, {way}"] = found
    report.finish({"orders": options.events, "figures": figures})


if __name__ == "__main__":
    main()
