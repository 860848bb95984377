"""Two engines on one log: readers ignore the records of the older one, and it stops itself."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from matching_engine.service import EngineService, EngineSettings
from microexchange.batches import VERSION, Batch, decode_batch, encode_batch
from microexchange.commands import ListSecurity, OpenAccount
from microexchange.log import open_log
from microexchange.producer_cursors import ProducerCursors
from microexchange.records import DATA_FEED, ORDER_ENTRY, ORDER_EXECUTION, Record
from microexchange.service import ConfigurationError
from tests.integration.running import free_ports


def engine(url: str, namespace: str, folder: Path) -> EngineService:
    return EngineService(
        EngineSettings(log_url=url, database_url=url, namespace=namespace, data_dir=folder, port=free_ports(1)[0])
    )


async def test_a_replaced_engine_stops_itself_and_its_late_records_are_ignored(
    postgres_url: str, postgres_namespace: str, tmp_path: Path
) -> None:
    log = open_log(postgres_url, postgres_namespace)
    commands: list[Record] = [ListSecurity(1 << 10, 1, "X", "X", "0.01", "1", 100)]
    commands += [OpenAccount(number << 10, 1, f"c{number}", 1000, {"X": 5}) for number in range(2, 12)]
    await log.append(ORDER_ENTRY, [encode_batch(Batch(VERSION, "gateway-0", 1, 1, 0, commands))])

    replaced = engine(postgres_url, postgres_namespace, tmp_path / "a")
    replaced_task = asyncio.create_task(replaced.run(asyncio.Event()))
    while await log.tail(ORDER_EXECUTION) < 2:
        await asyncio.sleep(0.05)
    new = engine(postgres_url, postgres_namespace, tmp_path / "b")
    new_task = asyncio.create_task(new.run(asyncio.Event()))
    with pytest.raises((ConfigurationError, BaseExceptionGroup)) as raised:
        await asyncio.wait_for(replaced_task, 30)
    assert raised.group_contains(ConfigurationError) if isinstance(raised.value, BaseExceptionGroup) else True

    # Both engines have read the same commands and written their events. A reader takes each record once.
    more: list[Record] = [OpenAccount(12 << 10, 1, "c12", 1000, {"X": 5})]
    await log.append(ORDER_ENTRY, [encode_batch(Batch(VERSION, "gateway-0", 1, 12, 0, more))])
    for topic, wanted in ((ORDER_EXECUTION, 11), (DATA_FEED, 12)):
        cursors, taken, seen = ProducerCursors(), [], 0
        async with asyncio.timeout(20), contextlib.aclosing(log.read(topic, 0)) as batches:
            async for entries in batches:
                for _, body in entries:
                    batch = decode_batch(topic, body)
                    seen += len(batch.records)
                    taken += cursors.take(batch)
                if len(taken) >= wanted:
                    break
        assert len(taken) == wanted
        assert seen > wanted, "the new engine also writes the records that the replaced one has written"
    new_task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await new_task
    await log.close()
