"""The end of a child process on an event loop."""

import asyncio
import contextlib
from asyncio.subprocess import Process

EXIT_TIMEOUT_SECONDS = 10.0
"""The longest wait for a killed process to exit."""


async def reap(process: Process) -> None:
    """Close the pipes of a process that ends or was killed, and wait until it has exited.

    A pipe stays open if nobody has read its data, or if a child of the process still has its other end. While a pipe is
    open, `wait` does not return. If the event loop ends first, Python prints `RuntimeError: Event loop is closed` when it
    collects the pipe.
    """
    process._transport.close()  # type: ignore[attr-defined]  # asyncio has no public name for it
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), EXIT_TIMEOUT_SECONDS)
