"""The common base of strategies: order sizes by value, random sizes, and the inventory relative to the start."""

import random
from collections.abc import Callable
from decimal import Decimal

from trading_bots.bot import ZERO, Bot, News

UNIT_VALUE = Decimal(200)
"""The approximate cash value of one unit: one share of a stock at 200, four of a stock at 50."""
MAX_ACTIVITY = 5.0
SIZE_EXPONENT = 1.5
"""The tail exponent of order sizes: Gopikrishnan, Plerou, Gabaix and Stanley, "Statistical properties of share volume traded
in financial markets" (2000).
"""


def unit_of(price: Decimal, lot: Decimal) -> Decimal:
    """Return the quantity that is worth about `UNIT_VALUE` at a price, in whole lots, at least one."""
    return max(round(UNIT_VALUE / (price * lot)), 1) * lot


class Trader(Bot):
    """A bot with its own random numbers, which counts quantities in units."""

    activity: Callable[[str, float], float] | None = None
    """Returns the activity of a market at a time, relative to a mean of 1. The organiser of the market sets it."""

    take_news: Callable[[News], None] | None = None
    """Takes the news that the bot receives. The organiser of the market sets it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.dice = random.Random(seed)
        self.initial_holdings: dict[str, Decimal] = {}
        """By security. The organiser of the market sets them. Otherwise, they are the first holdings that the bot sees."""
        self.borrowable: dict[str, Decimal] = {}
        """The shares that it may be short, by security. The organiser of the market sets them."""
        self._units: dict[str, Decimal] = {}

    def on_news(self, news: News) -> None:
        """Pass the news on, so that the values of the house change."""
        if self.take_news is not None:
            self.take_news(news)

    def unit(self, symbol: str) -> Decimal:
        """Return the quantity of a security that was worth about `UNIT_VALUE` at the first call."""
        unit = self._units.get(symbol)
        if unit is None:
            security = self.securities[symbol]
            unit = self._units[symbol] = unit_of(security.last, security.lot)
        return unit

    def surplus(self, symbol: str) -> Decimal:
        """Return the holding less the initial holding."""
        quantity = self.position(symbol)
        return quantity - self.initial_holdings.setdefault(symbol, quantity)

    def sellable(self, symbol: str) -> Decimal:
        """Return the shares that it can sell: the holding, and what it may be short."""
        return self.position(symbol) + self.borrowable.get(symbol, ZERO)

    def fullness(self, symbol: str, limit: int) -> float:
        """Return the surplus as a part of `limit` units, from -1 to 1. 0 without a limit."""
        if not limit:
            return 0.0
        return max(min(float(self.surplus(symbol) / self.unit(symbol)) / limit, 1.0), -1.0)

    def current_activity(self, symbol: str) -> float:
        """Return the activity of a market now, at most `MAX_ACTIVITY`. 1 if the organiser of the market has set none."""
        return 1.0 if self.activity is None else min(self.activity(symbol, self.now), MAX_ACTIVITY)

    def random_size(self, maximum: int, exponent: float = SIZE_EXPONENT) -> int:
        """Return a random whole number from 1 to `maximum`. P(size > x) falls as x to the power of minus `exponent`."""
        return min(int(self.dice.paretovariate(exponent)), maximum)
