"""Order types, times in force and trading states."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def order_columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("time_in_force", sa.Text, nullable=False, server_default="gtc"),
        sa.Column("expire_at", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("trigger_price", sa.BigInteger),
        sa.Column("post_only", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("display_quantity", sa.BigInteger, nullable=False, server_default="0"),
    )


def security_columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("pricing_rule", sa.Text, nullable=False, server_default="resting"),
        sa.Column("band_bps", sa.Integer, nullable=False, server_default="0"),
        sa.Column("auction_seconds", sa.Integer, nullable=False, server_default="30"),
        sa.Column("max_order_quantity", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("max_order_value", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("short_limit", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("position_limit", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("state", sa.Text, nullable=False, server_default="continuous"),
    )


def upgrade() -> None:
    for column in order_columns():
        op.add_column("order_reports", column)
    for column in security_columns():
        op.add_column("securities", column)


def downgrade() -> None:
    for column in order_columns():
        op.drop_column("order_reports", column.name)
    for column in security_columns():
        op.drop_column("securities", column.name)
