"""The default house makes a market that stays alive. `./mx bench house` plays the long form of this."""

import random
import statistics
from collections.abc import Callable
from decimal import Decimal

import pytest

from trading_bots.bot import Bot
from trading_bots.competition.values import StochasticVolatility, Value
from trading_bots.house import CAST, ROLES, HouseValues, Listed, cash_of, house_bots, process_of, shares_of
from trading_bots.simulation.exchange import SECOND
from trading_bots.simulation.house import LATENCY, LISTED, open_house
from trading_bots.simulation.house_check import START, Check, play_house
from trading_bots.strategies.trader import unit_of

MINUTES = 25


@pytest.mark.slow
def test_the_default_house_keeps_its_market_alive() -> None:
    day = play_house("a fixed seed", MINUTES * 60)
    assert [check for check in day.checks() if not check.holds] == []
    assert all(one.trades > MINUTES for one in day.securities.values())


def test_the_same_seed_gives_the_same_market() -> None:
    first, second = play_house("same", 60), play_house("same", 60)
    assert first.securities == second.securities
    assert first.trades > 0


def test_a_smaller_house_makes_a_market_too() -> None:
    day = play_house("small", 300, bots=4)
    assert day.trades > 100
    assert max(one.longest_empty for one in day.securities.values()) <= 5


def test_a_house_trades_coins_in_sizes_that_suit_them() -> None:
    coin = Listed("BTC-USDT", Decimal(43_000), Decimal("0.01"), Decimal("0.0001"))
    exchange, _ = open_house(START, "coin", [coin])
    exchange.run_until(START + 300 * SECOND)
    assert exchange.market.totals.trades > 20
    for client in exchange.clients.values():
        assert client.errors == []


Act = Callable[[Bot], object]


@pytest.mark.parametrize(
    ("cash", "shares", "act"),
    [
        (10_000, 0, lambda bot: bot.buy("AAPL", 40, "1000")),
        (1_000_000, 0, lambda bot: bot.buy("AAPL", 4000)),
        (0, 10_000, lambda bot: bot.sell("AAPL", 5000)),
        (0, 3_000, lambda bot: bot.sell("AAPL", 3000, "1.00")),
    ],
    ids=["buys with all it has", "a large market order", "a large sale", "offers at almost nothing"],
)
def test_the_market_recovers_from_an_absurd_order_within_two_minutes(cash: int, shares: int, act: Act) -> None:
    exchange, values = open_house(START, "absurd")
    human = Bot()
    exchange.join(human, "human", cash * 10**8, {"AAPL": shares} if shares else {}, LATENCY)
    exchange.run_until(START + 60 * SECOND)
    act(human)
    exchange.run_until(START + 180 * SECOND)
    book = human.book("AAPL")
    assert book.bid is not None
    assert book.ask is not None
    value = values.at("AAPL", START / SECOND + 180)
    assert abs((book.bid.price + book.ask.price) / 2 / value - 1) < Decimal("0.01")
    assert book.ask.price - book.bid.price < value / 100


def test_every_bot_of_the_house_has_a_role_and_a_name_of_its_own() -> None:
    bots = house_bots(3 * len(CAST))
    assert len(bots) == 3 * len(CAST)
    assert {name.rsplit("-", 1)[0] for name in bots} == set(ROLES) == set(CAST)


def test_an_account_of_the_house_has_as_much_in_cash_as_in_shares() -> None:
    for name in house_bots(len(CAST)):
        shares = shares_of(name, LISTED)
        value = sum(shares[one.symbol] * one.price for one in LISTED)
        assert 0 < cash_of(shares, LISTED) - value <= 1000


def test_what_bots_may_hold_beyond_their_beginning_is_less_than_the_others_have_to_sell() -> None:
    bots = house_bots(len(CAST))
    for one in LISTED:
        takers = sum(getattr(bot, "limit", 0) for name, bot in bots.items() if not name.startswith(("Market", "Inf")))
        makers = sum(shares_of(name, LISTED)[one.symbol] for name in bots if name.startswith(("MarketMaker", "Informed")))
        assert takers * unit_of(one.price, one.lot) < makers


def test_values_go_on_from_where_they_were_and_return_to_the_reference_price_in_the_end() -> None:
    one = Listed("X", Decimal(100), Decimal("0.01"), Decimal(1))
    values = HouseValues([one], 0.0, "seed", {"X": 150.0})
    assert values.at("X", 0.0) == 150
    assert Decimal(140) < values.at("X", 600.0) < Decimal(160)
    walk = StochasticVolatility(half_life=600.0).walk(150.0, random.Random(1), anchor=100.0)
    last = [next(walk).value for _ in range(20_000)][-1]
    assert 90 < last < 110


def test_a_value_is_the_same_for_everyone_who_asks_in_the_same_second() -> None:
    values = HouseValues(LISTED, 0.0, "seed")
    assert values.at("AAPL", 100.2) == values.at("AAPL", 100.9)
    assert values.at("AAPL", 90.0) == values.at("AAPL", 100.0)


def test_a_value_does_not_jump_over_a_long_gap() -> None:
    values = HouseValues(LISTED, 0.0, "seed")
    before = values.at("AAPL", 10.0)
    assert abs(values.at("AAPL", 10.0**9) / before - 1) < Decimal("0.1")


@pytest.mark.parametrize("symbol", ["AAPL", "BTC-USDT"])
def test_the_value_moves_by_as_much_in_a_day_as_its_volatility_states(symbol: str) -> None:
    process: Value = process_of(symbol)
    assert isinstance(process, StochasticVolatility)
    changes = []
    for seed in range(150):
        walk = process.walk(100.0, random.Random(seed))
        changes.append([next(walk).value for _ in range(3600)][-1] / 100 - 1)
    hourly = process.volatility / 100 * 60**0.5
    assert 0.6 * hourly < statistics.pstdev(changes) < 1.7 * hourly


def test_a_check_fails_beyond_its_limit() -> None:
    assert Check("spread", 10, 10).holds
    assert not Check("spread", 11, 10).holds
    assert not Check("depth", 9, 10, is_minimum=True).holds
