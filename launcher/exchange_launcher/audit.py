"""`microexchange audit`: proves that engine, ledger and feed have the same cash, shares, orders and trades.

It reads the database of the feed and then the ledger, each in one transaction. Then its own engine replays the log from a
snapshot, up to the last report that the feed has stored. So it compares all of them as of the same moment, also while the
exchange runs.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import namedtuple_row

from exchange_db.accounts import FEES, ISSUER, SPREAD
from exchange_db.reports import TRADE_COLUMNS
from exchange_db.rows import stored_fields
from exchange_db.tables import settlements, transfers
from matching_engine import state
from matching_engine.engine import Engine
from matching_engine.snapshots import Snapshot, read_snapshots
from microexchange.batches import CLEARING, ENGINE, Batch, decode_batch
from microexchange.databases import CLEARING_DATA, MARKET_DATA, database_url
from microexchange.enums import Side
from microexchange.instructions import Execution, Instruction, Transfer
from microexchange.log import open_log
from microexchange.numbers import cash_to_text
from microexchange.records import ORDER_ENTRY

SETTLEMENT_TIMEOUT_SECONDS = 30.0
"""The time to wait until the ledger has settled all that the feed has stored."""
LOG_END_TIMEOUT_SECONDS = 10.0
"""The time without a body after which the log is taken to end."""
MAX_SHOWN_DIFFERENCES = 10
"""The number of differences of a check that have a text."""

_OWN_ACCOUNTS = (ISSUER, FEES, SPREAD)


@dataclass
class Check:
    """One proposition, and the differences that refute it."""

    name: str
    as_of: str = ""
    """The moment of the comparison."""
    compared: int = 0
    """The number of compared items."""
    differences: list[str] = field(default_factory=list)
    """The texts of the first differences."""
    count: int = 0
    """The number of all differences."""

    def differs(self, text: str) -> None:
        """Add a difference."""
        self.count += 1
        if len(self.differences) < MAX_SHOWN_DIFFERENCES:
            self.differences.append(text)

    def equal(
        self, left: str, right: str, left_rows: Mapping[Any, Any], right_rows: Mapping[Any, Any], nothing: Any = None
    ) -> None:
        """Compare two tables, and add their differences. A missing row has the value `nothing`."""
        for key in sorted(left_rows.keys() | right_rows.keys(), key=str):
            self.compared += 1
            if left_rows.get(key, nothing) != right_rows.get(key, nothing):
                name = "/".join(map(str, key)) if isinstance(key, tuple) else key
                self.differs(f"{name}: {left} {left_rows.get(key, nothing)}, {right} {right_rows.get(key, nothing)}")


class AuditError(RuntimeError):
    """A reason why the audit cannot run."""


@dataclass(frozen=True)
class Places:
    """The databases, the log and the snapshots of an exchange."""

    database: str
    """The Postgres server."""
    log: str
    namespace: str
    data: Path
    """The folder with the engine's snapshots."""
    whole: bool = False
    """Whether the engine replays the log from the first command on, and not from a snapshot."""


async def audit(places: Places) -> list[Check]:
    """Run all checks and return them.

    Raises:
        AuditError: A database cannot be read.
    """
    feed_url = database_url(places.database, places.namespace, MARKET_DATA)
    ledger_url = database_url(places.database, places.namespace, CLEARING_DATA)
    try:
        with _consistent_connection(feed_url) as feed:
            stored = _Stored.read(feed)
            replayed = await _replay(places, stored.engine_sequence)
            with _settled_up_to(ledger_url, max(replayed.instruction_sequence, stored.clearing_sequence)) as ledger:
                return [
                    *_check_ledger(ledger),
                    _check_sequences(ledger, feed, stored),
                    _check_trades(ledger, feed),
                    *_check_feed(ledger, feed, stored),
                    *_check_engine(ledger, feed, stored, replayed),
                ]
    except psycopg.Error as error:
        raise AuditError(f"a database cannot be read: {str(error).strip()}") from error


@contextlib.contextmanager
def _consistent_connection(url: str) -> Iterator[psycopg.Connection]:
    """Open a read-only connection. All its queries read the database as of the first one."""
    with psycopg.connect(url, connect_timeout=5) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield connection
        connection.rollback()


@contextlib.contextmanager
def _settled_up_to(url: str, instruction: int) -> Iterator[psycopg.Connection]:
    """Wait until an instruction is settled, and open a connection to the ledger as of that moment."""
    deadline = time.monotonic() + SETTLEMENT_TIMEOUT_SECONDS
    while True:
        with _consistent_connection(url) as connection:
            settled = _consumed(connection)[1].get(ENGINE, 0)
            if settled >= instruction or time.monotonic() > deadline:
                yield connection
                return
        time.sleep(0.1)


