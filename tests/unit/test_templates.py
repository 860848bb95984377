"""The templates of sessions."""

from importlib.resources import files
from pathlib import Path

import pytest

from microexchange.induced_values import equilibrium
from order_entry_gateway.templates import ORDER, SessionTemplate, session_templates

ROOT = Path(__file__).parents[2]
TRADED_BY_THE_HOUSE = {"AAPL", "MSFT"}
"""Securities of the default listing that house bots trade."""


def symbols_of(template: SessionTemplate) -> set[str]:
    found = {symbol for hand in template.hands for symbol in hand.values}
    for planned in template.session.rounds:
        found |= set(planned.shares or {})
        found |= {one.symbol for one in planned.assignments if one.symbol}
        found |= {event.symbol for event in planned.events if hasattr(event, "symbol")}
        found |= {symbol for event in planned.events for symbol in getattr(event, "value_changes", {})}
    return found


def test_every_file_is_a_template_and_has_a_lesson() -> None:
    folder = files("order_entry_gateway").joinpath("session_templates")
    assert sorted(f"{name}.toml" for name in ORDER) == sorted(path.name for path in folder.iterdir())
    for name in ORDER:
        assert (ROOT / "docs" / "lessons" / f"{name}.md").is_file(), name


@pytest.mark.parametrize("name", ORDER)
def test_a_template_lists_the_securities_that_the_house_does_not_trade(name: str) -> None:
    template = session_templates()[name]
    assert symbols_of(template) - {one.symbol for one in template.securities} <= TRADED_BY_THE_HOUSE


@pytest.mark.parametrize("name", ORDER)
def test_a_lesson_is_longer_than_its_rounds(name: str) -> None:
    template = session_templates()[name]
    assert template.minutes * 60 > sum(planned.seconds for planned in template.session.rounds)


def test_the_bubble_pays_the_dividends_of_the_experiment() -> None:
    (mine,) = session_templates()["bubble"].securities
    payouts = [event for event in session_templates()["bubble"].session.rounds[1].events if hasattr(event, "draw")]
    draws = [event.draw for event in payouts if event.draw]
    assert len(draws) == 15
    expected = [sum(amounts) / len(amounts) for amounts in draws]
    assert sum(expected) == mine.reference_price
    assert payouts[-1].final
    assert payouts[-1].amount == 0


def test_the_first_market_has_gains_from_trade_between_its_roles() -> None:
    hands = session_templates()["first-market"].hands
    units = {role: [v for h in hands if h.role == role for v in h.values["CORN"]] for role in ("buyer", "seller")}
    found = equilibrium([int(v * 100) for v in units["buyer"]], [int(v * 100) for v in units["seller"]])
    assert found.quantity >= 6
    assert found.surplus > 0
    (corn,) = session_templates()["first-market"].securities
    assert found.lowest_price is not None
    assert found.highest_price is not None
    assert found.lowest_price <= corn.reference_price * 100 <= found.highest_price, "the reference price gives no hint"
