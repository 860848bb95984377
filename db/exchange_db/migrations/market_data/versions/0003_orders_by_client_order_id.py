"""Indexes for orders by client order id, and for fills."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index(
        "order_reports_by_client_order_id",
        "order_reports",
        ["client_id", "client_order_id", "order_id"],
        postgresql_where=sa.text("client_order_id <> ''"),
    )
    op.create_index(
        "order_reports_of_fills",
        "order_reports",
        ["client_id", "report_id"],
        postgresql_where=sa.text("exec_type = 'TRADE'"),
    )


def downgrade() -> None:
    op.drop_index("order_reports_of_fills")
    op.drop_index("order_reports_by_client_order_id")
