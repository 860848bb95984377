"""`python -m trading_bots.competition.contestant`: the bot of one contestant, in a process with limited resources.

The process reads its task as JSON from standard input. It writes a byte to standard output at each heartbeat. `compete`
ends the process if heartbeats stop, or if it uses too much memory or processor time, or has child processes. The process
itself cannot start other processes.
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
from trading_bots.competition.own_limits import EXIT_NOT_RESTRICTED, restrict_itself, set_limits
from trading_bots.connections import Endpoint
from trading_bots.live import LiveVenue

HEARTBEAT_INTERVAL_SECONDS = 0.2
"""The time between two heartbeats."""
MEGABYTE = 1 << 20
MAX_DESCRIPTORS = 128
"""Open files and sockets. The buffers of sockets are memory of the kernel, which no other limit counts."""
EXIT_NO_BOT, EXIT_FORBIDDEN = 64, 77
MAX_THREADS = 64
"""Threads of a contestant."""
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


class ContestantTask(msgspec.Struct):
    """The task that the process reads from standard input."""

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
    output_descriptor: int = 2
    """The open file for what the bot prints. The process inherits it."""
    socket: str = ""
    """The Unix socket of the proxy to the exchange; empty for connections of its own."""
    landlock: bool = False
    """Whether the process must restrict itself by Landlock before it loads the bot."""


def limit_resources(task: ContestantTask) -> None:
    """Limit the resources of this process. The limits cannot be raised again."""
    # These limits are generous: `compete` checks lower ones, and can report the reason.
    set_limits(
        (
            (resource.RLIMIT_AS, (2 * task.memory_megabytes + 1024) * MEGABYTE),
            (resource.RLIMIT_CPU, task.processor_seconds + 5),
            (resource.RLIMIT_FSIZE, 16 * MEGABYTE),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NOFILE, MAX_DESCRIPTORS),
        )
    )
    sys.addaudithook(end_on_new_process)


def end_on_new_process(event: str, _: tuple[Any, ...]) -> None:
    """End this process if the bot starts another one. It is an audit hook."""
    if event in _STARTS_PROCESSES:
        print(f"a contestant may not start processes: {event}", file=sys.stderr, flush=True)
        os._exit(EXIT_FORBIDDEN)


def exit_if_orphaned() -> None:
    """End this process if the one that started it has ended, which closes standard input."""
    if not os.read(0, 1):
        os._exit(0)


async def play(task: ContestantTask) -> None:
    """Run the bot until SIGTERM."""
    pipe = _redirect_output(task)
    bot = make_bot(contestant_bot(task.file, task.strategy, Path(task.folder)), task.seed)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(0, exit_if_orphaned)
    heartbeats = asyncio.create_task(_send_heartbeats(pipe))
    try:
        endpoint = Endpoint(Path(task.socket) if task.socket else None)
        venue = LiveVenue(
            bot, task.name, task.key, task.gateway_url, task.feed_url, cancel_on_disconnect=True, endpoint=endpoint
        )
        await venue.run(stop)
    finally:
        heartbeats.cancel()


def _redirect_output(task: ContestantTask) -> int:
    """Redirect what the bot prints to its file. Return the file descriptor of the pipe for heartbeats.

    The pipe was standard output. It is moved so that text of the bot does not count as a heartbeat.
    """
    pipe = os.dup(1)
    os.dup2(task.output_descriptor, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return pipe


async def _send_heartbeats(pipe: int) -> None:
    while True:
        with contextlib.suppress(BlockingIOError):
            os.write(pipe, b".")
        await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)


def main() -> None:
    """Run the contestant that standard input describes."""
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=ContestantTask)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_resources(task)
    try:
        if task.landlock:
            restrict_itself([task.folder], required=True)
    except OSError as error:
        print(f"the bot was not loaded: {error}", file=sys.stderr)
        sys.exit(EXIT_NOT_RESTRICTED)
    try:
        asyncio.run(play(task))
    except LoadError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_NO_BOT)


if __name__ == "__main__":
    main()
