"""A trader that knows what a security is worth: Glosten and Milgrom, "Bid, ask and transaction prices in a specialist market
with heterogeneously informed traders" (1985); Kyle, "Continuous auctions and insider trading" (1985).

It buys below the value and sells above it, in small orders that hide its information. With a `depth` it acts as a
fundamentalist of limited means (Chiarella and Iori, "A simulation analysis of the microstructure of double auction
markets", 2002): the inventory that it wants grows with the square of the mispricing, so that a large order moves the price
with the square root of its size (Donier, Bonart, Mastromatteo and Bouchaud, "A fully consistent, minimal model for
non-linear market impact", 2015). In a season, the organiser sets the values. Elsewhere, it takes the first price as the
value.
"""

from collections.abc import Callable
from decimal import Decimal

from trading_bots.strategies.trader import Trader


class InformedTrader(Trader):
    """Trades towards the fundamental value."""

    value: Callable[[str, float], Decimal] | None = None
    """The value of a security at a time, set by the organiser of the market."""

    def __init__(
        self, seed: int = 0, edge: str = "0.001", size: int = 3, pause: float = 1.0, depth: float = 0.0, limit: int = 0
    ) -> None:
        """`edge` is the relative mispricing at which it trades, `size` its largest order. With a `depth`, `size` and `limit`
        are in units, and the inventory that it wants is `depth` units times the square of the mispricing in per cent."""
        super().__init__(seed)
        self.edge, self.size, self.pause = Decimal(edge), size, pause
        self.depth, self.limit = depth, limit
        self.first: dict[str, Decimal] = {}

    def on_start(self) -> None:
        """Begins to look at prices."""
        self.cancel_all()
        self.every(self.pause * (0.5 + self.dice.random()), self.act)

    def worth(self, symbol: str) -> Decimal:
        """What the security is worth, as far as the trader knows."""
        if self.value is None:
            return self.first.setdefault(symbol, self.last(symbol))
        return self.value(symbol, self.now)

    def act(self) -> None:
        """Takes what is mispriced: in one security, or, as a fundamentalist, in each."""
        symbols = self.securities if self.depth else [self.dice.choice(sorted(self.securities))]
        for symbol in symbols:
            if self.state(symbol) == "continuous":
                self.trade(symbol)

    def trade(self, symbol: str) -> None:
        """Takes what is mispriced in a security."""
        worth, bid, ask = self.worth(symbol), self.best_bid(symbol), self.best_ask(symbol)
        surplus = self.surplus(symbol)
        if ask is not None and ask < worth * (1 - (self.edge if surplus >= 0 else 0)):
            quantity = self.wanted(symbol, float(1 - ask / worth), surplus)
            if quantity > 0 and self.cash > quantity * ask:
                self.buy(symbol, quantity, ask, time_in_force="ioc")
        elif bid is not None and bid > worth * (1 + (self.edge if surplus <= 0 else 0)):
            quantity = min(self.wanted(symbol, float(bid / worth - 1), -surplus), self.sellable(symbol))
            if quantity > 0:
                self.sell(symbol, quantity, bid, time_in_force="ioc")

    def wanted(self, symbol: str, mispricing: float, surplus: Decimal) -> Decimal:
        """The quantity to trade now. `surplus` is what it has traded in this direction already."""
        if not self.depth:
            return Decimal(self.size)
        lots = self.unit(symbol)
        target = Decimal(min(self.depth * (100 * mispricing) ** 2, self.limit)) * lots
        return min(target - surplus, lots * self.random_size(self.size, 1.0))
