"""WebSocket peers that send fragments, pings or tiny frames without end, or read nothing, hold neither memory nor time."""

import asyncio
import gc
import logging
import os
import socket
import struct
import time
from typing import Any

import psutil
import pytest
from benchmarks.hostile import masked
from starlette.websockets import WebSocket

from microexchange import frames
from microexchange.frames import MAX_FRAGMENTS, connection_of
from tests.unit.served import served

OPENING = (
    "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Echo messages: by the connection at `/listen`, by the ASGI queue elsewhere. `/flood` sends without end."""
    if scope["type"] != "websocket":
        return
    session = WebSocket(scope, receive, send)
    await session.accept()
    connection = connection_of(session)
    if scope["path"] == "/listen":
        connection.listen(lambda message: connection.put(frames.frame(message)))
    while scope["path"] == "/flood":
        if not connection.put(frames.frame(bytes(50_000))):
            await session.close(1013, "too slow")
            return
        await asyncio.sleep(0)
    while True:
        message = await session.receive()
        if message["type"] == "websocket.disconnect":
            return
        await session.send_text(message.get("text") or (message.get("bytes") or b"").decode())


async def opened(port: int, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(OPENING.format(path=path).encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def close_frame(reader: asyncio.StreamReader) -> int:
    """The code of the next frame, which must be a close frame."""
    head = await asyncio.wait_for(reader.readexactly(2), 10)
    assert head[0] == 0x88, head
    return int(struct.unpack("!H", (await reader.readexactly(head[1]))[:2])[0])


PATHS = ["/listen", "/queue"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_message_in_the_allowed_number_of_frames_is_read(path: str) -> None:
    async with served(app) as port:
        reader, writer = await opened(port, path)
        writer.write(masked(0x02, b"a") + masked(0x00, b"b") * (MAX_FRAGMENTS - 1) + masked(0x80, b"c"))
        head = await asyncio.wait_for(reader.readexactly(4), 10)
        assert (head[1], struct.unpack("!H", head[2:])[0]) == (126, MAX_FRAGMENTS + 1)
        writer.close()


@pytest.mark.parametrize("path", PATHS)
async def test_every_message_of_a_burst_is_read_although_no_byte_follows(path: str) -> None:
    async with served(app) as port:
        for count in (1, 2, frames.MAX_IN_TURN, frames.MAX_IN_TURN + 1, 200):
            reader, writer = await opened(port, path)
            writer.write(masked(0x81, b"x") * count)
            assert await asyncio.wait_for(reader.readexactly(3 * count), 10) == b"\x81\x01x" * count
            writer.close()


@pytest.mark.parametrize("path", PATHS)
async def test_a_message_in_more_frames_ends_the_connection_with_1009(path: str) -> None:
    async with served(app) as port:
        reader, writer = await opened(port, path)
        writer.write(masked(0x01) + masked(0x00) * (MAX_FRAGMENTS + 1))
        assert await close_frame(reader) == 1009
        writer.close()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", [0x00, 0x89, 0x8A], ids=["fragments", "pings", "pongs"])
async def test_a_flood_of_small_frames_does_not_stop_others(path: str, kind: int) -> None:
    async with served(app) as port:
        reader, writer = await opened(port, "/listen")
        flooder = socket.create_connection(("127.0.0.1", port))
        flooder.sendall(OPENING.format(path=path).encode())
        await asyncio.sleep(0.1)
        flooder.setblocking(False)
        before, worst, until = psutil.Process().memory_info().rss, 0.0, time.monotonic() + 3
        fragmented = masked(0x02) + masked(0x00) * (MAX_FRAGMENTS - 2) + masked(0x80)
        chunk = fragmented * 20 if kind == 0 else masked(kind) * 20_000
        rest = chunk
        while time.monotonic() < until:
            try:
                rest = rest[flooder.send(rest) :] or chunk
            except BlockingIOError:
                await asyncio.sleep(0.001)
            began = time.monotonic()
            writer.write(masked(0x81, b"x"))
            assert await asyncio.wait_for(reader.readexactly(3), 10) == b"\x81\x01x"
            worst = max(worst, time.monotonic() - began)
        flooder.close()
        writer.close()
        assert worst < 1.0
        assert psutil.Process().memory_info().rss - before < 30 << 20


@pytest.mark.parametrize("ending", [b"", masked(0x88, b"\x03\xe8")], ids=["no close frame", "a close frame"])
async def test_a_peer_that_reads_nothing_is_disconnected_within_seconds(
    ending: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "CLOSE_SECONDS", 0.3)
    async with served(app) as port:
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", port))
        peer.sendall(OPENING.format(path="/flood").encode())
        await asyncio.sleep(0.2)
        if ending:
            peer.sendall(ending)
        await asyncio.sleep(1.5)
        assert _established(port) == 0
        peer.close()


async def test_a_thousand_peers_that_close_and_read_nothing_leave_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "CLOSE_SECONDS", 0.3)
    async with served(app) as port:
        await _closing_peers(port, 200)
        gc.collect()
        before = psutil.Process().memory_info().rss
        for _ in range(4):
            await _closing_peers(port, 200)
        assert _established(port) == 0
        gc.collect()
        assert psutil.Process().memory_info().rss - before < 30 << 20, "less than 40 kB for each peer"


async def _closing_peers(port: int, count: int) -> None:
    peers = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for peer in peers:
        peer.sendall(OPENING.format(path="/flood").encode())
    await asyncio.sleep(0.2)
    for peer in peers:
        peer.sendall(masked(0x88, b"\x03\xe8"))
    deadline = time.monotonic() + 15
    while _established(port) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    for peer in peers:
        peer.close()


def _established(port: int) -> int:
    """The open connections of the server."""
    connections = psutil.Process(os.getpid()).net_connections("tcp")
    return sum(one.laddr.port == port and one.status == "ESTABLISHED" for one in connections)


async def test_bytes_before_the_connection_is_accepted_are_bounded() -> None:
    accepted = asyncio.Event()

    async def late(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await accepted.wait()

    async with served(late) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(OPENING.format(path="/").encode())
        await asyncio.sleep(0.1)
        sent = 0
        with pytest.raises(ConnectionError):  # noqa: PT012
            while sent < 100 * 10_000:
                writer.write(masked(0x82, bytes(10_000)))
                await writer.drain()
                sent += 10_000
                await asyncio.sleep(0.01)
        assert sent < 4 * frames.MAX_EARLY_BYTES
        accepted.set()


async def test_a_flood_of_pings_writes_nothing_to_a_closed_connection(caplog: pytest.LogCaptureFixture) -> None:
    """Frames that were received wait for a later turn, and the transport is closed by then."""
    async with served(app) as port:
        _, writer = await opened(port, "/listen")
        writer.write(masked(0x89, bytes(100)) * 5000)
        await asyncio.sleep(0.01)
        writer.transport.abort()
        await asyncio.sleep(0.5)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_peer_that_sends_without_end_has_few_bytes_in_memory() -> None:
    """A session that reads one message at a time has frames that wait. Their transport must not read in the meantime."""
    waiting: list[int] = []
    reading: list[bool] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            session = WebSocket(scope, receive, send)
            await session.accept()
            while (await session.receive())["type"] != "websocket.disconnect":
                connection = connection_of(session)
                waiting.append(len(connection._unread))
                if connection._unread:
                    reading.append(connection.transport.is_reading())

    async with served(slow) as port:
        _, writer = await opened(port, "/")
        sending = asyncio.create_task(_send_without_end(writer))
        await asyncio.sleep(1)
        sending.cancel()
        writer.transport.abort()
    assert 0 < max(waiting) < 1 << 20
    assert reading
    assert not any(reading)


async def _send_without_end(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(masked(0x81, b"hello") * 20_000)
        await writer.drain()
