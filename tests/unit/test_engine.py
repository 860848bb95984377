"""Tests of the rules of the matching engine."""

import pytest

from matching_engine.engine import Engine
from matching_engine.limits import MAX_ISSUED_CASH
from microexchange.commands import GatewayLogon, ListSecurity, NewOrder, OpenAccount
from microexchange.enums import OrderStatus, OrderType, Side
from microexchange.ids import IdSequence
from microexchange.instructions import Execution, Transfer
from microexchange.numbers import CASH_SCALE, MAX_CASH, MAX_LOTS, MAX_TICKS
from microexchange.refusals import Code
from microexchange.reports import (
    AccountOpened,
    ClientSuspended,
    CommandAccepted,
    CommandRejected,
    GatewayLoggedOn,
    OrderReport,
    SecurityListed,
    Trade,
)
from tests.unit.market import TICK_VALUE, Floor, events_of, fills, last_report, of, prices

S = OrderStatus


# --- price-time priority ------------------------------------------------------------------------------------------------


def test_an_order_that_does_not_match_rests_in_the_book() -> None:
    floor = Floor()
    order, events = floor.buy("a", 5, 1000)
    assert last_report(events, order).status is S.NEW
    assert floor.levels("buy") == [(1000, 5, 1)]
    assert prices(events) == [("buy", 1000, 5)]


def test_the_best_price_trades_first() -> None:
    floor = Floor()
    for client, price in (("a", 1010), ("b", 1000), ("a", 1020)):
        floor.sell(client, 5, price)
    order, events = floor.buy("c", 12, 1020)
    assert fills(events, order) == [(5, 1000), (5, 1010), (2, 1020)]
    assert floor.levels("sell") == [(1020, 3, 1)]


def test_the_oldest_order_at_a_price_trades_first() -> None:
    floor = Floor()
    first, _ = floor.sell("a", 5, 1000)
    second, _ = floor.sell("b", 5, 1000)
    _, events = floor.buy("c", 7, 1000)
    assert [trade.maker_order_id for trade in of(Trade, events)] == [first, second]
    assert floor.levels("sell") == [(1000, 3, 1)]


def test_a_trade_is_at_the_resting_orders_price() -> None:
    floor = Floor()
    floor.sell("a", 5, 1000)
    _, events = floor.buy("b", 5, 1100)
    assert [trade.price for trade in of(Trade, events)] == [1000]


def test_the_rest_of_a_limit_order_rests_at_its_limit() -> None:
    floor = Floor()
    floor.sell("a", 3, 1000)
    order, events = floor.buy("b", 5, 1005)
    report = last_report(events, order)
    assert (report.status, report.leaves_quantity, report.cumulative_quantity) == (S.PARTIALLY_FILLED, 2, 3)
    assert floor.levels("buy") == [(1005, 2, 1)]


def test_a_limit_order_does_not_trade_beyond_its_limit() -> None:
    floor = Floor()
    floor.sell("a", 3, 1006)
    order, events = floor.buy("b", 5, 1005)
    assert fills(events, order) == []


def test_a_market_order_trades_with_the_book_and_its_rest_is_cancelled() -> None:
    floor = Floor()
    floor.sell("a", 3, 1000)
    order, events = floor.buy("b", 5)
    report = last_report(events, order)
    assert (report.status, report.cumulative_quantity, report.code) == (S.CANCELED, 3, Code.NO_LIQUIDITY)
    assert floor.levels("buy") == []


def test_a_market_order_in_an_empty_book_is_cancelled() -> None:
    floor = Floor()
    order, events = floor.sell("a", 5)
    assert last_report(events, order).status is S.CANCELED
    assert floor.engine.accounts["a"].holdings["X"].offered == 0


def test_the_newer_of_two_orders_of_one_client_is_cancelled_instead_of_a_self_trade() -> None:
    floor = Floor()
    floor.sell("b", 2, 1000)
    own, _ = floor.sell("a", 5, 1001)
    order, events = floor.buy("a", 5, 1001)
    report = last_report(events, order)
    assert fills(events, order) == [(2, 1000)]
    assert (report.status, report.code) == (S.CANCELED, Code.SELF_TRADE)
    assert floor.levels("sell") == [(1001, 5, 1)]
    assert own in floor.engine.accounts["a"].orders
    assert floor.engine.accounts["a"].held == 0


# --- cancel -------------------------------------------------------------------------------------------------------------


