"""The outer end of a confined simulation: a worker process in a sandbox, and checks of what it answers.

All bots of a round run in the worker (`worker`), so a bot can change its messages. A message has a declared type, and no
code is loaded from it. Names become the names of files, so they must be those of the season. Text is made safe for a
terminal.
"""

import contextlib
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from microexchange.durations import nanoseconds
from microexchange.enums import Liquidity, TradingState
from microexchange.numbers import NotPlainError, plain_decimal
from microexchange.plain_text import plain
from microexchange.refusals import Refusal
from trading_bots.competition.confinement import API_PACKAGES, Confinement, visible_in_place
from trading_bots.competition.loading import check_file
from trading_bots.competition.output import MAX_CHARACTERS
from trading_bots.competition.record import Record
from trading_bots.competition.results import round_seed
from trading_bots.competition.season import Season, files_of_others, house_of, listing_terms
from trading_bots.simulation.exchange import SimulatedExchange
from trading_bots.simulation.rounds import PROGRESS_INTERVAL, START, Round, values_of
from trading_bots.simulation.watchdog import CALLBACK_TIMEOUT_SECONDS, EXIT_STUCK, StuckError
from trading_bots.simulation.worker import (
    FAILURES,
    HEAD_BYTES,
    Failed,
    Finished,
    Line,
    Load,
    Loaded,
    Message,
    Play,
    Progress,
    Setup,
)

MAX_MESSAGE_BYTES, READ_BYTES = 16 << 20, 1 << 20
MAX_KEPT_BYTES = 512 << 20
"""The largest message with the recordings of a round. An hour of the season in `examples` has 43 MB."""
SILENCE_FACTOR = 12
"""A worker may take this many times the timeout of a call for a message. Its watchdog ends a stuck bot earlier, unless a
bot turns it off."""
MAX_ERROR_LINES, MAX_ERROR_BYTES = 20, 1 << 14
"""The last lines of standard error that a message contains at most."""
SHARE_OF_MEMORY = 0.5
"""The part of this machine's memory that all workers together may have as address space."""
MIN_MEMORY_BYTES = 2 << 30
"""The least address space of a worker. An idle one has about a quarter of it."""
_CORES = ("clearinghouse", "exchange_db", "market_data_feed", "matching_engine", "order_entry_gateway")
"""The packages that a simulation needs beside those that a bot imports."""
_WRONG = "the process of a simulation has sent something else than the result of its round. A bot may have done that"
_FREE_TEXTS = {"client_id", "ended", "note"}
"""Fields of a row of a result that are text. All other text is a decimal number."""
_FINGERPRINT = re.compile(r"[0-9a-f]{0,128}")


class WorkerError(RuntimeError):
    """The worker has ended, or has sent something that is not a result. The message states which."""


