"""`./mx bench venues`: the same load for other venues and for the floor, in the same run.

The packages on PyPI are books, not exchanges. They do not authenticate, confirm, settle or store anything. So each runs
behind a minimal server (`benchmarks.bare_server`). The floor is that server without a book: it sends each message back. The
table has the latencies and the processor time for one request.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from benchmarks import harness, servers
from benchmarks.bare_server import BOOKS
from benchmarks.end_to_end import MAX_P99_MS, Run, loaders, processor_time
from benchmarks.gateway import WARM_UP_SECONDS

CLIENTS = 500
RATES = (1_000, 3_000, 5_000, 7_000, 10_000)


@dataclass(frozen=True)
class Venue:
    """A server for the load."""

    name: str
    open: Callable[[], AbstractContextManager[str]]
    """Starts the venue. The context manager yields its address, as `http://…`."""
    spent: Callable[[], float]
    """Returns the processor time of all its servers so far, in seconds."""
    accounts: bool
    note: str


def ours(name: str, database: str, log: str, note: str) -> Venue:
    """Return our exchange over a log."""
    running: dict[str, servers.Service] = {}

    @contextlib.contextmanager
    def opened() -> Iterator[str]:
        namespace = f"v{os.getpid()}_{len(name)}_"
        with (
            servers.fresh(database, log, namespace),
            tempfile.TemporaryDirectory() as folder,
            servers.exchange(database, log, namespace, Path(folder), MX_REQUESTS_PER_SECOND="0") as services,
        ):
            running.update(services)
            yield services["order_entry_gateway"].url

    return Venue(name, opened, lambda: sum(processor_time(running).values()), True, note)


def bare(name: str, book: str, note: str) -> Venue:
    """Return the bare server with a book, or the floor if `book` is empty."""
    running: list[psutil.Process] = []

    @contextlib.contextmanager
    def opened() -> Iterator[str]:
        port = servers.free_port()
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.bare_server", str(port), book])
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            running[:] = [psutil.Process(process.pid)]
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()

    return Venue(name, opened, lambda: sum(running[0].cpu_times()[:2]), False, note)


def at_rate(venue: Venue, url: str, rate: int, seconds: float) -> tuple[Run, float]:
    """Run the load at one rate. Return its measurements and the processor microseconds for one request."""
    run = Run(rate)
    processes, results = loaders(url, CLIENTS, rate, seconds, venue.accounts)
    # During this time, the load opens its accounts and warms up.
    time.sleep(WARM_UP_SECONDS + (5 if venue.accounts else 2))
    before, began = venue.spent(), time.perf_counter()
    time.sleep(max(seconds - 4, 1))
    spent, elapsed = venue.spent() - before, time.perf_counter() - began
    run.collect(processes, results, seconds)
    return run, spent / (rate * elapsed) * 1e6


def venues_of(database: str, log: str | None) -> Iterator[Venue]:
    """Return all available venues. With `log`, our exchange runs over that log alone."""
    yield bare("echo (the floor)", "", "in memory, one process")
    for book in BOOKS:
        yield bare(book, book, "in memory, one process, nothing checked")
    for name, url in servers.logs(database, log).items():
        yield ours(f"microexchange, {name}", database, url, "everything checked, durable, settled and stored")


def main() -> None:
    """Run the benchmark and print its table."""
    options = harness.arguments(__doc__ or "", seconds=10, rates=RATES, log=True)
    figures = {}
    with harness.Report("venues", options) as report, servers.postgres() as database:
        table = report.table("venue", "requests/s sent:", "answered:", "p50:", "p99:", "processor time for one request:", "")
        for venue in venues_of(database, options.log):
            with venue.open() as url:
                for rate in options.rates:
                    run, microseconds = at_rate(venue, url, rate, options.seconds)
                    p50, p99 = run.percentile(0.5), run.percentile(0.99)
                    answered = f"{run.orders / options.seconds:,.0f}"
                    times = (f"{p50:.1f} ms", f"{p99:.1f} ms", f"{microseconds:,.0f} µs")
                    table.add(venue.name, f"{rate:,}", answered, *times, venue.note)
                    figures[f"{venue.name} at {rate}"] = {"p50_ms": p50, "p99_ms": p99, "microseconds": microseconds}
                    if not p99 < MAX_P99_MS:
                        break
    report.finish(msgspec.to_builtins(figures))


if __name__ == "__main__":
    main()
