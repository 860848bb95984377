"""A market maker: always a bid and an offer around the middle, shifted against what it holds.

The shift by inventory is the idea of Avellaneda and Stoikov, "High-frequency trading in a limit order book" (2008), without
their formula for its size.
"""

import random
from decimal import Decimal

from trading_bots.bot import Bot, Order

MOST_STEP = Decimal("0.003")
"""How far its idea of the middle moves from one look to the next, in parts of it. In a thin book one silly price moves the
middle by half; who followed it at once would trade there, and so make it true."""


class MarketMaker(Bot):
    """Quotes every security, and moves its quotes when the middle has moved."""

    def __init__(self, seed: int = 0, half_spread: str = "0.0015", size: int = 2, target: int = 100) -> None:
        super().__init__()
        self.dice = random.Random(seed)
        self.half_spread = Decimal(half_spread)
        self.size = size
        self.target = target
        """Shares of each security that it would like to hold."""
        self.quotes: dict[str, tuple[Order, Order]] = {}
        self.middles: dict[str, Decimal] = {}
        """Where it believes the middle of each market to be."""

    def on_start(self) -> None:
        """Begins to quote. What an earlier life left in the books goes first."""
        self.cancel_all()
        self.every(0.4 + self.dice.random() * 0.2, self.requote)

    def requote(self) -> None:
        """Looks at every security."""
        for symbol in self.securities:
            self.quote(symbol)

    def quote(self, symbol: str) -> None:
        """Puts its quotes where they belong."""
        surplus = int(self.position(symbol)) - self.target
        skew = Decimal(surplus) / 100 * self.half_spread
        believed = self.middles.get(symbol, self.last(symbol))
        step = believed * MOST_STEP
        middle = self.middles[symbol] = min(max(self.mid(symbol), believed - step), believed + step)
        fair = middle * (1 - skew) * (1 + Decimal(self.dice.gauss(0, 0.0004)))
        bid, ask = fair * (1 - self.half_spread), fair * (1 + self.half_spread)
        old = self.quotes.get(symbol)
        if old is not None and all(order.is_open for order in old):
            moved = abs((old[0].price or fair) - bid)
            if moved < fair * self.half_spread / 2:
                return
        if old is not None:
            for order in old:
                self.cancel(order)
        size = min(self.size, max(1, int(self.position(symbol))))
        self.quotes[symbol] = self.buy(symbol, self.size, bid), self.sell(symbol, size, ask)
