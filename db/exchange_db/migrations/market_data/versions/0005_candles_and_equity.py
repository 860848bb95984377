"""Candles, equities over time, and the results of clients."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "candles",
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("open", "high", "low", "close", "volume", "trades")),
    )
    op.execute(
        "INSERT INTO candles SELECT symbol, timestamp / 60000000000 * 60 AS start, (array_agg(price ORDER BY trade_id))[1], "
        "max(price), min(price), (array_agg(price ORDER BY trade_id DESC))[1], sum(quantity), count(*) FROM trades "
        "GROUP BY 1, 2"
    )
    op.create_table(
        "equity",
        sa.Column("client_id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, primary_key=True),
        sa.Column("equity", sa.Numeric, nullable=False),
    )
    op.create_index("equity_by_time", "equity", ["at"])
    op.create_index("trades_by_time", "trades", ["symbol", "timestamp"])
    op.add_column("clients", sa.Column("trades", sa.BigInteger, nullable=False, server_default="0"))
    for name in ("peak", "drawdown"):
        op.add_column("clients", sa.Column(name, sa.Numeric, nullable=False, server_default="0"))
    op.alter_column("clients", "opened_with", type_=sa.Numeric)


def downgrade() -> None:
    op.alter_column("clients", "opened_with", type_=sa.BigInteger)
    for name in ("trades", "peak", "drawdown"):
        op.drop_column("clients", name)
    op.drop_index("trades_by_time")
    op.drop_table("equity")
    op.drop_table("candles")
