"""The feed's tables in Postgres. A transaction writes reports by COPY, read models by upsert, and the log position."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, fields
from typing import Any, Final

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg.types.json import Jsonb

from exchange_db.days import BY_DAY, DAY_NS, date_of, day_of, make_partition, partition
from exchange_db.reports import COLUMNS, LISTING_COLUMNS, READ_PARTICIPANTS, order_report, participant, security_listed
from exchange_db.rows import row_layout
from exchange_db.tables import events, order_reports, price_updates, securities, settlement_reports, trades
from market_data_feed.candles import Candle, Chart
from market_data_feed.market import Changes, Client, MarketData, OpenOrder, Totals
from market_data_feed.positions import Position
from market_data_feed.sessions import KINDS
from microexchange.enums import Side
from microexchange.producer_cursors import ProducerCursors
from microexchange.records import DATA_FEED, Record
from microexchange.reports import OrderReport, PriceUpdate, SecurityListed, SettlementReport, Trade
from microexchange.securities import Security

_WRITER_LOCK = 0x6D786664  # "mxfd"
"""The advisory lock of the feed that writes."""


_TYPES: Final = {"BIGINT": "int8", "INTEGER": "int4", "TEXT": "text", "BOOLEAN": "bool", "JSONB": "jsonb"}


def _types(table: sa.Table, columns: Sequence[str]) -> dict[str, str]:
    """Return the Postgres types of `columns`, by name."""
    return {name: _TYPES[str(table.c[name].type)] for name in columns}


_ORDER_REPORT: Final = row_layout(order_reports, OrderReport, ("report_id",))
_TRADE: Final = row_layout(trades, Trade)
_PRICE_UPDATE: Final = row_layout(price_updates, PriceUpdate)
_SETTLEMENT_REPORT: Final = row_layout(settlement_reports, SettlementReport, ("cash", "holdings"))
_EVENT_COLUMNS: Final = ("report_id", "kind", "timestamp", "body")
_LISTING: Final = row_layout(
    securities, SecurityListed, ("state", "last_price", "book_sequence", "opening_day", "opening_price")
)
_COLUMNS: Final = {
    table.name: _types(table, columns)
    for table, columns in (
        (order_reports, _ORDER_REPORT.columns),
        (trades, _TRADE.columns),
        (price_updates, _PRICE_UPDATE.columns),
        (settlement_reports, _SETTLEMENT_REPORT.columns),
        (events, _EVENT_COLUMNS),
    )
}
"""The columns of the tables of reports in the order of the values of a row, with their types for COPY."""

_LISTING_ARRAYS = ", ".join(f"%s::{kind}[]" for kind in _types(securities, _LISTING.columns).values())
_PUT_SECURITIES = (
    f"INSERT INTO securities ({', '.join(_LISTING.columns)}) SELECT * FROM unnest({_LISTING_ARRAYS}) "  # noqa: S608 - our own names  # nosec B608
    "ON CONFLICT (symbol) DO UPDATE "
    "SET last_price = excluded.last_price, book_sequence = excluded.book_sequence, state = excluded.state, "
    "opening_day = excluded.opening_day, opening_price = excluded.opening_price"
)
_PUT_LEVELS = """
INSERT INTO levels (symbol, side, price, quantity, order_count)
SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[])
ON CONFLICT (symbol, side, price) DO UPDATE SET quantity = excluded.quantity, order_count = excluded.order_count
"""
_DROP_LEVELS = """
DELETE FROM levels USING unnest(%s::text[], %s::text[], %s::bigint[]) AS gone(symbol, side, price)
WHERE (levels.symbol, levels.side, levels.price) = (gone.symbol, gone.side, gone.price)
"""
_PUT_ORDERS = """
INSERT INTO open_orders (order_id, report_id) SELECT * FROM unnest(%s::bigint[], %s::bigint[])
ON CONFLICT (order_id) DO UPDATE SET report_id = excluded.report_id
"""
_DROP_ORDERS = "DELETE FROM open_orders WHERE order_id = ANY(%s::bigint[])"
_PUT_CLIENTS = """
INSERT INTO clients (client_id, cash, suspended, opened_with, house, trades, peak, drawdown, since, profit, gains, squares)
SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bool[], %s::numeric[], %s::bool[], %s::bigint[], %s::numeric[],
    %s::numeric[], %s::bigint[], %s::numeric[], %s::numeric[], %s::numeric[])
