"""Positions with their average cost and profit.

Holdings that exist already begin at the last price: their earlier profits are not known in full, since old days are removed.
Fills that are not settled yet count at the last price too.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_LOT_VALUE = "coalesce(nullif(s.last_price, 0), s.reference_price)::numeric * s.tick_value"
_FILL = "CASE r.side WHEN 'buy' THEN r.last_quantity ELSE -r.last_quantity END"


def upgrade() -> None:
    op.add_column("securities", sa.Column("opening_day", sa.BigInteger, nullable=False, server_default="-1"))
    op.add_column("securities", sa.Column("opening_price", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "positions",
        sa.Column("client_id", sa.Text, primary_key=True),
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("cost", sa.Numeric, nullable=False),
        sa.Column("realised", sa.Numeric, nullable=False),
        sa.Column("fees", sa.Numeric, nullable=False),
        sa.Column("day", sa.BigInteger, nullable=False),
        sa.Column("opening_quantity", sa.BigInteger, nullable=False),
        sa.Column("opening_result", sa.Numeric, nullable=False),
        sa.Column("trades", sa.BigInteger, nullable=False),
    )
    op.execute(
        # Our own names.
        "WITH lots AS (SELECT client_id, symbol, quantity FROM holdings UNION ALL "  # nosec B608
        f"SELECT r.client_id, r.symbol, {_FILL} FROM order_reports r WHERE r.exec_type = 'TRADE' "
        "AND r.trade_id > coalesce((SELECT max(trade_id) FROM settlement_reports), 0)) "
        "INSERT INTO positions SELECT l.client_id, l.symbol, sum(l.quantity), "
        f"sum(l.quantity) * {_LOT_VALUE}, 0, 0, 0, 0, 0, 0 FROM lots l JOIN securities s USING (symbol) "
        "GROUP BY l.client_id, l.symbol, s.last_price, s.reference_price, s.tick_value"
    )


def downgrade() -> None:
    op.drop_table("positions")
    op.drop_column("securities", "opening_day")
    op.drop_column("securities", "opening_price")
