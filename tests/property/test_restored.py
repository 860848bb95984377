"""An engine that was restored from a snapshot makes the records that the run makes, wherever the snapshot was taken."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from matching_engine import book, state, stops
from matching_engine.engine import Engine
from microexchange.enums import ExecType, PricingRule, TradingState
from microexchange.reports import AuctionUpdate, BookLoaded, OrderReport, TradingStateChanged
from tests.property.picture import picture
from tests.property.test_engine import busy_day, commands_of, days, digest, run
from tests.unit.market import events_of

FOLLOWED = 12
"""For so many commands the records of each restored engine are compared."""
SEEDS = (3, 14, 15)


def restored(engine: Engine) -> Engine:
    """A twin, by way of a snapshot's bytes."""
    encoded = msgspec.msgpack.encode(state.take(engine))
    return state.restore(msgspec.msgpack.decode(encoded, type=state.EngineState))


def follow(commands: list[Any]) -> list[Any]:
    """Applies the commands, restores a twin after every one of them, and compares what the newest twins make of each."""
    engine, twins, made = Engine(), [Engine()], []
    for number, command in enumerate(commands):
        events = events_of(engine.apply(command))
        made += events
        records = msgspec.msgpack.encode(events)
        for age, twin in enumerate(reversed(twins), 1):
            assert msgspec.msgpack.encode(events_of(twin.apply(command))) == records, (
                f"command {number}, restored {age} before it"
            )
        twins = [*twins[1 - FOLLOWED :], restored(engine)]
    return made


@settings(max_examples=15)
@given(days)
def test_a_twin_that_is_restored_after_any_command_makes_the_same_records_of_the_next(steps: list[Any]) -> None:
    follow(commands_of(steps))


def long_day() -> list[Any]:
    """Steps of several days, in which no security is delisted, so that all of them trade."""
    steps = [step for seed in SEEDS for step in busy_day(seed)]
    return [step for step in steps if not (step[0] == "state" and step[2] is TradingState.DELISTED)]


@pytest.mark.parametrize("pricing_rule", PricingRule)
def test_a_long_day_gives_the_same_bytes_across_a_snapshot_at_every_point(pricing_rule: PricingRule) -> None:
    made = follow(commands_of(long_day(), pricing_rule))
    reports = [event for event in made if isinstance(event, OrderReport)]
    seen = {
        "a fill of an iceberg": any(r.exec_type is ExecType.TRADE and r.display_quantity for r in reports),
        "a triggered order": any(r.exec_type is ExecType.TRIGGERED for r in reports),
        "an order that expired": any(r.exec_type is ExecType.EXPIRED and r.expire_at for r in reports),
        "a self-trade that decremented": any(r.exec_type is ExecType.RESTATED for r in reports),
        "an auction with a price": any(isinstance(event, AuctionUpdate) and event.quantity for event in made),
        "a pause": any(
            isinstance(event, TradingStateChanged) and event.state is TradingState.VOLATILITY_AUCTION for event in made
        ),
        "a saved book put back": any(isinstance(event, BookLoaded) and event.orders for event in made),
    }
    assert [kind for kind, found in seen.items() if not found] == [], "the day lacks what a snapshot could forget"


@settings(max_examples=25)
@given(days)
def test_a_restored_engine_knows_what_the_run_knows(steps: list[Any]) -> None:
    commands = commands_of(steps)
    engine = Engine()
    dice = random.Random(len(commands))
    for command in commands:
        engine.apply(command)
        if dice.random() < 0.02:
            assert picture(restored(engine)) == picture(engine)
    assert picture(restored(engine)) == picture(engine)


@settings(max_examples=25)
@given(days)
def test_when_empty_prices_and_ended_triggers_are_dropped_changes_no_record(steps: list[Any]) -> None:
    commands = commands_of(steps)
    told = digest(run(commands)[1])
    for kept in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(book, "MAX_EMPTY", kept)
            patch.setattr(stops, "MAX_ENDED", kept)
            assert digest(run(commands)[1]) == told
