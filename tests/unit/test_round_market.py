"""The market of a round afterwards: convergence of prices, and the replay of the book."""

import pytest

from market_data_feed.round_market import FrameView, replay, round_market, smiths_alpha
from microexchange.commands import CancelOrder, NewOrder
from microexchange.enums import OrderType, Side
from microexchange.reports import OrderReport, Trade
from microexchange.round_activity import RoundActivity
from microexchange.session_commands import RoundPlan, SessionAction
from microexchange.session_reports import RoundEnded
from microexchange.session_scores import Round
from tests.unit.market import events_of
from tests.unit.test_round_activity import SECOND, Room


class Recorded(Room):
    """A room that keeps the reports of orders and the trades."""

    def __init__(self) -> None:
        self.reports: list[OrderReport] = []
        self.trades: list[Trade] = []
        super().__init__(RoundPlan("only", 600))

    def send(self, kind: type, *arguments: object, **terms: object) -> int:
        self._id += 1 << 10
        for event in events_of(self.engine.apply(kind(self._id, self.now, *arguments, **terms))):
            if isinstance(event, OrderReport):
                self.reports.append(event)
            if isinstance(event, Trade):
                self.trades.append(event)
            if type(event).__name__ not in ("Execution", "Transfer"):
                self.market.apply(event)
        return self._id


def played() -> Recorded:
    """A round of 10 seconds: a bid, an ask that takes a part of it, a cancel, and an order that waits for a trigger."""
    room = Recorded()
    room.act(SessionAction.START)
    room.wait(1)
    bid = room.order("ann", Side.BUY, 5, 990)
    room.wait(2)
    room.order("ben", Side.SELL, 2, 990)
    room.order("ben", Side.SELL, 4, 1010)
    room.send(NewOrder, "ben", "X", Side.SELL, OrderType.STOP_LIMIT, 1, 900, trigger_price=950)
    room.wait(2)
    room.send(CancelOrder, "ann", bid)
    room.wait(5)
    room.act(SessionAction.END)
    return room


def frames_of(room: Recorded) -> list[FrameView]:
    began = room.market.session.began_at(1)
    assert began is not None
    return replay(room.reports, room.market.securities["X"], began, began + 10 * SECOND, frames=10)


def test_a_replay_shows_the_book_and_the_last_trade_at_each_time() -> None:
    frames = frames_of(played())
    assert [frame.seconds for frame in frames] == [float(second) for second in range(1, 11)]
    assert frames[1].bids == [("9.90", "5")]
    assert (frames[1].last_price, frames[1].trades) == (None, 0)
    assert frames[3].bids == [("9.90", "3")]
    assert frames[3].asks == [("10.10", "4")]
    assert (frames[3].last_price, frames[3].trades) == ("9.90", 1)
    assert frames[5].bids == []
    assert frames[8].asks == [("10.10", "4")]


def test_the_book_of_a_replay_is_empty_at_the_end_of_the_round() -> None:
    assert (frames_of(played())[-1].bids, frames_of(played())[-1].asks) == ([], [])


def test_a_replay_of_a_round_without_orders_has_empty_books() -> None:
    room = Recorded()
    room.act(SessionAction.START)
    frames = frames_of(room)
    assert len(frames) == 10
    assert all(frame.bids == frame.asks == [] for frame in frames)


def test_the_market_of_a_round_has_its_trades_with_the_time_in_the_round() -> None:
    room = played()
    began = room.market.session.began_at(1) or 0
    data = Round(RoundEnded(1, 1, 1, [], []), {})
    found = round_market("X", room.market.securities["X"], room.trades, began, data)
    assert (found.trades, found.equilibrium) == ([(3.0, "9.90", "2")], None)


def test_private_values_give_the_equilibrium_and_the_steps_of_demand_and_supply() -> None:
    room = played()
    activities = {
        "ann": RoundActivity("ann", 1, role="buyer", values={"X": [1200, 900]}, net={"X": 2}),
        "ben": RoundActivity("ben", 1, role="seller", values={"X": [800, 1100]}, net={"X": -2}),
    }
    data = Round(RoundEnded(1, 1, 1, [], []), activities)
    found = round_market("X", room.market.securities["X"], room.trades, 0, data).equilibrium
    assert found is not None
    assert (found.demand, found.supply) == (["12.00", "9.00"], ["8.00", "11.00"])
    assert (found.quantity, found.lowest_price, found.highest_price, found.surplus) == (1, "9.00", "11.00", "4.00")
    assert found.efficiency == "0.50"  # the second unit loses 2.00 of the gain of 4.00
    assert found.alpha == "1.0"


@pytest.mark.parametrize(
    ("prices", "expected"), [([100], "0.0"), ([90, 110], "10.0"), ([80], "20.0"), ([], None), ([100, 110], "7.1")]
)
def test_smiths_alpha_is_the_distance_from_the_equilibrium_in_per_cent(prices: list[int], expected: str | None) -> None:
    assert smiths_alpha(prices, 100, 100) == expected


def test_smiths_alpha_needs_an_equilibrium_above_zero() -> None:
    assert smiths_alpha([1], 0, 0) is None
