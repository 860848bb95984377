"""Routes of the session: its clock, news, tenders, roles and results."""

import time

from fastapi import APIRouter, Request, Response

from market_data_feed.rest.routes import Routes
from microexchange.access import Access
from microexchange.refusals import Code, Refusal
from microexchange.session_plan import PlanView, plan_view
from microexchange.session_views import (
    NewsView,
    RoleView,
    SessionView,
    TenderView,
    news_view,
    role_view,
    session_view,
    tender_view,
)
from microexchange.web import json_response


def viewer(access: Access, request: Request) -> tuple[str, bool]:
    """Return the client that sends a request, or an empty name, and whether it is the admin.

    A request with the name of a client is from that client, also on the machine of a classroom's admin.

    Raises:
        Refusal: `UNAUTHENTICATED`, for a key that is not valid.
    """
    is_named = access.classroom and "client-id" in request.headers
    if not is_named and access.is_admin(request):
        return "", True
    if is_named or "authorization" in request.headers:
        return access.client(request), False
    return "", False


def session_routes(routes: Routes) -> APIRouter:
    """Return the routes of the session."""
    router, describe, state, access = APIRouter(tags=["session"]), routes.describe, routes.state, routes.access

    @router.get("/session", **describe("The session, its round and the clock", None, SessionView, 200, 404))
    async def get_session() -> Response:
        session = state.market.session.session
        if session is None:
            raise Refusal(Code.NO_SESSION, "no session is planned")
        return json_response(session_view(session, time.time_ns()))

    @router.get("/session/plan", **describe("The plan of the session, for the admin", None, PlanView, 200, 401, 403, 404))
    async def get_plan(request: Request) -> Response:
        access.admin(request)
        plan = state.market.session.plan
        if plan is None:
            raise Refusal(Code.NO_SESSION, "no session is planned")
        return json_response(plan_view(plan, state.market.securities))

    @router.get("/news", **describe("News that you may read, newest first", None, list[NewsView], 200, 401))
    async def get_news(request: Request) -> Response:
        found = state.market.session.news_for(*viewer(access, request))
        return json_response([news_view(news, state.market.securities) for news in found])

    @router.get("/tenders", **describe("Open tenders that you may answer, newest first", None, list[TenderView], 200, 401))
    async def get_tenders(request: Request) -> Response:
        found = state.market.session.tenders_for(*viewer(access, request), time.time_ns())
        return json_response([tender_view(tender, state.market.securities) for tender in found])

    @router.get("/role/{client_id}", **describe("Your role and values", None, RoleView, 200, 401, 403, 404))
    async def get_role(request: Request, client_id: str) -> Response:
        role = state.market.session.role(routes.known_client(request, client_id))
        return json_response(role_view(role, state.market.securities))

    @router.get(
        "/roles", **describe("The roles and values of all clients, for the admin", None, list[RoleView], 200, 401, 403)
    )
    async def get_roles(request: Request) -> Response:
        access.admin(request)
        return json_response([role_view(role, state.market.securities) for role in state.market.session.roles()])

    return router
