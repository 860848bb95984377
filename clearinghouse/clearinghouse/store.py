"""The database of the clearinghouse: settlements, balances and the position on the log, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb

from clearinghouse.ledger import Ledger
from exchange_db.accounts import FEES, ISSUER, SPREAD
from exchange_db.rows import row_layout
from exchange_db.tables import settlements, transfers
from microexchange.enums import SettlementStatus
from microexchange.instructions import Execution, Instruction, Transfer
from microexchange.producer_cursors import ProducerCursors
from microexchange.records import ORDER_EXECUTION
from microexchange.reports import SettlementReport

_LOCK = 0x6D78636C  # "mxcl": the advisory lock of the clearinghouse that writes
_SETTLEMENT = row_layout(
    settlements,
    Execution,
    ("instruction", "status", "text", "buyer_cash", "buyer_quantity", "seller_cash", "seller_quantity"),
)
_TRANSFER = row_layout(transfers, Transfer, ("instruction", "status", "text", "cash_after", "shares_after", "shares"))
_COPY_SETTLEMENTS = f"COPY settlements ({', '.join(_SETTLEMENT.columns)}) FROM STDIN"
_COPY_TRANSFERS = f"COPY transfers ({', '.join(_TRANSFER.columns)}) FROM STDIN"
_SETTLEMENTS_AFTER = "SELECT * FROM settlements WHERE instruction > %s ORDER BY instruction LIMIT %s"
_TRANSFERS_AFTER = "SELECT * FROM transfers WHERE instruction > %s ORDER BY instruction LIMIT %s"
_OPEN_ACCOUNTS = (
    "INSERT INTO accounts (client_id, cash, credit_limit) "
    "SELECT client_id, 0, credit_limit FROM unnest(%s::text[], %s::bigint[]) AS opened(client_id, credit_limit)"
)
_OPEN_HOLDINGS = (
    "INSERT INTO holdings (client_id, symbol, quantity) "
    "SELECT client_id, symbol, 0 FROM unnest(%s::text[], %s::text[]) AS opened(client_id, symbol)"
)
# Balances change by their legs and are not set, so that the constraints also cover changes by other programs.
_MOVE_CASH = (
    "UPDATE accounts SET cash = cash + units FROM unnest(%s::text[], %s::bigint[]) AS moved(client_id, units) "
    "WHERE accounts.client_id = moved.client_id"
)
_MOVE_SHARES = (
    "UPDATE holdings SET quantity = quantity + lots, short_limit = greatest(holdings.short_limit, moved.short_limit) "
    "FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[]) AS moved(client_id, symbol, lots, short_limit) "
    "WHERE holdings.client_id = moved.client_id AND holdings.symbol = moved.symbol"
)
_PUT_CONSUMED = 'UPDATE consumed SET "offset" = %s, producers = %s, reported = greatest(reported, %s) WHERE topic = %s'

Settled = tuple[Instruction, SettlementReport]


@dataclass(slots=True)
class Progress:
    """The position of the clearinghouse."""

    offset: int
    """The offset of the next body of `order_execution`."""
    cursors: ProducerCursors
    reported: int
    """The last instruction whose report is certainly on `data_feed`."""


class Store:
    """A connection to `clearing_data`. Only one clearinghouse writes at a time."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection

    async def lock(self) -> bool:
        """Take the lock of the clearinghouse that writes, until the connection ends. Return whether it was free."""
        row = await (await self._connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,))).fetchone()
        return bool(row and row[0])

    async def next_fencing_token(self) -> int:
        """Return a new fencing token, greater than all before."""
        cursor = await self._connection.execute(
            "INSERT INTO consumed (topic, \"offset\", producers, reported, epoch) VALUES (%s, 0, '{}', 0, 1) "
            "ON CONFLICT (topic) DO UPDATE SET epoch = consumed.epoch + 1 RETURNING epoch",
            (ORDER_EXECUTION,),
        )
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - RETURNING returns a row
        return int(row[0])

    async def fencing_token(self) -> int:
        """Return the newest fencing token. It belongs to another process if one has started since."""
        rows = await self._all("SELECT epoch FROM consumed")
        return int(rows[0][0]) if rows else 0

    async def load(self) -> tuple[Progress, Ledger]:
        """Return the committed state."""
        progress = Progress(0, ProducerCursors(), 0)
        await self._connection.execute(
            "INSERT INTO accounts (client_id, cash) SELECT name, 0 FROM unnest(%s::text[]) AS own(name) "
            "ON CONFLICT DO NOTHING",
            ([ISSUER, FEES, SPREAD],),
        )
        for offset, producers, reported in await self._all('SELECT "offset", producers, reported FROM consumed'):
            progress = Progress(offset, ProducerCursors.from_json(producers), reported)
        ledger = Ledger()
        for client, cash, credit_limit in await self._all("SELECT client_id, cash, credit_limit FROM accounts"):
            ledger.cash[client] = cash
            if credit_limit:
                ledger.credit_limits[client] = credit_limit
        for client, symbol, quantity in await self._all("SELECT client_id, symbol, quantity FROM holdings"):
            ledger.holdings[client, symbol] = quantity
        return progress, ledger

    async def _all(self, query: LiteralString) -> list[Any]:
        return await (await self._connection.execute(query)).fetchall()

    async def commit(self, settled: list[Settled], ledger: Ledger, progress: Progress) -> None:
        """Write the settlements, the changed balances and the progress in one transaction."""
        trades = [(i, r) for i, r in settled if isinstance(i, Execution)]
        bookings = [(i, r) for i, r in settled if isinstance(i, Transfer)]
        async with self._connection.transaction(), self._connection.cursor() as cursor:
            if trades:
                async with cursor.copy(_COPY_SETTLEMENTS) as copy:
                    for execution, report in trades:
                        await copy.write_row(_settlement_row(execution, report))
            if bookings:
                async with cursor.copy(_COPY_TRANSFERS) as copy:
                    for transfer, report in bookings:
                        await copy.write_row(_transfer_row(transfer, report))
            if ledger.new_accounts:
                opened = sorted(ledger.new_accounts)
                limits = [ledger.credit_limits.get(client, 0) for client in opened]
                await cursor.execute(_OPEN_ACCOUNTS, (opened, limits))
            if ledger.new_holdings:
                await cursor.execute(_OPEN_HOLDINGS, _columns(sorted(ledger.new_holdings)))
            if ledger.cash_moves:
                await cursor.execute(_MOVE_CASH, _columns(sorted(ledger.cash_moves.items())))
                _all_moved("accounts", cursor.rowcount, len(ledger.cash_moves))
            if ledger.share_moves:
                moves = [(*key, lots, ledger.short_limits.get(key, 0)) for key, lots in sorted(ledger.share_moves.items())]
                await cursor.execute(_MOVE_SHARES, _columns(moves))
                _all_moved("holdings", cursor.rowcount, len(moves))
            await cursor.execute(
                _PUT_CONSUMED,
                (
                    progress.offset,
                    Jsonb(progress.cursors.as_json()),
                    progress.reported,
                    ORDER_EXECUTION,
                ),
            )
        ledger.clear_moves()

    async def reports_after(self, instruction: int, limit: int = 5000) -> list[SettlementReport]:
        """Return the reports of the settlements after `instruction`, oldest first, equal to the original reports."""
        cursor = self._connection.cursor(row_factory=namedtuple_row)
        await cursor.execute(_SETTLEMENTS_AFTER, (instruction, limit))
        trades: list[Any] = await cursor.fetchall()
        await cursor.execute(_TRANSFERS_AFTER, (instruction, limit))
        bookings: list[Any] = await cursor.fetchall()
        reports = [_report_of_settlement(row) for row in trades] + [_report_of_transfer(row) for row in bookings]
        # Each query returns its first `limit` rows. Only the first `limit` of both together have no gap.
        return sorted(reports, key=lambda report: report.instruction)[:limit]


