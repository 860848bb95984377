"""`./mx bench endurance`: ten million commands in a row: memory follows the open orders, not the history."""

import gc
import time
from pathlib import Path

from benchmarks import harness
from benchmarks.engine import CLIENTS, NOW, commands_of, renumbered
from matching_engine.engine import Engine
from microexchange.ids import IdSequence
from microexchange.messages import CancelAll

CHUNK = 200_000


def resident() -> int:
    """Megabytes of memory that the process has."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0


def main() -> None:
    """Measures, and prints a table."""
    options = harness.arguments(__doc__ or "", events=10_000_000)
    engine, ids = Engine(), IdSequence(0)
    start, flow = commands_of(CHUNK)
    for command in start:
        engine.apply(command)
    rows, seconds = [], 0.0
    for chunk in range(options.events // CHUNK):
        commands = renumbered(flow, ids)
        began = time.perf_counter()
        for command in commands:
            engine.apply(command)
        seconds += time.perf_counter() - began
        open_orders = sum(len(account.orders) for account in engine.accounts.values())
        for number in range(CLIENTS):
            engine.apply(CancelAll(ids.next(NOW), 1, f"c{number}"))
        del commands
        gc.collect()
        done = (chunk + 1) * CHUNK
        if done % 1_000_000 == 0:
            rows.append((done, open_orders, resident(), done / seconds))
    text = "\n".join(
        [
            "| commands | open orders before the cancels | resident memory | commands/s so far |",
            "| ---: | ---: | ---: | ---: |",
            *(f"| {done:,} | {orders:,} | {megabytes} MB | {rate:,.0f} |" for done, orders, megabytes, rate in rows),
        ]
    )
    print(text)
    if options.write:
        harness.write_section("endurance", text)
    harness.finish(options, "endurance", {"megabytes": {str(done): megabytes for done, _, megabytes, _ in rows}})


if __name__ == "__main__":
    main()
