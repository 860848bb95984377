"""A round of a season in one process: the same bots and the same exchange as live, on a clock of their own."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from microexchange.enums import TradingState
from trading_bots.bot import Bot
from trading_bots.competition.durations import nanoseconds
from trading_bots.competition.loading import contestant_bot, files_named, make_bot, shipped_bot
from trading_bots.competition.output import captured
from trading_bots.competition.record import Record
from trading_bots.competition.results import RoundResult, result_of, round_seed
from trading_bots.competition.season import Season, SecurityTerms, cash, house_of, shares_of, steps
from trading_bots.competition.values import Path as ValuePath
from trading_bots.simulation.exchange import SECOND, Client, SimulatedExchange
from trading_bots.simulation.watchdog import PATIENCE, Watchdog

START = 1_767_623_400 * SECOND
"""When every simulated round begins: 2026-01-05T14:30:00Z."""
MAX_SAMPLES = 600
SLICE = SECOND
"""How often progress is told, in simulated time."""


@dataclass(frozen=True)
class Round:
    """A round that has been played."""

    result: RoundResult
    record: Record
    values: dict[str, list[float]]
    """The fundamental value of each security, second by second."""
    commands: list[bytes]
    """The topic `order_entry`."""
    reports: list[bytes]
    """The topic `data_feed`, where it was to be recorded."""


def sample_pause(length: int) -> int:
    """Nanoseconds between two samples of a round of that length."""
    return max(length // MAX_SAMPLES, SECOND)


def listing(terms: SecurityTerms, state: TradingState) -> dict[str, Any]:
    """The fields of `ListSecurity` for a security of a season."""
    return {
        "symbol": terms.symbol,
        "name": terms.name or terms.symbol,
        "tick_size": terms.tick_size,
        "lot_size": terms.lot_size,
        "reference_price": steps(terms.price, terms.tick_size, "price"),
        "maker_fee_bps": terms.maker_fee_bps,
        "taker_fee_bps": terms.taker_fee_bps,
        "band_bps": terms.band_bps,
        "position_limit": terms.position_limit,
        "short_limit": terms.short_limit,
        "state": state,
    }


def values_of(season: Season, number: int, start: float) -> dict[str, ValuePath]:
    """The fundamental values of a round that begins at a time in seconds of Unix time."""
    seconds = nanoseconds(season.length, "length") // SECOND
    seed = round_seed(season, number)
    return {
        one.symbol: ValuePath(
            one.value, Decimal(one.price), Decimal(one.tick_size), start, seconds, f"{seed}/value/{one.symbol}"
        )
        for one in season.security
    }


def entrants(
    season: Season, number: int, folder: Path, watchdog: Watchdog | None = None
) -> list[tuple[str, Bot, int, bool]]:
    """Who takes part in a round: (name, bot, latency in nanoseconds, of the house). Raises `LoadError`."""
    seed, watchdog = round_seed(season, number), watchdog or Watchdog()
    found: list[tuple[str, Bot, int, bool]] = []
    for name, house in house_of(season):
        bot = make_bot(shipped_bot(house.bot), f"{seed}/{name}", house.settings)
        found.append((name, bot, nanoseconds(house.latency, "latency"), True))
    for contestant in season.contestant:
        if not contestant.external:
            with watchdog.loading(contestant.name, files_named(contestant.file, folder)):
                kind = contestant_bot(contestant.file, contestant.strategy, folder)
                bot = make_bot(kind, f"{seed}/{contestant.name}")
            found.append((contestant.name, bot, nanoseconds(contestant.latency, "latency"), False))
    return found


def inform(bot: Bot, values: dict[str, ValuePath]) -> None:
    """Gives a bot of the house the values and the activity, if its class has an attribute `value` or `activity`."""
    if hasattr(bot, "value"):
        bot.value = lambda symbol, now: values[symbol].at(now)
    if hasattr(bot, "activity"):
        bot.activity = lambda symbol, now: values[symbol].activity(now)


def play(
    season: Season,
    number: int,
    folder: Path,
    progress: Callable[[float], None] = lambda _: None,
    keep: bool = False,
    patience: float = PATIENCE,
    said: Callable[[str, str], None] | None = None,
) -> Round:
    """Plays a round to its end. `progress` gets the part of it that is over; `keep` records what the engine reports.
    `patience` is how many real seconds one call into a bot may take, 0 for no end. `said` gets each line that a bot prints,
    after the bot's name. Raises `LoadError`, `Refusal` or `StuckError`."""
    watchdog = Watchdog(patience)
    with captured(lambda: watchdog.who, said), watchdog.watching():
        return _play(season, number, folder, progress, keep, watchdog)


