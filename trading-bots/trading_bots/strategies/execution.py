"""Ways to trade a large order: evenly over time, along with the market's volume, or behind a small part that shows.

TWAP and VWAP: Berkowitz, Logue and Noser, "The total cost of transactions on the NYSE" (1988), and Almgren and Chriss,
"Optimal execution of portfolio transactions" (2000), for why to slice at all. Icebergs: Esser and Mönch, "The navigation of
an iceberg" (2007).
"""

from decimal import Decimal

from trading_bots.bot import Bot, Fill, Trade


class Execution(Bot):
    """What the three have in common: an order to work, and how much of it is done."""

    def __init__(self, symbol: str = "", side: str = "buy", quantity: int = 100) -> None:
        super().__init__()
        self.symbol, self.side, self.quantity = symbol, side, Decimal(quantity)
        self.done = Decimal(0)
        self.paid = Decimal(0)
        self.began = 0.0

    def on_start(self) -> None:
        """Begins; without a symbol, with the first security."""
        self.cancel_all()
        self.began = self.now
        if self.symbol not in self.securities:
            self.symbol = min(self.securities)

    def on_fill(self, fill: Fill) -> None:
        """Counts what is done."""
        self.done += fill.quantity
        self.paid += fill.price * fill.quantity

    @property
    def mean_price(self) -> Decimal | None:
        """What it has paid, or got, on average."""
        return self.paid / self.done if self.done else None

    def work(self, due: Decimal) -> None:
        """Takes from the market what is due and not done, within one per cent of the middle."""
        under_way = sum((order.leaves_quantity for order in self.open_orders), Decimal(0))
        missing = min(due, self.quantity) - self.done - under_way
        if missing >= 1 and self.state(self.symbol) == "continuous":
            sign, act = (1, self.buy) if self.side == "buy" else (-1, self.sell)
            act(self.symbol, missing, self.mid(self.symbol) * (100 + sign) / 100, time_in_force="ioc")


class Twap(Execution):
    """Equal parts in equal times."""

    def __init__(self, symbol: str = "", side: str = "buy", quantity: int = 100, seconds: float = 120.0) -> None:
        super().__init__(symbol, side, quantity)
        self.seconds = seconds

    def on_timer(self) -> None:
        """What should be done by now."""
        part = min((self.now - self.began) / self.seconds, 1.0)
        self.work((self.quantity * Decimal(part)).to_integral_value())


class Vwap(Execution):
    """A fixed part of what the market trades."""

    def __init__(self, symbol: str = "", side: str = "buy", quantity: int = 100, part: float = 0.2) -> None:
        super().__init__(symbol, side, quantity)
        self.part = Decimal(str(part))
        self.volume = Decimal(0)

    def on_trade(self, trade: Trade) -> None:
        """Counts the volume, its own with it."""
        if trade.symbol == self.symbol:
            self.volume += trade.quantity

    def on_timer(self) -> None:
        """What should be done by now."""
        self.work((self.volume * self.part).to_integral_value())


class IcebergSlicer(Execution):
    """Stands at the best price with a small part of its order showing, and moves along with it."""

    def __init__(self, symbol: str = "", side: str = "buy", quantity: int = 100, shown: int = 5) -> None:
        super().__init__(symbol, side, quantity)
        self.shown = shown

    def on_timer(self) -> None:
        """Follows the best price."""
        if self.state(self.symbol) != "continuous" or self.done >= self.quantity:
            return
        best = self.best_bid(self.symbol) if self.side == "buy" else self.best_ask(self.symbol)
        price = self.mid(self.symbol) if best is None else best
        standing = list(self.open_orders)
        for order in standing:
            if order.price != price and not order.cancelling:
                self.cancel(order)
        if not standing:
            act = self.buy if self.side == "buy" else self.sell
            left = self.quantity - self.done
            act(self.symbol, left, price, display_quantity=min(Decimal(self.shown), left))
