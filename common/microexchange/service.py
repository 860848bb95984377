"""The service loop: how each of the four services starts, runs and stops.

A service is a few tasks without end. If one fails, all stop, and the process ends with an error. The launcher, or another
supervisor, starts it again. Every service can be killed at any moment, so a restart is the simplest repair. SIGTERM and
SIGINT stop a service in order.
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
from microexchange.plain_text import plain
from microexchange.producer_cursors import ProducerCursors, SequenceGapError
from microexchange.settings import ServiceSettings
from microexchange.telemetry import configure_logging

_logger = structlog.get_logger(__name__)

EXIT_CONFIG = 78
"""The exit status of a service with wrong settings (EX_CONFIG of sysexits.h). A restart does not help."""


PRIVATE_UMASK = 0o077
"""The umask of every process: new files and folders are for their owner alone."""
POSITION_TIMEOUT_SECONDS = 5.0
"""The time to wait for a body that should be on the log already, before the end of the log is checked."""


_AUTOGROUP = Path("/proc/self/autogroup")
_AUTOGROUP_TRIES = 10


class ConfigurationError(Exception):
    """A setting with which the service cannot run. The message names the fix."""


class Service(Protocol):
    """One of the four services."""

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set."""


S = TypeVar("S", bound=ServiceSettings)


def run_service(name: str, settings_type: type[S], make: Callable[[S], Service]) -> None:
    """Read the settings of a service from variables `MX_…` or flags of the same names, and run the service."""
    try:
        settings = settings_type(_cli_parse_args=True, _cli_kebab_case=True, _cli_prog_name=name)
    except ValidationError as error:
        problems = [f"MX_{'.'.join(map(str, detail['loc'])).upper()}: {detail['msg']}" for detail in error.errors()]
        sys.stderr.write(plain(f"{name}: {'; '.join(problems)}\n"))
        sys.exit(EXIT_CONFIG)
    lower_priority(settings.nice)

    async def run(stop: asyncio.Event) -> None:
        await make(settings).run(stop)

    with profiled(settings.profile, name):
        run_main(name, settings.log_level, settings.parent_pipe, run)


def lower_priority(nice: int) -> None:
    """Lower the scheduling priority of this process, as nice(1) does.

    If Linux schedules by session, the priority of a process counts only within its session (sched(7), "The autogroup
    feature"). So a process that leads a session, as services do, also lowers the priority of the session.
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
            time.sleep(0.1)  # Linux allows one change of a group in that time
        except OSError:
            return  # the system has no autogroups, or forbids the change
        else:
            return


@contextlib.contextmanager
def profiled(folder: Path | None, name: str) -> Iterator[None]:
    """Profile the body with cProfile, and write `folder/<name>-<process>.prof`. Without a folder, do nothing."""
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
    """Run `main(stop)`, and end the process if it fails. SIGTERM, SIGINT and the end of the parent process set `stop`."""
    os.umask(PRIVATE_UMASK)
    configure_logging(log_level)
    structlog.contextvars.bind_contextvars(service=name)

    # Records have no cycles. With Python's default thresholds, the search for cycles takes a third of the time of a busy
    # service. Objects from before the start stay, so the search leaves them out.
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
    """Return the first error of an exception group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _on_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    descriptor = sys.stdin.fileno()
    if not os.read(descriptor, 1):
        loop.remove_reader(descriptor)
        stop.set()


async def run_until(stop: asyncio.Event, *tasks: Awaitable[None]) -> None:
    """Run `tasks` without end until `stop` is set, then cancel them. If a task fails, raise its error."""
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
                raise RuntimeError(f"a task ended before the service was stopped: {task}")


async def check_position(log: Log, topic: str, offset: int) -> None:
    """Check that `log` is the log from which `topic` was read up to `offset`: it has a body before `offset`.

    Raises:
        ConfigurationError: The log ends before `offset`. So it is another log, and its first bodies would not be read.
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
"""The number of bodies in one read from which more may be waiting."""


class _Heading(msgspec.Struct, array_like=True):
    """The first fields of a batch."""

    version: int
    producer: str
    fencing_token: int


_heading_decoder = msgspec.msgpack.Decoder(_Heading)


async def watch_for_successor(log: Log, topic: str, producer: str, fencing_token: int) -> None:
    """Read `topic` without end, until another process writes to it as `producer` with a greater fencing token.

    From then on readers ignore the records of this process, so it must stop.

    Raises:
        ConfigurationError: Another process has taken over.
    """
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
                        f"another {producer} has taken over: its fencing token is {heading.fencing_token}, and that of "
                        f"this process is {fencing_token}. Run one at a time, or give each exchange its own namespace"
                    )
        if len(entries) < _FULL_READ:
            # Readers ignore the records of this process by then, so a late stop does no harm.
            await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def background(*tasks: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `tasks` concurrently with the body, and cancel them at its end. If a task fails, cancel the body."""
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(task) for task in tasks]
        yield
        for task in running:
            task.cancel()


def take_new_records(cursors: ProducerCursors, topic: str, batch: Batch[R], health: Health) -> list[R]:
    """Return the new records of `batch`, and move the cursor of their producer.

    If records are missing before the batch, return none. The service is then not ready until the producer sends them again.
    """
    try:
        records = cursors.take(batch)
    except SequenceGapError as error:
        _logger.error("gap", topic=topic, cause=str(error))
        health.wait("gap", str(error))
        return []
    health.clear("gap")
    return records


async def read_batches(
    log: Log, topic: str, from_offset: int, health: Health
) -> AsyncGenerator[list[tuple[int, Batch[Any]]], None]:
    """Read and decode `topic` from `from_offset` on. Yield lists of (offset, batch).

    A malformed body is logged and skipped, so that no body on the log can stop a service. A body of a newer version must
    not be skipped, because its records would be lost. The service then logs the unknown tag, is no longer ready, and waits
    for its upgrade.
    """
    async for entries in log.read(topic, from_offset):
        batches: list[tuple[int, Batch[Any]]] = []
        newer: tuple[int, UndecodableError] | None = None
        for offset, body in entries:
            try:
                batches.append((offset, decode_batch(topic, body)))
            except MalformedBatchError as error:
                _logger.error("skipped a malformed body", topic=topic, offset=offset, cause=str(error))
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
