"""A client's account: cash, shares, and open orders. `risk` changes what the orders reserve."""

from matching_engine.book import Order
from microexchange.enums import SelfTradePrevention


class Holding:
    """A client's shares of one security, in lots."""

    __slots__ = ("bid", "offered", "quantity")

    def __init__(self, quantity: int = 0) -> None:
        self.quantity = quantity
        """Negative if the client is short."""
        self.offered = 0
        """Lots that open sells offer."""
        self.bid = 0
        """Lots that open buys bid for."""


class Account:
    """A client's cash, shares and open orders."""

    __slots__ = (
        "by_client_order_id",
        "cash",
        "client_id",
        "credit_limit",
        "held",
        "holdings",
        "opened_with",
        "orders",
        "self_trade_prevention",
        "short_limit",
        "suspended",
    )

    def __init__(
        self,
        client_id: str,
        cash: int,
        prevention: SelfTradePrevention = SelfTradePrevention.CANCEL_NEWEST,
        credit_limit: int = 0,
        short_limit: int = 0,
    ) -> None:
        self.client_id = client_id
        self.cash = cash
        """Units of 1e-8. Negative if the client owes cash."""
        self.credit_limit = credit_limit
        """Cash units that the client may owe."""
        self.short_limit = short_limit
        """The greatest value of all short positions together, in cash units at the reference prices of the listings."""
        self.held = 0
        """Cash units that open buys hold."""
        self.suspended = False
        self.opened_with: tuple[int, dict[str, int]] | None = None
        """The opening balance of a house account, in cash units and in lots by symbol; None for clients."""
        self.self_trade_prevention = prevention
        self.holdings: dict[str, Holding] = {}
        self.orders: dict[int, Order] = {}
        """Resting orders and orders that wait for a trigger, by id."""
        self.by_client_order_id: dict[str, int] = {}
        """The ids of these orders by client order id."""

    @property
    def buying_power(self) -> int:
        """The cash units that a new order may cost."""
        return self.cash - self.held + self.credit_limit

    def holding(self, symbol: str) -> Holding:
        """Return the client's holding of `symbol`. Make it if there is none."""
        holding = self.holdings.get(symbol)
        if holding is None:
            holding = self.holdings[symbol] = Holding()
        return holding
