"""The routes `/clients`: opening an account, and a client's API keys."""

from dataclasses import dataclass
from hmac import compare_digest

from fastapi import Request, Response

from microexchange.access import Access, checked_client_id
from microexchange.auth import ADMIN, IssuedKey
from microexchange.number_fields import json_decoder
from microexchange.numbers import cash_to_text
from microexchange.refusals import Code, Refusal
from microexchange.reports import AccountOpened
from microexchange.schemas import AccountView, KeyView, time_text
from microexchange.securities import shares_text
from microexchange.web import decode_json, json_response, read_body
from order_entry_gateway.administration import Administration
from order_entry_gateway.order_service import OrderService
from order_entry_gateway.requests import ClientRequest
from order_entry_gateway.routing import ACCEPTED, RouteContext

_client_decoder = json_decoder(ClientRequest)


@dataclass(frozen=True)
class Registration:
    """The rule for opening an account."""

    mode: str
    """`open`, `invitation` or `admin`. The admin can always open one."""
    code: str = ""
    """The invitation code."""

    def check(self, access: Access, request: Request, code: str) -> None:
        """Check that the sender of a request may open an account.

        Raises:
            Refusal: `FORBIDDEN`: only the admin may, or `code` is not the invitation code.
        """
        if self.mode == "open" or access.is_admin(request):
            return
        if self.mode == "admin":
            raise Refusal(Code.FORBIDDEN, "only the admin opens accounts here: ask the admin for one")
        if not compare_digest(code.encode(), self.code.encode()):
            raise Refusal(Code.FORBIDDEN, "an account needs the invitation code: ask the admin for it", "invitation_code")


def add_account_routes(context: RouteContext, registration: Registration) -> None:
    """Add the route that opens an account."""
    app, doc = context.app, context.documenter("clients")
    administration = Administration(context.order_service)

    @app.post("/clients", **doc("Open an account", ClientRequest, AccountView, 201, 401, 403, 409, 422, 429, 503, 504))
    async def post_clients(request: Request) -> Response:
        wanted = decode_json(_client_decoder, await read_body(request))
        registration.check(context.access, request, wanted.invitation_code)
        context.order_service.limits.admit_account(context.access.counted_address(request))
        opened = await administration.open_account(wanted)
        issued, _ = await context.issue_key(opened.client_id)
        return json_response(account_view(context.order_service, issued, opened), 201)


def add_key_routes(context: RouteContext) -> None:
    """Add the routes of a client's API keys."""
    app, doc = context.app, context.documenter("clients")
    order_service, access = context.order_service, context.access

    @app.get("/clients/{client_id}/keys", **doc("Your API keys", None, list[KeyView], 200, 401, 403, 422, 503))
    async def get_keys(request: Request, client_id: str) -> Response:
        access.owner(request, checked_client_id(client_id))
        found = await order_service.history.keys(client_id)
        views = [
            KeyView(key_id=key_id, issued_at=time_text(issued), revoked_at=None if revoked is None else time_text(revoked))
            for key_id, issued, revoked in found
        ]
        return json_response(views)

    @app.post("/clients/{client_id}/keys", **doc("One more API key", None, KeyView, 201, 401, 403, 404, 422, 503, 504))
    async def post_key(request: Request, client_id: str) -> Response:
        is_admin = access.owner(request, checked_client_id(client_id)) == ADMIN
        if is_admin and client_id not in order_service.state.clients:
            raise Refusal(Code.UNKNOWN_CLIENT, f"{client_id[:32]!r} has no account")
        if is_admin:
            issued, now = await context.issue_key(client_id)
        else:
            async with order_service.keys.reserve(client_id):
                issued, now = await context.issue_key(client_id)
        return json_response(KeyView(key_id=issued.key_id, issued_at=time_text(now), api_key=issued.key), 201)

    @app.delete(
        "/clients/{client_id}/keys/{key_id}",
        **doc("Revoke an API key, at once", None, ACCEPTED, 200, 401, 403, 404, 422, 503, 504),
    )
    async def delete_key(request: Request, client_id: str, key_id: str) -> Response:
        access.owner(request, checked_client_id(client_id))
        if not await order_service.keys.exists(client_id, key_id):
            raise Refusal(Code.NOT_FOUND, f"{client_id[:32]!r} has no key {key_id[:32]!r}", "key_id")
        await order_service.keys.revoke(client_id, key_id)
        return json_response({"ok": True})


def account_view(order_service: OrderService, issued: IssuedKey, opened: AccountOpened) -> AccountView:
    """Return the answer to a request that opened an account."""
    return AccountView(
        client_id=opened.client_id,
        api_key=issued.key,
        key_id=issued.key_id,
        cash=cash_to_text(opened.cash),
        shares=shares_text(order_service.state.securities, opened.shares),
    )
