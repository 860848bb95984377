"""The outbox of a service: it appends records to the log in batches, until the log confirms them.

The outbox appends all waiting records at once as one body (smart batching). Records that arrive during an append wait for
the next one. There is no timer. One append runs at a time, so the records of a producer are in the order of their numbers.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog

from microexchange.batches import VERSION, Batch, encode_batch
from microexchange.health import Health
from microexchange.log import Backoff, Log, LogUnavailableError
from microexchange.records import Record

_logger = structlog.get_logger(__name__)

OnOutcome = Callable[[LogUnavailableError | None], None]
"""A callback for the outcome of records: None if they are durable, the error if they are certainly not on the log."""
_Put = tuple[Sequence[Record], OnOutcome | None]
"""Records that share a body, and the callback for their outcome."""


class Outbox:
    """The records of one producer that wait to be appended to one topic. Their numbers have no gap.

    The records of one `put` share one body, so readers receive all of them or none.
    """

    MAX_RECORDS = 4096
    """The number of records from which a body takes no more."""
    MAX_WAITING = 65536
    """The number of waiting records above which `room` waits."""

    def __init__(
        self, log: Log, topic: str, producer: str, fencing_token: int, health: Health, next_sequence: int = 1
    ) -> None:
        self._log = log
        self._health = health
        self._topic = topic
        self._producer = producer
        self._fencing_token = fencing_token
        self._waiting: deque[_Put] = deque()
        self._waiting_records = 0
        self._wake = asyncio.Event()
        self._confirmed_up_to = asyncio.Condition()
        self.next_sequence = next_sequence
        """The number of the next record to be put."""
        self.confirmed = next_sequence
        """The number of the first record that is not confirmed yet."""
        self.available = True
        """Whether the last append succeeded."""
        self.cause = (0, 0)
        """The `cause` of the next batches."""
        self.announce = False
        """Whether to append an empty batch first, so that readers receive the new fencing token."""

    def put(self, records: Sequence[Record], then: OnOutcome | None = None) -> None:
        """Queue `records` to be appended together.

        With a callback `then`, the outbox drops the records if the log fails before they are sent, and passes
        `LogUnavailableError` to the callback. Records that may have been sent are sent again until the log confirms them.
        """
        if records:
            self._waiting.append((records, then))
            self._waiting_records += len(records)
            self.next_sequence += len(records)
            self._wake.set()

    def put_confirmed(self, records: Sequence[Record]) -> "asyncio.Future[None]":
        """Queue `records` as `put` does. The future ends when they are durable, or with `LogUnavailableError`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def then(error: LogUnavailableError | None) -> None:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)

        self.put(records, then)
        return future

    async def room(self) -> None:
        """Wait until at most `MAX_WAITING` records wait."""
        if self._waiting_records > self.MAX_WAITING:
            async with self._confirmed_up_to:
                await self._confirmed_up_to.wait_for(lambda: self._waiting_records <= self.MAX_WAITING)

    async def flushed(self) -> None:
        """Wait until all records that were put before the call are durable."""
        sequence = self.next_sequence
        async with self._confirmed_up_to:
            await self._confirmed_up_to.wait_for(lambda: self.confirmed >= sequence)

    async def run(self) -> None:
        """Append the records that are put, without end. The service runs it as a task."""
        if self.announce:
            await self._append([])
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                puts: list[_Put] = []
                records = 0
                while self._waiting and records < self.MAX_RECORDS:
                    puts.append(self._waiting.popleft())
                    records += len(puts[-1][0])
                await self._append(puts)

    async def _append(self, puts: list[_Put]) -> None:
        """Append the records of `puts` as one body, and try again until the log confirms it."""
        backoff = Backoff()
        maybe_written = False
        while True:
            records = [record for put, _ in puts for record in put]
            stamp = time.time_ns()
            batch: Batch[Any] = Batch(
                VERSION, self._producer, self._fencing_token, self.confirmed, stamp, records, self.cause
            )
            try:
                # If all records were dropped, an empty batch checks whether the log is available again.
                await self._log.append(self._topic, [encode_batch(batch)])
                break
            except LogUnavailableError as error:
                if self.available:
                    _logger.error("log unavailable", topic=self._topic, cause=str(error))
                self.available = False
                self._health.wait(self._topic, str(error))
                self._waiting = deque(self._withdraw(self._waiting, error))
                maybe_written = maybe_written or error.maybe_written
                if not maybe_written:
                    puts = self._withdraw(puts, error)
            await backoff.wait()
        if not self.available:
            _logger.info("log available again", topic=self._topic)
            self._health.clear(self._topic)
        self.available = True
        self._waiting_records -= len(records)
        for _, then in puts:
            if then is not None:
                then(None)
        async with self._confirmed_up_to:
            self.confirmed += len(records)
            self._confirmed_up_to.notify_all()

    def _withdraw(self, puts: Iterable[_Put], error: LogUnavailableError) -> list[_Put]:
        """Drop the puts that have a callback, and return the others. Their numbers are used again, so there is no gap."""
        kept: list[_Put] = []
        for records, then in puts:
            if then is None:
                kept.append((records, then))
            else:
                self.next_sequence -= len(records)
                self._waiting_records -= len(records)
                then(error)
        return kept
