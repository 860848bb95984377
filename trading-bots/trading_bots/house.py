"""The default house: the bots that make a market from the first second, what their accounts are funded with, and the values
that they trade on. It has no I/O. The live market and the simulation use the same house.

The population follows Chiarella and Iori (2002): traders who know the value, traders who follow prices, and traders who do
neither. Each strategy names its sources. A value anchors each price, and every trader reverts to the inventory that it began
with, so that neither prices nor accounts run away.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from microexchange.numbers import CASH_SCALE, MAX_CASH
from trading_bots.bot import Bot
from trading_bots.competition.values import StochasticVolatility, Value, rounded
from trading_bots.strategies import InformedTrader, MarketMaker, MeanReversion, Momentum, NoiseTrader, OrderSplitter
from trading_bots.strategies.trader import Trader, unit_of

HOUSE_SYMBOLS = ("AAPL", "AMZN", "GOOG", "INTC", "META", "MSFT", "NVDA", "TSLA")
"""The securities that the house trades by default."""
STOCK = StochasticVolatility(volatility=0.1, variation=0.85, per_minute=0.01, size=0.4)
"""About 4 per cent a day, with some fourteen news a day."""
COIN = StochasticVolatility(volatility=0.2, variation=0.85, per_minute=0.012, size=1.0)
COIN_QUOTES = ("-USDT", "-USD", "-USDC")
"""How the symbol of a coin ends."""
MAX_VALUE = Decimal(MAX_CASH // CASH_SCALE)
"""The most cash that an account can be opened with."""
MAX_FACTOR = 1000.0
"""A saved value further from the reference price than by this factor is damaged, or of another listing."""
CLOCK_SECONDS = 60
"""A clock that goes back by more was set anew: a value goes on from there."""
MAX_CATCH_UP_SECONDS = 3600
"""The longest gap over which a value is continued second by second. After a longer gap it goes on from where it was."""

Maker = Callable[[int], Bot]
"""Makes a bot from a seed."""


@dataclass(frozen=True)
class Listed:
    """What the house needs to know of a security."""

    symbol: str
    price: Decimal
    """The reference price."""
    tick: Decimal
    lot: Decimal


@dataclass(frozen=True)
class Role:
    """One kind of bot of the house."""

    make: Maker
    units: int
    """Units of each security that its account has the cash to buy, and that it may sell short."""


ROLES: Mapping[str, Role] = {
    "MarketMaker": Role(
        lambda seed: MarketMaker(seed, size=2, levels=3, pause=1.0, delay=2.0, thinning=3000.0, limit=4000), 6000
    ),
    "NoiseTrader": Role(
        lambda seed: NoiseTrader(
            seed, pause=0.5, market=0.2, width=0.0004, patience=160, size=40, rate=0.12, excitement=0.25, limit=500
        ),
        1500,
    ),
    "OrderSplitter": Role(lambda seed: OrderSplitter(seed, rate=0.12, size=30, limit=1000), 2000),
    "InformedTrader": Role(
        lambda seed: InformedTrader(seed, edge="0.0003", size=40, depth=100.0, limit=4000, pause=1.0), 6000
    ),
    "Momentum": Role(lambda seed: Momentum(seed, threshold=0.0004), 500),
    "MeanReversion": Role(lambda seed: MeanReversion(seed), 500),
}
CAST: Sequence[str] = (
    "MarketMaker",
    "NoiseTrader",
    "InformedTrader",
    "OrderSplitter",
    "MarketMaker",
    "NoiseTrader",
    "OrderSplitter",
    "InformedTrader",
    "MarketMaker",
    "OrderSplitter",
    "Momentum",
    "MeanReversion",
)
"""The order in which bots join: every prefix of it is a market. A larger house begins again from the top."""


def house_bots(count: int, symbols: Sequence[str] = HOUSE_SYMBOLS, seed: str = "house") -> dict[str, Bot]:
    """Makes `count` bots, by name: of each kind numbered from 1."""
    numbers: Counter[str] = Counter()
    bots: dict[str, Bot] = {}
    for place in range(count):
        kind = CAST[place % len(CAST)]
        numbers[kind] += 1
        name = f"{kind}-{numbers[kind]}"
        bot = ROLES[kind].make(random.Random(f"{seed}/{name}").getrandbits(32))
        bot.symbols = tuple(symbols)
        bots[name] = bot
    return bots


def borrowable_of(name: str, listed: Iterable[Listed]) -> dict[str, Decimal]:
    """The shares of each security that the bot of that name may sell short. The issuer lends its float to the house."""
    units = ROLES[name.rsplit("-", 1)[0]].units
    return {one.symbol: units * unit_of(one.price, one.lot) for one in listed}


def value_of(shares: Mapping[str, Decimal], listed: Iterable[Listed]) -> Decimal:
    """What shares are worth at the reference prices, rounded up to thousands: an account's cash and its short limit. At
    most what an account can have."""
    value = sum((shares[one.symbol] * one.price for one in listed), Decimal(0))
    return min((value // 1000 + 1) * 1000, MAX_VALUE)


def process_of(symbol: str) -> Value:
    """The process of a security's value."""
    return COIN if symbol.endswith(COIN_QUOTES) else STOCK


