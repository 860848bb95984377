"""Candles: the prices and the volume of the trades of an interval. Pure. Times are those of the trades."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from microexchange.numbers import NS_PER_SECOND
from microexchange.reports import Trade

INTERVALS = {"1s": 1, "1m": 60, "5m": 300, "1h": 3_600, "1d": 86_400}
"""The seconds of each interval. An interval begins at a whole multiple of its seconds, in Unix time."""
SECONDS_PER_MINUTE, SECONDS_PER_DAY = INTERVALS["1m"], INTERVALS["1d"]


@dataclass(slots=True)
class Candle:
    """The trades of one interval. Prices in ticks, volume in lots."""

    start: int
    """Seconds of Unix time."""
    open: int
    high: int
    low: int
    close: int
    volume: int
    trades: int

    def add(self, other: "Candle") -> None:
        """Add a later candle."""
        self.high = max(self.high, other.high)
        self.low = min(self.low, other.low)
        self.close = other.close
        self.volume += other.volume
        self.trades += other.trades


class Chart:
    """The candles of one security: the minutes of the last day, and the newest of each interval."""

    def __init__(self, minutes: Iterable[Candle] = ()) -> None:
        self.minutes: deque[Candle] = deque(maxlen=SECONDS_PER_DAY // SECONDS_PER_MINUTE)
        """Oldest first. A minute without trades has no candle."""
        self.newest: dict[str, Candle] = {}
        """By interval."""
        for minute in minutes:
            self._add_candle(minute)

    def add(self, trade: Trade) -> int:
        """Add a trade, and return the start of its minute. A trade that is out of order counts for the newest candle."""
        at, price = trade.timestamp // NS_PER_SECOND, trade.price
        self._add_candle(Candle(at, price, price, price, price, trade.quantity, 1))
        return self.newest["1m"].start

    def _add_candle(self, added: Candle) -> None:
        for name, seconds in INTERVALS.items():
            start, newest = added.start - added.start % seconds, self.newest.get(name)
            if newest is not None and start <= newest.start:
                newest.add(added)
                continue
            begun = Candle(start, added.open, added.high, added.low, added.close, added.volume, added.trades)
            self.newest[name] = begun
            if seconds == SECONDS_PER_MINUTE:
                self.minutes.append(begun)

    def minute(self, start: int) -> Candle | None:
        """Return the candle of the minute that begins at `start`, in seconds; None if there is none."""
        return next((candle for candle in reversed(self.minutes) if candle.start == start), None)

    def last_day(self, now: int) -> Candle | None:
        """Return one candle of the 24 hours before `now`, in seconds of Unix time; None if nothing traded."""
        whole: Candle | None = None
        for candle in self.minutes:
            if candle.start > now - SECONDS_PER_DAY:
                if whole is None:
                    whole = Candle(now - SECONDS_PER_DAY, candle.open, candle.high, candle.low, candle.close, 0, 0)
                whole.add(candle)
        return whole