def test_a_cancelled_order_leaves_the_book_and_releases_its_cash() -> None:
    floor = Floor()
    order, _ = floor.buy("a", 5, 1000)
    assert floor.engine.accounts["a"].held > 0
    events = floor.cancel("a", order)
    assert last_report(events, order).status is S.CANCELED
    assert floor.levels("buy") == []
    assert floor.engine.accounts["a"].held == 0
    assert prices(events) == [("buy", 1000, 0)]


def test_the_cancellation_of_a_middle_order_keeps_the_priority_of_the_others() -> None:
    floor = Floor()
    orders = [floor.sell("a", 1, 1000)[0] for _ in range(3)]
    floor.cancel("a", orders[1])
    _, events = floor.buy("b", 2, 1000)
    assert [trade.maker_order_id for trade in of(Trade, events)] == [orders[0], orders[2]]


@pytest.mark.parametrize("client", ["b", "nobody"])
def test_only_its_own_client_can_cancel_an_order(client: str) -> None:
    floor = Floor()
    order, _ = floor.buy("a", 5, 1000)
    (refused,) = of(CommandRejected, floor.cancel(client, order))
    assert (refused.code, refused.order_id) == (Code.UNKNOWN_ORDER, order)
    assert floor.levels("buy") == [(1000, 5, 1)]


def test_an_order_that_has_ended_cannot_be_cancelled() -> None:
    floor = Floor()
    order, _ = floor.buy("a", 5, 1000)
    floor.sell("b", 5, 1000)
    assert of(CommandRejected, floor.cancel("a", order))[0].code == Code.UNKNOWN_ORDER


# --- credit -------------------------------------------------------------------------------------------------------------


def test_a_buy_holds_its_value_and_the_highest_fee() -> None:
    floor = Floor()
    floor.buy("a", 5, 1000)
    assert floor.engine.accounts["a"].held == 5 * 1000 * TICK_VALUE * 10_020 // 10_000


def test_a_buy_that_costs_more_than_the_buying_power_is_rejected_with_the_shortfall() -> None:
    floor = Floor(cash=100 * CASH_SCALE)
    order, events = floor.buy("a", 10, 1000)
    report = last_report(events, order)
    assert (report.status, report.code) == (S.REJECTED, Code.INSUFFICIENT_CASH)
    assert "0.20 too little" in report.text
    assert floor.engine.accounts["a"].held == 0


