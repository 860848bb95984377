"""Tests of rate limits: a burst, then a constant rate, separately for each key."""

from hypothesis import given
from hypothesis import strategies as st

from microexchange.limits import RateLimiter


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    limiter = RateLimiter(rate=10, burst=3)
    assert [limiter.take("a", 0) for _ in range(3)] == [0, 0, 0]
    assert limiter.take("a", 0) == 0.1
    assert limiter.take("a", 0.05) == 0.05
    assert limiter.take("a", 0.1) == 0
    assert limiter.take("a", 0.1) == 0.1


def test_each_key_has_its_own_rate_limit() -> None:
    limiter = RateLimiter(rate=1, burst=1)
    assert limiter.take("a", 0) == 0
    assert limiter.take("a", 0) > 0
    assert limiter.take("b", 0) == 0


def test_a_rate_of_zero_means_no_limit() -> None:
    limiter = RateLimiter(rate=0, burst=0)
    assert all(limiter.take("a", 0) == 0 for _ in range(1000))


def test_a_request_larger_than_the_burst_costs_a_full_bucket() -> None:
    limiter = RateLimiter(rate=10, burst=5)
    assert limiter.take("a", 0, 100) == 0
    assert limiter.take("a", 0, 100) == 0.5


def test_a_clock_that_is_set_back_adds_no_tokens() -> None:
    limiter = RateLimiter(rate=10, burst=1)
    assert limiter.take("a", 100) == 0
    assert limiter.take("a", 0) > 0
    assert limiter.take("a", 50) == 0


def test_the_number_of_stored_keys_has_a_maximum() -> None:
    limiter = RateLimiter(rate=10, burst=1)
    limiter.MAX_KEYS = 100  # type: ignore[misc]
    for number in range(1000):
        limiter.take(str(number), number)
    assert len(limiter._buckets) == 100


@given(st.lists(st.floats(0, 1), max_size=200), st.floats(1, 50), st.integers(1, 20))
def test_requests_never_exceed_the_burst_plus_the_rate(pauses: list[float], rate: float, burst: int) -> None:
    limiter, now, taken = RateLimiter(rate, burst), 0.0, 0
    for pause in pauses:
        now += pause
        taken += limiter.take("a", now) == 0
    assert taken <= burst + rate * now + 1e-6
