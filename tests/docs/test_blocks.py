"""Every command and every code block of the pages runs without an error, in the mode that its page names."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from _pytest.mark.structures import ParameterSet

from microexchange import schemas
from microexchange.securities import read_listing
from tests.docs.blocks import (
    MODES,
    NOTEBOOKS,
    PAGES,
    ROOT,
    Block,
    Command,
    MarkError,
    blocks_of,
    commands_of,
    indented_blocks_of,
    lines_of,
)
from tests.docs.bounded import marker_of
from tests.docs.clone import Clone, Exchange
from trading_bots.competition.season import parse_season

pytestmark = pytest.mark.slow

BLOCKS: list[Block] = [block for page in (*PAGES, *NOTEBOOKS) for block in blocks_of(page)]
MODE_OF = {block.page: block.mode for block in BLOCKS}
"""The last mode of each page."""
RUN = sorted(
    (block for block in BLOCKS if not block.not_run),
    key=lambda block: (MODES.index(MODE_OF[block.page]), block.page, block.line),
)
EXCHANGES: dict[str, list[str]] = {"up": [], "classroom": ["--classroom"]}
"""The arguments of `up` for the exchange of each mode."""
SHELL, PYTHON = ("sh",), ("python", "py")
CHECKED = (*SHELL, *PYTHON, "json", "toml", "csv", "mermaid")
NOT_RUN = {
    "./mx test tests/unit -k": "a selection of these tests",
    "docker": "needs Docker: tests/compose",
    "./stack": "needs Docker: tests/compose",
    "./mx bench": "takes minutes",
    "./mx profile": "takes minutes",
    "./mx faults": "takes minutes: tests/faults/test_ordeal.py",
    "./mx soak": "takes hours: tests/soak/test_run.py",
    "./mx console": "needs a running exchange: tests/integration/test_console.py",
}
"""The beginnings of commands in sentences that no block runs, with the reasons."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short path, since Postgres listens on a socket in it."""
    path = Path(tempfile.mkdtemp(prefix="mxd-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def results(folder: Path) -> Iterator["Results"]:
    results = Results(folder)
    yield results
    results.stop()


class Results:
    """The results of blocks. Each block runs once, after the earlier blocks of its page."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "other").mkdir()
        self._clones: dict[str, Clone] = {}
        self._done: dict[Block, tuple[int, str]] = {}
        self._running: dict[str, Exchange] = {}

    def of(self, block: Block) -> tuple[int, str]:
        clone = self._clones.get(block.page)
        if clone is None:
            folder = self._folder / f"page{len(self._clones)}"
            clone = self._clones[block.page] = Clone(folder, self._exchange, self._folder / "other")
        for earlier in RUN:
            if earlier.page == block.page and earlier.line <= block.line and earlier not in self._done:
                self._done[earlier] = clone.run(earlier)
        return self._done[block]

    def _exchange(self, mode: str) -> Exchange | None:
        """Return the running exchange of a mode. Pages are sorted by mode, so that each exchange starts once."""
        if mode not in EXCHANGES:
            return None
        if mode not in self._running:
            self.stop()
            self._running[mode] = Exchange(self._folder / mode[0], *EXCHANGES[mode]).until_open()
            if mode == "classroom":  # its page need not start it again
                marker_of(["up", "--classroom"], self._folder / "other").touch()
        return self._running[mode]

    def stop(self) -> None:
        while self._running:
            assert self._running.popitem()[1].stop() == 0


def _cases() -> list[ParameterSet]:
    cases = []
    for block in RUN:
        cases.append(pytest.param(block, id=str(block)))
    return cases


@pytest.mark.parametrize("block", _cases())
def test_every_block_runs(block: Block, results: Results) -> None:
    assert block.language in CHECKED, f"{block}: no test for {block.language!r}: mark it <!-- not run: REASON -->"
    if block.language == "json":
        check_json(block)
    elif block.language == "toml":
        assert parse_season(block.text).security
    elif block.language == "csv":
        assert read_listing(block.text.splitlines())
    status, output = results.of(block)
    assert status == 0, f"{block} ended with status {status}\n{block.text}\n{output}"
    assert "Traceback" not in output, output


def check_json(block: Block) -> None:
    value = json.loads(block.text)
    type_ = getattr(schemas, block.type)
    msgspec.convert(value, type_, strict=False)
    assert set(value) == {field.encode_name for field in msgspec.structs.fields(type_)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_block_without_a_fence(page: Path) -> None:
    assert indented_blocks_of(page) == []


COMMANDS = [command for page in PAGES for command in commands_of(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_a_sentence_is_in_a_block_or_has_a_reason_not_to_run(page: Path) -> None:
    shown = [line for block in BLOCKS if block.language in SHELL for line in lines_of(block)]
    for command in commands_of(page):
        text = re.sub("^microexchange ", "./mx ", command.text)
        is_shown = any(line == text or line.startswith(f"{text} ") for line in shown)
        assert is_shown or text.startswith(tuple(NOT_RUN)), f"{command}: put it into a block, so that a test runs it"


def test_every_benchmark_that_a_page_names_exists() -> None:
    named = {command.text.split()[2] for command in COMMANDS if command.text.startswith("./mx bench ")} - {"NAME"}
    assert named
    for name in named:
        assert (ROOT / "benchmarks" / f"{name.replace('-', '_')}.py").exists(), name


# --- the harness itself ---------------------------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tests.docs.blocks.ROOT", tmp_path)
    return tmp_path / "page.md"


def test_marks_belong_to_the_next_block_and_a_mode_holds_until_the_next_mode(page: Path) -> None:
    page.write_text(
        "<!-- mode: up -->\n\nText.\n\n<!-- file: a.py -->\n\n```python\nx\n```\n\n```sh\ny\n```\n"
        "<!-- not run: needs Docker -->\n```sh\nz\n```\n"
    )
    assert blocks_of(page) == [
        Block("page.md", 7, "python", "x\n", "up", file="a.py"),
        Block("page.md", 11, "sh", "y\n", "up"),
        Block("page.md", 15, "sh", "z\n", "up", not_run="needs Docker"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "<!-- moode: up -->\n```sh\nx\n```\n",
        "<!-- mode: moon -->\n```sh\nx\n```\n",
        "<!-- not run: gone -->\n\nText.\n\n```sh\nx\n```\n",
        "<!-- file: a.csv -->\n",
    ],
)
def test_an_unknown_mark_or_one_without_a_block_is_refused(page: Path, text: str) -> None:
    page.write_text(text)
    with pytest.raises(MarkError, match=r"page\.md:1"):
        blocks_of(page)


def test_an_indented_block_is_found(page: Path) -> None:
    page.write_text("Text.\n\n    ./mx audit\n\n- item\n\n    more of it\n")
    assert indented_blocks_of(page) == ["./mx audit"]


def test_a_command_that_spans_two_lines_is_found(page: Path) -> None:
    page.write_text("Run `./mx up\n--for 1m`, not `up`.\n\n```sh\n`./mx down`\n```\n")
    assert commands_of(page) == [Command("page.md", 1, "./mx up --for 1m")]


def test_a_command_that_fails_in_the_middle_of_a_block_fails_the_block(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone", lambda _: None, tmp_path / "home")
    assert clone.run(Block("p", 1, "sh", "false\ntrue\n"))[0] != 0
    assert clone.run(Block("p", 1, "sh", "false | cat\n"))[0] != 0
    assert clone.run(Block("p", 1, "sh", "curl -s localhost:1/nowhere\n"))[0] != 0
    assert clone.run(Block("p", 1, "python", "raise ValueError\n"))[0] != 0


def test_a_block_has_the_variables_of_the_blocks_before_it(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone", lambda _: None, tmp_path / "home")
    assert clone.run(Block("p", 1, "sh", "KEY=abc\n"))[0] == 0
    assert clone.run(Block("p", 2, "sh", "echo $KEY\n")) == (0, "abc\n")
