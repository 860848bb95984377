"""The clearinghouse over a real Postgres: crashes, duplicates, gaps, and refusals of the database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from clearinghouse.service import ClearingService, ClearingSettings, ReplacedError
from microexchange.batches import VERSION, Batch, decode_batch, encode_batch
from microexchange.databases import CLEARING_DATA, database_url
from microexchange.enums import SettlementStatus, Side
from microexchange.instructions import Execution, Instruction, Transfer
from microexchange.log.memory import MemoryLog
from microexchange.records import DATA_FEED, ORDER_EXECUTION
from microexchange.reports import SettlementReport
from tests.integration.running import free_ports

OPENINGS: list[Instruction] = [Transfer(n, 1, client, 10_000, {"X": 5}) for n, client in enumerate("ab", 1)]


def trade(number: int, pays: int = 30) -> Execution:
    return Execution(number, 1, "X", 1, 10, Side.BUY, 11, "a", 12, "b", pays, pays, 1, 1)


def body(sequence: int, *instructions: Instruction, token: int = 1) -> bytes:
    return encode_batch(Batch(VERSION, "engine", token, sequence, 0, list(instructions)))


class Clearing:
    """A clearinghouse over one log and one database. It can be stopped and started several times."""

    def __init__(self, postgres_url: str, namespace: str, folder: Path) -> None:
        self.url = database_url(postgres_url, namespace, CLEARING_DATA)
        self.log = MemoryLog()
        self._arguments: dict[str, Any] = {
            "log_url": "memory:",
            "database_url": postgres_url,
            "namespace": namespace,
            "data_dir": folder,
        }
        self.service: ClearingService

    def begin(self) -> "asyncio.Task[None]":
        """Start a clearinghouse that runs until it fails."""
        (self.port,) = free_ports(1)
        self.service = ClearingService(ClearingSettings(**self._arguments, port=self.port))
        self.service._log = self.log
        return asyncio.create_task(self.service.run(asyncio.Event()))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[ClearingService]:
        """Run a clearinghouse that is killed at the end of the block."""
        task = self.begin()
        try:
            yield self.service
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def reports(self) -> list[SettlementReport]:
        """Return all settlement reports on `data_feed`, with repetitions."""
        return [r for batch in self.log._topics[DATA_FEED] for r in decode_batch(DATA_FEED, batch).records]

    async def until(self, check: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not check():
                await asyncio.sleep(0.01)

    async def query(self, statement: str) -> list[Any]:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            cursor = await connection.execute(statement.encode())
            return await cursor.fetchall() if cursor.description else []


@pytest.fixture
def clearing(postgres_url: str, postgres_namespace: str, tmp_path: Path) -> Clearing:
    return Clearing(postgres_url, postgres_namespace, tmp_path)


async def test_each_instruction_is_settled_and_reported_once(clearing: Clearing) -> None:
    await clearing.log.append(ORDER_EXECUTION, [body(1, *OPENINGS), body(3, trade(1), trade(2))])
    async with clearing.running():
        await clearing.until(lambda: len(clearing.reports()) == 4)
    assert [report.instruction for report in clearing.reports()] == [1, 2, 3, 4]
    assert await clearing.query("SELECT client_id, cash FROM accounts ORDER BY 1") == [
        ("$fees", 4), ("$issuer", -20_000), ("$spread", 0), ("a", 9938), ("b", 10_058),
    ]  # fmt: skip
    assert await clearing.query("SELECT buyer_cash, seller_cash FROM settlements ORDER BY 1") == [
        (9938, 10058),
        (9969, 10029),
    ]


async def test_instructions_soon_after_a_transaction_share_the_next_one(
    clearing: Clearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clearinghouse.service.PAUSE_SECONDS", 0.5)
    await clearing.log.append(ORDER_EXECUTION, [body(1, *OPENINGS)])
    async with clearing.running():
        await clearing.until(lambda: len(clearing.reports()) == 2)
        for number in range(1, 6):
            await clearing.log.append(ORDER_EXECUTION, [body(2 + number, trade(number))])
            await asyncio.sleep(0.01)
        await clearing.until(lambda: len(clearing.reports()) == 7)
    assert len(await clearing.query("SELECT DISTINCT xmin::text FROM settlements")) == 1


async def test_a_repeated_batch_is_settled_once(clearing: Clearing) -> None:
    first, second = body(1, *OPENINGS), body(3, trade(1))
    overlapping = body(2, OPENINGS[1], trade(1), trade(2))
    await clearing.log.append(ORDER_EXECUTION, [first, first, second, first, second, overlapping, overlapping])
    async with clearing.running():
        await clearing.until(lambda: len(clearing.reports()) == 4)
        await asyncio.sleep(0.1)
    assert await clearing.query("SELECT trade_id FROM settlements ORDER BY 1") == [(1,), (2,)]
    assert len(clearing.reports()) == 4


async def test_a_batch_after_a_gap_waits_for_the_missing_records(clearing: Clearing) -> None:
    await clearing.log.append(ORDER_EXECUTION, [body(1, *OPENINGS), body(4, trade(2))])
    async with clearing.running() as service:
        await clearing.until(lambda: "gap" in service._health.waiting_for)
        await clearing.log.append(ORDER_EXECUTION, [body(3, trade(1)), body(4, trade(2))])
        await clearing.until(lambda: len(clearing.reports()) == 4)
        assert "gap" not in service._health.waiting_for


async def test_late_instructions_of_a_replaced_engine_are_not_settled(clearing: Clearing) -> None:
    stale = body(3, trade(1, pays=999), token=1)
    await clearing.log.append(ORDER_EXECUTION, [body(1, *OPENINGS), body(3, token=2), stale, body(3, trade(1), token=2)])
    async with clearing.running():
        await clearing.until(lambda: len(clearing.reports()) == 3)
    assert await clearing.query("SELECT buyer_pays FROM settlements") == [(30,)]


async def test_reports_that_were_not_sent_before_a_crash_are_sent_after_it(clearing: Clearing) -> None:
    await clearing.log.append(ORDER_EXECUTION, [body(1, *OPENINGS), body(3, trade(1))])
    async with clearing.running() as service:
        # Appends to `data_feed` fail, so the instructions are settled and committed, but not reported.
        append = clearing.log.append

        async def refuse(topic: str, bodies: Any) -> None:
            if topic == DATA_FEED:
                await asyncio.Event().wait()
            await append(topic, bodies)

        clearing.log.append = refuse  # type: ignore[method-assign]
        await clearing.until(lambda: service._progress.offset == 2)
        await asyncio.sleep(0.2)
    assert clearing.reports() == []
    clearing.log.append = append  # type: ignore[method-assign]
    async with clearing.running():
        await clearing.until(lambda: len(clearing.reports()) == 3)
    first = clearing.reports()
    clearing.log._topics[DATA_FEED].clear()
    await clearing.query("UPDATE consumed SET reported = 0")
    async with clearing.running():
        await clearing.until(lambda: len(clearing.reports()) == 3)
    assert clearing.reports() == first, "the repeated reports are the same"


async def test_a_crash_at_any_point_settles_everything_once(clearing: Clearing) -> None:
    await clearing.log.append(ORDER_EXECUTION, [body(1, *OPENINGS)])
    for number in range(1, 41):
        await clearing.log.append(ORDER_EXECUTION, [body(number + 2, trade(number))])
    for pause in (0.005, 0.02, 0.035, 0.05, 0.065):
        async with clearing.running():
            await asyncio.sleep(pause)
    async with clearing.running():
        await clearing.until(lambda: clearing.reports() and max(r.instruction for r in clearing.reports()) == 42)
    by_number = {}
    for report in clearing.reports():
        assert by_number.setdefault(report.instruction, report) == report, "a repeated report is the same"
    assert sorted(by_number) == list(range(1, 43))
    assert await clearing.query("SELECT count(*), sum(buyer_pays)::int FROM settlements") == [(40, 1200)]
    assert await clearing.query("SELECT sum(cash)::int FROM accounts") == [(0,)]


async def test_an_instruction_that_cannot_settle_is_rejected_and_the_others_settle(clearing: Clearing) -> None:
    await clearing.log.append(ORDER_EXECUTION, [body(1, *OPENINGS), body(3, trade(1, pays=20_000), trade(2))])
    async with clearing.running():
        await clearing.until(lambda: len(clearing.reports()) == 4)
        metrics = await asyncio.to_thread(lambda: httpx.get(f"http://127.0.0.1:{clearing.port}/metrics").text)
    assert 'microexchange_settlements_total{status="REJECTED"}' in metrics
    rejected, settled = clearing.reports()[2:]
    assert (rejected.status, settled.status) == (SettlementStatus.REJECTED, SettlementStatus.SETTLED)
    assert await clearing.query("SELECT status, text FROM settlements WHERE trade_id = 1") == [
        ("REJECTED", "a lacks 10001 cash units")
    ]


async def test_the_constraints_of_the_database_reject_a_wrong_settlement(clearing: Clearing) -> None:
    await clearing.log.append(ORDER_EXECUTION, [body(1, *OPENINGS)])
    async with clearing.running():
        await clearing.until(lambda: len(clearing.reports()) == 2)
        # A change of the table outside of the clearinghouse makes the balances in its memory wrong.
        await clearing.query("UPDATE accounts SET cash = 7 WHERE client_id = 'a'")
        await clearing.log.append(ORDER_EXECUTION, [body(3, trade(1))])
        await clearing.until(lambda: len(clearing.reports()) == 3)
    assert clearing.reports()[2].status is SettlementStatus.REJECTED


async def test_lost_connections_to_the_database_lose_no_settlement(clearing: Clearing) -> None:
    await clearing.log.append(ORDER_EXECUTION, [body(1, *OPENINGS)])
    async with clearing.running():
        await clearing.until(lambda: len(clearing.reports()) == 2)
        for number in range(1, 21):
            await clearing.log.append(ORDER_EXECUTION, [body(number + 2, trade(number))])
            if number % 7 == 0:
                await clearing.query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'microexchange clearinghouse' AND datname = current_database()"
                )
        await clearing.until(lambda: len(clearing.reports()) == 22)
    assert [report.instruction for report in clearing.reports()] == list(range(1, 23))


async def test_a_second_clearinghouse_stands_by_until_the_first_ends(clearing: Clearing) -> None:
    await clearing.log.append(ORDER_EXECUTION, [body(1, *OPENINGS)])
    async with contextlib.AsyncExitStack() as first:
        await first.enter_async_context(clearing.running())
        await clearing.until(lambda: len(clearing.reports()) == 2)
        async with clearing.running() as second:
            await clearing.until(lambda: "this one waits" in second._health.waiting_for.get("database", ""))
            await first.aclose()
            await clearing.log.append(ORDER_EXECUTION, [body(3, trade(1))])
            await clearing.until(lambda: [r.instruction for r in clearing.reports()][-1] == 3)


async def test_a_replaced_clearinghouse_ends_with_an_error(clearing: Clearing) -> None:
    await clearing.log.append(ORDER_EXECUTION, [body(1, *OPENINGS)])
    async with contextlib.AsyncExitStack() as other:
        first = clearing.begin()
        await clearing.until(lambda: len(clearing.reports()) == 2)
        second = await other.enter_async_context(clearing.running())
        await clearing.until(lambda: "this one waits" in second._health.waiting_for.get("database", ""))
        # The first clearinghouse loses its connection, and the second gets the lock before the first reconnects.
        while "database" in second._health.waiting_for:
            await clearing.query(
                "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid) "
                "WHERE locktype = 'advisory' AND granted AND datname = current_database() "
                "AND application_name = 'microexchange clearinghouse'"
            )
            await asyncio.sleep(0.3)
        await other.aclose()
        await clearing.log.append(ORDER_EXECUTION, [body(3, trade(1))])
        with pytest.raises(BaseExceptionGroup) as raised:
            await asyncio.wait_for(first, 20)
        assert raised.group_contains(ReplacedError)


async def test_a_record_of_a_newer_version_stalls_the_clearinghouse_and_is_named(clearing: Clearing) -> None:
    newer = msgspec.msgpack.encode([VERSION, "engine", 1, 3, 0, [["Dividend", 1, 2]]])
    await clearing.log.append(ORDER_EXECUTION, [body(1, *OPENINGS), newer])
    async with clearing.running() as service:
        await clearing.until(lambda: ORDER_EXECUTION in service._health.waiting_for)
        assert "Dividend" in service._health.waiting_for[ORDER_EXECUTION]
        # The instructions before it are settled.
        await clearing.until(lambda: len(clearing.reports()) == 2)


async def test_a_body_that_is_not_a_batch_is_skipped(clearing: Clearing) -> None:
    await clearing.log.append(ORDER_EXECUTION, [b"garbage", body(1, *OPENINGS), b"\xc1", body(3, trade(1))])
    async with clearing.running():
        await clearing.until(lambda: len(clearing.reports()) == 3)
