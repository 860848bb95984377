"""A contrarian: it sells what has risen beyond its usual range, and buys what has fallen below it.

De Bondt and Thaler, "Does the stock market overreact?" (1985), on a scale of seconds. The range is that of Bollinger bands.
"""

import math

from trading_bots.bot import Trade
from trading_bots.strategies.trader import Trader


class MeanReversion(Trader):
    """Compares each price with its own average, in standard deviations."""

    def __init__(self, seed: int = 0, width: float = 2.0, size: int = 2, patience: int = 40) -> None:
        """Create a trader.

        Args:
            seed: The seed. It varies the length of the average.
            width: The half width of the range, in standard deviations.
            size: The size of an order in units.
            patience: The length of the average, in trades.
        """
        super().__init__(seed)
        self.width, self.size = width, size
        self.weight = 1 / (patience + seed % 20)
        self.average: dict[str, float] = {}
        self.variance: dict[str, float] = {}
        self.stance: dict[str, int] = {}

    def on_trade(self, trade: Trade) -> None:
        """Update the average and the range, and trade if the price has left the range."""
        symbol, price = trade.symbol, float(trade.price)
        average = self.average.get(symbol, price)
        deviation = price - average
        self.average[symbol] = average + deviation * self.weight
        variance = self.variance.get(symbol, (price * 0.001) ** 2)
        self.variance[symbol] = (1 - self.weight) * (variance + self.weight * deviation * deviation)
        range_ = self.width * math.sqrt(self.variance[symbol])
        stance = (deviation < -range_) - (deviation > range_)
        if stance == self.stance.get(symbol, 0):
            return
        self.stance[symbol] = stance
        quantity = self.size * self.unit(symbol)
        if stance > 0 and self.cash > 2 * quantity * trade.price:
            self.buy(symbol, quantity, trade.price)
        elif stance < 0 and self.position(symbol) >= quantity:
            self.sell(symbol, quantity, trade.price)
