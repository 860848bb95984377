"""Creation and upgrade of the databases with Alembic. Several processes may run it at the same time."""

from collections.abc import Sequence
from pathlib import Path

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql

from microexchange.databases import CLEARING_DATA, EXCHANGE_LOG, MARKET_DATA, database_url

ALL = (CLEARING_DATA, MARKET_DATA, EXCHANGE_LOG)
_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x6D786462  # "mxdb": the advisory lock of a migration, on the database `postgres`


def alembic_config(name: str, url: str) -> Config:
    """Return the configuration of Alembic for the migrations of database `name` at `url`."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS / name))
    config.attributes["url"] = url
    return config


def migrate(server_url: str, namespace: str = "", names: Sequence[str] = ALL, revision: str = "head") -> list[str]:
    """Migrate the databases `names` of a server to `revision`. Return the names of the databases that it created.

    Raises:
        psycopg.OperationalError: The server cannot be reached.
    """
    made = []
    with psycopg.connect(database_url(server_url, "", "postgres"), autocommit=True, connect_timeout=10) as server:
        server.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        for name in names:
            database = namespace + name
            found = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
            if found is None:
                server.execute(
                    sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(database))
                )
                made.append(database)
            url = database_url(server_url, namespace, name)
            command.upgrade(alembic_config(name, url), revision)
    return made


def check(server_url: str, namespace: str = "", names: Sequence[str] = ALL) -> dict[str, tuple[str | None, str | None]]:
    """Return the current and the newest revision of each database."""
    revisions = {}
    for name in names:
        url = database_url(server_url, namespace, name)
        engine = sa.create_engine("postgresql+psycopg://", creator=lambda url=url: psycopg.connect(url))
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        engine.dispose()
        newest = ScriptDirectory.from_config(alembic_config(name, url)).get_current_head()
        revisions[namespace + name] = (current, newest)
    return revisions
