"""What the strategies share: order sizes that suit a security's price, heavy-tailed random sizes, and the inventory relative
to what the account began with."""

import random
from collections.abc import Callable
from decimal import Decimal

from trading_bots.bot import NOTHING, Bot

UNIT_VALUE = Decimal(200)
"""Cash value of one unit, about: one share of a stock at 200, four of a stock at 50."""
MAX_ACTIVITY = 5.0
SIZE_EXPONENT = 1.5
"""Tail exponent of order sizes: Gopikrishnan, Plerou, Gabaix and Stanley, "Statistical properties of share volume traded
in financial markets" (2000)."""


def unit_of(price: Decimal, lot: Decimal) -> Decimal:
    """The quantity that is worth about `UNIT_VALUE` at a price, in whole lots, at least one."""
    return max(round(UNIT_VALUE / (price * lot)), 1) * lot


class Trader(Bot):
    """A bot with random numbers of its own, which counts quantities in units."""

    activity: Callable[[str, float], float] | None = None
    """How busy a market is at a time, set by the organiser of the market."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.dice = random.Random(seed)
        self.begun_with: dict[str, Decimal] = {}
        """What the account began with, by security: set by the organiser of the market, or what it holds at first sight."""
        self.borrowable: dict[str, Decimal] = {}
        """Shares that it may sell beyond what it holds, by security: set by the organiser of the market."""
        self._units: dict[str, Decimal] = {}

    def unit(self, symbol: str) -> Decimal:
        """The quantity of a security that is worth about `UNIT_VALUE` at the first price that the bot has seen."""
        found = self._units.get(symbol)
        if found is None:
            security = self.securities[symbol]
            found = self._units[symbol] = unit_of(security.last, security.lot)
        return found

    def surplus(self, symbol: str) -> Decimal:
        """Shares that the bot holds beyond what the account began with."""
        held = self.position(symbol)
        return held - self.begun_with.setdefault(symbol, held)

    def sellable(self, symbol: str) -> Decimal:
        """Shares that it can sell: what it holds, and what it may borrow."""
        return self.position(symbol) + self.borrowable.get(symbol, NOTHING)

    def fullness(self, symbol: str, limit: int) -> float:
        """The surplus as a part of its limit in units, from -1 to 1; 0 without a limit."""
        if not limit:
            return 0.0
        return max(min(float(self.surplus(symbol) / self.unit(symbol)) / limit, 1.0), -1.0)

    def busyness(self, symbol: str) -> float:
        """The activity of a market now, at most `MAX_ACTIVITY`; 1 if the organiser of the market has set none."""
        return 1.0 if self.activity is None else min(self.activity(symbol, self.now), MAX_ACTIVITY)

    def random_size(self, most: int, exponent: float = SIZE_EXPONENT) -> int:
        """A whole number from 1 to `most` with a power-law tail: P(size > x) falls as x to the power of minus `exponent`."""
        return min(int(self.dice.paretovariate(exponent)), most)
