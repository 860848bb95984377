"""`./mx bench snapshot`: how long the market stands still for a snapshot, and how long a start from it takes."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import harness
from benchmarks.engine import CLIENTS, NOW, opening
from matching_engine import state
from matching_engine.engine import Engine
from matching_engine.snapshots import Snapshot, SnapshotStore
from microexchange.ids import IdSequence
from microexchange.messages import NewOrder, OrderType, Side


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


def main() -> None:
    """Measures, and prints a table."""
    options = harness.arguments(__doc__ or "", events=1_000_000)
    rows = []
    for count in (options.events // 10, options.events):
        engine = resting(count)
        with TemporaryDirectory() as folder:
            store = SnapshotStore(Path(folder))
            began = time.perf_counter()
            writing = store.begin(1, lambda engine=engine: Snapshot(1, 1, 1, state.take(engine)))
            still = time.perf_counter() - began
            writing.finish()
            written = time.perf_counter() - began
            began = time.perf_counter()
            snapshot = store.newest()
            assert snapshot is not None
            state.restore(snapshot.state)
            back = time.perf_counter() - began
        rows.append((count, still * 1000, written, back))
    text = "\n".join(
        [
            "| resting orders | the market stands still | written and synced after | back from it in |",
            "| ---: | ---: | ---: | ---: |",
            *(f"| {count:,} | {still:.1f} ms | {written:.1f} s | {back:.1f} s |" for count, still, written, back in rows),
        ]
    )
    print(text)
    if options.write:
        harness.write_section("snapshot", text)
    harness.finish(options, "snapshot", {"still_ms": {str(count): still for count, still, *_ in rows}})


if __name__ == "__main__":
    main()
