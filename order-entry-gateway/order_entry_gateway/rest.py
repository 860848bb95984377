"""The gateway's REST interface."""

from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from microexchange.auth import ADMIN, Keys
from microexchange.messages import AccountOpened
from microexchange.numbers import cash_to_text
from microexchange.presentation import AccountView, ErrorView, OrderView, order_view
from microexchange.refusals import Code, Refusal
from microexchange.web import decode_json, document, json_response, read_body
from order_entry_gateway.desk import OrderDesk
from order_entry_gateway.requests import ClientRequest, Endowment, OrderRequest, new_order, open_account, order_id

_order_decoder = msgspec.json.Decoder(OrderRequest)
_client_decoder = msgspec.json.Decoder(ClientRequest)


def client_of(keys: Keys, request: Request) -> str:
    """The client whose key came with the request. Raises `Refusal`."""
    who = keys.authenticate(request.headers.get("authorization"))
    if who == ADMIN:
        raise Refusal(Code.FORBIDDEN, "the admin has no account and cannot trade: use a client's key")
    return who


def add_routes(app: FastAPI, desk: OrderDesk, keys: Keys, endowment: Endowment) -> None:
    """Adds the routes of order entry to `app`."""
    doc = document(app, OrderRequest, ClientRequest, OrderView, AccountView, ErrorView)

    @app.post("/clients", tags=["clients"], **doc("Open an account", ClientRequest, AccountView, 201, 409, 422, 503))
    async def post_clients(request: Request) -> Response:
        wanted = decode_json(_client_decoder, await read_body(request))
        command_id, now = desk.next_command()
        command = open_account(wanted, desk.view.securities, endowment, command_id, now)
        opened = await desk.open_account(command)
        return json_response(account_view(desk, keys, opened), 201)

    @app.post(
        "/orders", tags=["orders"], **doc("Enter an order", OrderRequest, OrderView, 201, 401, 403, 404, 409, 422, 503)
    )
    async def post_orders(request: Request) -> Response:
        client_id = client_of(keys, request)
        wanted = decode_json(_order_decoder, await read_body(request))
        command_id, now = desk.next_command()
        command = new_order(wanted, desk.view.securities, client_id, command_id, now)
        report, trades = await desk.enter(command)
        return json_response(order_view(report, desk.security(report.symbol), trades), 201)

    @app.get("/orders/{order_id}", tags=["orders"], **doc("An order of yours", None, OrderView, 200, 401, 404, 503))
    async def get_order(request: Request, order_id: str) -> Response:
        return await _answer(request, order_id, desk.find)

    @app.delete("/orders/{order_id}", tags=["orders"], **doc("Cancel an order", None, OrderView, 200, 401, 404, 409, 503))
    async def delete_order(request: Request, order_id: str) -> Response:
        return await _answer(request, order_id, desk.cancel)

    async def _answer(request: Request, text: str, action: Any) -> Response:
        report = await action(client_of(keys, request), order_id(text))
        return json_response(order_view(report, desk.security(report.symbol)))


def account_view(desk: OrderDesk, keys: Keys, opened: AccountOpened) -> AccountView:
    """The answer to who opened an account."""
    return AccountView(
        client_id=opened.client_id,
        api_key=keys.issue(opened.client_id),
        cash=cash_to_text(opened.cash),
        shares={symbol: desk.security(symbol).quantity_text(lots) for symbol, lots in opened.shares.items()},
    )
