"""The limits of an HTTP connection: heads, pipelines and peers that do not read."""

import asyncio
import gc
import re
import socket
from typing import Any

import psutil
import pytest

from microexchange import http_connection
from microexchange.http_connection import MAX_HEAD_BYTES, MAX_PIPELINED, HttpConnection
from tests.unit.served import served

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer "ok" with the length of the body; `/slow` after a moment."""
    if scope["type"] != "http":
        return
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    if scope["path"] == "/slow":
        await asyncio.sleep(0.2)
    body = b"ok %d" % size
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def answer_to(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 15)
    finally:
        writer.close()


CLOSE = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


async def test_a_request_in_any_parts_is_answered() -> None:
    async with served(app) as port:
        assert (await answer_to(port, CLOSE)).endswith(b"ok 0")
        assert (await answer_to(port, *(CLOSE[at : at + 1] for at in range(len(CLOSE))))).endswith(b"ok 0")


async def test_a_body_larger_than_the_limit_of_a_head_is_read() -> None:
    async with served(app) as port:
        head = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 500000\r\n\r\n"
        assert (await answer_to(port, head + bytes(500_000))).endswith(b"ok 500000")
        assert (await answer_to(port, head, bytes(250_000), bytes(250_000))).endswith(b"ok 500000")


@pytest.mark.parametrize(
    "parts",
    [
        [b"GET / HTTP/1.1\r\n", b"a: " + b"b" * 40_000 + b"\r\n", b"c: " + b"d" * 40_000],
        [b"GET /" + b"a" * (MAX_HEAD_BYTES + 5_000)],
        [b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 101 + b"\r\n"],
        [b"GET / HTTP/1.1\r\n", b"a:b\r\n" * 50, b"a:b\r\n" * 52],
        [GET.replace(b"\r\n\r\n", b"\r\n") + b"x: " + b"y" * (MAX_HEAD_BYTES + 5_000) + b"\r\n\r\n"],
    ],
    ids=["two headers", "an address", "101 headers", "101 headers in parts", "one header"],
)
async def test_a_head_that_is_too_large_is_refused_with_431(parts: list[bytes]) -> None:
    async with served(app) as port:
        answer = await answer_to(port, *parts)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_a_head_of_just_the_limit_is_answered() -> None:
    async with served(app) as port:
        head = CLOSE[:-2] + b"".join(b"x-%d: y\r\n" % number for number in range(98)) + b"\r\n"
        assert (await answer_to(port, head)).endswith(b"ok 0")
        assert (await answer_to(port, CLOSE[:-2] + b"x: " + b"y" * 60_000 + b"\r\n\r\n")).endswith(b"ok 0")


@pytest.mark.parametrize("part", [b"", b"GET / HTTP/1.1\r\na:"], ids=["nothing", "half a head"])
async def test_a_head_that_takes_too_long_is_refused_with_408(part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "HEAD_SECONDS", 0.5)
    async with served(app) as port:
        assert (await answer_to(port, part)).startswith(b"HTTP/1.1 408 ")


async def test_half_a_second_head_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "HEAD_SECONDS", 0.5)
    async with served(app) as port:
        answer = await answer_to(port, GET, b"GET / HT", pause=0.2)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"


@pytest.mark.parametrize(
    "parts",
    [[b"0\r\n", b"a:b\r\n" * 120], [b"0\r\nx: ", *([b"y" * 10_000] * 8)], [b"1;x=", *([b"y" * 10_000] * 8)]],
    ids=["many trailers", "one trailer", "a chunk extension"],
)
async def test_endless_fields_behind_a_chunked_body_end_the_connection(parts: list[bytes]) -> None:
    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(CHUNKED)
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.01)
        assert await asyncio.wait_for(reader.read(), 5) in (b"", http_connection._TOO_LARGE)
        writer.close()


async def test_a_body_that_does_not_arrive_after_its_answer_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "HEAD_SECONDS", 0.4)

    async def early(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

    async with served(early) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"x")
        assert (await asyncio.wait_for(reader.read(), 3)).startswith(b"HTTP/1.1 404")
        writer.close()


async def test_a_slow_answer_is_not_a_slow_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "HEAD_SECONDS", 0.05)
    async with served(app) as port:
        assert (await answer_to(port, b"GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).endswith(b"ok 0")


async def test_every_request_of_a_long_pipeline_is_answered_in_order() -> None:
    count = 20 * MAX_PIPELINED
    async with served(app) as port:
        head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        posts = b"".join(head % (number % 10) + b"x" * (number % 10) for number in range(count - 1))
        answer = await answer_to(port, posts + CLOSE)
    assert answer.count(b"HTTP/1.1 200 ") == count
    sizes = [int(size) for size in re.findall(rb"ok (\d+)", answer)]
    assert sizes == [*(number % 10 for number in range(count - 1)), 0]


async def test_a_pipeline_that_nobody_reads_holds_few_requests() -> None:
    connections: list[HttpConnection] = []
    made = HttpConnection.connection_made

    def noted(self: HttpConnection, transport: Any) -> None:
        connections.append(self)
        made(self, transport)

    HttpConnection.connection_made = noted  # type: ignore[method-assign]
    try:
        async with served(app) as port:
            flooder = socket.create_connection(("127.0.0.1", port))
            flooder.setblocking(False)
            before = psutil.Process().memory_info().rss
            longest = 0
            chunk = rest = GET * 4_000
            for _ in range(400):
                try:
                    rest = rest[flooder.send(rest) :] or chunk
                except BlockingIOError:
                    await asyncio.sleep(0.005)
                longest = max(longest, len(connections[0].pipeline) if connections else 0)
            grown = psutil.Process().memory_info().rss - before
            gc.disable()
            try:
                flooder.close()
                await asyncio.sleep(0.3)
                assert not connections[0].pipeline
            finally:
                gc.enable()
    finally:
        HttpConnection.connection_made = made  # type: ignore[method-assign]
    assert 0 < longest < 3 * MAX_PIPELINED
    assert grown < 30 << 20


async def large(scope: Any, receive: Any, send: Any) -> None:
    """Answer with 20 MB."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"20000000")]})
        await send({"type": "http.response.body", "body": bytes(20_000_000)})


async def test_a_peer_that_reads_slowly_receives_its_whole_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "CLOSE_SECONDS", 0.3)
    async with served(large) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        writer.write(CLOSE)
        received = 0
        while part := await reader.read(1 << 20):
            received += len(part)
            await asyncio.sleep(0.01)
        assert received > 20_000_000
        writer.close()


async def test_a_peer_that_reads_nothing_of_its_last_answer_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "CLOSE_SECONDS", 0.3)
    async with served(large) as port:
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.sendall(CLOSE)
            await asyncio.sleep(1.0)
            connections = [found for found in psutil.Process().net_connections("tcp") if found.laddr.port == port]
            assert [connection.status for connection in connections] == ["LISTEN"]


async def test_an_answer_ends_with_its_connection_although_later_requests_wait() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await receive()
            started.set()
            assert (await receive())["type"] == "http.disconnect"
            await send({"type": "http.response.start", "status": 200, "headers": []})
            ended.set()

    async with served(app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        await asyncio.wait_for(started.wait(), 10)
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.wait_for(ended.wait(), 10)


async def test_the_garbage_collector_leaves_out_the_objects_of_the_service() -> None:
    """Otherwise each run would visit all orders in memory, and stop the service in the meantime."""
    orders: dict[int, list[int]] = {1: []}
    assert any(found is orders for found in gc.get_objects())
    async with served(app):
        assert not any(found is orders for found in gc.get_objects())
