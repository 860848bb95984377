"""The partitions of `market_data`: the tables that grow with the market have a partition for each day of UTC.

So an old day is removed at once, whatever its size. Days are numbered from the start of Unix time.
"""

from datetime import UTC, date, datetime, timedelta

DAY_NS = 86_400 * 10**9
"""A day in nanoseconds."""
BY_DAY = {
    "order_reports": "timestamp",
    "trades": "timestamp",
    "price_updates": "timestamp",
    "settlement_reports": "timestamp",
    "events": "timestamp",
    "equity": "at",
}
"""The partitioned tables, with the column of the time of a row in nanoseconds of Unix time."""

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


def partition(table: str, day: int) -> str:
    """Return the name of the partition of a day.

    >>> partition("trades", 20_000)
    'trades_20241004'
    """
    return f"{table}_{_FIRST + timedelta(days=day):%Y%m%d}"


def day_of(name: str) -> int:
    """Return the day of the partition `name`.

    >>> day_of("trades_20241004")
    20000
    """
    return (datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC) - _FIRST).days


def make_partition(table: str, day: int) -> tuple[str, str]:
    """Return the two statements that make a partition. The second attaches the new table without blocking readers."""
    name = partition(table, day)
    return (
        f"CREATE TABLE IF NOT EXISTS {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)",
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({day * DAY_NS}) TO ({(day + 1) * DAY_NS})",
    )


def date_of(day: int) -> date:
    """Return the date of a day.

    >>> date_of(20_000).isoformat()
    '2024-10-04'
    """
    return (_FIRST + timedelta(days=day)).date()
