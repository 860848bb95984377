"""Faults of bots are reported once, with file and line: endless loops, sleeps, repeated errors, output with escapes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from exchange_launcher.cli import app
from microexchange.numbers import CASH_SCALE
from microexchange.plain_text import plain
from tests.integration.running import free_ports
from trading_bots import Bot
from trading_bots.competition.confinement import available
from trading_bots.competition.output import MAX_CHARACTERS, captured
from trading_bots.faults import ErrorLog, error_text
from trading_bots.simulation.client import SECOND
from trading_bots.simulation.exchange import SimulatedExchange
from trading_bots.simulation.rounds import START
from trading_bots.simulation.watchdog import EXIT_STUCK

STUCK = """
import time
from trading_bots import Bot


class Loops(Bot):
    def on_start(self):
        while True:  # here
            pass


class LoopsInATimer(Bot):
    def on_start(self):
        self.every(1, self.work)

    def work(self):
        for _ in iter(int, 1):  # here
            pass


class Sleeps(Bot):
    def on_timer(self):
        time.sleep(10**6)  # here


class SwallowsEverything(Bot):
    def on_timer(self):
        try:
            while True:  # here
                pass
        except BaseException:
            pass


class RetriesForever(Bot):
    def on_timer(self):
        while True:
            try:
                time.sleep(0.001)  # here
            except BaseException:
                pass


class IsStuckInC(Bot):
    def on_timer(self):
        sum(range(10**13))  # here


class LoopsInItsConstructor(Bot):
    def __init__(self):
        super().__init__()
        while True:  # here
            pass
"""


def lines_of(text: str, name: str) -> set[int]:
    """Return the numbers of the marked lines of a class, and of the lines after them."""
    found, class_name = set(), ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("class "):
            class_name = line[6:].partition("(")[0]
        if class_name == name and "# here" in line:
            found |= {number, number + 1}
    return found


NAMES = [line[6:].partition("(")[0] for line in STUCK.splitlines() if line.startswith("class ")]


@pytest.mark.parametrize("name", NAMES)
def test_a_stuck_bot_ends_a_simulation_with_an_error_that_names_its_file_and_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    command = [sys.executable, "-m", "exchange_launcher.cli", "simulate", "--bot", f"stuck.py:{name}", "--patience", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    if name == "IsStuckInC":
        assert done.returncode == 1
        places = [f'stuck.py", line {line} in on_timer' for line in lines_of(STUCK, name)]
    else:
        # Without confinement, the process that ends is that of the command.
        ends_process = name == "RetriesForever" and not available().bubblewrap
        assert done.returncode == (EXIT_STUCK if ends_process else 1), done.stderr
        assert "stuck" in done.stderr
        places = [f"stuck.py:{line}" for line in lines_of(STUCK, name)]
    assert any(place in done.stderr for place in places), done.stderr


def test_a_simulation_whose_clock_stands_still_ends_and_names_the_last_bot(tmp_path: Path) -> None:
    (tmp_path / "ping.py").write_text(
        "from trading_bots import Bot\n\n\nclass Ping(Bot):\n"
        "    def on_start(self):\n        self.buy('ACME', 1, 1)\n\n"
        "    def on_order(self, order):\n"
        "        self.cancel(order) if order.is_open else self.buy('ACME', 1, 1)\n"
    )
    (tmp_path / "season.toml").write_text(
        'name = "ping"\nlength = "10s"\nsecurity = [{ symbol = "ACME", price = "100.00" }]\n'
        'contestant = [{ name = "ping", file = "ping.py", latency = "0s" }]\n'
    )
    command = [sys.executable, "-m", "exchange_launcher.cli", "simulate", "season.toml", "--patience", "3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "the simulated clock stands still" in done.stderr
    assert "ping was called last" in done.stderr


@pytest.mark.parametrize("pause", [0, -1, 1e-9, float("nan")])
def test_a_timer_whose_pause_is_not_positive_is_refused(pause: float) -> None:
    with pytest.raises(ValueError, match="interval must be"):
        Bot().every(pause, lambda: None)


# --- live -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def nowhere() -> str:
    """A URL without a server."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


def bot_process(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "exchange_launcher.cli", "bot", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "MX_KEY": ""},
    )


def test_a_bot_without_an_exchange_prints_the_address_once_and_waits_until_ctrl_c(tmp_path: Path, nowhere: str) -> None:
    process = bot_process(tmp_path, "MarketMaker", "--url", nowhere)
    assert process.stdout is not None
    message = process.stdout.readline()
    assert nowhere in message
    assert "./mx up" in message
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    more, _ = process.communicate(timeout=30)
    assert (process.returncode, more) == (0, ""), "it prints nothing while it waits"


