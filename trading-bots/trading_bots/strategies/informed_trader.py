"""A trader who has information about the fundamental value.

Glosten and Milgrom, "Bid, ask and transaction prices in a specialist market with heterogeneously informed traders" (1985);
Kyle, "Continuous auctions and insider trading" (1985).

It buys below the value and sells above it, in small orders that hide its information. With a `depth` it acts as a
fundamentalist of limited means (Chiarella and Iori, "A simulation analysis of the microstructure of double auction
markets", 2002). Then the inventory that it wants grows with the square of the mispricing, so a large order moves the price
with the square root of its size (Donier, Bonart, Mastromatteo and Bouchaud, "A fully consistent, minimal model for
non-linear market impact", 2015). In a season, the organiser sets the values. Elsewhere, the first price is the value.
"""

from collections.abc import Callable
from decimal import Decimal

from trading_bots.bot import as_decimal
from trading_bots.strategies.trader import Trader


class InformedTrader(Trader):
    """Trades towards the fundamental value."""

    value: Callable[[str, float], Decimal] | None = None
    """Returns the value of a security at a time in seconds of Unix time. The organiser of the market sets it."""

    def __init__(
        self, seed: int = 0, edge: str = "0.001", size: int = 3, pause: float = 1.0, depth: float = 0.0, limit: int = 0
    ) -> None:
        """Create a trader.

        Args:
            seed: The seed of its random numbers.
            edge: The relative mispricing at which it trades.
            size: Its largest order, in units if there is a `depth` and in shares otherwise.
            pause: The mean time between two decisions, in seconds.
            depth: The inventory that it wants is `depth` units times the square of the mispricing in per cent.
            limit: The largest inventory in units. It applies with a `depth`.
        """
        super().__init__(seed)
        self.edge, self.size, self.pause = as_decimal(edge, "edge"), size, pause
        self.depth, self.limit = depth, limit
        self.first_prices: dict[str, Decimal] = {}

    def on_start(self) -> None:
        """Cancel the orders of a previous run, and start to trade."""
        self.cancel_all()
        self.every(self.pause * (0.5 + self.dice.random()), self.act)

    def value_of(self, symbol: str) -> Decimal:
        """Return the value of a security as far as the trader is informed."""
        if self.value is None:
            return self.first_prices.setdefault(symbol, self.last(symbol))
        return self.value(symbol, self.now)

    def act(self) -> None:
        """Trade one random security, or, with a `depth`, all of them."""
        symbols = self.securities if self.depth else [self.dice.choice(sorted(self.securities))]
        for symbol in symbols:
            if self.state(symbol) == "continuous":
                self.trade(symbol)

    def trade(self, symbol: str) -> None:
        """Trade a security if its price is wrong."""
        value, bid, ask = self.value_of(symbol), self.best_bid(symbol), self.best_ask(symbol)
        surplus = self.surplus(symbol)
        if ask is not None and ask < value * (1 - (self.edge if surplus >= 0 else 0)):
            quantity = self.wanted(symbol, float(1 - ask / value), surplus)
            if quantity > 0 and self.cash > quantity * ask:
                self.buy(symbol, quantity, ask, time_in_force="ioc")
        elif bid is not None and bid > value * (1 + (self.edge if surplus <= 0 else 0)):
            quantity = min(self.wanted(symbol, float(bid / value - 1), -surplus), self.sellable(symbol))
            if quantity > 0:
                self.sell(symbol, quantity, bid, time_in_force="ioc")

    def wanted(self, symbol: str, mispricing: float, surplus: Decimal) -> Decimal:
        """Return the quantity to trade now. `surplus` is what it has already traded in this direction."""
        if not self.depth:
            return Decimal(self.size)
        unit = self.unit(symbol)
        target = Decimal(min(self.depth * (100 * mispricing) ** 2, self.limit)) * unit
        return min(target - surplus, unit * self.random_size(self.size, 1.0))
