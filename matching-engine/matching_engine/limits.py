"""The bounds of what the engine accepts and counts."""

from microexchange.numbers import MAX_CASH

BPS = 10_000
"""Basis points in one."""

MAX_INT = (1 << 63) - 1
"""The greatest id and the greatest number in a report: the databases use 64 bits."""

MAX_AUCTION_SECONDS = 86_400

MAX_NOW = MAX_INT - MAX_AUCTION_SECONDS * 1_000_000_000
"""The latest time stamp of a command, in nanoseconds. The end of an auction that begins then fits 64 bits."""

MAX_ISSUED_CASH = 90 * MAX_CASH
"""The greatest sum of the cash and credit of all accounts, in cash units. Any sum of balances then fits 64 bits."""

MAX_SAVED_BOOKS = 100
