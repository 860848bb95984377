"""Tests of snapshots: the state of the engine as data, and the files that store it."""

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest

from matching_engine import state
from matching_engine.engine import Engine
from matching_engine.snapshots import FolderInUseError, Snapshot, SnapshotStore, read_engines
from microexchange.commands import TimeTick
from microexchange.enums import OrderType, TimeInForce
from microexchange.reports import OrderReport, TradingStateChanged
from tests.unit.market import Floor, events_of
from tests.unit.test_order_types import Pit


def busy_floor() -> Floor:
    floor = Floor()
    for price in (1000, 1001, 1001, 1003):
        floor.sell("a", 3, price, f"s{len(floor.log)}")
    for price in (990, 991, 991):
        floor.buy("b", 3, price)
    floor.buy("c", 4, 1001)
    floor.suspend("c")
    return floor


def test_a_restored_engine_is_in_the_same_state() -> None:
    taken = state.take(busy_floor().engine)
    assert state.take(state.restore(taken)) == taken


def test_later_commands_do_not_change_a_snapshot() -> None:
    floor = busy_floor()
    taken = state.take(floor.engine)
    before = msgspec.msgpack.encode(taken)
    floor.buy("b", 2, 1003)
    floor.apply(floor.log[1])
    assert msgspec.msgpack.encode(taken) == before


def test_a_restored_engine_emits_the_same_events_as_the_original() -> None:
    floor = busy_floor()
    other = state.restore(state.take(floor.engine))
    for _, events in (floor.buy("b", 20, 1003), (0, floor.suspend("b")), floor.sell("a", 1, 980)):
        assert events
    for command, first in zip(floor.log[-3:], replayed(floor), strict=True):
        assert events_of(other.apply(command)) == first
    assert state.take(other) == state.take(floor.engine)


def replayed(floor: Floor) -> list[list[Any]]:
    """Return the events of the last three commands after a replay of all earlier commands."""
    engine = Engine()
    return [events_of(engine.apply(command)) for command in floor.log][-3:]


def snapshot(offset: int, engine: Engine | None = None) -> Snapshot:
    return Snapshot(offset, 5, 7, state.take(engine or Engine()))


def test_the_newest_snapshot_is_loaded(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    floor = busy_floor()
    store.save(snapshot(9))
    store.save(snapshot(10, floor.engine))
    assert store.newest() == snapshot(10, floor.engine)


def test_a_folder_without_snapshots_has_none(tmp_path: Path) -> None:
    assert SnapshotStore(tmp_path).newest() is None


def test_the_last_three_snapshots_are_kept(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    for offset in range(8, 13):
        store.save(snapshot(offset))
    assert sorted(int(path.stem.split("-")[1]) for path in tmp_path.glob("snapshot-*")) == [10, 11, 12]


@pytest.mark.parametrize("damage", ["truncated", "a flipped bit", "empty", "of another version"])
def test_a_damaged_snapshot_is_skipped_and_the_previous_one_is_loaded(tmp_path: Path, damage: str) -> None:
    store = SnapshotStore(tmp_path)
    store.save(snapshot(1))
    store.save(snapshot(2, busy_floor().engine))
    newest = max(tmp_path.glob("snapshot-*"))
    content = bytearray(newest.read_bytes())
    if damage == "truncated":
        content = content[:-9]
    elif damage == "a flipped bit":
        content[-20] ^= 4
    elif damage == "empty":
        content = bytearray()
    else:
        content[:14] = b"microexchange2"
    newest.write_bytes(content)
    assert store.newest() == snapshot(1)


def test_a_snapshot_with_an_impossible_state_is_skipped_and_the_previous_one_is_restored(tmp_path: Path) -> None:
    store, good, bad = SnapshotStore(tmp_path), snapshot(1), snapshot(2, busy_floor().engine)
    store.save(good)
    bad.state.accounts.clear()
    store.save(bad)
    ((found, engine),) = read_engines(tmp_path)
    assert found == good
    assert state.take(engine) == good.state


def test_an_incomplete_write_does_not_affect_the_stored_snapshots(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    store.save(snapshot(1))
    (tmp_path / "snapshot-00000000000000000002.new").write_bytes(b"half")
    assert store.newest() == snapshot(1)


def test_the_fencing_token_grows_with_each_start(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    first, second = store.next_fencing_token(), store.next_fencing_token()
    assert first < second


def test_two_engines_cannot_use_the_same_folder(tmp_path: Path) -> None:
    first = SnapshotStore(tmp_path)
    with pytest.raises(FolderInUseError):
        SnapshotStore(tmp_path)
    first.close()
    SnapshotStore(tmp_path).close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_without_write_permission_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="ermission"):
        SnapshotStore(tmp_path / "engine")


def test_a_snapshot_has_the_state_of_its_start_and_appears_when_it_is_finished(tmp_path: Path) -> None:
    store, floor = SnapshotStore(tmp_path), busy_floor()
    before = state.take(floor.engine)
    writing = store.begin(7, lambda: Snapshot(7, 1, 1, state.take(floor.engine)))
    floor.buy("b", 20, 1003)
    assert store.newest() is None
    writing.finish()
    newest = store.newest()
    assert newest is not None
    assert newest.state == before != state.take(floor.engine)


def test_an_abandoned_snapshot_leaves_no_file(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    store.begin(7, lambda: snapshot(7)).abandon()
    assert store.newest() is None
    assert not list(tmp_path.glob("*.new"))


def test_a_failed_write_of_a_snapshot_is_an_error_and_keeps_the_previous_snapshot(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    store.save(snapshot(1))

    def full() -> Snapshot:
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(OSError, match="No space left on device"):
        store.begin(2, full).finish()
    with pytest.raises(OSError, match="its writer ended"):
        store.begin(3, lambda: 1 / 0).finish()  # type: ignore[arg-type, return-value]
    assert store.newest() == snapshot(1)


def test_a_snapshot_that_cannot_get_its_name_leaves_no_file_and_keeps_the_previous_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SnapshotStore(tmp_path)
    store.save(snapshot(1))
    writing = store.begin(2, lambda: snapshot(2))

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        writing.finish()
    assert not list(tmp_path.glob("*.new"))
    assert store.newest() == snapshot(1)


def test_a_restored_engine_has_the_same_orders_of_every_order_type() -> None:
    pit = Pit(band_bps=1000, auction_seconds=5, short_limit=3, position_limit=500)
    pit.order("d", "buy", 5, 990, display_quantity=2, time_in_force=TimeInForce.GTD, expire_at=10**15)
    pit.order("d", "sell", 5, 1200, post_only=True, client_order_id="mine")
    pit.order("e", "sell", 2, order_type=OrderType.STOP_MARKET, trigger_price=900, time_in_force=TimeInForce.DAY)
    pit.order("e", "buy", 2, 1100, order_type=OrderType.STOP_LIMIT, trigger_price=1050)
    pit.order("f", "sell", 1, 1101)
    pit.order("d", "buy", 1, 1150)
    assert pit.engine.markets["Y"].ends_at, "an auction is in progress"
    taken = state.take(pit.engine)
    other = state.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(taken), type=state.EngineState))
    assert state.take(other) == taken
    later = TimeTick(pit.id(), 2 * 10**15)
    events = events_of(pit.engine.apply(later))
    assert {type(event) for event in events} >= {OrderReport, TradingStateChanged}
    assert events_of(other.apply(later)) == events
