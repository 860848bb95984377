"""`./mx bench growth`: latency and throughput with more clients, securities, resting orders and history.

Clients, securities and history are measured on the whole exchange at a steady rate, over RabbitMQ if a broker answers.
Resting orders are measured on the engine, with the memory of each. `--history N` is the largest number of stored order
reports.
"""

import argparse
import contextlib
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import psycopg

from benchmarks import charts, harness, servers
from benchmarks.end_to_end import Run, at_rate, until_at_rest
from benchmarks.engine import CLIENTS, NOW_NS, growth, opening
from exchange_db.days import DAY_NS, make_partition
from matching_engine.engine import Engine
from microexchange.commands import NewOrder
from microexchange.databases import MARKET_DATA, database_url
from microexchange.enums import OrderType, Side
from microexchange.ids import IdSequence

REQUESTS_PER_SECOND = 2_000
SIZES = {
    "clients": (10, 100, 500, 2_000),
    "securities": (1, 100, 1_000, 5_000),
    "resting": (0, 10_000, 100_000, 1_000_000),
    "history": (0, 100_000, 1_000_000, 10_000_000, 50_000_000),
}
PLOT = harness.PAGE.parent / "images" / "growth.svg"


@contextlib.contextmanager
def exchange(database: str, log: str, name: str, **settings: str) -> Iterator[dict[str, servers.Service]]:
    """Run a fresh exchange without rate limits. Yield its services."""
    namespace = f"grow{os.getpid()}_{name}_"
    with (
        servers.fresh(database, log, namespace),
        tempfile.TemporaryDirectory() as folder,
        servers.exchange(database, log, namespace, Path(folder), MX_REQUESTS_PER_SECOND="0", **settings) as services,
    ):
        yield services


def figures_of(run: Run) -> tuple[float, float, float]:
    """Return the median and the 99th percentile in milliseconds, and the processor microseconds for a request."""
    return run.percentile(0.5), run.percentile(0.99), sum(run.microseconds.values())


Rows = Iterator[tuple[int, tuple[float, ...]]]
"""Pairs of a size and its measurements."""


def clients(database: str, log: str, seconds: float) -> Rows:
    """Measure by the number of WebSockets that send the same load."""
    for count in SIZES["clients"]:
        with exchange(database, log, f"c{count}") as services:
            yield count, figures_of(at_rate(services, REQUESTS_PER_SECOND, seconds, count))


def securities(database: str, log: str, seconds: float) -> Rows:
    """Measure by the number of securities. Twenty clients trade all of them alike."""
    for count in SIZES["securities"]:
        symbols = [f"S{number}" for number in range(count)]
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as listing:
            listing.write("symbol,name\n" + "".join(f"{symbol},{symbol}\n" for symbol in symbols))
            listing.flush()
            settings = {"MX_LISTING": listing.name, "MX_ENDOWMENT_SHARES": '{"*": "10000"}'}
            with exchange(database, log, f"s{count}", **settings) as services:
                until_at_rest(services)
                yield count, figures_of(at_rate(services, REQUESTS_PER_SECOND, seconds, 20, symbols))


def resting() -> Rows:
    """Measure commands a second and bytes for each order, by the number of resting orders on 20,000 prices."""
    context = multiprocessing.get_context("spawn")
    for size, rate in growth(SIZES["resting"]):
        # A separate process has no freed memory that the orders could use again.
        with context.Pool(1) as pool:
            memory_bytes = pool.apply(memory_of, (size,))
        yield size, (rate, memory_bytes / size if size >= 100_000 else 0.0)


def memory_of(size: int) -> int:
    """Return the bytes of memory that `size` resting orders take."""
    ids, engine = IdSequence(0), Engine()
    for command in opening(ids):
        engine.apply(command)
    before: int = psutil.Process().memory_info().rss
    for number in range(size):
        is_buy, away = number % 2 == 0, 100 + number % 20_000
        price = 100_000 - away if is_buy else 100_000 + away
        side = Side.BUY if is_buy else Side.SELL
        engine.apply(NewOrder(ids.next(NOW_NS), 1, f"c{number % CLIENTS}", "X", side, OrderType.LIMIT, 1, price))
    after: int = psutil.Process().memory_info().rss
    return after - before


def extend_history(url: str, rows: int, have: int) -> None:
    """Extend the history from `have` to `rows` order reports, and half as many trades, with copies on earlier days."""
    today = time.time_ns() // DAY_NS
    statements: list[str] = []
    with psycopg.connect(url, autocommit=True) as connection:
        for table, wanted, columns in (
            ("order_reports", rows - have, {"report_id": "-{n}", "order_id": "-{n}", "timestamp": "{at}"}),
            ("trades", (rows - have) // 2, {"trade_id": "-{n}", "timestamp": "{at}"}),
        ):
            names = [
                row[0]
                for row in connection.execute(
                    "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND table_schema = 'public' "
                    "AND is_generated = 'NEVER' ORDER BY ordinal_position",
                    (table,),
                )
            ]
            days = max(1, wanted // 5_000_000)
            for number in range(days):
                day = today - 1 - number - have // 5_000_000 * 2
                for statement in make_partition(table, day):
                    with contextlib.suppress(psycopg.errors.WrongObjectType):  # the partition exists
                        connection.execute(statement)
                at = f"{day * DAY_NS} + ({have} + g) % {DAY_NS}"
                n = f"({have} + {number} * {wanted // days} + g)"
                values = [columns.get(name, name).format(n=n, at=at) for name in names]
                statements.append(
                    f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} FROM "
                    f"(SELECT *, row_number() OVER () AS place FROM {table} WHERE timestamp >= {today * DAY_NS} LIMIT 1000)"
                    " s "
                    f"JOIN generate_series(1, {wanted // days}) g ON g % 1000 + 1 = place"
                )

    def run(statement: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, statements))
    # In a real history, the server would have done this on the earlier days, and not during the measurement.
    for statement in ("VACUUM (ANALYZE) order_reports", "VACUUM (ANALYZE) trades", "CHECKPOINT"):
        run(statement)


