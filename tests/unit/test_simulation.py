"""Tests of simulated markets: bots, rounds, seasons, tournaments, values and reports."""

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exchange_db.accounts import FEES, ISSUER, SPREAD
from market_data_feed.market import MarketData
from microexchange.durations import SeasonError
from microexchange.enums import TradingState
from microexchange.numbers import CASH_SCALE
from microexchange.reports import AccountOpened
from trading_bots import Bot, Fill, Order, Trade
from trading_bots.competition import recording, replay
from trading_bots.competition.loading import LoadError, bot_in_file, make_bot, shipped_bot
from trading_bots.competition.record import Record
from trading_bots.competition.report import report
from trading_bots.competition.results import as_json
from trading_bots.competition.season import Season, parse_season
from trading_bots.competition.tournament import results, t_quantile, tournament_of, with_contestants
from trading_bots.competition.values import Jumps, News, OrnsteinUhlenbeck, RandomWalk, Value
from trading_bots.competition.values import Path as ValuePath
from trading_bots.simulation.client import SECOND, Client
from trading_bots.simulation.exchange import SimulatedExchange
from trading_bots.simulation.rounds import START, play
from trading_bots.strategies import __all__ as shipped

SEASON = """
name = "test"
seed = 3
length = "40s"
security = [
    { symbol = "X", price = "100.00", taker_fee_bps = 5, value = { process = "random_walk" } },
    { symbol = "Y", price = "20.00", taker_fee_bps = 5, maker_fee_bps = -2 },
]
house = [{ bot = "MarketMaker", count = 2 }, { bot = "NoiseTrader", count = 3 }, { bot = "InformedTrader" }]
contestant = [{ name = "trend", strategy = "Momentum" }, { name = "pairs", strategy = "PairsArbitrage", latency = "7ms" }]
[auctions]
opening = "5s"
closing = "5s"
[scoring]
by = "profit"
drawdown_penalty = 0.5
inventory_penalty = 0.1
"""
PLAY = """
import hashlib, sys
from pathlib import Path
from trading_bots.competition.results import as_json
from trading_bots.competition.season import parse_season
from trading_bots.simulation.rounds import play
print(hashlib.sha256(as_json(play(parse_season(sys.argv[1]), 1, Path()).result)).hexdigest())
"""


def season(**changes: str) -> Season:
    text = SEASON
    for before, after in changes.items():
        text = text.replace(before, after)
    return parse_season(text)


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("seed = 3", "seed = " + "9" * 5000, "digits"),
        ("seed = 3", "seed = " + "[" * 2000, "recursion"),
        ('"100.00"', '"-1"', "security X"),
        ('"100.00"', '"100.00", tick_size = "-0.01"', "security X"),
        ('"100.00"', '"100.00", tick_size = "1e999999999"', "security X"),
        ('"100.00"', '"100.00", position_limit = 9999999999999999', "security X"),
        ('"40s"', '"99999999999h"', "length"),
        ('"40s"', '"٣s"', "length"),
        ("[auctions]", '[account]\nshares = { "*" = "-1" }\n[auctions]', "account.shares"),
        ("[auctions]", '[account]\ncash = "-1"\n[auctions]', "account.cash"),
    ],
)
def test_a_season_that_no_exchange_can_play_is_refused_with_its_field(before: str, after: str, named: str) -> None:
    with pytest.raises(SeasonError, match=named):
        season(**{before: after})


