"""The audit is clean on a market that trades or has traded, and it finds each change."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from exchange_launcher.audit import Check, Places, audit
from microexchange.databases import CLEARING_DATA, MARKET_DATA, database_url
from tests.integration.running import Running, eventually

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def places(postgres_url: str, module_namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """An exchange that was audited while it traded, and has stopped."""
    running = Running(None, postgres_url, module_namespace)
    try:
        running.start("--bots", "6")
        eventually(lambda: running.http.get(f"{running.feed}/stats").json()["trades"] > 20, 60, "bots trade")
        for _ in range(3):
            assert running.audit() == [], "the audit is clean while bots trade"
        running.kill("matching_engine")
        eventually(lambda: running.http.get(f"{running.engine}/health/ready").status_code == 200, 60)
        assert running.stop(signal.SIGTERM) == 0
        folder = tmp_path_factory.mktemp("audited")
        shutil.copytree(running.data / "engine", folder / "engine")
        yield Places(postgres_url, postgres_url, module_namespace, folder)
    finally:
        running.close()


async def failed(places: Places) -> list[Check]:
    return [check for check in await audit(places) if check.count]


async def test_the_audit_is_clean_from_a_snapshot_and_from_the_first_command(places: Places) -> None:
    assert await failed(places) == []
    whole = await audit(Places(places.database, places.log, places.namespace, places.data, whole=True))
    assert [check for check in whole if check.count] == []
    again = next(check for check in whole if check.name == "replay gives the same instructions")
    assert again.compared > 20, "every instruction since the beginning"


async def test_without_a_snapshot_the_audit_replays_all_commands(places: Places, tmp_path: Path) -> None:
    assert await failed(Places(places.database, places.log, places.namespace, tmp_path)) == []


LEDGER = [
    ("UPDATE accounts SET cash = cash + 1 WHERE client_id = '$fees'", {"cash is conserved", "each balance = its legs"}),
    (
        "UPDATE holdings SET quantity = quantity + 1 "
        "WHERE (client_id, symbol) = (SELECT client_id, symbol FROM holdings WHERE quantity > 0 ORDER BY 1, 2 LIMIT 1)",
        {"shares are conserved", "each holding = its legs"},
    ),
    ("UPDATE settlements SET buyer_fee = buyer_fee + 1 WHERE trade_id = 3", {"each balance = its legs"}),
    ("DELETE FROM settlements WHERE trade_id = 3", {"no sequence has a gap", "every trade is settled once"}),
    ("UPDATE settlements SET price = price + 1 WHERE trade_id = 3", {"every trade is settled once"}),
    ("UPDATE settlements SET status = 'REJECTED' WHERE trade_id = 3", {"every trade is settled once"}),
    (
        "UPDATE transfers SET cash = cash + 5 WHERE instruction = 1",
        {"each balance = its legs", "feed's balances = ledger", "engine's cash = ledger"},
    ),
]
FEED = [
    ("UPDATE clients SET cash = cash + 1", {"feed's balances = ledger"}),
    ("UPDATE holdings SET quantity = quantity + 1", {"feed's holdings = ledger"}),
    ("DELETE FROM trades WHERE trade_id = 3", {"no sequence has a gap", "every trade is settled once"}),
    ("DELETE FROM price_updates WHERE book_sequence = 3", {"no sequence has a gap"}),
    ("UPDATE levels SET quantity = quantity + 1", {"feed's books = engine"}),
    ("UPDATE securities SET state = 'halted'", {"feed's books = engine"}),
    ("DELETE FROM open_orders", {"feed's open orders = engine"}),
    ("UPDATE clients SET suspended = true", {"feed's open orders = engine"}),
    ("DELETE FROM settlement_reports WHERE instruction = 2", {"no sequence has a gap"}),
]
CHANGES = [*((CLEARING_DATA, *change) for change in LEDGER), *((MARKET_DATA, *change) for change in FEED)]


@pytest.mark.parametrize(("database", "change", "finds"), CHANGES, ids=lambda value: str(value)[:48])
async def test_the_audit_finds_each_changed_row(places: Places, database: str, change: str, finds: set[str]) -> None:
    url = database_url(places.database, places.namespace, database)
    with psycopg.connect(url, autocommit=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        for table in tables:
            connection.execute(f"CREATE TABLE kept_{table} AS TABLE {table}".encode())
        try:
            connection.execute(change.encode())
            found = await failed(places)
            assert finds <= {check.name for check in found}
            assert all(check.differences for check in found)
        finally:
            for table in tables:
                connection.execute(f"TRUNCATE {table}".encode())
                connection.execute(f"INSERT INTO {table} TABLE kept_{table}".encode())
                connection.execute(f"DROP TABLE kept_{table}".encode())
    assert await failed(places) == []


async def test_the_audit_finds_a_changed_engine_snapshot(places: Places, tmp_path: Path) -> None:
    from matching_engine.snapshots import SnapshotStore, read_snapshots

    snapshot = next(read_snapshots(places.data / "engine"))
    account = snapshot.state.accounts[0]
    account.cash += 1
    store = SnapshotStore(tmp_path / "engine")
    store.save(snapshot)
    store.close()
    found = await failed(Places(places.database, places.log, places.namespace, tmp_path))
    assert [check.name for check in found] == ["engine's cash = ledger"]
    assert found[0].differences[0].startswith(account.client_id)
