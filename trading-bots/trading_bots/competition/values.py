"""Fundamental values of securities over time. Informed traders receive a value before the market reflects it.

A process is sampled once a second. It has its own random numbers: the same seed gives the same values.
"""

import math
import random
from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property
from typing import Annotated, NamedTuple

import msgspec

from microexchange.durations import nanoseconds

Positive = Annotated[float, msgspec.Meta(ge=0)]
MINUTE = 60.0
VOLATILITY_HALF_LIFE_SECONDS = (20.0, 240.0, 2400.0)
"""The volatility is the product of a fast, a medium and a slow factor. Each half-life is of one factor."""


class Point(NamedTuple):
    """The value and activity at one second."""

    value: float
    activity: float
    """The activity of the market, relative to a mean of about 1."""


class News(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of a value at a known time."""

    at: str
    """Time after the opening: `90s`, `2m`."""
    percent: float
    """The size of the change."""


class _Process(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="process"):
    """The common base of all processes."""

    news: list[News] = []

    def check(self, field: str) -> None:
        """Check the times of the news.

        Raises:
            SeasonError: A time is not valid. The message names the field.
        """
        for change in self.news:
            nanoseconds(change.at, f"{field}.news.at")

    def walk(self, begin: float, dice: random.Random, anchor: float | None = None) -> Iterator[Point]:
        """Yield the value and the activity one second after `begin`, two seconds after, and so on.

        A process that reverts to a mean reverts to `anchor`, which is `begin` by default. `dice` are the random numbers.
        """
        raise NotImplementedError


class Constant(_Process, frozen=True, tag="constant"):
    """A constant value."""

    def walk(self, begin: float, dice: random.Random, anchor: float | None = None) -> Iterator[Point]:
        """See `_Process`."""
        while True:
            yield Point(begin, 1.0)


class RandomWalk(_Process, frozen=True, tag="random_walk"):
    """A random walk: each second's change of the logarithm is normal and independent.

    Bachelier, "Théorie de la spéculation" (1900).
    """

    volatility: Positive = 0.5
    """Per cent a minute."""

    def walk(self, begin: float, dice: random.Random, anchor: float | None = None) -> Iterator[Point]:
        """See `_Process`."""
        value, deviation = begin, _each_second(self.volatility)
        while True:
            value *= math.exp(dice.gauss(0, deviation))
            yield Point(value, 1.0)


class OrnsteinUhlenbeck(_Process, frozen=True, tag="ornstein_uhlenbeck"):
    """A process that returns to its anchor.

    Uhlenbeck and Ornstein, "On the theory of the Brownian motion" (1930).
    """

    volatility: Positive = 0.5
    """Per cent a minute."""
    half_life: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """The seconds after which half of a deviation has decayed."""

    def walk(self, begin: float, dice: random.Random, anchor: float | None = None) -> Iterator[Point]:
        """See `_Process`."""
        mean = anchor or begin
        distance, kept = math.log(begin / mean), 0.5 ** (1 / self.half_life)
        deviation = _each_second(self.volatility)
        while True:
            distance = distance * kept + dice.gauss(0, deviation)
            yield Point(mean * math.exp(distance), 1.0)


class Jumps(_Process, frozen=True, tag="jumps"):
    """A random walk with jumps.

    Merton, "Option pricing when underlying stock returns are discontinuous" (1976).
    """

    volatility: Positive = 0.2
    """Per cent a minute, between jumps."""
    per_minute: Positive = 0.5
    """The mean number of jumps a minute."""
    size: Positive = 2.0
    """Standard deviation of a jump, in per cent."""

    def walk(self, begin: float, dice: random.Random, anchor: float | None = None) -> Iterator[Point]:
        """See `_Process`."""
        value, deviation = begin, _each_second(self.volatility)
        while True:
            change = dice.gauss(0, deviation)
            if dice.random() < self.per_minute / MINUTE:
                change += dice.gauss(0, self.size / 100)
            value *= math.exp(change)
            yield Point(value, 1.0)


class StochasticVolatility(_Process, frozen=True, tag="stochastic_volatility"):
    """A random walk whose volatility varies, with jumps, and a weak pull back to its anchor.

    Volatility with jumps: Bates, "Jumps and stochastic volatility" (1996). Several time scales of the logarithm of the
    volatility: LeBaron, "Stochastic volatility as a simple generator of apparent financial power laws and long memory"
    (2001). The activity follows the volatility, since both follow the news: Clark, "A subordinated stochastic process
    model with finite variance for speculative prices" (1973).
    """

    volatility: Positive = 0.1
    """The root mean square over time, in per cent a minute."""
    variation: Positive = 0.7
    """Standard deviation of the logarithm of the volatility."""
    per_minute: Positive = 0.01
    """The mean number of jumps a minute: news at random times."""
    size: Positive = 0.5
    """Standard deviation of a jump, in per cent."""
    half_life: Annotated[float, msgspec.Meta(gt=0)] = 259_200.0
    """The seconds after which half of a deviation from the anchor has decayed. The default is three days."""

    def walk(self, begin: float, dice: random.Random, anchor: float | None = None) -> Iterator[Point]:
        """See `_Process`."""
        mean = anchor or begin
        distance, kept = math.log(begin / mean), 0.5 ** (1 / self.half_life)
        share = self.variation / math.sqrt(len(VOLATILITY_HALF_LIFE_SECONDS))
        factors = [dice.gauss(0, share) for _ in VOLATILITY_HALF_LIFE_SECONDS]
        keeps = [0.5 ** (1 / half_life) for half_life in VOLATILITY_HALF_LIFE_SECONDS]
        noises = [share * math.sqrt(1 - keep * keep) for keep in keeps]
        deviation = _each_second(self.volatility) * math.exp(-self.variation * self.variation)
        while True:
            factors = [
                factor * keep + dice.gauss(0, noise) for factor, keep, noise in zip(factors, keeps, noises, strict=True)
            ]
            level = math.exp(sum(factors))
            distance = distance * kept + dice.gauss(0, deviation * level)
            if dice.random() < self.per_minute / MINUTE:
                distance += dice.gauss(0, self.size / 100)
                factors[0] += self.variation  # news increases the activity
            yield Point(mean * math.exp(distance), level)


Value = Constant | RandomWalk | OrnsteinUhlenbeck | Jumps | StochasticVolatility


def _each_second(volatility: float) -> float:
    """Return the standard deviation of one second's change. `volatility` is in per cent a minute."""
    return volatility / 100 / math.sqrt(MINUTE)


def rounded(value: float, tick: Decimal) -> Decimal:
    """Return a value as a price: the nearest multiple of the tick, at least one tick."""
    return max(round(Decimal(value) / tick), 1) * tick


class Path:
    """The value of one security over a round."""

    def __init__(self, process: Value, begin: Decimal, tick: Decimal, start: float, seconds: int, seed: str) -> None:
        self._start, self._tick = start, tick
        walk, shift = process.walk(float(begin), random.Random(seed)), 1.0
        news = sorted((_seconds(change.at), change.percent) for change in process.news)
        point = Point(float(begin), 1.0)
        self._values, self._activities = [], []
        for second in range(seconds + 1):
            if second:
                point = next(walk)
            while news and news[0][0] <= second:
                shift *= 1 + news.pop(0)[1] / 100
            self._values.append(point.value * shift)
            self._activities.append(point.activity)

    @cached_property
    def _prices(self) -> list[Decimal]:
        return [rounded(value, self._tick) for value in self._values]

    def _second(self, now: float) -> int:
        return min(max(int(now - self._start), 0), len(self._values) - 1)

    def at(self, now: float) -> Decimal:
        """Return the value at a time in seconds of Unix time, rounded to the tick. After the end, it is the last value."""
        return self._prices[self._second(now)]

    def activity(self, now: float) -> float:
        """Return the activity at a time in seconds of Unix time."""
        return self._activities[self._second(now)]

    def points(self) -> list[float]:
        """Return the value at each second."""
        return list(self._values)


def _seconds(text: str) -> float:
    return nanoseconds(text, "news.at") / 10**9
