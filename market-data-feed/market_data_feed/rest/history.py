"""Routes of trades and candles."""

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from market_data_feed.market import candle_view
from market_data_feed.rest.routes import Routes, Since, Until, period_ns, time_to_ns
from microexchange.ids import MAX_ID
from microexchange.number_fields import Whole
from microexchange.numbers import NS_PER_SECOND
from microexchange.schemas import CandleView, TradesView, trade_view
from microexchange.web import json_response


def history_routes(routes: Routes) -> APIRouter:
    """Return the routes of trades and candles."""
    router, describe, state = APIRouter(tags=["market"]), routes.describe, routes.state

    @router.get("/trades/{security_id}", **describe("Trades, newest first", None, TradesView, 200, 404, 422, 503))
    async def get_trades(
        security_id: str,
        limit: Annotated[Whole, Query(ge=1, le=1000)] = 100,
        before: Annotated[Whole, Query(ge=1, le=MAX_ID, description="A trade id. Return only older trades.")] = MAX_ID,
        since: Since = None,
        until: Until = None,
    ) -> Response:
        security = state.market.securities[routes.known_symbol(security_id)]
        found = await routes.history.trades(security_id, before, *period_ns(since, until), limit)
        trades = [trade_view(trade, security) for trade in found]
        last = trades[-1].trade_id if len(trades) == limit else None
        return json_response(TradesView(trades=trades, next_before=last))

    candles = list[CandleView]

    @router.get("/candles/{security_id}", **describe("Candles, oldest first", None, candles, 200, 404, 422, 503))
    async def get_candles(
        security_id: str,
        interval: Literal["1s", "1m", "5m", "1h", "1d"] = "1m",
        limit: Annotated[Whole, Query(ge=1, le=1500, description="The number of intervals before the end.")] = 500,
        until: Until = None,
    ) -> Response:
        market = state.market
        security = market.securities[routes.known_symbol(security_id)]
        end = int(time.time()) + 1 if until is None else time_to_ns("until", until) // NS_PER_SECOND
        found = await routes.history.candles(security_id, interval, end, limit, market.charts.get(security_id))
        return json_response([candle_view(security, candle) for candle in found])

    return router