class Worker:
    """A confined process that plays rounds. Use it as a context manager."""

    def __init__(
        self, confinement: Confinement, files: Sequence[tuple[Path, str]], share_of_memory: float = SHARE_OF_MEMORY
    ) -> None:
        """Create a worker.

        Args:
            confinement: How the process is confined.
            files: The files and folders that it may read, with their paths inside.
            share_of_memory: The part of this machine's memory that it may have as address space.
        """
        self._confinement, self._files = confinement, files
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._memory_bytes = max(int(memory * share_of_memory), MIN_MEMORY_BYTES)
        self._silence_seconds: float | None = SILENCE_FACTOR * CALLBACK_TIMEOUT_SECONDS

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._errors: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            self._start()
            stack.callback(self._end)
            files = [inside for _, inside in self._files]
            self._send(Setup(files, bool(self._confinement.landlock), self._memory_bytes))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._stack.close()

    def _start(self) -> None:
        line = [sys.executable, "-P", "-m", "trading_bots.simulation.worker"]
        with self._confinement.command(line, self._files, packages=(*API_PACKAGES, *_CORES), folder=os.getcwd()) as (
            command,
            descriptors,
        ):
            # Not in the group of the terminal: Ctrl-C ends this process, which kills the worker.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                pass_fds=descriptors,
                env={},
                bufsize=0,
                start_new_session=True,
            )

    def _end(self) -> None:
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]

    def kill(self) -> None:
        """End the process. A call of another method in another thread then raises `WorkerError`."""
        self._process.kill()

    def load(self, file: str, folder: Path) -> None:
        """Load the bot in a file, as a check.

        Raises:
            LoadError: It cannot be loaded.
            StuckError: The load takes too long.
            WorkerError: The worker has failed.
        """
        self._send(Load(file, str(folder)))
        if not isinstance(self._receive(), Loaded):
            raise WorkerError(_WRONG)

    def play(
        self,
        season: Season,
        number: int,
        folder: Path,
        progress: Callable[[float], None] = lambda _: None,
        keep: bool = False,
        timeout_seconds: float = 0,
        on_line: Callable[[str, str], None] = lambda _, __: None,
    ) -> Finished:
        """Play a round. The arguments and errors are those of `simulation.rounds.play`.

        Raises:
            WorkerError: The worker has failed, or its answer is not the result of this round.
        """
        names = _names(season)
        self._silence_seconds = SILENCE_FACTOR * timeout_seconds or None
        steps = nanoseconds(season.length, "length") // PROGRESS_INTERVAL + 1
        characters = dict.fromkeys((*names, ""), 2 * MAX_CHARACTERS)  # the worker keeps a lower limit
        self._send(Play(season, number, str(folder), timeout_seconds, keep))
        while True:
            message = self._receive(keep)
            if isinstance(message, Finished):
                _check(message, season, number, keep)
                return message
            if isinstance(message, Progress) and steps > 0:
                steps -= 1
                progress(min(max(message.part, 0.0), 1.0))
                self._write(b"\n")
            elif isinstance(message, Line) and characters.get(message.writer, 0) > 0:
                characters[message.writer] -= len(message.text) + 1
                on_line(message.writer, plain(message.text))
            else:
                raise WorkerError(_WRONG)

    # --- messages -------------------------------------------------------------------------------------------

    def _send(self, message: msgspec.Struct) -> None:
        self._write(msgspec.json.encode(message) + b"\n")

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was started with a pipe
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _receive(self, keep: bool = False) -> Message:
        """Return the next message. With `keep`, it may have the recordings of a round.

        Raises:
            WorkerError: The worker has ended, or has sent something else.
            StuckError: A bot is stuck.
        """
        deadline = None if self._silence_seconds is None else time.monotonic() + self._silence_seconds
        size = int.from_bytes(self._read(HEAD_BYTES, deadline), "big")
        if size > (MAX_KEPT_BYTES if keep else MAX_MESSAGE_BYTES):
            raise WorkerError(_WRONG)
        try:
            message: Message = msgspec.msgpack.decode(self._read(size, deadline), type=Message)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise WorkerError(_WRONG) from error
        if isinstance(message, Failed):
            raise _error_of(message)
        return message

    def _read(self, size: int, deadline: float | None) -> bytes:
        """Return that many bytes. `deadline` is in seconds of the monotonic clock, None for no limit."""
        assert self._process.stdout is not None  # noqa: S101 - it was started with a pipe
        pipe, parts, left = self._process.stdout.fileno(), [], size
        while left:
            remaining = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not select.select([pipe], [], [], remaining)[0]:
                self.kill()
                raise StuckError(f"the process of a simulation has sent no whole message for {self._silence_seconds:g} s")
            part = os.read(pipe, min(left, READ_BYTES))
            if not part:
                raise self._ended()
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _ended(self) -> Exception:
        """Return the error of a worker that has ended: `StuckError` if the watchdog has ended it."""
        self.kill()
        status = self._process.wait()
        self._errors.seek(max(self._errors.seek(0, os.SEEK_END) - MAX_ERROR_BYTES, 0))
        text = plain(self._errors.read(MAX_ERROR_BYTES).decode(errors="replace")).strip()
        lines = text.splitlines()[-MAX_ERROR_LINES:]
        if status == EXIT_STUCK and lines:
            return StuckError(lines[-1].removeprefix("microexchange: "))
        return WorkerError("\n".join([f"the process of a simulation has ended with status {status}", *lines]))


