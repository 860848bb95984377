"""The common parts of benchmarks: options, tables that are printed row by row, and comparisons.

A row is printed as soon as it is measured. Ctrl-C ends a benchmark, and the printed rows stay.

Each contender runs once in each round, so that a busy minute of the machine affects all of them. The figure is the median of
the rounds. The noise is the difference between the slowest and the fastest round.
"""

import argparse
import gc
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROUNDS = 5


@dataclass(frozen=True)
class Figure:
    """The result of one contender."""

    name: str
    rates: list[float]
    """Events a second, by round."""
    note: str = ""

    @property
    def median(self) -> float:
        """The median of the rounds, in events a second."""
        return statistics.median(self.rates)

    @property
    def noise(self) -> float:
        """The difference between the fastest and the slowest round, as a part of the median."""
        return (max(self.rates) - min(self.rates)) / self.median


def measure(count: int, prepare: Callable[[], Callable[[], Any]]) -> float:
    """Return the events a second of one run of `count` events. `prepare` returns the function to time."""
    work = prepare()
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    gc.enable()
    return count / seconds


Contender = tuple[int, Callable[[], Callable[[], Any]]]
"""The number of events, and the function that prepares a run over them."""


def side_by_side(contenders: dict[str, Contender], report: "Report", rounds: int, unit: str) -> list[Figure]:
    """Measure the contenders in turns and print each round. After a Ctrl-C the figures are those of the finished rounds."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    report.progress(f"Rounds of each, in {unit}:")
    with report.interruptible():
        for number in range(1, rounds + 1):
            for name, (count, prepare) in contenders.items():
                rates[name].append(measure(count, prepare))
                report.progress(f"round {number} of {rounds}, {name}: {rates[name][-1]:,.0f}")
    report.progress("")
    return [Figure(name, values) for name, values in rates.items() if values]


def machine() -> dict[str, Any]:
    """Return the processor, cores, Python version and system of this machine."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}


LOGS = {"embedded": "embedded log", "rabbitmq": "RabbitMQ"}
"""The names of logs in tables, by the value of `--log`."""


def numbers(text: str) -> tuple[int, ...]:
    """Parse numbers with commas between, such as `1000,3000`."""
    return tuple(int(part) for part in text.split(","))


