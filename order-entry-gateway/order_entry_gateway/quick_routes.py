"""The ways in of classroom mode: the quick routes, and the simple dialect. Elsewhere they answer 404 with the reason."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.websockets import WebSocket

from microexchange.access import GUEST, Access, checked_client_id
from microexchange.commands import ListSecurity
from microexchange.enums import Side, TradingState
from microexchange.numbers import MAX_LOTS, MAX_TICKS, average_price, cash_to_text
from microexchange.refusals import Code, Refusal
from microexchange.reports import OrderReport, Trade
from microexchange.schemas import ErrorView
from microexchange.securities import checked_steps
from microexchange.web import decode_json, document, json_response, number_json, read_body, refuse
from order_entry_gateway.classroom import Blackboard
from order_entry_gateway.desk import OrderDesk
from order_entry_gateway.market_data import MarketData
from order_entry_gateway.requests import ListingRequest, OrderRequest, list_security
from order_entry_gateway.simple_dialect import SimpleSession

_CLOSED = "this is part of classroom mode: the exchange must be started with 'microexchange up --classroom' for it"


class QuickOrder(msgspec.Struct, frozen=True):
    """An order of a class."""

    stock: str
    price: Decimal
    quantity: Decimal
    uid: str | int | None = None
    """Your name; without it, the one in the header `Client-ID`, or `guest`."""


class QuickAnswer(msgspec.Struct, frozen=True):
    """What came of it. Numbers are JSON numbers."""

    status: str
    """`filled`, `queued`, or `partly filled`."""
    message: str
    order_id: str
    filled: Decimal
    queued: Decimal
    average_price: Decimal | None
    """Of what is filled."""


_decoder = msgspec.json.Decoder(QuickOrder)


def add_classroom(app: FastAPI, desk: OrderDesk, access: Access, market_data: MarketData) -> None:
    """Adds the quick routes and the simple dialect to `app`; where the market is no classroom, what says so."""
    if desk.board is None:
        _add_refusals(app)
    else:
        _add_routes(app, desk, access, desk.board, market_data)


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


def _add_refusals(app: FastAPI) -> None:
    async def closed() -> Response:
        return refuse(Refusal(Code.NOT_FOUND, _CLOSED))

    for method, path in QUICK_ROUTES:
        app.add_api_route(path, closed, methods=[method], include_in_schema=False)

    @app.websocket("/")
    async def ws_closed(socket: WebSocket) -> None:
        await socket.send_denial_response(refuse(Refusal(Code.NOT_FOUND, _CLOSED)))


def _add_routes(app: FastAPI, desk: OrderDesk, access: Access, board: Blackboard, market_data: MarketData) -> None:
    doc = document(app, QuickOrder, QuickAnswer, ErrorView)
    number, anything = {"type": "number"}, {"type": "object"}
    refused = (400, 401, 403, 404, 409, 422, 429, 503, 504)

    def sender(request: Request, wanted: QuickOrder) -> str:
        if wanted.uid is None or "authorization" in request.headers:
            return access.client(request)
        return checked_client_id(str(wanted.uid) or GUEST, "uid")

    async def enter(request: Request, wanted: QuickOrder, side: Side, post_only: bool) -> tuple[OrderReport, list[Trade]]:
        client_id = sender(request, wanted)
        desk.admit(client_id, entering=True)
        order = OrderRequest(
            symbol=wanted.stock, side=side, quantity=wanted.quantity, price=wanted.price, post_only=post_only
        )
        return await desk.enter(client_id, order)

    async def trade(request: Request, side: Side) -> Response:
        """Enters an order that matches. A market that collects what was added opens first."""
        wanted = decode_json(_decoder, await read_body(request))
        if wanted.stock in board.pre_open:
            await desk.set_state(wanted.stock, TradingState.CONTINUOUS)
        report, trades = await enter(request, wanted, side, post_only=False)
        other = Side.SELL if side is Side.BUY else Side.BUY
        if not report.leaves_quantity:
            return answer("filled", "all of it traded", report, 200)
        if trades:
            return answer("partly filled", "some of it traded, the rest is queued", report, 413)
        if board.orders.side(wanted.stock, other):
            return answer("queued", f"nobody {other}s at that price: all of it is queued", report, 413)
        return answer("queued", f"nobody {other}s: all of it is queued", report, 202)

    async def add(request: Request, side: Side) -> Response:
        """Queues an order. Where it would trade, its market collects orders from there on, until somebody comes to trade."""
        wanted = decode_json(_decoder, await read_body(request))
        if wanted.stock not in desk.view.securities:
            access.admin(request)
            await list_stock(wanted)
        try:
            report, _ = await enter(request, wanted, side, post_only=wanted.stock not in board.pre_open)
        except Refusal as refusal:
            if refusal.code is not Code.WOULD_TRADE:
                raise
            await desk.set_state(wanted.stock, TradingState.PRE_OPEN)
            report, _ = await enter(request, wanted, side, post_only=False)
        return answer("queued", "it is queued", report, 200)

    async def list_stock(wanted: QuickOrder) -> None:
        command_id, now = desk.next_command()
        command: ListSecurity = list_security(ListingRequest(symbol=wanted.stock, name=wanted.stock), command_id, now)
        checked_steps("price", wanted.price, Decimal(command.tick_size), "tick size", MAX_TICKS)
        checked_steps("quantity", wanted.quantity, Decimal(command.lot_size), "lot size", MAX_LOTS)
        try:
            await desk.command(command)
        except Refusal as refusal:
            if refusal.code is not Code.SECURITY_EXISTS:
                raise

    def answer(status: str, message: str, report: OrderReport, http_status: int) -> Response:
        lot, filled = desk.security(report.symbol).lot_size, report.cumulative_quantity
        average = average_price(report.notional, filled, lot)
        view = QuickAnswer(
            status,
            message,
            str(report.order_id),
            filled * lot,
            report.leaves_quantity * lot,
            None if average is None else Decimal(average),
        )
        return in_numbers(view, http_status)

    def in_numbers(content: Any, http_status: int = 200) -> Response:
        return Response(number_json(content), http_status, media_type="application/json")

    def quick_route(action: Callable[[Request, Side], Awaitable[Response]], side: Side) -> Any:
        async def post(request: Request) -> Response:
            return await action(request, side)

        return post

    for path, action, side in (
        ("/buy", trade, Side.BUY),
        ("/sell", trade, Side.SELL),
        ("/add_buy", add, Side.BUY),
        ("/add_sell", add, Side.SELL),
    ):
        summary = f"{'Queue a' if action is add else 'A'} {side} order"
        described = doc(summary, QuickOrder, QuickAnswer, 200, *refused)
        if action is trade:
            content = described["responses"][200]["content"]
            described["responses"][202] = {"description": "Queued: the other side is empty", "content": content}
            described["responses"][413] = {"description": "Some or all of it is queued", "content": content}
        app.add_api_route(path, quick_route(action, side), methods=["POST"], tags=["classroom"], name=path[1:], **described)

    @app.post("/clearbook", tags=["classroom"], **doc("Cancel all orders of everybody", None, anything, 200, 403, 503, 504))
    async def post_clearbook(request: Request) -> Response:
        access.admin(request)
        clients = sorted(client for client, orders in desk.view.open_orders.items() if orders > 0)
        cancelled = [await desk.cancel_all(client_id, "", None) for client_id in clients]
        return json_response({"ok": True, "cancelled": sum(map(len, cancelled))})

    @app.get("/orderbook", tags=["classroom"], **doc("All orders of all books", None, anything, 200))
    async def get_orderbook() -> Response:
        return in_numbers({side: queues(side) for side in (Side.SELL, Side.BUY)})

    def queues(side: Side) -> dict[str, list[dict[str, Any]]]:
        """The orders of one side by stock: a stock is there only if it has some."""
        found = ((symbol, queue(symbol, side)) for symbol in board.orders.symbols())
        return {symbol: orders for symbol, orders in found if orders}

    def queue(symbol: str, side: Side) -> list[dict[str, Any]]:
        security = desk.security(symbol)
        return [
            {
                "name": symbol,
                "uid": report.client_id,
                "price": (report.price or 0) * security.tick_size,
                "quantity": board.orders.shown(report) * security.lot_size,
            }
            for report in board.orders.side(symbol, side)
        ]

    @app.get("/quotes", tags=["classroom"], **doc("Last prices of what has traded", None, anything, 200))
    async def get_quotes() -> Response:
        prices = sorted(board.last_prices.items())
        return in_numbers({symbol: ticks * desk.security(symbol).tick_size for symbol, ticks in prices})

    @app.get("/profit", tags=["classroom"], **doc("What the exchange has made", None, number, 200))
    async def get_profit() -> Response:
        return in_numbers(Decimal(cash_to_text(board.profit)))

    @app.get("/", tags=["classroom"], **doc("Whether the exchange is there; for a browser, its pages", None, anything, 200))
    async def get_root(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return market_data.forward()
        return json_response({"status": "alive"})

    @app.websocket("/")
    async def ws_root(socket: WebSocket) -> None:
        await SimpleSession(socket, desk, access, board).run()
