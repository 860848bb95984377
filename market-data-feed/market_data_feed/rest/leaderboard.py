"""Routes of the leaderboard."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from market_data_feed.rest.routes import Routes, WithHouse
from microexchange.number_fields import Whole
from microexchange.schemas import CurveView, LeaderView
from microexchange.web import json_response


def leaderboard_routes(routes: Routes) -> APIRouter:
    """Return the routes of the leaderboard."""
    router, describe, state = APIRouter(tags=["market"]), routes.describe, routes.state

    @router.get("/leaderboard", **describe("Clients with the highest profit first", None, list[LeaderView], 200, 422))
    async def get_leaderboard(limit: Annotated[Whole, Query(ge=1, le=1000)] = 100, house: WithHouse = True) -> Response:
        return json_response(state.market.leaderboard(limit, house))

    curves = list[CurveView]

    @router.get("/leaderboard/equity", **describe("Equity of the leaders over time", None, curves, 200, 422, 503))
    async def get_curves(limit: Annotated[Whole, Query(ge=1, le=20)] = 10, house: WithHouse = True) -> Response:
        clients = [leader.client_id for leader in state.market.leaderboard(limit, house)]
        return json_response(
            [CurveView(client_id=client, points=await routes.equity_curve(client, 500)) for client in clients]
        )

    return router
