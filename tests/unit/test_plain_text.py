"""Text from outside reaches a terminal or a page without control characters, wherever it is printed."""

import ast
import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from exchange_launcher import audit_command, competition_output, security_commands, terminal, up_output
from exchange_launcher.audit import Check
from exchange_launcher.live_display import leaderboard_table
from exchange_launcher.supervisor import Child
from exchange_launcher.terminal import PlainConsole
from microexchange import healthcheck
from microexchange.plain_text import plain
from microexchange.service import run_service
from microexchange.settings import DatabaseSettings
from microexchange.telemetry import configure_logging
from trading_bots.competition.output import captured
from trading_bots.competition.report import report
from trading_bots.competition.results import RankedClient, RoundResult

ATTACK = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\x08\u202eevil\u2028\x00"
"""Escape sequences in 7 and 8 bits, a carriage return, a backspace, and a mark that reverses the direction of text."""
ROOT = Path(__file__).parents[2]


def assert_plain(text: str) -> None:
    """Check that a text has no control characters, and that the attack was printed."""
    unsafe = {character for character in text if not character.isprintable() and character not in "\n\t"}
    assert not unsafe, repr(text)
    assert "evil" in text


@given(st.text())
def test_a_plain_text_has_no_control_characters_and_a_printable_text_is_the_same(text: str) -> None:
    shown = plain(text)
    assert all(character.isprintable() or character in "\n\t" for character in shown)
    assert plain(shown) == shown
    if text.isprintable():
        assert shown == text


# --- the launcher -----------------------------------------------------------------------------------------------------


@pytest.fixture
def consoles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The consoles of the launcher, as in a wide terminal that is not captured in colours."""
    for console in (terminal.console, terminal.errors):
        monkeypatch.setattr(console, "_width", 300)


def ranked() -> RankedClient:
    return RankedClient(
        1, ATTACK, False, "0", "0", "0", "0", "0", "0", "0", "0", 1, 1, 0, 0.0, ATTACK, [ATTACK], {ATTACK: 1}, ATTACK
    )


def result() -> RoundResult:
    return RoundResult(ATTACK, 1, ATTACK, ATTACK, 1.0, "", 1, 0, [ranked()], {}, {ATTACK: ATTACK})


def leader() -> dict[str, Any]:
    amounts = dict.fromkeys(("equity", "profit", "cash"), "1")
    return {"client_id": ATTACK, "rank": 1, "return_percent": None, "trades": 1, "house": False, **amounts}


def print_leaderboard() -> None:
    terminal.console.print(leaderboard_table([leader()], ATTACK, set(), {ATTACK: ATTACK}))


def print_standings() -> None:
    place = SimpleNamespace(client_id=ATTACK, rank=1, mean_score=1.0, margin=1.0, mean_rank=1.0, wins=1, worst=1.0, best=1.0)
    pair = SimpleNamespace(ahead=ATTACK, behind=ATTACK, low=None, high=None)
    standings: Any = SimpleNamespace(season=ATTACK, rounds=1, places=[place], differences=[pair])
    competition_output.print_standings(standings)


def print_results_of_up() -> None:
    numbers = dict.fromkeys(("orders", "rejected", "canceled", "trades", "settled", "settlement_faults"), 1)

    async def get(_: str) -> Any:
        return SimpleNamespace(json=lambda: [leader()])

    async def status(_: str) -> Any:
        return numbers

    exchange: Any = SimpleNamespace(http=SimpleNamespace(get=get), feed_url="", status=status)
    asyncio.run(up_output.print_results(exchange, terminal.console, 1.0, 0))


def print_unknown_columns() -> None:
    lines = f"symbol,name,{ATTACK.replace(chr(13), '').replace(chr(0x2028), '')}\nX,X Inc."
    security_commands._listing_of(SimpleNamespace(read_text=lambda encoding: lines))  # type: ignore[arg-type]


def print_progress() -> None:
    with competition_output.progress_bar() as progress:
        progress.add_task(ATTACK)
        progress.console.print(f"{ATTACK}: {ATTACK}", markup=False, highlight=False, soft_wrap=True)


PRINTS: dict[str, Callable[[], object]] = {
    "an error of a command": lambda: terminal.fail(ATTACK, ATTACK),
    "a warning": lambda: competition_output.print_warning(ATTACK),
    "a difference of the audit": lambda: audit_command._print_checks([Check(ATTACK, ATTACK, 1, [ATTACK], 1)]),
    "the live leaderboard": print_leaderboard,
    "a ranking": lambda: competition_output.print_ranking(result()),
    "the faults of a season": lambda: competition_output.print_faults([result()]),
    "standings": print_standings,
    "the leaderboard of up": print_results_of_up,
    "the columns of a listing": print_unknown_columns,
    "a progress bar": print_progress,
}


@pytest.mark.usefixtures("consoles")
@pytest.mark.parametrize("where", PRINTS)
def test_the_launcher_prints_text_from_outside_without_control_characters(
    where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    PRINTS[where]()
    printed = capsys.readouterr()
    assert_plain(printed.out + printed.err)


def test_a_terminal_receives_the_colours_of_the_console_and_not_those_of_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    console = PlainConsole(force_terminal=True, color_system="standard", width=200)
    console.print(ATTACK, style="red", markup=False, highlight=False)
    printed = capsys.readouterr().out
    assert printed.startswith("\x1b[31m")
    assert_plain(printed.replace("\x1b[31m", "").replace("\x1b[0m", ""))


# --- services and bots --------------------------------------------------------------------------------------------------


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """The configuration of logging as it was before the test."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("restored_logging")
def test_a_line_of_a_log_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    structlog.get_logger().error(ATTACK, client=ATTACK, exc_info=ValueError(ATTACK))
    logging.getLogger("a library").error(ATTACK)
    printed = capsys.readouterr().err
    assert_plain(printed)
    assert json.loads(printed.splitlines()[0])["client"] == ATTACK


