"""Accounts of the exchange's own bots, and the changes of profits between samples."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("clients", sa.Column("house", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("clients", sa.Column("since", sa.BigInteger, nullable=False, server_default="0"))
    for name in ("profit", "gains", "squares"):
        op.add_column("clients", sa.Column(name, sa.Numeric, nullable=False, server_default="0"))
    # The old peak is of the equity, the new one of the profit. Changes count from the profit at the last sample.
    op.execute("UPDATE clients SET peak = greatest(peak - opened_with, 0)")
    op.execute(
        "UPDATE clients SET profit = coalesce((SELECT equity FROM equity WHERE equity.client_id = clients.client_id "
        "ORDER BY at DESC LIMIT 1) - opened_with, 0)"
    )


def downgrade() -> None:
    op.execute("UPDATE clients SET peak = peak + opened_with")
    for name in ("house", "since", "profit", "gains", "squares"):
        op.drop_column("clients", name)
