"""Durations as they are written in a season's file."""

import re

from microexchange.numbers import PLAIN_DECIMAL, plain_decimal


class SeasonError(ValueError):
    """The file is not a valid season. The message names the field."""


MAX_HOURS = 10_000
"""The longest duration. A time after it still fits 64 bits."""
_UNITS = {"us": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(rf"({PLAIN_DECIMAL})(us|ms|s|m|h)")


def nanoseconds(text: str, field: str) -> int:
    """Return a duration in nanoseconds.

    >>> nanoseconds("1.5s", "length")
    1500000000

    Raises:
        SeasonError: The text is not a duration. The message names the field.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise SeasonError(f"{field}: {text[:40]!r} is not a duration: write 250us, 2ms, 30s, 5m or 1h")
    duration = int(plain_decimal(match[1]) * _UNITS[match[2]])
    if duration > MAX_HOURS * _UNITS["h"]:
        raise SeasonError(f"{field}: {text} is too long: a duration has at most {MAX_HOURS} h")
    return duration
