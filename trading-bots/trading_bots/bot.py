"""What a bot is: callbacks that the market calls, actions, and state that is kept for it. No JSON, no sockets.

All prices, quantities and cash are exact `Decimal`s. Arithmetic with whole numbers works as usual; a price that goes into
`buy` or `sell` may also be a float or text, and is rounded to the security's tick, away from the market.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Protocol

Number = Decimal | int | float | str


@dataclass(slots=True)
class Security:
    """What a bot knows of a security."""

    symbol: str
    tick: Decimal
    lot: Decimal
    last: Decimal
    """Price of the last trade; the reference price before the first."""
    bids: dict[Decimal, Decimal] = field(default_factory=dict)
    """Quantity by price."""
    asks: dict[Decimal, Decimal] = field(default_factory=dict)
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade in the market."""

    symbol: str
    price: Decimal
    quantity: Decimal
    aggressor_side: str


@dataclass(slots=True)
class Order:
    """An order of the bot's own, as it stands."""

    client_order_id: str
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal | None
    order_id: str | None = None
    """None until the exchange has answered."""
    status: str = "PENDING_NEW"
    filled_quantity: Decimal = Decimal(0)
    reason: str = ""
    """Why it was rejected, or cancelled by the exchange."""
    cancelling: bool = False

    @property
    def leaves_quantity(self) -> Decimal:
        """What can still trade."""
        return self.quantity - self.filled_quantity

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status in ("PENDING_NEW", "NEW", "PARTIALLY_FILLED")


@dataclass(frozen=True, slots=True)
class Fill:
    """A trade of the bot's own."""

    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    order: Order


class Venue(Protocol):
    """Where a bot's requests go: the live exchange."""

    def send_order(self, order: Order) -> None:
        """Sends a new order."""
        ...

    def send_cancel(self, order: Order) -> None:
        """Asks to cancel an order."""
        ...

    def start_timer(self, seconds: float, function: Callable[[], Any]) -> None:
        """Calls a function again and again."""
        ...


class Bot:
    """Derive from it, and write the callbacks you need; each may be plain or `async`."""

    symbols: tuple[str, ...] = ()
    """The securities that the bot wants to hear of; none means all."""

    def __init__(self) -> None:
        self.client_id = ""
        self.cash = Decimal(0)
        self.securities: dict[str, Security] = {}
        self._positions: dict[str, Decimal] = {}
        self._orders: dict[str, Order] = {}
        self._venue: Venue | None = None
        self._names = (f"{secrets.token_hex(4)}-{number}" for number in itertools.count(1))

    # --- callbacks ------------------------------------------------------------------------------------------

    def on_start(self) -> Any:
        """The bot is connected and its state is right."""

    def on_book(self, symbol: str) -> Any:
        """A book has changed."""

    def on_trade(self, trade: Trade) -> Any:
        """Somebody has traded."""

    def on_order(self, order: Order) -> Any:
        """An order of the bot's own has changed."""

    def on_fill(self, fill: Fill) -> Any:
        """The bot has traded."""

    def on_reject(self, order: Order) -> Any:
        """The exchange has refused an order; `order.reason` says why."""

    def on_stop(self) -> Any:
        """The bot is about to end."""

    # --- actions --------------------------------------------------------------------------------------------

    def buy(self, symbol: str, quantity: Number, price: Number | None = None) -> Order:
        """Sends a buy: a limit order at `price`, or a market order without one. What comes of it goes to the callbacks."""
        return self._enter(symbol, "buy", quantity, price, ROUND_FLOOR)

    def sell(self, symbol: str, quantity: Number, price: Number | None = None) -> Order:
        """Sends a sell: a limit order at `price`, or a market order without one."""
        return self._enter(symbol, "sell", quantity, price, ROUND_CEILING)

    def _enter(self, symbol: str, side: str, quantity: Number, price: Number | None, rounding: str) -> Order:
        security = self.securities[symbol]
        if price is not None:
            price = (_decimal(price) / security.tick).to_integral_value(rounding) * security.tick
            price = max(price, security.tick)
        lots = (_decimal(quantity) / security.lot).to_integral_value(ROUND_FLOOR)
        order = Order(next(self._names), symbol, side, lots * security.lot, price)
        self._orders[order.client_order_id] = order
        self._reach().send_order(order)
        return order

    def cancel(self, order: Order) -> None:
        """Asks to cancel an open order."""
        if order.is_open and not order.cancelling:
            order.cancelling = True
            self._reach().send_cancel(order)

    def cancel_all(self, symbol: str | None = None) -> None:
        """Asks to cancel all open orders, or those of one security."""
        for order in list(self.open_orders):
            if symbol is None or order.symbol == symbol:
                self.cancel(order)

    def every(self, seconds: float, function: Callable[[], Any]) -> None:
        """Calls `function` every `seconds` from now on."""
        self._reach().start_timer(seconds, function)

    def _reach(self) -> Venue:
        if self._venue is None:
            raise RuntimeError("a bot can act only while it runs: start with on_start")
        return self._venue

    # --- state ----------------------------------------------------------------------------------------------

    def position(self, symbol: str) -> Decimal:
        """Shares that the bot holds."""
        return self._positions.get(symbol, Decimal(0))

    @property
    def open_orders(self) -> Iterator[Order]:
        """The bot's open orders, oldest first."""
        return (order for order in self._orders.values() if order.is_open)

    def best_bid(self, symbol: str) -> Decimal | None:
        """The highest price that somebody bids; None for nobody."""
        return max(self.securities[symbol].bids, default=None)

    def best_ask(self, symbol: str) -> Decimal | None:
        """The lowest price that somebody offers at; None for nobody."""
        return min(self.securities[symbol].asks, default=None)

    def last(self, symbol: str) -> Decimal:
        """The price of the last trade; the reference price before the first."""
        return self.securities[symbol].last

    def mid(self, symbol: str) -> Decimal:
        """The middle of the market; the last price where a side is empty."""
        bid, ask = self.best_bid(symbol), self.best_ask(symbol)
        return self.last(symbol) if bid is None or ask is None else (bid + ask) / 2

    def tick(self, symbol: str) -> Decimal:
        """The smallest step of a price."""
        return self.securities[symbol].tick

    @property
    def equity(self) -> Decimal:
        """Cash, and all shares at their last prices."""
        return self.cash + sum(held * self.last(symbol) for symbol, held in self._positions.items())


def _decimal(number: Number) -> Decimal:
    return number if isinstance(number, Decimal) else Decimal(str(number))