def worker_for(confinement: Confinement, season: Season, folder: Path, workers: int = 1) -> Worker:
    """Return a worker that can read the files of all contestants. `workers` is the number of those that run together."""
    visible = {
        visible_in_place(contestant.file, folder, files_of_others(season, contestant))
        for contestant in season.contestant
        if contestant.file
    }
    return Worker(confinement, sorted(visible), SHARE_OF_MEMORY / workers)


def check_bot(confinement: Confinement, file: str, folder: Path, others: Sequence[str]) -> None:
    """Load a contestant's bot in a sandbox of its own, as a check.

    Raises:
        LoadError: It cannot be loaded.
        StuckError: The load takes too long.
        WorkerError: The process has failed.
    """
    check_file(file, folder)
    with Worker(confinement, [visible_in_place(file, folder, others)]) as worker:
        worker.load(file, folder)


def round_of(finished: Finished, season: Season, number: int) -> Round:
    """Return a round as `play` returns it, for the files of its results. The record has what they need."""
    # The listings are computed here. Only the numbers of the market are those of the worker.
    exchange = SimulatedExchange(START, season.limits.requests_per_second)
    for terms in season.security:
        exchange.list_security(**listing_terms(terms, TradingState.CONTINUOUS))
    record = Record(exchange.market)
    record.times, record.fills = finished.times, finished.fills
    for client_id, equity in finished.equity.items():
        record.clients[client_id].equity = equity
    for symbol, mid_prices in finished.mid_prices.items():
        record.tapes[symbol].mid_prices = mid_prices
    values = {symbol: path.points() for symbol, path in values_of(season, number, START / 10**9).items()}
    return Round(finished.result, record, values, finished.commands, finished.reports)


# --- checks ---------------------------------------------------------------------------------------------------------------


def _names(season: Season) -> set[str]:
    """Return the names of the clients of a simulated round."""
    contestants = {contestant.name for contestant in season.contestant if not contestant.external}
    return contestants | {name for name, _ in house_of(season)}


def _check(finished: Finished, season: Season, number: int, keep: bool) -> None:
    """Check that a message is a result of this round.

    Raises:
        WorkerError: It is not.
    """
    result, names = finished.result, _names(season)
    symbols = {security.symbol for security in season.security}
    clients = [client.client_id for client in result.ranking]
    is_of_round = (
        (result.season, result.round, result.seed) == (season.name, number, round_seed(season, number))
        and result.mode == "simulation"
        and _FINGERPRINT.fullmatch(result.fingerprint) is not None
        and not result.confinement
        and sorted(clients) == sorted(names)
        and result.securities.keys() == symbols
        and finished.equity.keys() <= names
        and finished.mid_prices.keys() <= symbols
        and (bool(finished.times) or not keep)
        and all(fill.client_id in names and fill.symbol in symbols for fill in finished.fills)
        and all(fill.liquidity in set(Liquidity) for fill in finished.fills)
        and all(_has_numbers(part) for part in (*result.ranking, *result.securities.values()))
    )
    if not is_of_round:
        raise WorkerError(_WRONG)


def _has_numbers(part: msgspec.Struct) -> bool:
    """Return whether the text of a row of a result is numbers, where it must be."""
    try:
        for name, value in msgspec.structs.asdict(part).items():
            if isinstance(value, str) and name not in _FREE_TEXTS:
                plain_decimal(value, signed=True)
    except NotPlainError:
        return False
    return True


def _error_of(failed: Failed) -> Exception:
    text = plain(failed.text)
    if failed.error == Refusal.__name__ and failed.code is not None:
        return Refusal(failed.code, text)
    for error in FAILURES:
        if error.__name__ == failed.error:
            return error(text)
    return WorkerError(text)
