"""A trader that believes in a random walk: Bachelier, "Théorie de la spéculation" (1900).

Tomorrow's price is today's and a coin's toss, so there is nothing to know: it keeps a fixed part of its equity in shares,
and trades back to it whenever prices have carried it away. (Merton, "Lifetime portfolio selection under uncertainty", 1969,
shows that to be right in such a world.)
"""

from decimal import Decimal

from trading_bots.bot import Bot


class RandomWalk(Bot):
    """Rebalances to a fixed part in each security."""

    timer = 2.0

    def __init__(self, part: str = "0.8", tolerance: str = "0.02") -> None:
        super().__init__()
        self.part, self.tolerance = Decimal(part), Decimal(tolerance)

    def on_timer(self) -> None:
        """Trades what has drifted too far."""
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
