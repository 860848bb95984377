"""The log in RabbitMQ during the broker's disk alarm. The test has its own broker, since an alarm blocks every client."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from microexchange.log import Log, LogUnavailableError, open_log
from microexchange.records import ORDER_ENTRY
from tests import servers
from tests.contract.test_log import take

pytestmark = [pytest.mark.asyncio, pytest.mark.rabbitmq]


@pytest.fixture
def broker() -> Iterator[str]:
    """The URL of a new broker."""
    if not (shutil.which("rabbitmq-server") and shutil.which("rabbitmqctl")):
        pytest.skip("the alarm needs a broker of its own: install rabbitmq-server")
    with servers.started_broker() as url:
        yield url


def set_disk_limit(url: str, limit: str) -> None:
    """Set the free space below which the broker has its alarm."""
    port = url.rpartition(":")[2].partition("/")[0]
    subprocess.run(["rabbitmqctl", "-q", "-n", f"test{port}@localhost", "set_disk_free_limit", limit], check=True)


async def refusal(log: Log, body: bytes) -> LogUnavailableError:
    """Return the error of an append."""
    with pytest.raises(LogUnavailableError, match="the broker takes no messages: low on disk") as refused:
        async with asyncio.timeout(5):
            await log.append(ORDER_ENTRY, [body])
    return refused.value


async def test_appends_fail_at_once_during_the_alarm_and_work_again_after_it(broker: str) -> None:
    log = open_log(broker)
    await log.append(ORDER_ENTRY, [b"before"])
    await asyncio.to_thread(set_disk_limit, broker, "1000000GB")
    # The broker sends its reason when the connection publishes. That body is stored after the alarm, and possibly twice.
    assert (await refusal(log, b"first")).maybe_written
    assert not (await refusal(log, b"second")).maybe_written
    await asyncio.to_thread(set_disk_limit, broker, "1MB")

    async def append_after_the_alarm() -> None:
        while True:
            try:
                return await log.append(ORDER_ENTRY, [b"after"])
            except LogUnavailableError:
                await asyncio.sleep(0.05)

    async with asyncio.timeout(30):
        await append_after_the_alarm()
    assert [body for _, body in await take(log, 3)] == [b"before", b"first", b"after"]
    await log.close()