def arguments(
    description: str,
    *,
    events: int | None = None,
    seconds: float | None = None,
    rates: Sequence[int] | None = None,
    rounds: int | None = None,
    log: bool = False,
    counted: str = "events",
    parts: Sequence[str] = (),
    given: Sequence[str] | None = None,
) -> argparse.Namespace:
    """Parse the options of a benchmark from `given`, or from the command line.

    A benchmark has the options for which it gives a default. `counted` is the unit of `--events`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object on the last line")
    parser.add_argument("--write", action="store_true", help="write tables and plots into the page")
    if events is not None:
        parser.add_argument("--events", type=int, default=events, help=f"the number of {counted} ({events:,})")
    if seconds is not None:
        parser.add_argument("--seconds", type=float, default=seconds, help=f"the length of each measurement ({seconds:g})")
    if rates is not None:
        shown = ",".join(map(str, rates))
        parser.add_argument(
            "--rates", type=numbers, default=tuple(rates), help=f"rates a second, with commas between ({shown})"
        )
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help=f"how often each contender runs ({rounds})")
    if log:
        parser.add_argument("--log", choices=sorted(LOGS), help="one log alone. The default is both, if a broker answers")
    if parts:
        parser.add_argument("--part", choices=parts, help="one part alone")
    options = parser.parse_args(given)
    if options.write and getattr(options, "part", None):
        parser.error("--write needs all parts. Remove --part.")
    return options


class Table:
    """A Markdown table that prints its rows as they are added. A column of numbers has a heading that ends with a colon."""

    def __init__(self, headings: Sequence[str]) -> None:
        self._head = f"| {' | '.join(heading.removesuffix(':') for heading in headings)} |"
        self._line = f"| {' | '.join('---:' if heading.endswith(':') else '---' for heading in headings)} |"
        self._columns = len(headings)
        self.rows: list[str] = []

    def add(self, *cells: object) -> None:
        """Print and keep a row.

        Raises:
            ValueError: The number of cells is not that of the headings.
        """
        if len(cells) != self._columns:
            raise ValueError(f"{len(cells)} cells in a table of {self._columns} columns")
        if not self.rows:
            print(f"{self._head}\n{self._line}", flush=True)
        self.rows.append(f"| {' | '.join(map(str, cells))} |")
        print(self.rows[-1], flush=True)

    def __str__(self) -> str:
        return "\n".join([self._head, self._line, *self.rows])


class Report:
    """The tables and sentences of one benchmark, printed as they are added and kept for the page.

    >>> with Report("book", options) as report:  # doctest: +SKIP
    ...     table = report.table("what", "events/s:")
    ...     table.add("ours", f"{rate:,.0f}")

    A Ctrl-C or a SIGTERM ends the block. The printed rows stay and the services of the benchmark stop. Nothing is written
    into the page, and the process ends with status 130.
    """

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self._name = name
        self._options = options
        self._parts: list[Table | str] = []
        self.is_interrupted = False

    def __enter__(self) -> Self:
        # Without this handler, the services of the benchmark would run on after a SIGTERM.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            return False
        self.is_interrupted = True
        return True

    def interruptible(self) -> "Report":
        """Return a context manager for an inner block. A Ctrl-C ends this block alone."""
        return self

    def table(self, *headings: str) -> Table:
        """Add a table. See `Table`."""
        if self._parts:
            print()
        table = Table(headings)
        self._parts.append(table)
        return table

    def sentence(self, text: str) -> None:
        """Print a sentence and keep it."""
        if self._parts:
            print()
        print(text, flush=True)
        self._parts.append(text)

    def progress(self, text: str) -> None:
        """Print text that is not kept."""
        print(text, flush=True)

    @property
    def text(self) -> str:
        """All tables with rows and all sentences as Markdown."""
        return "\n\n".join(str(part) for part in self._parts if isinstance(part, str) or part.rows)

    def finish(self, figures: dict[str, Any], picture: str = "", draw: Callable[[], None] | None = None) -> None:
        """Write the page with `--write` and print the figures with `--json`.

        After a Ctrl-C it writes nothing and ends the process with status 130.
        """
        if self.is_interrupted:
            print("Interrupted: the rows above are what was measured.", flush=True)
        elif self._options.write:
            if draw is not None:
                draw()
            write_section(self._name, self.text + (f"\n\n{picture}" if picture else ""))
        finish(self._options, self._name, {**figures, "interrupted": self.is_interrupted})
        if self.is_interrupted:
            sys.exit(130)


def add_figures(table: Table, figures: Sequence[Figure]) -> None:
    """Add a row for each figure, with its ratio to the first, to a table with the `headings` of this module."""
    first = figures[0].median if figures else 1.0
    for figure in figures:
        ratio = f"{figure.median / first:.2f}"
        table.add(figure.name, f"{figure.median:,.0f}", ratio, f"{figure.noise:.0%}", figure.note)


def headings(unit: str) -> tuple[str, ...]:
    """Return the headings of a table of figures in that unit."""
    return ("", f"{unit}:", "of the first:", "noise:", "")


PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def write_section(name: str, text: str) -> None:
    """Write `text` and the machine into the performance page, between the marks of the benchmark `name`."""
    where = ", ".join(f"{key} {value}" for key, value in machine().items())
    put_between(PAGE, f"<!-- bench {name} -->", f"<!-- end {name} -->", f"{text}\n\nMeasured on: {where}.")


def put_between(page: Path, begin: str, end: str, text: str) -> None:
    """Replace the text between two marks of a page.

    Raises:
        ValueError: A mark is missing.
    """
    before, _, rest = page.read_text().partition(f"{begin}\n")
    _, mark, after = rest.partition(end)
    if not mark:
        raise ValueError(f"{page} has no section between {begin} and {end}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def finish(options: argparse.Namespace, name: str, figures: dict[str, Any]) -> None:
    """Print the figures as a line of JSON if `--json` is set."""
    if options.json:
        print(json.dumps({"benchmark": name, "machine": machine(), **figures}))


def plot(path: Path, title: str, figures: Sequence[Figure], unit: str) -> None:
    """Draw the figures as bars on a logarithmic scale into an SVG file."""
    import math

    highest = max(figure.median for figure in figures)
    floor = math.floor(math.log10(min(figure.median for figure in figures)))
    decades = math.ceil(math.log10(highest)) - floor
    width, row, left = 760, 34, 210
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {row * len(figures) + 60}" font-family="sans-serif">',
        f'<rect width="{width}" height="{row * len(figures) + 60}" fill="white"/>',
        f'<text x="12" y="24" font-size="15" fill="#222">{title}</text>',
    ]
    for number, figure in enumerate(figures):
        length = (math.log10(figure.median) - floor) / decades * (width - left - 130)
        y = 44 + row * number
        lines += [
            f'<text x="{left - 10}" y="{y + 15}" font-size="13" text-anchor="end" fill="#222">{figure.name}</text>',
            f'<rect x="{left}" y="{y}" width="{length:.0f}" height="20" fill="{"#1f77b4" if not number else "#9aa5b1"}"/>',
            f'<text x="{left + length + 8:.0f}" y="{y + 15}" font-size="13" fill="#222">{figure.median:,.0f} {unit}</text>',
        ]
    path.write_text("\n".join([*lines, "</svg>"]) + "\n")
