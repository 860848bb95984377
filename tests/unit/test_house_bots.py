"""Tests of the house bots and their market. `./mx bench house` runs the same checks for a longer time."""

import random
import statistics
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from microexchange.numbers import CASH_SCALE, MAX_CASH
from trading_bots.__main__ import BotSettings, House
from trading_bots.bot import Bot, News
from trading_bots.competition.values import StochasticVolatility, Value
from trading_bots.house import CAST, ROLES, HouseValues, Listed, borrowable_of, house_bots, prepare_bot, process_of, value_of
from trading_bots.simulation.client import SECOND
from trading_bots.simulation.house import LATENCY, LISTED, open_house
from trading_bots.simulation.house_check import Check, play_house
from trading_bots.simulation.rounds import START

MINUTES = 25
STOCK_200 = Listed("AAPL", Decimal(200), Decimal("0.01"), Decimal(1))


@pytest.mark.slow
def test_the_default_house_passes_all_checks_of_market_quality() -> None:
    day = play_house("a fixed seed", MINUTES * 60)
    assert [check for check in day.checks() if not check.holds] == []
    assert all(security.trades > MINUTES for security in day.securities.values())


def test_the_same_seed_gives_the_same_market() -> None:
    first, second = play_house("same", 60), play_house("same", 60)
    assert first.securities == second.securities
    assert first.trades > 0


def test_a_house_of_four_bots_keeps_both_sides_quoted() -> None:
    day = play_house("small", 300, bots=4)
    assert day.trades > 100
    assert max(security.longest_empty for security in day.securities.values()) <= 5


def test_the_house_trades_a_coin_in_fractional_quantities() -> None:
    coin = Listed("BTC-USDT", Decimal(43_000), Decimal("0.01"), Decimal("0.0001"))
    exchange, _ = open_house(START, "coin", [coin])
    exchange.run_until(START + 300 * SECOND)
    assert exchange.market.totals.trades > 20
    for client in exchange.clients.values():
        assert client.errors == []


Action = Callable[[Bot], object]


@pytest.mark.parametrize(
    ("cash", "shares", "act"),
    [
        (10_000, 0, lambda bot: bot.buy("AAPL", 40, "1000")),
        (1_000_000, 0, lambda bot: bot.buy("AAPL", 4000)),
        (0, 10_000, lambda bot: bot.sell("AAPL", 5000)),
        (0, 3_000, lambda bot: bot.sell("AAPL", 3000, "1.00")),
    ],
    ids=["a buy with all cash", "a large market order", "a large sale", "a sale at a very low price"],
)
def test_the_market_recovers_from_an_absurd_order_within_two_minutes(cash: int, shares: int, act: Action) -> None:
    exchange, values = open_house(START, "absurd")
    trader = Bot()
    exchange.join(trader, "trader", cash * 10**8, {"AAPL": shares} if shares else {}, LATENCY)
    exchange.run_until(START + 60 * SECOND)
    act(trader)
    exchange.run_until(START + 180 * SECOND)
    book = trader.book("AAPL")
    assert book.bid is not None
    assert book.ask is not None
    value = values.at("AAPL", START / SECOND + 180)
    assert abs((book.bid.price + book.ask.price) / 2 / value - 1) < Decimal("0.01")
    assert book.ask.price - book.bid.price < value / 100


def test_every_house_bot_has_a_role_and_a_unique_name() -> None:
    bots = house_bots(3 * len(CAST))
    assert len(bots) == 3 * len(CAST)
    assert {name.rsplit("-", 1)[0] for name in bots} == set(ROLES) == set(CAST)


def test_a_house_account_has_the_short_limit_for_its_largest_short_positions() -> None:
    for name in house_bots(len(CAST)):
        borrowable = borrowable_of(name, LISTED)
        value = sum(borrowable[listed.symbol] * listed.price for listed in LISTED)
        assert 0 < value_of(borrowable, LISTED) - value <= 1000


def test_the_inventory_limit_of_a_house_bot_is_below_its_short_limit() -> None:
    for name, bot in house_bots(len(CAST)).items():
        assert getattr(bot, "limit", 0) < ROLES[name.rsplit("-", 1)[0]].units


def test_the_inventory_limits_of_takers_sum_to_less_than_those_of_makers() -> None:
    limits = {name: getattr(bot, "limit", 0) for name, bot in house_bots(len(CAST)).items()}
    makers = sum(limit for name, limit in limits.items() if name.startswith(("MarketMaker", "InformedTrader")))
    assert sum(limits.values()) - makers < makers


def test_the_profits_of_the_house_bots_sum_to_no_more_than_zero() -> None:
    exchange, _ = open_house(START, "sum")
    begun = {name: client.bot.equity for name, client in exchange.clients.items()}
    exchange.run_until(START + 300 * SECOND)
    profits = {name: client.bot.equity - begun[name] for name, client in exchange.clients.items()}
    assert any(profit > 0 for profit in profits.values())
    assert any(profit < 0 for profit in profits.values())
    # The profit of one bot is the loss of another. The exchange takes the fees.
    assert sum(profits.values()) <= 0


