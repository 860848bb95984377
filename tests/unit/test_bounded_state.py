"""Tests that memory grows with what is open, and not with the history: what clients enter and end leaves nothing behind.

Each test enters and ends the same things many times, and counts the objects of the state before and after.
"""

from collections.abc import Callable
from typing import Any

import pytest

from clearinghouse.ledger import Ledger
from market_data_feed import hub
from market_data_feed.hub import BALANCES, BOOK, FULL_BOOK, ORDERS, Hub, Subscriber, conflated_message, state_message
from market_data_feed.market import Changes, MarketData
from matching_engine import client_order_ids
from microexchange.commands import (
    CancelAll,
    GatewayLogon,
    ListSecurity,
    LoadBook,
    NewOrder,
    ReplaceOrder,
    ResumeClient,
    SaveBook,
    TransferAssets,
)
from microexchange.enums import OrderType, Side, TimeInForce, TradingState
from microexchange.limits import RateLimiter
from microexchange.reports import KeyRevoked
from order_entry_gateway.classroom import ClassroomState
from order_entry_gateway.gateway_state import GatewayState
from order_entry_gateway.pending_commands import PendingCommands
from order_entry_gateway.subscriptions import Subscriptions
from tests.reachable import objects_of
from tests.unit.test_order_types import Pit

WARM_UP, REPETITIONS = 1_000, 5_000
SLACK = 1_000
"""Objects by which a state may grow. A container that keeps one object of each repetition has five times as many."""


class Market(Pit):
    """An engine, and the folds of the other services over its output, as in the running exchange."""

    def __init__(self) -> None:
        self.gateway, self.classroom = GatewayState(), ClassroomState()
        self.gateway.MAX_ORDERS = 500  # type: ignore[misc]
        self.feed, self.hub, self.ledger = MarketData(), Hub(), Ledger()
        self.instructions = 0
        super().__init__(auction_seconds=5)
        self.apply(ListSecurity(self.id(), 1, "Z", "Z Inc.", "0.01", "1", 1000, band_bps=100, auction_seconds=1))
        self.apply(TransferAssets(self.id(), 1, "d", 0, {"Z": 10}))
        self.apply(TransferAssets(self.id(), 1, "e", 0, {"Z": 10}))

    def apply(self, command: Any) -> list[Any]:
        outcome = self.engine.apply(command)
        reports = list(outcome.reports)
        for instruction in outcome.instructions:
            self.instructions += 1
            reports.append(self.ledger.settle(self.instructions, instruction))
        for report in reports:
            self.gateway.apply(report)
            self.feed.apply(report)
        self.classroom.apply(reports)
        self.feed.advance_to(self.engine.now)
        self.hub.publish(self.feed, reports)
        # The stores take the changes with each transaction.
        self.feed.changes = Changes()
        self.ledger.clear_moves()
        return reports

    @property
    def states(self) -> tuple[Any, ...]:
        return self.engine, self.gateway, self.classroom, self.feed, self.hub, self.ledger


def gtd_cancelled(market: Market, number: int) -> None:
    order_id, _ = market.order("d", "buy", 1, 900, time_in_force=TimeInForce.GTD, expire_at=10**18 + number)
    market.cancel("d", order_id)


def gtd_amended(market: Market, number: int) -> None:
    order_id, _ = market.order("d", "buy", 1, 900, time_in_force=TimeInForce.GTD, expire_at=10**18)
    for step in range(3):
        market.replace("d", order_id, price=901 + step)
    market.cancel("d", order_id)


def gtd_filled(market: Market, number: int) -> None:
    market.order(("d", "e")[number % 2], "buy", 1, 1000, time_in_force=TimeInForce.GTD, expire_at=10**18)
    market.order(("e", "d")[number % 2], "sell", 1, 1000, time_in_force=TimeInForce.GTD, expire_at=10**18)


def gtd_expired(market: Market, number: int) -> None:
    market.order("d", "buy", 1, 900, time_in_force=TimeInForce.GTD, expire_at=market.now + 1)
    market.tick(1e-3)


def cancelled_at_many_prices(market: Market, number: int) -> None:
    order_id, _ = market.order("d", "buy", 1, 1 + number % 10_000)
    market.cancel("d", order_id)


def filled_at_many_prices(market: Market, number: int) -> None:
    price = 1000 + number % 100
    market.order(("d", "e")[number % 2], "sell", 1, price)
    market.order(("e", "d")[number % 2], "buy", 1, price)


