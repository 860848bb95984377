"""Market data at the gateway's address: what is no route of order entry is forwarded to the feed, REST and WebSockets.

The forwarding is what the router falls back to after the gateway's own routes, so an order pays nothing for it. Bodies and
messages pass one at a time: a slow reader holds back the feed's end of its own connection, and no memory of the gateway.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
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

from microexchange.access import Access
from microexchange.auth import ADMIN
from microexchange.forwarding import HEADER, PREFIX, forwarded
from microexchange.frames import connection_of, frame
from microexchange.refusals import Code, Refusal
from microexchange.web import read_body, refuse

_logger = structlog.get_logger(__name__)

CONNECT_SECONDS = 2.0
"""How long the feed may take to accept a connection."""
ANSWER_SECONDS = 30.0
"""How long the feed may take for the next part of an answer. Its own questions end before that."""
IDLE_SECONDS = 2.0
"""How long a connection to the feed is kept for the next request. The feed itself closes it after 5."""
MAX_FORWARDS = 256
"""Requests that are forwarded at a time,"""
MAX_OF_ADDRESS = 64
"""and those of one address."""
MAX_WAITING = 1000
"""Requests that wait for their turn,"""
MAX_WAITING_OF_ADDRESS = 500
"""and those of one address: one address alone must not fill the queue for all."""
TURN_SECONDS = 5.0
"""How long a request waits for its turn."""
MAX_MESSAGES = 4
"""Messages of the feed that wait for a slow reader. Behind them the feed itself is held back."""
TAKE_SECONDS = 30.0
"""How long a client may take to read the next part of an answer: until it ends, the answer has one of the turns."""
CLOSING_SECONDS = 2.0
"""How long the feed or a client has to take a close frame."""
GOING_AWAY, NO_STATUS, BAD_GATEWAY = 1001, 1005, 1014

_OF_ONE_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
     b"transfer-encoding", b"upgrade", b"expect")
)  # fmt: skip
"""Headers of one hop (RFC 9110, section 7.6.1)."""
_CLAIMS = frozenset((HEADER, b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip"))
"""Headers by which a client could claim another address."""
_OWN = frozenset((b"date", b"server"))
"""Headers of an answer that this server writes."""
_CORS = b"access-control-"
"""Which pages may read an answer at this address is the gateway's setting."""
_Headers = list[tuple[bytes, bytes]]


