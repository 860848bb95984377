"""The tables of `market_data` that grow with the market are kept by day: a partition for each day of UTC, so that an old day
goes at once, however much was in it."""

from datetime import UTC, date, datetime, timedelta

DAY_NS = 86_400 * 10**9
"""Nanoseconds."""
BY_DAY = {
    "order_reports": "timestamp",
    "trades": "timestamp",
    "price_updates": "timestamp",
    "settlement_reports": "timestamp",
    "events": "timestamp",
    "equity": "at",
}
"""Those tables, and the column, in nanoseconds of Unix time, that says which day a row belongs to."""

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


def partition(table: str, day: int) -> str:
    """The name of the partition of a day, which is counted from the beginning of Unix time.

    >>> partition("trades", 20_000)
    'trades_20241004'
    """
    return f"{table}_{_FIRST + timedelta(days=day):%Y%m%d}"


def day_of(name: str) -> int:
    """The day of the partition of that name.

    >>> day_of("trades_20241004")
    20000
    """
    return (datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC) - _FIRST).days


def make_partition(table: str, day: int) -> tuple[str, str]:
    """The two statements that make a partition. It is made by itself and then attached, for which nobody who reads the
    table has to wait."""
    name = partition(table, day)
    return (
        f"CREATE TABLE IF NOT EXISTS {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)",
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({day * DAY_NS}) TO ({(day + 1) * DAY_NS})",
    )


def date_of(day: int) -> date:
    """The date of a day.

    >>> date_of(20_000).isoformat()
    '2024-10-04'
    """
    return (_FIRST + timedelta(days=day)).date()
