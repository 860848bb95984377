"""The gateway's WebSocket: orders in, answers and execution reports out, on one connection.

A client logs in with an `Authorization` header or a first message `{"op": "login", "key": …}`. Requests carry the client's
own `id` and are answered with it, in whatever order the market answers.
"""

import asyncio
import time
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import FastAPI
from starlette.websockets import WebSocket

from microexchange.access import GUEST, Access, as_client
from microexchange.frames import connection_of, frame
from microexchange.messages import OrderReport, Side
from microexchange.presentation import order_view, report_view, time_text
from microexchange.refusals import Code, Refusal
from microexchange.web import FLOOD_PAUSE, decode_json, json_frame, msgpack_bytes
from order_entry_gateway.desk import OrderDesk
from order_entry_gateway.requests import AmendRequest, OrderRequest, find_security, order_id

_logger = structlog.get_logger(__name__)

MSGPACK = "msgpack"
"""The subprotocol whose messages are msgpack in binary frames; without it they are JSON text."""
MOST_GRACE = 3600
LOGIN_SECONDS = 10.0
CLOSING_SECONDS = 5.0
"""How long a client has to hear why it is disconnected."""
MOST_PENDING = 1000
"""Requests of one connection that may wait for the market at a time."""
MOST_IN_TURN = 16
"""Requests of one connection that are taken in one after the other, before others have a turn."""
MOST_QUEUED = 10_000
"""Messages that may wait for a slow reader; then it is disconnected."""
GOING_AWAY, POLICY, TOO_SLOW = 1001, 1008, 1013

RequestId = str | int | None


class Login(msgspec.Struct, frozen=True, tag_field="op", tag="login", kw_only=True):
    """Say who you are."""

    key: str = ""
    """Your API key; it may be left out where the header has it."""
    client_id: str = ""
    """In a classroom, your name in place of a key; without either, `guest`."""
    cancel_on_disconnect: bool = False
    """Cancel all open orders of the client when this connection ends,"""
    grace_seconds: Annotated[float, msgspec.Meta(ge=0, le=MOST_GRACE)] = 0
    """unless it is back within so many seconds."""
    resume_from: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] | None = None
    """The `sequence` of the last report that was heard: those after it come first."""
    heartbeat_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] | None = None
    """How often to hear a heartbeat; without it, never."""
    id: RequestId = None


class EnterOrder(OrderRequest, frozen=True, tag_field="op", tag="order", kw_only=True, forbid_unknown_fields=True):
    """Enter an order."""

    id: RequestId = None


class Cancel(msgspec.Struct, frozen=True, tag_field="op", tag="cancel", kw_only=True, forbid_unknown_fields=True):
    """Cancel an order."""

    order_id: str
    id: RequestId = None


class Amend(AmendRequest, frozen=True, tag_field="op", tag="amend", kw_only=True, forbid_unknown_fields=True):
    """Change an order."""

    order_id: str
    id: RequestId = None


class CancelAllOrders(
    msgspec.Struct, frozen=True, tag_field="op", tag="cancel_all", kw_only=True, forbid_unknown_fields=True
):
    """Cancel all your orders, or those of a security or a side."""

    symbol: str = ""
    side: Side | None = None
    id: RequestId = None


class Get(msgspec.Struct, frozen=True, tag_field="op", tag="get", kw_only=True, forbid_unknown_fields=True):
    """Ask for an order."""

    order_id: str
    id: RequestId = None


class Ping(msgspec.Struct, frozen=True, tag_field="op", tag="ping", kw_only=True):
    """Ask whether the gateway hears."""

    id: RequestId = None


_Request = Login | EnterOrder | Amend | Cancel | CancelAllOrders | Get | Ping
_decoders: dict[bool, Any] = {False: msgspec.json.Decoder(_Request), True: msgspec.msgpack.Decoder(_Request)}
"""By whether the connection speaks msgpack."""


class _Id(msgspec.Struct):
    id: RequestId = None


_id_decoders: dict[bool, Any] = {False: msgspec.json.Decoder(_Id), True: msgspec.msgpack.Decoder(_Id)}


class _FloodError(Exception):
    """A request was refused for coming too soon."""


