"""The outer end of a confined simulation: what it takes from a worker, which may be a hostile bot."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from trading_bots.competition.results import MAX_CLIENTS, MarketQuality, RankedClient, RoundResult
from trading_bots.simulation import confined
from trading_bots.simulation.confined import MAX_MESSAGE_BYTES, Worker, WorkerError, _has_numbers
from trading_bots.simulation.rounds import MAX_SAMPLES
from trading_bots.simulation.watchdog import StuckError
from trading_bots.simulation.worker import Finished, Message


class Program:
    """A confinement that runs a program of the test in place of the worker."""

    landlock = 0

    def __init__(self, program: str) -> None:
        self._program = program

    @contextlib.contextmanager
    def command(self, *_: Any, **__: Any) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        yield [sys.executable, "-c", self._program], ()


def worker_that(program: str) -> Worker:
    """Return a worker whose process runs `program`."""
    return Worker(Program(f"import sys, time\nout = sys.stdout.buffer\n{program}"), [])  # type: ignore[arg-type]


def head(size: int) -> str:
    return f"out.write(({size}).to_bytes(4, 'big')); out.flush()"


def test_a_message_without_a_record_has_at_most_16_mib() -> None:
    with worker_that(f"{head(MAX_MESSAGE_BYTES + 1)}; time.sleep(60)") as worker:
        worker._silence_seconds = 30
        with pytest.raises(WorkerError, match="something else than the result"):
            worker._receive()


def test_a_message_with_a_record_may_be_larger() -> None:
    with worker_that(head(MAX_MESSAGE_BYTES + 1)) as worker, pytest.raises(WorkerError, match="has ended with status 0"):
        worker._receive(keep=True)


@pytest.mark.parametrize(
    "parts",
    [
        {"times": [0] * (MAX_SAMPLES + 3)},
        {"equity": {"a": [None] * (MAX_SAMPLES + 3)}},
        {"mid_prices": {"X": [None] * (MAX_SAMPLES + 3)}},
        {"equity": {str(number): [] for number in range(MAX_CLIENTS + 1)}},
        {"mid_prices": {str(number): [] for number in range(MAX_CLIENTS + 1)}},
        {"commands": [b"x"]},
        {"reports": [b"x"]},
    ],
)
def test_a_record_with_more_parts_than_a_round_can_have_is_not_decoded(parts: dict[str, Any]) -> None:
    result = RoundResult("test", 1, "3/1", "simulation", 20.0, "", 0, 0, [], {})
    most = Finished(result, [0] * (MAX_SAMPLES + 2), [], {"a": [None] * (MAX_SAMPLES + 2)})
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(most), type=Message) == most
    with pytest.raises(msgspec.ValidationError, match=r"length [<>]="):
        msgspec.msgpack.decode(msgspec.msgpack.encode(Finished(result, **parts)), type=Message)


@pytest.mark.parametrize("part", ["errors", "reject_codes", "ranking", "securities"])
def test_a_result_with_more_parts_than_a_round_can_have_is_not_decoded(part: str) -> None:
    rows, few = {"errors": [""] * 201, "reject_codes": {str(number): 0 for number in range(201)}}, MAX_CLIENTS + 1
    row = RankedClient(1, "a", False, *["1"] * 8, 1, 0, 1, 0.0, **{part: rows[part]} if part in rows else {})
    quality = MarketQuality(1, "1", "1", None, None, None, 0.0, None)
    ranking = [row] * (few if part == "ranking" else 1)
    securities = {str(number): quality for number in range(few if part == "securities" else 1)}
    result = RoundResult("test", 1, "3/1", "simulation", 20.0, "", 0, 0, ranking, securities)
    with pytest.raises(msgspec.ValidationError, match="length <="):
        msgspec.msgpack.decode(msgspec.msgpack.encode(Finished(result)), type=Message)


def test_a_worker_that_sends_a_message_byte_by_byte_is_stuck() -> None:
    slow = f"{head(1000)}\nfor _ in range(1000):\n    out.write(b'x'); out.flush(); time.sleep(0.02)"
    with worker_that(slow) as worker:
        worker._silence_seconds = 3
        with pytest.raises(StuckError, match="no whole message for 3 s"):
            worker._receive()


def test_a_worker_that_cannot_be_set_up_leaves_no_process_and_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space")

    worker = worker_that("time.sleep(60)")
    monkeypatch.setattr(Worker, "_send", fail)
    with pytest.raises(OSError, match="no space"):
        worker.__enter__()
    assert worker._process.returncode is not None
    assert worker._process.stdin is not None
    assert worker._process.stdin.closed
    assert worker._errors.closed


def test_a_worker_that_does_not_start_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no such program")

    worker = worker_that("")
    monkeypatch.setattr(confined.subprocess, "Popen", fail)
    with pytest.raises(OSError, match="no such program"):
        worker.__enter__()
    assert worker._errors.closed


@pytest.mark.parametrize(
    ("text", "is_number"), [("12.50", True), ("-3", True), ("\u0661\u0662", False), ("1e5", False), ("x", False)]
)
def test_the_text_of_a_row_is_a_plain_decimal(text: str, is_number: bool) -> None:
    row = MarketQuality(1, "1", text, None, None, None, 0.0, None)
    assert _has_numbers(row) is is_number
