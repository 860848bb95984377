"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA

revision = "0001"
down_revision = None

# The advisory lock is held until the end of the transaction, so that offsets become visible in order and without a gap.
APPEND = """
CREATE FUNCTION append(of_topic text, bodies bytea[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    next_offset bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(of_topic, 0));
    SELECT coalesce(max("offset") + 1, 0) INTO next_offset FROM log WHERE topic = of_topic;
    INSERT INTO log (topic, "offset", body)
        SELECT of_topic, next_offset + number - 1, body FROM unnest(bodies) WITH ORDINALITY AS given(body, number);
    PERFORM pg_notify(of_topic, '');
    RETURN next_offset;
END
$$
"""


def upgrade() -> None:
    op.create_table(
        "log",
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("offset", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("body", BYTEA, nullable=False),
    )
    # Bodies are msgpack, and are read once or twice. Compression would only take time.
    op.execute("ALTER TABLE log ALTER COLUMN body SET STORAGE EXTERNAL")
    op.execute(APPEND)


def downgrade() -> None:
    op.execute("DROP FUNCTION append")
    op.drop_table("log")
