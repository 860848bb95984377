"""A round of a season in one process: the same bots and the same exchange as live, on a simulated clock."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from microexchange.durations import nanoseconds
from microexchange.enums import TradingState
from trading_bots.bot import Bot
from trading_bots.competition.loading import contestant_bot, files_named, make_bot, shipped_bot
from trading_bots.competition.output import captured
from trading_bots.competition.record import Record
from trading_bots.competition.results import RoundResult, result_of, round_seed
from trading_bots.competition.season import Season, cash, house_of, listing_terms, shares_of
from trading_bots.competition.values import Path as ValuePath
from trading_bots.simulation.client import SECOND, Client
from trading_bots.simulation.exchange import SimulatedExchange
from trading_bots.simulation.watchdog import CALLBACK_TIMEOUT_SECONDS, Watchdog

START = 1_767_623_400 * SECOND
"""The start of every simulated round: 2026-01-05T14:30:00Z."""
MAX_SAMPLES = 600
PROGRESS_INTERVAL = SECOND
"""The interval at which progress is reported, in nanoseconds of simulated time."""


@dataclass(frozen=True)
class Round:
    """A round that has been played, with what was recorded."""

    result: RoundResult
    record: Record
    values: dict[str, list[float]]
    """The fundamental value of each security, second by second."""
    commands: list[bytes]
    """The bodies of the topic `order_entry`."""
    reports: list[bytes]
    """The bodies of the topic `data_feed`, if they were recorded."""


def sample_pause(length: int) -> int:
    """Return the time between two samples of a round of that length, both in nanoseconds."""
    return max(length // MAX_SAMPLES, SECOND)


def values_of(season: Season, number: int, start: float) -> dict[str, ValuePath]:
    """Return the fundamental values of a round. `start` is in seconds of Unix time."""
    seconds = nanoseconds(season.length, "length") // SECOND
    seed = round_seed(season, number)
    return {
        terms.symbol: ValuePath(
            terms.value, Decimal(terms.price), Decimal(terms.tick_size), start, seconds, f"{seed}/value/{terms.symbol}"
        )
        for terms in season.security
    }


def entrants(
    season: Season, number: int, folder: Path, watchdog: Watchdog | None = None
) -> list[tuple[str, Bot, int, bool]]:
    """Return the bots of a round: (name, bot, latency in nanoseconds, whether it is a house bot).

    Raises:
        LoadError: The bot of a contestant cannot be loaded.
    """
    seed, watchdog = round_seed(season, number), watchdog or Watchdog()
    found: list[tuple[str, Bot, int, bool]] = []
    for name, house in house_of(season):
        bot = make_bot(shipped_bot(house.bot), f"{seed}/{name}", house.settings)
        found.append((name, bot, nanoseconds(house.latency, "latency"), True))
    for contestant in season.contestant:
        if not contestant.external:
            with watchdog.loading(contestant.name, files_named(contestant.file, folder)):
                bot_class = contestant_bot(contestant.file, contestant.strategy, folder)
                bot = make_bot(bot_class, f"{seed}/{contestant.name}")
            found.append((contestant.name, bot, nanoseconds(contestant.latency, "latency"), False))
    return found


def give_values(bot: Bot, values: dict[str, ValuePath]) -> None:
    """Give a house bot the values and the activity, if its class has an attribute `value` or `activity`."""
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
    timeout_seconds: float = CALLBACK_TIMEOUT_SECONDS,
    on_line: Callable[[str, str], None] | None = None,
) -> Round:
    """Play a round to its end.

    Args:
        season: The season.
        number: The number of the round, from 1.
        folder: The folder of the season's file. Paths of bots are relative to it.
        progress: Receives the finished part of the round, from 0 to 1.
        keep: Whether the engine's reports are recorded.
        timeout_seconds: The longest real time of one call into a bot. 0 for no limit.
        on_line: Receives the name of a bot and each line that it prints.

    Raises:
        LoadError: The bot of a contestant cannot be loaded.
        Refusal: The engine rejects the season's terms.
        StuckError: A bot did not return in time.
    """
    watchdog = Watchdog(timeout_seconds)
    with captured(lambda: watchdog.running_bot, on_line), watchdog.watching():
        return _play(season, number, folder, progress, keep, watchdog)


def _play(
    season: Season, number: int, folder: Path, progress: Callable[[float], None], keep: bool, watchdog: Watchdog
) -> Round:
    # A bot may use Python's global random numbers. They are the same each time.
    random.seed(f"{round_seed(season, number)}/dice")
    length = nanoseconds(season.length, "length")
    end = START + length
    exchange = SimulatedExchange(START, season.limits.requests_per_second, keep=keep, watchdog=watchdog)
    values = values_of(season, number, START / SECOND)
    record = Record(exchange.market)
    exchange.listeners.append(record.apply)
    clients, house = _open(exchange, season, number, folder, record, values)
    _plan_events(exchange, season, record, end)
    for now in range(START + PROGRESS_INTERVAL, end, PROGRESS_INTERVAL):
        exchange.run_until(now)
        with watchdog.paused():
            progress((now - START) / length)
    exchange.run_until(end - 1)
    for client in clients.values():
        client.stop()
    # Requests that were sent before the end still arrive, those of `on_stop` included.
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
        ended={name: client.end_reason for name, client in clients.items() if client.end_reason},
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
    """List the securities and open the accounts. Return the clients by name, and the names of the house bots."""
    state = TradingState.PRE_OPEN if nanoseconds(season.auctions.opening, "opening") else TradingState.CONTINUOUS
    for terms in season.security:
        exchange.list_security(**listing_terms(terms, state))
    shares = shares_of(season)
    money, credit = cash(season.account.cash, "cash"), cash(season.account.credit, "credit")
    clients: dict[str, Client] = {}
    house: set[str] = set()
    for name, bot, latency, is_house in entrants(season, number, folder, exchange.watchdog):
        if is_house:
            house.add(name)
            give_values(bot, values)
        record.set_initial_holdings(name, shares)
        clients[name] = exchange.join(bot, name, money, shares, latency, credit_limit=credit)
    return clients, house


def _plan_events(exchange: SimulatedExchange, season: Season, record: Record, end: int) -> None:
    """Plan the auctions and the samples."""
    opening, closing = (nanoseconds(getattr(season.auctions, name), name) for name in ("opening", "closing"))
    interval = sample_pause(end - START)

    def set_all(state: TradingState) -> None:
        for security in season.security:
            exchange.set_state(security.symbol, state)

    def sample() -> None:
        record.sample(exchange.now)
        if exchange.now + interval < end:
            exchange.at(exchange.now + interval, sample)

    if opening:
        exchange.at(START + opening, partial(set_all, TradingState.CONTINUOUS))
    if closing:
        exchange.at(end - closing, partial(set_all, TradingState.CLOSING_AUCTION))
    exchange.at(START, sample)
