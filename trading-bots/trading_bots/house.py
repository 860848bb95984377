"""The default house: its bots, the funding of their accounts, and the values that they trade on. No I/O.

The live market and the simulation use the same house. The population follows Chiarella and Iori (2002): traders who know
the value, traders who follow prices, and traders who do neither. Each strategy names its sources. A value anchors each
price, and every trader reverts to its initial inventory, so that prices and accounts stay bounded.
"""

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from microexchange.numbers import CASH_SCALE, MAX_CASH
from trading_bots.bot import Bot, News
from trading_bots.competition.values import StochasticVolatility, Value, rounded
from trading_bots.strategies import InformedTrader, MarketMaker, MeanReversion, Momentum, NoiseTrader, OrderSplitter
from trading_bots.strategies.trader import Trader, unit_of

HOUSE_SYMBOLS = ("AAPL", "AMZN", "GOOG", "INTC", "META", "MSFT", "NVDA", "TSLA")
"""The securities that the house trades by default."""
STOCK = StochasticVolatility(volatility=0.1, variation=0.85, per_minute=0.01, size=0.4)
"""About 4 per cent a day, with about fourteen jumps a day."""
COIN = StochasticVolatility(volatility=0.2, variation=0.85, per_minute=0.012, size=1.0)
COIN_SUFFIXES = ("-USDT", "-USD", "-USDC")
"""Suffixes of the symbols of coins."""
MAX_VALUE = Decimal(MAX_CASH // CASH_SCALE)
"""The most cash that an account can be opened with."""
MAX_FACTOR = 1000.0
"""If a saved value differs from the reference price by more than this factor, it is damaged or of another listing."""
CLOCK_TOLERANCE_SECONDS = 60
"""If the clock goes back by more than this, it was set. The values continue from the new time."""
MAX_NEWS = 1_000
"""The news that is recognised when it comes again."""
MAX_CATCH_UP_SECONDS = 3600
"""The longest gap over which a value is continued second by second. After a longer gap, it continues from where it was."""

Maker = Callable[[int], Bot]
"""A function that creates a bot from a seed."""


@dataclass(frozen=True)
class Listed:
    """The terms of a security that the house needs."""

    symbol: str
    price: Decimal
    """The reference price."""
    tick: Decimal
    lot: Decimal


@dataclass(frozen=True)
class Role:
    """One kind of house bot, and its means."""

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
"""The order in which bots join. Every prefix of it makes a market. A larger house repeats it."""


def house_bots(count: int, symbols: Sequence[str] = HOUSE_SYMBOLS, seed: str = "house") -> dict[str, Bot]:
    """Create `count` bots, by name. Each class numbers its bots from 1."""
    numbers: Counter[str] = Counter()
    bots: dict[str, Bot] = {}
    for place in range(count):
        role = CAST[place % len(CAST)]
        numbers[role] += 1
        name = f"{role}-{numbers[role]}"
        bot = ROLES[role].make(random.Random(f"{seed}/{name}").getrandbits(32))
        bot.symbols = tuple(symbols)
        bots[name] = bot
    return bots


def borrowable_of(name: str, listed: Iterable[Listed]) -> dict[str, Decimal]:
    """Return the shares of each security that the bot of that name may sell short. The issuer lends them."""
    units = ROLES[name.rsplit("-", 1)[0]].units
    return {security.symbol: units * unit_of(security.price, security.lot) for security in listed}


def value_of(shares: Mapping[str, Decimal], listed: Iterable[Listed]) -> Decimal:
    """Return the value of shares at the reference prices, rounded up to thousands. At most `MAX_VALUE`.

    It is the initial cash and the short limit of an account.
    """
    value = sum((shares[security.symbol] * security.price for security in listed), Decimal(0))
    return min((value // 1000 + 1) * 1000, MAX_VALUE)


def process_of(symbol: str) -> Value:
    """Return the process of a security's value."""
    return COIN if symbol.endswith(COIN_SUFFIXES) else STOCK


class EndlessValue:
    """The value of one security, without an end."""

    def __init__(self, security: Listed, begin: float, start: float, seed: str) -> None:
        self._tick, self._second = security.tick, int(start)
        self._walk = process_of(security.symbol).walk(begin, random.Random(seed), float(security.price))
        self.value, self.activity = begin, 1.0
        self._factor = 1.0
        """The product of the changes by news."""
        self._price = rounded(begin, security.tick)

    def at(self, now: float) -> Decimal:
        """Return the value at a time in seconds of Unix time, rounded to the tick."""
        second = int(now)
        if second > self._second:
            for _ in range(min(second - self._second, MAX_CATCH_UP_SECONDS)):
                walked, self.activity = next(self._walk)
                self.value = walked * self._factor
            self._second = second
            self._price = rounded(self.value, self._tick)
        elif second < self._second - CLOCK_TOLERANCE_SECONDS:
            self._second = second
        return self._price

    def change(self, amount: Decimal) -> None:
        """Change the value by an amount of cash, for news. It stays at one tick at least."""
        changed = max(self.value + float(amount), float(self._tick))
        self._factor *= changed / self.value
        self.value = changed
        self._price = rounded(changed, self._tick)


class HouseValues:
    """The values of all securities that the house trades."""

    def __init__(self, listed: Iterable[Listed], start: float, seed: str, begin: Mapping[str, float] | None = None) -> None:
        """Begin the values.

        Args:
            listed: The securities.
            start: The start, in seconds of Unix time.
            seed: The seed of the random numbers.
            begin: The values at the start. By default, the reference prices.
        """
        self._news: deque[str] = deque(maxlen=MAX_NEWS)
        """The ids of news that has changed values. Each bot of the house receives the same news."""
        self.by_symbol = {
            security.symbol: EndlessValue(
                security, _plausible(begin or {}, security), start, f"{seed}/value/{security.symbol}"
            )
            for security in listed
        }

    def at(self, symbol: str, now: float) -> Decimal:
        """Return the value of a security at a time in seconds of Unix time."""
        return self.by_symbol[symbol].at(now)

    def activity(self, symbol: str, now: float) -> float:
        """Return how busy the market of a security is, relative to a mean of about 1."""
        value = self.by_symbol[symbol]
        value.at(now)
        return value.activity

    def take_news(self, news: News) -> None:
        """Change the values by the changes that news states. The same news counts once."""
        if news.news_id in self._news:
            return
        self._news.append(news.news_id)
        for symbol, amount in news.value_changes.items():
            if symbol in self.by_symbol:
                self.by_symbol[symbol].change(amount)

    def now(self) -> dict[str, float]:
        """Return the last value of each security."""
        return {symbol: value.value for symbol, value in self.by_symbol.items()}


def _plausible(saved: Mapping[str, float], security: Listed) -> float:
    """Return the saved value of a security if it is plausible, else the reference price."""
    price = float(security.price)
    value = saved.get(security.symbol, price)
    return value if price / MAX_FACTOR <= value <= price * MAX_FACTOR else price


def prepare_bot(bot: Bot, values: HouseValues, borrowable: Mapping[str, Decimal]) -> None:
    """Give a house bot its information: the values, the activity, and how much it may sell short."""
    if isinstance(bot, (MarketMaker, InformedTrader)):
        bot.value = values.at
    if isinstance(bot, (NoiseTrader, OrderSplitter)):
        bot.activity = values.activity
    if isinstance(bot, Trader):
        bot.take_news = values.take_news
        bot.initial_holdings = dict.fromkeys(borrowable, Decimal(0))
        bot.borrowable = dict(borrowable)
