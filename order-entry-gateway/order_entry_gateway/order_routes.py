"""The routes `/orders` and `/fills` of a client."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Query, Request, Response

from microexchange.enums import Side
from microexchange.ids import MAX_ID
from microexchange.number_fields import Whole, json_decoder
from microexchange.refusals import Code, Refusal
from microexchange.schemas import BatchAnswer, FillsView, OrdersView, OrderView, fill_view
from microexchange.web import decode_json, json_response, read_body
from order_entry_gateway.client_session import ClientSession
from order_entry_gateway.market_data import MarketData
from order_entry_gateway.requests import PRINTABLE, AmendRequest, OrderRequest
from order_entry_gateway.requests import order_id as parse_order_id
from order_entry_gateway.routing import ACCEPTED, RouteContext

_order_decoder = json_decoder(OrderRequest)
_batch_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_amend_decoder = json_decoder(AmendRequest)

MAX_BATCH_ORDERS = 500
_Symbol = Annotated[str, Query(max_length=16, description="Only orders of this security.")]
_Limit = Annotated[Whole, Query(ge=1, le=1000)]


def add_order_entry_routes(context: RouteContext) -> None:
    """Add the routes that enter orders, and the one that cancels by POST."""
    app, doc = context.app, context.documenter("orders")

    async def enter(client: ClientSession, wanted: OrderRequest) -> OrderView:
        client.admit(entering=True)
        return context.order_view(*await client.enter(wanted))

    async def enter_of_batch(client: ClientSession, entry: bytes) -> dict[str, Any]:
        try:
            return {"ok": True, "order": await enter(client, decode_json(_order_decoder, entry))}
        except Refusal as refusal:
            return {"ok": False, **refusal.as_json()}

    described = doc("Enter an order", OrderRequest, OrderView, 201, 401, 403, 404, 409, 422, 503, 504)
    content = described["responses"][201]["content"]
    described["responses"][200] = {"description": "An earlier request has entered the order", "content": content}

    @app.post("/orders", **described)
    async def post_orders(request: Request) -> Response:
        client = context.client(request)
        wanted = decode_json(_order_decoder, await read_body(request))
        entered = await enter(client, wanted)
        return json_response(entered, 200 if entered.duplicate else 201)

    summary = f"Enter up to {MAX_BATCH_ORDERS} orders"

    @app.post("/orders/batch", **doc(summary, list[OrderRequest], list[BatchAnswer], 200, 400, 401, 413, 422))
    async def post_batch(request: Request) -> Response:
        client = context.client(request)
        entries = decode_json(_batch_decoder, await read_body(request))
        if len(entries) > MAX_BATCH_ORDERS:
            raise Refusal(Code.TOO_LARGE, f"a batch has at most {MAX_BATCH_ORDERS} orders: send more batches")
        return json_response(await asyncio.gather(*(enter_of_batch(client, bytes(entry)) for entry in entries)))

    @app.post("/orders/{order_id}/cancel", **doc("Cancel an order", None, ACCEPTED, 200, 401, 404, 409, 422, 503, 504))
    async def post_cancel(
        request: Request,
        order_id: str,
        symbol: Annotated[str, Query(max_length=16, description="Only if the order is of this security.")] = "",
    ) -> Response:
        client, number = context.client(request), parse_order_id(order_id)
        client.admit()
        if symbol and (await client.find(number)).symbol != symbol:
            raise Refusal(Code.UNKNOWN_ORDER, f"you have no order {number} of {symbol}", "symbol")
        await client.cancel(number)
        return json_response({"ok": True})


def add_order_query_routes(context: RouteContext, market_data: MarketData | None) -> None:
    """Add the routes that read fills and orders. `GET /orders/{clientId}` is the feed's, if there is `market_data`."""
    app, doc = context.app, context.documenter("orders")
    service = context.order_service

    @app.get("/fills", **doc("Your fills, newest first", None, FillsView, 200, 401, 404, 422, 503))
    async def get_fills(
        request: Request,
        symbol: Annotated[str, Query(max_length=16, description="Only fills of this security.")] = "",
        limit: _Limit = 100,
        before: Annotated[Whole, Query(ge=1, le=MAX_ID, description="Only fills with lower ids.")] = MAX_ID,
    ) -> Response:
        client = context.client(request)
        if symbol:
            client.check_symbol(symbol)
        found = await client.fills(symbol, before, limit)
        views = [fill_view(number, report, service.security(report.symbol)) for number, report in found]
        next_before = views[-1].fill_id if len(views) == limit else None
        return json_response(FillsView(fills=views, next_before=next_before))

    @app.get("/orders", **doc("Your orders, newest first", None, OrdersView, 200, 401, 404, 422, 503))
    async def get_orders(
        request: Request,
        client_order_id: Annotated[
            str, Query(max_length=64, pattern=PRINTABLE, description="Only orders with this name of yours.")
        ] = "",
        symbol: _Symbol = "",
        status: Annotated[Literal["all", "open"], Query(description="All orders, or only open ones.")] = "all",
        limit: _Limit = 100,
        before: Annotated[Whole, Query(ge=1, le=MAX_ID, description="Only orders with lower ids.")] = MAX_ID,
    ) -> Response:
        client = context.client(request)
        if symbol:
            client.check_symbol(symbol)
        reports, next_before = await client.search(client_order_id, symbol, status == "open", before, limit)
        views = [context.order_view(report) for report in reports]
        return json_response(OrdersView(orders=views, next_before=None if next_before is None else str(next_before)))

    @app.get("/orders/{order_id}", **doc("An order of yours", None, OrderView, 200, 401, 403, 404, 503))
    async def get_order(request: Request, order_id: str) -> Response:
        if market_data is not None and not (order_id.isascii() and order_id.isdecimal()):
            return market_data.forward()
        client, number = context.client(request), parse_order_id(order_id)
        client.admit()
        return json_response(context.order_view(await client.find(number)))


def add_order_change_routes(context: RouteContext) -> None:
    """Add the routes that change and cancel orders."""
    app, doc = context.app, context.documenter("orders")

    @app.delete("/orders/{order_id}", **doc("Cancel an order", None, OrderView, 200, 401, 404, 409, 503, 504))
    async def delete_order(request: Request, order_id: str) -> Response:
        client, number = context.client(request), parse_order_id(order_id)
        client.admit()
        return json_response(context.order_view(await client.cancel(number)))

    @app.patch("/orders/{order_id}", **doc("Change an order", AmendRequest, OrderView, 200, 401, 404, 409, 422, 503, 504))
    async def patch_order(request: Request, order_id: str) -> Response:
        client = context.client(request)
        wanted = decode_json(_amend_decoder, await read_body(request))
        client.admit()
        return json_response(context.order_view(*await client.amend(parse_order_id(order_id), wanted)))

    @app.delete("/orders", **doc("Cancel all your orders", None, list[OrderView], 200, 401, 404, 422, 503, 504))
    async def delete_orders(
        request: Request,
        symbol: Annotated[str, Query(description="Only orders of this security.")] = "",
        side: Annotated[Side | None, Query(description="Only orders of this side.")] = None,
    ) -> Response:
        client = context.client(request)
        if symbol:
            client.check_symbol(symbol)
        client.admit()
        return json_response([context.order_view(report) for report in await client.cancel_all(symbol, side)])
