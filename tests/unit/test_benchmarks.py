"""The harness of the benchmarks prints each row when it is measured, and keeps the rows after Ctrl-C."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks import harness

ROOT = Path(__file__).parents[2]
PAGE = "before\n<!-- bench test -->\n\nold\n\n<!-- end test -->\nafter\n"
SCRIPT = """
import time
from benchmarks import harness

options = harness.arguments("a test", seconds=1, rates=[1, 2])
with harness.Report("test", options) as report:
    table = report.table("requests/s:", "p50:")
    for rate in options.rates:
        table.add(rate, f"{rate / 2} ms")
        input()
report.finish({"rows": len(table.rows)})
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "performance.md"
    path.write_text(PAGE)
    monkeypatch.setattr(harness, "PAGE", path)
    return path


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def benchmark() -> Iterator[subprocess.Popen[str]]:
    """A benchmark that waits for a line on its input after each row."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "--json"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate()


def test_a_row_is_printed_before_the_next_one_is_measured(benchmark: subprocess.Popen[str]) -> None:
    assert benchmark.stdin is not None
    assert benchmark.stdout is not None
    lines = [benchmark.stdout.readline() for _ in range(3)]
    assert lines == ["| requests/s | p50 |\n", "| ---: | ---: |\n", "| 1 | 0.5 ms |\n"]
    assert benchmark.poll() is None
    benchmark.stdin.write("\n")
    benchmark.stdin.flush()
    assert benchmark.stdout.readline() == "| 2 | 1.0 ms |\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_rows_and_ends_the_benchmark_with_status_130(
    benchmark: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert benchmark.stdout is not None
    lines = [benchmark.stdout.readline() for _ in range(3)]
    benchmark.send_signal(number)
    rest, _ = benchmark.communicate(timeout=30)
    assert (benchmark.returncode, lines[2]) == (130, "| 1 | 0.5 ms |\n")
    message, figures = rest.splitlines()
    assert message == "Interrupted: the rows above are what was measured."
    assert json.loads(figures)["rows"] == 1
    assert json.loads(figures)["interrupted"]


def test_a_complete_run_is_written_into_the_page_and_an_interrupted_run_is_not(page: Path) -> None:
    options = harness.arguments("", given=["--write"])
    with harness.Report("test", options) as report:
        report.table("what", "events/s:").add("ours", "5")
        raise KeyboardInterrupt
    with pytest.raises(SystemExit) as ended:
        report.finish({})
    assert (ended.value.code, page.read_text()) == (130, PAGE)
    with harness.Report("test", options) as report:
        report.table("what", "events/s:").add("ours", "5")
        report.sentence("A sentence.")
    report.finish({}, "![picture](x.svg)")
    table = "| what | events/s |\n| --- | ---: |\n| ours | 5 |"
    assert f"<!-- bench test -->\n\n{table}\n\nA sentence.\n\n![picture](x.svg)\n\nMeasured on: " in page.read_text()


def test_an_error_other_than_ctrl_c_is_raised() -> None:
    with pytest.raises(OSError, match="gone"), harness.Report("test", harness.arguments("", given=[])):
        raise OSError("gone")


def test_an_interrupted_comparison_keeps_its_completed_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    runs = []

    def prepare() -> object:
        runs.append("a run")
        if len(runs) == 4:
            raise KeyboardInterrupt
        return lambda: None

    report = harness.Report("test", harness.arguments("", given=[]))
    figures = harness.side_by_side({"ours": (10, prepare), "theirs": (10, prepare)}, report, 5, "events/s")
    assert [(figure.name, len(figure.rates)) for figure in figures] == [("ours", 2), ("theirs", 1)]
    assert report.is_interrupted
    rounds = re.findall(r"round (\d) of 5, (\w+): [\d,]+", capsys.readouterr().out)
    assert rounds == [("1", "ours"), ("1", "theirs"), ("2", "ours")]


def test_a_row_has_as_many_cells_as_there_are_headings() -> None:
    with pytest.raises(ValueError, match="1 cells in a table of 2 columns"):
        harness.Table(("a", "b")).add("x")


def test_a_benchmark_has_the_options_that_choose_a_part_of_it() -> None:
    options = harness.arguments(
        "", events=5, seconds=60, rates=[1], log=True, parts=["a", "b"],
        given=["--seconds", "0.5", "--rates", "100,200", "--log", "embedded", "--part", "b", "--events", "7"],
    )  # fmt: skip
    assert (options.seconds, options.rates, options.log, options.part, options.events) == (
        0.5,
        (100, 200),
        "embedded",
        "b",
        7,
    )
    with pytest.raises(SystemExit):
        harness.arguments("", seconds=60, given=["--events", "10"])


def test_the_rows_of_one_part_cannot_be_written_into_the_page() -> None:
    with pytest.raises(SystemExit):
        harness.arguments("", parts=["a"], given=["--part", "a", "--write"])


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_no_benchmark_prints_its_table_only_at_the_end(path: Path) -> None:
    text = path.read_text()
    if path.stem in ("market", "harness") or "harness.arguments(" not in text:
        return
    assert "harness.Report(" in text
    assert not re.search(r"^\s*print\(text\)", text, re.MULTILINE)
