"""Alembic's environment for `exchange_log`."""

from exchange_db.environment import run
from exchange_db.tables import exchange_log

run(exchange_log)
