"""Positions by the average-cost method: profits, fees, the day, and the agreement with all fills."""

from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from market_data_feed.market import NS_PER_DAY, MarketData
from market_data_feed.positions import Position
from market_data_feed.store import Pending, seal
from matching_engine.engine import Engine
from microexchange.commands import NewOrder
from microexchange.enums import ExecType, OrderType, Side
from microexchange.producer_cursors import ProducerCursors
from microexchange.reports import AccountOpened, AssetsTransferred, OrderReport, Trade
from tests.property.test_engine import commands_of, days
from tests.unit.market import Floor

trades = st.lists(
    st.tuples(st.integers(-50, 50).filter(bool), st.integers(1, 10**6), st.integers(-100, 100)), min_size=1, max_size=60
)
"""Trades as (lots, price of a lot, fee)."""


def position_of(done: list[tuple[int, int, int]]) -> Position:
    position = Position()
    for trade in done:
        position.trade(*trade)
    return position


def exact_profit(done: list[tuple[int, int, int]]) -> tuple[Fraction, Fraction]:
    """Return the realised profit and the average cost of a lot in fractions, without fees."""
    held, average, realised = 0, Fraction(0), Fraction(0)
    for lots, price, _ in done:
        if held * lots >= 0:
            average = (average * abs(held) + price * abs(lots)) / abs(held + lots)
        else:
            closed = min(abs(lots), abs(held))
            realised += closed * (price - average) * (1 if held > 0 else -1)
            if abs(lots) > abs(held):
                average = Fraction(price)
        held += lots
    return realised, average if held else Fraction(0)


def test_a_sale_realises_the_price_less_the_average_cost() -> None:
    position = position_of([(10, 100, 0), (10, 200, 0), (-5, 180, 0)])
    assert (position.quantity, position.cost, position.realised) == (15, 15 * 150, 5 * 30)
    assert position.unrealised(15 * 160) == 15 * 10


def test_a_short_position_earns_when_the_price_falls() -> None:
    position = position_of([(-10, 100, 0), (4, 70, 0)])
    assert (position.quantity, position.cost, position.realised) == (-6, -600, 4 * 30)
    assert position.unrealised(-6 * 90) == 6 * 10


def test_a_trade_beyond_the_position_closes_it_and_opens_the_other_side() -> None:
    position = position_of([(10, 100, 0), (-25, 120, 0)])
    assert (position.quantity, position.cost, position.realised) == (-15, -15 * 120, 10 * 20)


def test_fees_are_apart_from_the_realised_profit() -> None:
    position = position_of([(10, 100, 7), (-10, 110, -2)])
    assert (position.realised, position.fees) == (100, 5)


@given(trades)
def test_the_profit_is_that_of_all_trades_in_exact_fractions(done: list[tuple[int, int, int]]) -> None:
    position, (realised, average) = position_of(done), exact_profit(done)
    # A trade that closes a part rounds by less than a cash unit.
    assert abs(position.realised - realised) < len(done)
    assert abs(position.cost - average * position.quantity) < len(done)
    assert (position.quantity == 0) <= (position.cost == 0), "no rest of the cost stays after the last lot"
    assert position.result == -sum(lots * price + fee for lots, price, fee in done)


@given(trades)
def test_the_opposite_trades_have_the_opposite_profit(done: list[tuple[int, int, int]]) -> None:
    position, mirrored = position_of(done), position_of([(-lots, price, fee) for lots, price, fee in done])
    assert (position.realised, position.cost) == (-mirrored.realised, -mirrored.cost)


@settings(max_examples=40)
@given(days)
def test_the_positions_of_the_feed_are_those_of_all_fills_and_transfers(steps: list[Any]) -> None:
    engine, market = Engine(), MarketData()
    reports = [report for command in commands_of(steps) for report in engine.apply(command).reports]
    done: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    marks = {"X": 10_000, "Y": 6}
    for report in reports:
        market.apply(report)
        if isinstance(report, OrderReport) and report.exec_type is ExecType.TRADE:
            lots = report.last_quantity if report.side is Side.BUY else -report.last_quantity
            value = market.value(report.symbol, 1, report.last_price)
            done.setdefault((report.client_id, report.symbol), []).append((lots, value, report.fee))
        elif isinstance(report, Trade):
            marks[report.symbol] = report.price
        elif isinstance(report, AccountOpened | AssetsTransferred):
            for symbol, lots in report.shares.items():
                value = market.value(symbol, 1, marks[symbol])
                done.setdefault((report.client_id, symbol), []).append((lots, value, 0))
    positions = {(name, symbol): one for name, client in market.clients.items() for symbol, one in client.positions.items()}
    assert positions.keys() == done.keys()
    for key, position in positions.items():
        realised, _ = exact_profit([trade for trade in done[key] if trade[0]])
        assert position.quantity == sum(lots for lots, _, _ in done[key])
        assert position.fees == sum(fee for _, _, fee in done[key])
        assert abs(position.realised - realised) < len(done[key])
    assert sum(one.trades for one in positions.values()) == sum(client.trades for client in market.clients.values())


def trade_on(floor: Floor, day: int, price: int, buyer: str = "a", seller: str = "b") -> None:
    at = day * NS_PER_DAY + 1
    for client, side in ((seller, Side.SELL), (buyer, Side.BUY)):
        floor.apply(NewOrder(floor.id(), at, client, "X", side, OrderType.LIMIT, 10, price))


def market_at(floor: Floor, day: int) -> MarketData:
    engine, market = Engine(), MarketData()
    for command in floor.log:
        for report in engine.apply(command).reports:
            market.apply(report)
    market.advance_to(day * NS_PER_DAY + 2)
    return market


def test_the_profit_of_today_begins_at_midnight_utc() -> None:
    floor = Floor()
    trade_on(floor, 5, 11_000)  # a has 110, and the price has risen from 100.00 to 110.00
    market = market_at(floor, 5)
    (position,) = market.positions_view("a")
    assert (position.quantity, position.average_cost) == ("110", "100.90909091")
    assert (position.unrealised, position.fees, position.today) == ("1000.00", "2.20", "997.80")
    trade_on(floor, 6, 12_000)  # from midnight on: 10.00 for each of 110, and a fee
    (position,) = market_at(floor, 6).positions_view("a")
    assert position.today == "1097.60"
    (position,) = market_at(floor, 7).positions_view("a")
    assert position.today == "0.00", "nothing has traded yet"


def test_a_transfer_of_shares_is_no_profit() -> None:
    (position,) = market_at(Floor(), 0).positions_view("c")
    assert (position.quantity, position.average_cost, position.cost) == ("100", "100", "10000.00")
    assert (position.unrealised, position.realised, position.today) == ("0.00", "0.00", "0.00")


def test_a_changed_position_is_stored_once_in_a_transaction() -> None:
    floor = Floor()
    trade_on(floor, 5, 11_000)
    trade_on(floor, 5, 11_100)
    sealed = seal(Pending(), market_at(floor, 5), ProducerCursors(), 1)
    (columns,) = [values for statement, values in sealed.upserts if "INTO positions" in statement]
    assert columns[0] == ["a", "b", "c"]
