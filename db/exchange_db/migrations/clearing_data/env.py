"""Alembic's environment for `clearing_data`."""

from exchange_db.environment import run
from exchange_db.tables import clearing_data

run(clearing_data)