def median_answer_ms(url: str, path: str) -> float:
    """Return the median time of twenty answers in milliseconds."""
    times = []
    with httpx.Client(timeout=60) as http:
        for _ in range(20):
            began = time.perf_counter()
            http.get(url + path).raise_for_status()
            times.append((time.perf_counter() - began) * 1000)
    return sorted(times)[10]


def history(database: str, log: str, seconds: float, max_rows: int) -> Rows:
    """Measure the same load, and a page of old trades, by the number of stored order reports."""
    name = f"grow{os.getpid()}_h_"
    with exchange(database, log, "h") as services:
        at_rate(services, REQUESTS_PER_SECOND, 5, 100)
        until_at_rest(services)
        have = 0
        for rows in SIZES["history"]:
            if rows > max_rows:
                break
            if rows > have:
                extend_history(database_url(database, name, MARKET_DATA), rows, have)
                have = rows
            page = median_answer_ms(services["market_data_feed"].url, f"/trades/{servers.SYMBOLS[0]}?limit=100")
            yield rows, (*figures_of(at_rate(services, REQUESTS_PER_SECOND, seconds, 100)), page)
            until_at_rest(services)


HEADINGS = {
    "clients": f"WebSockets, {REQUESTS_PER_SECOND:,} requests/s in all",
    "securities": f"securities, {REQUESTS_PER_SECOND:,} requests/s in all",
    "resting": "resting orders",
    "history": f"order reports stored, {REQUESTS_PER_SECOND:,} requests/s",
}


def rows_of(part: str, database: str, options: argparse.Namespace, max_history: int) -> Rows:
    """Measure one part row by row, over RabbitMQ if a broker answers and `--log` does not name another log."""
    if part == "resting":
        return resting()
    log = list(servers.logs(database, options.log).values())[-1]
    if part == "history":
        return history(database, log, options.seconds, max_history)
    return (clients if part == "clients" else securities)(database, log, options.seconds)


def headings(part: str) -> tuple[str, ...]:
    """Return the headings of the table of a part."""
    if part == "resting":
        return (f"{HEADINGS[part]}:", "commands/s:", "bytes for each:")
    more = ("a page of trades:",) if part == "history" else ()
    return (f"{HEADINGS[part]}:", "p50:", "p99:", "processor time for a request:", *more)


def cells(part: str, values: tuple[float, ...]) -> tuple[str, ...]:
    """Return a row of the table of a part, without the size."""
    if part == "resting":
        rate, memory_bytes = values
        return (f"{rate:,.0f}", f"{memory_bytes:,.0f}" if memory_bytes else "")
    p50, p99, spent, *pages = values
    return (f"{p50:.1f} ms", f"{p99:.1f} ms", f"{spent:,.0f} µs", *(f"{page:.1f} ms" for page in pages))


def draw(figures: dict[str, dict[int, tuple[float, ...]]]) -> None:
    """Draw the parts side by side. The axis of sizes is logarithmic."""
    plots = []
    for part, rows in figures.items():
        x = [math.log10(max(size, 1)) for size in rows]
        names = ("commands/s",) if part == "resting" else ("p50", "p99")
        series = [charts.Series(name, x, [values[index] for values in rows.values()]) for index, name in enumerate(names)]
        up = "commands/s" if part == "resting" else "milliseconds"
        plots.append(charts.Chart(HEADINGS[part], f"{part}, as a power of ten", up, series))
    charts.write(PLOT, plots)


def main() -> None:
    """Run the benchmark, print its tables and draw the plot."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--history", type=int, default=10_000_000, help="the largest number of stored order reports")
    own_options, rest = parser.parse_known_args()
    options = harness.arguments(__doc__ or "", seconds=10, log=True, parts=sorted(SIZES), given=rest)
    figures: dict[str, dict[int, tuple[float, ...]]] = {}
    with harness.Report("growth", options) as report, servers.postgres() as database:
        for part in [options.part] if options.part else SIZES:
            table = report.table(*headings(part))
            with contextlib.closing(rows_of(part, database, options, own_options.history)) as rows:  # type: ignore[type-var]
                for size, values in rows:
                    figures.setdefault(part, {})[size] = values
                    table.add(f"{size:,}", *cells(part, values))
    report.finish(figures, "![Latency and throughput by size](images/growth.svg)", lambda: draw(figures))


if __name__ == "__main__":
    main()
