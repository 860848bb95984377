"""The end of a child process, on an event loop."""

import asyncio
import contextlib
from asyncio.subprocess import Process

GONE_SECONDS = 10.0
"""How long a process that was killed may take to go."""


async def let_go(process: Process) -> None:
    """Closes the pipes of a process that ends or was killed, and waits until it is gone.

    A pipe stays open where nobody has read what the process wrote, and where a child of the process still has its other end.
    While one is open, `wait` does not return; and once the event loop has ended, the pipe complains as it is collected:
    `RuntimeError: Event loop is closed`.
    """
    process._transport.close()  # type: ignore[attr-defined]  # asyncio has no other name for it
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), GONE_SECONDS)
