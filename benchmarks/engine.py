"""`./mx bench engine`: the whole engine with ids, credit checks, matching, fees and all events.

Without `--part` it measures the speed, the time of one command, and the speed with many resting orders and idle securities.
"""

import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from benchmarks import harness
from benchmarks.flow import flow
from matching_engine.engine import Engine
from microexchange.commands import CancelOrder, Command, ListSecurity, NewOrder, OpenAccount
from microexchange.enums import OrderType, Side
from microexchange.ids import IdSequence
from microexchange.numbers import MAX_CASH

CLIENTS = 50
RESTING_ORDERS = (0, 10_000, 100_000, 1_000_000)
IDLE_SECURITIES = (0, 5_000)
NOW_NS = 1_800_000_000_000_000_000


def opening(ids: IdSequence) -> list[Command]:
    """Return the commands that list one security and open accounts with much cash and many holdings."""
    commands: list[Command] = [ListSecurity(ids.next(NOW_NS), 1, "X", "X", "0.01", "1", 100_000)]
    for number in range(CLIENTS):
        commands.append(OpenAccount(ids.next(NOW_NS), 1, f"c{number}", MAX_CASH, {"X": 10**9}))
    return commands


def commands_of(count: int) -> tuple[list[Command], list[Command]]:
    """Return the opening, and `count` steps of the flow as commands of `CLIENTS` clients."""
    ids = IdSequence(0)
    start = opening(ids)
    commands: list[Command] = []
    entered: dict[int, tuple[int, str]] = {}
    for number, step in enumerate(flow(count)):
        command_id, client = ids.next(NOW_NS), f"c{number % CLIENTS}"
        if step.action == "cancel":
            order_id, owner = entered[step.order]
            commands.append(CancelOrder(command_id, 1, owner, order_id))
        else:
            entered[step.order] = command_id, client
            side = Side.BUY if step.is_buy else Side.SELL
            commands.append(NewOrder(command_id, 1, client, "X", side, OrderType.LIMIT, step.quantity, step.price))
    return start, commands


def prepare(start: list[Command], commands: list[Command]) -> Callable[[], Any]:
    """Return a run of the commands over a new engine. The run returns the number of events."""
    engine = Engine()
    for command in start:
        engine.apply(command)

    def run() -> int:
        apply, events = engine.apply, 0
        for command in commands:
            outcome = apply(command)
            events += len(outcome.instructions) + len(outcome.reports)
        return events

    return run


def one_by_one(start: list[Command], commands: list[Command]) -> list[float]:
    """Return the time of each command in seconds, sorted."""
    engine = Engine()
    for command in start:
        engine.apply(command)
    clock, apply, times = time.perf_counter, engine.apply, []
    for command in commands:
        began = clock()
        apply(command)
        times.append(clock() - began)
    return sorted(times)


def growth(sizes: Sequence[int], commands: int = 20_000) -> Iterator[tuple[int, float]]:
    """Measure the commands a second with each number of resting orders, which are near the market and far from it."""
    for size in sizes:
        ids = IdSequence(0)
        engine = Engine()
        for command in opening(ids):
            engine.apply(command)
        for number in range(size):
            is_buy = number % 2 == 0
            away = 100 + number % 20_000
            price = 100_000 - away if is_buy else 100_000 + away
            side = Side.BUY if is_buy else Side.SELL
            engine.apply(NewOrder(ids.next(NOW_NS), 1, f"c{number % CLIENTS}", "X", side, OrderType.LIMIT, 1, price))
        _, flow_commands = commands_of(commands)
        numbered = renumbered(flow_commands, ids)
        yield (
            size,
            harness.measure(len(numbered), lambda engine=engine, numbered=numbered: lambda: _apply_all(engine, numbered)),
        )


def idle(sizes: Sequence[int], commands: int = 20_000) -> Iterator[tuple[int, float, float]]:
    """Measure the commands a second with each number of idle securities, and the bytes of memory for each of these."""
    for size in sizes:
        ids = IdSequence(0)
        tracemalloc.start()
        engine, before = Engine(), tracemalloc.get_traced_memory()[0]
        for number in range(size):
            engine.apply(ListSecurity(ids.next(NOW_NS), 1, f"IDLE{number}", "Idle", "0.01", "1", 10_000))
        memory_bytes = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        for command in opening(ids):
            engine.apply(command)
        numbered = renumbered(commands_of(commands)[1], ids)
        rate = harness.measure(len(numbered), lambda engine=engine, numbered=numbered: lambda: _apply_all(engine, numbered))
        yield size, rate, memory_bytes / size if size else 0.0


def _apply_all(engine: Engine, commands: list[Command]) -> None:
    for command in commands:
        engine.apply(command)


def renumbered(commands: list[Command], ids: IdSequence) -> list[Command]:
    """Return the same commands with the next ids of `ids`."""
    new: dict[int, int] = {}
    result: list[Command] = []
    for command in commands:
        new[command.command_id] = ids.next(NOW_NS)
        change = {"command_id": new[command.command_id]}
        if isinstance(command, CancelOrder):
            change["order_id"] = new[command.order_id]
        result.append(msgspec.structs.replace(command, **change))
    return result


def speed(report: harness.Report, events: int, rounds: int) -> dict[str, float]:
    """Measure the throughput of the engine and the time of one command."""
    start, commands = commands_of(events)
    contenders: dict[str, harness.Contender] = {"microexchange": (len(commands), lambda: prepare(start, commands))}
    events_per_command = prepare(start, commands)() / len(commands)
    measured = harness.side_by_side(contenders, report, rounds, "commands/s")
    note = f"{events_per_command:.1f} events a command"
    figures = [harness.Figure(figure.name, figure.rates, note) for figure in measured]
    harness.add_figures(report.table(*harness.headings("commands/s")), figures)
    if report.is_interrupted or not figures:
        raise KeyboardInterrupt
    times = one_by_one(start, commands)
    p50, p99 = (times[int(len(times) * part)] * 1e6 for part in (0.5, 0.99))
    report.sentence(f"One command: p50 {p50:.1f} µs, p99 {p99:.1f} µs.")
    return {"commands_per_second": figures[0].median, "noise": figures[0].noise, "p50_us": p50, "p99_us": p99}


def main() -> None:
    """Run the benchmark and print its tables."""
    parts = ("speed", "resting", "idle")
    options = harness.arguments(__doc__ or "", events=200_000, rounds=harness.ROUNDS, counted="commands", parts=parts)
    figures: dict[str, Any] = {}
    with harness.Report("engine", options) as report:
        if options.part in (None, "speed"):
            figures |= speed(report, options.events, options.rounds)
        if options.part in (None, "resting"):
            table = report.table("resting orders:", "commands/s:")
            for size, rate in growth(RESTING_ORDERS):
                table.add(f"{size:,}", f"{rate:,.0f}")
                figures.setdefault("by_resting_orders", {})[size] = rate
        if options.part in (None, "idle"):
            table = report.table("idle securities:", "commands/s:", "memory of each:")
            for size, rate, memory_bytes in idle(IDLE_SECURITIES):
                table.add(f"{size:,}", f"{rate:,.0f}", f"{memory_bytes:,.0f} bytes")
                figures.setdefault("by_idle_securities", {})[size] = rate
    report.finish({"commands": options.events, "figures": figures})


if __name__ == "__main__":
    main()
