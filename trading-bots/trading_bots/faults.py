"""What goes wrong in a bot: its errors with the bot's own lines, how often each came, and the line where it is stuck."""

import inspect
import linecache
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType

from trading_bots.bot import Bot

_OURS = Path(__file__).parent
_SHIPPED = _OURS / "strategies"
MAX_KINDS = 20
"""Different errors of one bot that are kept."""


def plain(text: str) -> str:
    """A text that is safe in a terminal: every character that does not print is shown as its escape.

    >>> plain("red: \\x1b[31m")
    'red: \\\\x1b[31m'
    """
    return "".join(one if one.isprintable() or one in "\n\t" else repr(one)[1:-1] for one in text)


def _is_ours(file: str) -> bool:
    """Whether a file belongs to the SDK. A strategy that ships is a bot's own code."""
    path = Path(file)
    return path.is_relative_to(_OURS) and not path.is_relative_to(_SHIPPED)


def complaint(bot: Bot, error: BaseException) -> str:
    """A bot's error, with the bot's own lines and none of the SDK's."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    where = "".join(traceback.format_list(frames))
    return plain(f"{type(bot).__name__}: {type(error).__name__}: {error}\n{where}")


def comes_from(error: BaseException, package: str) -> bool:
    """Whether a module of that package raised the error."""
    found: TracebackType | None = error.__traceback__
    name = ""
    while found is not None:
        name, found = found.tb_frame.f_globals.get("__name__", ""), found.tb_next
    return name.partition(".")[0] == package


class Complaints:
    """The errors of one bot: each kind once, with its count. Two errors are of one kind if they have the same type and come
    from the same line."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._kinds: dict[tuple[type, str, int], list[str | int]] = {}

    def add(self, error: BaseException) -> str:
        """Counts an error. Returns what is new to say: the whole text at the first time, one line at the 10th, the 100th
        and so on, else nothing."""
        last = traceback.extract_tb(error.__traceback__)[-1:]
        where = (last[0].filename, last[0].lineno or 0) if last else ("", 0)
        kind = self._kinds.get((type(error), *where))
        if kind is None:
            if len(self._kinds) >= MAX_KINDS:
                return ""
            text = complaint(self._bot, error)
            self._kinds[type(error), *where] = [text, 1]
            return text
        kind[1] = count = int(kind[1]) + 1
        if str(count).strip("0") != "1":
            return ""
        return plain(f"{type(self._bot).__name__}: {type(error).__name__} at {where[0]}:{where[1]}, {count} times so far\n")

    def __iter__(self) -> Iterator[str]:
        """The errors, oldest first."""
        for text, count in self._kinds.values():
            yield f"{text}({count} times)\n" if int(count) > 1 else str(text)


def place_in(frame: FrameType | None, files: set[str]) -> str:
    """Where the code of these files is: `my_bot.py:12, in on_timer: while True:`; empty if it does not run.

    Of several frames in the files the innermost counts. What is outside of the event loop does not count: a bot's file may
    have started the loop.
    """
    while frame is not None and frame.f_globals.get("__name__") not in ("asyncio.events", "asyncio.base_events"):
        code = frame.f_code
        if code.co_filename in files:
            line = linecache.getline(code.co_filename, frame.f_lineno).strip()
            return plain(f"{code.co_filename}:{frame.f_lineno}, in {code.co_name}: {line}")
        frame = frame.f_back
    return ""


def files_of(bot: type[Bot]) -> set[str]:
    """The files in which a bot's classes are written."""
    found = set()
    for kind in bot.__mro__:
        if issubclass(kind, Bot) and kind is not Bot:
            try:
                found.add(inspect.getfile(kind))
            except (OSError, TypeError):
                continue  # a class that was typed into a notebook
    return found


Say = Callable[[str], None]
"""Prints one message to the person who runs the bot."""