ON CONFLICT (client_id) DO UPDATE
SET cash = excluded.cash, suspended = excluded.suspended, opened_with = excluded.opened_with, house = excluded.house,
    trades = excluded.trades, peak = excluded.peak, drawdown = excluded.drawdown, since = excluded.since,
    profit = excluded.profit, gains = excluded.gains, squares = excluded.squares
"""
_SAMPLING = ("sampled_at", "samples")
"""The time of the last sample of equities and the number of samples. `consumed.totals` has them next to the counts."""
_COUNTS = ("trades", "peak", "drawdown", "since", "profit", "gains", "squares")
"""The columns of `clients` that are whole numbers. They have the names of the fields of `Client`."""
_PUT_CANDLES = """
INSERT INTO candles (symbol, start, open, high, low, close, volume, trades)
SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[])
ON CONFLICT (symbol, start) DO UPDATE
SET high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume, trades = excluded.trades
"""
_PUT_EQUITY = """
INSERT INTO equity (client_id, at, equity) SELECT * FROM unnest(%s::text[], %s::bigint[], %s::numeric[])
ON CONFLICT (client_id, at) DO UPDATE SET equity = excluded.equity
"""
_PUT_HOLDINGS = """
INSERT INTO holdings (client_id, symbol, quantity) SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[])
ON CONFLICT (client_id, symbol) DO UPDATE SET quantity = excluded.quantity
"""
_POSITION: Final = tuple(f.name for f in fields(Position))
"""The fields of `Position`. The columns of `positions` after its key have the same names."""
_PUT_POSITIONS = """
INSERT INTO positions (client_id, symbol, quantity, cost, realised, fees, day, opening_quantity, opening_result,
    trades)
SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::numeric[], %s::numeric[], %s::numeric[], %s::bigint[],
    %s::bigint[], %s::numeric[], %s::bigint[])
ON CONFLICT (client_id, symbol) DO UPDATE
SET quantity = excluded.quantity, cost = excluded.cost, realised = excluded.realised, fees = excluded.fees,
    day = excluded.day, opening_quantity = excluded.opening_quantity, opening_result = excluded.opening_result,
    trades = excluded.trades
