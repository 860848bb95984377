"""The interfaces of classroom mode: the quick routes and the simple dialect. Other markets answer 404 with the reason."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.websockets import WebSocket

from microexchange.access import Access
from microexchange.enums import Side, TradingState
from microexchange.number_fields import Amount, json_decoder
from microexchange.numbers import MAX_LOTS, MAX_TICKS, average_price, cash_to_text
from microexchange.refusals import Code, Refusal
from microexchange.reports import OrderReport
from microexchange.schemas import ErrorView
from microexchange.securities import checked_steps
from microexchange.web import decode_json, document, json_response, number_json, read_body, refuse
from order_entry_gateway import participant_routes
from order_entry_gateway.administration import Administration
from order_entry_gateway.classroom import ClassroomState
from order_entry_gateway.client_session import ClientSession, EnteredOrder
from order_entry_gateway.market_data import MarketData
from order_entry_gateway.market_policy import ClassroomPolicy
from order_entry_gateway.order_service import OrderService
from order_entry_gateway.requests import ListingRequest, OrderRequest, list_security
from order_entry_gateway.routing import RouteContext
from order_entry_gateway.seats import Seats
from order_entry_gateway.simple_dialect import SimpleSession

_CLOSED = "this is part of classroom mode: start the exchange with 'microexchange up --classroom' for it"
_ANY_OBJECT = {"type": "object"}
QUICK_ROUTES = (
    ("POST", "/buy"),
    ("POST", "/sell"),
    ("POST", "/add_buy"),
    ("POST", "/add_sell"),
    ("POST", "/clearbook"),
    ("GET", "/orderbook"),
    ("GET", "/quotes"),
    ("GET", "/profit"),
)


class QuickOrder(msgspec.Struct, frozen=True):
    """An order in a classroom."""

    stock: str
    price: Amount
    quantity: Amount
    uid: str | int | None = None
    """Your name. Without it, the one in the header `Client-ID`, or `guest`."""


class QuickAnswer(msgspec.Struct, frozen=True):
    """The outcome of an order. Numbers are JSON numbers."""

    status: str
    """`filled`, `queued`, or `partly filled`."""
    message: str
    order_id: str
    filled: Decimal
    queued: Decimal
    average_price: Decimal | None
    """Volume-weighted average price of the filled quantity."""


_decoder = json_decoder(QuickOrder)


def add_classroom_refusals(app: FastAPI) -> None:
    """Add routes that refuse requests of classroom mode with the reason."""

    async def closed() -> Response:
        return refuse(Refusal(Code.NOT_FOUND, _CLOSED))

    for method, path in QUICK_ROUTES:
        app.add_api_route(path, closed, methods=[method], include_in_schema=False)

    @app.websocket("/")
    async def ws_closed(socket: WebSocket) -> None:
        await socket.send_denial_response(refuse(Refusal(Code.NOT_FOUND, _CLOSED)))


def add_classroom_routes(
    app: FastAPI,
    order_service: OrderService,
    access: Access,
    policy: ClassroomPolicy,
    market_data: MarketData,
    pin: str,
    public_url: str,
) -> None:
    """Add the quick routes, the simple dialect and the seats to `app`."""
    types = (QuickOrder, QuickAnswer, *participant_routes.TYPES, ErrorView)
    context = RouteContext(app, order_service, access, document(app, *types))
    seats = Seats(order_service, pin, partial(_issue_key, context))
    participant_routes.add_join_routes(context, seats)
    participant_routes.add_seat_routes(context, seats, public_url)
    classroom_state = policy.classroom_state
    _add_order_routes(context, classroom_state)
    _add_market_routes(context, classroom_state)
    _add_root_routes(context, market_data)

    @app.websocket("/")
    async def ws_root(socket: WebSocket) -> None:
        await SimpleSession(socket, order_service, access, classroom_state).run()


async def _issue_key(context: RouteContext, client_id: str) -> str:
    issued, _ = await context.issue_key(client_id)
    return issued.key


class _QuickOrders:
    """Enters the orders of the quick routes."""

    def __init__(self, context: RouteContext, classroom_state: ClassroomState) -> None:
        self._context = context
        self._order_service = context.order_service
        self._administration = Administration(context.order_service)
        self._classroom_state = classroom_state

    async def trade(self, request: Request, side: Side) -> Response:
        """Enter an order that trades. If the market is in the state `pre_open`, it opens first."""
        wanted = decode_json(_decoder, await read_body(request))
        if wanted.stock in self._classroom_state.pre_open:
            await self._administration.set_state(wanted.stock, TradingState.CONTINUOUS)
        report, trades, _ = await self._enter(request, wanted, side, post_only=False)
        other = Side.SELL if side is Side.BUY else Side.BUY
        if not report.leaves_quantity:
            return self._answer("filled", "all of it traded", report, 200)
        if trades:
            return self._answer("partly filled", "some of it traded, the rest is queued", report, 413)
        if self._classroom_state.orders.side(wanted.stock, other):
            return self._answer("queued", f"nobody {other}s at that price: all of it is queued", report, 413)
        return self._answer("queued", f"nobody {other}s: all of it is queued", report, 202)

    async def add(self, request: Request, side: Side) -> Response:
        """Queue an order. If it would trade, its market moves to the state `pre_open`, until the next order that trades."""
        wanted = decode_json(_decoder, await read_body(request))
        if wanted.stock not in self._order_service.state.securities:
            self._context.access.admin(request)
            await self._list_stock(wanted)
        try:
            post_only = wanted.stock not in self._classroom_state.pre_open
            report = (await self._enter(request, wanted, side, post_only=post_only)).report
        except Refusal as refusal:
            if refusal.code is not Code.WOULD_TRADE:
                raise
            await self._administration.set_state(wanted.stock, TradingState.PRE_OPEN)
            report = (await self._enter(request, wanted, side, post_only=False)).report
        return self._answer("queued", "it is queued", report, 200)

    async def _enter(self, request: Request, wanted: QuickOrder, side: Side, post_only: bool) -> EnteredOrder:
        client = self._client(request, wanted)
        client.admit(entering=True)
        order = OrderRequest(
            symbol=wanted.stock, side=side, quantity=wanted.quantity, price=wanted.price, post_only=post_only
        )
        return await client.enter(order)

    def _client(self, request: Request, wanted: QuickOrder) -> ClientSession:
        if wanted.uid is None or "authorization" in request.headers:
            return self._context.client(request)
        client_id = self._context.access.named(str(wanted.uid), "uid")
        return ClientSession(self._order_service, client_id, address=self._context.access.counted_address(request))

    async def _list_stock(self, wanted: QuickOrder) -> None:
        command_id, now = self._order_service.next_command()
        command = list_security(ListingRequest(symbol=wanted.stock, name=wanted.stock), command_id, now)
        checked_steps("price", wanted.price, Decimal(command.tick_size), "tick size", MAX_TICKS)
        checked_steps("quantity", wanted.quantity, Decimal(command.lot_size), "lot size", MAX_LOTS)
        try:
            await self._administration.request(command)
        except Refusal as refusal:
            if refusal.code is not Code.SECURITY_EXISTS:
                raise

    def _answer(self, status: str, message: str, report: OrderReport, http_status: int) -> Response:
        lot, filled = self._order_service.security(report.symbol).lot_size, report.cumulative_quantity
        average = average_price(report.notional, filled, lot)
        view = QuickAnswer(
            status,
            message,
            str(report.order_id),
            filled * lot,
            report.leaves_quantity * lot,
            None if average is None else Decimal(average),
        )
        return _number_response(view, http_status)


def _add_order_routes(context: RouteContext, classroom_state: ClassroomState) -> None:
    doc, quick_orders = context.documenter("classroom"), _QuickOrders(context, classroom_state)

    def endpoint(action: Callable[[Request, Side], Awaitable[Response]], side: Side) -> Any:
        async def post(request: Request) -> Response:
            return await action(request, side)

        return post

    for path, side, trades in (
        ("/buy", Side.BUY, True),
        ("/sell", Side.SELL, True),
        ("/add_buy", Side.BUY, False),
        ("/add_sell", Side.SELL, False),
    ):
        summary = f"{'A' if trades else 'Queue a'} {side} order"
        refused = (400, 401, 403, 404, 409, 422, 429, 503, 504)
        described = doc(summary, QuickOrder, QuickAnswer, 200, *refused)
        if trades:
            content = described["responses"][200]["content"]
            described["responses"][202] = {"description": "Queued: the other side is empty", "content": content}
            described["responses"][413] = {"description": "Some or all of it is queued", "content": content}
        action = quick_orders.trade if trades else quick_orders.add
        context.app.add_api_route(path, endpoint(action, side), methods=["POST"], name=path[1:], **described)


def _add_market_routes(context: RouteContext, classroom_state: ClassroomState) -> None:
    app, doc, order_service = context.app, context.documenter("classroom"), context.order_service

    @app.post("/clearbook", **doc("Cancel all orders of all clients", None, _ANY_OBJECT, 200, 403, 503, 504))
    async def post_clearbook(request: Request) -> Response:
        context.access.admin(request)
        counts = order_service.state.open_order_counts
        clients = sorted(client_id for client_id, count in counts.items() if count > 0)
        cancelled = [await ClientSession(order_service, client_id).cancel_all() for client_id in clients]
        return json_response({"ok": True, "cancelled": sum(map(len, cancelled))})

    @app.get("/orderbook", **doc("All orders of all books", None, _ANY_OBJECT, 200))
    async def get_orderbook() -> Response:
        return _number_response({side: _queues(order_service, classroom_state, side) for side in (Side.SELL, Side.BUY)})

    @app.get("/quotes", **doc("Last prices of the securities that have traded", None, _ANY_OBJECT, 200))
    async def get_quotes() -> Response:
        prices = sorted(classroom_state.last_prices.items())
        return _number_response({symbol: ticks * order_service.security(symbol).tick_size for symbol, ticks in prices})

    @app.get("/profit", **doc("The profit of the exchange", None, {"type": "number"}, 200))
    async def get_profit() -> Response:
        return _number_response(Decimal(cash_to_text(classroom_state.profit)))


def _add_root_routes(context: RouteContext, market_data: MarketData) -> None:
    app, doc = context.app, context.documenter("classroom")

    @app.get("/", **doc("A sign that the exchange runs. For a browser, its pages", None, _ANY_OBJECT, 200))
    async def get_root(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return market_data.forward()
        return json_response({"status": "alive"})


def _queues(order_service: OrderService, classroom_state: ClassroomState, side: Side) -> dict[str, list[dict[str, Any]]]:
    """Return the orders of one side by symbol, without the securities that have none."""
    queues = {}
    for symbol in classroom_state.orders.symbols():
        security = order_service.security(symbol)
        orders = [
            {
                "name": symbol,
                "uid": report.client_id,
                "price": (report.price or 0) * security.tick_size,
                "quantity": classroom_state.orders.shown(report) * security.lot_size,
            }
            for report in classroom_state.orders.side(symbol, side)
        ]
        if orders:
            queues[symbol] = orders
    return queues


def _number_response(content: Any, http_status: int = 200) -> Response:
    """Return a JSON answer in which decimals are numbers."""
    return Response(number_json(content), http_status, media_type="application/json")
