"""The interface of a log, and the parts that its implementations share."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from microexchange.databases import without_secrets

Entry = tuple[int, bytes]
"""An offset and the body at it."""


class LogUnavailableError(ConnectionError):
    """The log cannot be reached, or did not confirm in time.

    If `maybe_written` is false, the append has sent nothing. If it is true, the bodies may be on the log. A second append
    may then write them twice. Readers ignore duplicates by their sequence numbers.
    """

    def __init__(self, url: str, cause: object, *, maybe_written: bool = False) -> None:
        super().__init__(f"the log at {without_secrets(url)} is unavailable: {cause}")
        self.maybe_written = maybe_written


class Log(Protocol):
    """Ordered, durable topics."""

    async def append(self, topic: str, bodies: Sequence[bytes]) -> None:
        """Append `bodies` in order. Return when all of them are durable.

        Successive calls keep their order. A failed append is repeated with a back-off for the log's `retry_seconds`. After a
        lost connection, a body may be on the log twice.

        Raises:
            LogUnavailableError: The log did not confirm in time.
        """
        ...

    def read(self, topic: str, from_offset: int) -> AsyncGenerator[list[Entry], None]:
        """Yield batches of the entries of `topic` from `from_offset`, in order. Wait at the end of the topic.

        Offsets have no gap. After a lost connection it reconnects with a back-off, without a limit of time, and continues at
        the next offset.
        """
        ...

    async def tail(self, topic: str) -> int:
        """Return the offset of the next body of `topic`.

        Raises:
            LogUnavailableError: The log cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Backoff:
    """A delay that doubles after each failure, from 50 ms to 2 s."""

    MIN_SECONDS, MAX_SECONDS = 0.05, 2.0

    def __init__(self, retry_seconds: float | None = None) -> None:
        self._retry_seconds = retry_seconds
        self._started_at = asyncio.get_running_loop().time()
        self.delay_seconds = self.MIN_SECONDS

    @property
    def exhausted(self) -> bool:
        """Return whether the next attempt would be after the limit of time. Always false without a limit."""
        if self._retry_seconds is None:
            return False
        return asyncio.get_running_loop().time() + self.delay_seconds - self._started_at > self._retry_seconds

    async def wait(self) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(self.delay_seconds)
        self.delay_seconds = min(self.delay_seconds * 2, self.MAX_SECONDS)


def open_log(url: str, namespace: str = "", retry_seconds: float = 1.0) -> Log:
    """Return the log at `url`: `amqp://…`, `postgresql://…` (the server of the database `exchange_log`) or `memory:`.

    It connects on first use. `namespace` is a prefix of every name on the server, so several markets can share one server.
    An append is repeated for `retry_seconds`.

    Raises:
        ValueError: The scheme of `url` is another one.
    """
    scheme = url.split(":", 1)[0]
    if scheme in ("amqp", "amqps"):
        from microexchange.log.rabbitmq import RabbitLog

        return RabbitLog(url, namespace, retry_seconds)
    if scheme in ("postgresql", "postgres"):
        from microexchange.log.postgres import PostgresLog

        return PostgresLog(url, namespace, retry_seconds)
    if scheme == "memory":
        from microexchange.log.memory import MemoryLog

        return MemoryLog()
    raise ValueError(f"a log cannot have the scheme {scheme!r}: use amqp://, postgresql:// or memory:")
