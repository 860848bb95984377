"""Whole histories as CSV and Parquet files, written page by page."""

import csv
import io
import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

TRADES = (
    "trade_id", "timestamp", "symbol", "price", "quantity", "aggressor_side", "maker_order_id", "taker_order_id",
    "maker_fee", "taker_fee",
)  # fmt: skip
"""The columns of an export of trades: fields of `TradeView`."""
ORDERS = (
    "timestamp", "order_id", "client_order_id", "symbol", "side", "order_type", "time_in_force", "quantity", "price",
    "trigger_price", "exec_type", "status", "filled_quantity", "leaves_quantity", "last_quantity", "last_price", "fee",
    "trade_id", "liquidity", "code",
)  # fmt: skip
"""The columns of an export of orders: fields of `ReportView`."""

_IDS = {"trade_id", "order_id", "maker_order_id", "taker_order_id"}
_AMOUNTS = {
    "price", "quantity", "maker_fee", "taker_fee", "trigger_price", "filled_quantity", "leaves_quantity", "last_quantity",
    "last_price", "fee",
}  # fmt: skip


async def as_csv(columns: Sequence[str], pages: AsyncIterator[Sequence[Any]]) -> AsyncIterator[bytes]:
    """Encode the fields `columns` of the views in `pages` as CSV with a header line. A null is an empty cell."""
    yield _csv([columns])
    async for page in pages:
        yield _csv([[_cell(getattr(view, column)) for column in columns] for view in page])


_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def _cell(value: Any) -> Any:
    """Return the text of a cell. A spreadsheet would compute a text like `=1+1`, so an apostrophe comes before it."""
    if isinstance(value, dict):
        return " ".join(f"{symbol}={quantity}" for symbol, quantity in value.items())
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return "" if value is None else value


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


async def as_parquet(columns: Sequence[str], pages: AsyncIterator[Sequence[Any]]) -> AsyncIterator[bytes]:
    """Encode the fields `columns` of the views in `pages` as Parquet, a row group for each page.

    Ids are 64-bit integers, amounts are exact decimals, and times are timestamps in UTC, in microseconds.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq  # the import takes half a second and 40 MB, so it waits for the first request

    schema = pa.schema([(column, _type(column)) for column in columns])
    sink = _Sink()
    writer = pq.ParquetWriter(sink, schema, compression="zstd")
    async for page in pages:
        values = {column: [_value(column, getattr(view, column)) for view in page] for column in columns}
        writer.write_table(pa.table(values, schema))
        yield sink.take()
    writer.close()
    yield sink.take()


def _type(column: str) -> "pa.DataType":
    import pyarrow as pa

    if column == "timestamp":
        return pa.timestamp("us", "UTC")
    if column in _IDS:
        return pa.int64()
    return pa.decimal128(38, 8) if column in _AMOUNTS else pa.string()


def _value(column: str, value: Any) -> Any:
    if value is None:
        return None
    if column == "timestamp":
        return datetime.fromisoformat(value)
    if column in _IDS:
        return int(value)
    return Decimal(value) if column in _AMOUNTS else str(value)


class _Sink(io.RawIOBase):
    """A file that keeps what is written until `take` returns it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        data = bytes(part)
        self._parts.append(data)
        self._length += len(data)
        return len(data)

    def tell(self) -> int:
        return self._length

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data
