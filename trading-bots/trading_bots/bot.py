"""What a bot is: callbacks that the market calls, actions, and state that is kept for it. No JSON, no sockets.

All prices, quantities and cash are exact `Decimal`s. Arithmetic with whole numbers works as usual; a price that goes into
`buy` or `sell` may also be a float or text, and is rounded to the security's tick, away from the market.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, NamedTuple, Protocol

import msgspec

from microexchange.enum_terms import Trigger, order_type_of
from microexchange.enums import OrderStatus

Number = Decimal | int | float | str
NOTHING = Decimal(0)
_OPEN = frozenset(status.value for status in OrderStatus if not status.is_final)
_PLAIN = {has_price: order_type_of(has_price).value for has_price in (False, True)}
_STOPS = {has_price: order_type_of(has_price, Trigger.STOP).value for has_price in (False, True)}
"""The order types that `buy` and `sell` send, without a limit and with one."""
LEAST_PAUSE = 0.001
"""Seconds between two calls of a timer, at the least."""


class Level(NamedTuple):
    """A price of a book, and how much stands at it."""

    price: Decimal
    quantity: Decimal


class Levels:
    """One side of a book."""

    __slots__ = ("_by_price", "_is_bid", "best")

    def __init__(self, is_bid: bool, by_price: dict[Decimal, Decimal] | None = None) -> None:
        self._is_bid = is_bid
        self._by_price = by_price or {}
        self.best = self._find_best()
        """The best price; None where nobody quotes."""

    def _find_best(self) -> Decimal | None:
        return (max if self._is_bid else min)(self._by_price, default=None)

    def __len__(self) -> int:
        return len(self._by_price)

    def put(self, price: Decimal, quantity: Decimal) -> None:
        """Sets how much stands at a price; 0 for nothing."""
        best, by_price = self.best, self._by_price
        if quantity:
            by_price[price] = quantity
            if best is None or (price > best if self._is_bid else price < best):
                self.best = price
        else:
            by_price.pop(price, None)
            if price == best:
                self.best = self._find_best()

    def quantity(self, price: Decimal) -> Decimal:
        """How much stands at a price."""
        return self._by_price.get(price, NOTHING)

    def top(self, count: int = 10) -> list[Level]:
        """The best levels, the best first."""
        prices = sorted(self._by_price, reverse=self._is_bid)[:count]
        return [Level(price, self._by_price[price]) for price in prices]


class Book:
    """A book by price, as it stands."""

    __slots__ = ("asks", "bids", "sequence")

    def __init__(self) -> None:
        self.bids, self.asks = Levels(True), Levels(False)
        self.sequence = 0
        """Grows with each change."""

    @property
    def bid(self) -> Level | None:
        """The highest bid."""
        best = self.bids.best
        return None if best is None else Level(best, self.bids.quantity(best))

    @property
    def ask(self) -> Level | None:
        """The lowest offer."""
        best = self.asks.best
        return None if best is None else Level(best, self.asks.quantity(best))


@dataclass(slots=True)
class Security:
    """What a bot knows of a security."""

    symbol: str
    tick: Decimal
    lot: Decimal
    last: Decimal
    """Price of the last trade; the reference price before the first."""
    state: str = "continuous"
    """As the exchange calls it: continuous, halted, opening_auction …"""
    book: Book = field(default_factory=Book)


class Trade(msgspec.Struct, frozen=True, gc=False):
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
    order_type: str = "limit"
    time_in_force: str = "gtc"
    post_only: bool = False
    display_quantity: Decimal | None = None
    trigger_price: Decimal | None = None
    order_id: str | None = None
    """None until the exchange has answered."""
    status: str = "PENDING_NEW"
    filled_quantity: Decimal = NOTHING
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
        return self.status in _OPEN


class Fill(msgspec.Struct, frozen=True, gc=False):
    """A trade of the bot's own."""

    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    order: Order
    liquidity: str = ""
    """`maker` or `taker`."""


class Venue(Protocol):
    """Where a bot's requests go: the live exchange, or a simulated one."""

    def send_order(self, order: Order) -> None:
        """Sends a new order."""
        ...

    def send_cancel(self, order: Order) -> None:
        """Asks to cancel an order."""
        ...

    def send_amend(self, order: Order, quantity: Decimal | None, price: Decimal | None) -> None:
        """Asks to change an order."""
        ...

    def start_timer(self, seconds: float, function: Callable[[], Any]) -> None:
        """Calls a function again and again."""
        ...

    def now(self) -> float:
        """The time, in seconds of Unix time."""
        ...


