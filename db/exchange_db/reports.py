"""Rows of `order_reports` as the records that they were."""

from collections.abc import Callable, Sequence

from exchange_db.tables import order_reports
from microexchange.enums import ExecType, Liquidity, OrderStatus, OrderType, Side, TimeInForce
from microexchange.reports import OrderReport

COLUMNS = tuple(column.name for column in order_reports.c)[1:]
"""The columns that are the record: all but `report_id`."""

_ENUMS: dict[str, Callable[[str], object]] = {
    "side": Side,
    "order_type": OrderType,
    "exec_type": ExecType,
    "status": OrderStatus,
    "liquidity": Liquidity,
    "time_in_force": TimeInForce,
}


def order_report(values: Sequence[object]) -> OrderReport:
    """The report whose values of `COLUMNS` these are."""
    fields = dict(zip(COLUMNS, values, strict=True))
    for name, kind in _ENUMS.items():
        fields[name] = kind(str(fields[name]))
    return OrderReport(**fields)  # type: ignore[arg-type]
