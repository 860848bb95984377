"""`./mx bench clearing`: the clearinghouse alone, as a process, settles a full log and single executions in Postgres."""

import asyncio
import contextlib
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import harness, servers
from clearinghouse.service import PAUSE_SECONDS
from microexchange.batches import ENGINE, VERSION, Batch, encode_batch
from microexchange.enums import Side
from microexchange.instructions import Execution, Instruction, Transfer
from microexchange.log import Log, open_log
from microexchange.numbers import MAX_CASH
from microexchange.records import DATA_FEED, ORDER_EXECUTION

CLIENTS, SYMBOLS = 500, 8
RECORDS_PER_BODY = 100
"""Executions in a body of the log. A busy engine puts about as many into one."""
SINGLE_EXECUTIONS = 100


def instructions(count: int) -> list[Instruction]:
    """Return the instructions that open the accounts, and `count` executions between them."""
    rng = random.Random(1)
    names, symbols = [f"client-{n}" for n in range(CLIENTS)], [f"S{n}" for n in range(SYMBOLS)]
    settlements: list[Instruction] = [
        Transfer(n, 1, name, MAX_CASH // 10, dict.fromkeys(symbols, 10**9)) for n, name in enumerate(names, 1)
    ]
    for number in range(1, count + 1):
        buyer, seller = rng.sample(names, 2)
        price, quantity = rng.randint(9_000, 11_000), rng.randint(1, 10)
        value = price * quantity * 10**6
        orders = (2 * number, buyer, 2 * number + 1, seller)
        money = (value, value, value // 500, value // 1000)
        settlements.append(Execution(number, number, rng.choice(symbols), quantity, price, Side.BUY, *orders, *money))
    return settlements


async def fill(log: Log, settlements: list[Instruction]) -> None:
    """Append the instructions to the log, `RECORDS_PER_BODY` to a body."""
    bodies = [
        encode_batch(Batch(VERSION, ENGINE, 1, first + 1, 0, settlements[first : first + RECORDS_PER_BODY]))
        for first in range(0, len(settlements), RECORDS_PER_BODY)
    ]
    for first in range(0, len(bodies), 50):
        await log.append(ORDER_EXECUTION, bodies[first : first + 50])


async def one_by_one(log: Log, service: servers.Service, sequence: int) -> float:
    """Return the median time from the append of an execution until its report is on `data_feed`, in seconds.

    The clearinghouse is idle before each execution.
    """
    times = []
    trade = instructions(1)[-1]
    offset = await log.tail(DATA_FEED)
    async with contextlib.aclosing(log.read(DATA_FEED, offset)) as reader:
        for number in range(SINGLE_EXECUTIONS):
            body = encode_batch(Batch(VERSION, ENGINE, 1, sequence + number, 0, [_renumbered(trade, sequence + number)]))
            began = time.perf_counter()
            await log.append(ORDER_EXECUTION, [body])
            await anext(reader)
            times.append(time.perf_counter() - began)
            await asyncio.sleep(2 * PAUSE_SECONDS)
    return statistics.median(times)


def _renumbered(instruction: Instruction, number: int) -> Instruction:
    assert isinstance(instruction, Execution)
    fields = {name: getattr(instruction, name) for name in instruction.__struct_fields__}
    return Execution(**{**fields, "trade_id": number})


async def measure(database: str, url: str, name: str, settlements: list[Instruction]) -> tuple[float, float, float]:
    """Measure a clearinghouse on fresh databases and a fresh log.

    Returns executions a second from a full log, the median seconds from the append of one execution to its report, and the
    median seconds to settle it.
    """
    log = open_log(url, name)
    with servers.fresh(database, url, name), tempfile.TemporaryDirectory() as folder:
        await fill(log, settlements)
        service = servers.Service("clearinghouse", database, url, name, Path(folder))
        try:
            # The measurement begins after a tenth, so that it leaves out the start.
            first = await _until(service, len(settlements) // 10)
            last = await _until(service, len(settlements))
            if last[1] == first[1]:
                sys.exit(f"mx: {len(settlements):,} executions are too few to measure a rate. Give more --events.")
            rate = (last[1] - first[1]) / (last[0] - first[0])
            await asyncio.sleep(1)
            single = await one_by_one(log, service, len(settlements) + 1)
            inside = service.status()["settle_p50"]
        finally:
            service.stop()
    await log.close()
    return rate, single, inside


async def _until(service: servers.Service, count: int) -> tuple[float, int]:
    while True:
        done = int(service.status().get("instruction_sequence", 0))
        if done >= count:
            return time.perf_counter(), done
        await asyncio.sleep(0.02)


def main() -> None:
    """Run the benchmark and print its tables."""
    options = harness.arguments(__doc__ or "", events=100_000, rounds=harness.ROUNDS, log=True, counted="executions")
    settlements = instructions(options.events)
    results: dict[str, list[tuple[float, float, float]]] = {}
    with harness.Report("clearing", options) as report, servers.postgres() as database, report.interruptible():
        for number in range(options.rounds):
            for index, (name, url) in enumerate(servers.logs(database, options.log).items()):
                rate, single, inside = asyncio.run(measure(database, url, f"b{number}{index}_", settlements))
                results.setdefault(name, []).append((rate, single * 1000, inside * 1000))
                times = f"{rate:,.0f} executions/s; one alone: {inside * 1000:.1f} ms, with report {single * 1000:.1f} ms"
                report.progress(f"round {number + 1} of {options.rounds}, {name}: {times}")
    report.progress("")
    figures = [harness.Figure(name, [rate for rate, _, _ in rounds]) for name, rounds in results.items()]
    harness.add_figures(report.table(*harness.headings("executions/s")), figures)
    table = report.table("a batch of one", "settled and committed in:", "from the append to the report on the feed's topic:")
    values = {}
    for figure in figures:
        _, single, inside = (statistics.median(column) for column in zip(*results[figure.name], strict=True))
        table.add(figure.name, f"{inside:.1f} ms", f"{single:.1f} ms")
        values[figure.name] = {
            "executions_per_second": figure.median,
            "noise": figure.noise,
            "single_ms": inside,
            "single_to_report_ms": single,
        }
    report.finish({"executions": options.events, "figures": values})


if __name__ == "__main__":
    main()