class Bot:
    """Derive from it, and write the callbacks you need; each may be plain or `async`."""

    symbols: tuple[str, ...] = ()
    """The securities that the bot wants to hear of; none means all."""
    timer: float = 1.0
    """Seconds between two calls of `on_timer`."""

    def __init__(self) -> None:
        self.client_id = ""
        self.cash = NOTHING
        self.securities: dict[str, Security] = {}
        """What it hears of."""
        self._listed: dict[str, Security] = {}
        """Everything that is listed: what it holds has a price, whether it wants to hear of it or not."""
        self._positions: dict[str, Decimal] = {}
        self._orders: dict[str, Order] = {}
        self._venue: Venue | None = None
        self._numbers = itertools.count(1)
        self._life = "b"
        """Begins the names of this life's orders, so that they are no earlier life's."""

    # --- callbacks ------------------------------------------------------------------------------------------

    def on_start(self) -> Any:
        """The bot is connected and its state is right."""

    def on_book(self, symbol: str) -> Any:
        """A book has changed."""

    def on_bbo(self, symbol: str) -> Any:
        """The best bid or offer has changed: its price, or how much there is."""

    def on_trade(self, trade: Trade) -> Any:
        """Somebody has traded."""

    def on_order(self, order: Order) -> Any:
        """An order of the bot's own has changed."""

    def on_fill(self, fill: Fill) -> Any:
        """The bot has traded."""

    def on_reject(self, order: Order) -> Any:
        """The exchange has refused an order; `order.reason` says why."""

    def on_timer(self) -> Any:
        """`timer` seconds have passed."""

    def on_state(self, symbol: str, state: str) -> Any:
        """A market has changed its state: a halt, an auction, continuous trading again."""

    def on_stop(self) -> Any:
        """The bot is about to end."""

    # --- actions --------------------------------------------------------------------------------------------

    def buy(self, symbol: str, quantity: Number, price: Number | None = None, **terms: Any) -> Order:
        """Sends a buy: a limit order at `price`, or a market order without one. What comes of it goes to the callbacks.

        `terms` are `time_in_force` (gtc, day, ioc, fok), `post_only`, `display_quantity` (an iceberg), and `trigger_price`,
        which makes it a stop.
        """
        return self._enter(symbol, "buy", quantity, price, ROUND_FLOOR, terms)

    def sell(self, symbol: str, quantity: Number, price: Number | None = None, **terms: Any) -> Order:
        """Sends a sell: a limit order at `price`, or a market order without one. `terms` as for `buy`."""
        return self._enter(symbol, "sell", quantity, price, ROUND_CEILING, terms)

    def _enter(
        self, symbol: str, side: str, quantity: Number, price: Number | None, rounding: str, terms: dict[str, Any]
    ) -> Order:
        security = self.securities[symbol]
        name = f"{self._life}-{next(self._numbers)}"
        kind = _PLAIN[price is not None]
        if terms:
            kind = _STOPS[price is not None] if terms.get("trigger_price") is not None else kind
            for amount in ("display_quantity", "trigger_price"):
                if terms.get(amount) is not None:
                    step = security.lot if amount == "display_quantity" else security.tick
                    terms[amount] = _decimal(terms[amount]) // step * step
        if price is not None:
            price = rounded_price(price, security.tick, rounding)
        lots = _decimal(quantity) // security.lot
        order = Order(name, symbol, side, lots * security.lot, price, kind, **terms)
        self._orders[name] = order
        self._reach().send_order(order)
        return order

    def amend(self, order: Order, quantity: Number | None = None, price: Number | None = None) -> None:
        """Asks to change an open order: its quantity in all, with what has traded, its price, or both. Less quantity keeps
        its place in the book; all else loses it. `on_order` hears the outcome."""
        security = self.securities[order.symbol]
        if order.is_open and not order.cancelling:
            rounding = ROUND_FLOOR if order.side == "buy" else ROUND_CEILING
            self._reach().send_amend(
                order,
                None if quantity is None else _decimal(quantity) // security.lot * security.lot,
                None if price is None else rounded_price(price, security.tick, rounding),
            )

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
        """Calls `function` every `seconds` from now on. Raises `ValueError` for less than a millisecond."""
        if not seconds >= LEAST_PAUSE:
            raise ValueError(f"every({seconds!r}, …): the pause must be {LEAST_PAUSE} seconds or more")
        self._reach().start_timer(seconds, function)

    def _reach(self) -> Venue:
        if self._venue is None:
            raise RuntimeError("a bot can act only while it runs: start with on_start")
        return self._venue

    # --- state ----------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """The time, in seconds of Unix time; in a simulation, its own."""
        return self._reach().now()

    def position(self, symbol: str) -> Decimal:
        """Shares that the bot holds."""
        return self._positions.get(symbol, NOTHING)

    @property
    def open_orders(self) -> Iterator[Order]:
        """The bot's open orders, oldest first."""
        return (order for order in self._orders.values() if order.is_open)

    def book(self, symbol: str) -> Book:
        """The book of a security."""
        return self.securities[symbol].book

    def best_bid(self, symbol: str) -> Decimal | None:
        """The highest price that somebody bids; None for nobody."""
        return self.securities[symbol].book.bids.best

    def best_ask(self, symbol: str) -> Decimal | None:
        """The lowest price that somebody offers at; None for nobody."""
        return self.securities[symbol].book.asks.best

    def last(self, symbol: str) -> Decimal:
        """The price of the last trade; the reference price before the first."""
        return self._listed[symbol].last

    def mid(self, symbol: str) -> Decimal:
        """The middle of the market; the last price where a side is empty, or where the sides cross as in an auction."""
        security = self.securities[symbol]
        bid, ask = security.book.bids.best, security.book.asks.best
        return security.last if bid is None or ask is None or bid > ask else (bid + ask) / 2

    def tick(self, symbol: str) -> Decimal:
        """The smallest step of a price."""
        return self.securities[symbol].tick

    def state(self, symbol: str) -> str:
        """The state of a market: continuous, halted, opening_auction …"""
        return self.securities[symbol].state

    @property
    def free_cash(self) -> Decimal:
        """Cash that no open buy of the bot's own may still need, fees apart."""
        buys = (one for one in self.open_orders if one.side == "buy")
        return self.cash - sum((one.leaves_quantity * (one.price or self.last(one.symbol)) for one in buys), NOTHING)

    @property
    def equity(self) -> Decimal:
        """Cash, and all shares at their last prices."""
        return self.cash + sum((held * self.last(symbol) for symbol, held in self._positions.items()), NOTHING)


def rounded_price(price: Number, tick: Decimal, rounding: str) -> Decimal:
    """A price in whole ticks, at least one."""
    return max((_decimal(price) / tick).to_integral_value(rounding) * tick, tick)


def _decimal(number: Number) -> Decimal:
    return number if isinstance(number, Decimal) else Decimal(str(number))
