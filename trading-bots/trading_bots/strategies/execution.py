"""Execution algorithms: trade a large order evenly over time, in proportion to the volume, or behind a small displayed part.

TWAP and VWAP: Berkowitz, Logue and Noser, "The total cost of transactions on the NYSE" (1988). Almgren and Chriss, "Optimal
execution of portfolio transactions" (2000), give the reason for slicing. Icebergs: Esser and Mönch, "The navigation of an
iceberg" (2007).
"""

from decimal import Decimal

from trading_bots.bot import Bot, Fill, Trade, as_decimal


class Execution(Bot):
    """The common base: an order to execute, and the progress of it."""

    def __init__(self, symbol: str = "", side: str = "buy", quantity: int = 100) -> None:
        super().__init__()
        self.symbol, self.side, self.quantity = symbol, side, as_decimal(quantity, "quantity")
        self.filled = Decimal(0)
        self.notional = Decimal(0)
        self.began = 0.0

    def on_start(self) -> None:
        """Start. Without a listed symbol, use the first security."""
        self.cancel_all()
        self.began = self.now
        if self.symbol not in self.securities:
            self.symbol = min(self.securities)

    def on_fill(self, fill: Fill) -> None:
        """Add the fill to the progress."""
        self.filled += fill.quantity
        self.notional += fill.price * fill.quantity

    @property
    def mean_price(self) -> Decimal | None:
        """The average price of the fills. None before the first fill."""
        return self.notional / self.filled if self.filled else None

    def work(self, due: Decimal) -> None:
        """Trade the quantity that is due and not filled, at most one per cent away from the mid price."""
        open_quantity = sum((order.leaves_quantity for order in self.open_orders), Decimal(0))
        missing = min(due, self.quantity) - self.filled - open_quantity
        if missing >= 1 and self.state(self.symbol) == "continuous":
            sign, act = (1, self.buy) if self.side == "buy" else (-1, self.sell)
            act(self.symbol, missing, self.mid(self.symbol) * (100 + sign) / 100, time_in_force="ioc")


class Twap(Execution):
    """Executes equal parts in equal times."""

    def __init__(self, symbol: str = "", side: str = "buy", quantity: int = 100, seconds: float = 120.0) -> None:
        super().__init__(symbol, side, quantity)
        self.seconds = seconds

    def on_timer(self) -> None:
        """Trade what is due by now."""
        part = min((self.now - self.began) / self.seconds, 1.0)
        self.work((self.quantity * Decimal(part)).to_integral_value())


class Vwap(Execution):
    """Executes a fixed part of the market's volume."""

    def __init__(self, symbol: str = "", side: str = "buy", quantity: int = 100, part: float = 0.2) -> None:
        super().__init__(symbol, side, quantity)
        self.part = as_decimal(part, "part")
        self.volume = Decimal(0)

    def on_trade(self, trade: Trade) -> None:
        """Count the volume, own trades included."""
        if trade.symbol == self.symbol:
            self.volume += trade.quantity

    def on_timer(self) -> None:
        """Trade what is due by now."""
        self.work((self.volume * self.part).to_integral_value())


class IcebergSlicer(Execution):
    """Quotes at the best price with a small displayed part, and follows that price."""

    def __init__(self, symbol: str = "", side: str = "buy", quantity: int = 100, shown: int = 5) -> None:
        super().__init__(symbol, side, quantity)
        self.shown = shown

    def on_timer(self) -> None:
        """Follow the best price."""
        if self.state(self.symbol) != "continuous" or self.filled >= self.quantity:
            return
        best = self.best_bid(self.symbol) if self.side == "buy" else self.best_ask(self.symbol)
        price = self.mid(self.symbol) if best is None else best
        open_orders = list(self.open_orders)
        for order in open_orders:
            if order.price != price and not order.cancelling:
                self.cancel(order)
        if not open_orders:
            act = self.buy if self.side == "buy" else self.sell
            left = self.quantity - self.filled
            act(self.symbol, left, price, display_quantity=min(Decimal(self.shown), left))