def test_a_buy_that_costs_exactly_the_buying_power_is_accepted() -> None:
    floor = Floor(cash=10_020 * CASH_SCALE // 100)
    _, events = floor.buy("a", 10, 1000)
    assert of(OrderReport, events)[0].status is S.NEW
    assert floor.engine.accounts["a"].buying_power == 0


def test_open_buys_count_against_the_buying_power() -> None:
    floor = Floor(cash=150 * CASH_SCALE)
    floor.buy("a", 10, 1000)
    assert of(OrderReport, floor.buy("a", 10, 1000)[1])[0].code == Code.INSUFFICIENT_CASH


def test_a_market_buy_needs_the_cash_for_the_offers_that_it_takes() -> None:
    floor = Floor(cash=100 * CASH_SCALE)
    floor.sell("b", 5, 1000)
    floor.sell("b", 5, 1100)
    assert of(OrderReport, floor.buy("a", 10)[1])[0].code == Code.INSUFFICIENT_CASH
    assert last_report(floor.buy("a", 5)[1], floor.log[-1].command_id).status is S.FILLED


def test_a_sell_of_more_than_is_held_is_rejected_with_the_shortfall() -> None:
    floor = Floor(shares=10)
    report = of(OrderReport, floor.sell("a", 11, 1000)[1])[0]
    assert (report.status, report.code) == (S.REJECTED, Code.INSUFFICIENT_SHARES)
    assert "1 too few" in report.text


def test_open_sells_count_against_the_sellable_quantity() -> None:
    floor = Floor(shares=10)
    floor.sell("a", 6, 1000)
    assert of(OrderReport, floor.sell("a", 5, 1000)[1])[0].code == Code.INSUFFICIENT_SHARES
    assert of(OrderReport, floor.sell("a", 4, 1000)[1])[0].status is S.NEW


def test_shares_that_were_bought_can_be_sold_at_once() -> None:
    floor = Floor(shares=10)
    floor.sell("a", 10, 1000)
    floor.buy("b", 10, 1000)
    assert of(OrderReport, floor.sell("b", 20, 1000)[1])[0].status is S.NEW


def test_a_trade_moves_the_exact_cash_shares_and_fees() -> None:
    floor = Floor()
    floor.sell("a", 3, 999)
    _, events = floor.buy("b", 3, 1000)
    notional = 3 * 999 * TICK_VALUE
    (execution,) = of(Execution, events)
    assert (execution.buyer, execution.seller, execution.quantity, execution.price) == ("b", "a", 3, 999)
    assert (execution.buyer_pays, execution.seller_receives) == (notional, notional)
    assert (execution.seller_fee, execution.buyer_fee) == (notional // 1000, notional // 500)
    a, b = floor.engine.accounts["a"], floor.engine.accounts["b"]
    assert a.cash == 10_000 * CASH_SCALE + notional - notional // 1000
    assert b.cash == 10_000 * CASH_SCALE - notional - notional // 500
    assert (a.holdings["X"].quantity, b.holdings["X"].quantity) == (97, 103)
    assert b.held == 0


def test_fees_are_rounded_half_to_even() -> None:
    floor = Floor()
    # One lot at one tick has a value of 1 unit. The maker fees are 0.5 and 1.5 units.
    floor.apply(ListSecurity(floor.id(), 1, "TINY", "Tiny", "0.00000001", "1", 1, 5_000, 10_000))
    floor.apply(OpenAccount(floor.id(), 1, "d", 1000, {"TINY": 1000}))
    floor.enter("d", "sell", 1, 1, symbol="TINY")
    _, events = floor.enter("a", "buy", 1, 1, symbol="TINY")
    assert of(Trade, events)[0].maker_fee == 0, "0.5 is rounded to the even 0"
    floor.enter("d", "sell", 3, 1, symbol="TINY")
    _, events = floor.enter("a", "buy", 3, 1, symbol="TINY")
    assert of(Trade, events)[0].maker_fee == 2, "1.5 is rounded to the even 2"


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "symbol", "quantity", "price", "code"),
    [
        ("nobody", "X", 1, 1000, Code.UNKNOWN_CLIENT),
        ("a", "NONE", 1, 1000, Code.UNKNOWN_SYMBOL),
        ("a", "X", 0, 1000, Code.LIMIT_EXCEEDED),
        ("a", "X", -5, 1000, Code.LIMIT_EXCEEDED),
        ("a", "X", MAX_LOTS + 1, 1000, Code.LIMIT_EXCEEDED),
        ("a", "X", 1, 0, Code.INVALID_FIELD),
        ("a", "X", 1, -1, Code.INVALID_FIELD),
        ("a", "X", 1, MAX_TICKS + 1, Code.INVALID_FIELD),
        ("a", "X", MAX_LOTS, MAX_TICKS, Code.LIMIT_EXCEEDED),
    ],
)
def test_an_order_out_of_range_is_rejected_with_a_code(
    client: str, symbol: str, quantity: int, price: int, code: Code
) -> None:
    floor = Floor()
    order, events = floor.enter(client, "buy", quantity, price, symbol=symbol)
    (report,) = events
    assert isinstance(report, OrderReport)
    assert (report.order_id, report.status, report.code) == (order, S.REJECTED, code)
    assert floor.levels("buy") == []


@pytest.mark.parametrize(("order_type", "price"), [(OrderType.LIMIT, None), (OrderType.MARKET, 1000)])
def test_a_limit_order_without_a_price_and_a_market_order_with_a_price_are_rejected(
    order_type: OrderType, price: int | None
) -> None:
    floor = Floor()
    (report,) = floor.apply(NewOrder(floor.id(), 1, "a", "X", Side.BUY, order_type, 1, price))
    assert report.code == Code.INVALID_FIELD


def test_a_suspension_cancels_the_orders_of_a_client_and_rejects_new_orders() -> None:
    floor = Floor()
    orders = [floor.buy("a", 1, 1000)[0], floor.sell("a", 1, 2000)[0]]
    floor.buy("b", 1, 1000)
    events = floor.suspend("a")
    assert len(of(ClientSuspended, events)) == 1
    assert [report.order_id for report in of(OrderReport, events)] == orders
    assert {report.code for report in of(OrderReport, events)} == {Code.CLIENT_SUSPENDED}
    assert floor.levels("buy") == [(1000, 1, 1)]
    assert floor.engine.accounts["a"].held == 0
    assert of(OrderReport, floor.buy("a", 1, 1000)[1])[0].code == Code.CLIENT_SUSPENDED
    assert [type(event) for event in floor.suspend("a")] == [CommandAccepted], "a second suspension changes nothing"


# --- accounts, securities, gateways -------------------------------------------------------------------------------------


