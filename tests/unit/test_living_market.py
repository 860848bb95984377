"""The default house makes a market that stays alive. `./mx bench house` plays the long form of this."""

import random
import statistics
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from microexchange.numbers import CASH_SCALE, MAX_CASH
from trading_bots.__main__ import BotSettings, House
from trading_bots.bot import Bot
from trading_bots.competition.values import StochasticVolatility, Value
from trading_bots.house import CAST, ROLES, HouseValues, Listed, borrowable_of, house_bots, process_of, value_of
from trading_bots.simulation.client import SECOND
from trading_bots.simulation.house import LATENCY, LISTED, open_house
from trading_bots.simulation.house_check import Check, play_house
from trading_bots.simulation.rounds import START

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


def test_an_account_of_the_house_has_the_means_for_all_that_it_may_sell_short() -> None:
    for name in house_bots(len(CAST)):
        borrowable = borrowable_of(name, LISTED)
        value = sum(borrowable[one.symbol] * one.price for one in LISTED)
        assert 0 < value_of(borrowable, LISTED) - value <= 1000


def test_a_bot_that_stops_at_its_inventory_limit_has_the_means_to_reach_it() -> None:
    for name, bot in house_bots(len(CAST)).items():
        assert getattr(bot, "limit", 0) < ROLES[name.rsplit("-", 1)[0]].units


def test_those_who_take_stop_before_those_who_make_have_no_more_to_sell() -> None:
    limits = {name: getattr(bot, "limit", 0) for name, bot in house_bots(len(CAST)).items()}
    makers = sum(limit for name, limit in limits.items() if name.startswith(("MarketMaker", "InformedTrader")))
    assert sum(limits.values()) - makers < makers


def test_profits_of_the_house_are_those_of_trading_and_not_of_the_market() -> None:
    exchange, _ = open_house(START, "sum")
    begun = {name: client.bot.equity for name, client in exchange.clients.items()}
    exchange.run_until(START + 300 * SECOND)
    profits = {name: client.bot.equity - begun[name] for name, client in exchange.clients.items()}
    assert any(profit > 0 for profit in profits.values())
    assert any(profit < 0 for profit in profits.values())
    assert sum(profits.values()) <= 0  # what one wins another loses, and the exchange has its fees


def test_values_go_on_from_where_they_were_and_return_to_the_reference_price_in_the_end() -> None:
    one = Listed("X", Decimal(100), Decimal("0.01"), Decimal(1))
    values = HouseValues([one], 0.0, "seed", {"X": 150.0})
    assert values.at("X", 0.0) == 150
    assert Decimal(140) < values.at("X", 600.0) < Decimal(160)
    walk = StochasticVolatility(half_life=600.0).walk(150.0, random.Random(1), anchor=100.0)
    last = [next(walk).value for _ in range(20_000)][-1]
    assert 90 < last < 110


@pytest.mark.parametrize("saved", [float("inf"), float("nan"), 1e-300, 1e300])
def test_a_saved_value_that_no_value_can_be_is_not_taken(saved: float) -> None:
    values = HouseValues(LISTED, 0.0, "seed", {"AAPL": saved})
    assert abs(values.at("AAPL", 10.0) / LISTED[0].price - 1) < Decimal("0.1")


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"AAPL": "x"}', '{"AAPL": null}', "[" * 100_000, '{"AAPL": 1' + "0" * 400 + "}"]
)
def test_a_house_begins_though_the_file_of_its_values_is_damaged(tmp_path: Path, text: str) -> None:
    house = House(BotSettings(data_dir=tmp_path))
    (tmp_path / "bots").mkdir()
    (tmp_path / "bots" / "values.json").write_text(text)
    assert house._saved_values() == {}


def test_a_house_goes_on_where_its_values_cannot_be_saved(tmp_path: Path) -> None:
    house = House(BotSettings(data_dir=tmp_path))
    (tmp_path / "bots").write_text("a file where the folder should be")
    house._write(HouseValues(LISTED, 0.0, "seed"))
    assert house._saved_values() == {}


def test_values_go_on_after_the_clock_was_set_back() -> None:
    values = HouseValues(LISTED, 10_000.0, "seed")
    values.at("AAPL", 10_001.0)
    found = {values.at("AAPL", 5_000.0 + second) for second in range(100)}
    assert len(found) > 1


def test_the_means_of_an_account_are_no_more_than_an_account_can_have() -> None:
    dear = Listed("DEAR", Decimal(700_000), Decimal("0.01"), Decimal(1))
    for name in house_bots(len(CAST), ["DEAR"]):
        assert value_of(borrowable_of(name, [dear]), [dear]) <= MAX_CASH // CASH_SCALE


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
