"""Tests of order types, times in force, amendments, self-trades, prices, bands and auctions, see docs/rulebook.md."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from matching_engine import state
from matching_engine.state import EngineState, restore, take
from microexchange.commands import (
    CancelAll,
    ListSecurity,
    LoadBook,
    NewOrder,
    OpenAccount,
    ReplaceOrder,
    SaveBook,
    SetTradingState,
    TimeTick,
    TransferAssets,
)
from microexchange.enums import (
    ExecType,
    OrderStatus,
    OrderType,
    PricingRule,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradingState,
)
from microexchange.instructions import Execution
from microexchange.numbers import CASH_SCALE
from microexchange.refusals import Code
from microexchange.reports import AuctionUpdate, CommandRejected, OrderReport, PriceUpdate, Trade, TradingStateChanged
from tests.unit.market import TICK_VALUE, Floor, events_of, fills, last_report, of

S, T = OrderStatus, TradingState
SECOND = 1_000_000_000


class Pit(Floor):
    """A floor with a second security, Y, and clients d, e and f. Orders may have all terms, and the test sets the clock."""

    def __init__(self, **terms: Any) -> None:
        super().__init__()
        self.now = 10
        self.apply(ListSecurity(self.id(), 1, "Y", "Y Inc.", "0.01", "1", 1000, **terms))
        for client in ("d", "e", "f"):
            self.apply(OpenAccount(self.id(), 1, client, 10_000 * CASH_SCALE, {"Y": 100}))

    def order(self, client: str, side: str, quantity: int, price: int | None = None, **more: Any) -> tuple[int, list[Any]]:
        order_id = self.id()
        more.setdefault("order_type", OrderType.MARKET if price is None else OrderType.LIMIT)
        more.setdefault("symbol", "Y")
        command = NewOrder(order_id, self.now, client, side=Side(side), quantity=quantity, price=price, **more)
        return order_id, self.apply(command)

    def replace(self, client: str, order_id: int, **change: Any) -> list[Any]:
        return self.apply(ReplaceOrder(self.id(), self.now, client, order_id, **change))

    def state(self, state: TradingState) -> list[Any]:
        return self.apply(SetTradingState(self.id(), self.now, "Y", state))

    def tick(self, seconds: float) -> list[Any]:
        self.now += int(seconds * SECOND)
        return self.apply(TimeTick(self.id(), self.now))

    def trade_at(self, price: int) -> list[Any]:
        self.order("e", "sell", 1, price)
        return self.order("f", "buy", 1, price)[1]


def trades(events: list[Any]) -> list[tuple[int, int]]:
    return [(trade.quantity, trade.price) for trade in of(Trade, events)]


# --- time in force ------------------------------------------------------------------------------------------------------


def test_an_ioc_order_trades_at_once_and_its_rest_is_cancelled() -> None:
    pit = Pit()
    pit.order("e", "sell", 3, 1000)
    order, events = pit.order("d", "buy", 5, 1000, time_in_force=TimeInForce.IOC)
    report = last_report(events, order)
    assert (report.status, report.cumulative_quantity, report.code) == (S.CANCELED, 3, Code.UNFILLED)
    assert pit.engine.accounts["d"].held == 0


def test_a_fok_order_trades_whole_over_several_levels_or_not_at_all() -> None:
    pit = Pit()
    pit.order("e", "sell", 3, 1000)
    pit.order("f", "sell", 3, 1010)
    order, events = pit.order("d", "buy", 7, 1010, time_in_force=TimeInForce.FOK)
    assert (last_report(events, order).status, last_report(events, order).code) == (S.REJECTED, Code.NOT_FILLABLE)
    assert trades(events) == []
    order, events = pit.order("d", "buy", 6, 1010, time_in_force=TimeInForce.FOK)
    assert last_report(events, order).status is S.FILLED
    assert trades(events) == [(3, 1000), (3, 1010)]


def test_a_fok_order_does_not_count_levels_beyond_its_limit() -> None:
    pit = Pit()
    pit.order("e", "sell", 3, 1000)
    pit.order("e", "sell", 3, 1010)
    assert pit.order("d", "buy", 6, 1009, time_in_force=TimeInForce.FOK)[1][0].code == Code.NOT_FILLABLE


def test_a_fok_order_counts_the_hidden_quantity_of_an_iceberg() -> None:
    pit = Pit()
    pit.order("e", "sell", 9, 1000, display_quantity=2)
    order, events = pit.order("d", "buy", 9, 1000, time_in_force=TimeInForce.FOK)
    assert last_report(events, order).status is S.FILLED


@pytest.mark.parametrize(
    ("prevention", "fillable"),
    [("cancel_newest", False), ("cancel_both", False), ("decrement", False), ("cancel_oldest", True), ("none", True)],
)
def test_a_fok_order_is_checked_for_self_trades_before_it_trades(prevention: str, fillable: bool) -> None:
    pit = Pit()
    pit.apply(OpenAccount(pit.id(), 1, "g", 10_000 * CASH_SCALE, {"Y": 100}, SelfTradePrevention(prevention)))
    pit.order("e", "sell", 2, 1000)
    pit.order("g", "sell", 2, 1000)
    pit.order("e", "sell", 4, 1000)
    order, events = pit.order("g", "buy", 6, 1000, time_in_force=TimeInForce.FOK)
    assert (last_report(events, order).status is S.FILLED) is fillable
    if not fillable:
        assert len(events) == 1, "the rejection is the only event"


def test_a_gtd_order_expires_at_its_time_and_releases_its_cash() -> None:
    pit = Pit()
    order, _ = pit.order("d", "buy", 5, 1000, time_in_force=TimeInForce.GTD, expire_at=10 + 5 * SECOND)
    assert pit.tick(4.9) == []
    events = pit.tick(0.2)
    report = last_report(events, order)
    assert (report.exec_type, report.status, report.code) == (ExecType.EXPIRED, S.EXPIRED, Code.EXPIRED)
    assert pit.engine.accounts["d"].held == 0
    assert pit.levels("buy", "Y") == []


def test_a_gtd_order_does_not_trade_after_its_time() -> None:
    pit = Pit()
    pit.order("d", "buy", 5, 1000, time_in_force=TimeInForce.GTD, expire_at=10 + SECOND)
    pit.now += SECOND
    order, events = pit.order("e", "sell", 5, 1000)
    assert trades(events) == []
    assert last_report(events, order).status is S.NEW


@pytest.mark.parametrize("expire_at", [0, 5, 10])
def test_a_gtd_order_must_end_in_the_future(expire_at: int) -> None:
    assert (
        Pit().order("d", "buy", 1, 1000, time_in_force=TimeInForce.GTD, expire_at=expire_at)[1][0].code == Code.INVALID_FIELD
    )


def test_a_day_order_ends_when_its_security_closes_and_a_gtc_order_does_not() -> None:
    pit = Pit()
    day, _ = pit.order("d", "buy", 1, 900, time_in_force=TimeInForce.DAY)
    waiting, _ = pit.order(
        "d", "sell", 1, order_type=OrderType.STOP_MARKET, trigger_price=800, time_in_force=TimeInForce.DAY
    )
    pit.order("d", "buy", 2, 900)
    events = pit.state(T.CLOSED)
    assert {last_report(events, order).status for order in (day, waiting)} == {S.EXPIRED}
    assert pit.levels("buy", "Y") == [(900, 2, 1)]


# --- post only, icebergs ------------------------------------------------------------------------------------------------


def test_a_post_only_order_rests_and_is_rejected_if_it_would_trade() -> None:
    pit = Pit()
    pit.order("e", "sell", 1, 1000)
    assert pit.order("d", "buy", 1, 1000, post_only=True)[1][0].code == Code.WOULD_TRADE
    order, events = pit.order("d", "buy", 1, 999, post_only=True)
    assert last_report(events, order).status is S.NEW


def test_an_iceberg_shows_one_slice_and_each_new_slice_goes_to_the_back_of_its_level() -> None:
    pit = Pit()
    iceberg, _ = pit.order("e", "sell", 10, 1000, display_quantity=3)
    plain, _ = pit.order("f", "sell", 4, 1000)
    assert pit.levels("sell", "Y") == [(1000, 7, 2)]
    _, events = pit.order("d", "buy", 12, 1000)
    assert [(trade.maker_order_id, trade.quantity) for trade in of(Trade, events)] == [
        (iceberg, 3), (plain, 4), (iceberg, 3), (iceberg, 2),
    ]  # fmt: skip
    assert pit.levels("sell", "Y") == [(1000, 1, 1)]
    assert pit.engine.accounts["e"].holdings["Y"].offered == 2


def about_to_drop_empty_prices(pit: Pit, side: str) -> None:
    """Enter an iceberg of 20 that shows 10 at 500, and one order at each of 100 prices behind it. Cancel 75 of them.

    After the next empty price, the side removes all empty prices. No order trades.
    """
    pit.order("d", side, 20, 500, display_quantity=10)
    sign = 1 if side == "sell" else -1
    rungs = [pit.order("e", side, 1, 500 + sign * (50 + number))[0] for number in range(100)]
    for order in rungs[:75]:
        pit.cancel("e", order)


@pytest.mark.parametrize(("side", "other"), [("sell", "buy"), ("buy", "sell")])
@pytest.mark.parametrize("state", [T.CONTINUOUS, T.OPENING_AUCTION])
def test_the_price_update_after_a_refill_of_an_iceberg_matches_the_book(side: str, other: str, state: TradingState) -> None:
    pit = Pit(state=state)
    about_to_drop_empty_prices(pit, side)
    twin = restore(msgspec.msgpack.decode(msgspec.msgpack.encode(take(pit.engine)), type=EngineState))
    commands = len(pit.log)
    _, events = pit.order("f", other, 10, 500)
    if state is not T.CONTINUOUS:
        events += pit.state(T.CONTINUOUS)
    assert of(Trade, events), "a slice trades"
    update = [update for update in of(PriceUpdate, events) if update.side == side][-1]
    assert (update.price, update.quantity, update.order_count) == (500, 10, 1) == pit.levels(side, "Y")[0]
    assert [event for command in pit.log[commands:] for event in events_of(twin.apply(command))] == events


# --- stops and take-profits ---------------------------------------------------------------------------------------------

TRIGGERS = [
    ("stop_market", "buy", 1100, 1099, 1100),
    ("stop_market", "sell", 900, 901, 900),
    ("take_profit", "buy", 900, 901, 900),
    ("take_profit", "sell", 1100, 1099, 1100),
]


@pytest.mark.parametrize(("order_type", "side", "trigger", "price_before", "price_at"), TRIGGERS)
def test_a_waiting_order_becomes_active_when_the_last_price_reaches_its_trigger(
    order_type: str, side: str, trigger: int, price_before: int, price_at: int
) -> None:
    pit = Pit()
    order, events = pit.order("d", side, 2, order_type=OrderType(order_type), trigger_price=trigger)
    assert last_report(events, order).status is S.NEW
    assert pit.levels(side, "Y") == [], "a waiting order is not in the book"
    assert not [r for r in of(OrderReport, pit.trade_at(price_before)) if r.order_id == order]
    pit.order("e", "sell" if side == "buy" else "buy", 5, price_at)
    events = pit.order("f", "buy" if side == "buy" else "sell", 1, price_at)[1]
    own = [report.exec_type for report in of(OrderReport, events) if report.order_id == order]
    assert own == [ExecType.TRIGGERED, ExecType.TRADE]
    assert last_report(events, order).status is S.FILLED
    assert not pit.engine.accounts["d"].orders


@pytest.mark.parametrize("order_type", [OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT])
def test_a_triggered_order_with_a_date_counts_once_among_the_orders_that_expire(order_type: OrderType) -> None:
    pit = Pit()
    trigger, limit = (1000, 1000) if order_type is OrderType.STOP_LIMIT else (1000, 990)
    terms: dict[str, Any] = {"time_in_force": TimeInForce.GTD, "expire_at": 10**18}
    order, _ = pit.order("d", "buy", 1, limit, order_type=order_type, trigger_price=trigger, **terms)
    events = pit.trade_at(1000)
    assert ExecType.TRIGGERED in [report.exec_type for report in of(OrderReport, events) if report.order_id == order]
    assert pit.levels("buy", "Y") == [(limit, 1, 1)]
    assert pit.engine.expiring_orders == 1
    assert len(pit.engine.timers) == 1
    pit.cancel("d", order)
    assert pit.engine.expiring_orders == 0


def test_a_stop_limit_rests_at_its_limit_once_it_is_triggered() -> None:
    pit = Pit()
    order, _ = pit.order("d", "buy", 2, 1105, order_type=OrderType.STOP_LIMIT, trigger_price=1100)
    held = pit.engine.accounts["d"].held
    assert held > 0
    events = pit.trade_at(1100)
    assert last_report(events, order).exec_type is ExecType.TRIGGERED
    assert pit.levels("buy", "Y") == [(1105, 2, 1)]
    assert pit.engine.accounts["d"].held == held
    assert fills(pit.order("e", "sell", 2, 1105)[1], order) == [(2, 1105)]


def test_an_order_whose_trigger_is_already_reached_becomes_active_at_once() -> None:
    pit = Pit()
    pit.trade_at(1000)
    pit.order("e", "sell", 1, 1010)
    order, events = pit.order("d", "buy", 1, order_type=OrderType.STOP_MARKET, trigger_price=1000)
    assert fills(events, order) == [(1, 1010)]


def test_orders_that_are_triggered_together_enter_by_trigger_price_then_arrival() -> None:
    pit = Pit()
    late, _ = pit.order("d", "buy", 1, order_type=OrderType.STOP_MARKET, trigger_price=1030)
    first, _ = pit.order("d", "buy", 1, order_type=OrderType.STOP_MARKET, trigger_price=1010)
    second, _ = pit.order("d", "buy", 1, order_type=OrderType.STOP_MARKET, trigger_price=1010)
    for price in (1030, 1031, 1032, 1033):
        pit.order("e", "sell", 1, price)
    events = pit.order("f", "buy", 1, 1030)[1]
    triggered = [report.order_id for report in of(OrderReport, events) if report.exec_type is ExecType.TRIGGERED]
    assert triggered == [first, second, late]


def test_a_triggered_order_that_trades_can_trigger_other_orders() -> None:
    pit = Pit()
    for step in range(20):
        pit.order("d", "buy", 1, order_type=OrderType.STOP_MARKET, trigger_price=1000 + step)
        pit.order("e", "sell", 1, 1000 + step)
    events = pit.order("f", "buy", 1, 1000)[1]
    assert len(of(Trade, events)) == 20, "there is no offer left for the last stop order"
    assert not pit.engine.markets["Y"].stops.orders
    assert pit.engine.accounts["d"].held == 0


def test_a_cancelled_stop_order_is_not_triggered() -> None:
    pit = Pit()
    order, _ = pit.order("d", "sell", 1, order_type=OrderType.STOP_MARKET, trigger_price=900)
    assert last_report(pit.cancel("d", order), order).status is S.CANCELED
    assert not [r for r in of(OrderReport, pit.trade_at(900)) if r.order_id == order]
    assert pit.engine.accounts["d"].holdings["Y"].offered == 0


def test_a_triggered_market_buy_without_enough_cash_is_cancelled() -> None:
    pit = Pit()
    order, _ = pit.order("d", "buy", 100, order_type=OrderType.STOP_MARKET, trigger_price=1000)
    pit.order("d", "buy", 1, 990_000, symbol="X")
    pit.order("e", "sell", 100, 1000)
    report = last_report(pit.order("f", "buy", 1, 1000)[1], order)
    assert (report.status, report.code) == (S.CANCELED, Code.INSUFFICIENT_CASH)


@pytest.mark.parametrize(
    "change",
    [
        {"order_type": OrderType.STOP_MARKET},
        {"order_type": OrderType.STOP_LIMIT, "trigger_price": 1000},
        {"order_type": OrderType.STOP_MARKET, "trigger_price": 0},
        {"order_type": OrderType.STOP_MARKET, "trigger_price": 1000, "time_in_force": TimeInForce.FOK},
        {"order_type": OrderType.STOP_MARKET, "trigger_price": 1000, "post_only": True},
        {"order_type": OrderType.MARKET, "trigger_price": 1000},
        {"price": 1000, "expire_at": 10**15},
        {"price": 1000, "display_quantity": 2},
        {"price": 1000, "display_quantity": -1},
        {"price": 1000, "display_quantity": 1, "time_in_force": TimeInForce.IOC},
        {"price": 1000, "post_only": True, "time_in_force": TimeInForce.IOC},
        {"post_only": True},
    ],
)
def test_a_combination_of_incompatible_terms_is_rejected(change: dict[str, Any]) -> None:
    pit = Pit()
    price = change.pop("price", None)
    assert pit.order("d", "buy", 1, price, **change)[1][0].code == Code.INVALID_FIELD


# --- amend, cancel all --------------------------------------------------------------------------------------------------


def test_an_order_with_a_smaller_quantity_keeps_its_priority() -> None:
    pit = Pit()
    first, _ = pit.order("e", "sell", 5, 1000)
    pit.order("f", "sell", 5, 1000)
    report = last_report(pit.replace("e", first, quantity=3), first)
    assert (report.exec_type, report.quantity, report.leaves_quantity) == (ExecType.REPLACED, 3, 3)
    assert pit.levels("sell", "Y") == [(1000, 8, 2)]
    assert of(Trade, pit.order("d", "buy", 1, 1000)[1])[0].maker_order_id == first
    assert pit.engine.accounts["e"].holdings["Y"].offered == 2


@pytest.mark.parametrize("change", [{"quantity": 6}, {"price": 1000, "quantity": 6}])
def test_an_order_with_a_larger_quantity_loses_its_priority(change: dict[str, int]) -> None:
    pit = Pit()
    first, _ = pit.order("e", "sell", 5, 1000)
    second, _ = pit.order("f", "sell", 5, 1000)
    pit.replace("e", first, **change)
    assert of(Trade, pit.order("d", "buy", 1, 1000)[1])[0].maker_order_id == second


def test_an_order_with_a_new_price_can_trade_at_once() -> None:
    pit = Pit()
    order, _ = pit.order("d", "buy", 5, 990)
    pit.order("e", "sell", 2, 1000)
    events = pit.replace("d", order, price=1000)
    assert [r.exec_type for r in of(OrderReport, events) if r.order_id == order] == [ExecType.REPLACED, ExecType.TRADE]
    assert pit.levels("buy", "Y") == [(1000, 3, 1)]


def test_the_new_quantity_of_an_amended_order_includes_its_fills() -> None:
    pit = Pit()
    order, _ = pit.order("e", "sell", 5, 1000)
    pit.order("d", "buy", 2, 1000)
    report = last_report(pit.replace("e", order, quantity=4), order)
    assert (report.cumulative_quantity, report.leaves_quantity, report.status) == (2, 2, S.PARTIALLY_FILLED)
    for quantity in (2, 1, 0, -1):
        (refused,) = pit.replace("e", order, quantity=quantity)
        assert refused.code == Code.INVALID_FIELD


def test_an_amendment_needs_credit_only_for_the_added_quantity() -> None:
    pit = Pit()
    order, _ = pit.order("d", "buy", 900, 1000)
    assert of(OrderReport, pit.replace("d", order, quantity=998))
    (refused,) = pit.replace("d", order, quantity=999)
    assert refused.code == Code.INSUFFICIENT_CASH
    assert pit.levels("buy", "Y") == [(1000, 998, 1)]
    sell, _ = pit.order("e", "sell", 60, 2000)
    assert of(OrderReport, pit.replace("e", sell, quantity=100))
    assert pit.replace("e", sell, quantity=101)[0].code == Code.INSUFFICIENT_SHARES


def test_the_trigger_of_a_waiting_order_can_be_amended() -> None:
    pit = Pit()
    pit.trade_at(1000)
    pit.order("e", "sell", 1, 1001)
    order, _ = pit.order("d", "buy", 1, order_type=OrderType.STOP_MARKET, trigger_price=1100)
    events = pit.replace("d", order, trigger_price=1000)
    assert fills(events, order) == [(1, 1001)]


@pytest.mark.parametrize("change", [{"price": 0}, {"trigger_price": 5}, {"quantity": 10**13}])
def test_an_amendment_out_of_range_is_refused_and_changes_nothing(change: dict[str, int]) -> None:
    pit = Pit()
    order, _ = pit.order("d", "buy", 5, 1000)
    (refused,) = pit.replace("d", order, **change)
    assert (type(refused), refused.code) == (CommandRejected, Code.INVALID_FIELD)
    assert pit.levels("buy", "Y") == [(1000, 5, 1)]
    assert pit.replace("e", order, quantity=1)[0].code == Code.UNKNOWN_ORDER


def test_a_post_only_order_cannot_be_amended_into_a_trade() -> None:
    pit = Pit()
    order, _ = pit.order("d", "buy", 1, 990, post_only=True)
    pit.order("e", "sell", 1, 1000)
    assert pit.replace("d", order, price=1000)[0].code == Code.WOULD_TRADE


@pytest.mark.parametrize(("symbol", "side", "left"), [("", None, 0), ("Y", None, 1), ("", "buy", 1), ("Y", "buy", 2)])
def test_cancel_all_can_be_limited_to_a_security_and_a_side(symbol: str, side: str | None, left: int) -> None:
    pit = Pit()
    pit.apply(OpenAccount(pit.id(), 1, "g", 10_000 * CASH_SCALE, {"X": 10, "Y": 10}))
    pit.order("g", "buy", 1, 900)
    pit.order("g", "sell", 1, 1100)
    pit.order("g", "buy", 1, 900, symbol="X")
    pit.order("d", "buy", 1, 900)
    if left == 1 and symbol == "Y":
        assert len(pit.engine.accounts["g"].orders) == 3
    pit.apply(CancelAll(pit.id(), 1, "g", symbol, None if side is None else Side(side)))
    assert len(pit.engine.accounts["g"].orders) == left
    assert len(pit.engine.accounts["d"].orders) == 1


# --- self-trade prevention ----------------------------------------------------------------------------------------------


def self_trader(prevention: str) -> Pit:
    pit = Pit()
    pit.apply(OpenAccount(pit.id(), 1, "g", 10_000 * CASH_SCALE, {"Y": 100}, SelfTradePrevention(prevention)))
    return pit


def test_cancel_oldest_cancels_the_resting_order_and_continues_to_match() -> None:
    pit = self_trader("cancel_oldest")
    old, _ = pit.order("g", "sell", 2, 1000)
    pit.order("e", "sell", 2, 1000)
    order, events = pit.order("g", "buy", 2, 1000)
    assert (last_report(events, old).status, last_report(events, old).code) == (S.CANCELED, Code.SELF_TRADE)
    assert last_report(events, order).status is S.FILLED


def test_cancel_both_cancels_both_orders() -> None:
    pit = self_trader("cancel_both")
    old, _ = pit.order("g", "sell", 2, 1000)
    order, events = pit.order("g", "buy", 2, 1000)
    assert {last_report(events, order_id).status for order_id in (old, order)} == {S.CANCELED}
    assert pit.engine.accounts["g"].held == pit.engine.accounts["g"].holdings["Y"].offered == 0


@pytest.mark.parametrize(("sell", "buy"), [(2, 5), (5, 2), (3, 3)])
def test_decrement_reduces_both_orders_by_the_smaller_quantity_without_a_trade(sell: int, buy: int) -> None:
    pit = self_trader("decrement")
    old, _ = pit.order("g", "sell", sell, 1000)
    new, events = pit.order("g", "buy", buy, 1000)
    assert trades(events) == []
    for order, quantity in ((old, sell), (new, buy)):
        report = last_report(events, order)
        assert report.leaves_quantity == quantity - min(sell, buy)
        assert (report.status is S.CANCELED) is (quantity == min(sell, buy))
    account = pit.engine.accounts["g"]
    assert account.holdings["Y"].offered == max(0, sell - buy)
    assert account.holdings["Y"].bid == max(0, buy - sell)


def decremented_iceberg(pit: Pit) -> int:
    """Return an iceberg of 10 that shows 6, after self-trade prevention has taken 7."""
    order, _ = pit.order("g", "sell", 10, 1000, display_quantity=6)
    pit.order("g", "buy", 7, 1000)
    return order


def put_back_iceberg(pit: Pit) -> int:
    """Return an iceberg of 10 that shows 6 and of which 7 have traded, from a saved book."""
    pit.order("g", "sell", 10, 1000, display_quantity=6)
    pit.order("d", "buy", 7, 1000)
    pit.apply(SaveBook(pit.id(), pit.now, "Y", "then"))
    pit.apply(LoadBook(pit.id(), pit.now, "Y", "then"))
    (order,) = pit.engine.accounts["g"].orders
    return order


@pytest.mark.parametrize("reach", [decremented_iceberg, put_back_iceberg])
@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({"price": 1010}, (1010, 3)),
        ({"price": 1010, "quantity": 3}, (1010, 3)),
        ({"quantity": 2}, (1000, 2)),
        ({"quantity": 5}, (1000, 5)),
        ({"quantity": 9}, (1000, 6)),
    ],
)
def test_an_iceberg_with_less_left_than_its_display_quantity_can_be_amended(
    reach: Callable[[Pit], int], change: dict[str, int], level: tuple[int, int]
) -> None:
    pit = self_trader("decrement")
    order = reach(pit)
    events = pit.replace("g", order, **change)
    assert last_report(events, order).exec_type is ExecType.REPLACED
    assert pit.levels("sell", "Y") == [(*level, 1)]


def test_the_quantity_of_an_iceberg_cannot_be_amended_below_its_display_quantity() -> None:
    pit = Pit()
    order, _ = pit.order("d", "sell", 10, 1000, display_quantity=6)
    (refusal,) = pit.replace("d", order, quantity=5)
    assert (type(refusal), refusal.code) == (CommandRejected, Code.INVALID_FIELD)


def test_the_value_of_an_amended_order_excludes_its_fills() -> None:
    max_value = 10 * 1000 * TICK_VALUE
    pit = Pit(max_order_value=max_value)
    order, _ = pit.order("d", "sell", 10, 1000)
    pit.order("e", "buy", 8, 1000)
    (refusal,) = pit.replace("d", order, price=5001)
    assert refusal.code == Code.LIMIT_EXCEEDED
    assert last_report(pit.replace("d", order, price=5000), order).exec_type is ExecType.REPLACED


@pytest.mark.parametrize(("change", "refused"), [({"quantity": 4}, False), ({"price": 901}, False), ({"quantity": 6}, True)])
def test_an_amendment_that_adds_no_quantity_is_accepted_even_above_the_position_limit(
    change: dict[str, int], refused: bool
) -> None:
    pit = Pit(position_limit=110)
    order, _ = pit.order("d", "buy", 5, 900)
    pit.apply(TransferAssets(pit.id(), pit.now, "d", 0, {"Y": 50}))
    events = pit.replace("d", order, **change)
    assert (getattr(events[0], "code", "") == Code.POSITION_LIMIT) is refused


def test_a_saved_order_has_its_amended_trigger() -> None:
    pit = Pit()
    order, _ = pit.order("d", "buy", 2, 1000, order_type=OrderType.STOP_LIMIT, trigger_price=1100)
    pit.replace("d", order, trigger_price=1050)
    pit.trade_at(1050)
    pit.apply(SaveBook(pit.id(), pit.now, "Y", "then"))
    events = pit.apply(LoadBook(pit.id(), pit.now, "Y", "then"))
    assert [r.trigger_price for r in of(OrderReport, events) if r.exec_type is ExecType.NEW] == [1050]


@pytest.mark.parametrize("order_type", [OrderType.MARKET, OrderType.STOP_MARKET])
def test_a_market_buy_needs_the_cash_for_the_offers_behind_the_clients_own(order_type: OrderType) -> None:
    pit = self_trader("cancel_oldest")
    own, _ = pit.order("g", "sell", 5, 1000)
    pit.order("e", "sell", 5, 1_000_000)
    if order_type is OrderType.MARKET:
        order, events = pit.order("g", "buy", 5)
    else:
        order, _ = pit.order("g", "buy", 5, order_type=order_type, trigger_price=900)
        events = pit.trade_at(900)
    assert last_report(events, order).code == Code.INSUFFICIENT_CASH
    assert own in pit.engine.accounts["g"].orders
    assert pit.engine.accounts["g"].buying_power >= 0


def test_without_prevention_a_client_trades_with_itself_and_pays_the_fees() -> None:
    pit = self_trader("none")
    pit.order("g", "sell", 2, 1000)
    order, events = pit.order("g", "buy", 2, 1000)
    assert last_report(events, order).status is S.FILLED
    notional = 2 * 1000 * TICK_VALUE
    assert pit.engine.accounts["g"].cash == 10_000 * CASH_SCALE - notional // 1000 - notional // 500
    assert pit.engine.accounts["g"].holdings["Y"].quantity == 100


# --- pricing rules, fees ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "paid", "received", "price"),
    [("resting", 1000, 1000, 1000), ("midpoint", 1003, 1003, 1003), ("spread_capture", 1006, 1000, 1000)],
)
def test_the_pricing_rule_sets_the_price_of_each_side(rule: str, paid: int, received: int, price: int) -> None:
    pit = Pit(pricing_rule=PricingRule(rule))
    pit.order("e", "sell", 2, 1000)
    order, events = pit.order("d", "buy", 2, 1006)
    (execution,) = of(Execution, events)
    assert (execution.buyer_pays, execution.seller_receives) == (2 * paid * TICK_VALUE, 2 * received * TICK_VALUE)
    assert of(Trade, events)[0].price == price
    assert fills(events, order) == [(2, paid)]
    assert pit.engine.accounts["d"].held == 0


def test_a_midpoint_between_ticks_is_rounded_half_to_even() -> None:
    for limit, price in ((1001, 1000), (1003, 1002)):
        pit = Pit(pricing_rule=PricingRule.MIDPOINT)
        pit.order("e", "sell", 1, 1000)
        assert trades(pit.order("d", "buy", 1, limit)[1]) == [(1, price)]


def test_a_market_order_trades_at_the_resting_price_under_every_pricing_rule() -> None:
    for rule in PricingRule:
        pit = Pit(pricing_rule=rule)
        pit.order("e", "sell", 1, 1000)
        assert trades(pit.order("d", "buy", 1)[1]) == [(1, 1000)]


def test_a_negative_maker_fee_is_a_rebate() -> None:
    pit = Pit(maker_fee_bps=-5, taker_fee_bps=20)
    pit.order("e", "sell", 1, 1000)
    (execution,) = of(Execution, pit.order("d", "buy", 1, 1000)[1])
    assert (execution.seller_fee, execution.buyer_fee) == (-500_000, 2_000_000)
    assert pit.engine.accounts["e"].cash == 10_000 * CASH_SCALE + 1000 * TICK_VALUE + 500_000


# --- limits -------------------------------------------------------------------------------------------------------------


def test_a_client_may_be_short_up_to_the_limit_of_the_security() -> None:
    pit = Pit(short_limit=10)
    assert pit.order("d", "sell", 111, 1000)[1][0].code == Code.INSUFFICIENT_SHARES
    pit.order("d", "sell", 110, 1000)
    (execution,) = of(Execution, pit.order("e", "buy", 110, 1000)[1])
    assert execution.short_limit == 10
    assert pit.engine.accounts["d"].holdings["Y"].quantity == -10
    assert pit.order("d", "sell", 1, 1000)[1][0].code == Code.INSUFFICIENT_SHARES


def short_seller(pit: Pit, limit: int, shares: dict[str, int] | None = None) -> str:
    """Open an account with a short limit in cash. A lot of Y counts as 10.00 and a lot of X as 100.00."""
    pit.apply(OpenAccount(pit.id(), 1, "s", 10_000 * CASH_SCALE, shares or {}, short_limit=limit * CASH_SCALE))
    return "s"


def test_short_positions_in_all_securities_together_stay_within_the_limit_of_the_account() -> None:
    pit = Pit()
    short_seller(pit, 250)
    assert pit.order("s", "sell", 2, 10_000, symbol="X")[1][0].status is S.NEW
    refused = pit.order("s", "sell", 6, 1000)[1][0]
    assert (refused.code, "5 can be sold" in refused.text) == (Code.INSUFFICIENT_SHARES, True)
    assert pit.order("s", "sell", 5, 1000)[1][0].status is S.NEW
    assert pit.order("s", "sell", 1, 1000)[1][0].code == Code.INSUFFICIENT_SHARES


def test_holdings_and_the_short_limit_of_the_security_do_not_count_against_the_limit_of_the_account() -> None:
    pit = Pit(short_limit=3)
    short_seller(pit, 20, {"Y": 7})
    assert pit.order("s", "sell", 13, 1000)[1][0].code == Code.INSUFFICIENT_SHARES
    assert pit.order("s", "sell", 12, 1000)[1][0].status is S.NEW, (
        "7 held, 3 by the limit of the security, 2 by the limit of the account"
    )


def test_a_short_position_counts_at_the_reference_price_of_the_listing() -> None:
    pit = Pit()
    short_seller(pit, 100)
    pit.order("e", "buy", 4, 5000)
    pit.order("s", "sell", 4, 5000)
    assert pit.engine.markets["Y"].last_price == 5000
    assert pit.order("s", "sell", 7, 5000)[1][0].code == Code.INSUFFICIENT_SHARES
    assert pit.order("s", "sell", 6, 5000)[1][0].status is S.NEW


def test_the_execution_of_a_short_sale_states_the_short_limit() -> None:
    pit = Pit(short_limit=3)
    short_seller(pit, 100, {"Y": 1})
    pit.order("e", "buy", 6, 1000)
    (covered,) = of(Execution, pit.order("s", "sell", 1, 1000)[1])
    (short,) = of(Execution, pit.order("s", "sell", 5, 1000)[1])
    assert (covered.short_limit, short.short_limit) == (3, 13)


def test_the_short_limit_also_applies_to_an_amendment() -> None:
    pit = Pit()
    short_seller(pit, 100)
    order, _ = pit.order("s", "sell", 8, 1000)
    assert pit.replace("s", order, quantity=11)[0].code == Code.INSUFFICIENT_SHARES
    assert pit.replace("s", order, quantity=10)[0].status is S.NEW


def test_a_snapshot_keeps_the_short_limit() -> None:
    pit = Pit()
    short_seller(pit, 100)
    restored = state.restore(state.take(pit.engine))
    assert restored.accounts["s"].short_limit == 100 * CASH_SCALE


def test_an_order_that_could_exceed_the_position_limit_is_rejected() -> None:
    pit = Pit(position_limit=120)
    pit.order("d", "buy", 15, 900)
    assert pit.order("d", "buy", 6, 900)[1][0].code == Code.POSITION_LIMIT
    order, _ = pit.order("d", "buy", 5, 900)
    assert pit.replace("d", order, quantity=6)[0].code == Code.POSITION_LIMIT


def test_an_order_has_a_maximum_quantity_and_a_maximum_value() -> None:
    pit = Pit(max_order_quantity=50, max_order_value=30_000 * TICK_VALUE)
    assert pit.order("d", "sell", 51, 10)[1][0].code == Code.LIMIT_EXCEEDED
    assert pit.order("d", "sell", 31, 1000)[1][0].code == Code.LIMIT_EXCEEDED
    assert pit.order("d", "sell", 30, 1000)[1][0].status is S.NEW


# --- price bands --------------------------------------------------------------------------------------------------------


def test_a_market_order_trades_up_to_the_edge_of_the_price_band() -> None:
    pit = Pit(band_bps=1000)
    for price in (1050, 1100, 1101):
        pit.order("e", "sell", 1, price)
    order, events = pit.order("d", "buy", 3)
    assert trades(events) == [(1, 1050), (1, 1100)]
    assert last_report(events, order).code == Code.PRICE_BAND
    assert pit.engine.markets["Y"].state is T.CONTINUOUS


def test_a_trade_outside_the_price_band_starts_a_volatility_auction_that_ends_after_its_time() -> None:
    pit = Pit(band_bps=1000, auction_seconds=5)
    pit.order("e", "sell", 1, 1100)
    pit.order("e", "sell", 2, 1101)
    order, events = pit.order("d", "buy", 3, 1200)
    assert trades(events) == [(1, 1100)]
    (changed,) = of(TradingStateChanged, events)
    assert (changed.state, changed.ends_at) == (T.VOLATILITY_AUCTION, pit.now + 5 * SECOND)
    assert last_report(events, order).status is S.PARTIALLY_FILLED
    assert trades(pit.order("f", "sell", 1, 1150)[1]) == [], "an auction collects orders"
    pit.tick(4)
    events = pit.tick(2)
    assert [changed.state for changed in of(TradingStateChanged, events)] == [T.CONTINUOUS]
    assert trades(events) == [(2, 1101)]
    assert not pit.engine.markets["Y"].book.is_crossed


def test_the_band_follows_the_last_trade() -> None:
    pit = Pit(band_bps=1000)
    pit.trade_at(1100)
    assert trades(pit.trade_at(1210)) == [(1, 1210)]
    assert trades(pit.trade_at(1332)) == []
    assert pit.engine.markets["Y"].state is T.VOLATILITY_AUCTION


# --- states and auctions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "code"), [(T.HALTED, Code.MARKET_HALTED), (T.CLOSED, Code.MARKET_CLOSED)])
def test_a_halted_or_closed_market_accepts_only_cancels(state: TradingState, code: Code) -> None:
    pit = Pit()
    order, _ = pit.order("d", "buy", 1, 900)
    pit.state(state)
    assert pit.order("d", "buy", 1, 900)[1][0].code == code
    assert pit.replace("d", order, quantity=1, price=901)[0].code == code
    assert last_report(pit.cancel("d", order), order).status is S.CANCELED


def test_an_auction_reports_its_indicative_price_and_uncrosses_at_one_price() -> None:
    pit = Pit(state=T.PRE_OPEN)
    pit.order("d", "buy", 10, 1010)
    pit.order("e", "sell", 6, 990)
    pit.order("f", "sell", 8, 1000)
    assert pit.state(T.OPENING_AUCTION)
    (update,) = of(AuctionUpdate, pit.tick(1))
    assert (update.price, update.quantity, update.imbalance) == (1000, 10, -4)
    assert pit.tick(1) == [], "an unchanged auction is reported once"
    events = pit.state(T.CONTINUOUS)
    assert {price for _, price in trades(events)} == {1000}
    assert sum(quantity for quantity, _ in trades(events)) == 10
    assert pit.levels("sell", "Y") == [(1000, 4, 1)]
    assert pit.engine.markets["Y"].reference_price == 1000


@pytest.mark.parametrize(
    ("buys", "sells", "reference", "price"),
    [
        ([(10, 105)], [(10, 95)], 100, 100),
        ([(10, 105)], [(10, 95)], 90, 95),
        ([(10, 105)], [(10, 95)], 120, 105),
        ([(10, 100), (5, 95)], [(10, 90)], 92, 96),
        ([(10, 105), (10, 104)], [(10, 100), (10, 103)], 50, 103),
        ([(10, 105)], [(4, 95), (4, 101)], 95, 101),
        ([(10, 99)], [(10, 101)], 100, None),
    ],
    ids=["between", "low", "high", "least imbalance", "most volume", "imbalance before nearness", "nothing crosses"],
)
def test_the_auction_price_maximises_volume_then_minimises_imbalance_then_is_nearest_to_the_reference_price(
    buys: list[tuple[int, int]], sells: list[tuple[int, int]], reference: int, price: int | None
) -> None:
    pit = Pit(state=T.OPENING_AUCTION)
    pit.engine.markets["Y"].set_reference(reference)
    for side, orders in (("buy", buys), ("sell", sells)):
        for quantity, limit in orders:
            pit.order("d" if side == "buy" else "e", side, quantity, limit)
    events = pit.state(T.CONTINUOUS)
    assert {traded for _, traded in trades(events)} == ({price} if price else set())


def test_a_closing_auction_uncrosses_before_day_orders_expire() -> None:
    pit = Pit()
    pit.state(T.CLOSING_AUCTION)
    order, _ = pit.order("d", "buy", 5, 1010, time_in_force=TimeInForce.DAY)
    pit.order("e", "sell", 3, 1000)
    events = pit.state(T.CLOSED)
    assert fills(events, order) == [(3, 1000)]
    assert last_report(events, order).status is S.EXPIRED


@pytest.mark.parametrize(
    "change",
    [{}, {"price": 1000, "time_in_force": TimeInForce.IOC}, {"price": 1000, "time_in_force": TimeInForce.FOK},
     {"price": 1000, "post_only": True}],
)  # fmt: skip
def test_an_auction_rejects_orders_that_must_trade_at_once(change: dict[str, Any]) -> None:
    pit = Pit(state=T.OPENING_AUCTION)
    price = change.pop("price", None)
    assert pit.order("d", "sell", 1, price, **change)[1][0].code == Code.NOT_IN_AUCTION


def test_stop_orders_wait_during_an_auction_and_are_triggered_by_its_price() -> None:
    pit = Pit(state=T.OPENING_AUCTION)
    order, _ = pit.order("f", "sell", 1, order_type=OrderType.STOP_MARKET, trigger_price=1000)
    pit.order("d", "buy", 5, 1000)
    pit.order("e", "sell", 2, 1000)
    assert fills(pit.state(T.CONTINUOUS), order) == [(1, 1000)]


def test_an_iceberg_trades_its_hidden_quantity_in_an_auction() -> None:
    pit = Pit(state=T.OPENING_AUCTION)
    pit.order("d", "buy", 9, 1000, display_quantity=2)
    order, _ = pit.order("e", "sell", 8, 1000)
    assert sum(quantity for quantity, _ in fills(pit.state(T.CONTINUOUS), order)) == 8
    assert pit.levels("buy", "Y") == [(1000, 1, 1)]


def test_both_sides_of_an_auction_trade_pay_the_maker_fee() -> None:
    pit = Pit(state=T.OPENING_AUCTION)
    pit.order("d", "buy", 1, 1000)
    pit.order("e", "sell", 1, 1000)
    (execution,) = of(Execution, pit.state(T.CONTINUOUS))
    assert execution.buyer_fee == execution.seller_fee == 1000 * TICK_VALUE // 1000


# --- saved books --------------------------------------------------------------------------------------------------------


def test_a_loaded_book_has_new_orders_in_the_saved_priority() -> None:
    pit = Pit()
    orders = [pit.order(client, "sell", 5, 1000)[0] for client in ("d", "e", "f")]
    pit.order("d", "buy", 2, 990)
    (_, saved) = pit.apply(SaveBook(pit.id(), pit.now, "Y", "noon"))
    assert saved.orders == 4
    pit.order("f", "buy", 7, 1000)
    pit.order("e", "sell", 1, 995)
    events = pit.apply(LoadBook(pit.id(), pit.now, "Y", "noon"))
    assert (events[-1].orders, events[-1].refused) == (4, 0)
    assert pit.levels("sell", "Y") == [(1000, 15, 3)]
    assert pit.levels("buy", "Y") == [(990, 2, 1)]
    assert {r.code for r in of(OrderReport, events) if r.status is S.CANCELED} == {Code.BOOK_LOADED}
    _, events = pit.order("a", "buy", 6, 1000)
    makers = of(Trade, events)
    assert [last_report(events, trade.maker_order_id).client_id for trade in makers] == ["d", "e"], "in the saved priority"
    assert not {trade.maker_order_id for trade in makers} & set(orders), "a loaded order is a new order"


def test_a_saved_order_without_sufficient_credit_is_rejected_when_its_book_is_loaded() -> None:
    pit = Pit()
    pit.order("d", "sell", 100, 1000)
    pit.order("e", "sell", 5, 1001)
    pit.apply(SaveBook(pit.id(), pit.now, "Y", "noon"))
    pit.order("f", "buy", 40, 1000)
    events = pit.apply(LoadBook(pit.id(), pit.now, "Y", "noon"))
    refused = [report for report in of(OrderReport, events) if report.status is S.REJECTED]
    assert [(report.client_id, report.code) for report in refused] == [("d", Code.INSUFFICIENT_SHARES)]
    assert pit.levels("sell", "Y") == [(1001, 5, 1)]


def test_only_a_saved_book_can_be_loaded() -> None:
    pit = Pit()
    assert pit.apply(LoadBook(pit.id(), pit.now, "Y", "noon"))[0].code == Code.UNKNOWN_SAVED_BOOK
    assert pit.apply(SaveBook(pit.id(), pit.now, "NONE", "noon"))[0].code == Code.UNKNOWN_SYMBOL
