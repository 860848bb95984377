"""A bot: a class with callbacks, actions and state.

Prices, quantities and cash are exact `Decimal`s. Arithmetic with whole numbers works as usual. A price that is passed to
`buy` or `sell` may also be a float or text. It is rounded to the security's tick, away from the market.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, NamedTuple, Protocol

import msgspec

from microexchange.enum_terms import Trigger, order_type_of
from microexchange.enums import OrderStatus
from microexchange.numbers import NotPlainError, plain_decimal
from microexchange.session_views import SessionView

Number = Decimal | int | float | str
ZERO = Decimal(0)
_OPEN = frozenset(status.value for status in OrderStatus if not status.is_final)
_ORDER_TYPES = {has_price: order_type_of(has_price).value for has_price in (False, True)}
_STOP_ORDER_TYPES = {has_price: order_type_of(has_price, Trigger.STOP).value for has_price in (False, True)}
"""The order types that `buy` and `sell` send, by whether the order has a limit price."""
MIN_INTERVAL_SECONDS = 0.001
"""The shortest interval of a timer."""


class Level(NamedTuple):
    """A price of a book, and the total quantity of its orders."""

    price: Decimal
    quantity: Decimal


class Levels:
    """One side of a book."""

    __slots__ = ("_by_price", "_is_bid", "best")

    def __init__(self, is_bid: bool, by_price: dict[Decimal, Decimal] | None = None) -> None:
        self._is_bid = is_bid
        self._by_price = by_price or {}
        self.best = self._find_best()
        """The best price. None if this side of the book is empty."""

    def _find_best(self) -> Decimal | None:
        return (max if self._is_bid else min)(self._by_price, default=None)

    def __len__(self) -> int:
        return len(self._by_price)

    def put(self, price: Decimal, quantity: Decimal) -> None:
        """Set the quantity at a price. 0 removes the level."""
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
        """Return the quantity at a price. It is 0 if there is no order."""
        return self._by_price.get(price, ZERO)

    def top(self, count: int = 10) -> list[Level]:
        """Return the `count` best levels, best first."""
        prices = sorted(self._by_price, reverse=self._is_bid)[:count]
        return [Level(price, self._by_price[price]) for price in prices]


class Book:
    """The book of a security by price."""

    __slots__ = ("asks", "bids", "sequence")

    def __init__(self) -> None:
        self.bids, self.asks = Levels(True), Levels(False)
        self.sequence = 0
        """The number of the last change."""

    @property
    def bid(self) -> Level | None:
        """The best bid. None if nobody bids."""
        best = self.bids.best
        return None if best is None else Level(best, self.bids.quantity(best))

    @property
    def ask(self) -> Level | None:
        """The best offer. None if nobody offers."""
        best = self.asks.best
        return None if best is None else Level(best, self.asks.quantity(best))


@dataclass(slots=True)
class Security:
    """The terms of a security, and the state of its market."""

    symbol: str
    tick: Decimal
    lot: Decimal
    last: Decimal
    """The price of the last trade. Before the first trade, the reference price."""
    state: str = "continuous"
    """The trading state, for example `continuous`, `halted` or `opening_auction`."""
    book: Book = field(default_factory=Book)


class Trade(msgspec.Struct, frozen=True, gc=False):
    """A trade in the market."""

    symbol: str
    price: Decimal
    quantity: Decimal
    aggressor_side: str


@dataclass(slots=True)
class Order:
    """An order of the bot. The SDK updates it with each report."""

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
    """The exchange's id of the order. None until the exchange has answered."""
    status: str = "PENDING_NEW"
    filled_quantity: Decimal = ZERO
    reason: str = ""
    """Why the exchange rejected or cancelled the order."""
    cancelling: bool = False

    @property
    def leaves_quantity(self) -> Decimal:
        """The quantity that is still open."""
        return self.quantity - self.filled_quantity

    @property
    def is_open(self) -> bool:
        """Return whether the order can still trade."""
        return self.status in _OPEN


