"""The feed's REST interface."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from starlette.responses import StreamingResponse

from market_data_feed.state import FeedState
from market_data_feed.statement import as_csv, movements
from microexchange.access import Access
from microexchange.databases import asking
from microexchange.messages import Side, Trade, TradingState
from microexchange.presentation import (
    BalanceView,
    BookView,
    ErrorView,
    HoldingView,
    LeaderView,
    OrderView,
    SecurityView,
    StatementView,
    TradesView,
    trade_view,
)
from microexchange.refusals import Code, Refusal
from microexchange.web import document, json_response

MAX_ID = (1 << 63) - 1


def _trade(row: tuple[Any, ...]) -> Trade:
    trade_id, timestamp, symbol, price, quantity, aggressor_side, *rest = row
    return Trade(trade_id, timestamp, symbol, price, quantity, Side(aggressor_side), *rest)


def add_routes(app: FastAPI, state: FeedState, access: Access) -> None:
    """Adds the routes of market data to `app`."""
    answers = (SecurityView, BookView, TradesView, BalanceView, HoldingView, LeaderView, OrderView, StatementView, ErrorView)
    doc = document(app, *answers)
    refused = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorView"}}}
    securities = {"type": "array", "items": {"$ref": "#/components/schemas/SecurityView"}}
    orders = {"type": "array", "items": {"$ref": "#/components/schemas/OrderView"}}
    leaders = {"type": "array", "items": {"$ref": "#/components/schemas/LeaderView"}}

    def known_symbol(symbol: str) -> str:
        if symbol not in state.market.securities:
            raise Refusal(Code.UNKNOWN_SYMBOL, f"{symbol[:32]!r} is not listed; GET /securities lists what is")
        return symbol

    def known_client(request: Request, client_id: str) -> str:
        access.owner(request, client_id)
        if client_id not in state.market.clients:
            raise Refusal(Code.UNKNOWN_CLIENT, f"{client_id[:32]!r} has no account")
        return client_id

    @app.get("/securities", tags=["market"], **doc("What is listed", None, securities, 200, 422))
    async def get_securities(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        after: Annotated[str, Query(description="Symbol of the last one of the page before.")] = "",
    ) -> Response:
        states = state.market.states
        symbols = sorted(s for s in state.market.securities if s > after and states[s] is not TradingState.DELISTED)
        return json_response([state.market.security_view(symbol) for symbol in symbols[:limit]])

    @app.get("/book/{security_id}", tags=["market"], **doc("A book, best prices first", None, BookView, 200, 404, 422))
    async def get_book(security_id: str, depth: Annotated[int, Query(ge=1, le=1000)] = 10) -> Response:
        return json_response(state.market.book_view(known_symbol(security_id), depth))

    @app.get("/trades/{security_id}", tags=["market"], **doc("Trades, newest first", None, TradesView, 200, 404, 422, 503))
    async def get_trades(
        security_id: str,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int, Query(ge=1, le=MAX_ID, description="Trade id: only older ones.")] = MAX_ID,
    ) -> Response:
        security = state.market.securities[known_symbol(security_id)]
        with asking("the database of trades"):
            async with state.pool.connection(timeout=2) as connection:
                cursor = await connection.execute(
                    "SELECT trade_id, timestamp, symbol, price, quantity, aggressor_side, maker_order_id, taker_order_id, "
                    "maker_fee, taker_fee FROM trades WHERE symbol = %s AND trade_id < %s ORDER BY trade_id DESC LIMIT %s",
                    (security_id, before, limit),
                )
                rows = await cursor.fetchall()
        trades = [trade_view(_trade(row), security) for row in rows]
        last = str(rows[-1][0]) if len(rows) == limit else None
        return json_response(TradesView(trades=trades, next_before=last))

    @app.get("/leaderboard", tags=["market"], **doc("Who has made the most", None, leaders, 200, 422))
    async def get_leaderboard(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
        return json_response(state.market.leaderboard(limit))

    @app.get("/balance/{client_id}", tags=["accounts"], **doc("Your balance", None, BalanceView, 200, 401, 403, 404))
    async def get_balance(request: Request, client_id: str) -> Response:
        return json_response(state.market.balance_view(known_client(request, client_id)))

    @app.get(
        "/holdings/{security_id}/{client_id}",
        tags=["accounts"],
        **doc("Your holding of a security", None, HoldingView, 200, 401, 403, 404),
    )
    async def get_holding(request: Request, security_id: str, client_id: str) -> Response:
        known_client(request, client_id)
        return json_response(state.market.holding_view(client_id, known_symbol(security_id)))

    @app.get("/orders/{client_id}", tags=["accounts"], **doc("Your open orders", None, orders, 200, 401, 403, 404))
    async def get_orders(request: Request, client_id: str) -> Response:
        return json_response(state.market.open_orders_view(known_client(request, client_id)))

    @app.get(
        "/accounts/{client_id}/statement",
        tags=["accounts"],
        **doc("Every movement of your account, oldest first", None, StatementView, 200, 401, 403, 404, 422, 503),
    )
    async def get_statement(
        request: Request,
        client_id: str,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        after: Annotated[int, Query(ge=0, le=MAX_ID, description="Movement id: only later ones.")] = 0,
    ) -> Response:
        known_client(request, client_id)
        with asking("the ledger"):
            found = await movements(state.ledger, state.market.securities, client_id, after, limit)
        last = found[-1].movement_id if len(found) == limit else None
        return json_response(StatementView(movements=found, next_after=last))

    @app.get(
        "/accounts/{client_id}/statement.csv",
        tags=["accounts"],
        summary="The whole statement as CSV",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/csv": {}}},
            **{status: {"description": "Refused", "content": refused} for status in (401, 403, 404, 503)},
        },
    )
    async def get_statement_csv(request: Request, client_id: str) -> Response:
        known_client(request, client_id)
        lines = as_csv(state.ledger, state.market.securities, client_id)
        with asking("the ledger"):
            first = await anext(lines)

        async def all_lines() -> AsyncIterator[str]:
            yield first
            async for line in lines:
                yield line

        name = f'attachment; filename="statement-{client_id}.csv"'
        return StreamingResponse(all_lines(), media_type="text/csv", headers={"Content-Disposition": name})

    @app.get("/stats", tags=["market"], summary="Counts since the market began")
    async def get_stats() -> Response:
        return json_response(state.totals())
