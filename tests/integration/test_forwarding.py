"""The gateway's forwarding between a client and a feed of the test: headers, bodies, close codes and memory."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from microexchange.auth import Keys
from microexchange.connection_limits import ConnectionLimits
from microexchange.forwarding import HEADER, IS_FORWARDED, PREFIX, PURPOSE
from microexchange.health import Health
from microexchange.listening import bind
from microexchange.web import json_response, make_app, serve
from order_entry_gateway import market_data
from order_entry_gateway.market_data import MarketData
from tests.integration.running import free_ports

MAX_SOCKETS = 3
LARGE_BYTES = 1 << 20
CORS = ["https://feed.example"]


class Pair:
    """A gateway and the feed to which it forwards."""

    def __init__(
        self, folder: Path, address_rate: float = 0, address_connections: int = 0, trusted_proxies: Sequence[str] = ()
    ) -> None:
        """The rate and the connections are limits of an address at the feed. The gateway has the trusted proxies."""
        self.keys = Keys(folder)
        self.feed_port, self.port = free_ports(2)
        token = self.keys.derived(PURPOSE)
        self.app = make_app("a feed", "", Health(), dict, gateway_token=token, cors_origins=CORS, address_rate=address_rate)
        self.forwarding = MarketData(f"http://127.0.0.1:{self.feed_port}", token)
        self.feed_limits = ConnectionLimits(per_address=address_connections)
        self.trusted_proxies = trusted_proxies
        self.gateway = make_app("a gateway", "", Health(), dict)
        self.forwarding.add_to(self.gateway)
        self.feed_ends = asyncio.Event()
        self.sent = 0
        """The number of parts that the feed has written."""
        self.url, self.feed = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.feed_port}"

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Pair"]:
        stop = asyncio.Event()
        feed, gateway = bind("127.0.0.1", self.feed_port, "--port"), bind("127.0.0.1", self.port, "--port")
        self.feed_serving = asyncio.create_task(serve(self.app, feed, self.feed_ends, self.feed_limits))
        serving = serve(self.gateway, gateway, stop, trusted_proxies=self.trusted_proxies)
        served = [self.feed_serving, asyncio.create_task(serving)]
        await asyncio.gather(*(until_answers(f"{base}/health/live") for base in (self.feed, self.url)))
        yield self
        stop.set()
        self.feed_ends.set()
        await asyncio.gather(*served)
        await self.forwarding.close()


async def until_answers(url: str) -> None:
    async with httpx.AsyncClient() as http:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                await http.get(url)
                return
            await asyncio.sleep(0.02)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    opened = Pair(tmp_path)
    add_feed_routes(opened.app, opened)
    async with opened.open():
        yield opened


def add_feed_routes(app: FastAPI, pair: Pair) -> None:
    @app.api_route("/echo/{rest:path}", methods=["GET", "POST"])
    async def echo(request: Request) -> Response:
        received = {
            "path": request.url.path,
            "raw_path": request.scope["raw_path"].decode(),
            "query": request.url.query,
            "client": request.scope["client"][0],
            "scheme": request.url.scheme,
            "forwarded": request.scope.get(IS_FORWARDED, False),
            "headers": dict(request.headers),
            "body": (await request.body()).decode(),
        }
        return json_response(received, 207, {"ETag": '"7"', "Cache-Control": "max-age=60", "X-Mine": "yes"})

    @app.get("/large")
    async def large() -> Response:
        async def parts() -> AsyncIterator[bytes]:
            while True:
                yield bytes(LARGE_BYTES)
                pair.sent += 1
                await asyncio.sleep(0)  # a query of history also yields between its parts

        return StreamingResponse(parts(), media_type="application/octet-stream")

    @app.get("/slow")
    async def slow() -> Response:
        pair.sent += 1
        await pair.feed_ends.wait()
        return json_response({})

    @app.get("/breaks")
    async def breaks() -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"begun"
            raise OSError("the disk is gone")

        return StreamingResponse(parts())

    add_feed_sockets(app, pair)


def add_feed_sockets(app: FastAPI, pair: Pair) -> None:
    @app.websocket("/echo")
    async def echo(ws: WebSocket) -> None:
        await ws.accept("msgpack" if "msgpack" in ws.scope["subprotocols"] else None)
        await ws.send_json({"client": ws.scope["client"][0], "headers": dict(ws.headers), "query": ws.url.query})
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                message = await ws.receive()
                if message["type"] == "websocket.disconnect":
                    pair.closed_with = message["code"], message.get("reason")  # type: ignore[attr-defined]
                    return
                text = message.get("text")
                if text is not None and text.startswith("close "):
                    await ws.close(int(text.split()[1]), text.split()[2])
                    return
                await (ws.send_text(text) if text is not None else ws.send_bytes(message["bytes"]))

    @app.websocket("/endless")
    async def endless(ws: WebSocket) -> None:
        await ws.accept()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await ws.send_bytes(bytes(LARGE_BYTES))
                pair.sent += 1
                await asyncio.sleep(0)

    @app.websocket("/refused")
    async def refused(ws: WebSocket) -> None:
        await ws.send_denial_response(json_response({"error": "of the feed"}, 418))


async def settled(value: Callable[[], Any]) -> Any:
    """Return `value()` once it has not changed for half a second."""
    for _ in range(100):
        before = value()
        await asyncio.sleep(0.5)
        if value() == before:
            return before
    raise AssertionError("the value does not stop changing")


async def within(seconds: float, check: Callable[[], bool]) -> None:
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.02)


async def test_requests_and_answers_are_forwarded_unchanged(pair: Pair) -> None:
    async with httpx.AsyncClient() as http:
        sent = {"Authorization": "Bearer key", "Content-Type": "text/x", "If-None-Match": '"1"', "Client-ID": "ada"}
        answer = await http.post(f"{pair.url}/echo/a%20b?x=1&y=%2B", content=b"body", headers=sent)
    received = answer.json()
    assert (answer.status_code, answer.headers["etag"], answer.headers["cache-control"]) == (207, '"7"', "max-age=60")
    assert answer.headers["x-mine"] == "yes"
    assert answer.headers.get_list("date", split_commas=False) == [answer.headers["date"]]
    assert (received["path"], received["raw_path"], received["query"], received["body"]) == (
        "/echo/a b",
        "/echo/a%20b",
        "x=1&y=%2B",
        "body",
    )
    assert {name: received["headers"][name.lower()] for name in sent} == sent
    assert received["headers"]["host"] == f"127.0.0.1:{pair.port}"


@pytest.mark.parametrize("trusted", [[], ["127.0.0.1"], ["127.0.0.0/8"], ["10.0.0.1"]])
async def test_the_feed_gets_the_address_of_the_client_and_no_client_can_forge_it(
    tmp_path: Path, trusted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # a setting of uvicorn, which counts for nothing
    pair = Pair(tmp_path, trusted_proxies=trusted)
    add_feed_routes(pair.app, pair)
    is_proxy = bool(trusted) and trusted != ["10.0.0.1"]
    claims = {"X-Forwarded-For": "10.9.8.7", "Forwarded": "for=10.9.8.7", "X-Real-IP": "10.9.8.7"}
    own = {HEADER.decode(): f"{'0' * 64} https 10.9.8.7 /x"}
    async with pair.open(), httpx.AsyncClient() as http:
        for headers in (claims, own, {**claims, **own}):
            received = (await http.get(f"{pair.url}/echo/x", headers=headers)).json()
            assert received["forwarded"]
            assert not {"x-forwarded-for", "forwarded", "x-real-ip"} & set(received["headers"])
            assert received["client"] == ("10.9.8.7" if is_proxy and "X-Forwarded-For" in headers else "127.0.0.1")
        direct = (await http.get(f"{pair.feed}/echo/x", headers={**claims, **own})).json()
    assert (direct["client"], direct["forwarded"], direct["path"], direct["scheme"]) == (
        "127.0.0.1",
        False,
        "/echo/x",
        "http",
    )


async def test_the_feeds_limit_by_address_counts_client_addresses_not_the_gateway(tmp_path: Path) -> None:
    pair = Pair(tmp_path, address_rate=2, trusted_proxies=["127.0.0.1"])
    add_feed_routes(pair.app, pair)
    async with pair.open(), httpx.AsyncClient() as http:

        async def status_for(address: str) -> int:
            return (await http.get(f"{pair.url}/echo/x", headers={"X-Forwarded-For": address})).status_code

        statuses = [await status_for("10.0.0.1") for _ in range(8)]
        assert 429 in statuses
        assert await status_for("10.0.0.2") == 207


async def test_the_prefix_serves_all_routes_of_the_feed_and_its_own_pages(pair: Pair) -> None:
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{pair.url}{PREFIX}/echo/x")).json()["path"] == f"{PREFIX}/echo/x"
        assert (await http.get(f"{pair.url}/openapi.json")).json()["info"]["title"] == "a gateway"
        feed_page = (await http.get(f"{pair.url}{PREFIX}/openapi.json")).json()
        assert feed_page["info"]["title"] == "a feed"
        assert feed_page["servers"] == [{"url": PREFIX}]
        assert "servers" not in (await http.get(f"{pair.feed}/openapi.json")).json()
        page = (await http.get(f"{pair.url}{PREFIX}/docs")).text
        assert f"{PREFIX}/openapi.json" in page
        assert (await http.get(f"{pair.url}{PREFIX}/static-offline-docs/swagger-ui.css")).status_code == 200
        again = await http.get(f"{pair.url}{PREFIX}/large/")
        assert again.headers["location"] == f"{pair.url}{PREFIX}/large"


async def test_the_gateways_cors_setting_replaces_that_of_the_feed(pair: Pair) -> None:
    origin = {"Origin": CORS[0]}
    async with httpx.AsyncClient() as http:
        assert "access-control-allow-origin" in (await http.get(f"{pair.feed}/echo/x", headers=origin)).headers
        assert "access-control-allow-origin" not in (await http.get(f"{pair.url}/echo/x", headers=origin)).headers


async def test_a_slow_reader_holds_a_large_answer_back_and_ends_it_by_leaving(pair: Pair) -> None:
    async with httpx.AsyncClient() as http, http.stream("GET", f"{pair.url}/large") as answer:
        parts = answer.aiter_raw()
        await anext(parts)
        parts_sent = await settled(lambda: pair.sent)
        assert parts_sent < 30, "the feed does not produce parts that nobody reads"
        for _ in range(300):
            await anext(parts)
        assert pair.sent > parts_sent or pair.sent > 10
    ended = await settled(lambda: pair.sent)
    await asyncio.sleep(0.5)
    assert pair.sent == ended, "the feed stops when the client has left"


async def test_an_incomplete_answer_is_an_error_for_the_client(pair: Pair) -> None:
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(f"{pair.url}/breaks")
        assert (await http.get(f"{pair.url}/echo/x")).status_code == 207


async def test_requests_beyond_the_concurrency_limit_wait_and_are_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_data, "MAX_FORWARDS_PER_ADDRESS", 2)
    monkeypatch.setattr(market_data, "TURN_TIMEOUT_SECONDS", 0.3)
    pair = Pair(tmp_path)
    add_feed_routes(pair.app, pair)
    async with pair.open(), httpx.AsyncClient(timeout=30) as http:
        pending = [asyncio.create_task(http.get(f"{pair.url}/slow")) for _ in range(2)]
        await within(20, lambda: pair.sent == 2)
        refused = await http.get(f"{pair.url}/echo/x")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "UNAVAILABLE")
        assert "under way" in refused.json()["error"]["message"]
        monkeypatch.setattr(market_data, "MAX_WAITING", 0)
        assert "wait already" in (await http.get(f"{pair.url}/echo/x")).json()["error"]["message"]
        other = await http.get(f"{pair.url}/health/live")
        assert other.status_code == 200, "the gateway's own routes do not wait"
        pair.feed_ends.set()
        await asyncio.gather(*pending, return_exceptions=True)


async def test_one_address_cannot_fill_the_queue_for_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_data, "MAX_FORWARDS_PER_ADDRESS", 1)
    monkeypatch.setattr(market_data, "MAX_WAITING_PER_ADDRESS", 1)
    monkeypatch.setattr(market_data, "MAX_WAITING", 1)
    monkeypatch.setattr(market_data, "TURN_TIMEOUT_SECONDS", 20)
    pair = Pair(tmp_path, trusted_proxies=["127.0.0.1"])
    add_feed_routes(pair.app, pair)
    async with pair.open(), httpx.AsyncClient(timeout=30) as http:
        slow = [asyncio.create_task(http.get(f"{pair.url}/slow")) for _ in range(2)]
        await within(20, lambda: pair.forwarding._turns._waiting == 1)
        refused = await http.get(f"{pair.url}/echo/x")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "UNAVAILABLE")
        assert "127.0.0.1 has 1 requests for market data that wait already" in refused.json()["error"]["message"]
        other = await http.get(f"{pair.url}/echo/x", headers={"X-Forwarded-For": "192.0.2.7"})
        assert other.status_code == 207, "an address without pending requests is served, even if another one has many"
        pair.feed_ends.set()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_a_request_is_refused_if_the_feed_does_not_answer_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_data, "ANSWER_TIMEOUT_SECONDS", 0.3)
    pair = Pair(tmp_path)
    add_feed_routes(pair.app, pair)
    async with pair.open(), httpx.AsyncClient(timeout=30) as http:
        refused = await http.get(f"{pair.url}/slow")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "UNAVAILABLE")
        assert "has not answered within 0.3 s" in refused.json()["error"]["message"]


async def test_without_a_feed_market_data_is_refused_as_unavailable(pair: Pair) -> None:
    pair.feed_ends.set()
    async with httpx.AsyncClient() as http:

        async def get_forwarded() -> httpx.Response:
            return await http.get(f"{pair.url}/echo/x")

        async with asyncio.timeout(20):
            while (answer := await get_forwarded()).status_code != 503:
                await asyncio.sleep(0.05)
    assert answer.json()["error"]["code"] == "UNAVAILABLE"
    assert answer.headers["retry-after"] == "1"
    with pytest.raises(InvalidStatus) as denied:
        await connect(f"{pair.url.replace('http', 'ws')}/echo")
    assert denied.value.response.status_code == 503
    assert b"UNAVAILABLE" in (denied.value.response.body or b"")


async def test_messages_pass_both_ways_as_text_and_as_binary(pair: Pair) -> None:
    headers = {"Authorization": "Bearer x", "Client-ID": "ada"}
    url = f"{pair.url.replace('http', 'ws')}/echo?symbol=AAPL"
    async with connect(url, additional_headers=headers, subprotocols=[Subprotocol("msgpack")]) as ws:
        assert ws.subprotocol == "msgpack"
        received = httpx.Response(200, content=await ws.recv()).json()
        assert (received["client"], received["query"]) == ("127.0.0.1", "symbol=AAPL")
        assert (received["headers"]["authorization"], received["headers"]["client-id"]) == ("Bearer x", "ada")
        for message in ("", "text, grün", b"", b"\x00\xff", "x" * 100_000, b"y" * 100_000):
            await ws.send(message)
            assert await ws.recv() == message


@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (1008, "policy"), (1013, "slow"), (4321, "mine")])
async def test_a_close_code_passes_both_ways(pair: Pair, code: int, reason: str) -> None:
    url = f"{pair.url.replace('http', 'ws')}/echo"
    async with connect(url) as ws:
        await ws.recv()
        await ws.send(f"close {code} {reason}")
        with pytest.raises(ConnectionClosed) as closed:
            await ws.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)
    async with connect(url) as ws:
        await ws.recv()
        await ws.close(code, reason)
    await within(20, lambda: getattr(pair, "closed_with", None) == (code, reason))


async def test_a_handshake_that_the_feed_refuses_is_refused_with_its_text(pair: Pair) -> None:
    for path, status, text in (("/refused", 418, b"of the feed"), ("/nothing", 403, b"")):
        with pytest.raises(InvalidStatus) as denied:
            await connect(f"{pair.url.replace('http', 'ws')}{path}")
        assert denied.value.response.status_code == status
        assert text in (denied.value.response.body or b"")


@pytest.mark.parametrize("path", [b"/echo/" + b"x" * 65_520, b"/echo/" + b"x" * 8100, b"/echo/\xff"])
@pytest.mark.parametrize("upgrade", [b"", b"Upgrade: websocket\r\nConnection: Upgrade\r\n"])
async def test_a_path_that_cannot_be_forwarded_is_answered_without_a_fault(
    pair: Pair, path: bytes, upgrade: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.port)
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" if upgrade else b""
    writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: gateway\r\n" + upgrade + key + b"\r\n")
    status = await asyncio.wait_for(reader.readline(), 10)
    assert status[:10] in (b"HTTP/1.1 2", b"HTTP/1.1 4"), status
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    writer.close()


async def test_a_feed_that_stops_closes_its_websockets_with_a_restart_code(pair: Pair) -> None:
    async with connect(f"{pair.url.replace('http', 'ws')}/echo") as ws:
        await ws.recv()
        pair.feed_ends.set()
        with pytest.raises(ConnectionClosed) as closed:
            await ws.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code in (1012, 1014)


async def test_a_stalled_reader_holds_the_feed_back_and_takes_no_memory(pair: Pair) -> None:
    with socket.socket() as small:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.connect(("127.0.0.1", pair.port))
        url = f"{pair.url.replace('http', 'ws')}/endless"
        ws = await connect(url, sock=small, max_size=None, compression=None, ping_interval=None, max_queue=1)
        await ws.recv()
        ws.transport.pause_reading()
        parts_sent = await settled(lambda: pair.sent)
        assert parts_sent < 40, "the feed is held back"
        async with connect(f"{pair.url.replace('http', 'ws')}/echo") as other:
            await other.recv()
            await other.send("other readers do not wait")
            assert await other.recv() == "other readers do not wait"
        ws.transport.resume_reading()
        for _ in range(parts_sent + 5):
            assert len(await ws.recv()) == LARGE_BYTES
        ws.transport.abort()
    ended = await settled(lambda: pair.sent)
    assert ended > parts_sent


async def test_a_service_stops_while_a_stalled_reader_closes_its_connection(pair: Pair) -> None:
    with socket.socket() as small:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.connect(("127.0.0.1", pair.feed_port))
        url = f"{pair.feed.replace('http', 'ws')}/endless"
        ws = await connect(url, sock=small, max_size=None, compression=None, ping_interval=None, close_timeout=0.1)
        ws.transport.pause_reading()
        await settled(lambda: pair.sent)
        closing = asyncio.create_task(ws.close())
        await asyncio.sleep(0.05)
        pair.feed_ends.set()
        async with asyncio.timeout(20):
            await pair.feed_serving
        await closing


async def test_forwarded_websockets_count_at_the_feed_for_the_address_of_their_client(tmp_path: Path) -> None:
    pair = Pair(tmp_path, address_connections=MAX_SOCKETS, trusted_proxies=["127.0.0.1"])
    add_feed_routes(pair.app, pair)
    url = f"{pair.url.replace('http', 'ws')}/echo"
    async with pair.open(), contextlib.AsyncExitStack() as stack:

        async def open_from(address: str) -> None:
            headers = {"X-Forwarded-For": address}
            await (await stack.enter_async_context(connect(url, additional_headers=headers))).recv()

        for _ in range(MAX_SOCKETS):
            await open_from("10.0.0.1")
        with pytest.raises(InvalidStatus) as denied:
            await open_from("10.0.0.1")
        assert denied.value.response.status_code == 429
        assert b"10.0.0.1 has 3 connections, which is the limit: close some" in (denied.value.response.body or b"")
        await open_from("10.0.0.2")
        assert pair.feed_limits.open >= MAX_SOCKETS + 1
        await stack.aclose()
        await within(20, lambda: not pair.feed_limits.by_address("10.0.0.1"))
        await open_from("10.0.0.1")


async def test_requests_that_a_gateway_forwards_do_not_count_for_its_address(tmp_path: Path) -> None:
    pair = Pair(tmp_path, address_connections=MAX_SOCKETS)
    add_feed_routes(pair.app, pair)
    async with pair.open(), httpx.AsyncClient(timeout=30) as http:
        slow = []
        for number in range(1, MAX_SOCKETS + 3):
            slow.append(asyncio.create_task(http.get(f"{pair.url}/slow")))
            await within(20, lambda number=number: pair.sent == number)
        assert pair.feed_limits.open > MAX_SOCKETS
        assert not pair.feed_limits.by_address("127.0.0.1")
        pair.feed_ends.set()
        await asyncio.gather(*slow, return_exceptions=True)
