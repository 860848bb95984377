"""A market maker: it always bids and offers around a price of its own, which it shifts against its inventory.

Avellaneda and Stoikov, "High-frequency trading in a limit order book" (2008): with inventory q, risk aversion g, variance
s² a second and a horizon of T seconds, the price to quote around is mid - q·g·s²·T. The two quotes are g·s²·T +
(2/g)·ln(1 + g/k) apart, where k states how quickly orders thin out with distance. Here prices are relative to the mid
price, the horizon does not shrink, and the variance is measured. For a large inventory the shift grows with its square
root: Tóth and others, "Anomalous price impact and the critical nature of liquidity in financial markets" (2011).

If the organiser of the market provides values, the market maker estimates a value late and with an error. Otherwise it
estimates the mid price from the book.
"""

import math
from collections import deque
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from trading_bots.bot import Order, rounded_price
from trading_bots.strategies.trader import Trader

MAX_STEP = Decimal("0.003")
"""The largest relative change of the estimate between two updates.

In a thin book, one absurd order moves the mid price by half. If the estimate followed at once, the market maker would trade
there, and so confirm that price.
"""
LEVEL_DISTANCES = (1.0, 2.5, 6.0)
"""The distance of each level from the fair price, in half spreads."""
LEVEL_SIZES = (1, 8, 20)
"""The size of each level, relative to the first."""


class MarketMaker(Trader):
    """Quotes every security, and amends its quotes when its price has moved."""

    value: Callable[[str, float], Decimal] | None = None
    """Returns the value of a security at a time in seconds of Unix time. The organiser of the market sets it."""

    def __init__(
        self,
        seed: int = 0,
        size: int = 2,
        target: int | None = None,
        aversion: float = 0.1,
        thinning: float = 1500.0,
        horizon: float = 20.0,
        levels: int = 1,
        pause: float = 0.5,
        delay: float = 2.0,
        error: float = 0.0001,
        limit: int = 0,
        shift: float = 0.01,
    ) -> None:
        """Create a market maker.

        Args:
            seed: The seed of its random numbers.
            size: The smallest size of a quote of the first level, in units.
            target: The inventory that it wants of each security. By default, its initial holding.
            aversion: The risk aversion g.
            thinning: The rate k at which orders thin out with distance.
            horizon: The horizon T in seconds.
            levels: The number of levels on each side.
            pause: The mean time between two updates, in seconds.
            delay: The delay of the values that it receives, in seconds.
            error: The relative error of these values.
            limit: The largest inventory in units. At the limit, one side is not quoted. 0 for no limit.
            shift: The relative shift of the price at the limit.
        """
        super().__init__(seed)
        self.pause = pause * (0.8 + 0.4 * self.dice.random())
        self.size, self.target, self.limit, self.shift = size, target, limit, shift
        self.aversion, self.thinning, self.horizon = aversion, thinning, horizon
        self.levels, self.delay, self.error = levels, delay, error
        self.quotes: dict[str, list[Order | None]] = {}
        """By security: the bid and the offer of the first level, of the second, and so on."""
        self.mid_prices: dict[str, Decimal] = {}
        """Estimates of each mid price, by security."""
        self.variances: dict[str, float] = {}
        """The variance of relative changes, a second, by security."""
        self.errors: dict[str, float] = {}
        self.seen: dict[str, deque[Decimal]] = {}
        """The last values by security, oldest first."""

    def on_start(self) -> None:
        """Cancel the orders of a previous run, and start to quote."""
        self.cancel_all()
        self.every(self.pause, self.requote)

    def requote(self) -> None:
        """Update the quotes of all securities."""
        for symbol in self.securities:
            if self.state(symbol) == "continuous":
                self.quote(symbol)

    def estimate(self, symbol: str) -> Decimal:
        """Return the estimate of the mid price."""
        previous = self.mid_prices.get(symbol)
        if self.value is not None:
            seen = self.seen.setdefault(symbol, deque(maxlen=1 + int(self.delay / self.pause)))
            seen.append(self.value(symbol, self.now))
            error = self.errors.get(symbol, 0.0) * 0.97 + self.dice.gauss(0, self.error) * 0.243
            self.errors[symbol] = error
            return seen[0] * Decimal(1 + error)
        previous = previous or self.last(symbol)
        step = previous * MAX_STEP
        return min(max(self.mid(symbol), previous - step), previous + step)

    def quote(self, symbol: str) -> None:
        """Update the quotes of a security."""
        before = self.mid_prices.get(symbol)
        mid_price = self.mid_prices[symbol] = self.estimate(symbol)
        change = float(mid_price / before) - 1 if before else 0.0
        variance = self.variances.get(symbol, 1e-8)
        variance = self.variances[symbol] = variance + (change * change / self.pause - variance) * 0.02
        risk = self.aversion * variance * self.horizon
        half = risk / 2 + math.log1p(self.aversion / self.thinning) / self.aversion + 2 * math.sqrt(variance)
        fair = float(mid_price) * (1 - self.inventory_shift(symbol, risk))
        quotes = self.quotes.setdefault(symbol, [None] * (2 * self.levels))
        for level in range(self.levels):
            distance = fair * half * LEVEL_DISTANCES[level]
            for place, price in ((2 * level, fair - distance), (2 * level + 1, fair + distance)):
                order = quotes[place]
                if order is None or not order.is_open:
                    quotes[place] = self.enter(symbol, place % 2 == 0, level, Decimal(price))
                elif abs(float(order.price or 0) - price) > distance / 2 and self.in_ticks(order, price) != order.price:
                    self.amend(order, price=price)

    def in_ticks(self, order: Order, price: float) -> Decimal:
        """Return the price that `amend` would send. If ticks are coarse, many prices round to the same."""
        return rounded_price(price, self.tick(order.symbol), ROUND_FLOOR if order.side == "buy" else ROUND_CEILING)

    def inventory_shift(self, symbol: str, risk: float) -> float:
        """Return the relative shift of the price against the inventory."""
        if self.target is not None:
            self.initial_holdings.setdefault(symbol, Decimal(self.target))
        surplus = float(self.surplus(symbol) / self.unit(symbol))
        if self.limit:
            return math.copysign(self.shift * math.sqrt(min(abs(surplus) / self.limit, 1.0)), surplus)
        return max(min(surplus * (risk + 1.5e-5), 0.02), -0.02)

    def enter(self, symbol: str, is_bid: bool, level: int, price: Decimal) -> Order | None:
        """Enter a quote, if there is cash or stock for it and the inventory is within its limit."""
        quantity = self.unit(symbol) * self.random_size(20) * self.size * LEVEL_SIZES[level]
        surplus = self.surplus(symbol)
        if self.limit and abs(surplus) >= self.limit * self.unit(symbol) and (surplus > 0) == is_bid:
            return None
        if is_bid:
            return self.buy(symbol, quantity, price) if self.free_cash > 2 * quantity * price else None
        quantity = min(quantity, self.sellable(symbol))
        return self.sell(symbol, quantity, price) if quantity > 0 else None
