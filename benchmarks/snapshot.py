"""`./mx bench snapshot`: how long the market pauses for a snapshot, and how long a start from the snapshot takes."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import harness
from benchmarks.engine import CLIENTS, NOW_NS, opening
from matching_engine import state
from matching_engine.engine import Engine
from matching_engine.snapshots import Snapshot, SnapshotStore
from microexchange.commands import NewOrder
from microexchange.enums import OrderType, Side
from microexchange.ids import IdSequence


def resting(count: int) -> Engine:
    """Return an engine with `count` resting orders."""
    ids, engine = IdSequence(0), Engine()
    for command in opening(ids):
        engine.apply(command)
    for number in range(count):
        is_buy, away = number % 2 == 0, 1 + number % 20_000
        side, price = (Side.BUY, 100_000 - away) if is_buy else (Side.SELL, 100_000 + away)
        engine.apply(NewOrder(ids.next(NOW_NS), 1, f"c{number % CLIENTS}", "X", side, OrderType.LIMIT, 1, price))
    return engine


def measure(count: int) -> tuple[float, float, float]:
    """Return the pause of the market, the time until the snapshot is synced, and the time of a start from it, in seconds."""
    engine = resting(count)
    with TemporaryDirectory() as folder:
        store = SnapshotStore(Path(folder))
        began = time.perf_counter()
        writing = store.begin(1, lambda: Snapshot(1, 1, 1, state.take(engine)))
        pause = time.perf_counter() - began
        writing.finish()
        written = time.perf_counter() - began
        began = time.perf_counter()
        snapshot = store.newest()
        assert snapshot is not None
        state.restore(snapshot.state)
        return pause, written, time.perf_counter() - began


def main() -> None:
    """Run the benchmark and print its table."""
    options = harness.arguments(
        __doc__ or "", events=1_000_000, counted="resting orders of the second row, ten times those of the first"
    )
    still_ms: dict[str, float] = {}
    with harness.Report("snapshot", options) as report:
        table = report.table("resting orders:", "pause of the market:", "written and synced after:", "start from it in:")
        for count in (options.events // 10, options.events):
            pause, written, start_time = measure(count)
            table.add(f"{count:,}", f"{pause * 1000:.1f} ms", f"{written:.1f} s", f"{start_time:.1f} s")
            still_ms[str(count)] = pause * 1000
    report.finish({"still_ms": still_ms})


if __name__ == "__main__":
    main()
