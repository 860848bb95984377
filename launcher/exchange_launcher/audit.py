"""`microexchange audit`: proves that every cent and every share is where it must be, in all that the exchange keeps.

It reads the feed's database first, the ledger afterwards, each in one transaction, and lets an engine of its own go on from
a snapshot over the log to exactly the report that the feed has stored. So all is compared as of the same moment, while the
exchange goes on: what has happened since is not looked at.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import msgspec
import psycopg

from exchange_db.accounts import FEES, ISSUER, SPREAD
from matching_engine import state
from matching_engine.engine import Engine
from matching_engine.snapshots import Snapshot, read_snapshots
from microexchange.batches import CLEARING, ENGINE, Batch, decode_batch
from microexchange.databases import CLEARING_DATA, MARKET_DATA, database_url
from microexchange.enums import Side
from microexchange.instructions import Instruction
from microexchange.log import open_log
from microexchange.numbers import cash_to_text
from microexchange.records import ORDER_ENTRY

PATIENCE = 30.0
"""Seconds to wait for the ledger to settle what the feed has stored already."""
LOG_PATIENCE = 10.0
"""Seconds to wait for the next entry of the log before saying that it ends there."""
MAX_SHOWN = 10

_HOUSE = (ISSUER, FEES, SPREAD)


@dataclass
class Check:
    """One thing that was proved, or not."""

    name: str
    as_of: str = ""
    """The moment of which it is true."""
    compared: int = 0
    """How many things were looked at."""
    differences: list[str] = field(default_factory=list)
    """The first of them, in words."""
    count: int = 0
    """All of them."""

    def differs(self, text: str) -> None:
        """Notes a difference."""
        self.count += 1
        if len(self.differences) < MAX_SHOWN:
            self.differences.append(text)

    def equal(self, left: str, right: str, lefts: Mapping[Any, Any], rights: Mapping[Any, Any], nothing: Any = None) -> None:
        """Notes where two tables differ; a row that one does not have counts as `nothing`."""
        for key in sorted(lefts.keys() | rights.keys(), key=str):
            self.compared += 1
            if lefts.get(key, nothing) != rights.get(key, nothing):
                name = "/".join(map(str, key)) if isinstance(key, tuple) else key
                self.differs(f"{name}: {left} {lefts.get(key, nothing)}, {right} {rights.get(key, nothing)}")


class AuditError(RuntimeError):
    """The audit cannot be made; the message says why."""


@dataclass(frozen=True)
class Places:
    """Where the exchange keeps what it knows."""

    database: str
    """The Postgres server."""
    log: str
    namespace: str
    data: Path
    """The folder with the engine's snapshots."""
    whole: bool = False
    """Whether the engine decides everything again, from the first command on, and not only what came after a snapshot."""


async def audit(places: Places) -> list[Check]:
    """All checks, made. Raises `AuditError` where something that it needs cannot be read."""
    feed_url = database_url(places.database, places.namespace, MARKET_DATA)
    ledger_url = database_url(places.database, places.namespace, CLEARING_DATA)
    try:
        with _one_moment(feed_url) as feed:
            stored = _Stored.read(feed)
            replayed = await _replay(places, stored.engine_sequence)
            with _settled_up_to(ledger_url, max(replayed.instruction_sequence, stored.clearing_sequence)) as ledger:
                return [
                    *_of_ledger(ledger),
                    _of_sequences(ledger, feed, stored),
                    _of_trades(ledger, feed),
                    *_of_feed(ledger, feed, stored),
                    *_of_engine(ledger, feed, stored, replayed),
                ]
    except psycopg.Error as error:
        raise AuditError(f"a database cannot be read: {str(error).strip()}") from error


@contextlib.contextmanager
def _one_moment(url: str) -> Iterator[psycopg.Connection]:
    """A connection that sees the database as it is at its first question, and changes nothing."""
    with psycopg.connect(url, connect_timeout=5) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield connection
        connection.rollback()


