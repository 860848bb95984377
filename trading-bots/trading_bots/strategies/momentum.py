"""A momentum trader: it buys what has risen, and sells what has fallen.

Jegadeesh and Titman, "Returns to buying winners and selling losers" (1993), on a scale of seconds.
"""

from trading_bots.bot import Trade
from trading_bots.strategies.trader import Trader


class Momentum(Trader):
    """Compares a fast with a slow average of each price, and trades when they cross."""

    def __init__(self, seed: int = 0, threshold: float = 0.0005, size: int = 2) -> None:
        """Create a trader.

        Args:
            seed: The seed. It varies the length of the slow average.
            threshold: The relative difference of the averages at which it trades.
            size: The size of an order in units.
        """
        super().__init__(seed)
        self.threshold = threshold
        self.size = size
        self.slowness = 20 + seed % 20
        self.fast: dict[str, float] = {}
        self.slow: dict[str, float] = {}
        self.stance: dict[str, int] = {}

    def on_trade(self, trade: Trade) -> None:
        """Update the averages, and trade if they have crossed."""
        symbol, price = trade.symbol, float(trade.price)
        fast = self.fast[symbol] = _toward(self.fast.get(symbol, price), price, 5)
        slow = self.slow[symbol] = _toward(self.slow.get(symbol, price), price, self.slowness)
        stance = (fast > slow * (1 + self.threshold)) - (fast < slow * (1 - self.threshold))
        if stance == self.stance.get(symbol, 0):
            return
        self.stance[symbol] = stance
        quantity = self.size * self.unit(symbol)
        if stance > 0 and self.cash > 2 * quantity * trade.price:
            self.buy(symbol, quantity)
        elif stance < 0 and self.position(symbol) >= quantity:
            self.sell(symbol, quantity)


def _toward(average: float, price: float, steps: int) -> float:
    return average + (price - average) / steps
