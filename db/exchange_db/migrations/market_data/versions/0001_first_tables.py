"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "order_reports",
        sa.Column("report_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("order_id", sa.BigInteger, nullable=False),
        sa.Column("command_id", sa.BigInteger, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("client_order_id", sa.Text, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("order_type", sa.Text, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("price", sa.BigInteger),
        sa.Column("exec_type", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("leaves_quantity", sa.BigInteger, nullable=False),
        sa.Column("cumulative_quantity", sa.BigInteger, nullable=False),
        sa.Column("notional", sa.BigInteger, nullable=False),
        sa.Column("last_quantity", sa.BigInteger, nullable=False),
        sa.Column("last_price", sa.BigInteger, nullable=False),
        sa.Column("fee", sa.BigInteger, nullable=False),
        sa.Column("trade_id", sa.BigInteger, nullable=False),
        sa.Column("liquidity", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("order_reports_by_client", "order_reports", ["client_id", "order_id", "report_id"])
    op.create_table(
        "trades",
        sa.Column("trade_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("aggressor_side", sa.Text, nullable=False),
        sa.Column("maker_order_id", sa.BigInteger, nullable=False),
        sa.Column("taker_order_id", sa.BigInteger, nullable=False),
        sa.Column("maker_fee", sa.BigInteger, nullable=False),
        sa.Column("taker_fee", sa.BigInteger, nullable=False),
    )
    op.create_index("trades_by_symbol", "trades", ["symbol", "trade_id"])
    op.create_table(
        "price_updates",
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("book_sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("order_count", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "settlement_reports",
        sa.Column("instruction", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("trade_id", sa.BigInteger, nullable=False),
        sa.Column("transfer_id", sa.BigInteger, nullable=False),
        sa.Column("cash", JSONB, nullable=False),
        sa.Column("holdings", JSONB, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index(
        "settlement_reports_rejected",
        "settlement_reports",
        ["instruction"],
        postgresql_where=sa.text("status = 'REJECTED'"),
    )
    op.create_table(
        "events",
        sa.Column("report_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("body", JSONB, nullable=False),
    )
    op.create_table(
        "securities",
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("tick_size", sa.Text, nullable=False),
        sa.Column("lot_size", sa.Text, nullable=False),
        sa.Column("tick_value", sa.BigInteger, nullable=False),
        sa.Column("reference_price", sa.BigInteger, nullable=False),
        sa.Column("maker_fee_bps", sa.Integer, nullable=False),
        sa.Column("taker_fee_bps", sa.Integer, nullable=False),
        sa.Column("last_price", sa.BigInteger, nullable=False),
        sa.Column("book_sequence", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "levels",
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("side", sa.Text, primary_key=True),
        sa.Column("price", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("order_count", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "open_orders",
        sa.Column("order_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("report_id", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "clients",
        sa.Column("client_id", sa.Text, primary_key=True),
        sa.Column("cash", sa.BigInteger, nullable=False),
        sa.Column("suspended", sa.Boolean, nullable=False),
        sa.Column("opened_with", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "holdings",
        sa.Column("client_id", sa.Text, primary_key=True),
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("quantity", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "consumed",
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("producers", JSONB, nullable=False),
        sa.Column("totals", JSONB, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("consumed")
    op.drop_table("holdings")
    op.drop_table("clients")
    op.drop_table("open_orders")
    op.drop_table("levels")
    op.drop_table("securities")
    op.drop_table("events")
    op.drop_table("settlement_reports")
    op.drop_table("price_updates")
    op.drop_table("trades")
    op.drop_table("order_reports")