def _rows(connection: psycopg.Connection, query: LiteralString | bytes, *values: object) -> list[Any]:
    return connection.execute(query, values).fetchall()


def _consumed(connection: psycopg.Connection) -> tuple[int, dict[str, int]]:
    """Return the position of a reader: the offset, and the sequence of each producer."""
    for offset, producers in _rows(connection, 'SELECT "offset", producers FROM consumed'):
        return offset, {name: position[1] for name, position in producers.items()}
    return 0, {}


# --- the feed, and the engine as of the same moment ----------------------------------------------------


@dataclass
class _Stored:
    engine_sequence: int
    """The last report of the engine that the feed has stored."""
    clearing_sequence: int
    """The last report of the clearinghouse that the feed has stored."""
    reports: int
    """The number of all stored reports, as the feed counts them."""

    @classmethod
    def read(cls, feed: psycopg.Connection) -> "_Stored":
        _, sequences = _consumed(feed)
        totals = _rows(feed, "SELECT totals FROM consumed")
        reports = totals[0][0]["reports"] if totals else 0
        return cls(sequences.get(ENGINE, 0), sequences.get(CLEARING, 0), reports)


@dataclass
class _Replayed:
    """An engine after the last report that the feed has stored."""

    engine: Engine
    from_offset: int
    instruction_sequence: int
    """The last instruction of the engine."""
    report_sequence: int
    instructions: dict[int, Instruction]
    """The instructions of the replay, by sequence."""


async def _replay(places: Places, report_sequence: int) -> _Replayed:
    engine = Engine()
    snapshot = Snapshot(0, 1, 1, state.take(engine))
    for kept in () if places.whole else read_snapshots(places.data / "engine"):
        if kept.report_sequence - 1 <= report_sequence:
            with contextlib.suppress(state.StateError):  # an older snapshot takes its place
                engine, snapshot = state.restore(kept.state), kept
                break
    result = _Replayed(engine, snapshot.offset, snapshot.instruction_sequence - 1, snapshot.report_sequence - 1, {})
    if result.report_sequence >= report_sequence:
        return result
    async with contextlib.aclosing(_batches(places, snapshot.offset)) as batches:
        async for batch in batches:
            for command in engine.fresh(batch):
                if result.report_sequence >= report_sequence:
                    return result
                outcome = engine.apply(command)
                for instruction in outcome.instructions:
                    result.instruction_sequence += 1
                    result.instructions[result.instruction_sequence] = instruction
                result.report_sequence += len(outcome.reports)
    return result


async def _batches(places: Places, offset: int) -> AsyncGenerator[Batch[Any]]:
    """Yield the batches of commands from `offset` to the end of the log."""
    log = open_log(places.log, places.namespace)
    try:
        async with contextlib.aclosing(log.read(ORDER_ENTRY, offset)) as entries:
            while True:
                try:
                    bodies = await asyncio.wait_for(anext(entries), LOG_END_TIMEOUT_SECONDS)
                except TimeoutError:
                    return
                for _, body in bodies:
                    with contextlib.suppress(ValueError):  # the engine skips malformed bodies too
                        yield decode_batch(ORDER_ENTRY, body)
    finally:
        await log.close()


# --- the ledger by itself -----------------------------------------------------------------------------------


_BELOW_CREDIT: LiteralString = "SELECT client_id, cash FROM accounts WHERE cash < -credit_limit AND client_id NOT LIKE '$%%'"


def _check_ledger(ledger: psycopg.Connection) -> list[Check]:
    now = f"instruction {_consumed(ledger)[1].get(ENGINE, 0)}"
    cash = Check("cash is conserved", now)
    for count, total in _rows(ledger, "SELECT count(*), coalesce(sum(cash), 0) FROM accounts"):
        cash.compared = count
        if total:
            cash.differs(f"the sum of all balances is {cash_to_text(int(total))}")
    shares = Check("shares are conserved", now)
    for symbol, total in _rows(ledger, "SELECT symbol, sum(quantity) FROM holdings GROUP BY 1 ORDER BY 1"):
        shares.compared += 1
        if total:
            shares.differs(f"{symbol}: the sum of all holdings is {total} lots")
    limits = Check("no balance is below its limit", now)
    limits.compared = cash.compared
    for client, units in _rows(ledger, _BELOW_CREDIT):
        limits.differs(f"{client}: {cash_to_text(units)}")
    for client, symbol, lots in _rows(
        ledger, "SELECT client_id, symbol, quantity FROM holdings WHERE quantity < -short_limit AND client_id NOT LIKE '$%%'"
    ):
        limits.differs(f"{client}: {lots} lots of {symbol}")
    legs = Check("each balance = its legs", now)
    balances = dict(_rows(ledger, "SELECT client_id, cash FROM accounts"))
    legs.equal("balance", "legs", balances, _cash_up_to(ledger, None), 0)
    share_legs = Check("each holding = its legs", now)
    share_legs.equal("holding", "legs", _holdings(ledger), _shares_up_to(ledger, None), 0)
    return [cash, shares, limits, legs, share_legs]


