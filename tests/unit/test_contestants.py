"""The start and the end of a contestant's process in a live round."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn
from unittest.mock import Mock

import pytest
from rich.console import Console

from exchange_launcher import live_round
from exchange_launcher.contestants import ContestantProcess
from exchange_launcher.live_round import LiveRound
from exchange_launcher.services import UpOptions
from trading_bots.competition.confinement import Confinement
from trading_bots.competition.season import parse_season

SEASON = 'security = [{ symbol = "X", price = "1.00" }]\ncontestant = [{ name = "a", strategy = "Momentum" }]'


async def test_a_contestant_that_cannot_be_started_leaves_no_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> NoReturn:
        raise OSError("no more processes")

    cgroup = Mock()
    monkeypatch.setattr(live_round, "make_cgroup", lambda *_: cgroup)
    monkeypatch.setattr(live_round, "available", lambda: Confinement(reason="a test"))
    monkeypatch.setattr(LiveRound, "_spawn", fail)
    season = parse_season(SEASON)
    played = LiveRound(season, tmp_path / "season.toml", 1, tmp_path, UpOptions(data=tmp_path), Console(), keys={"a": ""})
    exchange: Any = SimpleNamespace(gateway_url="", feed_url="")
    with pytest.raises(OSError, match="no more processes"):
        await played._start_contestant(exchange, season.contestant[0], tmp_path)
    cgroup.remove.assert_called_once_with()


def test_a_contestant_that_its_control_group_has_ended_has_a_reason_with_the_allowed_memory_once(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    player = ContestantProcess("a", Mock(), tmp_path / "log", Confinement(), Mock(), 0.0)
    assert player._reason_of_exit(-9, 200) == "it took more than 200 MB of memory"


@pytest.mark.parametrize(("limits", "text"), [(True, "memory, threads, one processor"), (False, "memory, threads")])
def test_the_result_names_a_limit_of_processors_only_if_the_control_group_has_one(
    tmp_path: Path, limits: bool, text: str
) -> None:
    played = LiveRound(parse_season(SEASON), tmp_path, 1, tmp_path, UpOptions(data=tmp_path), Console())
    player = ContestantProcess("a", Mock(), tmp_path, Confinement(), Mock(), 0.0)
    player.cgroup.limits_processors.return_value = limits  # type: ignore[union-attr]
    assert played._limits_text(player) == f"control group: {text}"
