"""A noise trader: it buys and sells at random, within its budget.

Zero-intelligence traders with a budget: Gode and Sunder, "Allocative efficiency of markets with zero-intelligence traders"
(1993). Prices of limit orders have a power-law distance from the best price: Zovko and Farmer, "The power of patience"
(2002). Each trade makes the next more probable: Hawkes, "Spectra of some self-exciting and mutually exciting point
processes" (1971); Bacry, Mastromatteo and Muzy, "Hawkes processes in finance" (2015).
"""

import math
from decimal import Decimal

from microexchange.enum_terms import STATES
from microexchange.enums import TradingState
from trading_bots.bot import Order, Trade
from trading_bots.strategies.trader import Trader

DISTANCE_EXPONENT = 1.5
"""The tail exponent of the distance of limit orders from the best price."""
EXCITEMENT_SECONDS = 5.0
"""The time constant with which the excitement after a trade decays."""
MAX_EXCITEMENT = 8.0


class NoiseTrader(Trader):
    """Sends market orders, and limit orders near the mid price, at random times."""

    def __init__(
        self,
        seed: int = 0,
        pause: float = 0.3,
        market: float = 0.5,
        width: float = 0.002,
        patience: int = 10,
        size: int = 3,
        rate: float = 0.0,
        excitement: float = 0.0,
        limit: int = 0,
    ) -> None:
        """Create a trader.

        Args:
            seed: The seed of its random numbers.
            pause: The mean time between two decisions, in seconds.
            market: The share of market orders.
            width: The typical relative distance of limit orders from the mid price.
            patience: With more open orders than this, it cancels one of the older half.
            size: The largest order in units.
            rate: The orders a second in each security. If it is 0, it sends one order each `pause`, in a random security.
            excitement: By how much each trade raises the rate, as a multiple of it.
            limit: The largest inventory in units. 0 for no limit.
        """
        super().__init__(seed)
        self.pause = pause * (0.8 + 0.4 * self.dice.random())
        self.market, self.width, self.patience, self.size = market, width, patience, size
        self.rate, self.excitement, self.limit = rate, excitement, limit
        self.intensities: dict[str, float] = {}
        self.waiting: list[Order] = []

    def on_start(self) -> None:
        """Cancel the orders of a previous run, and start to trade."""
        self.cancel_all()
        self.every(self.pause, self.act)

    def on_trade(self, trade: Trade) -> None:
        """Raise the rate after a trade."""
        if self.excitement:
            self.intensities[trade.symbol] = min(self.intensities.get(trade.symbol, 0.0) + self.excitement, MAX_EXCITEMENT)

    def act(self) -> None:
        """Send one random order, or, with a `rate`, one at random times in each security."""
        if not self.rate:
            self.trade(self.dice.choice(sorted(self.securities)))
            return
        decay = math.exp(-self.pause / EXCITEMENT_SECONDS)
        for symbol in self.securities:
            activity = self.current_activity(symbol)
            intensity = self.intensities[symbol] = self.intensities.get(symbol, 0.0) * decay
            if self.dice.random() < self.rate * self.pause * (activity + intensity):
                self.trade(symbol)

    def trade(self, symbol: str) -> None:
        """Send one random order."""
        state = STATES[TradingState(self.state(symbol))]
        if state.refusal is not None:
            return
        unit = self.unit(symbol)
        quantity = unit * self.random_size(self.size)
        is_buy = self.dice.random() < 0.5 - 0.5 * self.fullness(symbol, self.limit)
        if is_buy and self.free_cash < 2 * quantity * self.last(symbol):
            is_buy = False
        if not is_buy and self.sellable(symbol) < quantity:
            return
        act = self.buy if is_buy else self.sell
        if self.dice.random() < self.market:
            if state.collects:
                return  # auctions reject market orders
            act(symbol, quantity)
        else:
            self.waiting.append(act(symbol, quantity, self.limit_price(symbol, is_buy)))
        self.waiting = [order for order in self.waiting if order.is_open]
        if len(self.waiting) > self.patience:
            self.cancel(self.waiting.pop(self.dice.randrange(len(self.waiting) // 2)))

    def limit_price(self, symbol: str, is_buy: bool) -> Decimal:
        """Return a random limit price, with a power-law tail of its distance from the mid price.

        Some prices are slightly through the mid price.
        """
        distance = self.width * (self.dice.paretovariate(DISTANCE_EXPONENT) - 1.2)
        distance = min(distance, 0.02)
        return self.mid(symbol) * Decimal(1 - distance if is_buy else 1 + distance)
