"""The gateway's WebSocket: orders in, answers and execution reports out, on one connection.

A client logs in with an `Authorization` header or a first message `{"op": "login", "key": …}`. Requests carry the client's
own `id` and are answered with it. They are applied in the order in which they come, and answered in the order in which the
market answers.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import FastAPI
from starlette.websockets import WebSocket

from microexchange.access import GUEST, Access, as_client
from microexchange.commands import Command
from microexchange.enums import Side
from microexchange.frames import Outgoing, connection_of, frame
from microexchange.records import Record
from microexchange.refusals import Code, Refusal
from microexchange.reports import OrderReport, Trade
from microexchange.schemas import order_view, report_view, time_text
from microexchange.web import FLOOD_PAUSE, decode_json, json_frame, msgpack_bytes
from order_entry_gateway.desk import OnAnswer, OrderDesk, changed, entered
from order_entry_gateway.requests import AmendRequest, OrderRequest, find_security, order_id

_logger = structlog.get_logger(__name__)

MSGPACK = "msgpack"
"""The subprotocol whose messages are msgpack in binary frames; without it they are JSON text."""
MAX_GRACE = 3600
LOGIN_SECONDS = 10.0
CLOSING_SECONDS = 5.0
"""How long a client has to hear why it is disconnected."""
MAX_PENDING = 1000
"""Requests of one connection that may wait for the market at a time."""
MAX_QUEUED = 10_000
"""Messages that may wait for a slow reader; then it is disconnected."""
GOING_AWAY, POLICY, TOO_SLOW = 1001, 1008, 1013

RequestId = str | int | None
_Outcome = Callable[[int, Sequence[Record]], tuple[OrderReport, list[Trade]]]


class Login(msgspec.Struct, frozen=True, tag_field="op", tag="login", kw_only=True):
    """Say who you are."""

    key: str = ""
    """Your API key; it may be left out where the header has it."""
    client_id: str = ""
    """In a classroom, your name in place of a key; without either, `guest`."""
    cancel_on_disconnect: bool = False
    """Cancel all open orders of the client when this connection ends,"""
    grace_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_GRACE)] = 0
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


class Session:
    """One connection."""

    def __init__(self, socket: WebSocket, desk: OrderDesk, access: Access) -> None:
        self._socket = socket
        self._desk = desk
        self._access = access
        self._client_id: str | None = None
        self._key_id = ""
        self._connection = connection_of(socket)
        self._outgoing = Outgoing(self._connection.put_soon, MAX_QUEUED)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending = 0
        """Requests that wait for the market."""
        self._closing: tuple[int, str] | None = None
        self._ends = asyncio.Event()
        self._speaks_msgpack = MSGPACK in socket.scope.get("subprotocols", ())
        self._cancel_on_disconnect = False
        self._grace = 0.0
        self._heartbeat: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serves the connection to its end."""
        await self._socket.accept(subprotocol=MSGPACK if self._speaks_msgpack else None)
        self._connection.listen(self._on_message)
        names = ("authorization", "client-id") if self._access.classroom else ("authorization",)
        if any(name in self._socket.headers for name in names):
            try:
                self._login(*self._access.identify(self._socket))
            except Refusal as refusal:
                self._send({"op": "login", "ok": False, **refusal.as_json()})
                self._close(POLICY, refusal.message)
        writing = asyncio.create_task(self._write())
        gone = asyncio.create_task(self._socket.receive())
        too_late = asyncio.get_running_loop().call_later(LOGIN_SECONDS, self._on_no_login)
        ending = asyncio.create_task(self._ends.wait())
        try:
            await asyncio.wait((writing, gone, ending), return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                # The writer tells the reason, if the reader takes anything at all.
                await asyncio.wait((writing,), timeout=CLOSING_SECONDS)
        finally:
            self._closing = self._closing or (GOING_AWAY, "")
            too_late.cancel()
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
            tasks = [writing, gone, ending, *self._tasks, *([self._heartbeat] if self._heartbeat else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _on_no_login(self) -> None:
        if self._client_id is None:
            self._close(POLICY, f"no login within {LOGIN_SECONDS:g} s")

    def _on_message(self, text: bytes) -> None:
        if self._closing is not None:
            return
        try:
            request = decode_json(_decoders[self._speaks_msgpack], text)
        except Refusal as invalid:
            self._answer(_id_in(text, self._speaks_msgpack), invalid.as_json())
            return
        if isinstance(request, Login):
            # What comes next is for who has logged in.
            self._connection.hold()
            self._begin(self._on_login(request)).add_done_callback(lambda _: self._connection.release())
        elif isinstance(request, Ping):
            self._send({"id": request.id, "ok": True, "op": "pong"})
        else:
            try:
                self._on_request(request)
            except Exception as error:
                self._refuse(request.id, error)

    def _refuse(self, request_id: RequestId, error: Exception) -> None:
        """Answers with what went wrong. Apart from where it is caught: a frame that keeps an error which came through it is
        a cycle, with all that the frame knows, until somebody looks for cycles."""
        refusal = _refusal_of(error)
        self._answer(request_id, refusal.as_json())
        if refusal.code is Code.RATE_LIMITED:
            self._connection.hold()
            asyncio.get_running_loop().call_later(FLOOD_PAUSE, self._connection.release)

    def _on_request(self, request: EnterOrder | Amend | Cancel | CancelAllOrders | Get) -> None:
        """Asks for it: the answer follows. Raises `Refusal`."""
        if self._client_id is None and not self._access.classroom:
            raise Refusal(Code.UNAUTHENTICATED, 'log in first: {"op": "login", "key": "…"}')
        if self._pending >= MAX_PENDING:
            raise Refusal(Code.UNAVAILABLE, f"{MAX_PENDING} requests of this connection wait already")
        client_id = self._client_id or self._login(GUEST, "")
        desk = self._desk
        desk.admit(client_id, entering=isinstance(request, EnterOrder))
        if isinstance(request, EnterOrder):
            if desk.has_account(client_id):
                self._enter(client_id, request)
            else:
                self._hold_for(request.id, self._enter_first(client_id, request))
        elif isinstance(request, Cancel):
            number = order_id(request.order_id)
            self._ask(desk.cancel_order(client_id, number), partial(self._on_answer, request.id, changed, number))
        elif isinstance(request, Amend):
            known = desk.remembered_of(client_id, order_id(request.order_id))
            if known is not None:
                self._amend(client_id, known, request)
            else:
                self._hold_for(request.id, self._amend_stored(client_id, request))
        elif isinstance(request, CancelAllOrders):
            if request.symbol:
                find_security(desk.view.securities, request.symbol)
            cancelling = desk.cancel_all_orders(client_id, request.symbol, request.side)
            self._ask(cancelling, partial(self._on_all_cancelled, request.id))
        else:
            self._pending += 1
            self._begin(self._get(request, client_id))

    def _ask(self, command: Command, then: OnAnswer) -> None:
        self._pending += 1
        self._desk.send(command, then)

    def _enter(self, client_id: str, request: EnterOrder) -> None:
        entering = self._desk.new_order(client_id, request)
        self._ask(entering, partial(self._on_answer, request.id, entered, entering.command_id))

    def _amend(self, client_id: str, known: OrderReport, request: Amend) -> None:
        amending = self._desk.amend_order(client_id, known, request)
        self._ask(amending, partial(self._on_answer, request.id, changed, known.order_id))

    async def _enter_first(self, client_id: str, request: EnterOrder) -> None:
        """Enters the first order of a client of a classroom, which opens the account. Raises `Refusal`."""
        await self._desk.open_for(client_id)
        self._enter(client_id, request)

    async def _amend_stored(self, client_id: str, request: Amend) -> None:
        """Changes an order that only the database knows. Raises `Refusal`."""
        self._amend(client_id, await self._desk.find(client_id, order_id(request.order_id)), request)

    def _hold_for(self, request_id: RequestId, work: Coroutine[Any, Any, None]) -> None:
        """Begins `work`, which sends a command. Requests behind this one wait until it is sent: requests of a connection
        are applied in the order in which they come."""
        self._pending += 1
        self._connection.hold()
        self._begin(self._finish(request_id, work))

    async def _finish(self, request_id: RequestId, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._refuse(request_id, error)
        finally:
            self._pending -= 1
            self._connection.release()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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

    def _on_answer(self, request_id: RequestId, outcome: _Outcome, of_order: int, caused: list[Record] | Refusal) -> None:
        """The market has answered an order, or a cancel."""
        self._pending -= 1
        if isinstance(caused, Refusal):
            self._answer(request_id, caused.as_json())
            return
        try:
            report, trades = outcome(of_order, caused)
            answer: dict[str, Any] = {"order": order_view(report, self._desk.security(report.symbol), trades)}
        except Exception as error:
            self._on_refused(request_id, of_order, error)
        else:
            self._answer(request_id, answer)

    def _on_refused(self, request_id: RequestId, of_order: int, error: Exception) -> None:
        """The market has refused. Apart from where it is caught, as `_refuse`."""
        if isinstance(error, Refusal) and error.code is Code.ORDER_CLOSED and self._desk.remembered(of_order) is None:
            self._pending += 1
            self._begin(self._tell_closed(request_id, of_order, error.as_json()))
        else:
            self._refuse(request_id, error)

    async def _tell_closed(self, request_id: RequestId, of_order: int, answer: dict[str, Any]) -> None:
        """Answers that an order which is not remembered has ended, unless it never was the client's."""
        try:
            await self._desk.find(self._client_id or GUEST, of_order)
        except Exception as error:
            answer = _refusal_of(error).as_json()
        self._pending -= 1
        self._answer(request_id, answer)

    def _on_all_cancelled(self, request_id: RequestId, caused: list[Record] | Refusal) -> None:
        """The market has answered a cancel of all orders."""
        self._pending -= 1
        if isinstance(caused, Refusal):
            self._answer(request_id, caused.as_json())
            return
        reports = [report for report in caused if isinstance(report, OrderReport)]
        self._answer(request_id, {"orders": [order_view(one, self._desk.security(one.symbol)) for one in reports]})

    async def _get(self, request: Get, client_id: str) -> None:
        """Answers with an order, as it stands."""
        try:
            report = await self._desk.find(client_id, order_id(request.order_id))
            answer: dict[str, Any] = {"order": order_view(report, self._desk.security(report.symbol), [])}
        except Exception as error:
            answer = _refusal_of(error).as_json()
        self._pending -= 1
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
        self._outgoing.send(content)
        if self._outgoing.overflowed.is_set():
            self._close(TOO_SLOW, f"{MAX_QUEUED} messages wait to be read")

    def _close(self, code: int, reason: str) -> None:
        """Closes the connection, after what waits where it is not too much."""
        if self._closing is None:
            self._closing = (code, reason)
            self._ends.set()
            self._outgoing.end()

    async def _write(self) -> None:
        while (content := await self._outgoing.next()) is not None:
            if not await self._connection.send_frame(content):
                return
        code, reason = self._closing or (GOING_AWAY, "")
        await self._socket.close(code, reason)


def _refusal_of(error: Exception) -> Refusal:
    """The refusal that a request ends with. A fault of ours is logged, and told as one."""
    if isinstance(error, Refusal):
        return error
    _logger.error("fault in a request", exc_info=error)
    return Refusal(Code.INTERNAL, "a fault in the exchange; its log has the details")


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
