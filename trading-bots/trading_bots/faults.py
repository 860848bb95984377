"""Errors in the code of a bot: their text with the bot's own lines, their count, and the line where a bot is stuck."""

import inspect
import linecache
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType

from microexchange.plain_text import plain
from trading_bots.bot import Bot

_OURS = Path(__file__).parent
_SHIPPED = _OURS / "strategies"
MAX_DIFFERENT_ERRORS = 20
"""The most different errors of one bot that are stored."""


def _is_ours(file: str) -> bool:
    """Return whether a file belongs to the SDK. The strategies of the exchange count as code of bots."""
    path = Path(file)
    return path.is_relative_to(_OURS) and not path.is_relative_to(_SHIPPED)


def error_text(bot: Bot, error: BaseException) -> str:
    """Return the text of a bot's error, with the bot's own lines and without those of the SDK."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    where = "".join(traceback.format_list(frames))
    return plain(f"{type(bot).__name__}: {type(error).__name__}: {error}\n{where}")


def comes_from(error: BaseException, package: str) -> bool:
    """Return whether a module of the package raised the error."""
    found: TracebackType | None = error.__traceback__
    name = ""
    while found is not None:
        name, found = found.tb_frame.f_globals.get("__name__", ""), found.tb_next
    return name.partition(".")[0] == package


class ErrorLog:
    """The different errors of one bot, and their counts. Errors of the same type from the same line are the same."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._errors: dict[tuple[type, str, int], list[str | int]] = {}

    def add(self, error: BaseException) -> str:
        """Count an error, and return the text to print.

        That is the whole error the first time, one line the 10th time, the 100th time and so on, and otherwise nothing.
        """
        last = traceback.extract_tb(error.__traceback__)[-1:]
        where = (last[0].filename, last[0].lineno or 0) if last else ("", 0)
        entry = self._errors.get((type(error), *where))
        if entry is None:
            if len(self._errors) >= MAX_DIFFERENT_ERRORS:
                return ""
            text = error_text(self._bot, error)
            self._errors[type(error), *where] = [text, 1]
            return text
        entry[1] = count = int(entry[1]) + 1
        if str(count).strip("0") != "1":
            return ""
        return plain(f"{type(self._bot).__name__}: {type(error).__name__} at {where[0]}:{where[1]}, {count} times so far\n")

    def __iter__(self) -> Iterator[str]:
        """Iterate over the texts of the errors, oldest first."""
        for text, count in self._errors.values():
            yield f"{text}({count} times)\n" if int(count) > 1 else str(text)


def position_in(frame: FrameType | None, files: set[str]) -> str:
    """Return the position of running code in the files: `my_bot.py:12, in on_timer: while True:`. Empty if none runs.

    The innermost frame counts. Frames outside of the event loop do not, since a bot's file may have started the loop.
    """
    while frame is not None and frame.f_globals.get("__name__") not in ("asyncio.events", "asyncio.base_events"):
        code = frame.f_code
        if code.co_filename in files:
            line = linecache.getline(code.co_filename, frame.f_lineno).strip()
            return plain(f"{code.co_filename}:{frame.f_lineno}, in {code.co_name}: {line}")
        frame = frame.f_back
    return ""


def files_of(bot: type[Bot]) -> set[str]:
    """Return the files in which the classes of a bot are defined."""
    found = set()
    for base in bot.__mro__:
        if issubclass(base, Bot) and base is not Bot:
            try:
                found.add(inspect.getfile(base))
            except (OSError, TypeError):
                continue  # a class of a notebook has no file
    return found


Print = Callable[[str], None]
"""A function that prints one message to the person who runs the bot."""
