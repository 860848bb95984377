"""Cash below zero, up to a credit limit."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("credit_limit", sa.BigInteger, nullable=False, server_default="0"))
    op.drop_constraint("cash_not_negative", "accounts")
    op.create_check_constraint(
        "cash_within_credit", "accounts", "cash >= -credit_limit OR client_id IN ('$issuer', '$fees')"
    )


def downgrade() -> None:
    op.drop_constraint("cash_within_credit", "accounts")
    op.create_check_constraint("cash_not_negative", "accounts", "cash >= 0 OR client_id IN ('$issuer', '$fees')")
    op.drop_column("accounts", "credit_limit")