class Fill(msgspec.Struct, frozen=True, gc=False):
    """A trade of one of the bot's orders."""

    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    order: Order
    liquidity: str = ""
    """`maker` or `taker`."""


class News(msgspec.Struct, frozen=True, gc=False):
    """News of a session of rounds that the bot may read."""

    news_id: str
    headline: str
    text: str
    private: bool
    """Whether only some clients may read it."""
    value_changes: dict[str, Decimal]
    """The changes of values that the news states, in cash for a share, by symbol."""


class Tender(msgspec.Struct, frozen=True, gc=False):
    """An offer of the exchange to trade with the bot, in a session of rounds."""

    tender_id: str
    symbol: str
    side: str
    """The side of the bot."""
    quantity: Decimal
    price: Decimal
    """The price. If the tender is an auction, it is the limit of the answers."""
    private: bool
    """Whether only some clients may answer it."""
    expires_at: datetime
    auction: bool
    """Whether the bot answers with a price, and only the best answer trades."""


class Venue(Protocol):
    """The exchange that receives a bot's requests: the live one, or a simulated one."""

    def send_order(self, order: Order) -> None:
        """Send a new order."""
        ...

    def send_cancel(self, order: Order) -> None:
        """Send a request to cancel an order."""
        ...

    def send_amend(self, order: Order, quantity: Decimal | None, price: Decimal | None) -> None:
        """Send a request to change an order. None leaves a value as it is."""
        ...

    def send_tender_answer(self, tender: Tender, accept: bool, price: Decimal | None) -> None:
        """Send the answer to a tender. `price` is None unless the tender is an auction."""
        ...

    def start_timer(self, seconds: float, function: Callable[[], Any]) -> None:
        """Call a function every `seconds` seconds, until the bot ends."""
        ...

    def now(self) -> float:
        """Return the time in seconds of Unix time."""
        ...


