"""The participants of a classroom."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "participants",
        sa.Column("client_id", sa.Text, primary_key=True),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("nickname", sa.Text, nullable=False),
        sa.Column("team", sa.Text, nullable=False),
        sa.Column("seat", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("participants")