def ended_at_once(market: Market, number: int) -> None:
    market.order("d", "buy", 1, 900, time_in_force=TimeInForce.IOC)
    market.order("d", "buy", 1)
    market.order("d", "buy", 1, 900, time_in_force=TimeInForce.FOK)


def cancelled_all(market: Market, number: int) -> None:
    market.order("d", "buy", 1, 900)
    market.order("d", "sell", 1, 1100)
    market.apply(CancelAll(market.id(), market.now, "d"))


def traded_with_itself(market: Market, number: int) -> None:
    order_id, _ = market.order("d", "buy", 1, 900, time_in_force=TimeInForce.GTD, expire_at=10**18)
    market.order("d", "sell", 1, 900)
    market.cancel("d", order_id)


def stops_cancelled(market: Market, number: int) -> None:
    stop: dict[str, Any] = {"order_type": OrderType.STOP_MARKET, "trigger_price": 5_000 + number}
    order_id, _ = market.order("d", "buy", 1, **stop)
    market.replace("d", order_id, trigger_price=4_000 + number)
    market.cancel("d", order_id)


def stops_triggered(market: Market, number: int) -> None:
    market.order("f", "sell", 1, order_type=OrderType.STOP_MARKET, trigger_price=1000)
    filled_at_many_prices(market, 0)


def stops_with_a_date_triggered(market: Market, number: int) -> None:
    stop: dict[str, Any] = {"order_type": OrderType.STOP_LIMIT, "trigger_price": 1000}
    order_id, _ = market.order("f", "buy", 1, 900, time_in_force=TimeInForce.GTD, expire_at=10**18, **stop)
    filled_at_many_prices(market, 0)
    market.cancel("f", order_id)


def named(market: Market, number: int) -> None:
    order_id, _ = market.order("d", "buy", 1, 900, client_order_id=f"order {number}")
    market.order("d", "buy", 1, 900, client_order_id=f"order {number}")
    market.order("d", "buy", 2, 900, client_order_id=f"order {number}")
    market.cancel("d", order_id)


def rejected(market: Market, number: int) -> None:
    market.order("d", "buy", 10**9, 1000)
    market.order("d", "buy", 1, 1000, symbol=f"S{number}")
    market.order(f"nobody-{number}", "buy", 1, 1000)
    market.order("d", "buy", 1, 1000, time_in_force=TimeInForce.GTD, expire_at=1)


def unknown_orders(market: Market, number: int) -> None:
    market.cancel("d", 10**15 + number)
    market.cancel(f"nobody-{number}", 10**15 + number)
    market.apply(ReplaceOrder(market.id(), market.now, "d", 10**15 + number, 5))


def suspended(market: Market, number: int) -> None:
    market.order("f", "buy", 1, 900, time_in_force=TimeInForce.GTD, expire_at=10**18)
    market.suspend("f")
    market.apply(ResumeClient(market.id(), market.now, "f"))


def transferred(market: Market, number: int) -> None:
    for sign in (1, -1):
        market.apply(TransferAssets(market.id(), market.now, "d", sign * 10**8, {"Y": sign}, f"memo {number}"))


def logged_on(market: Market, number: int) -> None:
    market.apply(GatewayLogon(market.id(), market.now, 5, number))


def saved_and_loaded(market: Market, number: int) -> None:
    market.order("d", "buy", 1, 900)
    market.apply(SaveBook(market.id(), market.now, "Y", "one"))
    market.apply(LoadBook(market.id(), market.now, "Y", "one"))
    market.apply(CancelAll(market.id(), market.now, "d"))


def volatility_auctions(market: Market, number: int) -> None:
    market.order("d", "sell", 1, 1500 if number % 2 else 500, symbol="Z")
    market.order("e", "buy", 1, 1500, symbol="Z")
    market.apply(CancelAll(market.id(), market.now, "d"))
    market.apply(CancelAll(market.id(), market.now, "e"))
    market.tick(2)


def auctions_that_the_admin_ends(market: Market, number: int) -> None:
    for state in (TradingState.VOLATILITY_AUCTION, TradingState.CONTINUOUS):
        market.state(state)


