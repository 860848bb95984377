"""`simulate`, `tournament` and `replay` from the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from exchange_launcher.cli import app
from tests.unit.test_simulation import SEASON

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


def test_simulate_writes_the_same_results_again_and_replay_finds_them_the_same(folder: Path) -> None:
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


def test_a_season_of_several_rounds_says_how_all_did_over_all_of_them(folder: Path) -> None:
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
    assert "Who beats whom" in (folder / "test/tournament.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("simulate", "none.toml"), "none.toml"),
        (("simulate", "{}/mine.py"), "mine.py"),
        (("simulate", "{}/season.toml", "--speed", "fast"), "no speed"),
        (("tournament", "{}/none.py"), "no file"),
        (("tournament",), "nobody takes part"),
        (("replay", "{}"), "order_entry.log"),
        (("compete", "{}/mine.py"), "mine.py"),
    ],
)
def test_what_cannot_be_played_is_said(folder: Path, arguments: tuple[str, ...], says: str) -> None:
    result = run(*(argument.replace("{}", str(folder)) for argument in arguments))
    assert result.exit_code != 0
    assert says in (result.output + str(result.stderr)).replace("\n", "")


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