def test_the_last_error_of_a_service_is_plain_when_it_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "service.log"
    log.write_text(json.dumps({"level": "error", "event": ATTACK, "cause": ATTACK}))
    service: Any = SimpleNamespace(_log_file=log)
    terminal.fail(Child.last_error(service))
    assert_plain(capsys.readouterr().err)


def test_the_settings_of_a_service_are_refused_in_plain_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Settings(DatabaseSettings):
        log_level: str = ATTACK
        parent_pipe: bool = False

    monkeypatch.setattr(sys, "argv", ["service"])
    monkeypatch.setenv("MX_PARENT_PIPE", "neither")
    with pytest.raises(SystemExit):
        run_service(f"service{ATTACK}", Settings, None)  # type: ignore[type-var, arg-type]
    assert_plain(capsys.readouterr().err)


def test_the_answer_to_a_health_check_is_printed_in_plain_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(ATTACK)

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    assert healthcheck.main("http://127.0.0.1:1") == 1
    assert_plain(capsys.readouterr().out)


def test_a_line_that_a_bot_prints_is_plain() -> None:
    lines: list[str] = []
    with captured(lambda: "bot", lambda _, line: lines.append(line)):
        sys.stdout.write(f"{ATTACK}\n{ATTACK}")
    assert_plain("".join(lines))


def test_the_page_of_a_round_has_neither_tags_nor_control_characters_from_outside() -> None:
    attack = f"</script><script>alert(1)</script>{ATTACK}"
    client = RankedClient(
        1, "a", False, "0", "0", "0", "0", "0", "0", "0", "0", 1, 1, 0, 0.0, attack, [attack], {attack: 1}, attack
    )
    found = RoundResult(attack, 1, "1", attack, 1.0, "", 1, 0, [client], {}, {attack: attack})
    record: Any = SimpleNamespace(times=[0], clients={"a": SimpleNamespace(equity=[1])}, tapes={}, market=None)
    body = report(found, record).partition("<body>")[2]
    assert_plain(body)
    assert "alert(1)</script>" not in body


# --- every place ----------------------------------------------------------------------------------------------------------

PRINTERS = {
    "common/microexchange/healthcheck.py": "plain",
    "common/microexchange/service.py": "plain",
    "trading-bots/trading_bots/runner.py": "plain",
    "trading-bots/trading_bots/live.py": "the text of `error_text`, which is plain",
    "trading-bots/trading_bots/competition/contestant.py": "to the log of a contestant, whose reader makes it plain",
    "trading-bots/trading_bots/simulation/worker.py": "to the process that started it, which makes it plain",
}
"""The modules that write to standard output or standard error without a console, with the reason why that is safe."""


def test_no_other_module_writes_to_the_terminal_than_by_a_plain_console() -> None:
    packages = ("common", "clearinghouse", "db", "launcher", "market-data-feed", "matching-engine", "order-entry-gateway")
    found = set()
    for path in (path for package in (*packages, "trading-bots") for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (
                ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write", "Console", "typer.echo")
            ):
                found.add(str(path.relative_to(ROOT)))
    assert found == PRINTERS.keys()


def test_a_command_line_with_escape_sequences_is_refused_in_plain_text() -> None:
    command = [sys.executable, "-m", "exchange_launcher.cli", f"evil{ATTACK}".replace("\x00", "")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert_plain(done.stdout + done.stderr)
