"""`RestingOrders`, built from reports, has the same orders as the book, with the same displayed quantity and priority."""

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
"""Commands that can trade outside of an auction."""
Books = dict[tuple[str, Side], list[tuple[int, int, int]]]


def books_of_engine(engine: Engine) -> Books:
    """Return (order id, price, displayed lots) by security and side, best first."""
    return {
        (market.symbol, side.side): [
            (order.entry.command_id, level.price, order.visible) for level in side.best_first() for order in level
        ]
        for market in engine.markets.values()
        for side in (market.book.bids, market.book.asks)
    }


def books_of_reports(resting: RestingOrders, keys: Books) -> Books:
    return {key: [(order.order_id, order.price or 0, resting.shown(order)) for order in resting.side(*key)] for key in keys}


def follow(commands: list[Any]) -> int:
    """Compare both after every command, up to the first auction that trades.

    The reports of an uncrossing do not state how much of a fill of an iceberg came from the displayed slice. Return how
    often an iceberg displayed less than a full slice.
    """
    engine, resting, partly_shown = Engine(), RestingOrders(), 0
    for number, command in enumerate(commands):
        events = engine.apply(command).reports
        if not isinstance(command, ENTRIES) and any(isinstance(event, Trade) for event in events):
            break
        for event in events:
            if isinstance(event, OrderReport):
                resting.apply(event)
        books = books_of_engine(engine)
        assert books_of_reports(resting, books) == books, f"command {number}: {command}"
        reports = [report for key in books for report in resting.side(*key)]
        partly_shown += sum(
            0 < resting.shown(report) < min(report.display_quantity, report.leaves_quantity) for report in reports
        )
    return partly_shown


@settings(max_examples=40)
@given(days)
def test_the_resting_orders_from_reports_equal_those_of_the_book(steps: list[Any]) -> None:
    follow(commands_of(steps))


def test_a_triggered_stop_order_rests_again_when_its_saved_book_is_loaded() -> None:
    floor = Floor()
    stop = NewOrder(floor.id(), 1, "a", "X", Side.SELL, OrderType.STOP_LIMIT, 5, 1000, trigger_price=900)
    floor.apply(stop)
    floor.buy("b", 1, 900)
    floor.sell("c", 1, 900)
    floor.apply(SaveBook(floor.id(), 1, "X", "noon"))
    floor.apply(LoadBook(floor.id(), 1, "X", "noon"))
    follow(floor.log)
    ((order_id, price, shown),) = books_of_engine(floor.engine)["X", Side.SELL]
    assert order_id != stop.command_id, "the loaded order is a new order"
    assert (price, shown) == (1000, 5)


def test_the_generated_days_contain_partly_filled_iceberg_slices() -> None:
    assert sum(follow(commands_of(busy_day(seed), rule)) for seed in (3, 14, 15) for rule in PricingRule) > 0
