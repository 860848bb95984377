"""The options and files that several competition commands read: seasons, bots and recordings."""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from exchange_launcher.competition_output import print_warning
from exchange_launcher.number_options import decimal_option, whole_option
from exchange_launcher.terminal import CommandError, bad_use
from microexchange.batches import MalformedBatchError, UndecodableError
from microexchange.durations import SeasonError
from microexchange.numbers import NotPlainError, plain_decimal
from microexchange.refusals import Refusal
from trading_bots.bot import Bot
from trading_bots.competition import recording
from trading_bots.competition.confinement import Confinement, available
from trading_bots.competition.loading import LoadError, check_name, files_named, find_bot
from trading_bots.competition.season import Season, parse_season, read_season
from trading_bots.competition.tournament import DEFAULT, with_contestants
from trading_bots.simulation.confined import WorkerError
from trading_bots.simulation.watchdog import StuckError, Watchdog

Out = Annotated[Path, typer.Option(help="Folder for the results.")]
CallLimit = Annotated[
    float,
    decimal_option(
        "--patience",
        minimum=0,
        metavar="SECONDS",
        help="Longest real time in seconds that one call into a bot may take. 0 sets no limit.",
    ),
]
Seed = Annotated[int | None, whole_option(help="Seed of all randomness, for example 7. Default: the seed of the season.")]

_RECORDING_FIX = "Name the folder of a round, with its unchanged files order_entry.log and data_feed.log"
_FIXES: dict[type[Exception], str] = {
    SeasonError: "Correct the season; docs/competitions.md explains every field",
    LoadError: "Correct the bot, or name another; docs/bots.md explains what a bot is",
    **dict.fromkeys((recording.RecordingError, msgspec.DecodeError, MalformedBatchError, UndecodableError), _RECORDING_FIX),
    UnicodeError: "Name a text file",
    Refusal: "Correct the value that the message names; docs/refusals.md explains every code",
}
_BOT_FILE = re.compile(r"\.py(:\w*)?$")
_NO_CONTESTANTS = "nobody takes part: name bots, for example my_bot.py or MarketMaker, or a season with contestants"


@contextmanager
def command_errors() -> Iterator[None]:
    """Convert the errors of a season, a bot or a recording to `CommandError`."""
    try:
        yield
    except StuckError as error:
        raise CommandError(str(error), "Correct the line that it names, or allow more time with --patience") from error
    except WorkerError as error:
        fix = "Read the bots: one of them may be stuck, or have ended the process, or have taken too much memory"
        raise CommandError(str(error), fix) from error
    except tuple(_FIXES) as error:
        fix = next(text for error_class, text in _FIXES.items() if isinstance(error, error_class))
        problem = "a file cannot be read: it is not UTF-8 text" if isinstance(error, UnicodeError) else str(error)
        raise bad_use(problem, fix) from error


def load_season(file: Path, seed: int | None, fix_for_bot_file: str) -> Season:
    """Return the season in a file, with `seed` in place of its own unless it is None.

    Raises:
        CommandError: The file is a bot file. `fix_for_bot_file` states how the user can run it.
        SeasonError: The file is not a season.
        OSError: The file cannot be read.
    """
    if _BOT_FILE.search(file.name):
        raise bad_use(f"{file} is a bot file: a season is a TOML file", fix_for_bot_file)
    return _with_seed(read_season(file), seed)


def load_season_with_bots(
    file: Path | None, bots: Sequence[str], seed: int | None, beside: bool, fix_for_bot_file: str
) -> tuple[Season, Path]:
    """Return a season with `bots` as contestants, and the folder of its contestants' files.

    Without a file, the season is the built-in one. With `beside`, the contestants of the season play too. Otherwise the bots
    replace them.

    Raises:
        CommandError: The file is a bot file. `fix_for_bot_file` states how the user can run it.
        SeasonError: The file is not a season, or there are no contestants.
        LoadError: There is no such bot.
        OSError: A file cannot be read.
    """
    season = _with_seed(parse_season(DEFAULT), seed) if file is None else load_season(file, seed, fix_for_bot_file)
    for bot in bots:
        check_name(bot)
    if bots:
        season = with_contestants(season, bots, beside)
    if file is None and not bots:
        raise SeasonError(_NO_CONTESTANTS)
    return season, Path() if file is None else file.parent


TrustBots = Annotated[
    bool, typer.Option("--trust-bots", help="Run the bots in files without confinement: they can read your files.")
]


def confinement_for(season: Season, trust_bots: bool) -> Confinement | None:
    """Return the confinement of a simulation. None if it is not confined.

    A simulation without bots in files needs none. If bots cannot be confined here, a warning states that.
    """
    if trust_bots or not any(contestant.file for contestant in season.contestant):
        return None
    confinement = available()
    if confinement.bubblewrap:
        return confinement
    print_warning(
        f"The bots run without confinement, so they can read your files: {confinement.reason}. "
        "Use --trust-bots if you have read every bot"
    )
    return None


def check_contestants(season: Season) -> None:
    """Check that a season has contestants.

    Raises:
        SeasonError: It has none.
    """
    if not season.contestant:
        raise SeasonError(_NO_CONTESTANTS)


def load_bot(text: str, folder: Path = Path()) -> type[Bot]:
    """Return the bot class that a text names: `my_bot.py`, `my_bot.py:MyBot` or the name of a strategy.

    Raises:
        LoadError: There is no such class.
        StuckError: The load takes too long.
    """
    watchdog = Watchdog()
    with watchdog.watching(), watchdog.loading(text, files_named(text, folder)):
        return find_bot(text, folder)


def _with_seed(season: Season, seed: int | None) -> Season:
    return season if seed is None else msgspec.structs.replace(season, seed=seed)


def parse_speed(speed: str) -> float:
    """Return the value of `--speed`: simulated seconds per real second.

    Raises:
        CommandError: It is not `max` or a number above 0.
    """
    if speed == "max":
        return math.inf
    try:
        number = float(plain_decimal(speed))
    except NotPlainError as error:
        raise bad_use(f"--speed: {error}", "Write max, or a number above 0") from error
    if not number:
        raise bad_use("--speed cannot be 0: it is not a speed", "Write max, or a number above 0")
    return number