@contextlib.contextmanager
def _settled_up_to(url: str, instruction: int) -> Iterator[psycopg.Connection]:
    """The ledger at a moment when that instruction is settled. Waits for it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with _one_moment(url) as connection:
            settled = _consumed(connection)[1].get(ENGINE, 0)
            if settled >= instruction or time.monotonic() > deadline:
                yield connection
                return
        time.sleep(0.1)


def _rows(connection: psycopg.Connection, query: LiteralString, *values: object) -> list[Any]:
    return connection.execute(query, values).fetchall()


def _consumed(connection: psycopg.Connection) -> tuple[int, dict[str, int]]:
    """How far a database's owner has read: the offset, and the sequence of each producer."""
    for offset, producers in _rows(connection, 'SELECT "offset", producers FROM consumed'):
        return offset, {name: position[1] for name, position in producers.items()}
    return 0, {}


# --- what the feed has stored, and the engine at that moment ----------------------------------------------------


@dataclass
class _Stored:
    engine_sequence: int
    """The engine's last report that the feed has stored."""
    clearing_sequence: int
    """The clearinghouse's last report that it has stored."""
    reports: int
    """How many reports the feed says it has stored in all."""

    @classmethod
    def read(cls, feed: psycopg.Connection) -> "_Stored":
        _, sequences = _consumed(feed)
        totals = _rows(feed, "SELECT totals FROM consumed")
        reports = totals[0][0]["reports"] if totals else 0
        return cls(sequences.get(ENGINE, 0), sequences.get(CLEARING, 0), reports)


@dataclass
class _Replayed:
    """An engine that has made exactly the reports that the feed has stored."""

    engine: Engine
    from_offset: int
    instruction_sequence: int
    """Its last instruction."""
    report_sequence: int
    instructions: dict[int, Instruction]
    """Those that it made anew, by sequence."""


async def _replay(places: Places, report_sequence: int) -> _Replayed:
    snapshot = Snapshot(0, 1, 1, state.take(Engine()))
    for kept in () if places.whole else read_snapshots(places.data / "engine"):
        if kept.report_sequence - 1 <= report_sequence:
            snapshot = kept
            break
    engine = state.restore(snapshot.state)
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
    """The batches of commands on the log from `offset` on, until it ends."""
    log = open_log(places.log, places.namespace)
    try:
        async with contextlib.aclosing(log.read(ORDER_ENTRY, offset)) as entries:
            while True:
                try:
                    bodies = await asyncio.wait_for(anext(entries), LOG_PATIENCE)
                except TimeoutError:
                    return
                for _, body in bodies:
                    with contextlib.suppress(ValueError):  # what is no batch, the engine passes over too
                        yield decode_batch(ORDER_ENTRY, body)
    finally:
        await log.close()


# --- the ledger by itself -----------------------------------------------------------------------------------


_OWE: LiteralString = "SELECT client_id, cash FROM accounts WHERE cash < -credit_limit AND client_id NOT LIKE '$%%'"


def _of_ledger(ledger: psycopg.Connection) -> list[Check]:
    now = f"instruction {_consumed(ledger)[1].get(ENGINE, 0)}"
    cash = Check("cash is conserved", now)
    for count, total in _rows(ledger, "SELECT count(*), coalesce(sum(cash), 0) FROM accounts"):
        cash.compared = count
        if total:
            cash.differs(f"all balances together are {cash_to_text(int(total))}")
    shares = Check("shares are conserved", now)
    for symbol, total in _rows(ledger, "SELECT symbol, sum(quantity) FROM holdings GROUP BY 1 ORDER BY 1"):
        shares.compared += 1
        if total:
            shares.differs(f"{symbol}: all holdings together are {total} lots")
    limits = Check("nobody owes", now)
    limits.compared = cash.compared
    for client, units in _rows(ledger, _OWE):
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


# A number that both tables have counts twice.
_INSTRUCTIONS: LiteralString = """
SELECT count(*), min(instruction), max(instruction)
FROM (SELECT instruction FROM settlements UNION ALL SELECT instruction FROM transfers) AS numbered
"""


