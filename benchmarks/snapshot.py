"""`./mx bench snapshot`: how long the market stands still for a snapshot, and how long a start from it takes."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import harness
from benchmarks.engine import CLIENTS, NOW, opening
from matching_engine import state
from matching_engine.engine import Engine
from matching_engine.snapshots import Snapshot, SnapshotStore
from microexchange.commands import NewOrder
from microexchange.enums import OrderType, Side
from microexchange.ids import IdSequence


def resting(count: int) -> Engine:
    """An engine with so many orders at rest."""
    ids, engine = IdSequence(0), Engine()
    for command in opening(ids):
        engine.apply(command)
    for number in range(count):
        is_buy, away = number % 2 == 0, 1 + number % 20_000
        side, price = (Side.BUY, 100_000 - away) if is_buy else (Side.SELL, 100_000 + away)
        engine.apply(NewOrder(ids.next(NOW), 1, f"c{number % CLIENTS}", "X", side, OrderType.LIMIT, 1, price))
    return engine


def measure(count: int) -> tuple[float, float, float]:
    """Seconds that the market stands still with so many orders, until the snapshot is synced, and of a start from it."""
    engine = resting(count)
    with TemporaryDirectory() as folder:
        store = SnapshotStore(Path(folder))
        began = time.perf_counter()
        writing = store.begin(1, lambda: Snapshot(1, 1, 1, state.take(engine)))
        still = time.perf_counter() - began
        writing.finish()
        written = time.perf_counter() - began
        began = time.perf_counter()
        snapshot = store.newest()
        assert snapshot is not None
        state.restore(snapshot.state)
        return still, written, time.perf_counter() - began


def main() -> None:
    """Measures, and prints a table."""
    options = harness.arguments(__doc__ or "", events=1_000_000, counted="orders rest, and before that a tenth of them")
    still_ms: dict[str, float] = {}
    with harness.Report("snapshot", options) as report:
        table = report.table("resting orders:", "the market stands still:", "written and synced after:", "back from it in:")
        for count in (options.events // 10, options.events):
            still, written, back = measure(count)
            table.add(f"{count:,}", f"{still * 1000:.1f} ms", f"{written:.1f} s", f"{back:.1f} s")
            still_ms[str(count)] = still * 1000
    report.finish({"still_ms": still_ms})


if __name__ == "__main__":
    main()
