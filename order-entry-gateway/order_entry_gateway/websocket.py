"""The gateway's WebSocket: orders in, answers and execution reports out, on one connection.

A client logs in with an `Authorization` header or a first message `{"op": "login", "key": …}`. Requests carry the client's
own `id`, and so do their answers. The gateway applies requests in the order of arrival. It answers them in the order in
which the market does.
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

from microexchange.access import Access
from microexchange.commands import Command
from microexchange.connection_limits import place_of
from microexchange.enums import Side
from microexchange.frames import Outgoing, connection_of, frame
from microexchange.ids import MAX_ID
from microexchange.number_fields import json_decoder, msgpack_decoder
from microexchange.records import Record
from microexchange.refusals import Code, Refusal
from microexchange.reports import OrderReport, Trade
from microexchange.schemas import order_view, report_view, time_text
from microexchange.web import FLOOD_PAUSE_SECONDS, decode_json, json_frame, msgpack_bytes
from order_entry_gateway.client_session import ClientSession, changed_order, entered_order, first_order_id
from order_entry_gateway.order_service import OrderService
from order_entry_gateway.pending_commands import OnResult
from order_entry_gateway.requests import AmendRequest, OrderRequest, order_id

_logger = structlog.get_logger(__name__)

MSGPACK = "msgpack"
"""The subprotocol whose messages are msgpack in binary frames. Without it, messages are JSON text."""
MAX_GRACE_SECONDS = 3600
LOGIN_TIMEOUT_SECONDS = 10.0
CLOSE_TIMEOUT_SECONDS = 5.0
"""Time for a client to read the reason why it is disconnected."""
MAX_PENDING_REQUESTS = 1000
"""Requests of one connection that the market has not answered."""
MAX_QUEUED_MESSAGES = 10_000
"""Messages in the queue for a slow reader. Beyond it, the gateway disconnects the reader."""
GOING_AWAY, POLICY, TOO_SLOW = 1001, 1008, 1013

RequestId = str | int | None
_Convert = Callable[[int, Sequence[Record]], tuple[OrderReport, list[Trade]]]
"""Converts the result of a command about one order: `entered_order` or `changed_order`."""


class Login(msgspec.Struct, frozen=True, tag_field="op", tag="login", kw_only=True):
    """Log in."""

    key: str = ""
    """Your API key. Optional if the `Authorization` header has it."""
    client_id: str = ""
    """In a classroom, your name instead of a key. Without both, `guest`."""
    cancel_on_disconnect: bool = False
    """Cancel all open orders of the client when this connection ends."""
    grace_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_GRACE_SECONDS)] = 0
    """Time to connect again before `cancel_on_disconnect` takes effect."""
    resume_from: Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)] | None = None
    """The `sequence` of the last report that you received. The gateway first sends the reports after it."""
    heartbeat_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] | None = None
    """Time between heartbeats. Without it, the gateway sends none."""
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
    """Request the state of an order."""

    order_id: str
    id: RequestId = None


class Ping(msgspec.Struct, frozen=True, tag_field="op", tag="ping", kw_only=True):
    """Check the connection. The answer is a pong."""

    id: RequestId = None


_Request = Login | EnterOrder | Amend | Cancel | CancelAllOrders | Get | Ping
_request_decoders: dict[bool, Any] = {False: json_decoder(_Request), True: msgpack_decoder(_Request)}
"""By whether the connection uses msgpack."""


class _Id(msgspec.Struct):
    id: RequestId = None


_id_decoders: dict[bool, Any] = {False: msgspec.json.Decoder(_Id), True: msgspec.msgpack.Decoder(_Id)}


class WebSocketSession:
    """One connection."""

    def __init__(self, socket: WebSocket, order_service: OrderService, access: Access) -> None:
        self._socket = socket
        self._order_service = order_service
        self._access = access
        self._client: ClientSession | None = None
        """None before the login."""
        self._connection = connection_of(socket)
        self._outgoing = Outgoing(self._connection.put_soon, MAX_QUEUED_MESSAGES)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending_requests = 0
        self._closing: tuple[int, str] | None = None
        """The code and the reason of the close frame."""
        self._ended = asyncio.Event()
        self._uses_msgpack = MSGPACK in socket.scope.get("subprotocols", ())
        self._cancel_on_disconnect = False
        self._grace_seconds = 0.0
        self._heartbeat: asyncio.Task[None] | None = None

    # --- the connection -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the connection until it ends."""
        await self._socket.accept(subprotocol=MSGPACK if self._uses_msgpack else None)
        self._connection.listen(self._on_message)
        headers = ("authorization", "client-id") if self._access.classroom else ("authorization",)
        if any(header in self._socket.headers for header in headers):
            try:
                self._connect(*self._access.identify(self._socket))
            except Refusal as refusal:
                self._send({"op": "login", "ok": False, **refusal.as_json()})
                self._close(POLICY, refusal.message)
        writing = asyncio.create_task(self._write())
        disconnected = asyncio.create_task(self._socket.receive())
        login_timeout = asyncio.get_running_loop().call_later(LOGIN_TIMEOUT_SECONDS, self._on_login_timeout)
        ending = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait((writing, disconnected, ending), return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                # The writer still has to send the reason to a client that reads.
                await asyncio.wait((writing,), timeout=CLOSE_TIMEOUT_SECONDS)
        finally:
            self._closing = self._closing or (GOING_AWAY, "")
            login_timeout.cancel()
            if self._client is not None:
                self._client.disconnect(self._grace_seconds if self._cancel_on_disconnect else None)
            # The market still answers the requests that were sent. Only their answers are dropped.
            tasks = [writing, disconnected, ending, *self._tasks, *([self._heartbeat] if self._heartbeat else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _on_login_timeout(self) -> None:
        if self._client is None:
            self._close(POLICY, f"no login within {LOGIN_TIMEOUT_SECONDS:g} s")

    def _on_revoked(self) -> None:
        self._close(POLICY, "the API key of this connection was revoked")

    def _close(self, code: int, reason: str) -> None:
        """Close the connection after the queued messages, unless they are too many."""
        if self._closing is None:
            self._closing = (code, reason)
            self._ended.set()
            self._outgoing.end()

    async def _write(self) -> None:
        while (content := await self._outgoing.next()) is not None:
            if not await self._connection.send_frame(content):
                return
        code, reason = self._closing or (GOING_AWAY, "")
        await self._socket.close(code, reason)

    # --- login ----------------------------------------------------------------------------------------------

    async def _on_login(self, request: Login) -> None:
        missed: list[tuple[int, OrderReport]] = []
        try:
            client_id, key_id = self._identify(request)
            if self._client is not None and self._client.client_id != client_id:
                raise Refusal(Code.FORBIDDEN, f"this connection is {self._client.client_id}'s: open another connection")
            if request.resume_from is not None:
                missed = await ClientSession(self._order_service, client_id).missed_reports(request.resume_from)
            # No other task runs from here to the end, so no report is missing between the missed and the next ones.
            self._connect(client_id, key_id)
        except Refusal as refusal:
            self._send({"id": request.id, "op": "login", "ok": False, **refusal.as_json()})
            return
        self._cancel_on_disconnect, self._grace_seconds = request.cancel_on_disconnect, request.grace_seconds
        sequence = self._order_service.report_id
        self._send({"id": request.id, "op": "login", "ok": True, "client_id": client_id, "sequence": sequence})
        for number, report in missed:
            self._on_report(number, report)
        if request.heartbeat_seconds is not None and self._heartbeat is None:
            self._heartbeat = asyncio.create_task(self._send_heartbeats(request.heartbeat_seconds))

    def _identify(self, request: Login) -> tuple[str, str]:
        """Return the client id and the key id of a login.

        Raises:
            Refusal: The key or the name is not valid.
        """
        if self._client is not None and not (request.key or request.client_id):
            return self._client.client_id, self._client.key_id
        return self._access.login(request.key, request.client_id)

    def _connect(self, client_id: str, key_id: str) -> ClientSession:
        """Start to receive the client's reports, with the newest key.

        Raises:
            Refusal: It is the admin, or the client has too many connections.
        """
        address = self._access.counted_address(self._socket)
        client = ClientSession(self._order_service, client_id, key_id, address)
        place_of(self._socket.scope).give_to(client_id)
        if self._client is not None:
            self._client.disconnect()
        client.connect(self._on_report, self._on_revoked)
        self._client = client
        return client

    async def _send_heartbeats(self, interval_seconds: float) -> None:
        while True:
            await asyncio.sleep(interval_seconds)
            sequence = self._order_service.report_id
            self._send({"op": "heartbeat", "timestamp": time_text(time.time_ns()), "sequence": sequence})

    # --- requests -------------------------------------------------------------------------------------------

    def _on_message(self, message: bytes) -> None:
        if self._closing is not None:
            return
        try:
            request = decode_json(_request_decoders[self._uses_msgpack], message)
        except Refusal as invalid:
            self._answer(_id_in(message, self._uses_msgpack), invalid.as_json())
            return
        if isinstance(request, Login):
            # The next messages need the login.
            self._connection.hold()
            self._start_task(self._on_login(request)).add_done_callback(lambda _: self._connection.release())
        elif isinstance(request, Ping):
            self._send({"id": request.id, "ok": True, "op": "pong"})
        else:
            try:
                self._on_request(request)
            except Exception as error:
                self._refuse(request.id, error)

    def _refuse(self, request_id: RequestId, error: Exception) -> None:
        """Answer with the refusal.

        This is not done where the error is caught: a frame that keeps an error which passed through it is a reference cycle,
        which stays in memory with all local variables until the garbage collector runs.
        """
        refusal = _refusal_of(error)
        self._answer(request_id, refusal.as_json())
        if refusal.code is Code.RATE_LIMITED:
            self._connection.hold()
            asyncio.get_running_loop().call_later(FLOOD_PAUSE_SECONDS, self._connection.release)

    def _on_request(self, request: EnterOrder | Amend | Cancel | CancelAllOrders | Get) -> None:
        """Send the command of a request. The answer follows.

        Raises:
            Refusal: The request is refused at once.
        """
        client = self._client
        if client is None and not self._access.classroom:
            raise Refusal(Code.UNAUTHENTICATED, 'log in first: {"op": "login", "key": "…"}')
        if self._pending_requests >= MAX_PENDING_REQUESTS:
            text = f"{MAX_PENDING_REQUESTS} requests of this connection wait for an answer: send fewer at a time"
            raise Refusal(Code.UNAVAILABLE, text)
        client = client or self._connect(*self._access.login("", ""))
        client.admit(entering=isinstance(request, EnterOrder))
        if isinstance(request, EnterOrder):
            if client.must_open_account:
                self._hold_for(request.id, self._enter_first(client, request))
            else:
                self._enter(client, request)
        elif isinstance(request, Cancel):
            number = order_id(request.order_id)
            on_result = partial(self._on_order_result, request.id, changed_order, number)
            self._send_command(client, client.cancel_order(number), on_result)
        elif isinstance(request, Amend):
            known = client.known_report(order_id(request.order_id))
            if known is not None:
                self._amend(client, known, request)
            else:
                self._hold_for(request.id, self._amend_stored(client, request))
        elif isinstance(request, CancelAllOrders):
            command = client.cancel_all_orders(request.symbol, request.side)
            self._send_command(client, command, partial(self._on_cancel_all_result, request.id))
        else:
            number = order_id(request.order_id)
            known = client.known_report(number)
            if known is not None:
                self._answer_state(request.id, known)
            else:
                # One query of a connection at a time. A thousand that wait for the database would take megabytes.
                self._hold_for(request.id, self._answer_stored_state(client, request.id, number))

    def _send_command(self, client: ClientSession, command: Command, on_result: OnResult) -> None:
        self._pending_requests += 1
        client.send(command, on_result)

    def _enter(self, client: ClientSession, request: EnterOrder) -> None:
        command = client.new_order(request)
        on_result = partial(self._on_entry_result, client, request.id, command.command_id)
        self._send_command(client, command, on_result)

    def _amend(self, client: ClientSession, known: OrderReport, request: Amend) -> None:
        on_result = partial(self._on_order_result, request.id, changed_order, known.order_id)
        self._send_command(client, client.amend_order(known, request), on_result)

    async def _enter_first(self, client: ClientSession, request: EnterOrder) -> None:
        """Open the account of a client in a classroom, and enter its first order."""
        await client.open_first_account()
        self._enter(client, request)

    async def _amend_stored(self, client: ClientSession, request: Amend) -> None:
        """Change an order that is only in the database."""
        self._amend(client, await client.find(order_id(request.order_id)), request)

    async def _answer_stored_state(self, client: ClientSession, request_id: RequestId, number: int) -> None:
        """Answer with the state of an order that is only in the database."""
        self._answer_state(request_id, await client.find(number))

    def _answer_state(self, request_id: RequestId, report: OrderReport, is_duplicate: bool = False) -> None:
        security = self._order_service.security(report.symbol)
        self._answer(request_id, {"order": order_view(report, security, is_duplicate=is_duplicate)})

    def _hold_for(self, request_id: RequestId, work: Coroutine[Any, Any, None]) -> None:
        """Start `work`, which sends a command or queries the database, and read no further request until it is done. So the
        requests of a connection are applied in the order of arrival."""
        self._pending_requests += 1
        self._connection.hold()
        self._start_task(self._release_after(request_id, work))

    async def _release_after(self, request_id: RequestId, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._refuse(request_id, error)
        finally:
            self._pending_requests -= 1
            self._connection.release()

    def _start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- results and reports --------------------------------------------------------------------------------

    def _on_entry_result(
        self, client: ClientSession, request_id: RequestId, order_number: int, result: list[Record] | Refusal
    ) -> None:
        """Answer an order. If it repeats an earlier one, that one is the answer."""
        first_id = 0 if isinstance(result, Refusal) else first_order_id(result)
        if not first_id:
            self._on_order_result(request_id, entered_order, order_number, result)
        elif (known := client.known_report(first_id)) is not None:
            self._pending_requests -= 1
            self._answer_state(request_id, known, is_duplicate=True)
        else:
            self._start_task(self._answer_stored(client, request_id, first_id))

    async def _answer_stored(self, client: ClientSession, request_id: RequestId, first_id: int) -> None:
        """Answer an order that repeats one which is only in the database."""
        try:
            report = (await client.first_order(first_id)).report
        except Exception as error:
            self._answer(request_id, _refusal_of(error).as_json())
        else:
            self._answer_state(request_id, report, is_duplicate=True)
        finally:
            self._pending_requests -= 1

    def _on_order_result(
        self, request_id: RequestId, convert: _Convert, order_number: int, result: list[Record] | Refusal
    ) -> None:
        """Answer an order, an amendment or a cancel."""
        self._pending_requests -= 1
        if isinstance(result, Refusal):
            self._answer(request_id, result.as_json())
            return
        try:
            report, trades = convert(order_number, result)
            answer: dict[str, Any] = {"order": order_view(report, self._order_service.security(report.symbol), trades)}
        except Exception as error:
            self._on_rejected(request_id, order_number, error)
        else:
            self._answer(request_id, answer)

    def _on_rejected(self, request_id: RequestId, order_number: int, error: Exception) -> None:
        """Answer with the market's refusal. This is not done where the error is caught, for the reason in `_refuse`."""
        is_closed = isinstance(error, Refusal) and error.code is Code.ORDER_CLOSED
        if is_closed and self._client is not None and self._order_service.known_report(order_number) is None:
            self._pending_requests += 1
            self._start_task(self._answer_closed(self._client, request_id, order_number, _refusal_of(error)))
        else:
            self._refuse(request_id, error)

    async def _answer_closed(
        self, client: ClientSession, request_id: RequestId, order_number: int, refusal: Refusal
    ) -> None:
        """Answer that an order has ended. It is not in memory, so it is unknown unless the database has it."""
        answer = refusal.as_json()
        try:
            await client.find(order_number)
        except Exception as error:
            answer = _refusal_of(error).as_json()
        self._pending_requests -= 1
        self._answer(request_id, answer)

    def _on_cancel_all_result(self, request_id: RequestId, result: list[Record] | Refusal) -> None:
        self._pending_requests -= 1
        if isinstance(result, Refusal):
            self._answer(request_id, result.as_json())
            return
        security = self._order_service.security
        reports = [report for report in result if isinstance(report, OrderReport)]
        self._answer(request_id, {"orders": [order_view(report, security(report.symbol)) for report in reports]})

    def _on_report(self, number: int, report: OrderReport) -> None:
        view = report_view(report, self._order_service.security(report.symbol))
        self._send({"op": "report", "sequence": number, "report": view})

    def _answer(self, request_id: RequestId, content: dict[str, Any]) -> None:
        self._send({"id": request_id, "ok": "error" not in content, **content})

    def _send(self, message: dict[str, Any]) -> None:
        binary = self._uses_msgpack
        content = frame(msgpack_bytes(message), binary=True) if binary else json_frame(message)
        self._outgoing.send(content)
        if self._outgoing.overflowed.is_set():
            self._close(TOO_SLOW, f"{MAX_QUEUED_MESSAGES} messages wait to be read")


def _refusal_of(error: Exception) -> Refusal:
    """Return the refusal of a request that failed. A fault of the exchange is logged, and becomes `INTERNAL`."""
    if isinstance(error, Refusal):
        return error
    _logger.error("fault in a request", exc_info=error)
    return Refusal(Code.INTERNAL, "a fault in the exchange; its log has the details")


def _id_in(message: bytes, is_msgpack: bool) -> RequestId:
    """Return the id of a request that is not valid otherwise, or None."""
    try:
        found: RequestId = _id_decoders[is_msgpack].decode(message).id
        return found
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def add_websocket(app: FastAPI, order_service: OrderService, access: Access) -> None:
    """Add `/ws/orders` to `app`."""

    @app.websocket("/ws/orders")
    async def ws_orders(socket: WebSocket) -> None:
        await WebSocketSession(socket, order_service, access).run()
