"""How much one client, or one address, may ask for. Pure: the caller says what time it is.

A token bucket (as in the meters of RFC 2697): it holds as many tokens as may be spent at once, and fills at the rate that is
allowed in the long run.
"""

from collections import OrderedDict


class RateLimiter:
    """A bucket for each key. Keys that have not been heard of for long are forgotten: their buckets are full again."""

    MAX_KEYS = 100_000

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        """Tokens a second; 0 for no limit."""
        self.burst = burst
        """Tokens that a bucket holds."""
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """(tokens, as of when), the latest used last."""

    def take(self, key: str, now: float, tokens: float = 1) -> float:
        """Takes tokens out of the bucket of `key`: 0 if they were there, else in how many seconds they will be, and then
        nothing is taken. More than a bucket holds are never there: what they cost is a full bucket."""
        if not self.rate:
            return 0
        tokens = min(tokens, self.burst)
        left, since = self._buckets.get(key, (self.burst, now))
        left = min(self.burst, left + max(now - since, 0) * self.rate)
        missing = tokens - left
        self._buckets[key] = (left if missing > 0 else left - tokens, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self.MAX_KEYS:
            self._buckets.popitem(last=False)
        return max(missing, 0) / self.rate