class _Turns:
    """Lets a number of requests be under way at a time, in all and of one address. The others wait."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(MAX_FORWARDS)
        self._own: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()
        """Requests of each address, under way or waiting."""
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """The time in which a request of that address is under way. Raises `Refusal` (`UNAVAILABLE`)."""
        if self._users[address] >= MAX_OF_ADDRESS + MAX_WAITING_OF_ADDRESS:
            text = f"{address} has {MAX_WAITING_OF_ADDRESS} requests for market data that wait already: try again shortly"
            raise Refusal(Code.UNAVAILABLE, text)
        own = self._own.setdefault(address, asyncio.Semaphore(MAX_OF_ADDRESS))
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
            async with asyncio.timeout(TURN_SECONDS):
                await own.acquire()
                try:
                    await self._all.acquire()
                except BaseException:
                    own.release()
                    raise
        except TimeoutError as error:
            text = f"too many requests for market data are under way: this one has waited {TURN_SECONDS:g} s"
            raise Refusal(Code.UNAVAILABLE, text) from error
        finally:
            self._waiting -= 1


class _Sockets:
    """Counts the forwarded WebSockets of each address and each client."""

    def __init__(self, most_of_address: int, most_of_client: int) -> None:
        self._most = {"address": most_of_address, "client": most_of_client}
        self._open: Counter[tuple[str, str]] = Counter()

    @contextlib.contextmanager
    def one_more(self, address: str, client_id: str) -> Iterator[None]:
        """The time in which one more is open. Raises `Refusal` (`RATE_LIMITED`)."""
        owners = [("address", address), *([("client", client_id)] if client_id else [])]
        for kind, name in owners:
            most = self._most[kind]
            if most and self._open[kind, name] >= most:
                text = f"{name} has {most} WebSockets for market data, which is the limit: close some"
                raise Refusal(Code.RATE_LIMITED, text)
        self._open.update(owners)
        try:
            yield
        finally:
            for owner in owners:
                self._open[owner] -= 1
                if not self._open[owner]:
                    del self._open[owner]


class MarketData:
    """The way to the feed."""

    def __init__(self, url: str, token: str, access: Access, most_of_address: int = 0, most_of_client: int = 0) -> None:
        """`url` is the feed's. `token` tells the feed that the gateway forwards. The others are the WebSockets that one
        address and one client may have open; 0 for any number."""
        self._url = httpx.URL(url)
        self._token = token
        self._access = access
        self._turns = _Turns()
        self._sockets = _Sockets(most_of_address, most_of_client)
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        limits = httpx.Limits(
            max_connections=MAX_FORWARDS, max_keepalive_connections=MAX_OF_ADDRESS, keepalive_expiry=IDLE_SECONDS
        )
        self._http = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False)

    async def close(self) -> None:
        """Closes the connections to the feed."""
        await self._http.aclose()

    def add_to(self, app: FastAPI) -> None:
        """Makes this what `app` falls back to: for what none of its routes is for."""
        app.router.default = self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forwards a request, or a WebSocket."""
        if scope["type"] == "websocket":
            await self._forward_socket(WebSocket(scope, receive, send))
        elif scope["type"] == "http":
            await self._forward(scope, receive, send)

    def forward(self) -> Response:
        """The feed's answer to the request of a route, which returns it."""
        return _Forwarding(self)

    # --- REST -----------------------------------------------------------------------------------------------

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            async with self._turns.turn(_address(request)):
                answer = await self._ask(request)
                try:
                    response = StreamingResponse(answer.aiter_raw(), answer.status_code)
                    response.raw_headers = _answered(answer.headers.raw)
                    await response(scope, receive, _in_time(send))
                finally:
                    await answer.aclose()
        except Refusal as refusal:
            await refuse(refusal)(scope, receive, send)
        except ClientDisconnect:
            return  # there is nobody to answer
        except (httpx.HTTPError, TimeoutError) as error:
            # Some of the answer is sent: the server ends the connection, so the client sees that it is not whole.
            _logger.warning("an answer broke off", path=scope["path"], cause=repr(error))

    async def _ask(self, request: Request) -> httpx.Response:
        """The beginning of the feed's answer. Raises `Refusal`."""
        path, prefix = _path(request.scope)
        headers = [*_sent(request.scope["headers"]), forwarded(self._token, request.scope, prefix)]
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
            raise Refusal(Code.UNAVAILABLE, f"the feed has not answered within {ANSWER_SECONDS:g} s: try again") from error
        except httpx.HTTPError as error:
            raise _unavailable() from error

    # --- WebSockets -----------------------------------------------------------------------------------------

    async def _forward_socket(self, socket: WebSocket) -> None:
        try:
            with self._sockets.one_more(_address(socket), self._client_of(socket)):
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

    def _client_of(self, socket: WebSocket) -> str:
        """Whose key is in the header; nothing for none, and for one that the feed will refuse."""
        if "authorization" in socket.headers:
            with contextlib.suppress(Refusal):
                who, _ = self._access.identify(socket)
                return "" if who == ADMIN else who
        return ""

    async def _connect(self, socket: WebSocket) -> ClientConnection:
        """The feed's end. Raises `Refusal`, or `InvalidStatus` where the feed refuses."""
        path, prefix = _path(socket.scope)
        sent = _sent(socket.scope["headers"])
        kept = [(name, value) for name, value in sent if not name.startswith(b"sec-websocket-") and name != b"host"]
        headers = [*kept, forwarded(self._token, socket.scope, prefix)]
        try:
            return await connect(
                str(self._url.copy_with(scheme="wss" if self._url.scheme == "https" else "ws", raw_path=path)),
                additional_headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers],
                subprotocols=[Subprotocol(one) for one in socket.scope["subprotocols"]] or None,
                compression=None,
                proxy=None,
                user_agent_header=None,
                open_timeout=CONNECT_SECONDS,
                close_timeout=CLOSING_SECONDS,
                max_size=None,
                max_queue=MAX_MESSAGES,
            )
        except InvalidStatus:
            raise
        except (httpx.InvalidURL, InvalidURI) as error:
            raise Refusal(Code.MALFORMED, f"the address is not valid: {error}") from error
        except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed, ValueError) as error:
            raise _unavailable() from error


