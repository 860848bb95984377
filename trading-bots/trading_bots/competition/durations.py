"""Lengths of time as a season's file writes them."""

import re
from decimal import Decimal


class SeasonError(ValueError):
    """The season's file is not one; the message names the field."""


_UNITS = {"us": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def nanoseconds(text: str, field: str) -> int:
    """A length of time.

    >>> nanoseconds("1.5s", "length")
    1500000000

    Raises `SeasonError`.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)", text)
    if match is None:
        raise SeasonError(f"{field}: {text!r} is no length of time: say 250us, 2ms, 30s, 5m or 1h")
    return int(Decimal(match[1]) * _UNITS[match[2]])
