"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("client_id", sa.Text, primary_key=True),
        sa.Column("cash", sa.BigInteger, nullable=False),
        sa.CheckConstraint("cash >= 0 OR client_id IN ('$issuer', '$fees')", name="cash_not_negative"),
    )
    op.create_table(
        "holdings",
        sa.Column("client_id", sa.Text, primary_key=True),
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.CheckConstraint("quantity >= 0 OR client_id = '$issuer'", name="quantity_not_negative"),
    )
    op.create_table(
        "settlements",
        sa.Column("instruction", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("trade_id", sa.BigInteger, nullable=False, unique=True),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("aggressor_side", sa.Text, nullable=False),
        sa.Column("buy_order_id", sa.BigInteger, nullable=False),
        sa.Column("buyer", sa.Text, nullable=False),
        sa.Column("sell_order_id", sa.BigInteger, nullable=False),
        sa.Column("seller", sa.Text, nullable=False),
        sa.Column("buyer_pays", sa.BigInteger, nullable=False),
        sa.Column("seller_receives", sa.BigInteger, nullable=False),
        sa.Column("buyer_fee", sa.BigInteger, nullable=False),
        sa.Column("seller_fee", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("buyer_cash", sa.BigInteger, nullable=False),
        sa.Column("buyer_quantity", sa.BigInteger, nullable=False),
        sa.Column("seller_cash", sa.BigInteger, nullable=False),
        sa.Column("seller_quantity", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "transfers",
        sa.Column("instruction", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("transfer_id", sa.BigInteger, nullable=False, unique=True),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("cash", sa.BigInteger, nullable=False),
        sa.Column("shares", JSONB, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("cash_after", sa.BigInteger, nullable=False),
        sa.Column("shares_after", JSONB, nullable=False),
    )
    op.create_table(
        "consumed",
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("producers", JSONB, nullable=False),
        sa.Column("reported", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("consumed")
    op.drop_table("transfers")
    op.drop_table("settlements")
    op.drop_table("holdings")
    op.drop_table("accounts")
