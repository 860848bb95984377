"""A market maker: always a bid and an offer around a price of its own, which it shifts against what it holds.

Avellaneda and Stoikov, "High-frequency trading in a limit order book" (2008): with inventory q, risk aversion g, variance
s² a second and a horizon of T seconds, the price to quote around is mid - q·g·s²·T, and the two quotes are g·s²·T +
(2/g)·ln(1 + g/k) apart, where k says how quickly orders thin out with distance. Here prices are relative to the middle, the
horizon does not run out, and the variance is measured.
"""

import math
import random
from decimal import Decimal

from trading_bots.bot import Bot, Order

MOST_STEP = Decimal("0.003")
"""How far its idea of the middle moves from one look to the next, in parts of it. In a thin book one silly price moves the
middle by half; who followed it at once would trade there, and so make it true."""


class MarketMaker(Bot):
    """Quotes every security, and moves its quotes when its price has moved."""

    def __init__(
        self,
        seed: int = 0,
        size: int = 2,
        target: int = 100,
        aversion: float = 0.1,
        thinning: float = 1500.0,
        horizon: float = 20.0,
    ) -> None:
        super().__init__()
        self.dice = random.Random(seed)
        self.pause = 0.4 + self.dice.random() * 0.2
        self.size = size
        self.target = target
        """Shares of each security that it would like to hold."""
        self.aversion, self.thinning, self.horizon = aversion, thinning, horizon
        self.quotes: dict[str, list[Order]] = {}
        self.middles: dict[str, Decimal] = {}
        """Where it believes the middle of each market to be."""
        self.variances: dict[str, float] = {}
        """Of relative changes, a second."""

    def on_start(self) -> None:
        """Begins to quote. What an earlier life left in the books goes first."""
        self.cancel_all()
        self.every(self.pause, self.requote)

    def requote(self) -> None:
        """Looks at every security."""
        for symbol in self.securities:
            if self.state(symbol) == "continuous":
                self.quote(symbol)

    def quote(self, symbol: str) -> None:
        """Puts its quotes where they belong."""
        believed = self.middles.get(symbol, self.last(symbol))
        step = believed * MOST_STEP
        middle = self.middles[symbol] = min(max(self.mid(symbol), believed - step), believed + step)
        change = float(middle / believed) - 1
        variance = self.variances.get(symbol, 1e-7)
        variance = self.variances[symbol] = variance + (change * change / self.pause - variance) * 0.02
        risk = self.aversion * variance * self.horizon
        surplus = int(self.position(symbol)) - self.target
        shift = max(min(surplus * (risk + 1.5e-5), 0.02), -0.02)
        half = risk / 2 + math.log1p(self.aversion / self.thinning) / self.aversion
        fair = middle * Decimal(1 - shift + self.dice.gauss(0, 0.0002))
        bid, ask = fair * Decimal(1 - half), fair * Decimal(1 + half)
        old = self.quotes.get(symbol, [])
        if old and all(order.is_open and self.is_near(order, bid, ask) for order in old):
            return
        for order in old:
            self.cancel(order)
        held = int(self.position(symbol))
        self.quotes[symbol] = [
            *([self.buy(symbol, self.size, bid)] if self.free_cash > 2 * self.size * bid else []),
            *([self.sell(symbol, min(self.size, held), ask)] if held > 0 else []),
        ]

    def is_near(self, order: Order, bid: Decimal, ask: Decimal) -> bool:
        """Whether a quote stands near enough to where it belongs."""
        wanted = bid if order.side == "buy" else ask
        return abs((order.price or wanted) - wanted) < (ask - bid) / 4
