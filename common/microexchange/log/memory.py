"""The log in memory, for unit tests and the deterministic simulation. It ends with the process."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence

from microexchange.log.protocol import Entry, LogUnavailableError


class MemoryLog:
    """A `Log` in lists. Tests make it unavailable with `cut()` and available again with `mend()`."""

    MAX_READ_BODIES = 256
    """Bodies in one batch of `read`."""

    def __init__(self) -> None:
        self._topics: dict[str, list[bytes]] = defaultdict(list)
        self._grown: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._mended = asyncio.Event()
        self._mended.set()

    def cut(self) -> None:
        """Make the log unavailable. Appends raise at once, readers wait."""
        self._mended.clear()

    def mend(self) -> None:
        """Make the log available again."""
        self._mended.set()

    async def append(self, topic: str, bodies: Sequence[bytes]) -> None:
        """See `Log.append`."""
        if not self._mended.is_set():
            raise LogUnavailableError("memory:", "it was cut")
        self._topics[topic].extend(bodies)
        self._grown.pop(topic, asyncio.Event()).set()
        await asyncio.sleep(0)

    async def read(self, topic: str, from_offset: int) -> AsyncGenerator[list[Entry], None]:
        """See `Log.read`."""
        bodies, offset = self._topics[topic], from_offset
        while True:
            await self._mended.wait()
            if offset < len(bodies):
                taken = bodies[offset : offset + self.MAX_READ_BODIES]
                yield list(enumerate(taken, offset))
                offset += len(taken)
            else:
                await self._grown[topic].wait()

    async def tail(self, topic: str) -> int:
        """See `Log.tail`."""
        if not self._mended.is_set():
            raise LogUnavailableError("memory:", "it was cut")
        return len(self._topics[topic])

    async def close(self) -> None:
        """See `Log.close`."""
