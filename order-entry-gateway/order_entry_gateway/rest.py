"""The gateway's REST interface."""

import asyncio
import time
from dataclasses import dataclass
from hmac import compare_digest
from typing import Annotated, Any, Literal

import msgspec
from fastapi import FastAPI, Query, Request, Response

from microexchange.access import Access, checked_client_id
from microexchange.auth import ADMIN, IssuedKey
from microexchange.commands import LoadBook, ResumeClient, SaveBook, SuspendClient
from microexchange.enums import OrderStatus, Side, TradingState
from microexchange.ids import MAX_ID
from microexchange.numbers import cash_to_text
from microexchange.refusals import Code, Refusal
from microexchange.reports import AccountOpened, AssetsTransferred, BookLoaded, BookSaved, KeyIssued, OrderReport
from microexchange.schemas import (
    AccountView,
    BatchAnswer,
    ErrorView,
    FillsView,
    KeyView,
    OrdersView,
    OrderView,
    TransferView,
    fill_view,
    order_view,
    time_text,
)
from microexchange.web import decode_json, document, json_response, read_body
from order_entry_gateway.desk import OrderDesk
from order_entry_gateway.market_data import MarketData
from order_entry_gateway.requests import (
    PRINTABLE,
    AmendRequest,
    ClientRequest,
    FundingRequest,
    ListingRequest,
    OrderRequest,
    StateRequest,
    TransferRequest,
    find_security,
    list_security,
    transfer_assets,
)
from order_entry_gateway.requests import order_id as parse_order_id

_order_decoder = msgspec.json.Decoder(OrderRequest)
_batch_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_amend_decoder = msgspec.json.Decoder(AmendRequest)
_listing_decoder = msgspec.json.Decoder(ListingRequest)
_state_decoder = msgspec.json.Decoder(StateRequest)
_client_decoder = msgspec.json.Decoder(ClientRequest)
_funding_decoder = msgspec.json.Decoder(FundingRequest)
_transfer_decoder = msgspec.json.Decoder(TransferRequest)


MAX_IN_A_BATCH = 500
SavedName = Annotated[str, Query(min_length=1, max_length=64, pattern=PRINTABLE, description="Name of the saved book.")]


@dataclass(frozen=True)
class Registration:
    """Who may open an account."""

    mode: str
    """`open`, `invitation` or `admin`. The admin always may."""
    code: str = ""
    """The invitation code."""

    def check(self, access: Access, request: Request, code: str) -> None:
        """Raises `Refusal` unless whoever sent that request, with that code, may."""
        if self.mode == "open" or access.is_admin(request):
            return
        if self.mode == "admin":
            raise Refusal(Code.FORBIDDEN, "the admin opens accounts here: ask for one")
        if not compare_digest(code.encode(), self.code.encode()):
            raise Refusal(Code.FORBIDDEN, "an account needs the invitation code: ask for it", "invitation_code")