def _of_sequences(ledger: psycopg.Connection, feed: psycopg.Connection, stored: _Stored) -> Check:
    check = Check("no sequence has a gap", f"report {stored.reports}")
    settled = _consumed(ledger)[1].get(ENGINE, 0)
    gone: defaultdict[str, int] = defaultdict(int)
    gone_updates: dict[str, int] = {}
    for table, symbol, rows in _rows(feed, "SELECT table_name, symbol, sum(rows)::bigint FROM retired GROUP BY 1, 2"):
        gone[table] += rows
        if table == "price_updates":
            gone_updates[symbol] = rows
    counted = [
        ("settlements and transfers", _rows(ledger, _INSTRUCTIONS), settled, 0),
        ("trades settled", _rows(ledger, "SELECT count(*), min(trade_id), max(trade_id) FROM settlements"), None, 0),
        ("trades stored", _rows(feed, "SELECT count(*), min(trade_id), max(trade_id) FROM trades"), None, gone["trades"]),
        (
            "settlement reports stored",
            _rows(feed, "SELECT count(*), min(instruction), max(instruction) FROM settlement_reports"),
            stored.clearing_sequence,
            gone["settlement_reports"],
        ),
    ]
    for name, ((count, least, most),), should, retired in counted:
        check.compared += count
        complete = _complete(count, least, most, retired)
        if not complete or should not in (None, count + retired):
            expected = "" if should is None else f", up to {should} expected"
            check.differs(f"{name}: {count} of them, numbered {least} to {most}, {retired} were too old to keep{expected}")
    updates: LiteralString = (
        "SELECT s.symbol, s.book_sequence, count(p.*), min(p.book_sequence), max(p.book_sequence) "
        "FROM securities s LEFT JOIN price_updates p USING (symbol) GROUP BY 1, 2 ORDER BY 1"
    )
    for symbol, sequence, count, least, most in _rows(feed, updates):
        check.compared += count
        retired = gone_updates.get(symbol, 0)
        if not _complete(count, least, most, retired) or count + retired != sequence:
            check.differs(
                f"book of {symbol}: {count} updates, numbered {least} to {most}, {retired} were too old to keep, up to "
                f"{sequence} expected"
            )
    tables: LiteralString = (
        "SELECT (SELECT count(*) FROM order_reports) + (SELECT count(*) FROM trades) + (SELECT count(*) FROM price_updates) "
        "+ (SELECT count(*) FROM settlement_reports) + (SELECT count(*) FROM events)"
    )
    ((rows,),) = _rows(feed, tables)
    check.compared += rows
    retired = sum(rows for table, rows in gone.items() if table != "equity")
    if rows + retired != stored.reports:
        check.differs(f"the feed has stored {rows} reports and removed {retired}, and counts {stored.reports}")
    return check


def _complete(count: int, least: int | None, most: int | None, retired: int) -> bool:
    """Whether rows that are numbered so are all that there were, but for those that were too old to keep."""
    return (most or retired) == count + retired and (retired > 0 or (least or 1) == 1)


# --- trades ---------------------------------------------------------------------------------------------------


_TOLD = """
SELECT trade_id, timestamp, symbol, price, quantity, aggressor_side, maker_order_id, taker_order_id, maker_fee, taker_fee
FROM trades WHERE trade_id <= %s ORDER BY 1
"""
# The aggressor is the taker; in an auction, the one that came later.
_SETTLED = """
SELECT trade_id, timestamp, symbol, price, quantity, aggressor_side,
    CASE WHEN aggressor_side = 'buy' THEN sell_order_id ELSE buy_order_id END,
    CASE WHEN aggressor_side = 'buy' THEN buy_order_id ELSE sell_order_id END,
    CASE WHEN aggressor_side = 'buy' THEN seller_fee ELSE buyer_fee END,
    CASE WHEN aggressor_side = 'buy' THEN buyer_fee ELSE seller_fee END
FROM settlements WHERE trade_id <= %s ORDER BY 1
"""


def _of_trades(ledger: psycopg.Connection, feed: psycopg.Connection) -> Check:
    """Every trade that the market was told is settled, once, as it was told; and nothing else is."""
    ((told,),) = _rows(feed, "SELECT coalesce(max(trade_id), 0) FROM trades")
    ((settled,),) = _rows(ledger, "SELECT coalesce(max(trade_id), 0) FROM settlements")
    last = min(told, settled)
    check = Check("every trade is settled once", f"trade {last}")
    for trade_id, text in _rows(ledger, "SELECT trade_id, text FROM settlements WHERE status <> 'SETTLED' ORDER BY 1"):
        check.differs(f"trade {trade_id} was not settled: {text}")
    ((gone,),) = _rows(feed, "SELECT coalesce(sum(rows), 0)::bigint FROM retired WHERE table_name = 'trades'")
    with feed.cursor("told") as tells, ledger.cursor("settled") as settles:
        tells.itersize = settles.itersize = 10_000
        tells.execute(_TOLD, (last,))
        settles.execute(_SETTLED, (last,))
        trade = tells.fetchone()
        for settlement in settles:
            if gone and (trade is None or trade[0] > settlement[0]):
                gone -= 1  # too old to keep
                continue
            check.compared += 1
            if trade != settlement:
                check.differs(f"told {trade}, settled {settlement}")
            trade = tells.fetchone()
    return check


