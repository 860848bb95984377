"""The state of a bot, and the calls of its callbacks. Live and simulated venues use the same code. No I/O and no clock."""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from microexchange.session_views import SessionView
from trading_bots.bot import Bot, Fill, News, Order, Security, Tender, Trade

Call = Callable[..., None]
"""Calls a callback of the bot with its arguments."""
OPTIONAL_CALLBACKS = ("on_book", "on_bbo", "on_trade", "on_order")
"""Frequent callbacks. They are called only if the bot overrides them."""
MAX_OPEN_REQUESTS = 1000
"""The most requests of one bot without an answer. The next order is rejected."""
TOO_MANY_REQUESTS = f"{MAX_OPEN_REQUESTS} requests have no answer yet: send fewer at a time"


class OrderUpdate(msgspec.Struct, frozen=True, gc=False):
    """An order report, in the units of the bot."""

    order_id: str
    client_order_id: str
    symbol: str
    side: str
    exec_type: str
    status: str
    quantity: Decimal
    price: Decimal | None
    filled_quantity: Decimal
    last_quantity: Decimal
    last_price: Decimal
    fee: Decimal
    liquidity: str
    text: str


class BotState:
    """The state of a bot in one market: it applies reports and market data to the bot, and calls its callbacks."""

    def __init__(self, bot: Bot, call: Call) -> None:
        self.bot = bot
        self._call = call
        self.by_order_id: dict[str, Order] = {}
        self.overridden = {name for name in OPTIONAL_CALLBACKS if getattr(type(bot), name) is not getattr(Bot, name)}
        """The names of the `OPTIONAL_CALLBACKS` that the bot overrides."""

    def choose_symbols(self, listed: Sequence[str]) -> str:
        """Replace the bot's securities if none of them is listed: by as many listed ones, first by symbol.

        Return a message about the replacement; an empty text if there was none.
        """
        bot = self.bot
        if not bot.symbols or not listed or any(symbol in listed for symbol in bot.symbols):
            return ""
        wanted, bot.symbols = bot.symbols, tuple(sorted(listed)[: len(bot.symbols)])
        return (
            f"{type(bot).__name__}: {_symbols_text(wanted)} is not listed here. "
            f"The bot gets {_symbols_text(bot.symbols)} instead."
        )

    # --- its own orders -------------------------------------------------------------------------------------

    def add_open_order(self, order: Order) -> None:
        """Add an open order of a previous run."""
        self.bot._orders[order.client_order_id] = order
        if order.order_id is not None:
            self.by_order_id[order.order_id] = order

    def apply_update(self, update: OrderUpdate) -> None:
        """Apply an order report."""
        bot = self.bot
        order = bot._orders.get(update.client_order_id) or self.by_order_id.get(update.order_id)
        if update.exec_type == "TRADE":
            sign = 1 if update.side == "buy" else -1
            bot.cash -= sign * update.last_price * update.last_quantity + update.fee
            bot._positions[update.symbol] = bot.position(update.symbol) + sign * update.last_quantity
        if order is None:
            return
        if update.status == "REJECTED":
            self.reject_order(order, update.text)
            return
        self._update(order, update)
        if update.exec_type == "TRADE":
            self._call(
                bot.on_fill,
                Fill(
                    update.symbol, update.side, update.last_price, update.last_quantity, update.fee, order, update.liquidity
                ),
            )

    def _update(self, order: Order, update: OrderUpdate) -> None:
        if update.filled_quantity < order.filled_quantity or (not order.is_open and order.order_id is not None):
            return
        before = (order.status, order.filled_quantity, order.quantity, order.price)
        order.status, order.filled_quantity, order.reason = update.status, update.filled_quantity, update.text
        order.quantity = update.quantity
        order.price = order.price if update.price is None else update.price
        if order.order_id is None:
            order.order_id = update.order_id
            self.by_order_id[update.order_id] = order
            if order.cancelling and order.is_open:
                self.bot._require_venue().send_cancel(order)
        if (order.status, order.filled_quantity, order.quantity, order.price) != before:
            if not order.is_open:
                self._drop(order)
            if "on_order" in self.overridden:
                self._call(self.bot.on_order, order)

    def reject_order(self, order: Order, reason: str) -> None:
        """End a new order that the exchange or the SDK has refused."""
        order.status, order.reason = "REJECTED", reason
        self._drop(order)
        self._call(self.bot.on_reject, order)

    def _drop(self, order: Order) -> None:
        """Drop an order that has ended, so that the memory of a bot does not grow."""
        self.bot._orders.pop(order.client_order_id, None)
        if order.order_id is not None:
            self.by_order_id.pop(order.order_id, None)

    # --- the market -----------------------------------------------------------------------------------------

    def notify_book(self, symbol: str, bbo_changed: bool) -> None:
        """Call the callbacks for a change of a book. `bbo_changed` states whether its best bid or offer changed too."""
        if "on_book" in self.overridden:
            self._call(self.bot.on_book, symbol)
        if bbo_changed and "on_bbo" in self.overridden:
            self._call(self.bot.on_bbo, symbol)

    def notify_trade(self, trade: Trade) -> None:
        """Call the callback for a trade in the market."""
        if "on_trade" in self.overridden:
            self._call(self.bot.on_trade, trade)

    def notify_state(self, symbol: str, state: str) -> None:
        """Call the callback for a new trading state."""
        self._call(self.bot.on_state, symbol, state)

    def notify_session(self, session: SessionView) -> None:
        """Store the session, and call `on_session` if its state or its round has changed."""
        before, self.bot.session = self.bot.session, session
        if before is None or (before.session_id, before.round, before.state) != (
            session.session_id,
            session.round,
            session.state,
        ):
            self._call(self.bot.on_session, session)

    def notify_news(self, news: News) -> None:
        """Call `on_news`."""
        self._call(self.bot.on_news, news)

    def notify_tender(self, tender: Tender) -> None:
        """Call `on_tender`."""
        self._call(self.bot.on_tender, tender)

    def start(self) -> None:
        """Call `on_start`, and start the timer."""
        bot = self.bot
        self._call(bot.on_start)
        if type(bot).on_timer is not Bot.on_timer:
            bot.every(bot.timer, bot.on_timer)


