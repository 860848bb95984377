"""Rows are made from records by name, and records from rows."""

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from clearinghouse.store import _SETTLEMENT, _TRANSFER
from exchange_db.reports import COLUMNS, LISTING_COLUMNS, TRADE_COLUMNS, order_report, security_listed, trade
from exchange_db.rows import RowLayout, record_reader, row_layout
from exchange_db.tables import order_reports, price_updates, securities, settlement_reports, settlements, trades, transfers
from market_data_feed import store
from microexchange.instructions import Execution, Transfer
from microexchange.records import Record
from microexchange.reports import OrderReport, PriceUpdate, SecurityListed, SettlementReport, Trade

STORED: list[tuple[sa.Table, type[Record], RowLayout]] = [
    (order_reports, OrderReport, store._ORDER_REPORT),
    (trades, Trade, store._TRADE),
    (price_updates, PriceUpdate, store._PRICE_UPDATE),
    (settlement_reports, SettlementReport, store._SETTLEMENT_REPORT),
    (securities, SecurityListed, store._LISTING),
    (settlements, Execution, _SETTLEMENT),
    (transfers, Transfer, _TRANSFER),
]
COMPUTED = {
    "order_reports": {"report_id"},
    "settlement_reports": {"cash", "holdings"},
    "securities": {"state", "last_price", "book_sequence", "opening_day", "opening_price"},
    "settlements": {"instruction", "status", "text", "buyer_cash", "buyer_quantity", "seller_cash", "seller_quantity"},
    "transfers": {"instruction", "status", "text", "cash_after", "shares_after", "shares"},
}


def marked(record_type: type[Record]) -> Any:
    """A record in which each field has its own name as its value."""
    return record_type(**{name: name for name in record_type.__struct_fields__})


@pytest.mark.parametrize(("table", "record_type", "layout"), STORED, ids=lambda case: getattr(case, "__name__", ""))
def test_each_column_is_filled_from_the_field_with_its_name(
    table: sa.Table, record_type: type[Record], layout: RowLayout
) -> None:
    values = layout.field_values(marked(record_type))
    computed = COMPUTED.get(table.name, set())
    count = len(layout.columns) - len(values)
    assert set(layout.columns[:count]) == computed
    assert layout.columns[count:] == values
    assert sorted(layout.columns) == sorted(table.c.keys()), "each column once"


def test_the_columns_of_events_are_those_of_the_table() -> None:
    assert set(store._COLUMNS["events"]) == set(store.events.c.keys())


@pytest.mark.parametrize(("table", "record_type", "layout"), STORED, ids=lambda case: getattr(case, "__name__", ""))
@pytest.mark.parametrize("place", [0, 3])
def test_a_new_field_anywhere_in_a_record_shifts_no_column(
    table: sa.Table, record_type: type[Record], layout: RowLayout, place: int
) -> None:
    names = list(record_type.__struct_fields__)
    names.insert(place, "added")
    changed = msgspec.defstruct(f"Changed{record_type.__name__}", names, bases=(Record,), frozen=True)
    count = len(layout.columns) - len(layout.field_values(marked(record_type)))
    after = row_layout(table, changed, layout.columns[:count])
    assert after.columns == layout.columns
    assert after.field_values(marked(changed)) == layout.columns[count:]


def test_a_column_that_is_not_a_field_must_be_computed() -> None:
    with pytest.raises(LookupError, match=r"OrderReport has no field for order_reports\.report_id"):
        row_layout(order_reports, OrderReport)
    with pytest.raises(LookupError, match="trades has no column venue"):
        row_layout(trades, Trade, ("venue",))


@pytest.mark.parametrize(
    ("read", "columns", "record"),
    [
        (order_report, COLUMNS, OrderReport(7, 8, 9, "a", "x", "X", "buy", "limit", 5, 10, "NEW", "NEW", 5, 0, 0)),
        (trade, TRADE_COLUMNS, Trade(1, 2, "X", 3, 4, "sell", 5, 6, 7, -8)),
        (security_listed, LISTING_COLUMNS, SecurityListed(0, 0, "X", "X Inc.", "0.01", "1", 10**6, 100, 10, 20, band_bps=5)),
    ],
)
def test_a_record_is_read_back_from_its_row(read: Any, columns: tuple[str, ...], record: Record) -> None:
    assert read([getattr(record, name) for name in columns]) == record


def test_a_record_is_read_from_columns_in_any_order() -> None:
    columns = tuple(reversed(TRADE_COLUMNS))
    made = Trade(1, 2, "X", 3, 4, "sell", 5, 6, 7, -8)  # type: ignore[arg-type]
    assert record_reader(Trade, columns)([getattr(made, name) for name in columns]) == made
