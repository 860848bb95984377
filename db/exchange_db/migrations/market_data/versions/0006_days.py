"""Partitions by day for the tables that grow with the market, so that old days can be removed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

KEYS = {
    "order_reports": ("report_id", "timestamp"),
    "trades": ("trade_id", "timestamp"),
    "price_updates": ("symbol", "book_sequence", "timestamp"),
    "settlement_reports": ("instruction", "timestamp"),
    "events": ("report_id", "timestamp"),
    "equity": ("client_id", "at"),
}
INDEXES = {
    "order_reports_by_client": "order_reports (client_id, order_id, report_id)",
    "order_reports_by_client_order_id": "order_reports (client_id, client_order_id, order_id) WHERE client_order_id <> ''",
    "order_reports_of_fills": "order_reports (client_id, report_id) WHERE exec_type = 'TRADE'",
    "trades_by_symbol": "trades (symbol, trade_id)",
    "trades_by_time": "trades (symbol, timestamp)",
    "settlement_reports_rejected": "settlement_reports (instruction) WHERE status = 'REJECTED'",
    "equity_by_time": "equity (at)",
}
DAY = 86_400 * 10**9


def replace(by_day: bool) -> None:
    """Make each table again, partitioned or not, with all of its rows."""
    connection = op.get_bind()
    for index in INDEXES:
        op.execute(f"DROP INDEX {index}")
    for table, key in KEYS.items():
        time = key[-1]
        op.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
        op.execute(f"ALTER TABLE old_{table} DROP CONSTRAINT {table}_pkey")
        op.execute(
            f"CREATE TABLE {table} (LIKE old_{table} INCLUDING DEFAULTS)"
            + (f" PARTITION BY RANGE ({time})" if by_day else "")
        )
        columns = ", ".join(key if by_day or table == "equity" else key[:-1])
        op.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({columns})")
    for name, what in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON {what}")
    for table, key in KEYS.items():
        if by_day:
            days = connection.execute(sa.text(f"SELECT DISTINCT {key[-1]} / {DAY} FROM old_{table}"))  # our own names  # nosec B608
            for (day,) in days.fetchall():
                name = connection.execute(
                    sa.text(f"SELECT '{table}_' || to_char(to_timestamp({day * 86_400}) AT TIME ZONE 'UTC', 'YYYYMMDD')")
                ).scalar_one()
                op.execute(f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ({day * DAY}) TO ({(day + 1) * DAY})")
        op.execute(f"INSERT INTO {table} SELECT * FROM old_{table}")  # our own names  # nosec B608
        op.execute(f"DROP TABLE old_{table}")


def upgrade() -> None:
    replace(by_day=True)
    op.create_table(
        "retired",
        sa.Column("table_name", sa.Text, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("rows", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("retired")
    replace(by_day=False)