# --- the feed against the ledger --------------------------------------------------------------------------------


def _of_feed(ledger: psycopg.Connection, feed: psycopg.Connection, stored: _Stored) -> list[Check]:
    moment = f"instruction {stored.clearing_sequence}"
    cash = Check("feed's balances = ledger", moment)
    known = dict(_rows(feed, "SELECT client_id, cash FROM clients"))
    cash.equal("feed", "ledger", known, _of_clients(_cash_up_to(ledger, stored.clearing_sequence)), 0)
    shares = Check("feed's holdings = ledger", moment)
    shares.equal("feed", "ledger", _holdings(feed), _of_clients(_shares_up_to(ledger, stored.clearing_sequence)), 0)
    return [cash, shares]


def _of_clients(balances: dict[Any, int]) -> dict[Any, int]:
    """Without the exchange's own accounts."""
    return {key: amount for key, amount in balances.items() if (key if isinstance(key, str) else key[0]) not in _HOUSE}


# --- the engine against the ledger and the feed -----------------------------------------------------------------


def _of_engine(ledger: psycopg.Connection, feed: psycopg.Connection, stored: _Stored, replayed: _Replayed) -> list[Check]:
    engine = replayed.engine
    moment = f"instruction {replayed.instruction_sequence}"
    again = Check("engine decides the same again", f"{moment}, from offset {replayed.from_offset} on")
    again.compared = len(replayed.instructions)
    if replayed.report_sequence != stored.engine_sequence:
        again.differs(
            f"from its snapshot and the log the engine makes {replayed.report_sequence} reports, "
            f"the feed has stored {stored.engine_sequence}"
        )
    _as_settled(ledger, replayed.instructions, again)

    credit = Check("engine's cash = ledger", moment)
    legs = _of_clients(_cash_up_to(ledger, replayed.instruction_sequence))
    credit.equal("engine", "ledger", {name: account.cash for name, account in engine.accounts.items()}, legs, 0)
    shares = Check("engine's shares = ledger", moment)
    held = {
        (name, symbol): holding.quantity
        for name, account in engine.accounts.items()
        for symbol, holding in account.holdings.items()
    }
    lots_of = _of_clients(_shares_up_to(ledger, replayed.instruction_sequence))
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
    return [again, credit, shares, holds, books, orders]


def _as_settled(ledger: psycopg.Connection, instructions: Mapping[int, Instruction], check: Check) -> None:
    """Compares what the engine decided anew with the rows that were settled."""
    if not instructions:
        return
    first, last = min(instructions), max(instructions)
    executions: LiteralString = (
        "SELECT instruction, trade_id, timestamp, symbol, quantity, price, aggressor_side, buy_order_id, buyer, "
        "sell_order_id, seller, buyer_pays, seller_receives, buyer_fee, seller_fee "
        "FROM settlements WHERE instruction BETWEEN %s AND %s"
    )
    settled: dict[int, tuple[Any, ...]] = {number: tuple(rest) for number, *rest in _rows(ledger, executions, first, last)}
    moves: LiteralString = (
        "SELECT instruction, transfer_id, timestamp, client_id, cash, shares, opens, memo FROM transfers "
        "WHERE instruction BETWEEN %s AND %s"
    )
    settled |= {number: tuple(rest) for number, *rest in _rows(ledger, moves, first, last)}
    for number, instruction in instructions.items():
        decided = msgspec.structs.astuple(instruction)[:-1]  # the limit, which comes last, is not part of the row
        if settled.get(number) != decided:
            check.differs(f"instruction {number}: decided {decided}, settled {settled.get(number)}")
