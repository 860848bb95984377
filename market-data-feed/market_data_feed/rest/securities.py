"""Routes of securities and of their last 24 hours."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response

from market_data_feed.rest.routes import OneSymbol, Routes
from microexchange.enums import TradingState
from microexchange.number_fields import Whole
from microexchange.schemas import SecurityView, TickerView
from microexchange.web import json_response


def security_routes(routes: Routes) -> APIRouter:
    """Return the routes of securities."""
    router, describe, state = APIRouter(tags=["market"]), routes.describe, routes.state

    @router.get("/securities", **describe("All listed securities", None, list[SecurityView], 200, 422))
    async def get_securities(
        limit: Annotated[Whole, Query(ge=1, le=1000)] = 100,
        after: Annotated[str, Query(description="The last symbol of the previous page.")] = "",
    ) -> Response:
        states = state.market.states
        symbols = sorted(s for s in state.market.securities if s > after and states[s] is not TradingState.DELISTED)
        return json_response([state.market.security_view(symbol) for symbol in symbols[:limit]])

    @router.get("/securities/{security_id}", **describe("A security", None, SecurityView, 200, 404))
    async def get_security(security_id: str) -> Response:
        return json_response(state.market.security_view(routes.known_symbol(security_id)))

    @router.get("/ticker/24h", **describe("Statistics of the last 24 hours", None, list[TickerView], 200, 404, 422))
    async def get_tickers(symbol: OneSymbol = "") -> Response:
        market = state.market
        symbols = [routes.known_symbol(symbol)] if symbol else sorted(market.securities)
        now = int(time.time())
        return json_response([market.ticker_view(symbol, now) for symbol in symbols])

    return router
