"""`./mx bench end-to-end`: the whole exchange under a steady load, everything durable, settled and stored.

Each order is authenticated, sequenced, confirmed by the log, credit-checked, matched, reported to its client, settled and
stored. The load is 500 WebSocket clients in processes of their own, eight securities, 60 % passive, 10 % marketable, 30 %
cancels, at rates that are raised until the exchange cannot follow. Told are what each process of the exchange takes of the
processors for one request, the load's own share, and what lagged behind. Afterwards the audit must be clean.
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
from benchmarks.gateway import WARM_UP, load
from exchange_launcher.audit import Places, audit

CLIENTS = 500
LOADERS = 2
"""Processes that make the load."""
RATES = (1_000, 3_000, 5_000, 7_000, 8_500, 10_000)
"""Requests a second."""
PLOT = harness.PAGE.parent / "images" / "end-to-end.svg"
GIVES_UP = 1_000.0
"""Milliseconds of p99 beyond which no higher rate is tried."""


@dataclass
class Run:
    """What came of one rate."""

    rate: int
    orders: int = 0
    times: list[float] = field(default_factory=list)
    refused: int = 0
    load_share: float = 0.0
    """Of one processor, all loaders together."""
    microseconds: dict[str, float] = field(default_factory=dict)
    """Processor time for one request, by process."""
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    """Milliseconds by stage and percentile, from the stamps in the records."""
    lag: dict[str, int] = field(default_factory=dict)
    """Records that a service was behind when the load ended."""

    def hear(self, processes: "Sequence[BaseProcess]", results: "multiprocessing.Queue[Any]", seconds: float) -> None:
        """Takes in what the load has to say, at its end."""
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
        """In milliseconds."""
        return self.times[int(len(self.times) * part)] * 1000 if self.times else float("nan")


def loader(out: "multiprocessing.Queue[Any]", *arguments: Any) -> None:
    """One process of the load."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the benchmark, which ends its processes
    out.put(uvloop.run(load(*arguments)))


def loaders(
    url: str,
    clients: int,
    rate: float,
    seconds: float,
    accounts: bool = True,
    symbols: Sequence[str] = servers.SYMBOLS,
) -> tuple[list[BaseProcess], "multiprocessing.Queue[Any]"]:
    """The load's processes, begun, and where each puts what `load` returns."""
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
    """Seconds that each process has used so far; all of a server's together."""
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
    """What each service has not taken in of what the one before it has made."""
    engine, clearing, feed = (services[name].status() for name in servers.SERVICES[:3])
    return {
        "clearinghouse": engine["instruction_sequence"] - clearing["instruction_sequence"],
        "feed, telling": engine["report_sequence"] - feed["sequences"].get("engine", 0),
        "feed, storing (bodies)": feed["offset"] - feed["stored_offset"],
    }


def at_rate(
    services: dict[str, servers.Service],
    rate: int,
    seconds: float,
    clients: int = CLIENTS,
    symbols: Sequence[str] = servers.SYMBOLS,
) -> Run:
    """One rate, after a warm-up."""
    run = Run(rate)
    processes, results = loaders(services["order_entry_gateway"].url, clients, rate, seconds, symbols=symbols)
    # Accounts are opened first, then the load warms up.
    at_start = services["matching_engine"].status()
    while int(services["market_data_feed"].status()["orders"]) < 1 + int(at_start.get("orders", 0)):
        time.sleep(0.1)
    time.sleep(WARM_UP)
    before, began = processor_time(services), time.perf_counter()
    time.sleep(max(seconds - 2, 1))
    after, elapsed = processor_time(services), time.perf_counter() - began
    run.lag = behind(services)
    run.stages = httpx.get(f"{services['market_data_feed'].url}/operations", timeout=30).json()["latency_ms"]
    run.hear(processes, results, seconds)
    run.microseconds = {name: (after[name] - before[name]) / (rate * elapsed) * 1e6 for name in after}
    return run


def until_at_rest(services: dict[str, servers.Service]) -> None:
    """Waits until nothing lags."""
    while any(behind(services).values()):
        time.sleep(0.2)


def measure(database: str, log: str, namespace: str, rates: Sequence[int], seconds: float) -> Iterator[Run | list[str]]:
    """Runs at rising rates over fresh databases and a fresh log, each as it is done; at the end what the audit has found."""
    with servers.fresh(database, log, namespace), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers.exchange(database, log, namespace, folder, MX_REQUESTS_PER_SECOND="0") as services:
            for rate in rates:
                run = at_rate(services, rate, seconds)
                yield run
                until_at_rest(services)
                if not run.percentile(0.99) < GIVES_UP:
                    break
            checks = asyncio.run(audit(Places(database, log, namespace, folder)))
    yield [f"{check.name}: {text}" for check in checks for text in check.differences]


def best_of(runs: Sequence[Run]) -> Run:
    """The highest rate that was held."""
    return max((run for run in runs if run.percentile(0.99) < GIVES_UP), key=lambda run: run.rate, default=runs[0])


def add_stages(report: harness.Report, figures: dict[str, list[Run]]) -> None:
    """Where the time goes, by log, at the highest rate that was held."""
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
    """Latency by rate, a picture for each log."""
    pictures = []
    for name, runs in figures.items():
        rates = [run.rate for run in runs]
        parts = (("p50", 0.5), ("p99", 0.99))
        series = [charts.Series(way, rates, [min(run.percentile(part), GIVES_UP) for run in runs]) for way, part in parts]
        pictures.append(charts.Chart(name, "requests/s", "milliseconds", series))
    charts.write(PLOT, pictures)


def main() -> None:
    """Measures, and prints tables."""
    options = harness.arguments(__doc__ or "", seconds=60, rates=RATES, log=True)
    figures: dict[str, list[Run]] = {}
    audits = []
    with harness.Report("end-to-end", options) as report, servers.postgres() as database:
        table = report.table(
            "log", "requests/s asked:", "answered:", "p50:", "p99:", "the load's processors:", "behind at the end"
        )
        with report.interruptible():
            for place, (name, log) in enumerate(servers.logs(database, options.log).items()):
                namespace = f"e2e{os.getpid()}_{place}_"
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
        report.say(line)
    lags = {name: [msgspec.to_builtins(run.lag) for run in runs] for name, runs in figures.items()}
    report.finish(lags, "![Latency by rate](images/end-to-end.svg)", lambda: draw(figures))


if __name__ == "__main__":
    main()
