"""`./mx bench house`: whether the default house keeps its market active for a day.

It simulates 24 hours of the default house for each of ten seeds. It checks that each security trades near its value all day,
with tight spreads and deep books, and that each bot has cash and can still sell short. With `--write`, it writes the result
and a plot of the prices into docs/market-quality.md.
"""

import argparse
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.charts import Chart, Series, write
from benchmarks.harness import put_between
from trading_bots.simulation.house_check import Check, HouseDay, play_house

PAGE = Path(__file__).parents[1] / "docs" / "market-quality.md"
PICTURE = PAGE.parent / "images" / "house-days.svg"


def table_of(days: list[HouseDay]) -> str:
    """Return a table of the worst figure of each check over all days."""
    by_name: dict[str, list[Check]] = defaultdict(list)
    for day in days:
        for check in day.checks():
            by_name[check.name].append(check)
    rows = ["| check | worst of all days and securities | limit | held on |", "| --- | --- | --- | --- |"]
    for name, checks in by_name.items():
        worst = max(checks, key=lambda check: check.severity)
        rows.append(
            f"| {name} | {worst.text} | {worst.limit} | {sum(check.holds for check in checks)} of {len(checks)} days |"
        )
    return "\n".join(rows)


def draw(days: list[HouseDay]) -> None:
    """Draw the prices of each security on all days."""
    charts = []
    for symbol in days[0].securities:
        series = []
        for day in days:
            prices = day.securities[symbol].prices
            series.append(Series("", [second / 3600 for second, _ in prices], [price for _, price in prices]))
        charts.append(Chart(symbol, "hours", "price", series))
    write(PICTURE, charts, zero=False)


def main() -> None:
    """Simulate and check each day, and print its result as it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--bots", type=int, default=12)
    parser.add_argument("--seed", default="house", help="the seed of the days (house)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write docs/market-quality.md")
    options = parser.parse_args()
    seconds, days = int(options.hours * 3600), []
    with ProcessPoolExecutor(options.processes) as pool:
        seeds = [f"{options.seed}/{number}" for number in range(1, options.seeds + 1)]
        for day in pool.map(play_house, seeds, [seconds] * len(seeds), [options.bots] * len(seeds)):
            days.append(day)
            failed = [f"{check.name}: {check.text} (limit {check.limit})" for check in day.checks() if not check.holds]
            print(f"{day.seed}: {day.trades:,} trades; {'all checks hold' if not failed else '; '.join(failed)}", flush=True)
    about = (
        f"{len(days)} days of {options.hours:g} hours, {options.bots} bots, {len(days[0].securities)} securities, "
        f"{sum(day.trades for day in days):,} trades."
    )
    table = table_of(days)
    print(f"\n{about}\n\n{table}")
    if options.write:
        draw(days)
        put_between(PAGE, "<!-- house -->", "<!-- end of house -->", f"{about}\n\n{table}")
    sys.exit(not all(check.holds for day in days for check in day.checks()))


if __name__ == "__main__":
    main()
