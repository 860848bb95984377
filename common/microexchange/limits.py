"""Rate limits per client or address. Pure: the caller gives the time.

A token bucket (as in the meters of RFC 2697) holds as many tokens as a client may spend at once. It fills at the rate that
is allowed in the long run.
"""

from collections import OrderedDict


class RateLimiter:
    """One token bucket for each key. Buckets that were not used for long are removed: they are full again by then."""

    MAX_KEYS = 100_000

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        """Tokens a second. 0 means no limit."""
        self.burst = burst
        """Tokens that a full bucket holds."""
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """(tokens, time of that count in seconds) by key, the last used bucket at the end."""

    def give_back(self, key: str) -> None:
        """Put one token back into the bucket of `key`."""
        if self.rate and key in self._buckets:
            left, since = self._buckets[key]
            self._buckets[key] = (min(self.burst, left + 1), since)

    def take(self, key: str, now: float, tokens: float = 1) -> float:
        """Take tokens from the bucket of `key`. Return 0, or the seconds until the bucket has enough of them.

        In the second case nothing is taken. A request for more tokens than a bucket holds costs a full bucket. `now` is in
        seconds.
        """
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
