"""The growth of a process between restarts."""

import pytest

from tests.soak.samples import MIN_GROWTH_SECONDS, WARM_UP_SECONDS, ProcessSample, Sample, growth_of, longest_segment


def samples_of(*points: tuple[float, int, float]) -> list[Sample]:
    """Return samples of one process from its seconds, process ids and megabytes."""
    return [Sample(at, {"engine": ProcessSample(pid, megabytes, 0, 0, 0)}, {}, {}, {}) for at, pid, megabytes in points]


def test_a_restart_ends_a_segment_and_the_longest_one_counts() -> None:
    samples = samples_of((0, 1, 50), (10, 1, 60), (20, 2, 40), (30, 2, 41), (40, 2, 42))
    assert longest_segment(samples, "engine") == [(20, 40), (30, 41), (40, 42)]


def test_a_process_that_is_missing_in_a_sample_has_no_point_there() -> None:
    samples = [*samples_of((0, 1, 50)), Sample(10, {}, {}, {}, {}), *samples_of((20, 1, 51))]
    assert longest_segment(samples, "engine") == [(0, 50), (20, 51)]


def test_a_steady_rise_after_the_warm_up_is_a_leak() -> None:
    growth = growth_of(samples_of(*((second, 1, 100 + second / 100) for second in range(0, 7200, 10))), "engine")
    assert growth is not None
    assert growth.megabytes_per_hour == pytest.approx(36)
    assert growth.begin_megabytes == pytest.approx(100 + WARM_UP_SECONDS / 100)
    assert growth.is_leak


def test_a_rise_within_the_warm_up_is_no_leak() -> None:
    points = ((second, 1, 100 + min(second, WARM_UP_SECONDS) / 10) for second in range(0, 7200, 10))
    growth = growth_of(samples_of(*points), "engine")
    assert growth is not None
    assert growth.megabytes_per_hour == pytest.approx(0, abs=0.01)
    assert not growth.is_leak


def test_a_short_segment_has_no_growth() -> None:
    end = int(WARM_UP_SECONDS + MIN_GROWTH_SECONDS)
    assert growth_of(samples_of(*((second, 1, 100) for second in range(0, end, 10))), "engine") is None
