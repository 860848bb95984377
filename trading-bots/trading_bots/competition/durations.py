"""Durations as they are written in a season's file."""

import re
from decimal import Decimal


class SeasonError(ValueError):
    """The file is not a valid season. The message names the field."""


_UNITS = {"us": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def nanoseconds(text: str, field: str) -> int:
    """Return a duration in nanoseconds.

    >>> nanoseconds("1.5s", "length")
    1500000000

    Raises:
        SeasonError: The text is not a duration. The message names the field.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)", text)
    if match is None:
        raise SeasonError(f"{field}: {text!r} is not a duration: write 250us, 2ms, 30s, 5m or 1h")
    return int(Decimal(match[1]) * _UNITS[match[2]])
