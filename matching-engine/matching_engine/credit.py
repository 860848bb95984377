"""Credit: what a client can still spend and sell, exactly, while its orders are open.

Buying power is cash and credit less what open buys hold; sellable shares are the holding, and what the client may be short,
less what open sells offer. A buy holds, for each open lot, the lot's price and the highest fee it can cost, **rounded up for
each lot**. Whatever way the order is filled, fill by fill with each fee rounded, it then costs no more than it held.

What a client is short of a security, or can come to be by its open sells, beyond the security's own limit counts against the
account's short limit: all securities together, each lot at the reference price of its listing. That sum is exact, and only
the client's own orders and trades change it.
"""

from matching_engine.book import Order
from microexchange.enums import SelfTradePrevention

BPS = 10_000
"""Basis points in one."""


class Holding:
    """A client's shares of one security, in lots."""

    __slots__ = ("bid", "offered", "quantity")

    def __init__(self, quantity: int = 0) -> None:
        self.quantity = quantity
        """Negative where the client is short."""
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
        """Units of 1e-8; negative for what is owed."""
        self.credit_limit = credit_limit
        """Units that the client may owe."""
        self.short_limit = short_limit
        """Units that all short positions together may come to, at the reference prices of the listings."""
        self.held = 0
        """Units that open buys hold."""
        self.suspended = False
        self.self_trade_prevention = prevention
        self.holdings: dict[str, Holding] = {}
        self.orders: dict[int, Order] = {}
        """Orders that rest or wait, by id."""
        self.by_client_order_id: dict[str, int] = {}
        """Ids of those orders by the client's own name for them."""

    @property
    def buying_power(self) -> int:
        """Units that a new order may spend."""
        return self.cash - self.held + self.credit_limit

    def holding(self, symbol: str) -> Holding:
        """The client's holding of `symbol`."""
        holding = self.holdings.get(symbol)
        if holding is None:
            holding = self.holdings[symbol] = Holding()
        return holding

    def drop(self, order: Order) -> None:
        """The order has ended."""
        if self.orders.pop(order.entry.command_id, None) is not None and order.entry.client_order_id:
            del self.by_client_order_id[order.entry.client_order_id]


def hold_per_lot(price: int, tick_value: int, held_fee_bps: int) -> int:
    """Cash units that one lot of a buy at `price` ticks holds: its value and the fee, rounded up."""
    value = price * tick_value
    return value - (-value * held_fee_bps) // BPS