def test_an_opened_account_causes_a_transfer_and_a_report() -> None:
    floor = Floor()
    events = floor.apply(OpenAccount(floor.id(), 1, "d", 5, {"X": 7}))
    assert [type(event) for event in events] == [Transfer, AccountOpened]
    assert floor.engine.accounts["d"].holdings["X"].quantity == 7


@pytest.mark.parametrize(
    ("client", "cash", "shares", "code"),
    [
        ("a", 1, {}, Code.CLIENT_EXISTS),
        ("d", -1, {}, Code.LIMIT_EXCEEDED),
        ("d", MAX_CASH + 1, {}, Code.LIMIT_EXCEEDED),
        ("d", 1, {"X": -1}, Code.LIMIT_EXCEEDED),
        ("d", 1, {"NONE": 1}, Code.UNKNOWN_SYMBOL),
    ],
)
def test_an_account_with_invalid_terms_is_refused(client: str, cash: int, shares: dict[str, int], code: Code) -> None:
    floor = Floor()
    (refused,) = floor.apply(OpenAccount(floor.id(), 1, client, cash, shares))
    assert isinstance(refused, CommandRejected)
    assert refused.code == code


def test_issued_cash_has_a_maximum() -> None:
    floor = Floor(clients=())
    for number in range(MAX_ISSUED_CASH // MAX_CASH):
        assert len(floor.apply(OpenAccount(floor.id(), 1, f"c{number}", MAX_CASH))) == 2
    (refused,) = floor.apply(OpenAccount(floor.id(), 1, "another", 1))
    assert refused.code == Code.LIMIT_EXCEEDED


def test_a_symbol_can_be_listed_only_once() -> None:
    floor = Floor()
    (listed,) = floor.listing("Y")
    assert isinstance(listed, SecurityListed)
    assert listed.tick_value == TICK_VALUE
    (refused,) = floor.listing("Y")
    assert refused.code == Code.SECURITY_EXISTS


@pytest.mark.parametrize(
    ("tick", "lot"), [("0.000000001", "1"), ("0", "1"), ("-1", "1"), ("x", "1"), ("NaN", "1"), ("1e30", "1")]
)
def test_a_security_with_an_invalid_tick_or_lot_size_is_refused(tick: str, lot: str) -> None:
    floor = Floor()
    (refused,) = floor.apply(ListSecurity(floor.id(), 1, "Y", "Y", tick, lot, 1))
    assert refused.code == Code.INVALID_FIELD


@pytest.mark.parametrize(("reference", "maker", "taker"), [(0, 10, 20), (1, -21, 20), (1, 10, 10_001)])
def test_a_security_with_terms_out_of_range_is_refused(reference: int, maker: int, taker: int) -> None:
    floor = Floor()
    (refused,) = floor.apply(ListSecurity(floor.id(), 1, "Y", "Y", "0.01", "1", reference, maker, taker))
    assert refused.code == Code.INVALID_FIELD


def test_a_repeated_command_has_no_effect() -> None:
    floor = Floor()
    floor.buy("a", 5, 1000)
    assert events_of(floor.engine.apply(floor.log[-1])) == []
    assert floor.levels("buy") == [(1000, 5, 1)]


def test_each_gateway_has_its_own_sequence_of_command_ids() -> None:
    engine = Engine()
    late, early = IdSequence(1), IdSequence(2)
    first = ListSecurity(late.next(2 * 10**18), 1, "X", "X", "0.01", "1", 1)
    second = ListSecurity(early.next(1_900_000_000_000_000_000), 1, "Y", "Y", "0.01", "1", 1)
    assert engine.apply(first).reports
    assert engine.apply(second).reports, "a smaller id of another gateway is not a duplicate"


def test_a_gateway_receives_the_highest_used_id_when_it_logs_on() -> None:
    floor = Floor()
    (answer,) = floor.engine.apply(GatewayLogon(0, 5, 0, 77)).reports
    assert answer == GatewayLoggedOn(0, 77, 5, floor.log[-1].command_id)
    assert floor.engine.apply(GatewayLogon(0, 5, 9, 78)).reports == [GatewayLoggedOn(9, 78, 5, 0)]


def test_price_updates_of_a_book_are_numbered_without_a_gap() -> None:
    floor = Floor()
    updates = []
    for price in (1000, 1001, 1002):
        updates += floor.sell("a", 1, price)[1]
    updates += floor.buy("b", 3, 1002)[1]
    numbers = [event.book_sequence for event in updates if hasattr(event, "book_sequence")]
    assert numbers == list(range(1, 7))
