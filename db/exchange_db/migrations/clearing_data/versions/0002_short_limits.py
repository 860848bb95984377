"""Short positions, up to a limit."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("holdings", sa.Column("short_limit", sa.BigInteger, nullable=False, server_default="0"))
    op.drop_constraint("quantity_not_negative", "holdings")
    op.create_check_constraint(
        "quantity_within_short_limit", "holdings", "quantity >= -short_limit OR client_id = '$issuer'"
    )


def downgrade() -> None:
    op.drop_constraint("quantity_within_short_limit", "holdings")
    op.create_check_constraint("quantity_not_negative", "holdings", "quantity >= 0 OR client_id = '$issuer'")
    op.drop_column("holdings", "short_limit")
