"""The lines that bots print: separated by bot, and safe to show in a terminal."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from microexchange.plain_text import plain

MAX_CHARACTERS = 1_000_000
"""The most characters of one bot in one round. Further ones are dropped."""


class _Lines(io.TextIOBase):
    """A stream that splits its text into lines, separately for each writer."""

    def __init__(self, writer: Callable[[], str], on_line: Callable[[str, str], None]) -> None:
        self._writer, self._on_line = writer, on_line
        self._partial: dict[str, str] = {}
        self._left: dict[str, int] = {}

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        writer = self._writer()
        left = self._left[writer] = self._left.get(writer, MAX_CHARACTERS) - len(text)
        if left < 0:
            return len(text)
        *lines, self._partial[writer] = (self._partial.get(writer, "") + text).split("\n")
        for line in lines:
            self._on_line(writer, plain(line))
        return len(text)

    def end(self) -> None:
        for writer, partial in self._partial.items():
            if partial:
                self._on_line(writer, plain(partial))
        for writer, left in self._left.items():
            if left < 0:
                self._on_line(writer, f"… {-left:,} more characters are left out")


@contextlib.contextmanager
def captured(writer: Callable[[], str], on_line: Callable[[str, str], None] | None) -> Iterator[None]:
    """Pass each line that is printed within the context to `on_line`, after the name that `writer` returns at that time.

    Without `on_line`, lines are printed as usual.
    """
    if on_line is None:
        yield
        return
    lines = _Lines(writer, on_line)
    try:
        with contextlib.redirect_stdout(lines), contextlib.redirect_stderr(lines):
            yield
    finally:
        lines.end()


def write_output(folder: Path, output: dict[str, list[str]]) -> None:
    """Write the lines of each bot to `output/<bot>.txt`. A bot without lines gets no file."""
    for writer, lines in output.items():
        path = folder / "output" / f"{writer or 'loading'}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
