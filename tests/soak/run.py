"""A whole exchange for hours: its memory, disk, lag and latency over time as a plot, and an audit at the end.

House bots trade all the time. Visitors connect, trade and leave. Services are killed. Competitions run on the same machine.
A process whose memory grows and a difference that the audit finds are errors.

    ./mx soak --hours 2
"""

import argparse
import csv
import dataclasses
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks.charts import Chart, Series, write
from benchmarks.harness import write_section

from exchange_launcher.audit import AuditError
from tests.docs.bounded import shorter
from tests.integration.running import SERVICES, Running, free_ports
from tests.soak.prober import PERCENTILES, Prober
from tests.soak.sampler import sample
from tests.soak.samples import Growth, ProcessSample, Sample, growth_of
from tests.soak.visitor import Visitor

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "images" / "soak.svg"
AUDIT_ATTEMPTS = 3
COMPETITION_SECONDS = 60


class Soak:
    """One long run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._rng = random.Random(options.seed)
        self.running = Running(endowment={})
        self.samples: list[Sample] = []
        self.visitors: list[Visitor] = []
        self.events: Counter[str] = Counter()
        self.differences: list[str] = []
        self._prober: Prober | None = None
        self._began = 0.0
        self._victims: list[str] = []
        self._competitions: list[threading.Thread] = []

    def play(self) -> None:
        """Run the exchange for the wanted time, then audit it at rest."""
        options = self._options
        self.running.start("--bots", str(options.bots))
        self._prober = Prober(self.running)
        self._prober.start()
        self.visitors = [Visitor(self.running, f"visitor-{number}") for number in range(1, options.visitors + 1)]
        for visitor in self.visitors:
            visitor.start()
        self._began = time.monotonic()
        end = self._began + options.hours * 3600
        kill_at = self._began + options.kill_minutes * 60
        compete_at = self._began + options.compete_minutes * 60
        while (now := time.monotonic()) < end:
            self._sample()
            if now >= kill_at:
                self._kill()
                kill_at += options.kill_minutes * 60
            if now >= compete_at:
                self._competitions.append(threading.Thread(target=self._compete))
                self._competitions[-1].start()
                compete_at += options.compete_minutes * 60
            time.sleep(max(min(options.sample_seconds - (time.monotonic() - now), end - time.monotonic()), 0))
        self._finish()

    def _sample(self) -> None:
        assert self._prober is not None
        taken = sample(self.running, time.monotonic() - self._began, self._prober.take())
        self.samples.append(taken)
        if len(self.samples) % 30 == 1:
            memory = ", ".join(f"{name} {process.megabytes:.0f}" for name, process in sorted(taken.processes.items()))
            print(f"{taken.seconds / 60:.0f} min: {taken.counts.get('trades', 0):,} trades; MB: {memory}", flush=True)

    def _kill(self) -> None:
        if not self._victims:
            self._victims = list(SERVICES)
            self._rng.shuffle(self._victims)
        victim = self._victims.pop()
        print(f"{(time.monotonic() - self._began) / 60:.0f} min: kill {victim}", flush=True)
        self.running.kill(victim)
        self.events[f"kills of {victim}"] += 1

    def _compete(self) -> None:
        """Play a short competition, on an exchange of its own, while this one runs."""
        with tempfile.TemporaryDirectory(prefix="mx-soak-") as folder:
            season = Path(shutil.copytree(ROOT / "examples" / "season", Path(folder) / "season")) / "season.toml"
            flags = ("--gateway-port", "--feed-port", "--engine-port", "--clearing-port")
            places = [text for flag, port in zip(flags, free_ports(4), strict=True) for text in (flag, str(port))]
            result = subprocess.run(
                [*self.running.launcher, "compete", shorter(str(season), COMPETITION_SECONDS, 5), *places, "--out", folder],
                capture_output=True,
                text=True,
                check=False,
                env={**self.running.environment, "MX_RUNNING_DIR": f"{folder}/running"},
            )
        self.events["competitions"] += 1
        if result.returncode != 0:
            self.differences.append(f"a competition ended with status {result.returncode}: {result.stdout}{result.stderr}")

    def _finish(self) -> None:
        assert self._prober is not None
        self._prober.stop()
        for competition in self._competitions:
            competition.join()
        for visitor in self.visitors:
            visitor.stop()
            if visitor.fault:
                self.differences.append(f"{visitor.name}: {visitor.fault}")
        if self.running.stop() != 0:
            self.differences.append(f"the exchange did not stop cleanly: {self.running.output_text()[-2000:]}")
        self.running.start("--bots", "0")
        self.running.until_at_rest()
        for attempt in range(AUDIT_ATTEMPTS):
            try:
                self.differences += self.running.audit(whole=True)
                break
            except AuditError as error:
                if attempt == AUDIT_ATTEMPTS - 1:
                    self.differences.append(str(error))
        if self.running.stop() != 0:
            self.differences.append(f"the exchange did not stop cleanly: {self.running.output_text()[-2000:]}")

    @property
    def growths(self) -> dict[str, Growth]:
        """The growth of each process that ran long enough without a restart."""
        names = {name for taken in self.samples for name in taken.processes}
        found = {name: growth_of(self.samples, name) for name in sorted(names)}
        return {name: growth for name, growth in found.items() if growth is not None}

    @property
    def answers(self) -> Counter[int]:
        """The answers to the orders of the prober, by status code."""
        return self._prober.answers if self._prober is not None else Counter()


def table_of(soak: Soak) -> str:
    """Return a table of each process."""
    rows = [
        "| process | MB after the warm-up | MB at the end | growth, MB/h | over | descriptors | threads |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, growth in soak.growths.items():
        last = next(taken.processes[name] for taken in reversed(soak.samples) if name in taken.processes)
        rows.append(
            f"| {name} | {growth.begin_megabytes:.0f} | {growth.end_megabytes:.0f} | {growth.megabytes_per_hour:+.1f} "
            f"| {growth.hours * 60:.0f} min | {last.descriptors} | {last.threads} |"
        )
    return "\n".join(rows)


def summary_of(soak: Soak) -> str:
    """Return the length, the load, the events and the result of a run."""
    last = next(taken for taken in reversed(soak.samples) if taken.counts)
    disk = sum(last.disk.values())
    visits = sum((visitor.counts for visitor in soak.visitors), Counter[str]())
    latencies = {
        percent: sorted(taken.latency_ms[percent] for taken in soak.samples if percent in taken.latency_ms)
        for percent in PERCENTILES
    }
    typical = ", ".join(f"p{percent} {values[len(values) // 2]:.1f} ms" for percent, values in latencies.items() if values)
    lag = {name: max(taken.lag.get(name, 0) for taken in soak.samples) for name in last.lag}
    parts = [
        f"{soak.samples[-1].seconds / 3600:.2f} hours, {last.counts['orders']:,} orders, {last.counts['trades']:,} trades, "
        f"{last.counts['reports']:,} reports.",
        f"Visits: {', '.join(f'{name} {count:,}' for name, count in sorted(visits.items()))}.",
        f"Events: {', '.join(f'{name} {count}' for name, count in sorted(soak.events.items())) or 'none'}.",
        f"An order each second: answers {', '.join(f'{code}: {count:,}' for code, count in sorted(soak.answers.items()))}; "
        f"median over the samples of {typical}.",
        f"The longest lag, in records: {', '.join(f'{name} {records:,}' for name, records in lag.items())}.",
        f"The disk grew to {disk:,.0f} MB, {disk * 1e6 / max(last.counts['reports'], 1):,.0f} bytes a report.",
        f"Differences that the audit found, and other faults: {len(soak.differences)}.",
    ]
    return "\n".join(f"- {part}" for part in parts)


def draw(path: Path, samples: list[Sample]) -> None:
    """Draw memory, disk, lag and latency over time."""
    names = sorted({name for taken in samples for name in taken.processes})
    charts = []
    for name in names:
        points = [(taken.seconds / 60, taken.processes[name].megabytes) for taken in samples if name in taken.processes]
        charts.append(Chart(name.replace("_", " "), "minutes", "MB", [series("memory", points)]))
    folders = sorted({name for taken in samples for name in taken.disk}, key=lambda name: -samples[-1].disk.get(name, 0))[:3]
    disk = [series(name, [(taken.seconds / 60, taken.disk.get(name, 0.0)) for taken in samples]) for name in folders]
    charts.append(Chart("Disk", "minutes", "MB", disk))
    lags = sorted({name for taken in samples for name in taken.lag})
    lag = [series(name, [(taken.seconds / 60, taken.lag[name]) for taken in samples if taken.lag]) for name in lags]
    charts.append(Chart("Lag", "minutes", "records", lag))
    latency = [
        series(f"p{percent}", [(taken.seconds / 60, taken.latency_ms[percent]) for taken in samples if taken.latency_ms])
        for percent in PERCENTILES
    ]
    charts.append(Chart("Round trip of an order", "minutes", "ms", latency))
    write(path, [chart for chart in charts if all(line.x for line in chart.series)], columns=3)


def series(name: str, points: list[tuple[float, float]]) -> Series:
    """Return points as a line of a chart."""
    return Series(name, [x for x, _ in points], [float(y) for _, y in points])


def save(path: Path, samples: list[Sample]) -> None:
    """Write all samples as CSV, one row for each process and time."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["seconds", "process", *(field.name for field in dataclasses.fields(ProcessSample))])
        for taken in samples:
            for name, process in taken.processes.items():
                rows.writerow([f"{taken.seconds:.1f}", name, *dataclasses.astuple(process)])