def _play(
    season: Season, number: int, folder: Path, progress: Callable[[float], None], keep: bool, watchdog: Watchdog
) -> Round:
    # A bot that uses Python's own dice throws the same each time.
    random.seed(f"{round_seed(season, number)}/dice")
    length = nanoseconds(season.length, "length")
    end = START + length
    exchange = SimulatedExchange(START, season.limits.requests_per_second, keep=keep, watchdog=watchdog)
    values = values_of(season, number, START / SECOND)
    record = Record(exchange.market)
    exchange.listeners.append(record.hear)
    clients, house = _open(exchange, season, number, folder, record, values)
    _plan(exchange, season, record, end)
    for now in range(START + SLICE, end, SLICE):
        exchange.run_until(now)
        with watchdog.resting():
            progress((now - START) / length)
    exchange.run_until(end - 1)
    for client in clients.values():
        client.die()
    # What was sent before the end arrives: the requests of `on_stop` too.
    exchange.run_until(end + max((client.latency for client in clients.values()), default=0))
    for security in season.security:
        exchange.set_state(security.symbol, TradingState.CLOSED)
    record.sample(end)
    progress(1.0)
    result = result_of(
        season,
        number,
        "simulation",
        record,
        house=house,
        seconds=length / SECOND,
        fingerprint=exchange.digest(),
        ended={name: client.ended for name, client in clients.items() if client.ended},
        notes={name: client.note for name, client in clients.items() if client.note},
        errors={name: client.errors for name, client in clients.items()},
    )
    return Round(
        result, record, {symbol: path.points() for symbol, path in values.items()}, exchange.commands, exchange.reports
    )


def _open(
    exchange: SimulatedExchange,
    season: Season,
    number: int,
    folder: Path,
    record: Record,
    values: dict[str, ValuePath],
) -> tuple[dict[str, Client], set[str]]:
    """Lists the securities and opens the accounts. Returns the clients by name, and the names of the house."""
    state = TradingState.PRE_OPEN if nanoseconds(season.auctions.opening, "opening") else TradingState.CONTINUOUS
    for terms in season.security:
        exchange.list_security(**listing(terms, state))
    shares = shares_of(season)
    money, credit = cash(season.account.cash, "cash"), cash(season.account.credit, "credit")
    clients: dict[str, Client] = {}
    house: set[str] = set()
    for name, bot, latency, of_house in entrants(season, number, folder, exchange.watchdog):
        if of_house:
            house.add(name)
            inform(bot, values)
        record.began_with(name, shares)
        clients[name] = exchange.join(bot, name, money, shares, latency, credit_limit=credit)
    return clients, house


def _plan(exchange: SimulatedExchange, season: Season, record: Record, end: int) -> None:
    """Plans the auctions and the samples."""
    opening, closing = (nanoseconds(getattr(season.auctions, name), name) for name in ("opening", "closing"))
    every = sample_pause(end - START)

    def all_to(state: TradingState) -> None:
        for security in season.security:
            exchange.set_state(security.symbol, state)

    def sample() -> None:
        record.sample(exchange.now)
        if exchange.now + every < end:
            exchange.at(exchange.now + every, sample)

    if opening:
        exchange.at(START + opening, partial(all_to, TradingState.CONTINUOUS))
    if closing:
        exchange.at(end - closing, partial(all_to, TradingState.CLOSING_AUCTION))
    exchange.at(START, sample)
