"""The activity of a client in a round, and the progress of its assignments."""

from typing import Any

import pytest

from market_data_feed.market import MarketData
from market_data_feed.sessions import ACTIVITY, BEGUN, SessionData
from matching_engine.engine import Engine
from microexchange.commands import CancelOrder, ListSecurity, NewOrder, OpenAccount, TimeTick
from microexchange.enums import OrderType, Side
from microexchange.numbers import CASH_SCALE
from microexchange.round_activity import progress
from microexchange.session_commands import (
    AnswerTender,
    Assignment,
    AssignmentType,
    ControlSession,
    OfferTender,
    PlanSession,
    RoundPlan,
    SessionAction,
)
from tests.unit.market import events_of

SECOND = 1_000_000_000
TASKS = tuple(Assignment(kind, 0 if kind is AssignmentType.END_FLAT else 2) for kind in AssignmentType)


class Room:
    """An engine with the security X and the clients ann and ben, and the market data of its reports."""

    def __init__(self, *rounds: RoundPlan) -> None:
        self.engine, self.market, self.now, self._id = Engine(), MarketData(), SECOND, 0
        self.send(ListSecurity, "X", "X Inc.", "0.01", "1", 1000, maker_fee_bps=0, taker_fee_bps=0)
        for name in ("ann", "ben"):
            self.send(OpenAccount, name, 10_000 * CASH_SCALE, {"X": 100})
        plan = list(rounds) or [RoundPlan("first", 600, assignments=TASKS), RoundPlan("second", 600)]
        self.send(PlanSession, "class", plan)

    def send(self, kind: Any, *arguments: Any, **terms: Any) -> int:
        self._id += 1 << 10
        for event in events_of(self.engine.apply(kind(self._id, self.now, *arguments, **terms))):
            if type(event).__name__ not in ("Execution", "Transfer"):
                self.market.apply(event)
        return self._id

    def act(self, action: SessionAction) -> None:
        self.send(ControlSession, action)

    def order(self, client: str, side: Side, quantity: int, price: int) -> int:
        return self.send(NewOrder, client, "X", side, OrderType.LIMIT, quantity, price)

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)
        self.send(TimeTick)

    def met(self, client: str) -> set[AssignmentType]:
        activity, tasks, profit = self.market.session.tasks(client)
        return {task.assignment_type for task in tasks if progress(task, activity, profit, self.now).is_met}


def started(*rounds: RoundPlan) -> Room:
    room = Room(*rounds)
    room.act(SessionAction.START)
    return room


def test_limit_orders_and_trades_are_met_as_they_happen() -> None:
    room = started()
    room.order("ann", Side.BUY, 1, 990)
    assert room.met("ann") == set()
    room.order("ann", Side.BUY, 1, 991)
    assert room.met("ann") == {AssignmentType.LIMIT_ORDERS}
    room.order("ben", Side.SELL, 2, 990)
    assert AssignmentType.TRADES in room.met("ann")
    activity = room.market.session.activity("ann", 1)
    assert (activity.orders, activity.ordered, activity.filled, activity.net) == (2, 2, 2, {"X": 2})


def test_a_rejected_order_counts_for_nothing() -> None:
    room = started()
    room.order("ann", Side.BUY, 1_000_000, 990)
    assert room.market.session.activity("ann", 1).orders == 0


def test_quotes_count_while_a_bid_and_an_ask_are_open_at_once() -> None:
    room = started()
    bid = room.order("ann", Side.BUY, 1, 990)
    room.wait(10)
    room.order("ann", Side.SELL, 1, 1010)
    room.wait(1.5)
    assert AssignmentType.QUOTE_BOTH_SIDES not in room.met("ann")
    room.send(CancelOrder, "ann", bid)
    room.wait(10)
    assert AssignmentType.QUOTE_BOTH_SIDES not in room.met("ann")
    room.order("ann", Side.BUY, 1, 990)
    room.wait(0.5)
    assert AssignmentType.QUOTE_BOTH_SIDES in room.met("ann")