def parser() -> argparse.ArgumentParser:
    """Return the options of a run."""
    options = argparse.ArgumentParser(prog="mx soak", description=__doc__.split("\n", 1)[0] if __doc__ else "")
    options.add_argument("--hours", type=float, default=2.0)
    options.add_argument("--bots", type=int, default=12, help="the number of house bots")
    options.add_argument("--visitors", type=int, default=6, help="the number of clients that come and go")
    options.add_argument("--kill-minutes", type=float, default=20.0, help="the time between two kills of services")
    options.add_argument("--compete-minutes", type=float, default=45.0, help="the time between two competitions")
    options.add_argument("--sample-seconds", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--out", type=Path, default=Path("soak"), help="folder for the samples and the plot")
    options.add_argument("--write", action="store_true", help="write the result into docs/performance.md")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run, print the result, and return 1 if something is wrong."""
    options = parser().parse_args(arguments)
    soak = Soak(options)
    try:
        soak.play()
    finally:
        soak.running.close()
    options.out.mkdir(parents=True, exist_ok=True)
    save(options.out / "samples.csv", soak.samples)
    draw(options.out / "soak.svg", soak.samples)
    text = f"{summary_of(soak)}\n\n{table_of(soak)}"
    print(text)
    leaks = [name for name, growth in soak.growths.items() if growth.is_leak]
    for problem in [*soak.differences[:20], *(f"the memory of {name} grows" for name in leaks)]:
        print(f"PROBLEM: {problem}")
    if options.write:
        draw(PICTURE, soak.samples)
        write_section("soak", f"{text}\n\n![Memory, disk, lag and latency over time](images/soak.svg)")
    return 1 if soak.differences or leaks else 0


if __name__ == "__main__":
    sys.exit(main())
