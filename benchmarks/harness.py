"""Runs measurements side by side, and says how noisy they were.

Every contender runs once in each round, so that a busy minute of the machine hits all of them; the median of the rounds is
the figure, and the spread from the slowest to the fastest round the noise.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROUNDS = 5


@dataclass(frozen=True)
class Figure:
    """One contender's result."""

    name: str
    rates: list[float]
    """Events a second, by round."""
    note: str = ""

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.rates)

    @property
    def noise(self) -> float:
        """How far the rounds lie apart: (fastest - slowest) / median."""
        return (max(self.rates) - min(self.rates)) / self.median


def measure(count: int, prepare: Callable[[], Callable[[], Any]]) -> float:
    """Events a second of one run: `prepare` makes everything anew, and what it returns is timed."""
    work = prepare()
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    gc.enable()
    return count / seconds


Contender = tuple[int, Callable[[], Callable[[], Any]]]
"""How many events, and what prepares a run over them."""


def side_by_side(contenders: dict[str, Contender], rounds: int = ROUNDS) -> list[Figure]:
    """The contenders' figures, measured in turns."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (count, prepare) in contenders.items():
            rates[name].append(measure(count, prepare))
    return [Figure(name, values) for name, values in rates.items()]


def machine() -> dict[str, Any]:
    """Where this was measured."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}


def arguments(description: str, events: int = 200_000, given: Sequence[str] | None = None) -> argparse.Namespace:
    """The options that all benchmarks have, from the command line, or what is left of it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object on the last line")
    parser.add_argument("--events", type=int, default=events)
    parser.add_argument("--write", action="store_true", help="write tables and plots into docs/performance.md")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    return parser.parse_args(given)


def table(figures: Sequence[Figure], unit: str) -> str:
    """The figures as Markdown, each with its ratio to the first."""
    first = figures[0].median
    rows = [f"| | {unit} | of the first | noise | |", "| --- | ---: | ---: | ---: | --- |"]
    for figure in figures:
        ratio = figure.median / first
        rows.append(f"| {figure.name} | {figure.median:,.0f} | {ratio:.2f} | {figure.noise:.0%} | {figure.note} |")
    return "\n".join(rows)


PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def write_section(name: str, text: str) -> None:
    """Puts `text` into the page, between the marks of the benchmark `name`."""
    page = PAGE.read_text()
    begin, end = f"<!-- bench {name} -->\n", f"<!-- end {name} -->"
    before, _, rest = page.partition(begin)
    _, mark, after = rest.partition(end)
    if not mark:
        raise ValueError(f"{PAGE} has no section for {name}")
    where = ", ".join(f"{key} {value}" for key, value in machine().items())
    PAGE.write_text(f"{before}{begin}\n{text}\n\nMeasured on: {where}.\n\n{end}{after}")


def finish(options: argparse.Namespace, name: str, figures: dict[str, Any]) -> None:
    """Prints the JSON line, where it was asked for."""
    if options.json:
        print(json.dumps({"benchmark": name, "machine": machine(), **figures}))


def plot(path: Path, title: str, figures: Sequence[Figure], unit: str) -> None:
    """Draws the figures as bars on a logarithmic scale, as an SVG of our own making: a bar, a name, a number."""
    import math

    most = max(figure.median for figure in figures)
    least = min(figure.median for figure in figures)
    decades = math.ceil(math.log10(most)) - math.floor(math.log10(least))
    floor = math.floor(math.log10(least))
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
