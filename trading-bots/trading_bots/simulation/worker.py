"""`python -m trading_bots.simulation.worker`: a process that plays simulated rounds, for another process that confines it.

It reads one job a line from standard input, as JSON, and writes messages to standard output. `confined` has the other end.
The bots run in this process, so a message can be the work of a bot: the other end checks all of them.
"""

import contextlib
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from microexchange.durations import SeasonError
from microexchange.refusals import Code, Refusal
from trading_bots.competition.loading import LoadError, bot_in_file, files_named
from trading_bots.competition.own_limits import EXIT_NOT_RESTRICTED, restrict_itself, set_limits
from trading_bots.competition.record import FillRow
from trading_bots.competition.results import MAX_CLIENTS, RoundResult
from trading_bots.competition.season import Season
from trading_bots.simulation.rounds import MAX_SAMPLES, Round, play
from trading_bots.simulation.watchdog import StuckError, Watchdog

MEGABYTE = 1 << 20
MAX_FILE_BYTES, MAX_DESCRIPTORS = 16 * MEGABYTE, 256
FAILURES: tuple[type[Exception], ...] = (LoadError, StuckError, SeasonError)
"""The errors that a message names. They can be made from their text."""


class Setup(msgspec.Struct, tag=True):
    """The first line: the limits of the process."""

    files: list[str]
    """The files and folders of the bots."""
    landlock: bool
    """Whether the process must restrict itself by Landlock."""
    memory_bytes: int
    """The most address space."""


class Load(msgspec.Struct, tag=True):
    """Load the bot in a file, as a check. The answer is `Loaded`."""

    file: str
    folder: str


class Play(msgspec.Struct, tag=True):
    """Play a round. The answers are `Progress` and `Line`, and then `Finished`. Each `Progress` waits for an empty line."""

    season: Season
    number: int
    folder: str
    timeout_seconds: float
    keep: bool
    """Whether the record and the recordings are part of the answer."""


class Progress(msgspec.Struct, tag=True):
    """The finished part of the round, from 0 to 1."""

    part: float


class Line(msgspec.Struct, tag=True):
    """A line that a bot has printed."""

    writer: str
    text: str


class Loaded(msgspec.Struct, tag=True):
    """The bot has been loaded."""


class Failed(msgspec.Struct, tag=True):
    """The job has ended with an error."""

    error: str
    """The name of a class in `FAILURES`, or `Refusal`."""
    text: str
    code: Code | None = None
    """The code of a refusal."""


_SAMPLES = msgspec.Meta(max_length=MAX_SAMPLES + 2)
"""A sample can take one byte of a message and nine of memory, so the number is bounded. Two are at the ends."""
_Body = Annotated[bytes, msgspec.Meta(min_length=16)]
"""A body of a recording. A message of many shorter ones would be several times as large in memory. No batch is shorter."""


class Finished(msgspec.Struct, tag=True):
    """The result of a round, with what its files need beside it."""

    result: RoundResult
    times: Annotated[list[int], _SAMPLES] = []
    fills: list[FillRow] = []
    equity: Annotated[dict[str, Annotated[list[int | None], _SAMPLES]], msgspec.Meta(max_length=MAX_CLIENTS)] = {}
    """By client, as in `Tally`."""
    mid_prices: Annotated[dict[str, Annotated[list[float | None], _SAMPLES]], msgspec.Meta(max_length=MAX_CLIENTS)] = {}
    """By symbol, as in `Tape`."""
    commands: list[_Body] = []
    reports: list[_Body] = []


Message = Progress | Line | Loaded | Failed | Finished
HEAD_BYTES = 4
"""Each message follows its length, big-endian."""


def _finished(played: Round, keep: bool) -> Finished:
    if not keep:
        return Finished(played.result)
    record = played.record
    return Finished(
        played.result,
        record.times,
        record.fills,
        {client_id: tally.equity for client_id, tally in record.clients.items()},
        {symbol: tape.mid_prices for symbol, tape in record.tapes.items()},
        played.commands,
        played.reports,
    )


def _play(job: Play, send: Callable[[Message], None], jobs: BinaryIO) -> Message:
    def on_progress(part: float) -> None:
        send(Progress(part))
        jobs.readline()

    played = play(
        job.season,
        job.number,
        Path(job.folder),
        on_progress,
        job.keep,
        job.timeout_seconds,
        lambda writer, text: send(Line(writer, text)),
    )
    return _finished(played, job.keep)


def _load(job: Load) -> Message:
    watchdog, folder = Watchdog(), Path(job.folder)
    with watchdog.watching(), watchdog.loading(job.file, files_named(job.file, folder)):
        bot_in_file(job.file, folder)
    return Loaded()


def _limit(setup: Setup) -> None:
    """Limit the resources of this process, and restrict it by Landlock.

    Raises:
        OSError: Landlock was demanded and does not work.
    """
    set_limits(
        (
            (resource.RLIMIT_AS, setup.memory_bytes),
            (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NOFILE, MAX_DESCRIPTORS),
        )
    )
    if setup.landlock:
        restrict_itself(setup.files, required=True)


def main() -> None:
    """Do the jobs that standard input describes."""
    jobs, pipe = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a bot writes to standard output must not look like a message

    def send(message: Message) -> None:
        body = msgspec.msgpack.encode(message)
        pipe.write(len(body).to_bytes(HEAD_BYTES, "big"))
        pipe.write(body)
        pipe.flush()

    try:
        _limit(msgspec.json.decode(jobs.readline(), type=Setup))
    except OSError as error:
        print(f"no bot was loaded: {error}", file=sys.stderr)
        sys.exit(EXIT_NOT_RESTRICTED)
    with contextlib.suppress(BrokenPipeError):
        while line := jobs.readline():
            job = msgspec.json.decode(line, type=Load | Play)
            try:
                send(_load(job) if isinstance(job, Load) else _play(job, send, jobs))
            except Refusal as refusal:
                send(Failed("Refusal", str(refusal), refusal.code))
            except FAILURES as error:
                send(Failed(type(error).__name__, str(error)))


if __name__ == "__main__":
    main()
