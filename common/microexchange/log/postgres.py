"""The log in Postgres: the table `log` of the database `exchange_log`.

The SQL function `append` (see the migration) notifies the readers. It holds an advisory lock on the topic until the end of
its transaction. So a reader never reads an offset before all smaller ones are visible.
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

    MAX_READ_BODIES = 256
    """Bodies in one batch of `read`."""
    POLL_SECONDS = 5.0
    """A reader that receives no notification reads again after this time."""

    def __init__(self, server_url: str, namespace: str = "", retry_seconds: float = 1.0) -> None:
        self._url = database_url(server_url, namespace, EXCHANGE_LOG)
        self._retry_seconds = retry_seconds
        self._appenders: dict[str, psycopg.AsyncConnection] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def _connect(self) -> psycopg.AsyncConnection:
        return await connect(self._url, "log")

    async def append(self, topic: str, bodies: Sequence[bytes]) -> None:
        """See `Log.append`."""
        backoff = Backoff(self._retry_seconds)
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
                    # The statement may still run. The next statement must not receive its answer.
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
                    # LISTEN comes before the first SELECT, so that no body is missed between the two.
                    await connection.execute(f'LISTEN "{topic}"')
                    backoff = Backoff()
                    while True:
                        cursor = await connection.execute(
                            'SELECT "offset", body FROM log WHERE topic = %s AND "offset" >= %s ORDER BY "offset" LIMIT %s',
                            (topic, offset, self.MAX_READ_BODIES),
                            binary=True,
                        )
                        entries: list[Entry] = await cursor.fetchall()
                        if entries:
                            yield entries
                            offset = entries[-1][0] + 1
                        else:
                            async for _ in connection.notifies(timeout=self.POLL_SECONDS, stop_after=1):
                                pass
            except CONNECTION_LOST as error:
                if backoff.delay_seconds == Backoff.MIN_SECONDS:
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
