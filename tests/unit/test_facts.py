"""The statistics of `./mx bench market` recover the parameters of generated data."""

import math
import random
import statistics

import pytest
from benchmarks import facts

RNG = random.Random(7)


@pytest.mark.parametrize("power", [0.2, 0.5, 1.0])
def test_the_exponent_of_an_impact_is_estimated_from_noisy_observations(power: float) -> None:
    sizes = [float(2 ** RNG.uniform(0, 6)) for _ in range(5000)]
    observations = [(size, size**power + RNG.gauss(0, 2)) for size in sizes]
    assert abs(facts.impact_power(observations) - power) < 0.08


def test_one_outlier_at_a_rare_size_does_not_change_the_exponent() -> None:
    observations = [(size, size**0.3 + RNG.gauss(0, 0.5)) for size in (1.0, 2.0, 4.0, 8.0) for _ in range(1000)]
    wild = [(16.0, 16**0.3 + RNG.gauss(0, 0.5)) for _ in range(39)] + [(16.0, 1000.0)]
    assert abs(facts.impact_power(observations + wild) - facts.impact_power(observations)) < 0.02


def test_a_sequence_without_memory_has_a_hurst_exponent_of_a_half() -> None:
    signs = [RNG.choice((-1.0, 1.0)) for _ in range(4000)]
    assert abs(facts.hurst_exponent(signs) - 0.5) < 0.06


def test_runs_of_power_law_length_have_a_long_memory() -> None:
    signs: list[float] = []
    while len(signs) < 8000:
        signs += [RNG.choice((-1.0, 1.0))] * min(int(RNG.paretovariate(1.5)), 1000)
    assert facts.hurst_exponent(signs) > 0.6


def test_normal_numbers_have_no_excess_kurtosis_and_power_law_numbers_have_their_exponent() -> None:
    normal = [RNG.gauss(0, 1) for _ in range(20_000)]
    assert abs(facts.kurtosis(normal)) < 0.2
    tails = [RNG.choice((-1, 1)) * RNG.paretovariate(3) for _ in range(20_000)]
    assert abs(facts.tail_exponent(tails) - 3) < 0.5


def test_the_autocorrelation_of_an_autoregressive_series_decays_with_its_coefficient() -> None:
    series, value = [], 0.0
    for _ in range(20_000):
        value = 0.6 * value + RNG.gauss(0, 1)
        series.append(value)
    assert abs(facts.autocorrelation(series, 1) - 0.6) < 0.03
    assert abs(facts.autocorrelation(series, 3) - 0.6**3) < 0.03


def test_the_confidence_interval_of_an_estimate_has_the_width_of_its_noise() -> None:
    found = facts.estimate([RNG.gauss(5, 1) for _ in range(400)])
    assert found.low < 5.1
    assert found.high > 4.9
    assert abs((found.high - found.low) - 2 * 1.96 / math.sqrt(400)) < 0.03


def test_the_jackknife_of_a_mean_gives_the_same_interval_as_the_estimate() -> None:
    groups = [[(1.0, RNG.gauss(0, 1)) for _ in range(50)] for _ in range(30)]

    def mean(group: list[tuple[float, float]]) -> float:
        return statistics.fmean(effect for _, effect in group)

    found = facts.by_group(groups, mean)
    plain = facts.estimate(mean(group) for group in groups)
    assert abs((found.high - found.low) - (plain.high - plain.low)) < 0.02
