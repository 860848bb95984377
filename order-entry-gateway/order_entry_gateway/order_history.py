"""What the feed has stored in `market_data`: the state at a start, past orders, reports, fills and API keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from exchange_db.reports import COLUMNS, LISTING_COLUMNS, READ_PARTICIPANTS, order_report, participant, security_listed
from microexchange.databases import MARKET_DATA, database_url, query_rows
from microexchange.enums import ExecType
from microexchange.producer_cursors import ProducerCursors
from microexchange.records import DATA_FEED
from microexchange.reports import OrderReport, ParticipantChanged, SecurityListed


@dataclass
class StoredState:
    """The stored state of the market as of one offset of `data_feed`."""

    offset: int = 0
    """The first offset that the state does not include."""
    report_id: int = 0
    """The number of the newest report that the state includes."""
    cursors: ProducerCursors = field(default_factory=ProducerCursors)
    listings: list[SecurityListed] = field(default_factory=list)
    revoked_keys: set[str] = field(default_factory=set)
    participants: list[ParticipantChanged] = field(default_factory=list)
    open_order_counts: dict[str, int] = field(default_factory=dict)
    clients: list[tuple[str, bool, bool]] = field(default_factory=list)
    """(client id, whether it is suspended, whether it is the house's)."""
    unsettled_clients: list[str] = field(default_factory=list)
    """Clients of trades that the clearinghouse could not settle."""
    last_prices: list[tuple[str, int]] = field(default_factory=list)
    """(symbol, ticks); read with the open orders."""
    open_orders: list[OrderReport] = field(default_factory=list)
    profit: int = 0
    """Cash units that the exchange has kept; read with the open orders."""


class OrderHistory:
    """Queries of the `market_data` database."""

    def __init__(self, server_url: str, namespace: str) -> None:
        self._url = database_url(server_url, namespace, MARKET_DATA)
        self._pool = AsyncConnectionPool(self._url, min_size=0, max_size=4, open=False)

    async def open(self) -> None:
        """Open the pool of connections."""
        await self._pool.open()

    async def close(self) -> None:
        """Close the pool of connections."""
        await self._pool.close()

    async def load(self, with_open_orders: bool) -> StoredState:
        """Return the stored state. The open orders and the profit are read only on request.

        Raises:
            psycopg.OperationalError: The database is not available.
        """
        state = StoredState()
        async with await psycopg.AsyncConnection.connect(self._url, connect_timeout=5) as connection:
            # One snapshot, so that the state is that of the offset.
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            query = 'SELECT "offset", producers, totals FROM consumed WHERE topic = %s'
            row = await (await connection.execute(query, (DATA_FEED,))).fetchone()
            if row is not None:
                state.offset, state.report_id = row[0], row[2]["reports"]
                state.cursors = ProducerCursors.from_json(row[1])
            for row in await _rows(connection, _LISTINGS):
                listing = security_listed(row)
                state.listings.append(listing)
            state.revoked_keys.update(key_id for (key_id,) in await _rows(connection, _REVOKED_KEYS))
            state.participants = [participant(row) for row in await _rows(connection, READ_PARTICIPANTS)]
            state.open_order_counts.update(await _rows(connection, _OPEN_ORDER_COUNTS))
            state.clients = await _rows(connection, "SELECT client_id, suspended, house FROM clients")
            state.unsettled_clients = [client for (client,) in await _rows(connection, _UNSETTLED_CLIENTS)]
            if with_open_orders:
                state.last_prices = await _rows(connection, _LAST_PRICES)
                state.open_orders = [order_report(row) for row in await _rows(connection, _OPEN_ORDERS)]
                for (profit,) in await _rows(connection, _PROFIT):
                    state.profit = int(profit)
        return state

    async def newest_report(self, client_id: str, order_id: int) -> OrderReport | None:
        """Return the newest report of the client's order, or None if there is none.

        Raises:
            Refusal: `UNAVAILABLE`: the database is not available or too slow. All other queries below raise it too.
        """
        rows = await self._ask("past orders", _NEWEST_REPORT, (client_id, order_id))
        return order_report(rows[0]) if rows else None

    async def orders(self, client_id: str, client_order_id: str, symbol: str, before: int, limit: int) -> list[OrderReport]:
        """Return the client's newest orders with ids below `before`, each by its newest report.

        An empty `client_order_id` or `symbol` selects all.
        """
        values = {"client": client_id, "name": client_order_id, "symbol": symbol, "before": before, "limit": limit}
        rows = await self._ask("past orders", _ORDERS_BY_NAME if client_order_id else _ORDERS, values)
        return [order_report(row) for row in rows]

    async def reports_after(self, client_id: str, after: int, limit: int) -> list[tuple[int, OrderReport]]:
        """Return the engine's reports of the client's orders with numbers above `after`, oldest first, and their numbers."""
        rows = await self._ask("reports", _REPORTS_AFTER, {"client": client_id, "after": after, "limit": limit})
        return [(report_id, order_report(row)) for report_id, *row in rows]

    async def fills(self, client_id: str, symbol: str, before: int, limit: int) -> list[tuple[int, OrderReport]]:
        """Return the client's newest fills with numbers below `before`, newest first, with their numbers.

        An empty `symbol` selects all.
        """
        values = {"client": client_id, "symbol": symbol, "before": before, "limit": limit}
        return [(report_id, order_report(row)) for report_id, *row in await self._ask("fills", _FILLS, values)]

    async def stored_report_id(self) -> int:
        """Return the number of the newest report that the feed has stored; 0 for none."""
        rows = await self._ask("the stored position", _STORED_REPORT_ID, (DATA_FEED,))
        return int(rows[0][0]) if rows else 0

    async def keys(self, client_id: str) -> list[tuple[str, int, int | None]]:
        """Return the client's API keys, oldest first: (id, issued at, revoked at), in nanoseconds of Unix time."""
        return await self._ask("keys", _KEYS, (client_id,))

    async def _ask(self, name: str, query: str, values: Mapping[str, object] | Sequence[object]) -> list[Any]:
        return await query_rows(self._pool, f"the database of {name}", query, values)


async def _rows(connection: psycopg.AsyncConnection[Any], query: str) -> list[Any]:
    return await (await connection.execute(query.encode())).fetchall()


_LISTINGS = f"SELECT {', '.join(LISTING_COLUMNS)} FROM securities"  # noqa: S608 - our own names  # nosec B608
_STORED_REPORT_ID = "SELECT totals -> 'reports' FROM consumed WHERE topic = %s"
_REVOKED_KEYS = "SELECT key_id FROM keys WHERE revoked_at IS NOT NULL"
_OPEN_ORDER_COUNTS = (
    "SELECT r.client_id, count(*) FROM open_orders JOIN order_reports r USING (report_id) GROUP BY r.client_id"
)
_UNSETTLED_CLIENTS = (
    "SELECT DISTINCT balance ->> 0 FROM settlement_reports, jsonb_array_elements(cash) AS balance "
    "WHERE status = 'REJECTED' AND trade_id > 0"
)
_LAST_PRICES = "SELECT symbol, last_price FROM securities WHERE last_price > 0"
_OPEN_ORDERS = (
    f"SELECT {', '.join('r.' + name for name in COLUMNS)} FROM open_orders JOIN order_reports r USING (report_id) "  # noqa: S608 - our own names  # nosec B608
    "ORDER BY r.order_id"
)
_PROFIT = (
    "SELECT sum(CASE side WHEN 'buy' THEN 1 ELSE -1 END * r.last_price::numeric * last_quantity * tick_value + fee) "
    "FROM order_reports r JOIN securities USING (symbol) WHERE exec_type = 'TRADE' HAVING count(*) > 0"
)
_KEYS = "SELECT key_id, issued_at, revoked_at FROM keys WHERE client_id = %s ORDER BY issued_at, key_id"
# A gateway's own PENDING_NEW may be stored after the engine's reports of the order. The engine's have precedence.
_NEWEST_REPORT = (
    f"SELECT {', '.join(COLUMNS)} FROM order_reports WHERE client_id = %s AND order_id = %s "  # noqa: S608 - our own names  # nosec B608
    f"ORDER BY exec_type = '{ExecType.PENDING_NEW}', report_id DESC LIMIT 1"
)
_ORDERS_TEMPLATE = (
    f"SELECT DISTINCT ON (order_id) {', '.join(COLUMNS)} FROM order_reports "  # noqa: S608 - our own names  # nosec B608
    "WHERE client_id = %(client)s AND order_id < %(before)s AND (%(symbol)s = '' OR symbol = %(symbol)s) {more} "
    f"ORDER BY order_id DESC, exec_type = '{ExecType.PENDING_NEW}', report_id DESC LIMIT %(limit)s"
)
_ORDERS = _ORDERS_TEMPLATE.replace("{more}", "")
_ORDERS_BY_NAME = _ORDERS_TEMPLATE.replace("{more}", "AND client_order_id = %(name)s AND client_order_id <> ''")
_FILLS = (
    f"SELECT report_id, {', '.join(COLUMNS)} FROM order_reports "  # noqa: S608 - our own names  # nosec B608
    "WHERE client_id = %(client)s AND exec_type = 'TRADE' AND report_id < %(before)s "
    "AND (%(symbol)s = '' OR symbol = %(symbol)s) ORDER BY report_id DESC LIMIT %(limit)s"
)
_REPORTS_AFTER = (
    f"SELECT report_id, {', '.join(COLUMNS)} FROM order_reports "  # noqa: S608 - our own names  # nosec B608
    f"WHERE client_id = %(client)s AND report_id > %(after)s AND exec_type <> '{ExecType.PENDING_NEW}' "
    "ORDER BY report_id LIMIT %(limit)s"
)
