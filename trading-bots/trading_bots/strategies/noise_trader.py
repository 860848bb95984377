"""A noise trader: buys and sells at random, within its means.

Zero-intelligence traders with a budget: Gode and Sunder, "Allocative efficiency of markets with zero-intelligence traders"
(1993).
"""

import random
from decimal import Decimal

from trading_bots.bot import Bot


class NoiseTrader(Bot):
    """Now and then a market order, or a limit order near the middle."""

    def __init__(
        self, seed: int = 0, pause: float = 0.3, market: float = 0.5, width: float = 0.002, patience: int = 10
    ) -> None:
        """`market` is the part of market orders; limit orders are `width` from the middle, in parts of it, as a standard
        deviation; of more than `patience` open orders the oldest is cancelled."""
        super().__init__()
        self.dice = random.Random(seed)
        self.pause, self.market, self.width, self.patience = pause, market, width, patience

    def on_start(self) -> None:
        """Begins to trade. What an earlier life left in the books goes first."""
        self.cancel_all()
        self.every(self.pause * (0.8 + 0.4 * self.dice.random()), self.act)

    def act(self) -> None:
        """One random act."""
        symbol = self.dice.choice(sorted(self.securities))
        if self.state(symbol) == "halted":
            return
        quantity = self.dice.randint(1, 3)
        is_buy = self.dice.random() < 0.5
        if is_buy and self.free_cash < 2 * quantity * self.last(symbol):
            is_buy = False
        if not is_buy and self.position(symbol) < quantity:
            return
        act = self.buy if is_buy else self.sell
        if self.dice.random() < self.market:
            act(symbol, quantity)
        else:
            act(symbol, quantity, self.mid(symbol) * (1 + Decimal(self.dice.gauss(0, self.width))))
        waiting = list(self.open_orders)
        if len(waiting) > self.patience:
            self.cancel(waiting[0])
