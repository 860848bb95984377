"""The clearinghouse: it settles trades and transfers in the database `clearing_data`, the official record of balances.

`ledger` is the core, and the module to read first. `store` writes the settlements to Postgres. `service` is the loop around
both.
"""
