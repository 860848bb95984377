"""An engine that is restored from a snapshot emits the same records as the original, for a snapshot at any point."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from matching_engine import book, state, stops
from matching_engine.engine import Engine
from microexchange.enums import ExecType, PricingRule, TradingState
from microexchange.reports import AuctionUpdate, BookLoaded, OrderReport, TradingStateChanged
from tests.property.engine_attributes import attributes_of
from tests.property.test_engine import busy_day, commands_of, days, digest, run
from tests.unit.market import events_of

COMPARED_COMMANDS = 12
"""The number of commands for which the records of each restored engine are compared."""
SEEDS = (3, 14, 15)


def restored(engine: Engine) -> Engine:
    """Return an engine that is restored from the bytes of a snapshot."""
    encoded = msgspec.msgpack.encode(state.take(engine))
    return state.restore(msgspec.msgpack.decode(encoded, type=state.EngineState))


def follow(commands: list[Any]) -> list[Any]:
    """Apply the commands, restore an engine after each, and compare the records of the last restored engines.

    Return all events.
    """
    engine, restored_engines, all_events = Engine(), [Engine()], []
    for number, command in enumerate(commands):
        events = events_of(engine.apply(command))
        all_events += events
        records = msgspec.msgpack.encode(events)
        for age, other in enumerate(reversed(restored_engines), 1):
            assert msgspec.msgpack.encode(events_of(other.apply(command))) == records, (
                f"command {number}, restored {age} before it"
            )
        restored_engines = [*restored_engines[1 - COMPARED_COMMANDS :], restored(engine)]
    return all_events


@settings(max_examples=15)
@given(days)
def test_an_engine_restored_after_any_command_emits_the_same_records_for_the_next_commands(steps: list[Any]) -> None:
    follow(commands_of(steps))


def long_day() -> list[Any]:
    """Return the steps of several days without a delisting, so that all securities trade."""
    steps = [step for seed in SEEDS for step in busy_day(seed)]
    return [step for step in steps if not (step[0] == "state" and step[2] is TradingState.DELISTED)]


@pytest.mark.parametrize("pricing_rule", PricingRule)
def test_a_long_day_gives_the_same_bytes_across_a_snapshot_at_every_point(pricing_rule: PricingRule) -> None:
    events = follow(commands_of(long_day(), pricing_rule))
    reports = [event for event in events if isinstance(event, OrderReport)]
    contents = {
        "a fill of an iceberg": any(r.exec_type is ExecType.TRADE and r.display_quantity for r in reports),
        "a triggered order": any(r.exec_type is ExecType.TRIGGERED for r in reports),
        "an order that expired": any(r.exec_type is ExecType.EXPIRED and r.expire_at for r in reports),
        "a self-trade that decremented": any(r.exec_type is ExecType.RESTATED for r in reports),
        "an auction with a price": any(isinstance(event, AuctionUpdate) and event.quantity for event in events),
        "a pause": any(
            isinstance(event, TradingStateChanged) and event.state is TradingState.VOLATILITY_AUCTION for event in events
        ),
        "a loaded book": any(isinstance(event, BookLoaded) and event.orders for event in events),
    }
    assert [name for name, found in contents.items() if not found] == [], "the day lacks state that a snapshot must contain"


@settings(max_examples=25)
@given(days)
def test_a_restored_engine_has_the_same_state_as_the_original(steps: list[Any]) -> None:
    commands = commands_of(steps)
    engine = Engine()
    rng = random.Random(len(commands))
    for command in commands:
        engine.apply(command)
        if rng.random() < 0.02:
            assert attributes_of(restored(engine)) == attributes_of(engine)
    assert attributes_of(restored(engine)) == attributes_of(engine)


@settings(max_examples=25)
@given(days)
def test_the_cleanup_of_empty_prices_and_ended_triggers_changes_no_record(steps: list[Any]) -> None:
    commands = commands_of(steps)
    expected = digest(run(commands)[1])
    for kept in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(book, "MAX_EMPTY", kept)
            patch.setattr(stops, "MAX_ENDED", kept)
            assert digest(run(commands)[1]) == expected
