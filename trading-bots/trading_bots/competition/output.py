"""What bots print: kept apart by bot, line by line, and safe to show in a terminal."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from trading_bots.faults import plain

MAX_CHARACTERS = 1_000_000
"""Of one bot in one round; what it prints after that is left out."""


class _Lines(io.TextIOBase):
    """A stream that cuts its text into lines, kept apart by writer."""

    def __init__(self, who: Callable[[], str], said: Callable[[str, str], None]) -> None:
        self._who, self._said = who, said
        self._rest: dict[str, str] = {}
        self._left: dict[str, int] = {}

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        who = self._who()
        left = self._left[who] = self._left.get(who, MAX_CHARACTERS) - len(text)
        if left < 0:
            return len(text)
        *lines, self._rest[who] = (self._rest.get(who, "") + text).split("\n")
        for line in lines:
            self._said(who, plain(line))
        return len(text)

    def end(self) -> None:
        for who, rest in self._rest.items():
            if rest:
                self._said(who, plain(rest))
        for who, left in self._left.items():
            if left < 0:
                self._said(who, f"… {-left:,} characters more are left out")


@contextlib.contextmanager
def captured(who: Callable[[], str], said: Callable[[str, str], None] | None) -> Iterator[None]:
    """Gives each line that is printed meanwhile to `said`, after the name that `who` returns then. Without `said`, lines are
    printed as ever."""
    if said is None:
        yield
        return
    lines = _Lines(who, said)
    try:
        with contextlib.redirect_stdout(lines), contextlib.redirect_stderr(lines):
            yield
    finally:
        lines.end()


def write_output(folder: Path, output: dict[str, list[str]]) -> None:
    """Writes what bots have printed into `output/<bot>.txt`; nothing where no bot has printed anything."""
    for who, lines in output.items():
        path = folder / "output" / f"{who or 'loading'}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