def _holdings(connection: psycopg.Connection) -> dict[tuple[str, str], int]:
    rows = _rows(connection, "SELECT client_id, symbol, quantity FROM holdings")
    return {(client, symbol): lots for client, symbol, lots in rows}


def _cash_up_to(ledger: psycopg.Connection, instruction: int | None) -> dict[str, int]:
    query: LiteralString = (
        "SELECT account, sum(units)::bigint FROM cash_legs WHERE %s::bigint IS NULL OR instruction <= %s GROUP BY 1"
    )
    return dict(_rows(ledger, query, instruction, instruction))


def _shares_up_to(ledger: psycopg.Connection, instruction: int | None) -> dict[tuple[str, str], int]:
    query: LiteralString = (
        "SELECT account, symbol, sum(lots)::bigint FROM share_legs "
        "WHERE %s::bigint IS NULL OR instruction <= %s GROUP BY 1, 2"
    )
    return {(account, symbol): lots for account, symbol, lots in _rows(ledger, query, instruction, instruction)}


# --- numbers without a gap ------------------------------------------------------------------------------------


# An instruction in both tables counts twice.
_INSTRUCTIONS: LiteralString = """
SELECT count(*), min(instruction), max(instruction)
FROM (SELECT instruction FROM settlements UNION ALL SELECT instruction FROM transfers) AS numbered
"""


def _check_sequences(ledger: psycopg.Connection, feed: psycopg.Connection, stored: _Stored) -> Check:
    check = Check("no sequence has a gap", f"report {stored.reports}")
    settled = _consumed(ledger)[1].get(ENGINE, 0)
    removed: defaultdict[str, int] = defaultdict(int)
    removed_updates: dict[str, int] = {}
    for table, symbol, rows in _rows(feed, "SELECT table_name, symbol, sum(rows)::bigint FROM retired GROUP BY 1, 2"):
        removed[table] += rows
        if table == "price_updates":
            removed_updates[symbol] = rows
    counted = [
        ("settlements and transfers", _rows(ledger, _INSTRUCTIONS), settled, 0),
        ("trades settled", _rows(ledger, "SELECT count(*), min(trade_id), max(trade_id) FROM settlements"), None, 0),
        ("trades stored", _rows(feed, "SELECT count(*), min(trade_id), max(trade_id) FROM trades"), None, removed["trades"]),
        (
            "settlement reports stored",
            _rows(feed, "SELECT count(*), min(instruction), max(instruction) FROM settlement_reports"),
            stored.clearing_sequence,
            removed["settlement_reports"],
        ),
    ]
    for name, ((count, lowest, highest),), last, retired in counted:
        check.compared += count
        complete = _is_complete(count, lowest, highest, retired)
        if not complete or last not in (None, count + retired):
            expected = "" if last is None else f", up to {last} expected"
            check.differs(f"{name}: {count} rows, numbered {lowest} to {highest}, {retired} removed as too old{expected}")
    updates: LiteralString = (
        "SELECT s.symbol, s.book_sequence, count(p.*), min(p.book_sequence), max(p.book_sequence) "
        "FROM securities s LEFT JOIN price_updates p USING (symbol) GROUP BY 1, 2 ORDER BY 1"
    )
    for symbol, sequence, count, lowest, highest in _rows(feed, updates):
        check.compared += count
        retired = removed_updates.get(symbol, 0)
        if not _is_complete(count, lowest, highest, retired) or count + retired != sequence:
            check.differs(
                f"book of {symbol}: {count} updates, numbered {lowest} to {highest}, {retired} removed as too old, up to "
                f"{sequence} expected"
            )
    tables: LiteralString = (
        "SELECT (SELECT count(*) FROM order_reports) + (SELECT count(*) FROM trades) + (SELECT count(*) FROM price_updates) "
        "+ (SELECT count(*) FROM settlement_reports) + (SELECT count(*) FROM events)"
    )
    ((rows,),) = _rows(feed, tables)
    check.compared += rows
    retired = sum(rows for table, rows in removed.items() if table != "equity")
    if rows + retired != stored.reports:
        check.differs(f"the feed has stored {rows} reports and removed {retired}, and counts {stored.reports}")
    return check


