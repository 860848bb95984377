"""The only way of a confined contestant to the exchange: a Unix socket, on which it may make few requests and has no key.

The process of the contestant has neither a network nor a key. This proxy runs outside. It accepts connections on the
contestant's socket, refuses every request that a bot does not need, and adds the key. It reads the head of a request; then
it copies bytes. So it costs little for each message. One connection has one request, so that no second request follows
unchecked.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from microexchange.listening import CLOSE_SECONDS

MAX_HEAD_BYTES = 8 << 10
MAX_CONNECTIONS = 8
HEAD_SECONDS = 5.0
"""The time for the head of a request, and for the exchange's head of the answer."""
ANSWER_SECONDS = 30.0
"""The time for the whole answer to a request that opens no WebSocket."""
_CHUNK_BYTES = 64 << 10
_SWITCHING = re.compile(rb"HTTP/1\.1 101 ")
_REQUEST = re.compile(rb"GET (/[A-Za-z0-9/_.:@+~-]*)(\?[A-Za-z0-9=&,._%+-]*)? HTTP/1\.1")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*")
"""A header field (RFC 9110, section 5). Other fields would reach the exchange as they are."""
_FORWARDED = (b"upgrade", b"accept", b"accept-encoding", b"user-agent")
"""Headers of the contestant that reach the exchange, with all that begin with `sec-websocket-`."""
_LISTS = ("/securities", "/news", "/tenders")
_MARKET_DATA = ("/securities/", "/trades/", "/candles/")
_REFUSED = (
    b"HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
    b'{"error": {"code": "FORBIDDEN", "message": "a contestant can read market data and its own account, and trade"}}'
)


class VenueProxy:
    """The proxy of one contestant."""

    def __init__(self, client_id: str, key: str, gateway_url: str, feed_url: str) -> None:
        self._client_id, self._key = client_id, key
        self._gateway, self._feed = urlsplit(gateway_url), urlsplit(feed_url)
        self._open = 0
        self.refused = 0
        """Requests that the contestant may not make."""

    @contextlib.asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        """Serve the Unix socket `path` while the context is open."""
        server = await asyncio.start_unix_server(self._serve, path, limit=MAX_HEAD_BYTES)
        os.chmod(path, 0o666)  # noqa: S103 - the folder of the socket keeps other users out  # nosec B103
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)  # noqa: ASYNC240

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= MAX_CONNECTIONS:
            writer.close()
            return
        self._open += 1
        try:
            await self._answer(reader, writer)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the contestant's request was no request, or one side is gone
        finally:
            await _close(writer)
            self._open -= 1

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        request = self.request_of(head)
        if request is None:
            self.refused += 1
            writer.write(_REFUSED)
            await writer.drain()
            return
        upstream, sent = request
        their_reader, their_writer = await asyncio.open_connection(
            upstream.hostname, upstream.port, limit=MAX_HEAD_BYTES * 8
        )
        try:
            their_writer.write(sent)
            async with asyncio.timeout(HEAD_SECONDS * 2):
                answer = await their_reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            is_websocket = _SWITCHING.match(answer) is not None
            copies = [asyncio.create_task(_copy(their_reader, writer))]
            if is_websocket:
                copies.append(asyncio.create_task(_copy(reader, their_writer)))
            limit = None if is_websocket else ANSWER_SECONDS
            _, waiting = await asyncio.wait(copies, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            for copy in waiting:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
        finally:
            await _close(their_writer)

    def request_of(self, head: bytes) -> tuple[SplitResult, bytes] | None:
        """Return where a request goes and the head that is sent, or None if a contestant may not make it."""
        first, *lines = head[:-4].split(b"\r\n")
        match = _REQUEST.fullmatch(first)
        if match is None or not all(map(_FIELD.fullmatch, lines)):
            return None
        path = match[1].decode()
        named = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        upgrades = named.get(b"upgrade", b"").lower() == b"websocket"
        upstream = self._upstream_of(path, upgrades)
        if upstream is None:
            return None
        kept = {name: value for name, value in named.items() if name in _FORWARDED or name.startswith(b"sec-websocket-")}
        kept[b"connection"] = b"Upgrade" if upgrades else b"close"
        kept[b"host"] = f"{upstream.hostname}:{upstream.port}".encode()
        kept[b"authorization"] = b"Bearer " + self._key.encode()
        target = upstream.path.rstrip("/").encode() + match[1] + (match[2] or b"")
        fields = b"".join(name + b": " + value + b"\r\n" for name, value in kept.items())
        return upstream, b"GET " + target + b" HTTP/1.1\r\n" + fields + b"\r\n"

    def _upstream_of(self, path: str, upgrades: bool) -> SplitResult | None:
        """Return the address of the service that answers `path`, or None if a contestant may not read it."""
        if upgrades:
            return {"/ws": self._feed, "/ws/orders": self._gateway}.get(path)
        if path == "/orders":
            return self._gateway
        own = {f"/{resource}/{self._client_id}" for resource in ("balance", "holdings", "orders")}
        is_allowed = path in own or path in _LISTS or path.startswith(_MARKET_DATA)
        return self._feed if is_allowed else None


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close a connection. A peer that does not read what was written is cut off after `CLOSE_SECONDS`."""
    writer.close()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
