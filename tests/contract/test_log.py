"""The contract of the log, tested against all three implementations."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from exchange_db.migrate import migrate
from microexchange.databases import EXCHANGE_LOG, database_url
from microexchange.log import Log, LogUnavailableError, open_log
from microexchange.log.memory import MemoryLog
from microexchange.records import ORDER_ENTRY, ORDER_EXECUTION
from tests.conftest import Proxy, drop_databases, new_namespace

pytestmark = pytest.mark.asyncio
TOPIC, OTHER = ORDER_ENTRY, ORDER_EXECUTION


class LogUnderTest:
    """An implementation of the log behind a connection that the test can break."""

    def __init__(self, url: str, namespace: str, proxy: Proxy | None) -> None:
        self._url = url
        self._namespace = namespace
        self._memory = MemoryLog() if proxy is None else None
        self.proxy = proxy
        self._opened: list[Log] = []

    def open(self, patience: float = 5.0) -> Log:
        log = self._memory or open_log(self._url, self._namespace, patience)
        self._opened.append(log)
        return log

    async def cut(self) -> None:
        if self._memory is not None:
            self._memory.cut()
        elif self.proxy is not None:
            await self.proxy.cut()

    async def mend(self) -> None:
        if self._memory is not None:
            self._memory.mend()
        elif self.proxy is not None:
            await self.proxy.mend()

    async def close(self) -> None:
        for log in self._opened:
            await log.close()


PARAMS = ["memory", *(pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("postgres", "rabbitmq"))]


@pytest.fixture(params=PARAMS)
async def log_under_test(request: pytest.FixtureRequest) -> AsyncIterator[LogUnderTest]:
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    if request.param == "memory":
        yield LogUnderTest("memory:", "", None)
        return
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        namespace = new_namespace()
        await asyncio.to_thread(migrate, url, namespace, [EXCHANGE_LOG])
        parts = urlsplit(url)
        socket = parse_qs(parts.query).get("host")
        target = f"{socket[0]}/.s.PGSQL.5432" if socket else (parts.hostname or "", parts.port or 5432)
        proxy = Proxy(target)
        await proxy.mend()
        credentials = f"{parts.netloc.rpartition('@')[0]}@"
        log_under_test = LogUnderTest(f"postgresql://{credentials}127.0.0.1:{proxy.port}", namespace, proxy)
        yield log_under_test
        await log_under_test.close()
        await proxy.cut()
        await asyncio.to_thread(drop_databases, url, namespace)
        return
    url = request.getfixturevalue("amqp_url")
    namespace = request.getfixturevalue("rabbitmq_namespace")
    parts = urlsplit(url)
    proxy = Proxy((parts.hostname or "", parts.port or 5672))
    await proxy.mend()
    credentials = parts.netloc.rpartition("@")[0]
    log_under_test = LogUnderTest(f"amqp://{credentials}@127.0.0.1:{proxy.port}{parts.path}", namespace, proxy)
    yield log_under_test
    await log_under_test.close()
    await proxy.cut()


async def take(
    log: Log, count: int, from_offset: int = 0, topic: str = TOPIC, seconds: float = 60
) -> list[tuple[int, bytes]]:
    """Return the next `count` entries."""
    taken: list[tuple[int, bytes]] = []
    async with asyncio.timeout(seconds):
        async with contextlib.aclosing(log.read(topic, from_offset)) as batches:  # type: ignore[type-var]
            async for entries in batches:
                taken += entries
                if len(taken) >= count:
                    break
    return taken[:count]


def bodies(numbers: Iterable[int], name: str = "") -> list[bytes]:
    return [f"{name}{number}".encode() for number in numbers]


async def test_appended_bodies_are_read_in_order_at_offsets_from_0(log_under_test: LogUnderTest) -> None:
    log = log_under_test.open()
    await log.append(TOPIC, bodies(range(5)))
    await log.append(TOPIC, bodies(range(5, 9)))
    assert await take(log, 9) == list(enumerate(bodies(range(9))))


async def test_each_topic_has_its_own_offsets(log_under_test: LogUnderTest) -> None:
    log = log_under_test.open()
    await log.append(TOPIC, [b"here"])
    await log.append(OTHER, [b"there"])
    assert await take(log, 1, topic=TOPIC) == [(0, b"here")]
    assert await take(log, 1, topic=OTHER) == [(0, b"there")]


async def test_the_order_of_each_concurrent_appender_is_preserved(log_under_test: LogUnderTest) -> None:
    async def append(name: str) -> None:
        log = log_under_test.open()
        for number in range(40):
            await log.append(TOPIC, bodies([2 * number, 2 * number + 1], name))

    names = ["a", "b", "c", "d"]
    await asyncio.gather(*(append(name) for name in names))
    read = await take(log_under_test.open(), 80 * len(names))
    assert [offset for offset, _ in read] == list(range(80 * len(names)))
    for name in names:
        assert [body for _, body in read if body.startswith(name.encode())] == bodies(range(80), name)


async def test_a_reader_can_begin_at_any_offset(log_under_test: LogUnderTest) -> None:
    log = log_under_test.open()
    await log.append(TOPIC, bodies(range(300)))
    for offset in (0, 1, 137, 299):
        assert (await take(log, 1, offset))[0] == (offset, str(offset).encode())


async def test_a_reader_at_the_end_waits_for_new_bodies(log_under_test: LogUnderTest) -> None:
    log = log_under_test.open()
    await log.append(TOPIC, bodies(range(3)))
    waiting = asyncio.create_task(take(log, 2, 3))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await log_under_test.open().append(TOPIC, bodies(range(3, 5)))
    assert await waiting == [(3, b"3"), (4, b"4")]


async def test_two_readers_receive_the_same_bodies(log_under_test: LogUnderTest) -> None:
    log = log_under_test.open()
    first, second = (asyncio.create_task(take(log_under_test.open(), 200)) for _ in range(2))
    for number in range(0, 200, 10):
        await log.append(TOPIC, bodies(range(number, number + 10)))
    assert await first == await second == list(enumerate(bodies(range(200))))


async def test_reading_does_not_remove_bodies(log_under_test: LogUnderTest) -> None:
    log = log_under_test.open()
    await log.append(TOPIC, bodies(range(20)))
    assert await take(log, 20) == await take(log, 20)


async def test_the_tail_is_the_offset_of_the_next_body(log_under_test: LogUnderTest) -> None:
    log = log_under_test.open()
    assert await log.tail(TOPIC) == 0
    await log.append(TOPIC, bodies(range(1000)))
    assert await log.tail(TOPIC) == 1000
    await log.append(TOPIC, [b"another"])
    assert await log.tail(TOPIC) == 1001


async def test_the_tail_can_be_read_during_continuous_appends(log_under_test: LogUnderTest) -> None:
    log, busy = log_under_test.open(), log_under_test.open()
    appended = 0

    async def append() -> None:
        nonlocal appended
        while True:
            await busy.append(TOPIC, [b"more"])
            appended += 1
            await asyncio.sleep(0.005)

    writing = asyncio.create_task(append())
    try:
        while appended < 20:
            assert not writing.done(), writing.exception()
            await asyncio.sleep(0.01)
        before = appended
        async with asyncio.timeout(15):
            tail = await log.tail(TOPIC)
        assert before <= tail <= appended + 1
    finally:
        writing.cancel()


async def test_a_body_of_a_megabyte_is_read_unchanged(log_under_test: LogUnderTest) -> None:
    log = log_under_test.open()
    body = bytes(range(256)) * 4096
    await log.append(TOPIC, [body, b"after"])
    assert await take(log, 2) == [(0, body), (1, b"after")]


async def test_fifty_thousand_bodies_are_read_in_order(log_under_test: LogUnderTest) -> None:
    log = log_under_test.open(patience=60)
    reading = asyncio.create_task(take(log_under_test.open(), 50_000, seconds=120))
    for start in range(0, 50_000, 1000):
        await log.append(TOPIC, bodies(range(start, start + 1000)))
    assert await reading == list(enumerate(bodies(range(50_000))))


async def test_an_append_returns_only_when_it_is_confirmed(log_under_test: LogUnderTest) -> None:
    if log_under_test.proxy is None:
        pytest.skip("the memory log has no connection")
    log = log_under_test.open(patience=30)
    await log.append(TOPIC, [b"first"])
    log_under_test.proxy.stall()
    appending = asyncio.create_task(log.append(TOPIC, [b"second"]))
    await asyncio.sleep(0.5)
    assert not appending.done()
    log_under_test.proxy.flow()
    await asyncio.wait_for(appending, 10)
    assert (await take(log, 2))[1][1] == b"second"


async def test_a_broken_connection_loses_no_body_and_a_reader_receives_each_offset_once(
    log_under_test: LogUnderTest,
) -> None:
    total = 300

    async def append() -> None:
        log = log_under_test.open(patience=0.2)
        for number in range(total):
            while True:
                try:
                    await log.append(TOPIC, bodies([number]))
                    break
                except LogUnavailableError:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.002)

    seen: list[tuple[int, int]] = []

    async def read() -> None:
        async for entries in log_under_test.open().read(TOPIC, 0):
            seen.extend((offset, int(body)) for offset, body in entries)
            if seen[-1][1] == total - 1:
                return

    appending, reading = asyncio.create_task(append()), asyncio.create_task(read())
    for _ in range(3):
        await asyncio.sleep(0.2)
        await log_under_test.cut()
        await asyncio.sleep(0.2)
        await log_under_test.mend()
    await asyncio.wait_for(asyncio.gather(appending, reading), 60)

    assert [offset for offset, _ in seen] == list(range(len(seen)))
    numbers = [number for _, number in seen]
    assert list(dict.fromkeys(numbers)) == list(range(total)), "a body is missing or out of order"
    repeated = len(numbers) - total
    assert repeated <= 3, "only bodies that were in transit at a cut may be in the log twice"


async def test_an_unavailable_log_raises_an_error_until_it_returns(log_under_test: LogUnderTest) -> None:
    log = log_under_test.open(patience=1.0)
    await log.append(TOPIC, [b"before"])
    await log_under_test.cut()
    with pytest.raises(LogUnavailableError) as error:
        await log.append(TOPIC, [b"refused"])
    assert "unavailable" in str(error.value)
    assert "guest" not in str(error.value), "an error must not show a password"
    with pytest.raises(LogUnavailableError):
        await log.tail(TOPIC)
    await log_under_test.mend()
    await log.append(TOPIC, [b"after"])
    assert (await take(log, 2))[-1] == (1, b"after")


async def test_the_pause_between_connection_attempts_grows(log_under_test: LogUnderTest) -> None:
    if log_under_test.proxy is None:
        pytest.skip("the memory log does not connect")
    # The target of this proxy does not exist, so each attempt reaches the proxy and fails.
    dead = Proxy("/nowhere")
    await log_under_test.proxy.cut()
    dead.port = log_under_test.proxy.port
    await dead.mend()
    log = log_under_test.open(patience=1.5)
    with pytest.raises(LogUnavailableError):
        await log.append(TOPIC, [b"x"])
    await dead.cut()
    assert 2 <= dead.connections <= 8, "pauses of 50 ms that double allow a few attempts in 1.5 seconds"


async def test_postgres_shows_a_body_only_after_its_commit(postgres_url: str, postgres_namespace: str) -> None:
    log = open_log(postgres_url, postgres_namespace)
    await log.append(TOPIC, [b"committed"])
    url = database_url(postgres_url, postgres_namespace, EXCHANGE_LOG)
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT append(%s, %b)", (TOPIC, [b"never"]))
        behind = asyncio.create_task(log.append(TOPIC, [b"behind"]))
        await asyncio.sleep(0.3)
        assert await log.tail(TOPIC) == 1
        assert not behind.done(), "a later append waits, so that offsets become visible in order"
        await connection.rollback()
    await behind
    assert await take(log, 2) == [(0, b"committed"), (1, b"behind")]
    await log.close()
