"""Pairs trading: Gatev, Goetzmann and Rouwenhorst, "Pairs trading: performance of a relative-value arbitrage rule" (2006).

Two securities move together. If one becomes expensive relative to the other, the bot sells it and buys the other. It closes
both positions when the ratio is back at its average.
"""

import math

from trading_bots.bot import Bot


class PairsArbitrage(Bot):
    """Trades the logarithm of the ratio of two prices. By default, those of the first two securities."""

    timer = 0.5

    def __init__(self, first: str = "", second: str = "", width: float = 2.0, size: int = 3, patience: int = 120) -> None:
        """Create a trader.

        Args:
            first: The first security.
            second: The second security.
            width: The distance from the average at which it trades, in standard deviations.
            size: The size of an order in shares.
            patience: The length of the average, in calls of the timer.
        """
        super().__init__()
        self.pair = (first, second)
        self.width, self.size, self.weight = width, size, 1 / patience
        self.average: float | None = None
        self.variance = 1e-6
        self.stance = 0
        """1 if it has bought the first and sold the second, -1 for the reverse, 0 for no position."""

    def on_start(self) -> None:
        """Choose the pair."""
        self.cancel_all()
        listed = sorted(self.securities)
        if not all(symbol in self.securities for symbol in self.pair) and len(listed) > 1:
            self.pair = (listed[0], listed[1])

    def on_timer(self) -> None:
        """Update the average, and trade if the ratio is far from it."""
        first, second = self.pair
        if first not in self.securities or any(self.state(symbol) != "continuous" for symbol in self.pair):
            return
        ratio = math.log(float(self.mid(first)) / float(self.mid(second)))
        self.average = ratio if self.average is None else self.average
        distance = ratio - self.average
        self.average += distance * self.weight
        self.variance += (distance * distance - self.variance) * self.weight
        deviation = math.sqrt(self.variance)
        if self.stance == 0 and abs(distance) > self.width * deviation:
            self.turn(-1 if distance > 0 else 1)
        elif self.stance and distance * self.stance > -0.5 * deviation:
            self.turn(0)

    def turn(self, stance: int) -> None:
        """Trade both securities to another stance."""
        change = stance - self.stance
        buys, sells = self.pair if change > 0 else reversed(self.pair)
        quantity = abs(change) * self.size
        if self.cash > quantity * self.last(buys) and self.position(sells) >= quantity:
            self.stance = stance
            self.buy(buys, quantity)
            self.sell(sells, quantity)
