"""The service loop: how each of the four services starts, runs, and stops.

A service is a handful of endless tasks. When one fails, all stop and the process ends with a failure, so that whoever
watches it starts it again: every service can be killed at any moment, so this is the simplest repair there is. SIGTERM
and SIGINT end it in order.
"""

import asyncio
import contextlib
import cProfile
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import structlog
import uvloop
from pydantic import ValidationError

from microexchange.batches import Batch, MalformedBatchError, R, UndecodableError, decode_batch
from microexchange.health import Health
from microexchange.listening import PortBusyError
from microexchange.log import Backoff, Log, LogUnavailableError
from microexchange.producer_cursors import ProducerCursors, SequenceGapError
from microexchange.settings import ServiceSettings
from microexchange.telemetry import configure_logging

_logger = structlog.get_logger(__name__)

EXIT_CONFIG = 78
"""Exit status of a service that cannot start as it is configured (EX_CONFIG of sysexits.h): starting it again won't help."""


POSITION_TIMEOUT_SECONDS = 5.0
"""How long to wait for an entry that should be on the log already, before asking where the log ends."""


_AUTOGROUP = Path("/proc/self/autogroup")
_AUTOGROUP_TRIES = 10


class ConfigurationError(Exception):
    """The service cannot run as it is configured; the message says what to change."""


