"""Market data at the gateway's address: requests and WebSockets that are not order entry are forwarded to the feed.

Forwarding is the fallback of the router behind the gateway's own routes, so it costs nothing for an order. Bodies and
messages are forwarded one at a time. So a slow reader slows down the feed's end of its own connection, and uses no memory of
the gateway.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from urllib.parse import urlsplit

import httpx
import structlog
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from microexchange.forwarding import HEADER, PREFIX, forwarded
from microexchange.frames import connection_of, frame
from microexchange.refusals import Code, Refusal
from microexchange.web import read_body, refuse

_logger = structlog.get_logger(__name__)

CONNECT_TIMEOUT_SECONDS = 2.0
"""Time for the feed to accept a connection."""
ANSWER_TIMEOUT_SECONDS = 30.0
"""Time for the feed to send the next part of an answer. Its own queries end before that."""
KEEPALIVE_SECONDS = 2.0
"""Time that an idle connection to the feed stays open. The feed itself closes it after 5 s."""
MAX_FORWARDS = 256
"""Requests that are forwarded at a time."""
MAX_FORWARDS_PER_ADDRESS = 64
"""Requests of one address that are forwarded at a time."""
MAX_WAITING = 1000
"""Requests that wait for their turn."""
MAX_WAITING_PER_ADDRESS = 500
"""Requests of one address that wait: a single address must not fill the queue."""
TURN_TIMEOUT_SECONDS = 5.0
"""Time that a request waits for its turn."""
MAX_QUEUED_MESSAGES = 4
"""Messages in the queue for a slow reader. Beyond it, the gateway stops reading from the feed."""
SEND_TIMEOUT_SECONDS = 30.0
"""Time for a client to read the next part of an answer. The answer occupies a turn until it ends."""
CLOSE_TIMEOUT_SECONDS = 2.0
"""Time for the feed or a client to answer a close frame."""
GOING_AWAY, NO_STATUS, BAD_GATEWAY = 1001, 1005, 1014

_HOP_HEADERS = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
     b"transfer-encoding", b"upgrade", b"expect")
)  # fmt: skip
"""Headers of one hop (RFC 9110, section 7.6.1)."""
_ADDRESS_HEADERS = frozenset(
    (HEADER, b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip")
)
"""Headers with which a client could claim another address."""
_SERVER_HEADERS = frozenset((b"date", b"server"))
"""Headers that this server adds to an answer."""
_CORS_PREFIX = b"access-control-"
"""The prefix of headers that the gateway's own setting controls."""
_Headers = list[tuple[bytes, bytes]]


class _Turns:
    """Limits the requests that are forwarded at a time, in total and by address. The others wait."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(MAX_FORWARDS)
        self._own: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()
        """Requests by address, forwarded or waiting."""
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Hold a turn for a request of that address.

        Raises:
            Refusal: `UNAVAILABLE`: too many requests wait, or this one has waited for too long.
        """
        if self._users[address] >= MAX_FORWARDS_PER_ADDRESS + MAX_WAITING_PER_ADDRESS:
            text = f"{address} has {MAX_WAITING_PER_ADDRESS} requests for market data that wait already: try again shortly"
            raise Refusal(Code.UNAVAILABLE, text)
        own = self._own.setdefault(address, asyncio.Semaphore(MAX_FORWARDS_PER_ADDRESS))
        self._users[address] += 1
        try:
            await self._take(own)
            try:
                yield
            finally:
                self._all.release()
                own.release()
        finally:
            self._users[address] -= 1
            if not self._users[address]:
                del self._users[address], self._own[address]

    async def _take(self, own: asyncio.Semaphore) -> None:
        must_wait = own.locked() or self._all.locked()
        if must_wait and self._waiting >= MAX_WAITING:
            raise Refusal(Code.UNAVAILABLE, f"{MAX_WAITING} requests for market data wait already: try again shortly")
        self._waiting += 1
        try:
            async with asyncio.timeout(TURN_TIMEOUT_SECONDS):
                await own.acquire()
                try:
                    await self._all.acquire()
                except BaseException:
                    own.release()
                    raise
        except TimeoutError as error:
            text = f"too many requests for market data are under way: this one has waited {TURN_TIMEOUT_SECONDS:g} s"
            raise Refusal(Code.UNAVAILABLE, text) from error
        finally:
            self._waiting -= 1