GUARDED = """
import asyncio, sys, time
from trading_bots import Bot
from trading_bots.guard import Guard


class Stuck(Bot):
    def work(self):
        {work}


async def main():
    bot, stop = Stuck(), asyncio.Event()
    with Guard(bot, stop, lambda text: print(text, flush=True), timeout_seconds=1.0).installed():
        print("ready", flush=True)
        bot.work()
        await stop.wait()
        print("stopped", flush=True)


asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("work", "line"),
    [
        ("while True: pass", "while True: pass"),
        ("time.sleep(10**6)", "time.sleep(10**6)"),
        ("exec('while True:\\n try:\\n  time.sleep(.01)\\n except BaseException: pass')", "exec("),
    ],
)
def test_the_second_ctrl_c_ends_a_stuck_live_bot(work: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "guarded.py"
    file.write_text(GUARDED.replace("{work}", work))
    process = subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    stuck = process.stdout.readline()
    assert "has not returned" in stuck
    assert line in stuck
    process.send_signal(signal.SIGINT)
    assert "Ctrl-C again" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 128 + signal.SIGINT
    process.stdout.close()


def test_the_first_ctrl_c_ends_a_live_bot_that_returns(tmp_path: Path) -> None:
    file = tmp_path / "guarded.py"
    file.write_text(GUARDED.replace("{work}", "pass"))
    process = subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (0, "stopped\n")


# --- errors and prints ----------------------------------------------------------------------------------------------


class Fails(Bot):
    def first(self) -> None:
        raise ValueError("\x1b[2J first")

    def second(self) -> None:
        raise ValueError("second")


def raised(function: object) -> Exception:
    try:
        function()  # type: ignore[operator]
    except ValueError as error:
        return error
    raise AssertionError


def test_a_repeated_error_is_reported_at_the_first_tenth_and_hundredth_time_with_its_count() -> None:
    bot = Fails()
    errors = ErrorLog(bot)
    texts = [errors.add(raised(bot.first)) for _ in range(250)]
    assert [number for number, text in enumerate(texts, 1) if text] == [1, 10, 100]
    assert "100 times so far" in texts[99]
    assert "second" in errors.add(raised(bot.second))
    first, second = errors
    assert first.endswith("(250 times)\n")
    assert "times" not in second


def test_terminal_escapes_in_the_text_of_a_bot_are_made_visible() -> None:
    assert plain("a\tb\n\x1b[31m\x9b\r\x07") == "a\tb\n\\x1b[31m\\x9b\\r\\x07"
    assert "\x1b" not in error_text(Fails(), raised(Fails().first))


def test_an_error_in_a_shipped_strategy_shows_its_file() -> None:
    from trading_bots.strategies import MarketMaker

    bot = MarketMaker()
    with pytest.raises(RuntimeError) as caught:
        bot.on_start()  # the bot has no venue
    assert "market_maker.py" in error_text(bot, caught.value)


def test_captured_output_is_kept_by_bot_and_cut_at_a_maximum() -> None:
    printed: list[tuple[str, str]] = []
    name_of_bot = "ada"
    with captured(lambda: name_of_bot, lambda name, line: printed.append((name, line))):
        print("one\ntwo \x1b[31m")
        print("half", end="")
        name_of_bot = "bob"
        print("other")
        for _ in range(MAX_CHARACTERS // 50_000 + 1):
            print("x" * 50_000)
    assert printed[:3] == [("ada", "one"), ("ada", "two \\x1b[31m"), ("bob", "other")]
    assert ("ada", "half") in printed
    assert printed[-1][0] == "bob"
    assert printed[-1][1].endswith("more characters are left out")


def test_a_bot_that_calls_exit_does_not_end_the_other_bots() -> None:
    class Exits(Bot):
        def on_start(self) -> None:
            sys.exit(0)

    class Goes(Bot):
        ticks = 0

        def on_timer(self) -> None:
            self.ticks += 1

    made = SimulatedExchange(START)
    made.list_security(symbol="X", name="X", tick_size="0.01", lot_size="1", reference_price=10_000)
    goes = Goes()
    exits = made.join(Exits(), "exits", CASH_SCALE, {}, 1)
    made.join(goes, "goes", CASH_SCALE, {}, 1)
    made.run_until(START + 5 * SECOND)
    assert "exit()" in exits.end_reason
    assert goes.ticks >= 4


def test_markup_and_escapes_in_the_error_of_a_bot_are_printed_literally(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("raise ValueError('[/red] \\x1b[2J')\n")
    result = CliRunner().invoke(app, ["simulate", "--bot", str(tmp_path / "bad.py"), "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "[/red] \\x1b[2J" in result.stderr
    assert "\x1b[2J" not in result.output + result.stderr