class Service(Protocol):
    """One of the four."""

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop`."""


S = TypeVar("S", bound=ServiceSettings)


def run_service(name: str, kind: type[S], make: Callable[[S], Service]) -> None:
    """Runs a service as `run_main` does, as its settings say: variables `MX_…`, or flags of the same names."""
    try:
        settings = kind(_cli_parse_args=True, _cli_kebab_case=True, _cli_prog_name=name)
    except ValidationError as error:
        wrong = "; ".join(f"MX_{'.'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors())
        sys.stderr.write(f"{name}: {wrong}\n")
        sys.exit(EXIT_CONFIG)
    lower_priority(settings.nice)

    async def run(stop: asyncio.Event) -> None:
        await make(settings).run(stop)

    with profiled(settings.profile, name):
        run_main(name, settings.log_level, settings.parent_pipe, run)


def lower_priority(nice: int) -> None:
    """Lets others go first to the processor, as nice(1) says.

    Where Linux shares it out among sessions first, the niceness of a process counts within its session alone (sched(7), "The
    autogroup feature"): who leads a session, as all do that the launcher starts, is nice with the whole of it.
    """
    if not nice:
        return
    os.nice(nice)
    if os.getsid(0) != os.getpid():
        return
    for _ in range(_AUTOGROUP_TRIES):
        try:
            _AUTOGROUP.write_text(str(nice))
        except BlockingIOError:
            time.sleep(0.1)  # all users together may change one group in that time
        except OSError:
            return  # not this system, or not allowed
        else:
            return


@contextlib.contextmanager
def profiled(folder: Path | None, name: str) -> Iterator[None]:
    """Writes what cProfile has seen of the body to `folder/<name>-<process>.prof`; without a folder it does not look."""
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        profile.dump_stats(folder / f"{name}-{os.getpid()}.prof")


def run_main(name: str, log_level: str, parent_pipe: bool, main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Runs `main(stop)` until it returns, and ends the process. `stop` is set by SIGTERM, SIGINT or a dead parent."""
    configure_logging(log_level)
    structlog.contextvars.bind_contextvars(service=name)

    # Records are trees without cycles: to look for cycles after every few hundred of them, as Python does, takes a third of
    # a busy service's time. What is there now stays, and is not looked at at all.
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if parent_pipe:
            loop.add_reader(sys.stdin.fileno(), _on_parent, loop, stop)
        await main(stop)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    except BaseException as error:
        cause = _innermost(error)
        if isinstance(cause, (PortBusyError, ConfigurationError)):
            _logger.error("cannot run as configured", cause=str(cause))
            sys.exit(EXIT_CONFIG)
        _logger.error("failed", cause=f"{type(cause).__name__}: {cause}", exc_info=error)
        sys.exit(1)
    _logger.info("stopped")


def _innermost(error: BaseException) -> BaseException:
    """The first error in a task group's bundle."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _on_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    descriptor = sys.stdin.fileno()
    if not os.read(descriptor, 1):
        loop.remove_reader(descriptor)
        stop.set()


async def run_until(stop: asyncio.Event, *tasks: Awaitable[None]) -> None:
    """Runs endless `tasks` until `stop` is set, then cancels them. Raises what the first that fails raises."""
    running = [asyncio.ensure_future(task) for task in tasks]
    stopping = asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*running, stopping):
            task.cancel()
        for task in running:
            with contextlib.suppress(asyncio.CancelledError):
                if task.cancelled() or not task.done():
                    await task
    for task in done:
        if task is not stopping:
            task.result()
            if not stop.is_set():
                raise RuntimeError(f"a task that should never end did: {task}")


async def check_position(log: Log, topic: str, offset: int) -> None:
    """Makes sure that `log` is the one on which somebody has read `topic` up to `offset`.

    Returns once it has seen what stands before `offset`. Raises `ConfigurationError` where the log ends before: then it is
    another log, and to go on there would pass over what comes at its first offsets.
    """
    while offset:
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(POSITION_TIMEOUT_SECONDS),
                contextlib.aclosing(log.read(topic, offset - 1)) as batches,
            ):
                async for _ in batches:
                    return
        with contextlib.suppress(LogUnavailableError):
            if (tail := await log.tail(topic)) < offset:
                raise ConfigurationError(
                    f"{topic} was read up to offset {offset}, but this log ends at {tail}: it is not the log that this "
                    "data belongs to. Name that log, or choose another data folder and namespace"
                )


_FULL_READ = 200
"""Bodies at once from which on more may be waiting."""


class _Heading(msgspec.Struct, array_like=True):
    """The first fields of a batch."""

    version: int
    producer: str
    fencing_token: int


_heading_decoder = msgspec.msgpack.Decoder(_Heading)


async def watch_for_successor(log: Log, topic: str, producer: str, fencing_token: int) -> None:
    """Watches `topic` for ever. Raises `ConfigurationError` when another process writes there as this `producer`, in a newer
    fencing_token: from then on nobody reads what this one writes, and it must stop."""
    backoff = Backoff()
    while True:
        try:
            offset = await log.tail(topic)
            break
        except LogUnavailableError:
            await backoff.wait()
    async for entries in log.read(topic, max(offset - 1, 0)):
        for _, body in entries:
            with contextlib.suppress(msgspec.MsgspecError):
                heading = _heading_decoder.decode(body)
                if heading.producer == producer and heading.fencing_token > fencing_token:
                    raise ConfigurationError(
                        f"another {producer} has taken over: its fencing token is {heading.fencing_token}, that of this "
                        f"process {fencing_token}. "
                        "Run one at a time, or give each exchange a namespace of its own"
                    )
        if len(entries) < _FULL_READ:
            # No hurry: meanwhile nothing of it is read by anybody.
            await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def background(*tasks: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs endless `tasks` beside the body, and cancels them at its end. Should one fail, the body is cancelled."""
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(task) for task in tasks]
        yield
        for task in running:
            task.cancel()


def take_new_records(cursors: ProducerCursors, topic: str, batch: Batch[R], health: Health) -> list[R]:
    """The records of `batch` that are new. Where some are missing before it, none: the service is not ready until the
    producer has sent them again."""
    try:
        fresh = cursors.take(batch)
    except SequenceGapError as error:
        _logger.error("gap", topic=topic, cause=str(error))
        health.wait("gap", str(error))
        return []
    health.clear("gap")
    return fresh


async def read_batches(
    log: Log, topic: str, from_offset: int, health: Health
) -> AsyncGenerator[list[tuple[int, Batch[Any]]], None]:
    """Reads and decodes `topic` from `from_offset` on: lists of (offset, batch).

    A body that no version wrote is skipped and reported: nothing that is on the log can stop a service. A body of a newer
    version is another matter: to skip it would lose what it says, so the service says which tag it does not know, stops
    being ready and waits to be upgraded.
    """
    async for entries in log.read(topic, from_offset):
        batches: list[tuple[int, Batch[Any]]] = []
        newer: tuple[int, UndecodableError] | None = None
        for offset, body in entries:
            try:
                batches.append((offset, decode_batch(topic, body)))
            except MalformedBatchError as error:
                _logger.error("skipped a body that is no batch", topic=topic, offset=offset, cause=str(error))
            except UndecodableError as error:
                newer = offset, error
                break
        if batches:
            yield batches
        if newer is not None:
            offset, unknown = newer
            _logger.error("stalled", topic=topic, offset=offset, cause=str(unknown))
            health.wait(topic, f"{topic}:{offset}: {unknown}")
            await asyncio.Event().wait()