class Watcher(Bot):
    """A bot that records the arguments of all its callbacks, with the time in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[float, str, Any]] = []

    def note(self, callback: str, argument: Any) -> None:
        self.calls.append((round(self.now - START / SECOND, 6), callback, argument))

    def on_start(self) -> None:
        self.note("start", self.cash)

    def on_book(self, symbol: str) -> None:
        self.note("book", (self.best_bid(symbol), self.best_ask(symbol)))

    def on_bbo(self, symbol: str) -> None:
        self.note("bbo", symbol)

    async def on_trade(self, trade: Trade) -> None:
        self.note("trade", (trade.price, trade.quantity))

    def on_order(self, order: Order) -> None:
        self.note("order", order.status)

    def on_fill(self, fill: Fill) -> None:
        self.note("fill", (fill.price, fill.quantity, fill.liquidity))

    def on_reject(self, order: Order) -> None:
        self.note("reject", order.reason)

    def on_state(self, symbol: str, state: str) -> None:
        self.note("state", state)

    def on_timer(self) -> None:
        self.note("timer", None)

    def of(self, callback: str) -> list[Any]:
        return [argument for _, name, argument in self.calls if name == callback]


def exchange(**options: Any) -> SimulatedExchange:
    made = SimulatedExchange(START, **options)
    made.list_security(symbol="X", name="X", tick_size="0.01", lot_size="1", reference_price=10_000)
    return made


def join(made: SimulatedExchange, bot: Bot, name: str, milliseconds: int = 1) -> Client:
    return made.join(bot, name, 100_000 * 10**8, {"X": 100}, milliseconds * 1_000_000)


def until(made: SimulatedExchange, seconds: float) -> None:
    made.run_until(START + int(seconds * SECOND))


def test_requests_and_messages_of_a_client_each_take_its_latency() -> None:
    made, near, far = exchange(), Watcher(), Watcher()
    join(made, near, "near", 1)
    join(made, far, "far", 50)
    until(made, 1)
    far.buy("X", 5, "99.00")
    until(made, 2)
    assert next(at for at, name, _ in near.calls if name == "book") == 1.051, "50 ms to the exchange, 1 ms to the other bot"
    assert next(at for at, name, _ in far.calls if name == "order") == 1.1


def test_every_callback_is_called_including_an_async_callback() -> None:
    made, bot, other = exchange(), Watcher(), Watcher()
    join(made, bot, "bot")
    join(made, other, "other")
    until(made, 0.5)
    order = bot.buy("X", 5, 99)
    until(made, 0.6)
    other.sell("X", 2)
    until(made, 0.7)
    bot.amend(order, price=98, quantity=4)
    until(made, 0.8)
    bot.cancel(order)
    bot.sell("X", 1_000_000, 101)
    until(made, 0.9)
    made.set_state("X", TradingState.HALTED)
    until(made, 1.1)
    assert bot.of("start") == [Decimal(100_000)]
    assert bot.of("fill") == [(Decimal(99), Decimal(2), "maker")]
    assert bot.of("trade") == [(Decimal(99), Decimal(2))]
    assert bot.of("order") == ["NEW", "PARTIALLY_FILLED", "PARTIALLY_FILLED", "CANCELED"]
    assert (order.price, order.quantity, list(bot.open_orders)) == (Decimal(98), Decimal(4), [])
    (reason,) = bot.of("reject")
    assert "1000000" in reason.replace(",", "")
    assert bot.of("state") == ["halted"]
    assert len(bot.of("bbo")) == 4, "the bid was entered, hit, amended and cancelled"
    assert bot.of("timer") == [None]
    assert not made.clients["bot"].errors


def test_a_bot_receives_nothing_about_a_security_outside_its_symbols() -> None:
    made, bot = exchange(), Watcher()
    made.list_security(symbol="Y", name="Y", tick_size="0.01", lot_size="1", reference_price=100)
    bot.symbols = ("Y",)
    join(made, bot, "bot")
    other = Watcher()
    join(made, other, "other")
    until(made, 0.1)
    other.buy("X", 1, 1)
    until(made, 0.2)
    assert bot.of("book") == []
    assert list(bot.securities) == ["Y"]


def test_orders_above_the_rate_limit_are_delayed_and_none_is_lost() -> None:
    made, bot = exchange(requests_per_second=10), Watcher()
    join(made, bot, "bot")
    until(made, 0.1)
    orders = [bot.buy("X", 1, 90) for _ in range(40)]
    until(made, 1.0)
    assert sum(order.order_id is not None for order in orders) < 40
    until(made, 8.0)
    assert all(order.status == "NEW" for order in orders)


def test_an_error_in_a_bot_is_reported_with_its_line_and_does_not_stop_the_bot() -> None:
    class Wrong(Bot):
        def on_start(self) -> None:
            self.every(1, self.act)
            self.acts = 0

        def act(self) -> None:
            self.acts += 1
            self.buy("NONE", 1)

    made, bot = exchange(), Wrong()
    client = join(made, bot, "wrong")
    until(made, 3.5)
    assert bot.acts == 3
    assert "KeyError" in client.errors[0]
    assert 'self.buy("NONE", 1)' in client.errors[0]
    assert "simulation/exchange.py" not in client.errors[0]


def test_a_callback_that_awaits_something_is_an_error_that_names_the_timer() -> None:
    class Waits(Bot):
        async def on_start(self) -> None:
            import asyncio

            await asyncio.sleep(1)

    made = exchange()
    client = join(made, Waits(), "waits")
    until(made, 1)
    assert "every(seconds, function)" in client.errors[0]


def test_the_same_seed_gives_the_same_bytes_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", PLAY, SEASON], env={"PYTHONHASHSEED": salt}, capture_output=True, text=True, check=True
        ).stdout
        for salt in ("1", "2", "77")
    }
    assert len(digests) == 1
    other = play(parse_season(SEASON.replace("seed = 3", "seed = 4")), 1, Path())
    assert other.result.fingerprint != play(season(), 1, Path()).result.fingerprint


def test_a_round_conserves_cash_and_shares_and_the_state_of_each_bot_matches_the_ledger() -> None:
    from trading_bots.simulation import rounds

    seen: list[SimulatedExchange] = []
    real = rounds.SimulatedExchange
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "SimulatedExchange", lambda *a, **k: seen.append(real(*a, **k)) or seen[0])
        played = rounds.play(season(), 1, Path())
    (made,) = seen
    assert played.result.trades > 100
    assert sum(made.ledger.cash.values()) == 0
    for symbol in ("X", "Y"):
        assert sum(lots for (_, of), lots in made.ledger.holdings.items() if of == symbol) == 0
    for name, account in made.engine.accounts.items():
        assert account.cash == made.ledger.cash[name] == made.market.clients[name].cash
    assert set(made.ledger.cash) == {ISSUER, FEES, SPREAD, *made.clients}
    made.run_until(made.now + SECOND)  # until the last messages arrive
    for name, client in made.clients.items():
        settled = made.market.clients[name]
        client.is_running = True
        assert client.bot.cash == Decimal(settled.cash) / 10**8, name
        assert {s: int(q) for s, q in client.bot._positions.items()} == settled.holdings


def test_the_parts_of_a_profit_sum_to_it_and_the_score_includes_the_penalties() -> None:
    played = play(season(), 1, Path())
    for place in played.result.ranking:
        parts = Decimal(place.from_spread) + Decimal(place.from_fees) + Decimal(place.from_inventory)
        assert parts == Decimal(place.profit)
        penalty = Decimal("0.5") * Decimal(place.drawdown) + Decimal("0.1") * Decimal(place.mean_inventory)
        assert abs(Decimal(place.score) - (Decimal(place.profit) - penalty)) < Decimal("0.000001")
        assert sum(fill.client_id == place.client_id for fill in played.record.fills) == place.fills
    assert [place.rank for place in played.result.ranking] == list(range(1, 9))
    scores = [Decimal(place.score) for place in played.result.ranking]
    assert scores == sorted(scores, reverse=True)
    assert sum(Decimal(place.from_fees) for place in played.result.ranking) < 0


def test_there_is_no_trade_before_the_end_of_the_opening_auction() -> None:
    played = play(season(), 1, Path())
    first = min(fill.timestamp for fill in played.record.fills)
    assert first >= START + 5 * SECOND


@pytest.mark.parametrize("name", shipped)
def test_every_shipped_strategy_sends_orders_without_an_error(name: str) -> None:
    text = SEASON.replace('{ name = "trend", strategy = "Momentum" }', f'{{ name = "trend", strategy = "{name}" }}')
    played = play(parse_season(text.replace('"40s"', '"150s"')), 1, Path())
    (place,) = (place for place in played.result.ranking if place.client_id == "trend")
    assert place.errors == []
    assert place.orders > 0
    assert shipped_bot(name).__doc__


def test_a_replay_reproduces_a_recorded_round_and_finds_a_changed_record(tmp_path: Path) -> None:
    played = play(season(), 1, Path(), keep=True)
    recording.write_bodies(tmp_path / recording.ORDER_ENTRY_FILE, played.commands)
    recording.write_bodies(tmp_path / recording.DATA_FEED_FILE, played.reports)
    found = replay.compare(tmp_path)
    assert found.differences == []
    assert found.commands == len(played.commands)
    assert found.events > 1000
    recording.write_bodies(tmp_path / recording.ORDER_ENTRY_FILE, [*played.commands[:-40], *played.commands[-39:]])
    assert replay.compare(tmp_path).differences
    (tmp_path / recording.ORDER_ENTRY_FILE).write_bytes(b"\0\0\0\7abc")
    with pytest.raises(recording.RecordingError):
        replay.compare(tmp_path)


def test_a_bot_can_trade_in_a_recorded_market(tmp_path: Path) -> None:
    played = play(season(), 1, Path(), keep=True)
    recording.write_bodies(tmp_path / recording.ORDER_ENTRY_FILE, played.commands)
    recording.write_bodies(tmp_path / recording.DATA_FEED_FILE, played.reports)

    class Buyer(Watcher):
        def on_start(self) -> None:
            self.every(1, lambda: self.buy("X", 1))

    bot = Buyer()
    client, record = replay.play_along(tmp_path, bot, "me", 1_000_000)
    assert client.errors == []
    assert 5 < record.clients["me"].fills <= 40
    assert bot.position("X") == 100 + sum(fill[1] for fill in bot.of("fill"))
    assert record.clients["MarketMaker-1"].fills > 10


def test_a_report_is_one_page_without_external_files() -> None:
    played = play(season(), 1, Path())
    page = report(played.result, played.record, played.values)
    assert page == report(played.result, played.record, played.values), "a second report has the same bytes"
    for text in ("Ranking", "Equity", "fundamental value", "Fall from a peak", "Quality of the markets", "trend"):
        assert text in page
    assert "<script src" not in page
    assert json.loads(as_json(played.result))["season"] == "test"


def test_a_tournament_ranks_by_mean_score_and_states_the_margin_of_error() -> None:
    made = season()
    serial, parallel = results(made, Path(), 4, workers=1), results(made, Path(), 4, workers=2)
    assert serial == parallel, "the results do not depend on the number of processes"
    result = tournament_of(made, [round_.result for round_ in serial])
    assert {place.client_id for place in result.places} == {"trend", "pairs"}
    first, second = result.places
    assert first.mean_score >= second.mean_score
    assert first.wins + second.wins == 4
    assert first.beats["pairs" if first.client_id == "trend" else "trend"] == first.wins / 4
    assert first.margin > 0
    assert first.worst <= first.mean_score <= first.best


def test_contestants_of_a_tournament_have_the_names_of_their_files() -> None:
    made = with_contestants(season(), ["bots/ada.py:Ada", "ada.py", "MarketMaker", "MarketMaker"])
    assert [contestant.name for contestant in made.contestant] == ["ada", "ada-2", "MarketMaker", "MarketMaker-2"]
    assert [bool(contestant.file) for contestant in made.contestant] == [True, True, False, False]
    beside = with_contestants(season(), ["trend.py"], also=True)
    assert [contestant.name for contestant in beside.contestant] == ["trend", "pairs", "trend-2"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('length = "40s"', 'length = "soon"', "length"),
        ('length = "40s"', 'length = "9s"', "longer than its auctions"),
        ('price = "100.00"', 'price = "100.005"', "security X: price"),
        ('process = "random_walk"', 'process = "magic"', "security[0].value"),
        ('{ bot = "MarketMaker", count = 2 }', '{ bot = "MarketMaker", count = 0 }', "house[0].count"),
        ('strategy = "Momentum"', 'strategy = "Momentum", file = "a.py"', "contestant trend"),
        ('name = "pairs"', 'name = "trend"', "the same name"),
        ('symbol = "Y"', 'symbol = "X"', "the same symbol"),
        ("[auctions]", "[account]\ncash = 'much'\n[auctions]", "account.cash"),
        ("[auctions]", "[account.shares]\nZ = '1'\n[auctions]", "Z is not a security"),
        ("seed = 3", "sead = 3", "sead"),
        ("seed = 3", "seed = ", "season.toml"),
    ],
)
def test_the_error_for_an_invalid_season_names_the_field(before: str, after: str, message: str) -> None:
    with pytest.raises(SeasonError) as refused:
        parse_season(SEASON.replace(before, after))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\\\b", ".hidden", "x.", " x", "x ", "a\\nb", "a\\u0000b", "x" * 65]
)
def test_a_season_name_that_cannot_be_a_folder_name_is_refused_with_the_allowed_characters(name: str) -> None:
    with pytest.raises(SeasonError, match=r"^season.toml: name: .*letters, digits"):
        parse_season(SEASON.replace('name = "test"', f'name = "{name}"'))


@pytest.mark.parametrize("name", ["A", "Spring 2026", "v1.2_final-3", "Frühjahr", "x" * 64])
def test_a_season_may_have_a_name_with_spaces_and_letters_of_any_language(name: str) -> None:
    assert parse_season(SEASON.replace('name = "test"', f'name = "{name}"')).name == name


@pytest.mark.parametrize("name", [".", "..", ".ada", "a/b", ""])
def test_a_contestant_name_that_cannot_be_a_file_name_is_refused(name: str) -> None:
    with pytest.raises(SeasonError, match="contestant"):
        parse_season(SEASON.replace('name = "pairs"', f'name = "{name}"'))


def values(process: Value, seed: str = "1", seconds: int = 600) -> list[float]:
    return ValuePath(process, Decimal(100), Decimal("0.01"), 0.0, seconds, seed).points()


def test_a_value_depends_only_on_its_process_and_its_seed() -> None:
    assert values(RandomWalk()) == values(RandomWalk())
    assert values(RandomWalk()) != values(RandomWalk(), "2")
    assert values(RandomWalk(volatility=0)) == [100.0] * 601
    assert values(Jumps(volatility=0, per_minute=0)) == [100.0] * 601
    assert len(set(values(Jumps(volatility=0, per_minute=2, size=5)))) in range(5, 60)


def test_a_mean_reverting_value_stays_in_a_smaller_range_than_a_random_walk() -> None:
    back, walk = values(OrnsteinUhlenbeck(half_life=5.0), seconds=5000), values(RandomWalk(), seconds=5000)
    assert max(back) - min(back) < 3 < max(walk) - min(walk)


def test_news_change_a_value_at_once() -> None:
    path = ValuePath(RandomWalk(volatility=0, news=[News("5s", 10.0)]), Decimal(100), Decimal("0.01"), 50.0, 60, "1")
    assert (path.at(54.9), path.at(55.0), path.at(9999.0)) == (Decimal(100), Decimal(110), Decimal(110))


def test_a_bot_is_loaded_from_its_file_and_an_invalid_bot_is_reported(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("from trading_bots import Bot\nclass Good(Bot):\n    pass\n")
    (tmp_path / "bad.py").write_text("from trading_bots import Bot\n\nraise ValueError('no')\n")
    assert bot_in_file("good.py", tmp_path).__name__ == bot_in_file("good.py:Good", tmp_path).__name__ == "Good"
    for text, message in (("none.py", "no file"), ("good.py:Best", "it has Good"), ("bad.py:Bad", "bad.py:3")):
        with pytest.raises(LoadError, match=message):
            bot_in_file(text, tmp_path)
    with pytest.raises(LoadError, match="cannot be created"):
        make_bot(shipped_bot("Momentum"), "seed", {"nonsense": 1})
    with pytest.raises(LoadError, match="The strategies are"):
        shipped_bot("Oracle")


def scores(**of: list[float]) -> list[Any]:
    """Return rounds in which the contestants have the given scores."""
    played = play(season(), 1, Path()).result
    found = []
    for number in range(len(next(iter(of.values())))):
        standings = [
            msgspec.structs.replace(played.ranking[0], client_id=name, house=False, score=str(values[number]))
            for name, values in of.items()
        ]
        found.append(msgspec.structs.replace(played, ranking=standings))
    return found


def test_the_significance_of_a_difference_uses_pairs_of_scores_in_each_round() -> None:
    # The market changes both scores by much more than they differ, so only the paired difference is significant.
    market = [100.0, -300.0, 250.0, -50.0, 20.0, 400.0]
    result = tournament_of(season(), scores(good=[score + 5 + score % 3 / 10 for score in market], bad=market))
    (difference,) = result.differences
    assert (difference.ahead, difference.behind, difference.significant) == ("good", "bad", True)
    assert difference.low is not None
    assert 0 < difference.low < difference.mean
    assert result.places[0].margin > difference.mean
    luck = tournament_of(season(), scores(lucky=[1.0, -1.0, 2.0], other=[-1.0, 1.0, 0.0])).differences[0]
    assert not luck.significant
    once = tournament_of(season(), scores(one=[2.0], two=[1.0])).differences[0]
    assert (once.low, once.high, once.significant) == (None, None, False)


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.706), (2, 4.303), (5, 2.571), (30, 2.042), (200, 1.972), (201, 1.972)]
)
def test_the_t_distribution_has_the_quantiles_of_the_tables(freedom: int, expected: float) -> None:
    assert t_quantile(0.95, freedom) == pytest.approx(expected, abs=0.0006)


def test_an_equity_curve_begins_with_the_first_deposit_and_has_an_entry_for_each_sample() -> None:
    made = exchange()
    record = Record(made.market)
    made.listeners.append(record.apply)
    bot = Watcher()
    join(made, bot, "early")
    record.sample(1)
    # An account whose first deposit is not settled yet. In the live exchange the settlement takes some time.
    made.market.apply(AccountOpened(0, START, "late", 50 * CASH_SCALE, {}))
    record.sample(2)
    made.market.client("late").cash, made.market.client("late").has_funds = 50 * CASH_SCALE, True
    record.sample(3)
    early, late = record.clients["early"].equity, record.clients["late"].equity
    assert late == [None, None, 50 * CASH_SCALE]
    assert len(early) == len(record.times) == 3
    assert None not in early
    assert record.clients["late"].drawdown == 0
    made.market.changes.equity.clear()
    fresh = MarketData()
    fresh.apply(AccountOpened(0, START, "late", 50 * CASH_SCALE, {}))
    fresh.advance_to(START + 10 * SECOND)
    assert fresh.changes.equity == []


def test_there_is_no_spread_during_an_auction() -> None:
    made = exchange()
    record = Record(made.market)
    made.listeners.append(record.apply)
    buyer, seller = Watcher(), Watcher()
    join(made, buyer, "buyer")
    join(made, seller, "seller")
    until(made, 0.1)
    buyer.buy("X", 1, 99)
    seller.sell("X", 1, 101)
    until(made, 0.2)
    record.sample(1)
    made.set_state("X", TradingState.HALTED)
    record.sample(2)
    made.set_state("X", TradingState.OPENING_AUCTION)
    buyer.buy("X", 5, 105)
    seller.sell("X", 3, 95)
    until(made, 0.3)
    record.sample(3)
    tape = record.tapes["X"]
    assert tape.spreads == [200, None, None]
    assert tape.mid_prices == [10_000, 10_000, None]
    assert tape.depths == [2, None, None]
    assert made.market.bbo_view("X").spread is None
    assert made.market.bbo_view("X").bid == "105.00"
    made.set_state("X", TradingState.CONTINUOUS)
    seller.sell("X", 1, 110)
    until(made, 0.4)
    record.sample(4)
    assert made.market.bbo_view("X").spread == "5.00"
    assert all(spread is None or spread > 0 for spread in tape.spreads)
    assert all(fill.edge == 0 for fill in record.fills), "in an auction there is no mid price to compare with"


def test_requests_of_on_stop_are_executed_before_the_end_of_a_round(tmp_path: Path) -> None:
    (tmp_path / "tidy.py").write_text(
        "from trading_bots import Bot\n\n\nclass Tidy(Bot):\n    def on_start(self):\n        self.buy('Y', 1, 1)\n\n"
        "    def on_stop(self):\n        self.cancel_all()\n"
    )
    made = with_contestants(season(), [str(tmp_path / "tidy.py")])
    played = play(made, 1, Path())
    assert played.record.clients["tidy"].canceled == 1
