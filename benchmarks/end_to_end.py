"""`./mx bench end-to-end`: the whole exchange under a steady load. All orders are durable, settled and stored.

Each order is authenticated, sequenced, confirmed by the log, credit-checked, matched, reported to its client, settled and
stored. The load is 500 WebSocket clients in separate processes, in eight securities. Of the requests 60 % are passive
orders, 10 % marketable orders, 30 % cancels. The rate rises until the exchange cannot follow. The tables have the processor
time of each process for one request, the share of the load, and the backlog of the services. Afterwards the audit must be
clean.
"""

import asyncio
import contextlib
import multiprocessing
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import uvloop

from benchmarks import charts, harness, servers
from benchmarks.gateway import WARM_UP_SECONDS, load
from exchange_launcher.audit import Places, audit

CLIENTS = 500
LOADERS = 2
"""The number of processes that send the load."""
RATES = (1_000, 3_000, 5_000, 7_000, 8_500, 10_000)
"""Requests a second."""
PLOT = harness.PAGE.parent / "images" / "end-to-end.svg"
MAX_P99_MS = 1_000.0
"""The p99, in milliseconds, above which no higher rate is measured."""


@dataclass
class Run:
    """The measurements of one rate."""

    rate: int
    orders: int = 0
    times: list[float] = field(default_factory=list)
    refused: int = 0
    load_share: float = 0.0
    """The processor time of all loaders together, as a part of one processor."""
    microseconds: dict[str, float] = field(default_factory=dict)
    """The processor time for one request, by process."""
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    """Milliseconds by stage and percentile, from the time stamps in the records."""
    lag: dict[str, int] = field(default_factory=dict)
    """The backlog of each service in records when the load ended."""

    def collect(self, processes: "Sequence[BaseProcess]", results: "multiprocessing.Queue[Any]", seconds: float) -> None:
        """Add the results of the load when it ends."""
        for _ in processes:
            times, share, refused = results.get(timeout=seconds + 120)
            self.times += times
            self.load_share += share
            self.refused += refused
        for process in processes:
            process.join()
        self.times.sort()
        self.orders = len(self.times)

    def percentile(self, part: float) -> float:
        """Return the latency of the given part of the requests, in milliseconds."""
        return self.times[int(len(self.times) * part)] * 1000 if self.times else float("nan")


def loader(out: "multiprocessing.Queue[Any]", *arguments: Any) -> None:
    """Run one process of the load."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the benchmark handles Ctrl-C and ends this process
    out.put(uvloop.run(load(*arguments)))


def loaders(
    url: str,
    clients: int,
    rate: float,
    seconds: float,
    accounts: bool = True,
    symbols: Sequence[str] = servers.SYMBOLS,
) -> tuple[list[BaseProcess], "multiprocessing.Queue[Any]"]:
    """Start the processes of the load. Return them and the queue to which each adds the result of `load`."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    share = clients // LOADERS, rate / LOADERS, seconds
    processes: list[BaseProcess] = [
        context.Process(target=loader, args=(out, url, *share, f"{secrets.token_hex(3)}-", accounts, symbols), daemon=True)
        for _ in range(LOADERS)
    ]
    for process in processes:
        process.start()
    return processes, out


def processor_time(services: dict[str, servers.Service]) -> dict[str, float]:
    """Return the processor seconds of each service so far. Postgres and RabbitMQ have the sum of their processes."""
    used: dict[str, float] = {}
    for name, service in services.items():
        times = psutil.Process(service.process.pid).cpu_times()
        used[name] = times.user + times.system
    for process in psutil.process_iter(["name", "cpu_times"]):
        name = {"beam.smp": "RabbitMQ", "postgres": "Postgres"}.get(process.info["name"] or "")
        if name is not None and process.info["cpu_times"] is not None:
            times = process.info["cpu_times"]
            used[name] = used.get(name, 0.0) + times.user + times.system
    return used


def behind(services: dict[str, servers.Service]) -> dict[str, int]:
    """Return the number of records of its predecessor that each service has not processed."""
    engine, clearing, feed = (services[name].status() for name in servers.SERVICES[:3])
    return {
        "clearinghouse": engine["instruction_sequence"] - clearing["instruction_sequence"],
        "feed, publishing": engine["report_sequence"] - feed["sequences"].get("engine", 0),
        "feed, storing (bodies)": feed["offset"] - feed["stored_offset"],
    }