def change_book(security: Security, changes: Iterable[tuple[str, Decimal, Decimal]]) -> bool:
    """Apply changes (side, price, quantity) to a book. Return whether the best bid or offer, or its quantity, changed."""
    book, changed = security.book, False
    for side, price, quantity in changes:
        levels = book.bids if side == "buy" else book.asks
        best = levels.best
        levels.put(price, quantity)
        changed = changed or price == best or levels.best != best
    return changed


def _symbols_text(symbols: Sequence[str]) -> str:
    return ", ".join(symbols[:5]) + (f" and {len(symbols) - 5} more" if len(symbols) > 5 else "")


def order_fields(order: Order) -> dict[str, Any]:
    """Return a new order as the exchange's JSON."""
    fields: dict[str, Any] = {
        "symbol": order.symbol,
        "side": order.side,
        "order_type": order.order_type,
        "time_in_force": order.time_in_force,
        "post_only": order.post_only,
        "quantity": f"{order.quantity:f}",
        "client_order_id": order.client_order_id,
    }
    for name in ("price", "trigger_price", "display_quantity"):
        amount = getattr(order, name)
        if amount is not None:
            fields[name] = f"{amount:f}"
    return fields


def amend_fields(quantity: Decimal | None, price: Decimal | None) -> dict[str, str]:
    """Return a change of an order as the exchange's JSON."""
    amounts = {"quantity": quantity, "price": price}
    return {name: f"{amount:f}" for name, amount in amounts.items() if amount is not None}


def order_from_json(fields: dict[str, Any]) -> Order:
    """Return an order from the JSON of the exchange's REST interface."""

    def amount(name: str) -> Decimal | None:
        return None if fields[name] is None else Decimal(fields[name])

    return Order(
        fields["client_order_id"] or fields["order_id"],
        fields["symbol"],
        fields["side"],
        Decimal(fields["quantity"]),
        amount("price"),
        fields["order_type"],
        fields["time_in_force"],
        fields["post_only"],
        amount("display_quantity"),
        amount("trigger_price"),
        fields["order_id"],
        fields["status"],
        Decimal(fields["filled_quantity"]),
    )