"""
_PUT_KEYS = """
INSERT INTO keys (key_id, client_id, issued_at, revoked_at)
SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[])
ON CONFLICT (key_id) DO UPDATE SET revoked_at = excluded.revoked_at
"""
_PUT_PARTICIPANTS = """
INSERT INTO participants (client_id, timestamp, nickname, team, seat)
SELECT * FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[])
ON CONFLICT (client_id) DO UPDATE
SET timestamp = excluded.timestamp, nickname = excluded.nickname, team = excluded.team, seat = excluded.seat
"""
_PUT_CONSUMED = """
INSERT INTO consumed (topic, "offset", producers, totals) VALUES (%s, %s, %s, %s)
ON CONFLICT (topic) DO UPDATE
SET "offset" = excluded."offset", producers = excluded.producers, totals = excluded.totals
"""

_PUT_SESSION = """
INSERT INTO session_reports (kind, key, body) VALUES (%s, %s, %s)
ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body
"""
_DROP_SESSION = "DELETE FROM session_reports WHERE (kind, key) = (%s, %s)"
_PUT_RETIRED = """
INSERT INTO retired (table_name, day, symbol, rows) VALUES (%s, %s, %s, %s)
ON CONFLICT (table_name, day, symbol) DO UPDATE SET rows = retired.rows + excluded.rows
"""

LOCK_TIMEOUT_MS = 2_000
"""The longest wait for the lock of a day that is to be removed. Readers of the table wait behind this lock."""

Row = tuple[Any, ...]
Upsert = tuple[str, Row]
"""A statement, with a list of values for each of its columns."""


@dataclass(slots=True)
class Pending:
    """The content of the next transaction."""

    rows: defaultdict[tuple[str, int], list[Row]] = field(default_factory=lambda: defaultdict(list))
    """New rows by table and day."""
    count: int = 0
    offset: int = 0
    """The next offset of `data_feed` to read after this transaction."""
    upserts: list[Upsert] = field(default_factory=list)

    def add(self, report_id: int, report: Record) -> None:
        """Add the row of one report."""
        self.count += 1
        table, row = _ROWS.get(type(report), _event)(report_id, report)
        timestamp: int = report.timestamp  # type: ignore[attr-defined]  # all records of `data_feed` have one
        self.rows[table, timestamp // DAY_NS].append(row)


_TableRow = tuple[str, Row]
"""A table and a row of it."""


def _json(content: Any) -> Jsonb:
    return Jsonb(content, msgspec.json.encode)


def _order_report(report_id: int, report: Any) -> _TableRow:
    return "order_reports", (report_id, *_ORDER_REPORT.field_values(report))


def _price_update(_: int, report: Any) -> _TableRow:
    return "price_updates", _PRICE_UPDATE.field_values(report)


def _trade(_: int, report: Any) -> _TableRow:
    return "trades", _TRADE.field_values(report)


def _settlement_report(_: int, report: Any) -> _TableRow:
    row = (_json(report.cash), _json(report.holdings), *_SETTLEMENT_REPORT.field_values(report))
    return "settlement_reports", row


def _event(report_id: int, report: Any) -> _TableRow:
    return "events", (report_id, type(report).__name__, report.timestamp, _json(msgspec.structs.asdict(report)))


_ROWS: Final[dict[type, Callable[[int, Any], _TableRow]]] = {
    OrderReport: _order_report,
    PriceUpdate: _price_update,
    Trade: _trade,
    SettlementReport: _settlement_report,
}


def seal(pending: Pending, market: MarketData, cursors: ProducerCursors, offset: int) -> Pending:
    """Complete `pending` with the read models and the position as they are now: one consistent state."""
    changes, upserts = market.changes, pending.upserts
    upserts += _security_upserts(market, changes)
    upserts += _level_upserts(market, changes)
    upserts += _order_upserts(market, changes)
    upserts += _account_upserts(market, changes)
    upserts += _candle_upserts(market, changes)
    upserts += _session_upserts(market, changes)
    if changes.equity:
        # A client may have two samples of one time. One statement takes only one of them: the later.
        samples: list[Row] = [(*key, value) for key, value in {(c, at): equity for c, at, equity in changes.equity}.items()]
        upserts.append((_PUT_EQUITY, _columns(samples)))
        for _, at, _ in changes.equity:
            pending.rows.setdefault(("equity", at // DAY_NS), [])  # no rows to copy, but its partition is needed
    totals = {f.name: getattr(market.totals, f.name) for f in fields(Totals)}
    totals |= {name: getattr(market, name) for name in _SAMPLING}
    producers = cursors.as_json()
    upserts.append((_PUT_CONSUMED, (DATA_FEED, offset, _json(producers), _json(totals))))
    market.changes = Changes()
    pending.offset = offset
    return pending


def _security_upserts(market: MarketData, changes: Changes) -> Iterator[Upsert]:
    if changes.securities:
        rows: list[Row] = [
            (
                market.states[symbol].value,
                market.last_prices.get(symbol, 0),
                market.books[symbol].sequence,
                *market.opening_prices.get(symbol, (-1, 0)),
                *_LISTING.field_values(market.securities[symbol].listing),
            )
            for symbol in sorted(changes.securities)
        ]
        yield _PUT_SECURITIES, _columns(rows)


def _level_upserts(market: MarketData, changes: Changes) -> Iterator[Upsert]:
    kept: list[Row] = []
    removed: list[Row] = []
    for symbol, side, price in sorted(changes.levels):
        book = market.books[symbol]
        level = (book.bids if side is Side.BUY else book.asks).get(price)
        if level is None:
            removed.append((symbol, side.value, price))
        else:
            kept.append((symbol, side.value, price, *level))
    if kept:
        yield _PUT_LEVELS, _columns(kept)
    if removed:
        yield _DROP_LEVELS, _columns(removed)


def _order_upserts(market: MarketData, changes: Changes) -> Iterator[Upsert]:
    open_rows: list[Row] = []
    ended: list[int] = []
    for client_id, order_id in sorted(changes.orders):
        order = market.clients[client_id].orders.get(order_id)
        if order is None:
            ended.append(order_id)
        else:
            open_rows.append((order_id, order.report_id))
    if open_rows:
        yield _PUT_ORDERS, _columns(open_rows)
    if ended:
        yield _DROP_ORDERS, (ended,)


def _account_upserts(market: MarketData, changes: Changes) -> Iterator[Upsert]:
    if changes.clients:
        names = sorted(changes.clients)
        clients = [market.clients[name] for name in names]
        client_rows: list[Row] = [
            (n, c.cash, c.suspended, c.opened_with, c.house, *(getattr(c, name) for name in _COUNTS))
            for n, c in zip(names, clients, strict=True)
        ]
        yield _PUT_CLIENTS, _columns(client_rows)
    if changes.holdings:
        holding_rows: list[Row] = [
            (client, symbol, market.clients[client].holdings[symbol]) for client, symbol in sorted(changes.holdings)
        ]
        yield _PUT_HOLDINGS, _columns(holding_rows)
    if changes.positions:
        position_rows: list[Row] = [
            (client, symbol, *astuple(market.clients[client].positions[symbol]))
            for client, symbol in sorted(changes.positions)
        ]
        yield _PUT_POSITIONS, _columns(position_rows)
    if changes.keys:
        key_rows: list[Row] = [(key_id, *values) for key_id, values in changes.keys.items()]
        yield _PUT_KEYS, _columns(key_rows)
    if changes.participants:
        found = [market.participants[client_id] for client_id in sorted(changes.participants)]
        yield _PUT_PARTICIPANTS, _columns([(p.client_id, p.timestamp, p.nickname, p.team, p.seat.value) for p in found])


def _candle_upserts(market: MarketData, changes: Changes) -> Iterator[Upsert]:
    found = ((symbol, market.charts[symbol].minute(start)) for symbol, start in sorted(changes.candles))
    rows: list[Row] = [(symbol, *astuple(candle)) for symbol, candle in found if candle is not None]
    if rows:
        yield _PUT_CANDLES, _columns(rows)


def _session_upserts(market: MarketData, changes: Changes) -> Iterator[Upsert]:
    for place in sorted(changes.session):
        report = market.session.reports.get(place)
        if report is None:
            yield _DROP_SESSION, place
        else:
            yield _PUT_SESSION, (*place, _json(msgspec.structs.asdict(report)))


def _session_report(kind: str, body: dict[str, Any]) -> msgspec.Struct:
    """Return a stored report of the session. Fields that are newer than the row have their defaults."""
    report_type = KINDS[kind]
    values = [body[name] for name in report_type.__struct_fields__ if name in body]
    return msgspec.convert([report_type.__name__, *values], report_type)


def _columns(rows: list[Row]) -> Row:
    return tuple(list(column) for column in zip(*rows, strict=True))


class Store:
    """A connection to `market_data`. Only the feed that holds the advisory lock writes."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection
        self._days: set[tuple[str, int]] = set()
        """The partitions that exist: table and day."""

    async def lock(self) -> bool:
        """Try to take the writer's lock, and return whether this feed has it. The lock ends with the connection."""
        row = await (await self._connection.execute("SELECT pg_try_advisory_lock(%s)", (_WRITER_LOCK,))).fetchone()
        if not row or not row[0]:
            return False
        cursor = await self._connection.execute(
            "SELECT inhparent::regclass::text, inhrelid::regclass::text FROM pg_inherits"
        )
        self._days = {(table, day_of(name)) async for table, name in cursor if table in BY_DAY}
        return True

    async def offset(self) -> int:
        """Return the committed position."""
        cursor = await self._connection.execute('SELECT "offset" FROM consumed WHERE topic = %s', (DATA_FEED,))
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def load(self) -> tuple[MarketData, ProducerCursors, int]:
        """Return the committed state: the market data, the cursors and the next offset to read."""
        async with self._connection.transaction():
            # Another feed may write at the same time. This isolation level reads one consistent state.
            await self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            return await self._load()

    async def _load(self) -> tuple[MarketData, ProducerCursors, int]:
        market = MarketData()
        cursors, offset = ProducerCursors(), 0
        run = self._connection.execute
        async for at, producers, totals in await run('SELECT "offset", producers, totals FROM consumed'):
            market.sampled_at, market.samples = (totals.pop(name, 0) for name in _SAMPLING)
            offset, market.totals = at, Totals(**totals)
            cursors = ProducerCursors.from_json(producers)
        market.updated_at = market.sampled_at  # the profit of today needs the day
        await self._load_securities(market)
        await self._load_clients(market)
        await self._load_candles(market)
        await self._load_orders(market)
        await self._load_session(market)
        return market, cursors, offset

    async def _load_securities(self, market: MarketData) -> None:
        run = self._connection.execute
        columns = ", ".join((*LISTING_COLUMNS, "last_price", "book_sequence", "opening_day", "opening_price"))
        query = f"SELECT {columns} FROM securities ORDER BY symbol"  # noqa: S608 - our own names  # nosec B608
        async for *terms, last_price, sequence, day, opening in await run(query.encode()):
            listing = security_listed(terms)
            market.list_security(Security(listing))
            market.books[listing.symbol].sequence = sequence
            if last_price:
                market.last_prices[listing.symbol] = last_price
                market.opening_prices[listing.symbol] = (day, opening)
        async for symbol, side, price, quantity, orders in await run(
            "SELECT symbol, side, price, quantity, order_count FROM levels"
        ):
            book = market.books[symbol]
            (book.bids if side == Side.BUY else book.asks)[price] = (quantity, orders)

    async def _load_clients(self, market: MarketData) -> None:
        run = self._connection.execute
        query = f"SELECT client_id, cash, suspended, opened_with, house, {', '.join(_COUNTS)} FROM clients"  # noqa: S608 - our own names  # nosec B608
        async for client_id, cash, suspended, opened_with, house, *counts in await run(query.encode()):
            client = market.clients[client_id] = Client(cash, suspended, int(opened_with), house)
            market.has_house = market.has_house or house
            for name, count in zip(_COUNTS, counts, strict=True):
                setattr(client, name, int(count))
            client.has_funds = bool(cash or client.since)
        if not market.sampled_at:
            async for (at,) in await run("SELECT max(at) FROM equity"):
                market.sampled_at = at or 0
        async for client_id, symbol, quantity in await run("SELECT client_id, symbol, quantity FROM holdings"):
            client = market.client(client_id)
            client.holdings[symbol], client.has_funds = quantity, True
        query = f"SELECT client_id, symbol, {', '.join(_POSITION)} FROM positions"  # noqa: S608  # nosec B608
        async for client_id, symbol, *values in await run(query.encode()):
            market.client(client_id).positions[symbol] = Position(*map(int, values))
        async for (key_id,) in await run("SELECT key_id FROM keys WHERE revoked_at IS NOT NULL"):
            market.revoked_keys.add(key_id)
        async for row in await run(READ_PARTICIPANTS.encode()):
            market.participants.apply(participant(row))

    async def _load_candles(self, market: MarketData) -> None:
        minutes: dict[str, list[Candle]] = {}
        query = (
            "SELECT symbol, start, open, high, low, close, volume, trades FROM candles "
            "WHERE start > (SELECT max(start) FROM candles) - 86400 ORDER BY start"
        )
        async for symbol, *values in await self._connection.execute(query.encode()):
            minutes.setdefault(symbol, []).append(Candle(*values))
        market.charts = {symbol: Chart(found) for symbol, found in minutes.items()}

    async def _load_orders(self, market: MarketData) -> None:
        columns = ", ".join(f"r.{name}" for name in COLUMNS)
        query = f"SELECT r.report_id, {columns} FROM open_orders JOIN order_reports r USING (report_id) ORDER BY r.order_id"  # noqa: S608 - our own names  # nosec B608
        async for report_id, *values in await self._connection.execute(query.encode()):
            report = order_report(values)
            client = market.client(report.client_id)
            client.orders[report.order_id] = OpenOrder(report_id, report)
            if client.house:
                market.house_orders[report.symbol] += 1
            market.orders.apply(report)
            market.order_sequences[report.symbol] = max(market.order_sequences.get(report.symbol, 0), report_id)

    async def _load_session(self, market: MarketData) -> None:
        found = await self._connection.execute("SELECT kind, key, body FROM session_reports")
        market.session.load([(kind, key, _session_report(kind, body)) async for kind, key, body in found])

    async def write(self, pending: Pending) -> None:
        """Write all of `pending`, or nothing."""
        new = [place for place in pending.rows if place not in self._days]
        async with self._connection.transaction(), self._connection.cursor() as cursor:
            for table, day in new:
                for statement in make_partition(table, day):
                    await cursor.execute(statement.encode())
            for (table, day), rows in pending.rows.items():
                if rows:
                    columns = _COLUMNS[table]
                    place = f"COPY {partition(table, day)} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
                    async with cursor.copy(place.encode()) as copy:
                        copy.set_types(list(columns.values()))
                        for row in rows:
                            await copy.write_row(row)
            for statement, values in pending.upserts:
                await cursor.execute(statement.encode(), values)
        self._days.update(new)

    async def retire(self, before: int) -> int:
        """Remove all rows that are older than the day `before`, and return the number of partitions that changed.

        The newest reports of open orders stay. `retired` counts the removed rows.

        Raises:
            psycopg.errors.LockNotAvailable: A reader holds a table for more than `LOCK_TIMEOUT_MS`. The days before it are
                removed.
        """
        done = 0
        for table, day in sorted(place for place in self._days if place[1] < before):
            done += await self._retire(table, day)
        return done

    async def _retire(self, table: str, day: int) -> bool:
        name = partition(table, day)
        async with self._connection.transaction(), self._connection.cursor() as cursor:

            async def run(statement: str, *values: object) -> psycopg.AsyncCursor[Row]:
                return await cursor.execute(statement.encode(), values)

            await run(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
            # Only this feed writes, so the count needs no lock. Readers lock the table before its days, and so does DROP.
            await run("CREATE TEMPORARY TABLE kept (report_id bigint) ON COMMIT DROP")
            if table == "order_reports":
                await run(f"INSERT INTO kept SELECT report_id FROM {name} JOIN open_orders USING (report_id)")  # noqa: S608 - our own names  # nosec B608
            kept = len(await (await run("SELECT 1 FROM kept")).fetchall())
            column = "symbol" if table == "price_updates" else "''"
            counts = await (await run(f"SELECT {column}, count(*) FROM {name} GROUP BY 1")).fetchall()  # noqa: S608 - our own names  # nosec B608
            if kept and kept == sum(count for _, count in counts):
                return False
            if kept:
                await run(f"DELETE FROM {name} WHERE report_id NOT IN (SELECT report_id FROM kept)")  # noqa: S608 - our own names  # nosec B608
            else:
                await run(f"DROP TABLE {name}")
            for symbol, count in counts:
                await run(_PUT_RETIRED, table, date_of(day), symbol, count - kept)
        if not kept:
            self._days.discard((table, day))
        return True
