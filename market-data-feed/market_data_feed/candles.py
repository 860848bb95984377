"""Candles: what the trades of an interval came to. Pure; times are the trades' own."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from microexchange.reports import Trade

INTERVALS = {"1s": 1, "1m": 60, "5m": 300, "1h": 3_600, "1d": 86_400}
"""Seconds of each interval; they begin at whole multiples of Unix time."""
MINUTE, DAY = INTERVALS["1m"], INTERVALS["1d"]
NANOSECONDS = 1_000_000_000


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
        """Takes in what came later."""
        self.high = max(self.high, other.high)
        self.low = min(self.low, other.low)
        self.close = other.close
        self.volume += other.volume
        self.trades += other.trades


class Chart:
    """The candles of one security: the minutes of the last day, and the newest of each interval."""

    def __init__(self, minutes: Iterable[Candle] = ()) -> None:
        self.minutes: deque[Candle] = deque(maxlen=DAY // MINUTE)
        """Oldest first; a minute without trades has none."""
        self.newest: dict[str, Candle] = {}
        """By interval."""
        for minute in minutes:
            self._take(minute)

    def add(self, trade: Trade) -> int:
        """Takes in a trade: the start of the minute it belongs to. One that is late counts for the newest candle."""
        at, price = trade.timestamp // NANOSECONDS, trade.price
        self._take(Candle(at, price, price, price, price, trade.quantity, 1))
        return self.newest["1m"].start

    def _take(self, one: Candle) -> None:
        for name, seconds in INTERVALS.items():
            start, newest = one.start - one.start % seconds, self.newest.get(name)
            if newest is not None and start <= newest.start:
                newest.add(one)
                continue
            begun = Candle(start, one.open, one.high, one.low, one.close, one.volume, one.trades)
            self.newest[name] = begun
            if seconds == MINUTE:
                self.minutes.append(begun)

    def minute(self, start: int) -> Candle | None:
        """The minute that begins then, if it is kept."""
        return next((candle for candle in reversed(self.minutes) if candle.start == start), None)

    def last_day(self, now: int) -> Candle | None:
        """All of the 24 hours before `now`, in seconds of Unix time, in one; None where nothing traded."""
        whole: Candle | None = None
        for candle in self.minutes:
            if candle.start > now - DAY:
                if whole is None:
                    whole = Candle(now - DAY, candle.open, candle.high, candle.low, candle.close, 0, 0)
                whole.add(candle)
        return whole