class Session:
    """One connection."""

    def __init__(self, socket: WebSocket, desk: OrderDesk, access: Access) -> None:
        self._socket = socket
        self._desk = desk
        self._access = access
        self._client_id: str | None = None
        self._key_id = ""
        self._connection = connection_of(socket)
        self._outgoing: asyncio.Queue[bytes | None] = asyncio.Queue(MOST_QUEUED)
        """Frames that could not be written at once."""
        self._idle = False
        """Whether the writer waits for one: then nothing is on its way that must go first."""
        self._pending: set[asyncio.Task[None]] = set()
        self._closing: tuple[int, str] | None = None
        self._ends = asyncio.Event()
        self._speaks_msgpack = MSGPACK in socket.scope.get("subprotocols", ())
        self._cancel_on_disconnect = False
        self._grace = 0.0
        self._turn = 0
        self._heartbeat: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serves the connection to its end."""
        await self._socket.accept(subprotocol=MSGPACK if self._speaks_msgpack else None)
        names = ("authorization", "client-id") if self._access.classroom else ("authorization",)
        if any(name in self._socket.headers for name in names):
            try:
                self._login(*self._access.identify(self._socket))
            except Refusal as refusal:
                self._send({"op": "login", "ok": False, **refusal.as_json()})
                self._close(POLICY, refusal.message)
        writing = asyncio.create_task(self._write())
        reading = asyncio.create_task(self._read())
        ending = asyncio.create_task(self._ends.wait())
        try:
            await asyncio.wait((writing, reading, ending), return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                # The writer tells the reason, if the reader takes anything at all.
                await asyncio.wait((writing,), timeout=CLOSING_SECONDS)
        finally:
            if self._client_id is not None:
                self._desk.listeners[self._client_id].discard(self._on_report)
                if not self._desk.listeners[self._client_id]:
                    del self._desk.listeners[self._client_id]
                of_key = self._desk.key_listeners[self._key_id]
                of_key.discard(self._on_revoked)
                if not of_key:
                    del self._desk.key_listeners[self._key_id]
                if self._cancel_on_disconnect:
                    self._desk.leave(self._client_id, self._grace)
            # What was asked for goes on in the market; only nobody waits for the answers any more.
            tasks = [writing, reading, ending, *self._pending, *([self._heartbeat] if self._heartbeat else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            try:
                if self._client_id is None:
                    async with asyncio.timeout(LOGIN_SECONDS):
                        message = await self._socket.receive()
                else:
                    message = await self._socket.receive()
            except TimeoutError:
                self._close(POLICY, f"no login within {LOGIN_SECONDS:g} s")
                return
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            try:
                await self._on_message(text.encode() if text is not None else message.get("bytes") or b"")
            except _FloodError:
                await asyncio.sleep(FLOOD_PAUSE)
            # What has come in one piece is there at once: others have their turn in between.
            self._turn += 1
            if self._turn % MOST_IN_TURN == 0:
                await asyncio.sleep(0)

    async def _on_message(self, text: bytes) -> None:
        try:
            request = decode_json(_decoders[self._speaks_msgpack], text)
        except Refusal as refusal:
            self._answer(_id_in(text, self._speaks_msgpack), refusal.as_json())
            return
        if isinstance(request, Login):
            await self._on_login(request)
        elif isinstance(request, Ping):
            self._send({"id": request.id, "ok": True, "op": "pong"})
        elif self._client_id is None and not self._access.classroom:
            login_first = Refusal(Code.UNAUTHENTICATED, 'log in first: {"op": "login", "key": "…"}')
            self._answer(request.id, login_first.as_json())
        elif len(self._pending) >= MOST_PENDING:
            too_many = Refusal(Code.UNAVAILABLE, f"{MOST_PENDING} requests of this connection wait already")
            self._answer(request.id, too_many.as_json())
        else:
            client_id = self._client_id or self._login(GUEST, "")
            try:
                self._desk.admit(client_id, entering=isinstance(request, EnterOrder))
            except Refusal as refusal:
                self._answer(request.id, refusal.as_json())
                if refusal.code is Code.RATE_LIMITED:
                    raise _FloodError from refusal
                return
            task = asyncio.create_task(self._serve(request, client_id))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def _on_login(self, request: Login) -> None:
        missed: list[tuple[int, OrderReport]] = []
        try:
            who, key_id = self._named_in(request)
            if self._client_id not in (None, who):
                raise Refusal(Code.FORBIDDEN, f"this connection is {self._client_id}'s already")
            if request.resume_from is not None:
                missed = await self._desk.missed(who, request.resume_from)
            # From here to the end nothing else runs: what comes next is heard next.
            self._login(who, key_id)
        except Refusal as refusal:
            self._send({"id": request.id, "op": "login", "ok": False, **refusal.as_json()})
            return
        self._cancel_on_disconnect, self._grace = request.cancel_on_disconnect, request.grace_seconds
        sequence = self._desk.report_id
        self._send({"id": request.id, "op": "login", "ok": True, "client_id": who, "sequence": sequence})
        for number, report in missed:
            self._on_report(number, report)
        if request.heartbeat_seconds is not None and self._heartbeat is None:
            self._heartbeat = asyncio.create_task(self._beat(request.heartbeat_seconds))

    def _named_in(self, request: Login) -> tuple[str, str]:
        """Who logs in, and the id of the key. Raises `Refusal`."""
        if self._client_id is not None and not (request.key or request.client_id):
            return self._client_id, self._key_id
        return self._access.login(request.key, request.client_id)

    async def _beat(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._send({"op": "heartbeat", "timestamp": time_text(time.time_ns()), "sequence": self._desk.report_id})

    def _login(self, who: str, key_id: str) -> str:
        as_client(who)
        most, listeners = self._desk.limits.connections, self._desk.listeners.get(who, set())
        if most and len(listeners) >= most and self._on_report not in listeners:
            raise Refusal(Code.RATE_LIMITED, f"{who} has {most} connections, which is the limit: close some")
        self._desk.key_listeners.get(self._key_id, set()).discard(self._on_revoked)
        self._client_id, self._key_id = who, key_id
        self._desk.key_listeners.setdefault(key_id, set()).add(self._on_revoked)
        self._desk.come_back(who)
        self._desk.listeners.setdefault(who, set()).add(self._on_report)
        return who

    async def _serve(self, request: EnterOrder | Amend | Cancel | CancelAllOrders | Get, client_id: str) -> None:
        desk = self._desk
        try:
            if isinstance(request, EnterOrder):
                report, trades = await desk.enter(client_id, request)
            elif isinstance(request, Amend):
                report, trades = await desk.replace(client_id, order_id(request.order_id), request)
            elif isinstance(request, CancelAllOrders):
                if request.symbol:
                    find_security(desk.view.securities, request.symbol)
                reports = await desk.cancel_all(client_id, request.symbol, request.side)
                orders = [order_view(one, desk.security(one.symbol)) for one in reports]
                self._answer(request.id, {"orders": orders})
                return
            else:
                action = desk.cancel if isinstance(request, Cancel) else desk.find
                report, trades = await action(client_id, order_id(request.order_id)), []
            answer: dict[str, Any] = {"order": order_view(report, desk.security(report.symbol), trades)}
        except Refusal as refusal:
            answer = refusal.as_json()
        except Exception as error:
            _logger.error("fault in a request", exc_info=error)
            answer = Refusal(Code.INTERNAL, "a fault in the exchange; its log has the details").as_json()
        self._answer(request.id, answer)

    def _on_revoked(self) -> None:
        self._close(POLICY, "the API key of this connection was revoked")

    def _on_report(self, number: int, report: OrderReport) -> None:
        view = report_view(report, self._desk.security(report.symbol))
        self._send({"op": "report", "sequence": number, "report": view})

    def _answer(self, request_id: RequestId, content: dict[str, Any]) -> None:
        self._send({"id": request_id, "ok": "error" not in content, **content})

    def _send(self, message: dict[str, Any]) -> None:
        binary = self._speaks_msgpack
        content = frame(msgpack_bytes(message), binary=True) if binary else json_frame(message)
        if self._idle and self._outgoing.empty() and self._connection.put_soon(content):
            return
        try:
            self._outgoing.put_nowait(content)
        except asyncio.QueueFull:
            self._close(TOO_SLOW, f"{MOST_QUEUED} messages wait to be read")

    def _close(self, code: int, reason: str) -> None:
        """Closes the connection, after what waits where there is room for the mark."""
        if self._closing is None:
            self._closing = (code, reason)
            self._ends.set()
            while self._outgoing.full():
                self._outgoing.get_nowait()
            self._outgoing.put_nowait(None)

    async def _write(self) -> None:
        while True:
            self._idle = True
            content = await self._outgoing.get()
            self._idle = False
            if content is None:
                break
            if not await self._connection.send_frame(content):
                return
        code, reason = self._closing or (GOING_AWAY, "")
        await self._socket.close(code, reason)


def _id_in(text: bytes, is_msgpack: bool) -> RequestId:
    """The id of a request that is otherwise not valid, so that its client can tell which one it was."""
    try:
        found: RequestId = _id_decoders[is_msgpack].decode(text).id
        return found
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def add_websocket(app: FastAPI, desk: OrderDesk, access: Access) -> None:
    """Adds `/ws/orders` to `app`."""

    @app.websocket("/ws/orders")
    async def ws_orders(socket: WebSocket) -> None:
        await Session(socket, desk, access).run()
