"""`python -m trading_bots.competition.contestant`: one contestant's bot, in a process of its own that may do little else.

What it is told comes as JSON on standard input. It says that it is alive on standard output, a byte at a time; who started
it ends it when it falls silent, grows, works too much, or has children. It may not start another process at all.
"""

import asyncio
import contextlib
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from trading_bots.competition.loading import LoadError, contestant_bot, make_bot
from trading_bots.live import LiveVenue

BEAT = 0.2
"""Seconds between two signs of life."""
MEGABYTE = 1 << 20
EXIT_NO_BOT, EXIT_FORBIDDEN = 64, 77
_STARTS_PROCESSES = (
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.exec",
    "os.system",
    "os.spawn",
    "subprocess.Popen",
    "pty.spawn",
)


class Orders(msgspec.Struct):
    """What the process is told."""

    name: str
    key: str
    gateway_url: str
    feed_url: str
    seed: str
    folder: str
    file: str = ""
    strategy: str = ""
    memory_megabytes: int = 512
    processor_seconds: int = 60
    output: str = ""
    """The file for what the bot prints."""


def confine(orders: Orders) -> None:
    """Limits what this process can take, for good."""
    # The limits of the system are the last resort, and generous: who started us sees it first and can say why.
    for kind, most in (
        (resource.RLIMIT_AS, (2 * orders.memory_megabytes + 1024) * MEGABYTE),
        (resource.RLIMIT_CPU, orders.processor_seconds + 5),
        (resource.RLIMIT_FSIZE, 16 * MEGABYTE),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    sys.addaudithook(forbid)


def forbid(event: str, _: tuple[Any, ...]) -> None:
    """Ends the process when the bot starts another."""
    if event in _STARTS_PROCESSES:
        print(f"a contestant may not start processes: {event}", file=sys.stderr, flush=True)
        os._exit(EXIT_FORBIDDEN)


def until_orphaned() -> None:
    """Ends the process when who started it is gone: its end of standard input closes."""
    if not os.read(0, 1):
        os._exit(0)


async def play(orders: Orders) -> None:
    """Runs the bot until SIGTERM."""
    pipe = _own_output(orders)
    bot = make_bot(contestant_bot(orders.file, orders.strategy, Path(orders.folder)), orders.seed)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(0, until_orphaned)
    beating = asyncio.create_task(_beat(pipe))
    try:
        venue = LiveVenue(bot, orders.name, orders.key, orders.gateway_url, orders.feed_url, cancel_on_disconnect=True)
        await venue.run(stop)
    finally:
        beating.cancel()


def _own_output(orders: Orders) -> int:
    """Gives the bot a file to print into. Returns the pipe, which was standard output, for the signs of life: what a bot
    prints is none."""
    pipe = os.dup(1)
    Path(orders.output or os.devnull).parent.mkdir(parents=True, exist_ok=True)
    file = os.open(orders.output or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.close(file)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return pipe


async def _beat(pipe: int) -> None:
    while True:
        with contextlib.suppress(BlockingIOError):
            os.write(pipe, b".")
        await asyncio.sleep(BEAT)


def main() -> None:
    """Runs the contestant that standard input describes."""
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    confine(orders)
    try:
        asyncio.run(play(orders))
    except LoadError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_NO_BOT)


if __name__ == "__main__":
    main()
