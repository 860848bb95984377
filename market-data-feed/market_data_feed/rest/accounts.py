"""Routes of a client's balance, holdings, positions, equity and open orders."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from market_data_feed.rest.routes import Routes
from microexchange.number_fields import Whole
from microexchange.schemas import BalanceView, EquityView, HoldingView, OrderView, PositionView
from microexchange.web import json_response


def account_routes(routes: Routes) -> APIRouter:
    """Return the routes of a client's account."""
    router, describe, state = APIRouter(tags=["accounts"]), routes.describe, routes.state

    @router.get("/balance/{client_id}", **describe("Your balance", None, BalanceView, 200, 401, 403, 404))
    async def get_balance(request: Request, client_id: str) -> Response:
        return json_response(state.market.balance_view(routes.known_client(request, client_id)))

    @router.get("/holdings/{client_id}", **describe("Your holdings", None, list[HoldingView], 200, 401, 403, 404))
    async def get_holdings(request: Request, client_id: str) -> Response:
        return json_response(state.market.holdings_view(routes.known_client(request, client_id)))

    positions = list[PositionView]

    @router.get("/positions/{client_id}", **describe("Your positions and their profit", None, positions, 200, 401, 403, 404))
    async def get_positions(request: Request, client_id: str) -> Response:
        return json_response(state.market.positions_view(routes.known_client(request, client_id)))

    @router.get(
        "/equity/{client_id}",
        **describe("Your equity over time, oldest first", None, list[EquityView], 200, 401, 403, 404, 422, 503),
    )
    async def get_equity(
        request: Request, client_id: str, limit: Annotated[Whole, Query(ge=1, le=10_000)] = 1000
    ) -> Response:
        return json_response(await routes.equity_curve(routes.known_client(request, client_id), limit))

    @router.get(
        "/holdings/{security_id}/{client_id}",
        **describe("Your holding of a security", None, HoldingView, 200, 401, 403, 404),
    )
    async def get_holding(request: Request, security_id: str, client_id: str) -> Response:
        routes.known_client(request, client_id)
        return json_response(state.market.holding_view(client_id, routes.known_symbol(security_id)))

    @router.get("/orders/{client_id}", **describe("Your open orders", None, list[OrderView], 200, 401, 403, 404))
    async def get_orders(request: Request, client_id: str) -> Response:
        return json_response(state.market.open_orders_view(routes.known_client(request, client_id)))

    return router
