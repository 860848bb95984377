"""`./mx bench endurance`: the engine's memory over ten million commands. It depends on the open orders alone."""

import gc
import time
from pathlib import Path

from benchmarks import harness
from benchmarks.engine import CLIENTS, NOW_NS, commands_of, renumbered
from matching_engine.engine import Engine
from microexchange.commands import CancelAll
from microexchange.ids import IdSequence

CHUNK, ROWS = 200_000, 10


def resident() -> int:
    """Return the resident memory of the process in megabytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0


def main() -> None:
    """Run the benchmark and print its table."""
    options = harness.arguments(__doc__ or "", events=10_000_000, counted=f"commands, at least {CHUNK:,}")
    engine, ids = Engine(), IdSequence(0)
    start, flow = commands_of(CHUNK)
    for command in start:
        engine.apply(command)
    seconds, megabytes = 0.0, {}
    chunks = max(options.events // CHUNK, 1)
    with harness.Report("endurance", options) as report:
        table = report.table("commands:", "open orders before the cancels:", "resident memory:", "commands/s so far:")
        for chunk in range(1, chunks + 1):
            commands = renumbered(flow, ids)
            began = time.perf_counter()
            for command in commands:
                engine.apply(command)
            seconds += time.perf_counter() - began
            open_orders = sum(len(account.orders) for account in engine.accounts.values())
            for number in range(CLIENTS):
                engine.apply(CancelAll(ids.next(NOW_NS), 1, f"c{number}"))
            del commands
            gc.collect()
            if chunk % max(chunks // ROWS, 1) == 0:
                done = chunk * CHUNK
                megabytes[str(done)] = resident()
                table.add(f"{done:,}", f"{open_orders:,}", f"{resident()} MB", f"{done / seconds:,.0f}")
    report.finish({"megabytes": megabytes})


if __name__ == "__main__":
    main()
