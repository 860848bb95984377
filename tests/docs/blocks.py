"""Finds the code blocks and the commands of the pages, with the marks that say how to test them.

A mark is a comment that no reader sees, on a line of its own before the block:

    <!-- mode: up -->            the blocks from here on need that exchange: `up`, `classroom` or `none`
    <!-- file: season.toml -->   the block is a file of this name, which the next blocks of the page use
    <!-- type: OrderView -->     the JSON object has exactly the fields of this type of `microexchange.schemas`
    <!-- not run: REASON -->     nobody runs the block, for this reason
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "examples").rglob("*.ipynb"))
MARKS = ("mode", "file", "type", "not run")
MODES = ("none", "up", "classroom")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"^<!-- (?P<name>[a-z ]+): (?P<value>.+) -->$", re.MULTILINE)
_INDENTED = re.compile(r"^(?P<before>.*)\n\n {4}(?P<text>.+)$", re.MULTILINE)
_COMMAND = re.compile(r"^([A-Z_]+=\S+ )*(\./mx|\./stack|curl|docker|microexchange|\.venv/bin/\w+|python -m) \S")


class MarkError(ValueError):
    """A mark or a block is not one that the tests know; the message names the page and the line."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page, or the cells of a notebook."""

    page: str
    line: int
    language: str
    text: str
    mode: str = "none"
    file: str = ""
    type: str = ""
    not_run: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command that stands in a sentence or in a table."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {self.text}"


def blocks_of(path: Path) -> list[Block]:
    """The blocks of a page in their order. Raises `MarkError`."""
    page, text = str(path.relative_to(ROOT)), path.read_text()
    if path.suffix == ".ipynb":
        return list(_cells(page, text))
    found, mode, at = [], "none", 0
    for match in _FENCE.finditer(text):
        marks = {}
        for place, name, value, stands_before in _marks(page, text, at, match.start()):
            if name == "mode":
                mode = value
            elif not stands_before:
                raise MarkError(f"{page}:{place}: no block follows the mark {name!r}")
            else:
                marks[name.replace(" ", "_")] = value
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match["language"], match["text"], mode, **marks))
        at = match.end()
    if left := [mark for mark in _marks(page, text, at, len(text)) if mark[1] != "mode"]:
        raise MarkError(f"{page}:{left[0][0]}: no block follows the mark {left[0][1]!r}")
    return found


def _marks(page: str, text: str, begin: int, end: int) -> Iterator[tuple[int, str, str, bool]]:
    """The marks in a part of a page: line, name, value, and whether only marks stand between it and the end of the part."""
    for mark in _MARK.finditer(text, begin, end):
        line, name, value = text.count("\n", 0, mark.start()) + 1, mark["name"], mark["value"]
        if name not in MARKS or (name == "mode" and value not in MODES):
            raise MarkError(f"{page}:{line}: no such mark: {mark[0]}; the marks are in tests/docs/blocks.py")
        yield line, name, value, not _MARK.sub("", text[mark.end() : end]).strip()


def _cells(page: str, text: str) -> Iterator[Block]:
    """The cells as one block: each uses what those before it have made."""
    cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    yield Block(page, 1, "python", "\n\n".join(cells) + "\n", "up", "notebook.py")


def indented_blocks_of(path: Path) -> list[str]:
    """The first lines of code blocks that have no fence: no tool can tell their language."""
    text = _FENCE.sub("", path.read_text())
    return [
        match["text"]
        for match in _INDENTED.finditer(text)
        if not match["before"].lstrip().startswith(("-", "*", "!!!")) and not re.match(r"\s*\d+\.|\s", match["before"])
    ]


def commands_of(path: Path) -> list[Command]:
    """The commands that stand between backticks in a page's sentences and tables."""
    page, found = str(path.relative_to(ROOT)), []
    text = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), path.read_text())
    for match in re.finditer(r"`([^`]+)`", text):
        command = " ".join(match[1].split())
        if _COMMAND.match(command):
            found.append(Command(page, text.count("\n", 0, match.start()) + 1, command))
    return found


def lines_of(block: Block) -> list[str]:
    """The commands of a shell block without their comments, one a line."""
    lines = block.text.replace("\\\n", " ").splitlines()
    without = (re.sub(r"(^|\s)#.*$", "", line) for line in lines)
    return [" ".join(line.split()) for line in without if line.strip()]
