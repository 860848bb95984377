"""What the house bots do, each on a market that is put before it by hand."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from trading_bots import live
from trading_bots.bot import Bot, Levels, Order, Security
from trading_bots.strategies.market_maker import MOST_STEP, MarketMaker


class Venue:
    """Remembers what a bot asks for."""

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
    """Puts the bot before a market of one security, with a hundred shares of it."""
    venue = Venue()
    bot._venue = venue
    bot.cash = Decimal(100_000)
    security = Security("X", Decimal("0.01"), Decimal(1), Decimal(last))
    security.book.bids = Levels(True, {Decimal(bid): Decimal(1)})
    security.book.asks = Levels(False, {Decimal(ask): Decimal(1)})
    bot.securities["X"] = bot._listed["X"] = security
    bot._positions["X"] = Decimal(100)
    return venue


def test_a_market_maker_quotes_around_the_middle() -> None:
    maker = MarketMaker(seed=1)
    venue = before(maker, "99.90", "100.10")
    maker.requote()
    bid, ask = venue.orders
    assert (bid.side, ask.side) == ("buy", "sell")
    assert Decimal("99.5") < (bid.price or 0) < Decimal(100) < (ask.price or 0) < Decimal("100.5")


def test_a_market_maker_does_not_follow_a_silly_price() -> None:
    maker = MarketMaker(seed=1)
    venue = before(maker, "99.90", "100.10")
    maker.requote()
    maker.securities["X"].book.bids = Levels(True, {Decimal("1.50"): Decimal(5)})
    maker.requote()
    bid = venue.orders[-2]
    assert bid.side == "buy"
    assert bid.price is not None
    assert bid.price > 100 * (1 - 2 * MOST_STEP)


def test_a_market_maker_follows_a_market_that_has_moved() -> None:
    maker = MarketMaker(seed=1)
    venue = before(maker, "119.90", "120.10")
    for _ in range(100):
        maker.requote()
    assert abs((venue.orders[-2].price or 0) - 120) < 1


def test_a_market_maker_that_holds_too_much_quotes_lower() -> None:
    quotes = []
    for held in (100, 400):
        maker = MarketMaker(seed=1)
        venue = before(maker, "99.90", "100.10")
        maker._positions["X"] = Decimal(held)
        maker.requote()
        quotes.append(venue.orders[0].price or 0)
    assert quotes[1] < quotes[0]


async def test_an_order_is_sent_again_only_while_nothing_is_known_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SILENCE", 0.0)
    bot = Bot()
    venue = live.LiveVenue(bot, "me", "key", "http://127.0.0.1:1", "http://127.0.0.1:1")
    bot.securities["X"] = bot._listed["X"] = Security("X", Decimal("0.01"), Decimal(1), Decimal(100))
    unknown, resting, filled = (bot.buy("X", 1, price) for price in (1, 2, 3))
    resting.order_id = "17"
    del bot._orders[filled.client_order_id]
    while not venue._outgoing.empty():
        venue._outgoing.get_nowait()
    await venue._send_again({f"o:{order.client_order_id}" for order in (unknown, resting, filled)})
    assert venue._outgoing.get_nowait()["client_order_id"] == unknown.client_order_id
    assert venue._outgoing.empty()
