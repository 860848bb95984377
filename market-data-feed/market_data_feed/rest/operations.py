"""Routes of counts, rates, latencies and the state of each service."""

from fastapi import APIRouter, Response

from market_data_feed.rest.routes import Routes
from microexchange.web import json_response


def operation_routes(routes: Routes) -> APIRouter:
    """Return the routes of counts and operations."""
    router, state = APIRouter(), routes.state

    @router.get("/stats", tags=["market"], summary="Counts since the market began")
    async def get_stats() -> Response:
        return json_response(state.totals())

    @router.get("/operations", tags=["operations"], summary="Rates, latencies, rejects, and the state of each service")
    async def get_operations() -> Response:
        return json_response(state.operations.view(state.market.totals.rejects))

    return router
