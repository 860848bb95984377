"""Find the code blocks and the commands of the pages, with the marks that describe how to test them.

A mark is a hidden comment on its own line before the block:

    <!-- mode: up -->            the blocks from here on need that exchange: `up`, `classroom` or `none`
    <!-- file: season.toml -->   the block is a file of this name, which the next blocks of the page use
    <!-- type: OrderView -->     the JSON object has exactly the fields of this type of `microexchange.schemas`
    <!-- not run: REASON -->     no test runs the block, for this reason
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
    """A mark is unknown or has no block. The message names the page and the line."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, or the cells of a notebook."""

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
    """A command in a sentence or in a table."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {self.text}"


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a page in their order.

    Raises:
        MarkError: A mark is unknown or has no block.
    """
    page, text = str(path.relative_to(ROOT)), path.read_text()
    if path.suffix == ".ipynb":
        return list(_cells(page, text))
    found, mode, at = [], "none", 0
    for match in _FENCE.finditer(text):
        marks = {}
        for place, name, value, is_before_end in _marks(page, text, at, match.start()):
            if name == "mode":
                mode = value
            elif not is_before_end:
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
    """Find the marks in a part of a page.

    Yields the line, name and value of each, and whether only marks are between it and the end of the part.
    """
    for mark in _MARK.finditer(text, begin, end):
        line, name, value = text.count("\n", 0, mark.start()) + 1, mark["name"], mark["value"]
        if name not in MARKS or (name == "mode" and value not in MODES):
            raise MarkError(f"{page}:{line}: unknown mark {mark[0]}: see tests/docs/blocks.py")
        yield line, name, value, not _MARK.sub("", text[mark.end() : end]).strip()


def _cells(page: str, text: str) -> Iterator[Block]:
    """Find the cells as one block, since each uses the names of the cells before it."""
    cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    yield Block(page, 1, "python", "\n\n".join(cells) + "\n", "up", "notebook.py")


def indented_blocks_of(path: Path) -> list[str]:
    """Return the first lines of code blocks without a fence. Such blocks have no language."""
    text = _FENCE.sub("", path.read_text())
    return [
        match["text"]
        for match in _INDENTED.finditer(text)
        if not match["before"].lstrip().startswith(("-", "*", "!!!")) and not re.match(r"\s*\d+\.|\s", match["before"])
    ]


def commands_of(path: Path) -> list[Command]:
    """Return the commands between backticks in the sentences and tables of a page."""
    page, found = str(path.relative_to(ROOT)), []
    text = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), path.read_text())
    for match in re.finditer(r"`([^`]+)`", text):
        command = " ".join(match[1].split())
        if _COMMAND.match(command):
            found.append(Command(page, text.count("\n", 0, match.start()) + 1, command))
    return found


def lines_of(block: Block) -> list[str]:
    """Return the commands of a shell block, one for each line, without comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    without = (re.sub(r"(^|\s)#.*$", "", line) for line in lines)
    return [" ".join(line.split()) for line in without if line.strip()]
