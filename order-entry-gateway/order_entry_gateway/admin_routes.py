"""The routes `/admin`: securities, accounts, transfers and saved books."""

from typing import Annotated

from fastapi import Query, Request, Response

from microexchange.access import checked_client_id
from microexchange.commands import LoadBook, ResumeClient, SaveBook, SuspendClient
from microexchange.enums import OrderStatus, TradingState
from microexchange.number_fields import json_decoder
from microexchange.numbers import cash_to_text
from microexchange.reports import AccountOpened, AssetsTransferred, BookLoaded, BookSaved, OrderReport
from microexchange.schemas import AccountView, TransferView
from microexchange.securities import shares_text
from microexchange.web import decode_json, json_response, read_body
from order_entry_gateway.account_routes import account_view
from order_entry_gateway.administration import Administration
from order_entry_gateway.order_service import OrderService
from order_entry_gateway.requests import (
    PRINTABLE,
    FundingRequest,
    ListingRequest,
    StateRequest,
    TransferRequest,
    find_security,
    list_security,
    transfer_assets,
)
from order_entry_gateway.routing import ACCEPTED, RouteContext

_listing_decoder = json_decoder(ListingRequest)
_state_decoder = json_decoder(StateRequest)
_funding_decoder = json_decoder(FundingRequest)
_transfer_decoder = json_decoder(TransferRequest)

_SavedName = Annotated[str, Query(min_length=1, max_length=64, pattern=PRINTABLE, description="Name of the saved book.")]
_CHANGE_DOC = (None, ACCEPTED, 200, 401, 403, 404, 422, 503, 504)
"""Body, answer and statuses of a route without a body."""


def add_security_routes(context: RouteContext) -> None:
    """Add the routes that list and delist securities, and move their markets to another state."""
    app, doc = context.app, context.documenter("admin")
    order_service, access, administration = context.order_service, context.access, Administration(context.order_service)

    @app.post("/admin/securities", **doc("List a security", ListingRequest, ACCEPTED, 201, 401, 403, 409, 422, 503, 504))
    async def post_security(request: Request) -> Response:
        access.admin(request)
        wanted = decode_json(_listing_decoder, await read_body(request))
        command_id, now = order_service.next_command()
        await administration.request(list_security(wanted, command_id, now))
        return json_response({"ok": True}, 201)

    @app.delete("/admin/securities/{symbol}", **doc("Delist a security permanently", *_CHANGE_DOC))
    async def delete_security(request: Request, symbol: str) -> Response:
        access.admin(request)
        find_security(order_service.state.securities, symbol)
        await administration.set_state(symbol, TradingState.DELISTED)
        return json_response({"ok": True})

    summary = "Halt, resume, open, close, or begin an auction"

    @app.put(
        "/admin/securities/{symbol}/state",
        **doc(summary, StateRequest, ACCEPTED, 200, 401, 403, 404, 422, 503, 504),
    )
    async def put_state(request: Request, symbol: str) -> Response:
        access.admin(request)
        wanted = decode_json(_state_decoder, await read_body(request))
        find_security(order_service.state.securities, symbol)
        await administration.set_state(symbol, wanted.state)
        return json_response({"ok": True})


