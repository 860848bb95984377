"""Tests of the strategies, each on a market that the test sets up."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from microexchange.enum_terms import STATES
from microexchange.enums import TradingState
from trading_bots import live
from trading_bots.bot import Bot, Levels, Order, Security, Trade
from trading_bots.strategies import InformedTrader, MeanReversion, Momentum, NoiseTrader, OrderSplitter
from trading_bots.strategies.market_maker import MAX_STEP, MarketMaker
from trading_bots.strategies.order_splitter import Metaorder
from trading_bots.strategies.trader import unit_of


class Venue:
    """A venue that records the orders of a bot."""

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def send_order(self, order: Order) -> None:
        self.orders.append(order)

    def send_cancel(self, order: Order) -> None:
        order.status = "CANCELED"

    def send_amend(self, order: Order, quantity: Decimal | None, price: Decimal | None) -> None:
        order.quantity, order.price = quantity or order.quantity, price or order.price

    def start_timer(self, seconds: float, function: Callable[[], Any]) -> None:
        pass

    def now(self) -> float:
        return 0.0


def before(bot: Bot, bid: str, ask: str, last: str = "100") -> Venue:
    """Connect a bot that holds 100 shares to a market of one security. Return its venue."""
    venue = Venue()
    bot._venue = venue
    bot.cash = Decimal(100_000)
    security = Security("X", Decimal("0.01"), Decimal(1), Decimal(last))
    security.book.bids = Levels(True, {Decimal(bid): Decimal(1)})
    security.book.asks = Levels(False, {Decimal(ask): Decimal(1)})
    bot.securities["X"] = bot._listed["X"] = security
    bot._positions["X"] = Decimal(100)
    return venue


@pytest.mark.parametrize(
    ("bid", "ask", "mid_price"), [("99.90", "100.10", "100"), ("99.90", "99.90", "99.90"), ("140.00", "99.90", "99.95")]
)
def test_the_mid_price_of_a_crossed_book_is_the_last_price(bid: str, ask: str, mid_price: str) -> None:
    """In an auction the best bid can be far above the best ask, so their mean is not a market price."""
    bot = Bot()
    before(bot, bid, ask, last="99.95")
    assert bot.mid("X") == Decimal(mid_price)


def test_a_market_maker_quotes_around_the_mid_price() -> None:
    maker = MarketMaker(seed=1)
    venue = before(maker, "99.90", "100.10")
    maker.requote()
    bid, ask = venue.orders
    assert (bid.side, ask.side) == ("buy", "sell")
    assert Decimal("99.5") < (bid.price or 0) < Decimal(100) < (ask.price or 0) < Decimal("100.5")


def test_a_market_maker_follows_an_absurd_price_only_in_small_steps() -> None:
    maker = MarketMaker(seed=1)
    venue = before(maker, "99.90", "100.10")
    maker.requote()
    maker.securities["X"].book.bids = Levels(True, {Decimal("1.50"): Decimal(5)})
    maker.requote()
    bid = venue.orders[-2]
    assert bid.side == "buy"
    assert bid.price is not None
    assert bid.price > 100 * (1 - 2 * MAX_STEP)


def test_a_market_maker_follows_a_market_that_has_moved() -> None:
    maker = MarketMaker(seed=1)
    venue = before(maker, "119.90", "120.10")
    for _ in range(100):
        maker.requote()
    assert abs((venue.orders[-2].price or 0) - 120) < 1


def test_a_market_maker_with_a_large_inventory_quotes_lower() -> None:
    quotes = []
    for held in (100, 400):
        maker = MarketMaker(seed=1, target=100)
        venue = before(maker, "99.90", "100.10")
        maker._positions["X"] = Decimal(held)
        maker.requote()
        quotes.append(venue.orders[0].price or 0)
    assert quotes[1] < quotes[0]


def test_a_market_maker_with_a_value_quotes_around_it_instead_of_the_book() -> None:
    maker = MarketMaker(seed=1, pause=1.0, delay=0.0, error=0.0)
    maker.value = lambda symbol, now: Decimal(120)
    venue = before(maker, "99.90", "100.10")
    maker.requote()
    bid, ask = venue.orders
    assert (bid.price or 0) < 120 < (ask.price or 0)
    assert (ask.price or 0) - (bid.price or 0) < 1


def test_the_estimate_of_a_market_maker_follows_the_value_with_a_delay() -> None:
    maker = MarketMaker(seed=1, pause=1.0, delay=3.0, error=0.0)
    values = [Decimal(100), Decimal(110), Decimal(110), Decimal(110), Decimal(110)]
    before(maker, "99.90", "100.10")
    estimates = []
    for value in values:
        maker.value = lambda symbol, now, value=value: value
        estimates.append(maker.estimate("X"))
    assert estimates == [100, 100, 100, 100, 110] or estimates == [100, 100, 100, 110, 110]


@pytest.mark.parametrize(("held", "side"), [(1000 + 50, "sell"), (1000 - 50, "buy")])
def test_a_market_maker_at_its_inventory_limit_quotes_the_side_that_reduces_it(held: int, side: str) -> None:
    maker = MarketMaker(seed=1, limit=25)
    venue = before(maker, "99.90", "100.10")
    maker.initial_holdings["X"] = Decimal(1000)
    maker._positions["X"] = Decimal(held)
    maker.cash = Decimal(10_000_000)
    maker.requote()
    assert [order.side for order in venue.orders] == [side]


def test_an_informed_trader_buys_below_the_value_up_to_a_position_that_depends_on_the_mispricing() -> None:
    trader = InformedTrader(seed=1, edge="0.001", size=1000, depth=100.0, limit=4000)
    trader.value = lambda symbol, now: Decimal(100)
    venue = before(trader, "98.90", "99.00")
    for _ in range(50):
        trader.act()
    bought = sum(order.quantity for order in venue.orders)
    assert {order.side for order in venue.orders} == {"buy"}
    # The target position is the square of the mispricing of 1 % times 100 units of two shares.
    trader._positions["X"] += 200
    count_before = len(venue.orders)
    trader.act()
    assert bought > 0
    assert len(venue.orders) == count_before


def test_an_informed_trader_with_a_large_inventory_sells_at_the_value() -> None:
    trader = InformedTrader(seed=1, edge="0.01", size=10, depth=100.0, limit=4000)
    trader.value = lambda symbol, now: Decimal(100)
    venue = before(trader, "100.05", "100.10")
    trader.initial_holdings["X"] = Decimal(50)
    trader.act()
    assert [order.side for order in venue.orders] == ["sell"]


def test_an_order_splitter_trades_on_one_side_until_its_metaorder_is_complete() -> None:
    trader = OrderSplitter(seed=3, limit=10**6)
    venue = before(trader, "99.90", "100.10")
    trader.orders["X"] = Metaorder(is_buy=True, pieces=20, size=1)
    for _ in range(20):
        trader.send_piece("X")
    assert [order.side for order in venue.orders] == ["buy"] * 20


def test_an_order_splitter_at_its_inventory_limit_ends_its_metaorder() -> None:
    trader = OrderSplitter(seed=3, limit=10)
    venue = before(trader, "99.90", "100.10")
    trader.initial_holdings["X"] = Decimal(80)
    trader.orders["X"] = Metaorder(is_buy=True, pieces=20, size=1)
    trader.send_piece("X")
    assert venue.orders == []
    assert trader.orders["X"].pieces == 0


def test_a_noise_trader_sends_more_orders_after_trades() -> None:
    def orders(trades: int, pauses: int = 400) -> int:
        trader = NoiseTrader(seed=1, pause=1.0, rate=0.05, excitement=2.0, patience=10**6)
        venue = before(trader, "99.90", "100.10")
        trader.cash = Decimal(10**9)
        trader._positions["X"] = Decimal(10**9)
        for _ in range(pauses):
            for _ in range(trades):
                trader.on_trade(Trade("X", Decimal(100), Decimal(1), "buy"))
            trader.act()
        return len(venue.orders)

    assert orders(trades=1) > 3 * orders(trades=0)


def test_a_unit_has_about_the_same_value_in_every_security() -> None:
    assert unit_of(Decimal("190.00"), Decimal(1)) == 1
    assert unit_of(Decimal("45.00"), Decimal(1)) == 4
    assert unit_of(Decimal("0.50"), Decimal(1)) == 400
    assert unit_of(Decimal(43_000), Decimal("0.0001")) == Decimal("0.0047")
    assert unit_of(Decimal(5_000), Decimal(1)) == 1


def test_an_absurd_last_price_does_not_change_the_size_of_orders() -> None:
    trader = NoiseTrader(seed=1)
    before(trader, "99.90", "100.10")
    first = trader.unit("X")
    trader.securities["X"].last = Decimal("0.01")
    assert trader.unit("X") == first


async def test_only_an_order_without_an_answer_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "RESEND_DELAY_SECONDS", 0.0)
    bot = Bot()
    venue = live.LiveVenue(bot, "me", "key", "http://127.0.0.1:1", "http://127.0.0.1:1")
    bot.securities["X"] = bot._listed["X"] = Security("X", Decimal("0.01"), Decimal(1), Decimal(100))
    unknown, resting, filled = (bot.buy("X", 1, price) for price in (1, 2, 3))
    resting.order_id = "17"
    del bot._orders[filled.client_order_id]
    while not venue._outgoing.empty():
        venue._outgoing.get_nowait()
    venue._is_connected = True
    await venue._resend({f"o:{order.client_order_id}" for order in (unknown, resting, filled)})
    assert venue._outgoing.get_nowait()["client_order_id"] == unknown.client_order_id
    assert venue._outgoing.empty()


@pytest.mark.parametrize("state", TradingState)
def test_a_noise_trader_sends_only_order_types_that_the_trading_state_allows(state: TradingState) -> None:
    trader = NoiseTrader(seed=2)
    venue = before(trader, "99.90", "100.10")
    trader.securities["X"].state = state.value
    for _ in range(200):
        trader.act()
    order_types = {order.order_type for order in venue.orders}
    if STATES[state].refusal is not None:
        assert order_types == set()
    else:
        assert order_types == ({"limit"} if STATES[state].collects else {"limit", "market"})


def test_a_market_maker_does_not_amend_a_quote_to_its_current_price() -> None:
    maker = MarketMaker(seed=1)
    venue = before(maker, "0.0001", "0.0002", "0.0001")
    maker.cash = Decimal(10**9)
    maker.securities["X"].tick = Decimal("0.0001")
    amended: list[Decimal | None] = []
    venue.send_amend = lambda order, quantity, price: amended.append(price)  # type: ignore[method-assign]
    for _ in range(20):
        maker.requote()
    assert len(venue.orders) >= 1
    assert amended == []


@pytest.mark.parametrize(("price", "lot"), [("0.0001", "1000"), ("43000", "0.0001"), ("100", "1")])
@pytest.mark.parametrize("strategy", [Momentum, MeanReversion])
def test_trend_strategies_trade_in_units_that_depend_on_the_price(
    strategy: type[Momentum] | type[MeanReversion], price: str, lot: str
) -> None:
    bot = strategy(seed=1)
    venue = before(bot, price, price, price)
    security = bot.securities["X"]
    security.tick, security.lot = Decimal("0.0001"), Decimal(lot)
    for percent in (100, 100, 150, 50, 150, 50, 200):
        bot.on_trade(Trade("X", Decimal(price) * percent / 100, Decimal(lot), "buy"))
    assert venue.orders
    assert all(100 < order.quantity * Decimal(price) < 1000 for order in venue.orders)
