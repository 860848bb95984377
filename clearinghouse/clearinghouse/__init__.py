"""The clearinghouse: settles what the engine matched. Postgres `clearing_data` is the official record of money and shares.

Read `ledger` first: the core. `store` writes what it decided, `service` is the loop around both.
"""
