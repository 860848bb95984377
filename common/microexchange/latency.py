"""Percentiles of durations over a window."""


class LatencyWindow:
    """The newest `SIZE` durations of one kind of work, in seconds."""

    SIZE = 10_000

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self.count = 0
        """The number of all measurements since the start."""

    def add(self, seconds: float) -> None:
        """Add a measurement."""
        if len(self._seconds) < self.SIZE:
            self._seconds.append(seconds)
        else:
            self._seconds[self.count % self.SIZE] = seconds
        self.count += 1

    def percentiles(self, *percents: float) -> list[float | None]:
        """Return a percentile for each of `percents`, in seconds. Each is None before the first measurement."""
        if not self._seconds:
            return [None for _ in percents]
        ordered = sorted(self._seconds)
        return [ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] for percent in percents]