def _is_complete(count: int, lowest: int | None, highest: int | None, retired: int) -> bool:
    """Return whether no row is missing, apart from the `retired` rows that were removed as too old."""
    return (highest or retired) == count + retired and (retired > 0 or (lowest or 1) == 1)


# --- trades ---------------------------------------------------------------------------------------------------


# The aggressor is the taker. In an auction it is the order that was entered later.
_AS_SETTLED = {
    "maker_order_id": "CASE WHEN aggressor_side = 'buy' THEN sell_order_id ELSE buy_order_id END",
    "taker_order_id": "CASE WHEN aggressor_side = 'buy' THEN buy_order_id ELSE sell_order_id END",
    "maker_fee": "CASE WHEN aggressor_side = 'buy' THEN seller_fee ELSE buyer_fee END",
    "taker_fee": "CASE WHEN aggressor_side = 'buy' THEN buyer_fee ELSE seller_fee END",
}
"""The columns of `trades` that `settlements` has under other names, as expressions."""
_SETTLED_COLUMNS = ", ".join(f"{_AS_SETTLED.get(name, name)} AS {name}" for name in TRADE_COLUMNS)
_FEED_TRADES = f"SELECT {', '.join(TRADE_COLUMNS)} FROM trades WHERE trade_id <= %s ORDER BY trade_id"  # noqa: S608 - our own names  # nosec B608
_SETTLED_TRADES = f"SELECT {_SETTLED_COLUMNS} FROM settlements WHERE trade_id <= %s ORDER BY trade_id"  # noqa: S608 - our own names  # nosec B608


def _check_trades(ledger: psycopg.Connection, feed: psycopg.Connection) -> Check:
    """Check that each stored trade is settled once with the same terms, and that nothing else is settled."""
    ((stored,),) = _rows(feed, "SELECT coalesce(max(trade_id), 0) FROM trades")
    ((settled,),) = _rows(ledger, "SELECT coalesce(max(trade_id), 0) FROM settlements")
    last = min(stored, settled)
    check = Check("every trade is settled once", f"trade {last}")
    for trade_id, text in _rows(ledger, "SELECT trade_id, text FROM settlements WHERE status <> 'SETTLED' ORDER BY 1"):
        check.differs(f"trade {trade_id} was not settled: {text}")
    ((retired,),) = _rows(feed, "SELECT coalesce(sum(rows), 0)::bigint FROM retired WHERE table_name = 'trades'")
    with (
        feed.cursor("trades", row_factory=namedtuple_row) as trades,
        ledger.cursor("settlements", row_factory=namedtuple_row) as settlements,
    ):
        trades.itersize = settlements.itersize = 10_000
        trades.execute(_FEED_TRADES.encode(), (last,))
        settlements.execute(_SETTLED_TRADES.encode(), (last,))
        trade: Any = trades.fetchone()
        settlement: Any
        for settlement in settlements:
            if retired and (trade is None or trade.trade_id > settlement.trade_id):
                retired -= 1
                continue
            check.compared += 1
            if trade != settlement:
                check.differs(f"feed {trade}, ledger {settlement}")
            trade = trades.fetchone()
    return check


# --- the feed against the ledger --------------------------------------------------------------------------------


def _check_feed(ledger: psycopg.Connection, feed: psycopg.Connection, stored: _Stored) -> list[Check]:
    moment = f"instruction {stored.clearing_sequence}"
    cash = Check("feed's balances = ledger", moment)
    known = dict(_rows(feed, "SELECT client_id, cash FROM clients"))
    cash.equal("feed", "ledger", known, _without_own_accounts(_cash_up_to(ledger, stored.clearing_sequence)), 0)
    shares = Check("feed's holdings = ledger", moment)
    shares.equal(
        "feed", "ledger", _holdings(feed), _without_own_accounts(_shares_up_to(ledger, stored.clearing_sequence)), 0
    )
    return [cash, shares]


def _without_own_accounts(balances: dict[Any, int]) -> dict[Any, int]:
    """Return the balances without those of the exchange's own accounts."""
    return {
        key: amount for key, amount in balances.items() if (key if isinstance(key, str) else key[0]) not in _OWN_ACCOUNTS
    }