class LivingValue:
    """The value of one security, without an end."""

    def __init__(self, one: Listed, begin: float, start: float, seed: str) -> None:
        self._tick, self._second = one.tick, int(start)
        self._walk = process_of(one.symbol).walk(begin, random.Random(seed), float(one.price))
        self.value, self.activity = begin, 1.0
        self._price = rounded(begin, one.tick)

    def at(self, now: float) -> Decimal:
        """The value now, rounded to the tick."""
        second = int(now)
        if second > self._second:
            for _ in range(min(second - self._second, MAX_CATCH_UP_SECONDS)):
                self.value, self.activity = next(self._walk)
            self._second = second
            self._price = rounded(self.value, self._tick)
        elif second < self._second - CLOCK_SECONDS:
            self._second = second
        return self._price


class HouseValues:
    """The values of all securities that the house trades."""

    def __init__(self, listed: Iterable[Listed], start: float, seed: str, begin: Mapping[str, float] | None = None) -> None:
        """`start` is seconds of Unix time, `begin` the values at that time: the reference prices by default."""
        self.by_symbol = {
            one.symbol: LivingValue(one, _credible(begin or {}, one), start, f"{seed}/value/{one.symbol}") for one in listed
        }

    def at(self, symbol: str, now: float) -> Decimal:
        """The value of a security."""
        return self.by_symbol[symbol].at(now)

    def activity(self, symbol: str, now: float) -> float:
        """How busy the market of a security is, about 1 on average."""
        one = self.by_symbol[symbol]
        one.at(now)
        return one.activity

    def now(self) -> dict[str, float]:
        """The last value of each security."""
        return {symbol: one.value for symbol, one in self.by_symbol.items()}


def _credible(saved: Mapping[str, float], one: Listed) -> float:
    """The saved value of a security, if it can be one, else the reference price."""
    price = float(one.price)
    value = saved.get(one.symbol, price)
    return value if price / MAX_FACTOR <= value <= price * MAX_FACTOR else price


def prepare(bot: Bot, values: HouseValues, borrowable: Mapping[str, Decimal]) -> None:
    """Gives a bot of the house what it may know: the values, the activity, and how much it may sell short."""
    if isinstance(bot, (MarketMaker, InformedTrader)):
        bot.value = values.at
    if isinstance(bot, (NoiseTrader, OrderSplitter)):
        bot.activity = values.activity
    if isinstance(bot, Trader):
        bot.begun_with = dict.fromkeys(borrowable, Decimal(0))
        bot.borrowable = dict(borrowable)


__all__ = ["HOUSE_SYMBOLS", "HouseValues", "Listed", "borrowable_of", "house_bots", "prepare", "value_of"]
