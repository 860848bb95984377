"""The orders that readers of the reports see one by one are those of the book, each with what it shows and in its place."""

from typing import Any

from hypothesis import given, settings

from matching_engine.engine import Engine
from microexchange.commands import LoadBook, NewOrder, ReplaceOrder, SaveBook
from microexchange.enums import OrderType, PricingRule, Side
from microexchange.reports import OrderReport, Trade
from microexchange.resting_orders import RestingOrders
from tests.property.test_engine import busy_day, commands_of, days
from tests.unit.market import Floor

ENTRIES = (NewOrder, ReplaceOrder)
"""Commands that trade outside of an auction."""
Seen = dict[tuple[str, Side], list[tuple[int, int, int]]]


def of_the_engine(engine: Engine) -> Seen:
    """Order, price and lots shown, the best first, by security and side."""
    return {
        (market.symbol, side.side): [
            (order.entry.command_id, level.price, order.visible) for level in side.best_first() for order in level
        ]
        for market in engine.markets.values()
        for side in (market.book.bids, market.book.asks)
    }


def of_the_reports(resting: RestingOrders, keys: Seen) -> Seen:
    return {key: [(one.order_id, one.price or 0, resting.shown(one)) for one in resting.side(*key)] for key in keys}


def follow(commands: list[Any]) -> int:
    """Compares after every command, up to the first auction that trades. Returns how many icebergs showed less than a part.

    The reports of an uncrossing do not state how much of an iceberg's fill came from the part that showed.
    """
    engine, resting, partly = Engine(), RestingOrders(), 0
    for number, command in enumerate(commands):
        events = engine.apply(command).reports
        if not isinstance(command, ENTRIES) and any(isinstance(event, Trade) for event in events):
            break
        for event in events:
            if isinstance(event, OrderReport):
                resting.apply(event)
        books = of_the_engine(engine)
        assert of_the_reports(resting, books) == books, f"command {number}: {command}"
        reports = [one for key in books for one in resting.side(*key)]
        partly += sum(0 < resting.shown(one) < min(one.display_quantity, one.leaves_quantity) for one in reports)
    return partly


@settings(max_examples=40)
@given(days)
def test_the_orders_one_by_one_are_those_of_the_book(steps: list[Any]) -> None:
    follow(commands_of(steps))


def test_a_stop_that_was_triggered_stands_again_when_its_saved_book_is_put_back() -> None:
    floor = Floor()
    waits = NewOrder(floor.id(), 1, "a", "X", Side.SELL, OrderType.STOP_LIMIT, 5, 1000, trigger_price=900)
    floor.apply(waits)
    floor.buy("b", 1, 900)
    floor.sell("c", 1, 900)
    floor.apply(SaveBook(floor.id(), 1, "X", "noon"))
    floor.apply(LoadBook(floor.id(), 1, "X", "noon"))
    follow(floor.log)
    ((order_id, price, shown),) = of_the_engine(floor.engine)["X", Side.SELL]
    assert order_id != waits.command_id, "it is a new order"
    assert (price, shown) == (1000, 5)


def test_a_day_has_icebergs_of_which_a_part_is_taken() -> None:
    assert sum(follow(commands_of(busy_day(seed), rule)) for seed in (3, 14, 15) for rule in PricingRule) > 0
