"""Pairs: Gatev, Goetzmann and Rouwenhorst, "Pairs trading: performance of a relative-value arbitrage rule" (2006).

Two securities that move together: when one has become dear against the other, it sells that one and buys the other, and
turns back when they are where they were.
"""

import math

from trading_bots.bot import Bot


class PairsArbitrage(Bot):
    """Trades the logarithm of the ratio of two prices; by default of the first two securities."""

    timer = 0.5

    def __init__(self, first: str = "", second: str = "", width: float = 2.0, size: int = 3, patience: int = 120) -> None:
        super().__init__()
        self.pair = (first, second)
        self.width, self.size, self.weight = width, size, 1 / patience
        self.average: float | None = None
        self.variance = 1e-6
        self.stance = 0
        """1 where it has bought the first and sold the second, -1 the other way."""

    def on_start(self) -> None:
        """Chooses its pair."""
        self.cancel_all()
        known = sorted(self.securities)
        if not all(symbol in self.securities for symbol in self.pair) and len(known) > 1:
            self.pair = (known[0], known[1])

    def on_timer(self) -> None:
        """Looks where the ratio stands."""
        first, second = self.pair
        if first not in self.securities or any(self.state(symbol) != "continuous" for symbol in self.pair):
            return
        ratio = math.log(float(self.mid(first)) / float(self.mid(second)))
        self.average = ratio if self.average is None else self.average
        off = ratio - self.average
        self.average += off * self.weight
        self.variance += (off * off - self.variance) * self.weight
        deviation = math.sqrt(self.variance)
        if self.stance == 0 and abs(off) > self.width * deviation:
            self.turn(-1 if off > 0 else 1)
        elif self.stance and off * self.stance > -0.5 * deviation:
            self.turn(0)

    def turn(self, stance: int) -> None:
        """Trades both sides to another stance."""
        change = stance - self.stance
        buys, sells = self.pair if change > 0 else reversed(self.pair)
        quantity = abs(change) * self.size
        if self.cash > quantity * self.last(buys) and self.position(sells) >= quantity:
            self.stance = stance
            self.buy(buys, quantity)
            self.sell(sells, quantity)