def test_values_continue_from_their_saved_value_and_revert_to_the_reference_price() -> None:
    listed = Listed("X", Decimal(100), Decimal("0.01"), Decimal(1))
    values = HouseValues([listed], 0.0, "seed", {"X": 150.0})
    assert values.at("X", 0.0) == 150
    assert Decimal(140) < values.at("X", 600.0) < Decimal(160)
    walk = StochasticVolatility(half_life=600.0).walk(150.0, random.Random(1), anchor=100.0)
    last = [next(walk).value for _ in range(20_000)][-1]
    assert 90 < last < 110


@pytest.mark.parametrize("saved", [float("inf"), float("nan"), 1e-300, 1e300])
def test_an_impossible_saved_value_is_ignored(saved: float) -> None:
    values = HouseValues(LISTED, 0.0, "seed", {"AAPL": saved})
    assert abs(values.at("AAPL", 10.0) / LISTED[0].price - 1) < Decimal("0.1")


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"AAPL": "x"}', '{"AAPL": null}', "[" * 100_000, '{"AAPL": 1' + "0" * 400 + "}"]
)
def test_a_house_starts_with_a_damaged_file_of_values(tmp_path: Path, text: str) -> None:
    house = House(BotSettings(data_dir=tmp_path))
    (tmp_path / "bots").mkdir()
    (tmp_path / "bots" / "values.json").write_text(text)
    assert house._saved_values() == {}


def test_a_house_continues_if_its_values_cannot_be_saved(tmp_path: Path) -> None:
    house = House(BotSettings(data_dir=tmp_path))
    (tmp_path / "bots").write_text("a file where the folder should be")
    house._write(HouseValues(LISTED, 0.0, "seed"))
    assert house._saved_values() == {}


def test_values_still_change_after_the_clock_was_set_back() -> None:
    values = HouseValues(LISTED, 10_000.0, "seed")
    values.at("AAPL", 10_001.0)
    found = {values.at("AAPL", 5_000.0 + second) for second in range(100)}
    assert len(found) > 1


def test_the_short_limit_of_a_house_account_does_not_exceed_the_maximum_cash() -> None:
    expensive = Listed("DEAR", Decimal(700_000), Decimal("0.01"), Decimal(1))
    for name in house_bots(len(CAST), ["DEAR"]):
        assert value_of(borrowable_of(name, [expensive]), [expensive]) <= MAX_CASH // CASH_SCALE


def test_a_value_is_the_same_for_all_calls_in_one_second() -> None:
    values = HouseValues(LISTED, 0.0, "seed")
    assert values.at("AAPL", 100.2) == values.at("AAPL", 100.9)
    assert values.at("AAPL", 90.0) == values.at("AAPL", 100.0)


def test_a_value_does_not_jump_over_a_long_gap() -> None:
    values = HouseValues(LISTED, 0.0, "seed")
    before = values.at("AAPL", 10.0)
    assert abs(values.at("AAPL", 10.0**9) / before - 1) < Decimal("0.1")


@pytest.mark.parametrize("symbol", ["AAPL", "BTC-USDT"])
def test_a_value_has_the_stated_volatility(symbol: str) -> None:
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


def _news(number: int, **changes: str) -> News:
    return News(str(number), "news", "", False, {symbol: Decimal(change) for symbol, change in changes.items()})


def test_news_changes_the_value_of_a_security_for_good() -> None:
    values, without = (HouseValues([STOCK_200], 0, "seed") for _ in range(2))
    for one in (values, without):
        one.at("AAPL", 10)
    values.take_news(_news(1, AAPL="-20.00", OTHER="5"))
    assert values.at("AAPL", 10) - without.at("AAPL", 10) == Decimal("-20.00")
    later = float(values.at("AAPL", 600) / without.at("AAPL", 600))
    assert later == pytest.approx(float(values.at("AAPL", 10) / without.at("AAPL", 10)), rel=0.001)


def test_news_that_many_bots_receive_counts_once() -> None:
    values = HouseValues([STOCK_200], 0, "seed")
    bots = house_bots(4, ["AAPL"])
    for name, bot in bots.items():
        prepare_bot(bot, values, borrowable_of(name, [STOCK_200]))
    before = values.at("AAPL", 0)
    for bot in bots.values():
        bot.on_news(_news(1, AAPL="7.00"))
    assert values.at("AAPL", 0) == before + 7
    bots["NoiseTrader-1"].on_news(_news(2, AAPL="1.00"))
    assert values.at("AAPL", 0) == before + 8


def test_a_value_stays_above_zero_after_the_worst_news() -> None:
    values = HouseValues([STOCK_200], 0, "seed")
    values.take_news(_news(1, AAPL="-1000.00"))
    assert values.at("AAPL", 0) == Decimal("0.01")
