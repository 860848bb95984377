"""A writer that repeats the records on a log."""

import asyncio
import contextlib
import random
import threading

from microexchange.batches import Batch, decode_batch, encode_batch
from microexchange.log import LogUnavailableError, open_log
from microexchange.records import TOPICS


class Doubler:
    """Appends every body of the log again, or its last part."""

    def __init__(self, log: str, namespace: str, seed: int) -> None:
        self._arguments = (log, namespace, seed)
        self._stop = threading.Event()
        self.records = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._double(topic)) for topic in TOPICS]
        while not self._stop.is_set():
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _double(self, topic: str) -> None:
        url, namespace, seed = self._arguments
        rng, log = random.Random(seed), open_log(url, namespace)
        copies: set[bytes] = set()
        try:
            while True:
                with contextlib.suppress(LogUnavailableError):
                    offset = await log.tail(topic)
                    break
            async for entries in log.read(topic, offset):
                for _, body in entries:
                    if body in copies:
                        copies.discard(body)
                        continue
                    batch = decode_batch(topic, body)
                    cut = rng.randrange(len(batch.records)) if batch.records and rng.random() < 0.5 else 0
                    rest = batch.records[cut:]
                    part = Batch(
                        batch.version, batch.producer, batch.fencing_token, batch.sequence + cut, batch.stamp + 1, rest
                    )
                    copy = encode_batch(part)
                    copies.add(copy)
                    with contextlib.suppress(LogUnavailableError):
                        await log.append(topic, [copy])
                        self.records += len(batch.records)
        finally:
            await log.close()
