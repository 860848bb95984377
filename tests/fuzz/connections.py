"""The targets of connections: the bytes of a client, in pieces of a size that the input names."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from microexchange.connection_limits import ConnectionLimits
from microexchange.frames import Connection
from microexchange.http_connection import MAX_HEAD_BYTES, MAX_PIPELINED, HttpConnection
from tests.fuzz.registry import choose, run_async, target
from tests.unit.test_frames import MAX_MESSAGE_BYTES, Wire, open_connection

PIECES = (1, 2, 3, 7, 64, 1 << 16)
"""Sizes of pieces."""


@target(max_bytes=2048)
def frames(data: bytes) -> None:
    """Any bytes are messages or end the connection. The messages are the same for pieces of any size."""
    size, data = choose(data, PIECES)
    received: list[list[bytes]] = []

    async def feed(size: int) -> None:
        peer = await open_connection()
        await peer.feed(data, size)
        received.append(peer.received)
        assert len(peer.connection._unread) <= len(data)
        assert len(peer.wire.written) <= 2 * len(data) + 200, "an answer is not larger than what causes it"
        assert sum(map(len, peer.received)) <= min(len(data), MAX_MESSAGE_BYTES * (1 + len(data) // 6))
        peer.connection.connection_lost(None)
        for _ in range(3):
            await asyncio.sleep(0)
        assert peer.ended

    run_async(feed(size))
    run_async(feed(1 << 16))
    assert received[0] == received[1]


class HttpWire(Wire):
    """A transport that sends at once."""

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.paused = True

    def get_write_buffer_size(self) -> int:
        return 0


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the length of the body."""
    if scope["type"] != "http":
        await receive()
        await send({"type": "websocket.close"})
        return
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(b"%d" % size))]})
    await send({"type": "http.response.body", "body": b"%d" % size})


@target(max_bytes=4096)
def http_connection(data: bytes) -> None:
    """Any bytes are requests, open a WebSocket or end the connection, with bounded state. Every answer is one of HTTP."""
    size, data = choose(data, PIECES)

    async def feed() -> None:
        config = uvicorn.Config(_echo, http=HttpConnection, log_config=None, ws=Connection)
        config.load()
        wire, connection = HttpWire(), HttpConnection(config, ServerState(), {}, limits=ConnectionLimits())
        wire.set_protocol(connection)
        connection.connection_made(wire)
        for at in range(0, len(data), size):
            if wire.closing:
                break
            wire.get_protocol().data_received(data[at : at + size])
            await asyncio.sleep(0)
            assert len(connection.pipeline) <= MAX_PIPELINED + 4096 // 18
            assert connection._field_bytes <= MAX_HEAD_BYTES + (4 << 10)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not wire.written or wire.written.startswith(b"HTTP/1.1 "), wire.written
        wire.get_protocol().connection_lost(None)
        assert not connection.pipeline
        for _ in range(3):
            await asyncio.sleep(0)

    run_async(feed())