class Bot:
    """The base class of all bots. Override the callbacks that you need. Each may be plain or `async`.

    ```python
    class Buyer(Bot):
        symbols = ("AAPL",)

        def on_trade(self, trade: Trade) -> None:
            if self.position(trade.symbol) < 100:
                self.buy(trade.symbol, 1, trade.price)
    ```
    """

    symbols: tuple[str, ...] = ()
    """The securities that the bot follows. If it is empty, the bot follows all."""
    timer: float = 1.0
    """The interval of `on_timer` in seconds."""

    def __init__(self) -> None:
        self.client_id = ""
        self.cash = ZERO
        self.session: SessionView | None = None
        """The newest state of the session of rounds. None if no session was planned, and in a simulation."""
        self.securities: dict[str, Security] = {}
        """The securities that the bot follows, by symbol."""
        self._listed: dict[str, Security] = {}
        """All listed securities, since the bot may hold one that it does not follow."""
        self._positions: dict[str, Decimal] = {}
        self._orders: dict[str, Order] = {}
        self._venue: Venue | None = None
        self._numbers = itertools.count(1)
        self._order_prefix = "b"
        """The start of each `client_order_id`. It differs between runs, so that ids do not repeat."""

    # --- callbacks ------------------------------------------------------------------------------------------

    def on_start(self) -> Any:
        """Called once the bot is connected and its state is complete."""

    def on_book(self, symbol: str) -> Any:
        """Called after a change of a book."""

    def on_bbo(self, symbol: str) -> Any:
        """Called after a change of the best bid or offer: of its price or of its quantity."""

    def on_trade(self, trade: Trade) -> Any:
        """Called after a trade in the market, the bot's own trades included."""

    def on_order(self, order: Order) -> Any:
        """Called after a change of an order of the bot."""

    def on_fill(self, fill: Fill) -> Any:
        """Called after a trade of an order of the bot. Cash and position are already updated."""

    def on_reject(self, order: Order) -> Any:
        """Called if the exchange rejects an order. `order.reason` is the reason."""

    def on_timer(self) -> Any:
        """Called every `timer` seconds."""

    def on_state(self, symbol: str, state: str) -> Any:
        """Called after a change of a trading state: a halt, an auction, or continuous trading."""

    def on_session(self, session: SessionView) -> Any:
        """Called after a change of the session of rounds: of its state or of its round. `session` has the clock."""

    def on_news(self, news: News) -> Any:
        """Called after news of the session that the bot may read."""

    def on_tender(self, tender: Tender) -> Any:
        """Called after an offer of the exchange that the bot may answer with `answer_tender`."""

    def on_stop(self) -> Any:
        """Called before the bot ends. Requests that it sends still arrive. No callback follows."""

    # --- actions --------------------------------------------------------------------------------------------

    def buy(self, symbol: str, quantity: Number, price: Number | None = None, **terms: Any) -> Order:
        """Enter an order to buy, and return it. It does not wait: `on_order`, `on_fill` or `on_reject` gets the outcome.

        Args:
            symbol: The security.
            quantity: The quantity in shares or coins. It is rounded down to the lot.
            price: The limit price, rounded down to the tick. None for a market order.
            terms: `time_in_force` (`gtc`, `day`, `ioc` or `fok`), `post_only`, `display_quantity` for an iceberg, and
                `trigger_price` for a stop order.

        Raises:
            KeyError: The bot does not follow the security.
            RuntimeError: The bot does not run yet.
        """
        return self._enter(symbol, "buy", quantity, price, ROUND_FLOOR, terms)

    def sell(self, symbol: str, quantity: Number, price: Number | None = None, **terms: Any) -> Order:
        """Enter an order to sell, and return it. The price is rounded up to the tick. All else is as in `buy`."""
        return self._enter(symbol, "sell", quantity, price, ROUND_CEILING, terms)

    def _enter(
        self, symbol: str, side: str, quantity: Number, price: Number | None, rounding: str, terms: dict[str, Any]
    ) -> Order:
        security = self.securities[symbol]
        client_order_id = f"{self._order_prefix}-{next(self._numbers)}"
        order_type = _ORDER_TYPES[price is not None]
        if terms:
            if terms.get("trigger_price") is not None:
                order_type = _STOP_ORDER_TYPES[price is not None]
            for name in ("display_quantity", "trigger_price"):
                if terms.get(name) is not None:
                    step = security.lot if name == "display_quantity" else security.tick
                    terms[name] = as_decimal(terms[name], name) // step * step
        if price is not None:
            price = rounded_price(price, security.tick, rounding)
        lots = as_decimal(quantity, "quantity") // security.lot
        order = Order(client_order_id, symbol, side, lots * security.lot, price, order_type, **terms)
        self._orders[client_order_id] = order
        self._require_venue().send_order(order)
        return order

    def amend(self, order: Order, quantity: Number | None = None, price: Number | None = None) -> None:
        """Send a request to change an open order. `on_order` receives the outcome.

        Args:
            order: The order. If it is not open any more, nothing is sent.
            quantity: The new quantity. It includes what has already traded. A reduction keeps the order's place in the book.
            price: The new limit price. A new price loses the place in the book.
        """
        security = self.securities[order.symbol]
        if order.is_open and not order.cancelling:
            rounding = ROUND_FLOOR if order.side == "buy" else ROUND_CEILING
            self._require_venue().send_amend(
                order,
                None if quantity is None else as_decimal(quantity, "quantity") // security.lot * security.lot,
                None if price is None else rounded_price(price, security.tick, rounding),
            )

    def cancel(self, order: Order) -> None:
        """Send a request to cancel an open order. If the order is not open any more, nothing is sent."""
        if order.is_open and not order.cancelling:
            order.cancelling = True
            self._require_venue().send_cancel(order)

    def cancel_all(self, symbol: str | None = None) -> None:
        """Send requests to cancel all open orders, or those of one security."""
        for order in list(self.open_orders):
            if symbol is None or order.symbol == symbol:
                self.cancel(order)

    def answer_tender(self, tender: Tender, accept: bool = True, price: Number | None = None) -> None:
        """Accept or decline a tender. Cash and position change when the trade is settled.

        Args:
            tender: The tender. A bot can answer it once, before it expires. A refusal is printed.
            accept: False to decline.
            price: The price of an answer to an auction, rounded to the tick, away from the market.
        """
        if price is not None:
            rounding = ROUND_FLOOR if tender.side == "buy" else ROUND_CEILING
            price = rounded_price(price, self._listed[tender.symbol].tick, rounding)
        self._require_venue().send_tender_answer(tender, accept, price)

    def every(self, seconds: float, function: Callable[[], Any]) -> None:
        """Call `function` every `seconds` seconds, until the bot ends. The first call is after `seconds`.

        Raises:
            ValueError: `seconds` is less than a millisecond.
        """
        if not seconds >= MIN_INTERVAL_SECONDS:
            raise ValueError(f"every({seconds!r}, …): the interval must be {MIN_INTERVAL_SECONDS} seconds or more")
        self._require_venue().start_timer(seconds, function)

    def _require_venue(self) -> Venue:
        if self._venue is None:
            raise RuntimeError("the bot does not run yet: send requests from on_start or a later callback")
        return self._venue

    # --- state ----------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """The time in seconds of Unix time. In a simulation it is the simulated time."""
        return self._require_venue().now()

    def position(self, symbol: str) -> Decimal:
        """Return the quantity of a security that the bot holds. It is negative for a short position."""
        return self._positions.get(symbol, ZERO)

    @property
    def open_orders(self) -> Iterator[Order]:
        """The bot's open orders, oldest first."""
        return (order for order in self._orders.values() if order.is_open)

    def book(self, symbol: str) -> Book:
        """Return the book of a security."""
        return self.securities[symbol].book

    def best_bid(self, symbol: str) -> Decimal | None:
        """Return the highest bid of a security. None if nobody bids."""
        return self.securities[symbol].book.bids.best

    def best_ask(self, symbol: str) -> Decimal | None:
        """Return the lowest offer of a security. None if nobody offers."""
        return self.securities[symbol].book.asks.best

    def last(self, symbol: str) -> Decimal:
        """Return the price of the last trade. Before the first trade, return the reference price."""
        return self._listed[symbol].last

    def mid(self, symbol: str) -> Decimal:
        """Return the mean of the best bid and offer.

        If a side is empty, or the sides cross as in an auction, return the last price.
        """
        security = self.securities[symbol]
        bid, ask = security.book.bids.best, security.book.asks.best
        return security.last if bid is None or ask is None or bid > ask else (bid + ask) / 2

    def tick(self, symbol: str) -> Decimal:
        """Return the tick size of a security."""
        return self.securities[symbol].tick

    def state(self, symbol: str) -> str:
        """Return the trading state of a security, for example `continuous`, `halted` or `opening_auction`."""
        return self.securities[symbol].state

    @property
    def free_cash(self) -> Decimal:
        """Cash less what the bot's open buys may need, without fees."""
        buys = (order for order in self.open_orders if order.side == "buy")
        return self.cash - sum((buy.leaves_quantity * (buy.price or self.last(buy.symbol)) for buy in buys), ZERO)

    @property
    def equity(self) -> Decimal:
        """Cash and all holdings at their last prices."""
        return self.cash + sum((quantity * self.last(symbol) for symbol, quantity in self._positions.items()), ZERO)


def rounded_price(price: Number, tick: Decimal, rounding: str) -> Decimal:
    """Return a price in whole ticks, at least one tick."""
    return max((as_decimal(price, "price") / tick).to_integral_value(rounding) * tick, tick)


def as_decimal(number: Number, field: str) -> Decimal:
    """Return a number of a bot as a decimal. A float becomes the shortest decimal that it is nearest to.

    Raises:
        ValueError: It is text that is not a plain decimal, or it is not finite. The message names `field`.
    """
    try:
        if isinstance(number, str):
            value = plain_decimal(number)
        else:
            value = number if isinstance(number, Decimal) else Decimal(str(number))
    except NotPlainError as error:
        raise ValueError(f"{field}: {error}") from error
    if not value.is_finite():
        raise ValueError(f"{field}: {number} is not a number in range: write for example 12.50")
    return value