def at_rate(
    services: dict[str, servers.Service],
    rate: int,
    seconds: float,
    clients: int = CLIENTS,
    symbols: Sequence[str] = servers.SYMBOLS,
) -> Run:
    """Measure one rate after a warm-up."""
    run = Run(rate)
    processes, results = loaders(services["order_entry_gateway"].url, clients, rate, seconds, symbols=symbols)
    # The load opens its accounts first, then it warms up.
    at_start = services["matching_engine"].status()
    while int(services["market_data_feed"].status()["orders"]) < 1 + int(at_start.get("orders", 0)):
        time.sleep(0.1)
    time.sleep(WARM_UP_SECONDS)
    before, began = processor_time(services), time.perf_counter()
    time.sleep(max(seconds - 2, 1))
    after, elapsed = processor_time(services), time.perf_counter() - began
    run.lag = behind(services)
    run.stages = httpx.get(f"{services['market_data_feed'].url}/operations", timeout=30).json()["latency_ms"]
    run.collect(processes, results, seconds)
    run.microseconds = {name: (after[name] - before[name]) / (rate * elapsed) * 1e6 for name in after}
    return run


def until_at_rest(services: dict[str, servers.Service]) -> None:
    """Wait until no service has a backlog."""
    while any(behind(services).values()):
        time.sleep(0.2)


def measure(database: str, log: str, namespace: str, rates: Sequence[int], seconds: float) -> Iterator[Run | list[str]]:
    """Measure rising rates on fresh databases and a fresh log. Yield each run, and finally the differences of the audit."""
    with servers.fresh(database, log, namespace), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers.exchange(database, log, namespace, folder, MX_REQUESTS_PER_SECOND="0") as services:
            for rate in rates:
                run = at_rate(services, rate, seconds)
                yield run
                until_at_rest(services)
                if not run.percentile(0.99) < MAX_P99_MS:
                    break
            checks = asyncio.run(audit(Places(database, log, namespace, folder)))
    yield [f"{check.name}: {text}" for check in checks for text in check.differences]


def best_of(runs: Sequence[Run]) -> Run:
    """Return the run with the highest rate whose p99 is under `MAX_P99_MS`."""
    return max((run for run in runs if run.percentile(0.99) < MAX_P99_MS), key=lambda run: run.rate, default=runs[0])


def add_stages(report: harness.Report, figures: dict[str, list[Run]]) -> None:
    """Add tables of the processor time by process and of the latency by stage, for the best run of each log."""
    best = {f"{name} at {best_of(runs).rate:,}/s": best_of(runs) for name, runs in figures.items()}
    if not best:
        return
    table = report.table("", "process", "processor time for one request:")
    for which, run in best.items():
        for process, spent in sorted(run.microseconds.items(), key=lambda entry: -entry[1]):
            table.add(which, process, f"{spent:,.0f} µs")
    names = list(next(iter(best.values())).stages)
    table = report.table("", *(f"{name.replace('_', ' ')}:" for name in names))
    for which, run in best.items():
        for percent in ("p50", "p99"):
            table.add(f"{which}, {percent}", *(f"{run.stages[name][percent] or 0:.1f} ms" for name in names))


def draw(figures: dict[str, list[Run]]) -> None:
    """Draw the latency by rate, one chart for each log."""
    plots = []
    for name, runs in figures.items():
        rates = [run.rate for run in runs]
        parts = (("p50", 0.5), ("p99", 0.99))
        series = [charts.Series(p, rates, [min(run.percentile(part), MAX_P99_MS) for run in runs]) for p, part in parts]
        plots.append(charts.Chart(name, "requests/s", "milliseconds", series))
    charts.write(PLOT, plots)


def main() -> None:
    """Run the benchmark and print its tables."""
    options = harness.arguments(__doc__ or "", seconds=60, rates=RATES, log=True)
    figures: dict[str, list[Run]] = {}
    audits = []
    with harness.Report("end-to-end", options) as report, servers.postgres() as database:
        table = report.table(
            "log", "requests/s sent:", "answered:", "p50:", "p99:", "load, share of a core:", "backlog at the end"
        )
        with report.interruptible():
            for index, (name, log) in enumerate(servers.logs(database, options.log).items()):
                namespace = f"e2e{os.getpid()}_{index}_"
                with contextlib.closing(measure(database, log, namespace, options.rates, options.seconds)) as results:
                    for run in results:
                        if isinstance(run, list):
                            audits.append(f"{name}: the audit found {run or 'nothing'}")
                            continue
                        figures.setdefault(name, []).append(run)
                        lag = ", ".join(f"{what} {count:,}" for what, count in run.lag.items() if count > 0) or "none"
                        times = (f"{run.percentile(part):.1f} ms" for part in (0.5, 0.99))
                        answered = f"{run.orders / options.seconds:,.0f}"
                        table.add(name, f"{run.rate:,}", answered, *times, f"{run.load_share:.0%}", lag)
        add_stages(report, figures)
    for line in audits:
        report.progress(line)
    lags = {name: [msgspec.to_builtins(run.lag) for run in runs] for name, runs in figures.items()}
    report.finish(lags, "![Latency by rate](images/end-to-end.svg)", lambda: draw(figures))


if __name__ == "__main__":
    main()