SCENARIOS: list[Callable[[Market, int], None]] = [
    gtd_cancelled,
    gtd_amended,
    gtd_filled,
    gtd_expired,
    cancelled_at_many_prices,
    filled_at_many_prices,
    ended_at_once,
    cancelled_all,
    traded_with_itself,
    stops_cancelled,
    stops_triggered,
    stops_with_a_date_triggered,
    named,
    rejected,
    unknown_orders,
    suspended,
    transferred,
    logged_on,
    saved_and_loaded,
    volatility_auctions,
    auctions_that_the_admin_ends,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_what_clients_enter_and_end_leaves_nothing_in_the_state_of_any_service(
    scenario: Callable[[Market, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_order_ids, "MAX_CLIENT_IDS", 100)
    market = Market()
    open_order, _ = market.order("f", "buy", 1, 1, time_in_force=TimeInForce.GTD, expire_at=2 * 10**18)
    _assert_bounded(lambda number: scenario(market, number), *market.states)
    assert open_order in market.engine.accounts["f"].orders or scenario in (suspended, saved_and_loaded)


def test_a_hundred_thousand_ended_orders_with_a_date_leave_few_timers() -> None:
    pit = Pit()
    for number in range(100_000):
        gtd_cancelled(pit, number)  # type: ignore[arg-type]
    assert len(pit.engine.timers) <= 65


def test_logins_and_subscriptions_that_end_leave_nothing_in_the_hub() -> None:
    market = Market()
    channels = market.hub

    def connect(number: int) -> None:
        subscriber = Subscriber()
        channels.use_key(subscriber, f"key-{number}")
        for key in ((BOOK, "Y"), (FULL_BOOK, "Y"), (ORDERS, f"client-{number}"), (BALANCES, f"client-{number}")):
            channels.subscribe(subscriber, key)
        channels.unsubscribe(subscriber, (BOOK, "Y"))
        channels.publish(market.feed, [KeyRevoked(f"client-{number}", f"key-{number}", 1)])
        channels.leave(subscriber)

    _assert_bounded(connect, channels)


def test_connections_and_revocations_leave_nothing_in_the_gateway() -> None:
    subscriptions = Subscriptions()

    def connect(number: int) -> None:
        def on_event(*_: Any) -> None: ...

        subscriptions.subscribe_to_orders(f"client-{number}", on_event)
        subscriptions.subscribe_to_revocation(f"key-{number}", on_event)
        subscriptions.subscribe_to_trades(on_event)
        subscriptions.publish_revocation(f"key-{number}")
        subscriptions.unsubscribe_from_orders(f"client-{number}", on_event)
        subscriptions.unsubscribe_from_revocation(f"key-{number}", on_event)
        subscriptions.unsubscribe_from_trades(on_event)

    _assert_bounded(connect, subscriptions)


def test_commands_that_are_answered_withdrawn_or_late_leave_nothing_in_the_gateway() -> None:
    pending = PendingCommands(timeout_seconds=1)

    def send(number: int) -> None:
        for fate in range(3):
            command = NewOrder(3 * number + fate, 1, "a", "X", Side.BUY, OrderType.LIMIT, 1, 1)
            sent = pending.add(command, lambda result: None)
            if fate:
                pending.confirm(sent)
            else:
                pending.withdraw(sent)
        del pending.by_id[3 * number + 1]  # the engine has answered it
        pending.expire(sent.sent_at + 2)
        list(pending.due_for_report(sent.confirmed_at + 1))

    _assert_bounded(send, pending)


def test_the_buckets_of_a_rate_limit_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RateLimiter, "MAX_KEYS", 500)
    limiter = RateLimiter(10, 10)
    _assert_bounded(lambda number: limiter.take(f"address-{number}", number), limiter)


@pytest.mark.parametrize("channel", [BOOK, FULL_BOOK])
def test_a_reader_that_stops_holds_few_changes_of_a_book_and_then_receives_a_snapshot(
    channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MAX_CONFLATED_CHANGES", 500)
    market, subscriber = Market(), Subscriber()
    market.hub.subscribe(subscriber, (channel, "Y"))
    for number in range(REPETITIONS):
        market.cancel("d", market.order("d", "buy", 1, 1 + number)[0])
    assert objects_of(subscriber).total() < SLACK
    while isinstance(message := subscriber.take(), bytes):
        pass
    assert message is not None
    assert conflated_message(market.feed, *message) == state_message(market.feed, (channel, "Y"))


def _assert_bounded(repeat: Callable[[int], object], *roots: Any) -> None:
    """Assert that repetitions leave no objects behind in `roots`."""
    for number in range(WARM_UP):
        repeat(number)
    before = objects_of(*roots)
    for number in range(REPETITIONS):
        repeat(WARM_UP + number)
    after = objects_of(*roots)
    assert after.total() - before.total() < SLACK, (after - before).most_common(5)
