"""A trader that knows what a security is worth: Glosten and Milgrom, "Bid, ask and transaction prices in a specialist market
with heterogeneously informed traders" (1985); Kyle, "Continuous auctions and insider trading" (1985).

It takes what is offered below that value, and what is bid above it, a little at a time, so as not to give itself away. In a
competition the season tells it the value; where nobody does, it believes the first price it sees.
"""

import random
from collections.abc import Callable
from decimal import Decimal

from trading_bots.bot import Bot


class InformedTrader(Bot):
    """Trades towards the fundamental value."""

    value: Callable[[str, float], Decimal] | None = None
    """What a security is worth at a time: set by who runs a season."""

    def __init__(self, seed: int = 0, edge: str = "0.001", size: int = 3, pause: float = 1.0) -> None:
        super().__init__()
        self.dice = random.Random(seed)
        self.edge, self.size, self.pause = Decimal(edge), size, pause
        self.first: dict[str, Decimal] = {}

    def on_start(self) -> None:
        """Begins to look at prices."""
        self.cancel_all()
        self.every(self.pause * (0.5 + self.dice.random()), self.act)

    def act(self) -> None:
        """Takes what is mispriced in one security."""
        symbol = self.dice.choice(sorted(self.securities))
        if self.state(symbol) != "continuous":
            return
        worth = self.first.setdefault(symbol, self.last(symbol)) if self.value is None else self.value(symbol, self.now)
        bid, ask = self.best_bid(symbol), self.best_ask(symbol)
        if ask is not None and ask < worth * (1 - self.edge) and self.cash > self.size * ask:
            self.buy(symbol, self.size, ask, time_in_force="ioc")
        elif bid is not None and bid > worth * (1 + self.edge) and self.position(symbol) >= self.size:
            self.sell(symbol, self.size, bid, time_in_force="ioc")
