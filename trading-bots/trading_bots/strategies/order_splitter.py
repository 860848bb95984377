"""A trader who splits large orders: Lillo, Mike and Farmer, "Theory for long memory in supply and demand" (2005).

The length of a metaorder has a power-law tail with an exponent of 1.6. This gives the signs of market orders the long memory
of real markets, with a Hurst exponent of about 0.7.
"""

from dataclasses import dataclass

from trading_bots.strategies.trader import Trader

LENGTH_EXPONENT = 1.6
MAX_PIECES = 1000


@dataclass(slots=True)
class Metaorder:
    """A large order that is worked in pieces."""

    is_buy: bool
    pieces: int
    """The pieces that are left."""
    size: int
    """The largest piece in units."""


class OrderSplitter(Trader):
    """Works one metaorder after another in each security."""

    def __init__(self, seed: int = 0, pause: float = 1.0, rate: float = 0.1, size: int = 5, limit: int = 1000) -> None:
        """Create a trader.

        Args:
            seed: The seed of its random numbers.
            pause: The mean time between two decisions, in seconds.
            rate: The mean number of pieces a second in each security.
            size: The largest piece in units.
            limit: The largest inventory in units.
        """
        super().__init__(seed)
        self.pause = pause * (0.8 + 0.4 * self.dice.random())
        self.rate, self.size, self.limit = rate, size, limit
        self.orders: dict[str, Metaorder] = {}

    def on_start(self) -> None:
        """Cancel the orders of a previous run, and start to trade."""
        self.cancel_all()
        self.every(self.pause, self.act)

    def act(self) -> None:
        """Send a piece in some securities."""
        for symbol in self.securities:
            activity = self.current_activity(symbol)
            if self.dice.random() < self.rate * self.pause * activity and self.state(symbol) == "continuous":
                self.send_piece(symbol)

    def begin(self, symbol: str) -> Metaorder:
        """Return a new metaorder. The more the trader has bought, the more probably it is a sale."""
        is_buy = self.dice.random() < 0.5 - 0.5 * self.fullness(symbol, self.limit)
        pieces = min(int(2 * self.dice.paretovariate(LENGTH_EXPONENT)), MAX_PIECES)
        return Metaorder(is_buy, pieces, self.size)

    def send_piece(self, symbol: str) -> None:
        """Send a piece of the current metaorder.

        In part of the cases it is not larger than the quantity at the best price, as with real traders: Farmer and others,
        "What really causes large price changes?" (2004).
        """
        order = self.orders.get(symbol)
        if order is None or order.pieces <= 0:
            order = self.orders[symbol] = self.begin(symbol)
        order.pieces -= 1
        book = self.book(symbol)
        best = book.ask if order.is_buy else book.bid
        surplus, unit = self.surplus(symbol), self.unit(symbol)
        if best is None or (abs(surplus) >= self.limit * unit and (surplus > 0) == order.is_buy):
            order.pieces = 0
            return
        quantity = unit * self.random_size(order.size, 1.0)
        if self.dice.random() < 0.45:
            quantity = min(quantity, best.quantity)
        if order.is_buy and self.cash > 2 * quantity * best.price:
            self.buy(symbol, quantity, best.price, time_in_force="ioc")
        elif not order.is_buy and self.sellable(symbol) >= quantity:
            self.sell(symbol, quantity, best.price, time_in_force="ioc")
