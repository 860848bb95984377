"""The writing end of a service: records in, confirmed batches on the log.

Smart batching: what waits is appended at once as one body; what comes meanwhile is the next. Nothing waits on a timer.
One append is under way at a time, so the records of one producer stand on the log in the order of their numbers.
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
"""Hears what became of records: None once they are durable, the error if they are certainly not on the log."""
_Put = tuple[Sequence[Record], OnOutcome | None]
"""Records that share a body, and who waits for their outcome."""


class Outbox:
    """Appends records of one producer to one topic, numbered without a gap.

    The records of one `put` share one body, so a reader sees all of them or none.
    """

    MAX_RECORDS = 4096
    """Records after which a body takes no more puts."""
    MAX_WAITING = 65536
    """Records that may wait before `room` holds the producer back."""

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
        """Whether the last append went well."""
        self.cause = (0, 0)
        """What the batches carry as their cause."""
        self.announce = False
        """Whether to append an empty batch first, which tells readers of the new fencing token."""

    def put(self, records: Sequence[Record], then: OnOutcome | None = None) -> None:
        """Queues `records` to be appended together.

        With a `then`, they are withdrawn if the log fails before they were sent, and it hears `LogUnavailableError`: then
        they are certainly not on the log. Once they may have been sent, they are sent again until the log confirms them.
        """
        if records:
            self._waiting.append((records, then))
            self._waiting_records += len(records)
            self.next_sequence += len(records)
            self._wake.set()

    def put_confirmed(self, records: Sequence[Record]) -> "asyncio.Future[None]":
        """Queues `records`; the future is done when they are durable, and fails with `LogUnavailableError` as `put` says."""
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
        """Waits while too much waits to be appended."""
        if self._waiting_records > self.MAX_WAITING:
            async with self._confirmed_up_to:
                await self._confirmed_up_to.wait_for(lambda: self._waiting_records <= self.MAX_WAITING)

    async def flushed(self) -> None:
        """Waits until all that was put before the call is durable."""
        sequence = self.next_sequence
        async with self._confirmed_up_to:
            await self._confirmed_up_to.wait_for(lambda: self.confirmed >= sequence)

    async def run(self) -> None:
        """Appends what is put, for ever. The service runs it as a task."""
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
        """Appends the records of `puts` as one body, trying until it is confirmed."""
        backoff = Backoff()
        maybe_written = False
        while True:
            records = [record for put, _ in puts for record in put]
            stamp = time.time_ns()
            batch: Batch[Any] = Batch(
                VERSION, self._producer, self._fencing_token, self.confirmed, stamp, records, self.cause
            )
            try:
                # Where all was given back, an empty batch finds out whether the log is there again.
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
        """Gives back the puts that somebody waits for; returns the others. Numbers stay without a gap."""
        kept: list[_Put] = []
        for records, then in puts:
            if then is None:
                kept.append((records, then))
            else:
                self.next_sequence -= len(records)
                self._waiting_records -= len(records)
                then(error)
        return kept
