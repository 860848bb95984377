"""Tests of the outbox: batches, sequence numbers, confirmations, and an unavailable log."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from microexchange.batches import Batch, decode_batch
from microexchange.health import Health
from microexchange.log import LogUnavailableError
from microexchange.log.memory import MemoryLog
from microexchange.outbox import Outbox
from microexchange.records import DATA_FEED
from microexchange.reports import ClientSuspended


def record(number: int) -> ClientSuspended:
    return ClientSuspended(number, 0, "a", "")


class SlowLog(MemoryLog):
    """A memory log whose appends wait until the test opens the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.uncertain = False
        """True if a failed append may have been written."""
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, topic: str, bodies: Sequence[bytes]) -> None:
        await self.gate.wait()
        try:
            await super().append(topic, bodies)
        except LogUnavailableError as error:
            error.maybe_written = self.uncertain
            raise

    def batches(self) -> list[Batch[ClientSuspended]]:
        return [decode_batch(DATA_FEED, body) for body in self._topics[DATA_FEED]]


@contextlib.asynccontextmanager
async def running(log: SlowLog, first: int = 1) -> AsyncIterator[Outbox]:
    outbox = Outbox(log, DATA_FEED, "engine", 4, Health(), first)
    task = asyncio.create_task(outbox.run())
    yield outbox
    task.cancel()


async def test_a_record_is_sent_at_once_if_no_append_is_in_progress() -> None:
    log = SlowLog()
    async with running(log) as outbox:
        outbox.put([record(1)])
        await asyncio.wait_for(outbox.flushed(), 5)
    (batch,) = log.batches()
    assert (batch.producer, batch.fencing_token, batch.sequence, batch.records) == ("engine", 4, 1, [record(1)])


async def test_records_that_arrive_during_an_append_are_sent_in_one_batch() -> None:
    log = SlowLog()
    log.gate.clear()
    async with running(log) as outbox:
        for number in range(1, 6):
            outbox.put([record(number)])
            await asyncio.sleep(0.01)
        log.gate.set()
        await asyncio.wait_for(outbox.flushed(), 5)
    assert [[r.command_id for r in batch.records] for batch in log.batches()] == [[1], [2, 3, 4, 5]]
    assert [batch.sequence for batch in log.batches()] == [1, 2]


async def test_the_records_of_one_put_are_in_one_batch() -> None:
    log = SlowLog()
    async with running(log) as outbox:
        big = [record(number) for number in range(Outbox.MAX_RECORDS - 1)]
        for _ in range(3):
            outbox.put(big)
            outbox.put([record(-1), record(-2)])
        await asyncio.wait_for(outbox.flushed(), 10)
    for batch in log.batches():
        ids = [r.command_id for r in batch.records]
        assert ids.count(-1) == ids.count(-2)
    assert next(batch.sequence for batch in log.batches()) == 1
    assert sum(len(batch.records) for batch in log.batches()) == outbox.next_sequence - 1


async def test_the_sequence_continues_from_the_last_record_of_the_producer() -> None:
    log = SlowLog()
    async with running(log, first=100) as outbox:
        outbox.put([record(1), record(2)])
        await outbox.flushed()
        assert (outbox.next_sequence, outbox.confirmed) == (102, 102)
    assert log.batches()[0].sequence == 100


async def test_a_log_that_returns_receives_all_records_in_order() -> None:
    log = SlowLog()
    async with running(log) as outbox:
        log.cut()
        for number in range(3):
            outbox.put([record(number)])
        await asyncio.sleep(0.2)
        assert not outbox.available
        log.mend()
        await asyncio.wait_for(outbox.flushed(), 10)
        assert outbox.available
    assert [r.command_id for batch in log.batches() for r in batch.records] == [0, 1, 2]


async def test_a_confirmed_put_completes_when_its_records_are_durable() -> None:
    log = SlowLog()
    log.gate.clear()
    async with running(log) as outbox:
        confirmed = outbox.put_confirmed([record(1)])
        await asyncio.sleep(0.05)
        assert not confirmed.done()
        log.gate.set()
        await asyncio.wait_for(confirmed, 5)


async def test_unsent_records_are_withdrawn_when_the_log_fails_and_possibly_sent_records_are_not() -> None:
    log = SlowLog()
    log.uncertain = True
    async with running(log) as outbox:
        log.gate.clear()
        sent = outbox.put_confirmed([record(1)])
        await asyncio.sleep(0.02)
        unsent = outbox.put_confirmed([record(2)])
        log.cut()
        log.gate.set()
        with pytest.raises(LogUnavailableError):
            await asyncio.wait_for(unsent, 5)
        assert not sent.done()
        log.mend()
        await asyncio.wait_for(sent, 10)
        after = outbox.put_confirmed([record(3)])
        await asyncio.wait_for(after, 5)
    assert [(batch.sequence, [r.command_id for r in batch.records]) for batch in log.batches()] == [(1, [1]), (2, [3])]


async def test_a_confirmed_put_is_withdrawn_when_the_log_fails_and_an_unconfirmed_put_is_sent_later() -> None:
    log = SlowLog()
    async with running(log) as outbox:
        log.gate.clear()
        outbox.put([record(0)])
        await asyncio.sleep(0.02)
        log.gate.set()
        await outbox.flushed()
        log.cut()
        refused = outbox.put_confirmed([record(1)])
        outbox.put([record(2)])
        with pytest.raises(LogUnavailableError):
            await asyncio.wait_for(refused, 5)
        log.mend()
        await asyncio.wait_for(outbox.flushed(), 10)
        assert outbox.next_sequence == outbox.confirmed == 3
    assert [(batch.sequence, [r.command_id for r in batch.records]) for batch in log.batches()] == [(1, [0]), (2, [2])]


async def test_an_announcement_is_an_empty_batch_with_the_fencing_token() -> None:
    log = SlowLog()
    outbox = Outbox(log, DATA_FEED, "engine", 9, Health(), 50)
    outbox.announce = True
    task = asyncio.create_task(outbox.run())
    await asyncio.sleep(0.05)
    task.cancel()
    (batch,) = log.batches()
    assert (batch.fencing_token, batch.sequence, batch.records) == (9, 50, [])


async def test_a_producer_waits_if_too_many_records_are_unsent() -> None:
    log = SlowLog()
    log.gate.clear()
    async with running(log) as outbox:
        outbox.put([record(0)])
        await asyncio.sleep(0.02)
        outbox.put([record(1)] * (Outbox.MAX_WAITING + 1))
        waiting = asyncio.create_task(outbox.room())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        log.gate.set()
        await asyncio.wait_for(waiting, 20)


async def test_an_outbox_without_records_detects_that_the_log_has_returned() -> None:
    log, health = SlowLog(), Health()
    outbox = Outbox(log, DATA_FEED, "gateway-0", 1, health)
    task = asyncio.create_task(outbox.run())
    log.cut()
    with pytest.raises(LogUnavailableError):
        await asyncio.wait_for(outbox.put_confirmed([record(1)]), 5)
    await asyncio.sleep(0.2)
    assert not outbox.available
    assert DATA_FEED in health.waiting_for
    log.mend()
    async with asyncio.timeout(10):
        while not outbox.available:
            await asyncio.sleep(0.01)
    assert not health.waiting_for
    await asyncio.wait_for(outbox.put_confirmed([record(2)]), 5)
    task.cancel()
    assert [r.command_id for batch in log.batches() for r in batch.records] == [2]