class _Forwarding(Response):
    """An answer that the feed gives, when the server asks for it."""

    def __init__(self, market_data: MarketData) -> None:
        super().__init__()
        self._market_data = market_data

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._market_data(scope, receive, send)


async def _relay(socket: WebSocket, upstream: ClientConnection) -> None:
    """Passes messages both ways, until one side closes: the other one is closed with the same code and reason."""
    await socket.accept(upstream.subprotocol)
    reading = asyncio.create_task(_to_feed(socket, upstream))
    writing = asyncio.create_task(_to_client(socket, upstream))
    try:
        await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
        if not writing.done() and not (await reading):
            # The feed has closed: what it has said before that is still on its way to the client.
            await asyncio.wait((writing,), timeout=CLOSING_SECONDS)
    finally:
        for task in (reading, writing):
            task.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)


async def _to_feed(socket: WebSocket, upstream: ClientConnection) -> bool:
    """Forwards the client's messages to the feed. Returns whether the client closed the connection."""
    with contextlib.suppress(ConnectionClosed):
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            await upstream.send(text if text is not None else message["bytes"])
        code = message.get("code", NO_STATUS)
        await upstream.close(code if code not in (NO_STATUS, 1006) else GOING_AWAY, message.get("reason") or "")
        return True
    return False


async def _to_client(socket: WebSocket, upstream: ClientConnection) -> None:
    """Forwards the feed's messages to the client, each after the client has read enough of the earlier ones."""
    connection = connection_of(socket)
    try:
        while True:
            message = await upstream.recv()
            is_text = isinstance(message, str)
            content = message.encode() if isinstance(message, str) else bytes(message)
            if not await connection.send_frame(frame(content, binary=not is_text)):
                return
    except ConnectionClosed as closed:
        said = closed.rcvd
        code, reason = (said.code, said.reason) if said else (BAD_GATEWAY, "the feed is gone: connect again")
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):
            await socket.close(1000 if code == NO_STATUS else code, reason)


def _in_time(send: Send) -> Send:
    """As `send`. Raises `TimeoutError` where the client does not take what is sent."""

    async def send_in_time(message: Message) -> None:
        async with asyncio.timeout(TAKE_SECONDS):
            await send(message)

    return send_in_time


def _unavailable() -> Refusal:
    return Refusal(Code.UNAVAILABLE, "market data is not available, for the feed does not answer: try again shortly")


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""


def _path(scope: Scope) -> tuple[bytes, str]:
    """The path and the query that the feed is asked for, and the prefix that was cut off."""
    path, prefix = scope["raw_path"], ""
    below = PREFIX.encode()
    if path == below or path.startswith(below + b"/"):
        path, prefix = path[len(below) :] or b"/", PREFIX
    return path + (b"?" + scope["query_string"] if scope["query_string"] else b""), prefix


def _sent(headers: Iterable[tuple[bytes, bytes]]) -> _Headers:
    """The headers of a request that the feed is to have."""
    all_ = list(headers)
    dropped = _CLAIMS | _named_in(all_)
    return [(name, value) for name, value in all_ if name not in dropped]


def _answered(headers: Iterable[tuple[bytes, bytes]]) -> _Headers:
    """The headers of an answer that the client is to have."""
    lowered = [(name.lower(), value) for name, value in headers]
    dropped = _OWN | _named_in(lowered)
    return [(name, value) for name, value in lowered if name not in dropped and not name.startswith(_CORS)]


def _named_in(headers: _Headers) -> frozenset[bytes]:
    """The headers of one connection: the usual ones, and those that `Connection` names."""
    named = (word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b","))
    return _OF_ONE_CONNECTION | frozenset(named)


def checked_feed_url(text: str) -> str:
    """`text`, if it is the address of a feed: `http://HOST:PORT`. Raises `ValueError`."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"{text!r} is no address of a feed: http://127.0.0.1:8001 is one")
    return text.rstrip("/")
