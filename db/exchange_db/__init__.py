"""The databases of the exchange: their tables, and the migrations that make them.

`migrate` is the one command: it makes what is missing and upgrades what is old, and may be run at any time.
"""

from exchange_db.migrate import ALL, check, migrate

__all__ = ["ALL", "check", "migrate"]
