"""The routes of a session: its plan, its actions, news, roles, payouts and tenders."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response

from microexchange.commands import Command
from microexchange.ids import MAX_ID
from microexchange.number_fields import json_decoder
from microexchange.numbers import cash_to_text
from microexchange.refusals import Code, Refusal
from microexchange.session_commands import AnswerTender, ControlSession, SessionAction
from microexchange.web import decode_json, json_response, read_body
from order_entry_gateway.administration import Administration
from order_entry_gateway.requests import cash_amount
from order_entry_gateway.routing import ACCEPTED, RouteContext
from order_entry_gateway.session_requests import (
    NewsRequest,
    PayoutRequest,
    RoleRequest,
    SessionRequest,
    TenderAnswerRequest,
    TenderRequest,
    assign_role,
    offer_tender,
    pay_out,
    plan_session,
    publish_news,
)

TYPES = (SessionRequest, NewsRequest, RoleRequest, PayoutRequest, TenderRequest, TenderAnswerRequest)
"""The types of requests."""
_session_decoder = json_decoder(SessionRequest)
_news_decoder = json_decoder(NewsRequest)
_role_decoder = json_decoder(RoleRequest)
_payout_decoder = json_decoder(PayoutRequest)
_tender_decoder = json_decoder(TenderRequest)
_answer_decoder = json_decoder(TenderAnswerRequest)
_STOPPING = (SessionAction.PAUSE, SessionAction.END, SessionAction.CLOSE)
"""The actions that stop trading. They are accepted while a disk is nearly full."""
C = TypeVar("C", bound=Command)
_REFUSED = (401, 403, 404, 409, 422, 503, 504)
_PLANNED = {"type": "object", "properties": {"ok": {"type": "boolean"}, "session_id": {"type": "string"}}}
_PAID = {"type": "object", "properties": {"ok": {"type": "boolean"}, "amount": {"type": "string"}}}
_OFFERED = {"type": "object", "properties": {"ok": {"type": "boolean"}, "tender_id": {"type": "string"}}}
_PUBLISHED = {"type": "object", "properties": {"ok": {"type": "boolean"}, "news_id": {"type": "string"}}}


async def _send(context: RouteContext, request: Request, decoder: "msgspec.json.Decoder[Any]", build: Callable[..., C]) -> C:
    """Send the command that `build` makes of an admin's request. Return it when the engine has accepted it.

    Raises:
        Refusal: The sender is not the admin, or the request, the gateway or the engine refuses it.
    """
    context.access.admin(request)
    wanted, order_service = decode_json(decoder, await read_body(request)), context.order_service
    command_id, timestamp = order_service.next_command()
    command = build(wanted, securities=order_service.state.securities, command_id=command_id, timestamp=timestamp)
    await Administration(order_service).request(command)
    return command


def add_session_routes(context: RouteContext) -> None:
    """Add the routes of the admin for a session."""
    app, doc = context.app, context.documenter("session")
    order_service, access, administration = context.order_service, context.access, Administration(context.order_service)

    @app.post("/admin/session", **doc("Plan a session of rounds", SessionRequest, _PLANNED, 201, *_REFUSED))
    async def post_session(request: Request) -> Response:
        sent = await _send(context, request, _session_decoder, plan_session)
        return json_response({"ok": True, "session_id": str(sent.command_id)}, 201)

    @app.post(
        "/admin/session/{action}",
        **doc("Start, pause, resume or end a round, or go to another one", None, ACCEPTED, 200, *_REFUSED),
    )
    async def post_action(request: Request, action: SessionAction) -> Response:
        access.admin(request)
        command_id, now = order_service.next_command(even_if_full=action in _STOPPING)
        await administration.request(ControlSession(command_id, now, action))
        return json_response({"ok": True})

    @app.post(
        "/admin/news", **doc("Publish news to all, to a role or to one client", NewsRequest, _PUBLISHED, 201, *_REFUSED)
    )
    async def post_news(request: Request) -> Response:
        sent = await _send(context, request, _news_decoder, publish_news)
        return json_response({"ok": True, "news_id": str(sent.command_id)}, 201)

    @app.put(
        "/admin/clients/{client_id}/role",
        **doc("Give a client a role and private values", RoleRequest, ACCEPTED, 200, *_REFUSED),
    )
    async def put_role(request: Request, client_id: str) -> Response:
        await _send(context, request, _role_decoder, partial(assign_role, client_id=client_id))
        return json_response({"ok": True})


def add_payout_routes(context: RouteContext) -> None:
    """Add the routes of payouts and tenders."""
    app, doc = context.app, context.documenter("session")
    order_service, administration = context.order_service, Administration(context.order_service)

    @app.post("/admin/payouts", **doc("Pay the holders of a security", PayoutRequest, _PAID, 201, *_REFUSED))
    async def post_payout(request: Request) -> Response:
        sent = await _send(context, request, _payout_decoder, pay_out)
        security = context.order_service.security(sent.symbol)
        amount = Decimal(cash_to_text(sent.cash_per_lot)) / security.lot_size
        return json_response({"ok": True, "amount": f"{amount:f}"}, 201)

    @app.post("/admin/tenders", **doc("Offer a trade with the exchange", TenderRequest, _OFFERED, 201, *_REFUSED))
    async def post_tender(request: Request) -> Response:
        sent = await _send(context, request, _tender_decoder, offer_tender)
        return json_response({"ok": True, "tender_id": str(sent.command_id)}, 201)

    @app.post(
        "/tenders/{tender_id}/answer",
        **doc("Accept or decline a tender", TenderAnswerRequest, ACCEPTED, 200, *_REFUSED, 429),
    )
    async def post_answer(request: Request, tender_id: str) -> Response:
        client = context.client(request)
        client.admit()
        wanted = decode_json(_answer_decoder, await read_body(request))
        if not (tender_id.isascii() and tender_id.isdigit() and len(tender_id) < 20 and int(tender_id) <= MAX_ID):
            raise Refusal(Code.UNKNOWN_TENDER, f"{tender_id[:32]!r} is not the id of a tender", "tender_id")
        price = 0 if wanted.price is None else cash_amount(wanted.price, "price")
        command_id, now = order_service.next_command()
        await administration.request(AnswerTender(command_id, now, client.client_id, int(tender_id), wanted.accept, price))
        return json_response({"ok": True})