def test_a_pause_does_not_count_as_time_of_quotes() -> None:
    room = started()
    room.order("ann", Side.BUY, 1, 990)
    room.order("ann", Side.SELL, 1, 1010)
    room.wait(1)
    room.act(SessionAction.PAUSE)
    room.wait(60)
    assert room.market.session.activity("ann", 1).seconds_quoted("X", room.now) == 1
    room.act(SessionAction.RESUME)
    room.wait(1)
    assert room.market.session.activity("ann", 1).seconds_quoted("", room.now) == 2


def test_the_end_decides_about_flat_holdings_and_profit() -> None:
    room = started()
    room.order("ann", Side.SELL, 1, 1100)
    room.order("ben", Side.BUY, 1, 1100)
    assert room.met("ann") == set()
    room.act(SessionAction.END)
    # The share that ann has sold at 11.00 is worth 11.00, and so are the 99 that are left: a profit of 100.
    assert room.met("ann") == {AssignmentType.PROFIT}
    assert room.met("ben") == {AssignmentType.PROFIT}


def test_flat_holdings_are_met_by_a_client_that_has_traded_back() -> None:
    room = started()
    room.order("ann", Side.SELL, 1, 1000)
    room.order("ben", Side.BUY, 1, 1000)
    room.order("ben", Side.SELL, 1, 1000)
    room.order("ann", Side.BUY, 1, 1000)
    room.act(SessionAction.END)
    assert AssignmentType.END_FLAT in room.met("ann")


def test_the_shares_of_a_tender_are_not_flat() -> None:
    room = started()
    tender = room.send(OfferTender, "X", Side.BUY, 5, 900, "", "ann", room.now + 60 * SECOND)
    room.send(AnswerTender, "ann", tender, True)
    assert room.market.session.activity("ann", 1).net == {"X": 5}
    room.act(SessionAction.END)
    assert AssignmentType.END_FLAT not in room.met("ann")


def test_a_round_that_is_played_again_begins_without_activity() -> None:
    room = started()
    room.order("ann", Side.BUY, 1, 990)
    room.act(SessionAction.END)
    assert room.market.session.activity("ann", 1).orders == 1
    room.act(SessionAction.RESET)
    assert room.market.session.activity("ann", 1).orders == 0
    assert not [place for place in room.market.session.reports if place[0] in (ACTIVITY, BEGUN)]


def test_the_next_round_keeps_the_activity_of_the_one_before() -> None:
    room = started()
    room.order("ann", Side.BUY, 1, 990)
    room.act(SessionAction.END)
    room.act(SessionAction.NEXT)
    room.act(SessionAction.START)
    room.order("ann", Side.BUY, 1, 990)
    room.order("ann", Side.BUY, 1, 991)
    session = room.market.session
    assert (session.activity("ann", 1).orders, session.activity("ann", 2).orders) == (1, 2)
    began = session.began_at(2)
    assert began is not None
    assert began >= (session.began_at(1) or 0)


@pytest.mark.parametrize("state", ["lobby", "ended"])
def test_an_order_outside_of_a_round_is_no_activity(state: str) -> None:
    room = Room() if state == "lobby" else started()
    if state == "ended":
        room.act(SessionAction.END)
    room.order("ann", Side.BUY, 1, 990)
    assert room.market.session.activity("ann", 1).orders == 0


def test_the_stored_state_of_a_session_gives_the_same_activity() -> None:
    room = started()
    room.order("ann", Side.BUY, 1, 990)
    room.order("ann", Side.SELL, 1, 1010)
    stored = [(kind, key, report) for (kind, key), report in room.market.session.reports.items()]
    restored = SessionData()
    restored.load(stored)
    assert restored.activity("ann", 1) == room.market.session.activity("ann", 1)
    assert restored.began_at(1) == room.market.session.began_at(1)
