"""The engine as a state machine. Hypothesis draws steps that use open orders, and all invariants are asserted after each.

If a step breaks an invariant, hypothesis prints the shortest sequence of steps that breaks it.
"""

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from matching_engine import state
from matching_engine.engine import Engine
from microexchange.commands import (
    CancelAll,
    CancelOrder,
    Command,
    LoadBook,
    NewOrder,
    ReplaceOrder,
    ResumeClient,
    SaveBook,
    SetTradingState,
    SuspendClient,
    TimeTick,
    TransferAssets,
)
from microexchange.enums import OrderStatus, OrderType, PricingRule, Side, TradingState
from microexchange.reports import Event, OrderRepeated, OrderReport
from tests.property import invariants
from tests.property.engine_attributes import attributes_of
from tests.property.test_engine import CLIENTS, ENTRIES, SECOND, STATES, SYMBOLS, commands_of, digest, prices, run
from tests.unit.market import events_of

NAMED_ENTRIES = st.tuples(ENTRIES, st.sampled_from(("one", "two", "three", "mine"))).map(
    lambda drawn: drawn[0] | {"client_order_id": drawn[1]}
)
CLIENT, SYMBOL = st.sampled_from(CLIENTS), st.sampled_from(SYMBOLS)


class Exchange(RuleBasedStateMachine):
    """An engine, its commands and its events."""

    orders: Bundle[tuple[str, int]] = Bundle("orders")
    """(client id, order id) of accepted orders."""
    pricing_rule = PricingRule.SPREAD_CAPTURE
    """The pricing rule of the second security. The first has the rule `resting`."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[Command] = []
        self.engine = Engine()
        self.events: list[Event] = []
        self.now = 1
        for command in commands_of([], self.pricing_rule):
            self.apply(command)
        self.last_id = self.commands[-1].command_id

    def apply(self, command: Command) -> list[Event]:
        self.commands.append(command)
        events = events_of(self.engine.apply(command))
        self.events += events
        return events

    def id(self) -> int:
        # An id of the same gateway: the counter is in the bits above the number of the gateway.
        self.last_id += 1 << 10
        return self.last_id

    @rule(target=orders, fields=ENTRIES)
    def enter(self, fields: dict[str, Any]) -> Any:
        events = self.apply(NewOrder(self.id(), self.now, **fields))
        reports = [event for event in events if isinstance(event, OrderReport) and event.order_id == self.last_id]
        assert reports, "every order has a report"
        return multiple() if reports[0].status is OrderStatus.REJECTED else (fields["client_id"], self.last_id)

    @rule(fields=NAMED_ENTRIES)
    def enter_and_send_again(self, fields: dict[str, Any]) -> None:
        """Enter an order with a client order id. If it is accepted, send it again: the second one changes nothing."""
        first = self.apply(NewOrder(self.id(), self.now, **fields))
        first_id, (report, *_) = self.last_id, [event for event in first if isinstance(event, OrderReport)]
        if report.status is OrderStatus.REJECTED:
            return
        before = attributes_of(self.engine)
        _, repeated = self.apply(NewOrder(self.id(), self.now, **fields))
        assert isinstance(repeated, OrderRepeated)
        assert repeated.order_id == first_id
        after = attributes_of(self.engine)
        assert {name for name in after if after[name] != before[name]} == {"last_command_ids"}

    @rule(symbol=SYMBOL, price=st.integers(3, 9), quantity=st.integers(1, 12))
    def trade(self, symbol: str, price: int, quantity: int) -> None:
        """Enter two orders that match. Orders from hypothesis alone rarely match."""
        for client_id, side in (("a", Side.BUY), ("b", Side.SELL)):
            fields = {"client_id": client_id, "symbol": symbol, "side": side, "quantity": quantity, "price": price}
            self.apply(NewOrder(self.id(), self.now, order_type=OrderType.LIMIT, **fields))

    @rule(order=consumes(orders))
    def cancel(self, order: tuple[str, int]) -> None:
        self.apply(CancelOrder(self.id(), self.now, *order))
        assert order[1] not in self.engine.accounts[order[0]].orders

    @rule(order=orders, quantity=st.one_of(st.none(), st.integers(1, 40)), price=prices, trigger=prices)
    def replace(self, order: tuple[str, int], quantity: int | None, price: int | None, trigger: int | None) -> None:
        self.apply(ReplaceOrder(self.id(), self.now, *order, quantity, price, trigger))

    @rule(client=CLIENT, symbol=st.sampled_from(("", *SYMBOLS)), side=st.sampled_from((None, *Side)))
    def cancel_all(self, client: str, symbol: str, side: Side | None) -> None:
        self.apply(CancelAll(self.id(), self.now, client, symbol, side))
        left = self.engine.accounts[client].orders.values()
        assert not [order for order in left if symbol in ("", order.entry.symbol) and side in (None, order.entry.side)]

    @rule(symbol=SYMBOL, to=st.sampled_from(STATES), back=st.booleans())
    def change_state(self, symbol: str, to: TradingState, back: bool) -> None:
        self.apply(SetTradingState(self.id(), self.now, symbol, to))
        if back:
            self.apply(SetTradingState(self.id(), self.now, symbol, TradingState.CONTINUOUS))

    @rule(seconds=st.integers(0, 20))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds * SECOND
        self.apply(TimeTick(self.id(), self.now))
        live = [order for account in self.engine.accounts.values() for order in account.orders.values()]
        assert all(not order.entry.expire_at or order.entry.expire_at > self.engine.now for order in live)

    @rule(client=CLIENT)
    def suspend(self, client: str) -> None:
        self.apply(SuspendClient(self.id(), self.now, client))
        assert not self.engine.accounts[client].orders

    @precondition(lambda self: any(account.suspended for account in self.engine.accounts.values()))
    @rule()
    def resume_all(self) -> None:
        for client in CLIENTS:
            self.apply(ResumeClient(self.id(), self.now, client))

    @rule(client=CLIENT, cash=st.integers(-3 * 10**8, 3 * 10**8), shares=st.dictionaries(SYMBOL, st.integers(-9, 9)))
    def transfer(self, client: str, cash: int, shares: dict[str, int]) -> None:
        self.apply(TransferAssets(self.id(), self.now, client, cash, shares))

    @rule(symbol=SYMBOL)
    def save_book(self, symbol: str) -> None:
        self.apply(SaveBook(self.id(), self.now, symbol, "then"))

    @rule(symbol=SYMBOL)
    def load_book(self, symbol: str) -> None:
        self.apply(LoadBook(self.id(), self.now, symbol, "then"))

    @rule()
    def repeat_the_last_command(self) -> None:
        assert events_of(self.engine.apply(self.commands[-1])) == []

    @rule()
    def restart_from_a_snapshot(self) -> None:
        encoded = msgspec.msgpack.encode(state.take(self.engine))
        self.engine = state.restore(msgspec.msgpack.decode(encoded, type=state.EngineState))

    @invariant()
    def all_invariants_hold(self) -> None:
        invariants.no_book_is_crossed(self.engine)
        invariants.levels_are_the_sum_of_their_orders(self.engine)
        invariants.reserves_are_the_sum_over_open_orders(self.engine)
        invariants.no_account_exceeds_its_limits(self.engine)
        invariants.cash_and_shares_are_conserved(self.engine, self.events)

    def teardown(self) -> None:
        invariants.every_order_ends_once_and_adds_up(self.engine, self.events)
        # An engine that was never restarted emits the same events as this one, which was restarted from snapshots.
        whole, events = run(self.commands)
        assert digest(events) == digest(self.events)
        assert state.take(whole) == state.take(self.engine)


class MidpointExchange(Exchange):
    """The same steps with the pricing rule `midpoint` for the second security."""

    pricing_rule = PricingRule.MIDPOINT


TestExchange = Exchange.TestCase
TestMidpointExchange = MidpointExchange.TestCase
TestExchange.settings = TestMidpointExchange.settings = settings(max_examples=60, stateful_step_count=60)