def add_routes(
    app: FastAPI, desk: OrderDesk, access: Access, registration: Registration, market_data: MarketData | None = None
) -> None:
    """Adds the routes of order entry to `app`. With `market_data`, `GET /orders/{clientId}` is the feed's."""
    doc = document(
        app,
        OrderRequest,
        AmendRequest,
        ClientRequest,
        FundingRequest,
        StateRequest,
        TransferRequest,
        ListingRequest,
        OrderView,
        OrdersView,
        BatchAnswer,
        FillsView,
        KeyView,
        AccountView,
        TransferView,
        ErrorView,
    )
    orders = {"type": "array", "items": {"$ref": "#/components/schemas/OrderView"}}
    accepted = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    key_list = {"type": "array", "items": {"$ref": "#/components/schemas/KeyView"}}
    cancel_statuses = (401, 404, 409, 422, 503, 504)
    batch = {"type": "array", "items": {"$ref": "#/components/schemas/BatchAnswer"}}
    batch_doc = (f"Enter up to {MAX_IN_A_BATCH} orders", list[OrderRequest], batch, 200, 400, 401, 413, 422)
    admin_doc = (None, accepted, 200, 401, 403, 404, 422, 503, 504)

    @app.post(
        "/clients",
        tags=["clients"],
        **doc("Open an account", ClientRequest, AccountView, 201, 401, 403, 409, 422, 503, 504),
    )
    async def post_clients(request: Request) -> Response:
        wanted = decode_json(_client_decoder, await read_body(request))
        registration.check(access, request, wanted.invitation_code)
        opened = await desk.open_account(wanted)
        issued = access.keys.issue(opened.client_id)
        await desk.tell(KeyIssued(opened.client_id, issued.key_id, time.time_ns()))
        return json_response(account_view(desk, issued, opened), 201)

    @app.get("/clients/{client_id}/keys", tags=["clients"], **doc("Your API keys", None, key_list, 200, 401, 403, 422, 503))
    async def get_keys(request: Request, client_id: str) -> Response:
        access.owner(request, checked_client_id(client_id))
        found = await desk.keys_of(client_id)
        views = [
            KeyView(key_id=key_id, issued_at=time_text(issued), revoked_at=None if revoked is None else time_text(revoked))
            for key_id, issued, revoked in found
        ]
        return json_response(views)

    @app.post(
        "/clients/{client_id}/keys",
        tags=["clients"],
        **doc("One more API key", None, KeyView, 201, 401, 403, 404, 422, 503, 504),
    )
    async def post_key(request: Request, client_id: str) -> Response:
        if access.owner(request, checked_client_id(client_id)) == ADMIN and not await desk.keys_of(client_id):
            raise Refusal(Code.UNKNOWN_CLIENT, f"{client_id[:32]!r} has no account")
        issued, now = access.keys.issue(client_id), time.time_ns()
        await desk.tell(KeyIssued(client_id, issued.key_id, now))
        view = KeyView(key_id=issued.key_id, issued_at=time_text(now), api_key=issued.key)
        return json_response(view, 201)

    @app.delete(
        "/clients/{client_id}/keys/{key_id}",
        tags=["clients"],
        **doc("Revoke an API key, at once", None, accepted, 200, 401, 403, 404, 422, 503, 504),
    )
    async def delete_key(request: Request, client_id: str, key_id: str) -> Response:
        access.owner(request, checked_client_id(client_id))
        if not desk.has_issued(client_id, key_id) and key_id not in {name for name, _, _ in await desk.keys_of(client_id)}:
            raise Refusal(Code.NOT_FOUND, f"{client_id[:32]!r} has no key {key_id[:32]!r}", "key_id")
        await desk.revoke(client_id, key_id)
        return json_response({"ok": True})

    @app.post(
        "/orders", tags=["orders"], **doc("Enter an order", OrderRequest, OrderView, 201, 401, 403, 404, 409, 422, 503, 504)
    )
    async def post_orders(request: Request) -> Response:
        client_id = access.client(request)
        wanted = decode_json(_order_decoder, await read_body(request))
        return json_response(await enter(client_id, wanted), 201)

    async def enter(client_id: str, wanted: OrderRequest) -> OrderView:
        desk.admit(client_id, entering=True)
        report, trades = await desk.enter(client_id, wanted)
        return order_view(report, desk.security(report.symbol), trades)

    @app.post("/orders/batch", tags=["orders"], **doc(*batch_doc))
    async def post_batch(request: Request) -> Response:
        client_id = access.client(request)
        entries = decode_json(_batch_decoder, await read_body(request))
        if len(entries) > MAX_IN_A_BATCH:
            raise Refusal(Code.TOO_LARGE, f"a batch has at most {MAX_IN_A_BATCH} orders")
        return json_response(await asyncio.gather(*(answer_of(client_id, bytes(entry)) for entry in entries)))

    async def answer_of(client_id: str, entry: bytes) -> dict[str, Any]:
        try:
            return {"ok": True, "order": await enter(client_id, decode_json(_order_decoder, entry))}
        except Refusal as refusal:
            return {"ok": False, **refusal.as_json()}

    @app.post("/orders/{order_id}/cancel", tags=["orders"], **doc("Cancel an order", None, accepted, 200, *cancel_statuses))
    async def post_cancel(
        request: Request,
        order_id: str,
        symbol: Annotated[str, Query(max_length=16, description="Only if it is of this security.")] = "",
    ) -> Response:
        client_id, number = access.client(request), parse_order_id(order_id)
        desk.admit(client_id)
        if symbol and (await desk.find(client_id, number)).symbol != symbol:
            raise Refusal(Code.UNKNOWN_ORDER, f"you have no order {number} of {symbol}", "symbol")
        await desk.cancel(client_id, number)
        return json_response({"ok": True})

    @app.get("/fills", tags=["orders"], **doc("Your fills, newest first", None, FillsView, 200, 401, 404, 422, 503))
    async def get_fills(
        request: Request,
        symbol: Annotated[str, Query(max_length=16, description="Of this security alone.")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int, Query(ge=1, le=MAX_ID, description="Fill id: only older ones.")] = MAX_ID,
    ) -> Response:
        client_id = access.client(request)
        if symbol:
            find_security(desk.view.securities, symbol)
        found = await desk.fills(client_id, symbol, before, limit)
        views = [fill_view(number, report, desk.security(report.symbol)) for number, report in found]
        more = views[-1].fill_id if len(views) == limit else None
        return json_response(FillsView(fills=views, next_before=more))

    @app.get("/orders", tags=["orders"], **doc("Your orders, newest first", None, OrdersView, 200, 401, 404, 422, 503))
    async def get_orders(
        request: Request,
        client_order_id: Annotated[
            str, Query(max_length=64, pattern=PRINTABLE, description="With this name of yours alone.")
        ] = "",
        symbol: Annotated[str, Query(max_length=16, description="Of this security alone.")] = "",
        status: Annotated[Literal["all", "open"], Query(description="Open ones alone, or all.")] = "all",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int, Query(ge=1, le=MAX_ID, description="Order id: only older ones.")] = MAX_ID,
    ) -> Response:
        client_id = access.client(request)
        if symbol:
            find_security(desk.view.securities, symbol)
        reports, more = await desk.search(client_id, client_order_id, symbol, status == "open", before, limit)
        views = [order_view(report, desk.security(report.symbol)) for report in reports]
        return json_response(OrdersView(orders=views, next_before=None if more is None else str(more)))

    @app.get("/orders/{order_id}", tags=["orders"], **doc("An order of yours", None, OrderView, 200, 401, 403, 404, 503))
    async def get_order(request: Request, order_id: str) -> Response:
        if market_data is not None and not order_id.isdecimal():
            return market_data.forward()
        return await _answer(request, order_id, desk.find)

    @app.delete(
        "/orders/{order_id}", tags=["orders"], **doc("Cancel an order", None, OrderView, 200, 401, 404, 409, 503, 504)
    )
    async def delete_order(request: Request, order_id: str) -> Response:
        return await _answer(request, order_id, desk.cancel)

    @app.patch(
        "/orders/{order_id}",
        tags=["orders"],
        **doc("Change an order", AmendRequest, OrderView, 200, 401, 404, 409, 422, 503, 504),
    )
    async def patch_order(request: Request, order_id: str) -> Response:
        client_id = access.client(request)
        wanted = decode_json(_amend_decoder, await read_body(request))
        desk.admit(client_id)
        report, trades = await desk.replace(client_id, parse_order_id(order_id), wanted)
        return json_response(order_view(report, desk.security(report.symbol), trades))

    @app.delete("/orders", tags=["orders"], **doc("Cancel all your orders", None, orders, 200, 401, 404, 422, 503, 504))
    async def delete_orders(
        request: Request,
        symbol: Annotated[str, Query(description="Of this security alone.")] = "",
        side: Annotated[Side | None, Query(description="Of this side alone.")] = None,
    ) -> Response:
        client_id = access.client(request)
        if symbol:
            find_security(desk.view.securities, symbol)
        desk.admit(client_id)
        reports = await desk.cancel_all(client_id, symbol, side)
        return json_response([order_view(report, desk.security(report.symbol)) for report in reports])

    @app.post(
        "/admin/securities",
        tags=["admin"],
        **doc("List a security", ListingRequest, accepted, 201, 401, 403, 409, 422, 503, 504),
    )
    async def post_security(request: Request) -> Response:
        access.admin(request)
        wanted = decode_json(_listing_decoder, await read_body(request))
        command_id, now = desk.next_command()
        await desk.command(list_security(wanted, command_id, now))
        return json_response({"ok": True}, 201)

    @app.delete("/admin/securities/{symbol}", tags=["admin"], **doc("Delist a security, for good", *admin_doc))
    async def delete_security(request: Request, symbol: str) -> Response:
        access.admin(request)
        find_security(desk.view.securities, symbol)
        await desk.set_state(symbol, TradingState.DELISTED)
        return json_response({"ok": True})

    @app.put(
        "/admin/securities/{symbol}/state",
        tags=["admin"],
        **doc("Halt, resume, open, close, or begin an auction", StateRequest, accepted, 200, 401, 403, 404, 422, 503, 504),
    )
    async def put_state(request: Request, symbol: str) -> Response:
        access.admin(request)
        wanted = decode_json(_state_decoder, await read_body(request))
        find_security(desk.view.securities, symbol)
        await desk.set_state(symbol, wanted.state)
        return json_response({"ok": True})

    @app.put(
        "/admin/clients/{client_id}",
        tags=["admin"],
        **doc(
            "Open an account with what you say, once; a new key to it each time",
            FundingRequest,
            AccountView,
            200,
            401,
            403,
            404,
            409,
            422,
            503,
            504,
        ),
    )
    async def put_client(request: Request, client_id: str) -> Response:
        access.admin(request)
        wanted = decode_json(_funding_decoder, await read_body(request))
        opened = await desk.fund(checked_client_id(client_id), wanted)
        issued, now = access.keys.issue(client_id), time.time_ns()
        await desk.tell(KeyIssued(client_id, issued.key_id, now))
        return json_response(account_view(desk, issued, opened or AccountOpened(0, now, client_id, 0, {})))

    @app.put("/admin/clients/{client_id}/suspended", tags=["admin"], **doc("Stop trading for a client", *admin_doc))
    async def put_suspended(request: Request, client_id: str) -> Response:
        access.admin(request)
        command_id, now = desk.next_command()
        await desk.command(SuspendClient(command_id, now, checked_client_id(client_id), "by the admin"))
        return json_response({"ok": True})

    @app.delete("/admin/clients/{client_id}/suspended", tags=["admin"], **doc("Let a client trade again", *admin_doc))
    async def delete_suspended(request: Request, client_id: str) -> Response:
        access.admin(request)
        command_id, now = desk.next_command()
        await desk.command(ResumeClient(command_id, now, checked_client_id(client_id)))
        return json_response({"ok": True})

    async def transfer(request: Request, client_id: str, sign: int) -> Response:
        access.admin(request)
        wanted = decode_json(_transfer_decoder, await read_body(request))
        command_id, now = desk.next_command()
        command = transfer_assets(wanted, desk.view.securities, checked_client_id(client_id), sign, command_id, now)
        (done,) = [report for report in await desk.command(command) if isinstance(report, AssetsTransferred)]
        return json_response(transfer_view(desk, done), 201)

    @app.post(
        "/admin/clients/{client_id}/deposits",
        tags=["admin"],
        **doc("Give a client cash or shares", TransferRequest, TransferView, 201, 401, 403, 404, 409, 422, 503, 504),
    )
    async def post_deposit(request: Request, client_id: str) -> Response:
        return await transfer(request, client_id, 1)

    @app.post(
        "/admin/clients/{client_id}/withdrawals",
        tags=["admin"],
        **doc("Take cash or shares from a client", TransferRequest, TransferView, 201, 401, 403, 404, 409, 422, 503, 504),
    )
    async def post_withdrawal(request: Request, client_id: str) -> Response:
        return await transfer(request, client_id, -1)

    @app.post("/admin/save", tags=["admin"], **doc("Remember the orders of a book", *admin_doc))
    async def post_save(request: Request, symbol: str, name: SavedName = "default") -> Response:
        access.admin(request)
        find_security(desk.view.securities, symbol)
        command_id, now = desk.next_command()
        reports = await desk.command(SaveBook(command_id, now, symbol, name))
        return json_response({"ok": True, "orders": sum(r.orders for r in reports if isinstance(r, BookSaved))})

    @app.post("/admin/load", tags=["admin"], **doc("Put a book back to what was saved", *admin_doc))
    async def post_load(request: Request, symbol: str, name: SavedName = "default") -> Response:
        access.admin(request)
        find_security(desk.view.securities, symbol)
        command_id, now = desk.next_command()
        reports = await desk.command(LoadBook(command_id, now, symbol, name))
        refused = [r for r in reports if isinstance(r, OrderReport) and r.status is OrderStatus.REJECTED]
        return json_response(
            {
                "ok": True,
                "orders": sum(report.orders for report in reports if isinstance(report, BookLoaded)),
                "refused": [order_view(report, desk.security(report.symbol)) for report in refused],
            }
        )

    async def _answer(request: Request, text: str, action: Any) -> Response:
        client_id, number = access.client(request), parse_order_id(text)
        desk.admit(client_id)
        report = await action(client_id, number)
        return json_response(order_view(report, desk.security(report.symbol)))


def transfer_view(desk: OrderDesk, done: AssetsTransferred) -> TransferView:
    """The answer to a deposit or a withdrawal."""
    return TransferView(
        transfer_id=str(done.command_id),
        client_id=done.client_id,
        cash=cash_to_text(done.cash),
        shares={symbol: desk.security(symbol).quantity_text(lots) for symbol, lots in done.shares.items()},
        memo=done.memo,
    )


def account_view(desk: OrderDesk, issued: IssuedKey, opened: AccountOpened) -> AccountView:
    """The answer to who opened an account."""
    return AccountView(
        client_id=opened.client_id,
        api_key=issued.key,
        key_id=issued.key_id,
        cash=cash_to_text(opened.cash),
        shares={symbol: desk.security(symbol).quantity_text(lots) for symbol, lots in opened.shares.items()},
    )