# --- the engine against the ledger and the feed -----------------------------------------------------------------


def _check_engine(ledger: psycopg.Connection, feed: psycopg.Connection, stored: _Stored, replayed: _Replayed) -> list[Check]:
    engine = replayed.engine
    moment = f"instruction {replayed.instruction_sequence}"
    replay = Check("replay gives the same instructions", f"{moment}, from offset {replayed.from_offset} on")
    replay.compared = len(replayed.instructions)
    if replayed.report_sequence != stored.engine_sequence:
        replay.differs(
            f"the replay has {replayed.report_sequence} reports, and the feed has stored {stored.engine_sequence}"
        )
    _compare_decisions(ledger, replayed.instructions, replay)

    credit = Check("engine's cash = ledger", moment)
    legs = _without_own_accounts(_cash_up_to(ledger, replayed.instruction_sequence))
    credit.equal("engine", "ledger", {name: account.cash for name, account in engine.accounts.items()}, legs, 0)
    shares = Check("engine's shares = ledger", moment)
    held = {
        (name, symbol): holding.quantity
        for name, account in engine.accounts.items()
        for symbol, holding in account.holdings.items()
    }
    lots_of = _without_own_accounts(_shares_up_to(ledger, replayed.instruction_sequence))
    shares.equal("engine", "ledger", held, lots_of, 0)

    holds = Check("engine's holds = open orders", f"report {stored.engine_sequence}")
    held_cash: defaultdict[str, int] = defaultdict(int)
    for name, account in engine.accounts.items():
        for order in account.orders.values():
            held_cash[name] += order.leaves * order.hold_per_lot
    holds.equal("held", "orders", {name: account.held for name, account in engine.accounts.items()}, held_cash, 0)

    books = Check("feed's books = engine", f"report {stored.engine_sequence}")
    levels = {
        (symbol, side.value, level.price): (level.quantity, level.count)
        for symbol, market in engine.markets.items()
        for side in Side
        for level in market.book.side(side).best_first()
    }
    shown = {
        (symbol, side, price): (quantity, orders)
        for symbol, side, price, quantity, orders in _rows(
            feed, "SELECT symbol, side, price, quantity, order_count FROM levels"
        )
    }
    books.equal("engine", "feed", levels, shown)
    markets = {symbol: (market.state.value, market.last_price) for symbol, market in engine.markets.items()}
    listed = {symbol: (mode, last) for symbol, mode, last in _rows(feed, "SELECT symbol, state, last_price FROM securities")}
    books.equal("engine", "feed", markets, listed)

    orders = Check("feed's open orders = engine", f"report {stored.engine_sequence}")
    live = {
        order_id: (name, order.entry.symbol, order.leaves)
        for name, account in engine.accounts.items()
        for order_id, order in account.orders.items()
    }
    query: LiteralString = (
        "SELECT o.order_id, r.client_id, r.symbol, r.leaves_quantity "
        "FROM open_orders o JOIN order_reports r USING (report_id)"
    )
    orders.equal("engine", "feed", live, {order_id: tuple(rest) for order_id, *rest in _rows(feed, query)})
    suspended = {name: True for name, account in engine.accounts.items() if account.suspended}
    orders.equal("engine", "feed", suspended, dict(_rows(feed, "SELECT client_id, suspended FROM clients WHERE suspended")))
    return [replay, credit, shares, holds, books, orders]


def _compare_decisions(ledger: psycopg.Connection, instructions: Mapping[int, Instruction], check: Check) -> None:
    """Compare the instructions of a replay with the settled rows."""
    if not instructions:
        return
    first, last = min(instructions), max(instructions)
    settled: dict[int, dict[str, Any]] = {}
    columns = {}
    for table, record_type in ((settlements, Execution), (transfers, Transfer)):
        columns[record_type] = stored_fields(table, record_type)
        query = (
            f"SELECT instruction, {', '.join(columns[record_type])} FROM {table.name} "  # noqa: S608 - our own names  # nosec B608
            "WHERE instruction BETWEEN %s AND %s"
        )
        for number, *values in _rows(ledger, query.encode(), first, last):
            settled[number] = dict(zip(columns[record_type], values, strict=True))
    for number, instruction in instructions.items():
        decided = {name: getattr(instruction, name) for name in columns[type(instruction)]}
        if settled.get(number) != decided:
            check.differs(f"instruction {number}: replay {decided}, ledger {settled.get(number)}")
