"""Queries of the feed's database: trades, candles, equities and order reports."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from psycopg_pool import AsyncConnectionPool

from exchange_db import reports as stored
from exchange_db.reports import COLUMNS, TRADE_COLUMNS, order_report
from market_data_feed.candles import INTERVALS, Candle, Chart
from microexchange.databases import query_rows
from microexchange.ids import MAX_ID
from microexchange.numbers import cash_to_text
from microexchange.reports import OrderReport, Trade
from microexchange.schemas import EquityView, ReportView, TradeView, report_view, time_text, trade_view
from microexchange.securities import Security

_TRADE = ", ".join(TRADE_COLUMNS)
_TRADES = (
    f"SELECT {_TRADE} FROM trades WHERE symbol = %(symbol)s AND trade_id < %(before)s "  # noqa: S608 - our own names  # nosec B608
    "AND timestamp >= %(since)s AND timestamp < %(until)s ORDER BY trade_id DESC LIMIT %(limit)s"
)
_ALL_TRADES = _TRADES.replace("symbol = %(symbol)s AND ", "")
"""Trades of all securities. Ids of trades grow across securities."""
_CANDLES = (
    "SELECT start - start %% %(seconds)s AS at, (array_agg(open ORDER BY start))[1], max(high), min(low), "
    "(array_agg(close ORDER BY start DESC))[1], sum(volume)::bigint, sum(trades)::bigint FROM candles "
    "WHERE symbol = %(symbol)s AND start >= %(since)s AND start < %(until)s GROUP BY at ORDER BY at"
)
_SECONDS = (
    "SELECT timestamp / 1000000000 AS at, (array_agg(price ORDER BY trade_id))[1], max(price), min(price), "
    "(array_agg(price ORDER BY trade_id DESC))[1], sum(quantity)::bigint, count(*) FROM trades "
    "WHERE symbol = %(symbol)s AND timestamp >= %(since)s::bigint * 1000000000 "
    "AND timestamp < %(until)s::bigint * 1000000000 "
    "GROUP BY at ORDER BY at"
)
_EQUITY = "SELECT at, equity FROM equity WHERE client_id = %(client)s AND at < %(before)s ORDER BY at DESC LIMIT %(limit)s"
PAGE_ROWS = 5_000
"""The rows of an export in one query."""


class History:
    """The history in the feed's database. Every method raises `Refusal` if the database does not answer in time."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def _rows(self, content: str, query: str, values: dict[str, Any]) -> list[Any]:
        return await query_rows(self._pool, f"the database of {content}", query, values)

    async def trades(self, symbol: str, before: int, since: int, until: int, limit: int) -> list[Trade]:
        """Return a page of trades, newest first, from `since` to before `until`, in nanoseconds of Unix time.

        An empty `symbol` selects all securities.
        """
        values = {"symbol": symbol, "before": before, "since": since, "until": until, "limit": limit}
        rows = await self._rows("trades", _TRADES if symbol else _ALL_TRADES, values)
        return [stored.trade(row) for row in rows]

    async def trades_between(self, since: int, until: int, limit: int) -> list[Trade]:
        """Return the last `limit` trades of all securities from `since` to before `until`, oldest first."""
        return list(reversed(await self.trades("", MAX_ID, since, until, limit)))

    async def orders_between(self, symbol: str, since: int, until: int, limit: int) -> list[OrderReport]:
        """Return the first `limit` reports of a security's orders in a time, in their order. Times are in nanoseconds."""
        query = (
            f"SELECT {', '.join(COLUMNS)} FROM order_reports WHERE symbol = %(symbol)s "  # noqa: S608 - our own names  # nosec B608
            "AND timestamp >= %(since)s AND timestamp <= %(until)s ORDER BY report_id LIMIT %(limit)s"
        )
        values = {"symbol": symbol, "since": since, "until": until, "limit": limit}
        return [order_report(row) for row in await self._rows("orders", query, values)]

    async def candles(self, symbol: str, interval: str, until: int, limit: int, chart: Chart | None) -> list[Candle]:
        """Return the candles of the `limit` intervals before `until`, in seconds of Unix time, oldest first.

        Intervals without trades have no candle. `chart` has the newest candle, which may not be stored yet.
        """
        seconds = INTERVALS[interval]
        since = until + -until % seconds - seconds * limit
        values = {"symbol": symbol, "seconds": seconds, "since": since, "until": until}
        rows = await self._rows("candles", _SECONDS if interval == "1s" else _CANDLES, values)
        found = {row[0]: Candle(*row) for row in rows}
        newest = None if chart is None else chart.newest.get(interval)
        if newest is not None and since <= newest.start < until:
            found[newest.start] = newest
        return [found[start] for start in sorted(found)][-limit:]

    async def equity(self, client_id: str, before: int, limit: int) -> list[EquityView]:
        """Return the last `limit` samples of a client's equity before a time in nanoseconds, oldest first."""
        rows = await self._rows("equities", _EQUITY, {"client": client_id, "before": before, "limit": limit})
        return [EquityView(timestamp=time_text(at), equity=cash_to_text(int(equity))) for at, equity in reversed(rows)]

    async def all_trades(
        self, securities: Mapping[str, Security], symbol: str, since: int, until: int
    ) -> AsyncIterator[list[TradeView]]:
        """Yield pages of all trades, newest first. An empty `symbol` selects all securities."""
        before = MAX_ID
        while True:
            found = await self.trades(symbol, before, since, until, PAGE_ROWS)
            yield [trade_view(trade, securities[trade.symbol]) for trade in found]
            if len(found) < PAGE_ROWS:
                return
            before = found[-1].trade_id

    async def all_orders(self, client_id: str, securities: dict[str, Security]) -> AsyncIterator[list[ReportView]]:
        """Yield pages of all reports of a client's orders, by order, oldest first."""
        query = (
            f"SELECT report_id, {', '.join(COLUMNS)} FROM order_reports WHERE client_id = %(client)s "  # noqa: S608 - our own names  # nosec B608
            "AND (order_id, report_id) > (%(order)s, %(after)s) ORDER BY order_id, report_id LIMIT %(limit)s"
        )
        order_id = after = 0
        while True:
            values = {"client": client_id, "order": order_id, "after": after, "limit": PAGE_ROWS}
            rows = await self._rows("orders", query, values)
            reports = [order_report(values) for _, *values in rows]
            yield [report_view(report, securities[report.symbol]) for report in reports]
            if len(rows) < PAGE_ROWS:
                return
            order_id, after = reports[-1].order_id, rows[-1][0]
