"""A contrarian: sells what has risen beyond its usual range, buys what has fallen.

De Bondt and Thaler, "Does the stock market overreact?" (1985), on a scale of seconds; the range is Bollinger's bands.
"""

import math

from trading_bots.bot import Trade
from trading_bots.strategies.trader import Trader


class MeanReversion(Trader):
    """Compares each price with its own average, in standard deviations."""

    def __init__(self, seed: int = 0, width: float = 2.0, size: int = 2, patience: int = 40) -> None:
        """`size` is in units."""
        super().__init__(seed)
        self.width, self.size = width, size
        self.weight = 1 / (patience + seed % 20)
        self.average: dict[str, float] = {}
        self.variance: dict[str, float] = {}
        self.stance: dict[str, int] = {}

    def on_trade(self, trade: Trade) -> None:
        """Moves the average and the range, and acts where the price has left it."""
        symbol, price = trade.symbol, float(trade.price)
        average = self.average.get(symbol, price)
        off = price - average
        self.average[symbol] = average + off * self.weight
        variance = self.variance.get(symbol, (price * 0.001) ** 2)
        self.variance[symbol] = (1 - self.weight) * (variance + self.weight * off * off)
        range_ = self.width * math.sqrt(self.variance[symbol])
        stance = (off < -range_) - (off > range_)
        if stance == self.stance.get(symbol, 0):
            return
        self.stance[symbol] = stance
        quantity = self.size * self.unit(symbol)
        if stance > 0 and self.cash > 2 * quantity * trade.price:
            self.buy(symbol, quantity, trade.price)
        elif stance < 0 and self.position(symbol) >= quantity:
            self.sell(symbol, quantity, trade.price)
