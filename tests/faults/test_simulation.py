"""Thousands of schedules of faults, and checks that the schedules find deliberate errors."""

import os
from typing import Any

import msgspec
import pytest

from matching_engine.engine import Engine
from tests.faults.nodes import EngineNode
from tests.faults.simulation import simulate

SCHEDULES = int(os.environ.get("MX_SCHEDULES", "1500"))
MAX_SCHEDULES = 3000
"""The number of schedules within which a deliberate error must be found."""


@pytest.mark.parametrize("part", range(3))
def test_no_schedule_of_faults_loses_doubles_or_invents_a_record(part: int) -> None:
    each = SCHEDULES // 3
    acknowledged = settled = faults = 0
    for seed in range(part * each, (part + 1) * each):
        world = simulate(seed)
        acknowledged += len(world.acknowledged)
        settled += len(world.clearing.settled)
        faults += world.faults
    assert acknowledged > 20 * each, "the clients enter commands"
    assert settled > 2 * each, "the commands cause settlements"
    assert faults > 10 * each, "the schedules inject faults"


def test_a_seed_replays_exactly() -> None:
    first, second = simulate(7), simulate(7)
    assert first.log == second.log
    assert first.acknowledged == second.acknowledged


def finds_the_error() -> bool:
    for seed in range(MAX_SCHEDULES):
        try:
            simulate(seed)
        except (AssertionError, KeyError):
            return True
    return False


def test_the_simulation_finds_an_engine_that_takes_commands_of_a_replaced_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "fresh", lambda _, batch: batch.records)
    assert finds_the_error()


def test_the_simulation_finds_a_snapshot_kept_before_its_reports_are_durable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def keep(self: EngineNode) -> None:
        if self._begun is not None:
            self.snapshots.append(msgspec.msgpack.encode(self._begun))
            self._begun = None

    monkeypatch.setattr(EngineNode, "finish_snapshot", keep)
    assert finds_the_error()


def test_the_simulation_finds_an_engine_that_applies_a_command_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Engine.apply

    def apply_repeated_commands(self: Engine, command: Any) -> Any:
        self.last_command_ids.clear()
        return apply(self, command)

    monkeypatch.setattr(Engine, "apply", apply_repeated_commands)
    assert finds_the_error()
