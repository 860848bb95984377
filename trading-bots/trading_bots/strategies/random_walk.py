"""A trader who assumes a random walk: Bachelier, "Théorie de la spéculation" (1900).

If prices follow a random walk, they cannot be predicted. The trader keeps a fixed part of its equity in shares, and trades
back to it after prices have moved. Merton, "Lifetime portfolio selection under uncertainty" (1969), shows that this is
optimal in such a market.
"""

from decimal import Decimal

from trading_bots.bot import Bot, as_decimal


class RandomWalk(Bot):
    """Rebalances to a fixed part of the equity in each security."""

    timer = 2.0

    def __init__(self, part: str = "0.8", tolerance: str = "0.02") -> None:
        """Create a trader.

        Args:
            part: The part of the equity to hold in shares, over all securities.
            tolerance: The relative deviation from it at which the trader trades.
        """
        super().__init__()
        self.part, self.tolerance = as_decimal(part, "part"), as_decimal(tolerance, "tolerance")

    def on_timer(self) -> None:
        """Trade the securities that have drifted too far."""
        self.cancel_all()
        wanted = self.equity * self.part / max(len(self.securities), 1)
        for symbol in self.securities:
            price = self.last(symbol)
            drift = wanted - self.position(symbol) * price
            if self.state(symbol) == "continuous" and abs(drift) > wanted * self.tolerance:
                act = self.buy if drift > 0 else self.sell
                shares = min(abs(drift) // price, Decimal(5))
                if shares and (drift < 0 or self.cash > shares * price):
                    act(symbol, shares, self.mid(symbol))
