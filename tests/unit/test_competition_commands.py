"""Tests of the commands `simulate`, `tournament` and `replay`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from exchange_launcher import competitions
from exchange_launcher.cli import app
from tests.unit.test_simulation import SEASON
from trading_bots.competition.confinement import Confinement
from trading_bots.competition.season import parse_season

BOT = """
from trading_bots import Bot

class Mine(Bot):
    def on_timer(self):
        self.buy("X", 1)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "season.toml").write_text(SEASON.replace('"40s"', '"20s"'))
    (tmp_path / "mine.py").write_text(BOT)
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_simulate_reproduces_its_results_and_replay_verifies_them(folder: Path) -> None:
    for out in ("first", "second"):
        result = run("simulate", folder / "season.toml", "--seed", 9, "--out", folder / out)
        assert result.exit_code == 0, result.output
        assert "trend" in result.output
    first, second = folder / "first/test/round-1", folder / "second/test/round-1"
    names = {str(path.relative_to(first)) for path in first.rglob("*") if path.is_file()}
    assert {"result.json", "report.html", "fills/trend.csv", "order_entry.log", "data_feed.log"} <= names
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    result = run("replay", first)
    assert (result.exit_code, "all the same" in result.output) == (0, True)
    result = run("replay", first, "--bot", folder / "mine.py:Mine", "--latency", "3ms")
    assert (result.exit_code, "Mine" in result.output) == (0, True), result.output
    log = first / "order_entry.log"
    log.write_bytes(log.read_bytes().replace(b"trend", b"trent"))
    assert run("replay", first).exit_code == 1


def test_a_season_of_several_rounds_has_a_ranking_over_all_rounds(folder: Path) -> None:
    (folder / "season.toml").write_text(SEASON.replace('"40s"', '"20s"').replace("seed = 3", "seed = 3\nrounds = 2"))
    assert run("simulate", folder / "season.toml", "--out", folder).exit_code == 0
    places = json.loads((folder / "test/season.json").read_text())["places"]
    assert {place["client_id"]: place["rounds"] for place in places} == {"trend": 2, "pairs": 2}
    assert sum(place["wins"] for place in places) == 2
    assert (folder / "test/round-2/report.html").exists()


def test_a_tournament_writes_a_table_json_and_a_page(folder: Path) -> None:
    result = run(
        "tournament", folder / "mine.py", "--season", folder / "season.toml", "--rounds", 2, "--workers", 1, "--out", folder
    )
    assert result.exit_code == 0, result.output
    assert "mine" in result.output
    (place,) = json.loads((folder / "test/tournament.json").read_text())["places"]
    assert (place["client_id"], place["rounds"], place["wins"]) == ("mine", 2, 2)
    assert "Wins by pair" in (folder / "test/tournament.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("simulate", "none.toml"), "none.toml"),
        (("simulate", "{}/mine.py"), "mine.py"),
        (("simulate", "{}/season.toml", "--speed", "0"), "not a speed"),
        (("tournament", "{}/none.py"), "no file"),
        (("tournament",), "nobody takes part"),
        (("replay", "{}"), "order_entry.log"),
        (("compete", "{}/mine.py"), "mine.py"),
    ],
)
def test_an_unusable_argument_is_reported(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(*(argument.replace("{}", str(folder)) for argument in arguments))
    assert result.exit_code != 0
    assert message in (result.output + str(result.stderr)).replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (("simulate", "mine.py"), "./mx simulate --bot mine.py"),
        (("simulate", "mine.py:Mine"), "./mx simulate --bot mine.py:Mine"),
        (("tournament", "--season", "mine.py"), "./mx tournament mine.py"),
        (("compete", "mine.py"), "Name a season that has the bot as a contestant"),
    ],
)
def test_a_bot_file_in_place_of_a_season_is_refused_with_the_command_that_runs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], fix: str
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MX_COMMAND", "./mx")
    result = run(*arguments)
    text = " ".join(result.stderr.split())
    assert result.exit_code == 2
    assert "is a bot file: a season is a TOML file" in text
    assert fix in text


@pytest.mark.parametrize(("command", "shown"), [("./mx", "./mx"), (None, "microexchange")])
def test_bot_new_shows_the_command_by_which_it_was_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str | None, shown: str
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MX_COMMAND", raising=False)
    if command is not None:
        monkeypatch.setenv("MX_COMMAND", command)
    assert f"Run it with: {shown} bot my_bot.py:MyBot" in run("bot", "new", "my_bot").output
    assert f"Run it with: {shown} bot my_bot.py:MyBot" in (folder / "my_bot.py").read_text()


def test_a_contestant_with_the_same_file_as_another_one_is_checked_with_that_file_among_those_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(competitions, "available", lambda: Confinement("bwrap"))
    monkeypatch.setattr(competitions, "check_bot", lambda _, file, __, others: checked.append((file, others)))
    rows = ", ".join(
        f'{{ name = "{name}", file = "{file}" }}' for name, file in (("a", "x.py"), ("b", "x.py"), ("c", "y.py"))
    )
    season = parse_season(f'security = [{{ symbol = "X", price = "1.00" }}]\ncontestant = [{rows}]')
    competitions._check_bots(season, tmp_path, trust_bots=False)
    assert checked == [("x.py", ["x.py", "y.py"]), ("x.py", ["x.py", "y.py"]), ("y.py", ["x.py", "x.py"])]


