"""Statistics that the literature measures of real markets, as pure functions of lists of numbers."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Observations = list[tuple[float, float]]
"""Pairs of a size and its effect."""
MIN_OBSERVATIONS = 30
"""The least number of observations for a mean. Bins with fewer are left out."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 per cent confidence interval."""

    mean: float
    low: float
    high: float

    def text(self, digits: int = 2, sign: bool = False) -> str:
        """Return the estimate as text, for example `0.71 (0.68 to 0.74)`."""
        form = f"{'+' if sign else ''}.{digits}f"
        return f"{self.mean:{form}} ({self.low:{form}} to {self.high:{form}})"


def estimate(values: Iterable[float]) -> Estimate:
    """Return the mean of independent values, with the interval of the normal approximation."""
    found = list(values)
    mean = statistics.fmean(found)
    half = 1.96 * statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else math.inf
    return Estimate(mean, mean - half, mean + half)


def returns_of(prices: Sequence[float]) -> list[float]:
    """Return the relative changes from each price to the next."""
    return [after / before - 1 for before, after in itertools.pairwise(prices)]


def autocorrelation(series: Sequence[float], lag: int) -> float:
    """Return the correlation of a series with itself `lag` steps later."""
    mean = statistics.fmean(series)
    off = [value - mean for value in series]
    variance = sum(value * value for value in off)
    return sum(a * b for a, b in zip(off, off[lag:], strict=False)) / variance if variance else 0.0


def kurtosis(values: Sequence[float]) -> float:
    """Return the excess kurtosis, which is 0 for the normal distribution."""
    mean = statistics.fmean(values)
    variance = statistics.fmean((value - mean) ** 2 for value in values)
    return statistics.fmean((value - mean) ** 4 for value in values) / variance**2 - 3


def tail_exponent(values: Iterable[float], part: float = 0.02) -> float:
    """Return Hill's estimate of the tail exponent, from the fraction `part` of values with the largest magnitude."""
    ordered = sorted(map(abs, values), reverse=True)
    count = max(int(len(ordered) * part), 10)
    return count / sum(math.log(value / ordered[count]) for value in ordered[:count])


def hurst_exponent(series: Sequence[float]) -> float:
    """Return the Hurst exponent by detrended fluctuation analysis.

    Source: Peng and others, "Mosaic organization of DNA nucleotides" (1994).
    """
    mean = statistics.fmean(series)
    profile = list(itertools.accumulate(value - mean for value in series))
    widths, size = [], 16
    while size <= len(profile) // 8:
        widths.append(size)
        size = int(size * 1.5)
    points = []
    for width in widths:
        squares = [_residual(profile[at : at + width]) for at in range(0, len(profile) - width + 1, width)]
        points.append((float(width), math.sqrt(statistics.fmean(squares))))
    return power_of(points)


def _residual(values: Sequence[float]) -> float:
    """Return the mean square of the residuals of a straight line."""
    count = len(values)
    middle = (count - 1) / 2
    mean = sum(values) / count
    spread = count * (count * count - 1) / 12
    slope = sum((index - middle) * value for index, value in enumerate(values)) / spread
    return sum((value - mean - slope * (index - middle)) ** 2 for index, value in enumerate(values)) / count


def power_of(points: Iterable[tuple[float, float]], weights: Iterable[float] | None = None) -> float:
    """Return the exponent of the power law that fits points best: the least-squares slope of their logarithms."""
    pairs = [(math.log(x), math.log(y)) for x, y in points]
    loads = [1.0] * len(pairs) if weights is None else list(weights)
    total = sum(loads)
    mean_x = sum(load * x for load, (x, _) in zip(loads, pairs, strict=True)) / total
    mean_y = sum(load * y for load, (_, y) in zip(loads, pairs, strict=True)) / total
    across = sum(load * (x - mean_x) ** 2 for load, (x, _) in zip(loads, pairs, strict=True))
    along = sum(load * (x - mean_x) * (y - mean_y) for load, (x, y) in zip(loads, pairs, strict=True))
    return along / across


def binned(observations: Iterable[tuple[float, float]], base: float = 2.0) -> list[tuple[float, float, float]]:
    """Return the means of observations in bins of sizes that grow by the factor `base`.

    Each bin has its mean size, its mean effect and the standard error of the effect.
    """
    bins: dict[int, list[tuple[float, float]]] = {}
    for size, effect in observations:
        bins.setdefault(int(math.log(size) / math.log(base) + 1e-9), []).append((size, effect))
    return [
        (
            statistics.fmean(size for size, _ in found),
            statistics.fmean(effect for _, effect in found),
            statistics.stdev(effect for _, effect in found) / math.sqrt(len(found)),
        )
        for _, found in sorted(bins.items())
        if len(found) >= MIN_OBSERVATIONS
    ]


def impact_power(observations: Iterable[tuple[float, float]]) -> float:
    """Return the exponent with which the mean effect grows with size, or NaN if effects are not positive.

    The weight of a bin is the square of its mean effect over the standard error, the certainty of the logarithm.
    """
    found = [(size, effect, error) for size, effect, error in binned(observations) if effect > 0 and error > 0]
    if len(found) < 2:
        return math.nan
    return power_of([(size, effect) for size, effect, _ in found], [(effect / error) ** 2 for _, effect, error in found])


def by_group(groups: Sequence[Observations], function: Callable[[Observations], float]) -> Estimate:
    """Return a figure of all observations together.

    Its interval comes from the jackknife, which leaves out one group at a time.
    """
    whole = function([observation for group in groups for observation in group])
    without = [
        function([pair for other, group in enumerate(groups) if other != left_out for pair in group])
        for left_out in range(len(groups))
    ]
    mean, count = statistics.fmean(without), len(groups)
    error = math.sqrt((count - 1) / count * sum((value - mean) ** 2 for value in without))
    return Estimate(whole, whole - 1.96 * error, whole + 1.96 * error)
