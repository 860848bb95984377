"""How long things take: percentiles over a window."""


class LatencyWindow:
    """The times, in seconds, that the last few thousand pieces of work took."""

    SIZE = 10_000

    def __init__(self) -> None:
        self._times: list[float] = []
        self.count = 0
        """All that were measured so far."""

    def add(self, seconds: float) -> None:
        """Counts one."""
        if len(self._times) < self.SIZE:
            self._times.append(seconds)
        else:
            self._times[self.count % self.SIZE] = seconds
        self.count += 1

    def percentiles(self, *percents: float) -> list[float | None]:
        """The times that so many per cent of them stayed under; None before the first."""
        if not self._times:
            return [None for _ in percents]
        ordered = sorted(self._times)
        return [ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] for percent in percents]
