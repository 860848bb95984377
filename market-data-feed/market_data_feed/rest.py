"""The feed's REST interface."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from starlette.responses import StreamingResponse

from market_data_feed.candles import NANOSECONDS
from market_data_feed.exports import ORDERS, TRADES, as_csv, as_parquet
from market_data_feed.history import History
from market_data_feed.market import candle_view
from market_data_feed.state import FeedState
from market_data_feed.statement import all_movements, movements
from microexchange.access import Access
from microexchange.databases import query_errors_as_refusals
from microexchange.enums import TradingState
from microexchange.ids import MAX_ID
from microexchange.numbers import cash_to_text
from microexchange.refusals import Code, Refusal
from microexchange.schemas import (
    BalanceView,
    BboView,
    BookView,
    CandleView,
    CurveView,
    EquityView,
    ErrorView,
    HoldingView,
    LeaderView,
    MovementView,
    OrderView,
    SecurityView,
    StatementView,
    TickerView,
    TradesView,
    time_text,
    trade_view,
)
from microexchange.web import document, json_response


@dataclass(frozen=True)
class File:
    """A kind of file that a history can be had as."""

    media: str
    parts: Callable[[Sequence[str], AsyncIterator[Sequence[Any]]], AsyncIterator[bytes]]


FILES = {"csv": File("text/csv", as_csv), "parquet": File("application/vnd.apache.parquet", as_parquet)}
FileKind = Literal["csv", "parquet"]
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Since = Annotated[str | None, Query(max_length=40, description="ISO 8601 with an offset: only those from then on.")]
WithHouse = Annotated[bool, Query(description="Whether the exchange's own bots are among them.")]
Until = Annotated[str | None, Query(max_length=40, description="ISO 8601 with an offset: only those before it.")]


def add_routes(app: FastAPI, state: FeedState, access: Access) -> None:
    """Adds the routes of market data to `app`."""
    answers = (
        SecurityView,
        BookView,
        BboView,
        TickerView,
        TradesView,
        CandleView,
        BalanceView,
        HoldingView,
        EquityView,
        CurveView,
        LeaderView,
        OrderView,
        StatementView,
        ErrorView,
    )
    doc = document(app, *answers)
    refused = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorView"}}}
    securities = {"type": "array", "items": {"$ref": "#/components/schemas/SecurityView"}}
    tickers = {"type": "array", "items": {"$ref": "#/components/schemas/TickerView"}}
    candles = {"type": "array", "items": {"$ref": "#/components/schemas/CandleView"}}
    curves = {"type": "array", "items": {"$ref": "#/components/schemas/CurveView"}}
    holdings = {"type": "array", "items": {"$ref": "#/components/schemas/HoldingView"}}
    equities = {"type": "array", "items": {"$ref": "#/components/schemas/EquityView"}}
    history = History(state.pool)

    def file_doc(summary: str, *statuses: int, media: Sequence[str] = ("text/csv",)) -> dict[str, Any]:
        bad = {status: {"description": "Refused", "content": refused} for status in statuses}
        responses: dict[int, Any] = {200: {"content": {one: {} for one in media}}, **bad}
        return {"summary": summary, "response_class": StreamingResponse, "responses": responses}

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

    @app.get("/securities/{security_id}", tags=["market"], **doc("A security", None, SecurityView, 200, 404))
    async def get_security(security_id: str) -> Response:
        return json_response(state.market.security_view(known_symbol(security_id)))

    @app.get("/bbo/{security_id}", tags=["market"], **doc("Best bid and offer", None, BboView, 200, 404))
    async def get_bbo(security_id: str) -> Response:
        return json_response(state.market.bbo_view(known_symbol(security_id)))

    @app.get("/ticker/24h", tags=["market"], **doc("The last 24 hours", None, tickers, 200, 404, 422))
    async def get_tickers(
        symbol: Annotated[str, Query(max_length=16, description="Of this security alone.")] = "",
    ) -> Response:
        market = state.market
        symbols = [known_symbol(symbol)] if symbol else sorted(market.securities)
        return json_response([market.ticker_view(one, int(time.time())) for one in symbols])

    @app.get("/trades/{security_id}", tags=["market"], **doc("Trades, newest first", None, TradesView, 200, 404, 422, 503))
    async def get_trades(
        security_id: str,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int, Query(ge=1, le=MAX_ID, description="Trade id: only older ones.")] = MAX_ID,
        since: Since = None,
        until: Until = None,
    ) -> Response:
        security = state.market.securities[known_symbol(security_id)]
        found = await history.trades(security_id, before, *_between(since, until), limit)
        trades = [trade_view(trade, security) for trade in found]
        last = trades[-1].trade_id if len(trades) == limit else None
        return json_response(TradesView(trades=trades, next_before=last))

    @app.get("/candles/{security_id}", tags=["market"], **doc("Candles, oldest first", None, candles, 200, 404, 422, 503))
    async def get_candles(
        security_id: str,
        interval: Literal["1s", "1m", "5m", "1h", "1d"] = "1m",
        limit: Annotated[int, Query(ge=1, le=1500, description="Intervals before the end.")] = 500,
        until: Until = None,
    ) -> Response:
        market = state.market
        security = market.securities[known_symbol(security_id)]
        end = int(time.time()) + 1 if until is None else _nanoseconds("until", until) // NANOSECONDS
        found = await history.candles(security_id, interval, end, limit, market.charts.get(security_id))
        return json_response([candle_view(security, candle) for candle in found])

    @app.get(
        "/export/trades.{kind}",
        tags=["market"],
        **file_doc("All trades, newest first", 404, 422, 503, media=[one.media for one in FILES.values()]),
    )
    async def export_trades(
        kind: FileKind,
        symbol: Annotated[str, Query(max_length=16, description="Of this security alone.")] = "",
        since: Since = None,
        until: Until = None,
    ) -> Response:
        of = f"-{known_symbol(symbol)}" if symbol else ""
        pages = history.all_trades(state.market.securities, symbol, *_between(since, until))
        return await streamed(FILES[kind].parts(TRADES, pages), f"trades{of}.{kind}", FILES[kind].media)

    @app.get(
        "/export/orders.{kind}",
        tags=["accounts"],
        **file_doc(
            "All reports of your orders, oldest first", 401, 403, 422, 503, media=[one.media for one in FILES.values()]
        ),
    )
    async def export_orders(request: Request, kind: FileKind) -> Response:
        client_id = access.client(request)
        pages = history.all_orders(client_id, state.market.securities)
        return await streamed(FILES[kind].parts(ORDERS, pages), f"orders-{client_id}.{kind}", FILES[kind].media)

    async def streamed(parts: AsyncIterator[bytes], name: str, media: str) -> Response:
        """A file, a part at a time. What is wrong before its second part is a refusal."""
        head = await anext(parts)
        first = await anext(parts, b"")

        async def all_parts() -> AsyncIterator[bytes]:
            yield head + first
            async for part in parts:
                yield part

        disposition = f'attachment; filename="{name}"'
        return StreamingResponse(all_parts(), media_type=media, headers={"Content-Disposition": disposition})

    @app.get("/leaderboard", tags=["market"], **doc("Who has made the most", None, leaders, 200, 422))
    async def get_leaderboard(limit: Annotated[int, Query(ge=1, le=1000)] = 100, house: WithHouse = True) -> Response:
        return json_response(state.market.leaderboard(limit, house))

    @app.get("/leaderboard/equity", tags=["market"], **doc("The leaders' equity over time", None, curves, 200, 422, 503))
    async def get_curves(limit: Annotated[int, Query(ge=1, le=20)] = 10, house: WithHouse = True) -> Response:
        leaders = [leader.client_id for leader in state.market.leaderboard(limit, house)]
        return json_response([CurveView(client_id=leader, points=await curve(leader, 500)) for leader in leaders])

    async def curve(client_id: str, limit: int) -> list[EquityView]:
        market = state.market
        points = await history.equity(client_id, MAX_ID, limit)
        client = market.clients[client_id]
        if not client.has_funds:
            return points  # the account is opened, and its first deposit is not settled yet
        return [*points, EquityView(timestamp=time_text(market.newest), equity=cash_to_text(market.equity(client)))]

    @app.get("/balance/{client_id}", tags=["accounts"], **doc("Your balance", None, BalanceView, 200, 401, 403, 404))
    async def get_balance(request: Request, client_id: str) -> Response:
        return json_response(state.market.balance_view(known_client(request, client_id)))

    @app.get("/holdings/{client_id}", tags=["accounts"], **doc("Your holdings", None, holdings, 200, 401, 403, 404))
    async def get_holdings(request: Request, client_id: str) -> Response:
        return json_response(state.market.holdings_view(known_client(request, client_id)))

    @app.get(
        "/equity/{client_id}",
        tags=["accounts"],
        **doc("What you were worth over time, oldest first", None, equities, 200, 401, 403, 404, 422, 503),
    )
    async def get_equity(request: Request, client_id: str, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000) -> Response:
        known_client(request, client_id)
        return json_response(await curve(client_id, limit))

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
        with query_errors_as_refusals("the ledger"):
            found = await movements(state.ledger, state.market.securities, client_id, after, limit)
        last = found[-1].movement_id if len(found) == limit else None
        return json_response(StatementView(movements=found, next_after=last))

    @app.get(
        "/accounts/{client_id}/statement.csv",
        tags=["accounts"],
        **file_doc("The whole statement as CSV", 401, 403, 404, 503),
    )
    async def get_statement_csv(request: Request, client_id: str) -> Response:
        known_client(request, client_id)
        pages = all_movements(state.ledger, state.market.securities, client_id)
        with query_errors_as_refusals("the ledger"):
            return await streamed(as_csv(MovementView.__struct_fields__, pages), f"statement-{client_id}.csv", "text/csv")

    @app.get("/stats", tags=["market"], summary="Counts since the market began")
    async def get_stats() -> Response:
        return json_response(state.totals())

    @app.get("/operations", tags=["operations"], summary="Rates, latencies, rejects, and how each service does")
    async def get_operations() -> Response:
        return json_response(state.operations.view(state.market.totals.rejects))


def _nanoseconds(field: str, text: str) -> int:
    """A time in nanoseconds of Unix time, from ISO 8601 with an offset. Raises `Refusal`."""
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return min((at - _UNIX_EPOCH) // timedelta(microseconds=1) * 1000, MAX_ID)
    except ValueError:
        pass
    raise Refusal(Code.INVALID_FIELD, f"{field} must be ISO 8601 with an offset: 2030-01-31T12:00:00Z", field)


def _between(since: str | None, until: str | None) -> tuple[int, int]:
    """Two times in nanoseconds. Raises `Refusal`."""
    begin = 0 if since is None else _nanoseconds("since", since)
    return begin, MAX_ID if until is None else _nanoseconds("until", until)