def add_admin_client_routes(context: RouteContext) -> None:
    """Add the routes that open funded accounts, and suspend clients."""
    app, doc = context.app, context.documenter("admin")
    order_service, access, administration = context.order_service, context.access, Administration(context.order_service)
    summary = "Open an account on your terms, once. Each request returns a new key"

    @app.put(
        "/admin/clients/{client_id}",
        **doc(summary, FundingRequest, AccountView, 200, 401, 403, 404, 409, 422, 503, 504),
    )
    async def put_client(request: Request, client_id: str) -> Response:
        access.admin(request)
        wanted = decode_json(_funding_decoder, await read_body(request))
        opened = await administration.fund_account(checked_client_id(client_id), wanted)
        issued, now = await context.issue_key(client_id)
        return json_response(account_view(order_service, issued, opened or AccountOpened(0, now, client_id, 0, {})))

    @app.put("/admin/clients/{client_id}/suspended", **doc("Stop trading for a client", *_CHANGE_DOC))
    async def put_suspended(request: Request, client_id: str) -> Response:
        access.admin(request)
        command_id, now = order_service.next_command(even_if_full=True)
        await administration.request(SuspendClient(command_id, now, checked_client_id(client_id), "by the admin"))
        return json_response({"ok": True})

    @app.delete("/admin/clients/{client_id}/suspended", **doc("Let a client trade again", *_CHANGE_DOC))
    async def delete_suspended(request: Request, client_id: str) -> Response:
        access.admin(request)
        command_id, now = order_service.next_command(even_if_full=True)
        await administration.request(ResumeClient(command_id, now, checked_client_id(client_id)))
        return json_response({"ok": True})


def add_transfer_routes(context: RouteContext) -> None:
    """Add the routes of deposits and withdrawals."""
    app, doc = context.app, context.documenter("admin")
    order_service, administration = context.order_service, Administration(context.order_service)
    statuses = (201, 401, 403, 404, 409, 422, 503, 504)

    async def transfer(request: Request, client_id: str, sign: int) -> Response:
        context.access.admin(request)
        wanted = decode_json(_transfer_decoder, await read_body(request))
        command_id, now = order_service.next_command()
        securities = order_service.state.securities
        command = transfer_assets(wanted, securities, checked_client_id(client_id), sign, command_id, now)
        reports = await administration.request(command)
        (done,) = [report for report in reports if isinstance(report, AssetsTransferred)]
        return json_response(_transfer_view(order_service, done), 201)

    @app.post(
        "/admin/clients/{client_id}/deposits",
        **doc("Give a client cash or shares", TransferRequest, TransferView, *statuses),
    )
    async def post_deposit(request: Request, client_id: str) -> Response:
        return await transfer(request, client_id, 1)

    @app.post(
        "/admin/clients/{client_id}/withdrawals",
        **doc("Take cash or shares from a client", TransferRequest, TransferView, *statuses),
    )
    async def post_withdrawal(request: Request, client_id: str) -> Response:
        return await transfer(request, client_id, -1)


def add_book_routes(context: RouteContext) -> None:
    """Add the routes that save and load a security's book."""
    app, doc = context.app, context.documenter("admin")
    order_service, access, administration = context.order_service, context.access, Administration(context.order_service)

    @app.post("/admin/save", **doc("Save the orders of a book", *_CHANGE_DOC))
    async def post_save(request: Request, symbol: str, name: _SavedName = "default") -> Response:
        access.admin(request)
        find_security(order_service.state.securities, symbol)
        command_id, now = order_service.next_command()
        reports = await administration.request(SaveBook(command_id, now, symbol, name))
        count = sum(report.orders for report in reports if isinstance(report, BookSaved))
        return json_response({"ok": True, "orders": count})

    @app.post("/admin/load", **doc("Replace the orders of a book by the saved ones", *_CHANGE_DOC))
    async def post_load(request: Request, symbol: str, name: _SavedName = "default") -> Response:
        access.admin(request)
        find_security(order_service.state.securities, symbol)
        command_id, now = order_service.next_command()
        reports = await administration.request(LoadBook(command_id, now, symbol, name))
        refused = [r for r in reports if isinstance(r, OrderReport) and r.status is OrderStatus.REJECTED]
        count = sum(report.orders for report in reports if isinstance(report, BookLoaded))
        return json_response({"ok": True, "orders": count, "refused": [context.order_view(report) for report in refused]})


def _transfer_view(order_service: OrderService, done: AssetsTransferred) -> TransferView:
    return TransferView(
        transfer_id=str(done.command_id),
        client_id=done.client_id,
        cash=cash_to_text(done.cash),
        shares=shares_text(order_service.state.securities, done.shares),
        memo=done.memo,
    )