class MarketData:
    """Forwards requests and WebSockets to the feed."""

    def __init__(self, url: str, token: str) -> None:
        """`url` is the feed's. `token` proves to the feed that the gateway forwards."""
        self._url = httpx.URL(url)
        self._token = token
        self._turns = _Turns()
        timeout = httpx.Timeout(ANSWER_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
        limits = httpx.Limits(
            max_connections=MAX_FORWARDS,
            max_keepalive_connections=MAX_FORWARDS_PER_ADDRESS,
            keepalive_expiry=KEEPALIVE_SECONDS,
        )
        self._http = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False)

    async def close(self) -> None:
        """Close the connections to the feed."""
        await self._http.aclose()

    def add_to(self, app: FastAPI) -> None:
        """Forward all requests that no route of `app` serves."""
        app.router.default = self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request or a WebSocket."""
        if scope["type"] == "websocket":
            await self._forward_socket(WebSocket(scope, receive, send))
        elif scope["type"] == "http":
            await self._forward(scope, receive, send)

    def forward(self) -> Response:
        """Return a response that forwards the request of a route."""
        return _Forwarding(self)

    # --- REST -----------------------------------------------------------------------------------------------

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            async with self._turns.turn(_address(request)):
                answer = await self._ask(request)
                try:
                    response = StreamingResponse(answer.aiter_raw(), answer.status_code)
                    response.raw_headers = _answer_headers(answer.headers.raw)
                    await response(scope, receive, _with_timeout(send))
                finally:
                    await answer.aclose()
        except Refusal as refusal:
            await refuse(refusal)(scope, receive, send)
        except ClientDisconnect:
            return
        except (httpx.HTTPError, TimeoutError) as error:
            # A part of the answer is sent. The server ends the connection, so the client can detect that it is not complete.
            _logger.warning("an answer is not complete", path=scope["path"], cause=repr(error))

    async def _ask(self, request: Request) -> httpx.Response:
        """Send the request to the feed. Return its answer, without the body.

        Raises:
            Refusal: `UNAVAILABLE`, or `MALFORMED`: the address or a header is not valid.
        """
        path, prefix = _path(request.scope)
        headers = [*_request_headers(request.scope["headers"]), forwarded(self._token, request.scope, prefix)]
        length = request.headers.get("content-length", "0")
        has_body = length != "0" or "transfer-encoding" in request.headers
        try:
            asked = httpx.Request(
                request.method,
                self._url.copy_with(raw_path=path),
                headers=headers,
                content=await read_body(request) if has_body else None,
            )
            return await self._http.send(asked, stream=True)
        except (httpx.InvalidURL, httpx.LocalProtocolError) as error:
            raise Refusal(Code.MALFORMED, f"the address or a header is not valid: {error}") from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _unavailable() from error
        except httpx.TimeoutException as error:
            raise Refusal(
                Code.UNAVAILABLE, f"the feed has not answered within {ANSWER_TIMEOUT_SECONDS:g} s: try again"
            ) from error
        except httpx.HTTPError as error:
            raise _unavailable() from error

    # --- WebSockets -----------------------------------------------------------------------------------------

    async def _forward_socket(self, socket: WebSocket) -> None:
        try:
            upstream = await self._connect(socket)
            try:
                await _relay(socket, upstream)
            finally:
                await upstream.close(GOING_AWAY)
        except InvalidStatus as refused:
            answer = refused.response
            headers = dict(answer.headers.raw_items())
            kept = {name: value for name, value in headers.items() if name.lower() in ("content-type", "retry-after")}
            await socket.send_denial_response(Response(bytes(answer.body or b""), answer.status_code, kept))
        except Refusal as refusal:
            await socket.send_denial_response(refuse(refusal))

    async def _connect(self, socket: WebSocket) -> ClientConnection:
        """Connect to the feed.

        Raises:
            InvalidStatus: The feed refuses.
            Refusal: `UNAVAILABLE`, or `MALFORMED`: the address is not valid.
        """
        path, prefix = _path(socket.scope)
        headers_sent = _request_headers(socket.scope["headers"])
        kept = [(name, value) for name, value in headers_sent if not name.startswith(b"sec-websocket-") and name != b"host"]
        headers = [*kept, forwarded(self._token, socket.scope, prefix)]
        try:
            return await connect(
                str(self._url.copy_with(scheme="wss" if self._url.scheme == "https" else "ws", raw_path=path)),
                additional_headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers],
                subprotocols=[Subprotocol(name) for name in socket.scope["subprotocols"]] or None,
                compression=None,
                proxy=None,
                user_agent_header=None,
                open_timeout=CONNECT_TIMEOUT_SECONDS,
                close_timeout=CLOSE_TIMEOUT_SECONDS,
                max_size=None,
                max_queue=MAX_QUEUED_MESSAGES,
            )
        except InvalidStatus:
            raise
        except (httpx.InvalidURL, InvalidURI) as error:
            raise Refusal(Code.MALFORMED, f"the address is not valid: {error}") from error
        except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed, ValueError) as error:
            raise _unavailable() from error


class _Forwarding(Response):
    """A response that forwards its request to the feed when the server sends it."""

    def __init__(self, market_data: MarketData) -> None:
        super().__init__()
        self._market_data = market_data

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._market_data(scope, receive, send)


async def _relay(socket: WebSocket, upstream: ClientConnection) -> None:
    """Forward messages both ways until one side closes. Close the other one with the same code and reason."""
    await socket.accept(upstream.subprotocol)
    reading = asyncio.create_task(_to_feed(socket, upstream))
    writing = asyncio.create_task(_to_client(socket, upstream))
    try:
        await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
        if not writing.done() and not (await reading):
            # The feed has closed. Its last messages still have to be sent to the client.
            await asyncio.wait((writing,), timeout=CLOSE_TIMEOUT_SECONDS)
    finally:
        for task in (reading, writing):
            task.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)


async def _to_feed(socket: WebSocket, upstream: ClientConnection) -> bool:
    """Forward the client's messages to the feed. Return whether the client closed the connection."""
    with contextlib.suppress(ConnectionClosed):
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            await upstream.send(text if text is not None else message["bytes"])
        code = message.get("code", NO_STATUS)
        await upstream.close(code if code not in (NO_STATUS, 1006) else GOING_AWAY, message.get("reason") or "")
        return True
    return False


