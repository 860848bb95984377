"""Samples of a long run, and the growth of a process between its restarts."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

MEGABYTE = 1 << 20
SECONDS_PER_HOUR = 3600
WARM_UP_SECONDS = 1800.0
"""The time after a start in which a process fills its caches and bounded buffers."""
MIN_GROWTH_SECONDS = 600.0
"""The least time after the warm-up over which a growth is measured."""
MAX_GROWTH_PERCENT = 5.0
"""The growth an hour, in percent of the memory after the warm-up, above which a process has a leak."""
MAX_GROWTH_MEGABYTES = 4.0
"""The growth an hour below which a process has no leak, whatever its size."""


@dataclass(frozen=True)
class ProcessSample:
    """One process at one time. Postgres counts with all its server processes, without the cache that they share."""

    pid: int
    megabytes: float
    """Its proportional share of memory; of Postgres, the memory that is its own."""
    cpu_seconds: float
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Sample:
    """The whole exchange at one time."""

    seconds: float
    """The time since the start of the run."""
    processes: dict[str, ProcessSample]
    disk: dict[str, float]
    """Megabytes by folder of the data folder."""
    lag: dict[str, int]
    """Records that a service has not processed yet, by service."""
    latency_ms: dict[int, float]
    """The round trip of an order, by percentile, since the last sample. It is empty if no order was answered."""
    counts: dict[str, int] = field(default_factory=dict)
    """Orders and trades since the start of the exchange."""


@dataclass(frozen=True)
class Growth:
    """The memory of a process over its longest time without a restart, after the warm-up."""

    hours: float
    begin_megabytes: float
    end_megabytes: float
    megabytes_per_hour: float

    @property
    def is_leak(self) -> bool:
        """Return whether the growth is above both limits."""
        relative = 100 * self.megabytes_per_hour / self.begin_megabytes
        return self.megabytes_per_hour > MAX_GROWTH_MEGABYTES and relative > MAX_GROWTH_PERCENT


def longest_segment(samples: Sequence[Sample], name: str) -> list[tuple[float, float]]:
    """Return the seconds and megabytes of a process over its longest time with one process id."""
    longest: list[tuple[float, float]] = []
    segment: list[tuple[float, float]] = []
    pid = None
    for sample in samples:
        process = sample.processes.get(name)
        if process is None:
            continue
        if process.pid != pid:
            pid, segment = process.pid, []
        segment.append((sample.seconds, process.megabytes))
        if len(segment) > len(longest):
            longest = segment
    return longest


def growth_of(samples: Sequence[Sample], name: str) -> Growth | None:
    """Return the growth of a process by a straight line of least squares, or None if no segment is long enough."""
    segment = longest_segment(samples, name)
    settled = [(at, megabytes) for at, megabytes in segment if at - segment[0][0] >= WARM_UP_SECONDS]
    if len(settled) < 3 or settled[-1][0] - settled[0][0] < MIN_GROWTH_SECONDS:
        return None
    slope, intercept = statistics.linear_regression([at for at, _ in settled], [megabytes for _, megabytes in settled])
    begin, end = settled[0][0], settled[-1][0]
    return Growth(
        (end - begin) / SECONDS_PER_HOUR, intercept + slope * begin, intercept + slope * end, slope * SECONDS_PER_HOUR
    )
