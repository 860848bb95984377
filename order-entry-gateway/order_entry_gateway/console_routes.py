"""The routes of the console: its one-time links, roles for all participants, and a season's file as a session."""

import time
from typing import Annotated, Any

import msgspec
from fastapi import Request, Response

from microexchange.enums import Seat
from microexchange.number_fields import json_decoder
from microexchange.refusals import Code, Refusal
from microexchange.schemas import Answer
from microexchange.web import decode_json, json_response, read_body
from order_entry_gateway.administration import Administration
from order_entry_gateway.console_links import ConsoleLinks
from order_entry_gateway.requests import list_security
from order_entry_gateway.routing import RouteContext
from order_entry_gateway.season_files import session_of
from order_entry_gateway.session_requests import Hand, RoleRequest, assign_role, plan_session
from order_entry_gateway.templates import SessionTemplate, session_templates

MAX_HANDS = 100
MAX_DEALT = 2_000
_REFUSED = (401, 403, 404, 409, 422, 503, 504)
_LINK = {"type": "object", "properties": {"ok": {"type": "boolean"}, "path": {"type": "string"}}}
_TOKEN = {"type": "object", "properties": {"ok": {"type": "boolean"}, "token": {"type": "string"}}}
_DEALT = {"type": "object", "properties": {"ok": {"type": "boolean"}, "dealt": {"type": "array"}}}
_USED = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "session_id": {"type": "string"}, "dealt": {"type": "array"}},
}
_SESSION = {"type": "object", "properties": {"session": {"type": "object"}, "ignored": {"type": "array"}}}


class ConsoleLogin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Open the console with the code of a one-time link."""

    code: Annotated[str, msgspec.Meta(max_length=100)]


class DealRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Give hands to participants in turn: the first hand to the first one, and so on from the beginning."""

    hands: Annotated[list[Hand], msgspec.Meta(min_length=1, max_length=MAX_HANDS)]
    client_ids: Annotated[list[str], msgspec.Meta(max_length=MAX_DEALT)] | None = None
    """The clients that receive hands. Null for all participants that have joined."""


class TemplateView(Answer, frozen=True):
    """A template of a session."""

    id: str
    name: str
    summary: str
    minutes: int
    """The length of the lesson, with the talk before and after the rounds."""
    hands: list[Hand]
    """The roles of the lesson, as `POST /admin/roles` takes them. Empty if it has none."""


class SeasonFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of a season."""

    toml: str


TYPES = (ConsoleLogin, Hand, DealRequest, SeasonFile, TemplateView)
"""The types of requests, in the order of the OpenAPI document."""
_login_decoder = msgspec.json.Decoder(ConsoleLogin)
_deal_decoder = json_decoder(DealRequest)
_season_decoder = msgspec.json.Decoder(SeasonFile)


def add_console_routes(context: RouteContext) -> None:
    """Add the routes of the console."""
    app, doc, access, links = context.app, context.documenter("session"), context.access, ConsoleLinks()

    @app.post("/admin/console-links", **doc("Open a one-time link to the console", None, _LINK, 201, 401, 403))
    async def post_link(request: Request) -> Response:
        access.admin(request)
        return json_response({"ok": True, "path": f"/#console={links.open(time.monotonic())}"}, 201)

    @app.post("/console/login", **doc("The admin token, for a one-time link", ConsoleLogin, _TOKEN, 200, 403, 422, 429))
    async def post_login(request: Request) -> Response:
        wanted = decode_json(_login_decoder, await read_body(request))
        links.use(wanted.code, access.counted_address(request), time.monotonic())
        return json_response({"ok": True, "token": access.keys.admin_token})

    @app.post("/admin/roles", **doc("Give roles to participants in turn", DealRequest, _DEALT, 200, *_REFUSED))
    async def post_roles(request: Request) -> Response:
        access.admin(request)
        wanted = decode_json(_deal_decoder, await read_body(request))
        return json_response({"ok": True, "dealt": await deal_roles(context, wanted)})

    @app.post(
        "/admin/session-from-season", **doc("The session of a season's file", SeasonFile, _SESSION, 200, 401, 403, 422)
    )
    async def post_season(request: Request) -> Response:
        access.admin(request)
        session, ignored = session_of(decode_json(_season_decoder, await read_body(request)).toml)
        return json_response({"session": session, "ignored": ignored})


async def deal_roles(context: RouteContext, wanted: DealRequest) -> list[dict[str, Any]]:
    """Give each client its hand. Return the client and the role of each.

    Raises:
        Refusal: `INVALID_FIELD`: nobody has joined. Otherwise the first refusal of the engine. Earlier hands stay dealt.
    """
    order_service = context.order_service
    joined = [one.client_id for one in order_service.participants.values() if one.seat is Seat.JOINED]
    clients = joined if wanted.client_ids is None else wanted.client_ids
    if not clients:
        raise Refusal(Code.INVALID_FIELD, "nobody has joined: deal the hands when the participants are here", "client_ids")
    administration, dealt = Administration(order_service), []
    for index, client_id in enumerate(clients):
        hand = wanted.hands[index % len(wanted.hands)]
        role = RoleRequest(role=hand.role, values=hand.values)
        await administration.request(
            assign_role(role, client_id, order_service.state.securities, *order_service.next_command())
        )
        dealt.append({"client_id": client_id, "role": hand.role})
    return dealt


def add_template_routes(context: RouteContext) -> None:
    """Add the routes of the templates."""
    app, doc, access = context.app, context.documenter("session"), context.access

    @app.get("/session-templates", **doc("The templates of sessions", None, list[TemplateView], 200, 401, 403))
    async def get_templates(request: Request) -> Response:
        access.admin(request)
        found = session_templates().items()
        return json_response(
            [
                TemplateView(id=name, name=one.name, summary=one.summary, minutes=one.minutes, hands=one.hands)
                for name, one in found
            ]
        )

    @app.post(
        "/admin/session-templates/{template_id}/use", **doc("Plan the session of a template", None, _USED, 201, *_REFUSED)
    )
    async def post_template(request: Request, template_id: str) -> Response:
        access.admin(request)
        template = session_templates().get(template_id)
        if template is None:
            text = f"there is no template {template_id[:32]!r}: GET /session-templates has them"
            raise Refusal(Code.NOT_FOUND, text, "template_id")
        session_id, dealt = await use_template(context, template)
        return json_response({"ok": True, "session_id": session_id, "dealt": dealt}, 201)


async def use_template(context: RouteContext, template: SessionTemplate) -> tuple[str, list[dict[str, Any]]]:
    """List the securities of a template, plan its session, and deal its roles if people have joined.

    Return the id of the session, and the roles that are dealt.

    Raises:
        Refusal: As the engine refuses a part. Earlier parts stay.
    """
    order_service = context.order_service
    administration = Administration(order_service)
    for listing in template.securities:
        if listing.symbol not in order_service.state.securities:
            await administration.request(list_security(listing, *order_service.next_command()))
    planned = plan_session(template.session, order_service.state.securities, *order_service.next_command())
    await administration.request(planned)
    has_joined = any(one.seat is Seat.JOINED for one in order_service.participants.values())
    dealt = await deal_roles(context, DealRequest(hands=template.hands)) if template.hands and has_joined else []
    return str(planned.command_id), dealt
