"""Alembic's environment for `market_data`."""

from exchange_db.environment import run
from exchange_db.tables import market_data

run(market_data)
