"""The code that the three Alembic environments share."""

import psycopg
import sqlalchemy as sa
from alembic import context


def run(metadata: sa.MetaData) -> None:
    """Run the migrations in one transaction, at the URL in the configuration."""
    url = context.config.attributes["url"]
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            context.run_migrations()