def _columns(rows: Sequence[tuple[object, ...]]) -> tuple[list[object], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))


def _all_moved(table: str, moved: int, expected: int) -> None:
    if moved != expected:
        raise psycopg.IntegrityError(f"{expected - moved} rows of {table} are missing: another program changed it")


def _settlement_row(execution: Execution, report: SettlementReport) -> tuple[object, ...]:
    """Return the values of `_SETTLEMENT.columns`."""
    cash = dict(report.cash)
    shares = {client: quantity for client, _, quantity in report.holdings}
    return (
        report.instruction,
        report.status.value,
        report.text,
        cash[execution.buyer],
        shares[execution.buyer],
        cash[execution.seller],
        shares[execution.seller],
        *_SETTLEMENT.field_values(execution),
    )


def _transfer_row(transfer: Transfer, report: SettlementReport) -> tuple[object, ...]:
    """Return the values of `_TRANSFER.columns`."""
    ((_, cash_after),) = report.cash
    shares_after = {symbol: quantity for _, symbol, quantity in report.holdings}
    return (
        report.instruction,
        report.status.value,
        report.text,
        cash_after,
        Jsonb(shares_after),
        Jsonb(transfer.shares),
        *_TRANSFER.field_values(transfer),
    )


def _report_of_settlement(row: Any) -> SettlementReport:
    """Return the report of a row of `settlements`. A buyer that is also the seller has one balance in it."""
    cash = {row.buyer: row.buyer_cash, row.seller: row.seller_cash}
    quantities = {row.buyer: row.buyer_quantity, row.seller: row.seller_quantity}
    return SettlementReport(
        instruction=row.instruction,
        timestamp=row.timestamp,
        status=SettlementStatus(row.status),
        trade_id=row.trade_id,
        transfer_id=0,
        cash=list(cash.items()),
        holdings=[(client, row.symbol, quantity) for client, quantity in quantities.items()],
        text=row.text,
    )


def _report_of_transfer(row: Any) -> SettlementReport:
    """Return the report of a row of `transfers`."""
    return SettlementReport(
        instruction=row.instruction,
        timestamp=row.timestamp,
        status=SettlementStatus(row.status),
        trade_id=0,
        transfer_id=row.transfer_id,
        cash=[(row.client_id, row.cash_after)],
        holdings=[(row.client_id, symbol, quantity) for symbol, quantity in row.shares_after.items()],
        text=row.text,
    )
