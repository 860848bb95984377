"""Fundamental values: what a security is worth over time, which those who are informed know before the market does.

A process is sampled once a second. Its dice are its own: the same seed gives the same values.
"""

import math
import random
from decimal import Decimal
from functools import cached_property
from typing import Annotated

import msgspec

from trading_bots.competition.durations import nanoseconds

Positive = Annotated[float, msgspec.Meta(ge=0)]
MINUTE = 60.0


class News(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that changes a value at once."""

    at: str
    """How long after the opening: `90s`, `2m`."""
    percent: float
    """By how much."""


class _Process(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="process"):
    """What all processes have."""

    news: list[News] = []

    def check(self, field: str) -> None:
        """Raises `SeasonError`, which names the field, where a time is none."""
        for one in self.news:
            nanoseconds(one.at, f"{field}.news.at")

    def step(self, value: float, begin: float, dice: random.Random) -> float:
        """The value a second later."""
        raise NotImplementedError


class Constant(_Process, frozen=True, tag="constant"):
    """Always the same, but for news."""

    def step(self, value: float, begin: float, dice: random.Random) -> float:
        """See `_Process`."""
        return value


class RandomWalk(_Process, frozen=True, tag="random_walk"):
    """Each second's change is normal and independent (Bachelier, "Théorie de la spéculation", 1900; here, of the
    logarithm)."""

    volatility: Positive = 0.5
    """Per cent a minute."""

    def step(self, value: float, begin: float, dice: random.Random) -> float:
        """See `_Process`."""
        return value * math.exp(dice.gauss(0, self.volatility / 100 / math.sqrt(MINUTE)))


class OrnsteinUhlenbeck(_Process, frozen=True, tag="ornstein_uhlenbeck"):
    """Returns to where it began (Uhlenbeck and Ornstein, "On the theory of the Brownian motion", 1930)."""

    volatility: Positive = 0.5
    """Per cent a minute."""
    half_life: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """Seconds after which half of a deviation is gone."""

    def step(self, value: float, begin: float, dice: random.Random) -> float:
        """See `_Process`."""
        deviation = math.log(value / begin) * 0.5 ** (1 / self.half_life)
        return begin * math.exp(deviation + dice.gauss(0, self.volatility / 100 / math.sqrt(MINUTE)))


class Jumps(_Process, frozen=True, tag="jumps"):
    """A random walk that jumps now and then (Merton, "Option pricing when underlying stock returns are discontinuous",
    1976)."""

    volatility: Positive = 0.2
    """Per cent a minute, between jumps."""
    per_minute: Positive = 0.5
    """Jumps."""
    size: Positive = 2.0
    """Per cent: the standard deviation of a jump."""

    def step(self, value: float, begin: float, dice: random.Random) -> float:
        """See `_Process`."""
        change = dice.gauss(0, self.volatility / 100 / math.sqrt(MINUTE))
        if dice.random() < self.per_minute / MINUTE:
            change += dice.gauss(0, self.size / 100)
        return value * math.exp(change)


Value = Constant | RandomWalk | OrnsteinUhlenbeck | Jumps


class Path:
    """One security's value over a round."""

    def __init__(self, process: Value, begin: Decimal, tick: Decimal, start: float, seconds: int, seed: str) -> None:
        self._start, self._tick = start, tick
        dice, value, first = random.Random(seed), float(begin), float(begin)
        news = sorted((_seconds(one.at), one.percent) for one in process.news)
        self._values = []
        for second in range(seconds + 1):
            if second:
                value = process.step(value, first, dice)
            while news and news[0][0] <= second:
                factor = 1 + news.pop(0)[1] / 100
                value, first = value * factor, first * factor
            self._values.append(value)

    @cached_property
    def _prices(self) -> list[Decimal]:
        return [max(round(Decimal(value) / self._tick), 1) * self._tick for value in self._values]

    def at(self, now: float) -> Decimal:
        """The value at a time in seconds of Unix time, rounded to the tick; after the end, the last."""
        second = min(max(int(now - self._start), 0), len(self._values) - 1)
        return self._prices[second]

    def points(self) -> list[float]:
        """The value at each second."""
        return list(self._values)


def _seconds(text: str) -> float:
    return nanoseconds(text, "news.at") / 10**9
