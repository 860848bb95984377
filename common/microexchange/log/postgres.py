"""The log in Postgres: the table `log` of the database `exchange_log`.

The database's own function `append` (see the migration) holds an advisory lock on the topic to the end of its
transaction, so that a reader never sees an offset before all smaller ones are there; and notifies the readers.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import psycopg
import structlog

from microexchange.databases import CONNECTION_LOST, EXCHANGE_LOG, connect, database_url
from microexchange.log.protocol import Backoff, Entry, LogUnavailableError

_logger = structlog.get_logger(__name__)


class PostgresLog:
    """A `Log` in a Postgres table."""

    MOST = 256
    """Bodies in one batch of `read`."""
    IDLE = 5.0
    """Seconds after which a reader looks again without having been notified."""

    def __init__(self, server_url: str, namespace: str = "", patience: float = 1.0) -> None:
        self._url = database_url(server_url, namespace, EXCHANGE_LOG)
        self._patience = patience
        self._appenders: dict[str, psycopg.AsyncConnection] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def _connect(self) -> psycopg.AsyncConnection:
        return await connect(self._url, "log")

    async def append(self, topic: str, bodies: Sequence[bytes]) -> None:
        """See `Log.append`."""
        backoff = Backoff(self._patience)
        maybe_written = False
        async with self._locks.setdefault(topic, asyncio.Lock()):
            while True:
                try:
                    connection = self._appenders.get(topic)
                    if connection is None:
                        connection = self._appenders[topic] = await self._connect()
                    maybe_written = True
                    await connection.execute("SELECT append(%s, %b)", (topic, list(bodies)))
                    return
                except CONNECTION_LOST as error:
                    await self._drop_appender(topic)
                    if backoff.exhausted:
                        raise LogUnavailableError(self._url, _first_line(error), maybe_written=maybe_written) from error
                except asyncio.CancelledError:
                    # The statement may still run: its answer must not be taken for the next one's.
                    await self._drop_appender(topic)
                    raise
                await backoff.wait()

    async def _drop_appender(self, topic: str) -> None:
        connection = self._appenders.pop(topic, None)
        if connection is not None:
            await connection.close()

    async def read(self, topic: str, from_offset: int) -> AsyncGenerator[list[Entry], None]:
        """See `Log.read`."""
        offset = from_offset
        backoff = Backoff()
        while True:
            try:
                async with await self._connect() as connection:
                    # LISTEN comes before the first look, so that nothing falls between the two.
                    await connection.execute(f'LISTEN "{topic}"')
                    backoff = Backoff()
                    while True:
                        cursor = await connection.execute(
                            'SELECT "offset", body FROM log WHERE topic = %s AND "offset" >= %s ORDER BY "offset" LIMIT %s',
                            (topic, offset, self.MOST),
                            binary=True,
                        )
                        entries: list[Entry] = await cursor.fetchall()
                        if entries:
                            yield entries
                            offset = entries[-1][0] + 1
                        else:
                            async for _ in connection.notifies(timeout=self.IDLE, stop_after=1):
                                pass
            except CONNECTION_LOST as error:
                if backoff.delay == Backoff.FIRST:
                    _logger.warning("log reader lost its connection", topic=topic, offset=offset, cause=_first_line(error))
            await backoff.wait()

    async def tail(self, topic: str) -> int:
        """See `Log.tail`."""
        try:
            async with await self._connect() as connection:
                cursor = await connection.execute(
                    'SELECT coalesce(max("offset") + 1, 0) FROM log WHERE topic = %s', (topic,)
                )
                row = await cursor.fetchone()
        except CONNECTION_LOST as error:
            raise LogUnavailableError(self._url, _first_line(error)) from error
        assert row is not None  # noqa: S101 - an aggregate has a row
        return int(row[0])

    async def close(self) -> None:
        """See `Log.close`."""
        for topic in list(self._appenders):
            await self._drop_appender(topic)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
