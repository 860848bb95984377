"""What a log promises, and what its implementations share."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from microexchange.databases import without_secrets

Entry = tuple[int, bytes]
"""An offset and the body at it."""


class LogUnavailableError(ConnectionError):
    """The log cannot be reached, or did not confirm in time.

    Where `maybe_written` is false, nothing of the append that raised it was sent. Where it is true, its bodies may or may
    not be on the log: who appends again may write them twice, and readers tell the second by its numbers.
    """

    def __init__(self, url: str, cause: object, *, maybe_written: bool = False) -> None:
        super().__init__(f"the log at {without_secrets(url)} is unavailable: {cause}")
        self.maybe_written = maybe_written


class Log(Protocol):
    """Ordered, durable topics."""

    async def append(self, topic: str, bodies: Sequence[bytes]) -> None:
        """Appends `bodies` in order, and returns when all of them are durable.

        The bodies of one call follow each other in order; two calls, one after the other, keep their order too. Retries
        with a back-off for the log's patience, then raises `LogUnavailableError`. After a lost connection a body may be
        on the log twice.
        """
        ...

    def read(self, topic: str, from_offset: int) -> AsyncGenerator[list[Entry], None]:
        """All entries of `topic` from `from_offset` on, in order, in batches, for ever: waits where the topic ends.

        Offsets are contiguous. Survives a lost connection: it reconnects, with a back-off and for as long as it takes,
        and goes on at the next offset.
        """
        ...

    async def tail(self, topic: str) -> int:
        """The offset that the next body of `topic` will have. Raises `LogUnavailableError`."""
        ...

    async def close(self) -> None:
        """Closes all connections."""
        ...


class Backoff:
    """Waits longer after each failure: 50 ms, doubling up to 2 s."""

    FIRST, MOST = 0.05, 2.0

    def __init__(self, patience: float | None = None) -> None:
        self._patience = patience
        self._began = asyncio.get_running_loop().time()
        self.delay = self.FIRST

    @property
    def exhausted(self) -> bool:
        """Whether the patience would be over before another try. Never, where there is no limit."""
        if self._patience is None:
            return False
        return asyncio.get_running_loop().time() + self.delay - self._began > self._patience

    async def wait(self) -> None:
        """Waits before the next try."""
        await asyncio.sleep(self.delay)
        self.delay = min(self.delay * 2, self.MOST)


def open_log(url: str, namespace: str = "", patience: float = 1.0) -> Log:
    """The log that `url` names: `amqp://…`, `postgresql://…` (a server: its database `exchange_log`) or `memory:`.

    Connects on first use. `namespace` is put before every name on the server, so that several markets share one.
    `patience` is how many seconds an append goes on trying.
    """
    scheme = url.split(":", 1)[0]
    if scheme in ("amqp", "amqps"):
        from microexchange.log.rabbitmq import RabbitLog

        return RabbitLog(url, namespace, patience)
    if scheme in ("postgresql", "postgres"):
        from microexchange.log.postgres import PostgresLog

        return PostgresLog(url, namespace, patience)
    if scheme == "memory":
        from microexchange.log.memory import MemoryLog

        return MemoryLog()
    raise ValueError(f"no log of scheme {scheme!r}: use amqp://, postgresql:// or memory:")