def test_the_example_season_can_be_played() -> None:
    from trading_bots.competition.season import read_season
    from trading_bots.simulation.rounds import entrants

    path = Path(__file__).parents[2] / "examples" / "season" / "season.toml"
    season = read_season(path)
    assert {name for name, _, _, house in entrants(season, 1, path.parent) if not house} == {
        "trend",
        "contrarian",
        "pairs",
        "first",
    }


def test_a_bot_joins_a_given_season_or_the_built_in_season(folder: Path) -> None:
    result = run("simulate", folder / "season.toml", "--bot", folder / "mine.py", "--bot", "Momentum", "--out", folder)
    assert result.exit_code == 0, result.output
    names = {place["client_id"] for place in json.loads((folder / "test/round-1/result.json").read_text())["ranking"]}
    assert {"trend", "pairs", "mine", "Momentum"} <= names
    (folder / "mine.py").write_text(BOT.replace('"X"', '"ACME"'))
    result = run("simulate", "--bot", folder / "mine.py", "--out", folder)
    assert result.exit_code == 0, result.output
    (place,) = (
        place
        for place in json.loads((folder / "built-in/round-1/result.json").read_text())["ranking"]
        if place["client_id"] == "mine"
    )
    assert place["fills"] > 0


def test_the_template_of_bot_new_trades_in_the_example_season(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("bot", "new", "my_bot").exit_code == 0
    path = Path(__file__).parents[2] / "examples" / "season" / "season.toml"
    result = run("simulate", path, "--bot", folder / "my_bot.py:MyBot", "--out", folder)
    assert result.exit_code == 0, result.output
    (place,) = (
        place
        for place in json.loads((folder / "Example/round-1/result.json").read_text())["ranking"]
        if place["client_id"] == "my_bot"
    )
    assert place["fills"] > 0
    assert place["errors"] == []
    assert place["rejected"] == 0
    assert "my_bot: it has" not in result.output + result.stderr


IDLE = """
from trading_bots import Bot

class Silent(Bot):
    symbols = ("NONE",)

class Greedy(Bot):
    def on_timer(self):
        print("greedy \\x1b[31moutput")
        self.buy("X", 1_000_000, 100)
"""


@pytest.mark.parametrize("command", ["simulate", "tournament"])
def test_a_bot_that_does_not_trade_is_reported_with_the_reason(folder: Path, command: str) -> None:
    (folder / "idle.py").write_text(IDLE)
    bots = [f"{folder / 'idle.py'}:{name}" for name in ("Silent", "Greedy")]
    if command == "simulate":
        result = run(command, folder / "season.toml", *(text for bot in bots for text in ("--bot", bot)), "--out", folder)
        page = (folder / "test/round-1/report.html").read_text()
        assert "it has sent no order" in page
    else:
        season = ("--season", folder / "season.toml")
        result = run(command, *bots, *season, "--rounds", 2, "--workers", 1, "--out", folder)
    assert result.exit_code == 0, result.output
    message = result.stderr.replace("\n", " ")
    assert "it has sent no order" in message
    assert "NONE is not listed here" in message
    assert "were rejected: INSUFFICIENT_CASH" in message
    assert "trend: it has" not in message


def test_a_tournament_stores_the_output_of_bots_in_files_and_shows_it_on_request(folder: Path) -> None:
    (folder / "idle.py").write_text(IDLE)
    season = ("--season", folder / "season.toml", "--rounds", 2, "--out", folder)
    result = run("tournament", f"{folder / 'idle.py'}:Greedy", "MarketMaker", *season, "--workers", 2)
    assert result.exit_code == 0, result.output
    assert "greedy" not in result.output + result.stderr
    assert "2 of 2 rounds" in result.stderr
    assert "MarketMaker" in result.output
    lines = (folder / "test/output/idle.txt").read_text().splitlines()
    assert {line.partition(":")[0] for line in lines} == {"round 1", "round 2"}
    assert "greedy \\x1b[31moutput" in lines[0]
    result = run("tournament", f"{folder / 'idle.py'}:Greedy", *season, "--workers", 1, "--show-output")
    assert "idle: round 1: greedy \\x1b[31moutput" in result.output


def test_a_tournament_reports_that_a_difference_is_not_significant(folder: Path) -> None:
    (folder / "idle.py").write_text(IDLE)
    season = ("--season", folder / "season.toml", "--rounds", 3, "--workers", 1, "--out", folder)
    result = run("tournament", *[f"{folder / 'idle.py'}:Silent"] * 2, *season)
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    assert "the difference is not significant" in words
    assert "not sure" in words
    stored = json.loads((folder / "test/tournament.json").read_text())
    (difference,) = stored["differences"]
    assert difference["significant"] is False
    assert difference["low"] <= difference["mean"] <= difference["high"]
    assert "the difference is not significant" in (folder / "test/tournament.html").read_text()


def test_a_missing_argument_is_refused_with_the_help_of_the_command_as_it_was_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MX_COMMAND", "./mx")
    assert "'./mx replay --help'" in run("replay").stderr