async def _to_client(socket: WebSocket, upstream: ClientConnection) -> None:
    """Forward the feed's messages to the client, each after the client has read enough of the earlier ones."""
    connection = connection_of(socket)
    try:
        while True:
            message = await upstream.recv()
            is_text = isinstance(message, str)
            content = message.encode() if isinstance(message, str) else bytes(message)
            if not await connection.send_frame(frame(content, binary=not is_text)):
                return
    except ConnectionClosed as closed:
        received = closed.rcvd
        code, reason = (
            (received.code, received.reason)
            if received
            else (BAD_GATEWAY, "the feed has ended the connection: connect again")
        )
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):
            await socket.close(1000 if code == NO_STATUS else code, reason)


def _with_timeout(send: Send) -> Send:
    """Return `send` with a time limit.

    Raises:
        TimeoutError: From the returned function: the client does not read in time.
    """

    async def send_with_timeout(message: Message) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            await send(message)

    return send_with_timeout


def _unavailable() -> Refusal:
    return Refusal(Code.UNAVAILABLE, "market data is not available, since the feed does not answer: try again shortly")


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""


def _path(scope: Scope) -> tuple[bytes, str]:
    """Return the path with the query for the feed, and the prefix that was removed."""
    path, prefix = scope["raw_path"], ""
    below = PREFIX.encode()
    if path == below or path.startswith(below + b"/"):
        path, prefix = path[len(below) :] or b"/", PREFIX
    return path + (b"?" + scope["query_string"] if scope["query_string"] else b""), prefix


def _request_headers(headers: Iterable[tuple[bytes, bytes]]) -> _Headers:
    """Return the headers of a request to forward."""
    all_ = list(headers)
    dropped = _ADDRESS_HEADERS | _hop_headers(all_)
    return [(name, value) for name, value in all_ if name not in dropped]


def _answer_headers(headers: Iterable[tuple[bytes, bytes]]) -> _Headers:
    """Return the headers of an answer to forward."""
    lowered = [(name.lower(), value) for name, value in headers]
    dropped = _SERVER_HEADERS | _hop_headers(lowered)
    return [(name, value) for name, value in lowered if name not in dropped and not name.startswith(_CORS_PREFIX)]


def _hop_headers(headers: _Headers) -> frozenset[bytes]:
    """Return the headers of one hop: the usual ones, and those that `Connection` names."""
    named = (word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b","))
    return _HOP_HEADERS | frozenset(named)


def checked_feed_url(text: str) -> str:
    """Return `text` without a slash at its end.

    Raises:
        ValueError: `text` is not the address of a feed, `http://HOST:PORT`.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"{text!r} is not the address of a feed: use one like http://127.0.0.1:8001")
    return text.rstrip("/")
