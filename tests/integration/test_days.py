"""Tables that grow with the market are partitioned by day. Old days are deleted, and open orders stay."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from exchange_db.days import BY_DAY, DAY_NS, day_of, make_partition, partition
from market_data_feed.store import Store
from microexchange.databases import MARKET_DATA, connect, database_url
from tests.integration.running import Running, eventually

pytestmark = pytest.mark.slow
AGE_DAYS = 30
"""The age of the old rows in days."""


def make_old(url: str) -> None:
    """Move all stored rows `AGE_DAYS` days into the past."""
    with psycopg.connect(url) as connection:
        for table, column in BY_DAY.items():
            days = connection.execute(f"SELECT DISTINCT {column} / {DAY_NS} FROM {table}".encode()).fetchall()
            for (day,) in days:
                for statement in make_partition(table, day - AGE_DAYS):
                    connection.execute(statement.encode())
            connection.execute(f"UPDATE {table} SET {column} = {column} - {AGE_DAYS * DAY_NS}".encode())


def rows_of(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        counted = {name: connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchone() for name in BY_DAY}
        return {name: row[0] for name, row in counted.items() if row}


@pytest.fixture(scope="module")
def aged(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """A running exchange that keeps a week. It traded a month ago and has an open order from then."""
    running = Running(None, postgres_url, module_namespace)
    running.start("--bots", "0")
    seller, buyer = running.open_account("seller"), running.open_account("buyer")
    for _ in range(3):
        running.order(seller, symbol="AAPL", side="sell", quantity=1, price="100.00")
        running.order(buyer, symbol="AAPL", side="buy", quantity=1, price="100.00")
    running.order(seller, symbol="AAPL", side="sell", quantity=5, price="103.00", client_order_id="stands")
    running.until_at_rest()
    assert running.stop() == 0
    url = database_url(postgres_url, module_namespace, MARKET_DATA)
    make_old(url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MX_HISTORY_DAYS", "7")
        running.start("--bots", "0")
    running.buyer, running.url = running.open_account("another"), url  # type: ignore[attr-defined]
    eventually(lambda: rows_of(url)["trades"] == 0, 30, "old trades are deleted")
    yield running
    running.close()


def test_old_days_are_deleted_except_for_reports_of_open_orders(aged: Running) -> None:
    with psycopg.connect(aged.url) as connection:  # type: ignore[attr-defined]
        found = connection.execute("SELECT tableoid::regclass::text, client_order_id, leaves_quantity FROM order_reports")
        reports = found.fetchall()
        days = connection.execute("SELECT DISTINCT table_name FROM retired").fetchall()
    assert [(name, lots) for _, name, lots in reports] == [("stands", 5)]
    assert {name for (name,) in days} >= set(BY_DAY) - {"equity"}, "equity is sampled later"


def test_an_old_resting_order_still_trades_and_the_audit_is_clean(aged: Running) -> None:
    assert aged.audit(whole=True) == []
    aged.order(aged.buyer, symbol="AAPL", side="buy", quantity=2, price="103.00")  # type: ignore[attr-defined]
    aged.until_at_rest()
    assert rows_of(aged.url)["trades"] == 1  # type: ignore[attr-defined]
    assert aged.audit(whole=True) == []


def test_the_audit_finds_missing_rows_that_retention_did_not_delete(aged: Running) -> None:
    with psycopg.connect(aged.url, autocommit=True) as connection:  # type: ignore[attr-defined]
        connection.execute("UPDATE retired SET rows = rows - 1 WHERE table_name = 'price_updates'")
        try:
            assert any("book of AAPL" in difference for difference in aged.audit())
        finally:
            connection.execute("UPDATE retired SET rows = rows + 1 WHERE table_name = 'price_updates'")
    assert aged.audit() == []


async def test_a_day_is_kept_until_its_reader_ends(postgres_url: str, postgres_namespace: str) -> None:
    url = database_url(postgres_url, postgres_namespace, MARKET_DATA)
    with psycopg.connect(url) as reader:
        for statement in make_partition("trades", 100):
            reader.execute(statement.encode())
        reader.execute(f"INSERT INTO trades VALUES (1, {100 * DAY_NS}, 'X', 1, 1, 'buy', 1, 2, 0, 0)".encode())
        reader.commit()
        reader.execute("SELECT count(*) FROM trades")
        async with await connect(url, "test") as connection:
            store = Store(connection)
            assert await store.lock()
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await store.retire(101)
            reader.rollback()
            assert await store.retire(100) == 0, "the given day itself is kept"
            assert await store.retire(101) == 1
        assert reader.execute("SELECT count(*) FROM trades").fetchone() == (0,)
        assert reader.execute("SELECT rows FROM retired").fetchone() == (1,)


async def test_readers_are_never_refused_while_days_are_deleted(postgres_url: str, postgres_namespace: str) -> None:
    url = database_url(postgres_url, postgres_namespace, MARKET_DATA)
    days = 40
    with psycopg.connect(url) as connection:
        for day in range(100, 100 + days):
            for statement in make_partition("trades", day):
                connection.execute(statement.encode())
            connection.execute(f"INSERT INTO trades VALUES ({day}, {day * DAY_NS}, 'X', 1, 1, 'buy', 1, 2, 0, 0)".encode())
    done = threading.Event()

    def read() -> int:
        count = 0
        with psycopg.connect(url, autocommit=True) as reader:
            while not done.is_set():
                reader.execute("SELECT count(*) FROM trades")
                count += 1
        return count

    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(read) for _ in range(4)]
        try:
            async with await connect(url, "test") as connection:
                store = Store(connection)
                assert await store.lock()
                assert await store.retire(100 + days) == days
        finally:
            done.set()
        assert all(reader.result() > 0 for reader in readers)


def test_a_partition_is_named_after_its_day() -> None:
    assert day_of(partition("order_reports", 20_500)) == 20_500
