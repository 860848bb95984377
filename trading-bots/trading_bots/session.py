"""How news change what a bot knows, and which of its callbacks hear of them. A fold, the same live and in simulation: it has
no I/O and no clock."""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from trading_bots.bot import Bot, Fill, Order, Security, Trade

Call = Callable[..., None]
"""Calls a callback of the bot with its arguments."""
SILENT = ("on_book", "on_bbo", "on_trade", "on_order")
"""Callbacks that a bot need not have: they are called only where it does."""
MAX_WAITING = 1000
"""Requests of one bot that may wait for their answers. One order more is refused."""
TOO_MANY = f"{MAX_WAITING} requests wait for their answers already: send fewer at a time"


class News(msgspec.Struct, frozen=True, gc=False):
    """What an order report says, in the bot's own numbers."""

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


class Session:
    """A bot on one account in one market."""

    def __init__(self, bot: Bot, call: Call) -> None:
        self.bot = bot
        self._call = call
        self.by_order_id: dict[str, Order] = {}
        self.hears = {name for name in SILENT if getattr(type(bot), name) is not getattr(Bot, name)}
        """Which of the callbacks that are often called the bot has."""

    def choose(self, listed: Sequence[str]) -> str:
        """Gives a bot whose securities are all unlisted as many that are, first by symbol. Returns a line for who runs the
        bot, or nothing where its own are listed."""
        bot = self.bot
        if not bot.symbols or not listed or any(symbol in listed for symbol in bot.symbols):
            return ""
        wanted, bot.symbols = bot.symbols, tuple(sorted(listed)[: len(bot.symbols)])
        return f"{type(bot).__name__}: {_some(wanted)} is not listed here. The bot gets {_some(bot.symbols)} instead."

    # --- its own orders -------------------------------------------------------------------------------------

    def adopt(self, order: Order) -> None:
        """An order of an earlier life of the bot, which still stands in the book."""
        self.bot._orders[order.client_order_id] = order
        if order.order_id is not None:
            self.by_order_id[order.order_id] = order

    def heard(self, news: News) -> None:
        """An order report."""
        bot = self.bot
        order = bot._orders.get(news.client_order_id) or self.by_order_id.get(news.order_id)
        if news.exec_type == "TRADE":
            sign = 1 if news.side == "buy" else -1
            bot.cash -= sign * news.last_price * news.last_quantity + news.fee
            bot._positions[news.symbol] = bot.position(news.symbol) + sign * news.last_quantity
        if order is None:
            return
        if news.status == "REJECTED":
            self.refused(order, news.text)
            return
        self._update(order, news)
        if news.exec_type == "TRADE":
            self._call(
                bot.on_fill,
                Fill(news.symbol, news.side, news.last_price, news.last_quantity, news.fee, order, news.liquidity),
            )

    def _update(self, order: Order, news: News) -> None:
        if news.filled_quantity < order.filled_quantity or (not order.is_open and order.order_id is not None):
            return
        before = (order.status, order.filled_quantity, order.quantity, order.price)
        order.status, order.filled_quantity, order.reason = news.status, news.filled_quantity, news.text
        order.quantity = news.quantity
        order.price = order.price if news.price is None else news.price
        if order.order_id is None:
            order.order_id = news.order_id
            self.by_order_id[news.order_id] = order
            if order.cancelling and order.is_open:
                self.bot._reach().send_cancel(order)
        if (order.status, order.filled_quantity, order.quantity, order.price) != before:
            if not order.is_open:
                self._ended(order)
            if "on_order" in self.hears:
                self._call(self.bot.on_order, order)

    def refused(self, order: Order, reason: str) -> None:
        """The exchange, or something on the way, has refused a new order."""
        order.status, order.reason = "REJECTED", reason
        self._ended(order)
        self._call(self.bot.on_reject, order)

    def _ended(self, order: Order) -> None:
        """An order that has ended is forgotten, so that a bot that runs for days does not grow."""
        self.bot._orders.pop(order.client_order_id, None)
        if order.order_id is not None:
            self.by_order_id.pop(order.order_id, None)

    # --- the market -----------------------------------------------------------------------------------------

    def told(self, symbol: str, bbo_changed: bool) -> None:
        """A book has changed; `bbo_changed`: the best of it too."""
        if "on_book" in self.hears:
            self._call(self.bot.on_book, symbol)
        if bbo_changed and "on_bbo" in self.hears:
            self._call(self.bot.on_bbo, symbol)

    def traded(self, trade: Trade) -> None:
        """Somebody has traded."""
        if "on_trade" in self.hears:
            self._call(self.bot.on_trade, trade)

    def state_changed(self, symbol: str, state: str) -> None:
        """A market is in another state."""
        self._call(self.bot.on_state, symbol, state)

    def start(self) -> None:
        """Everything is there: the bot begins."""
        bot = self.bot
        self._call(bot.on_start)
        if type(bot).on_timer is not Bot.on_timer:
            bot.every(bot.timer, bot.on_timer)


def change_book(security: Security, changes: Iterable[tuple[str, Decimal, Decimal]]) -> bool:
    """Takes (side, price, quantity) in; whether the best bid or offer, or what there is of it, is another now."""
    book, changed = security.book, False
    for side, price, quantity in changes:
        levels = book.bids if side == "buy" else book.asks
        best = levels.best
        levels.put(price, quantity)
        changed = changed or price == best or levels.best != best
    return changed


def _some(symbols: Sequence[str]) -> str:
    return ", ".join(symbols[:5]) + (f" and {len(symbols) - 5} more" if len(symbols) > 5 else "")


def order_fields(order: Order) -> dict[str, Any]:
    """A new order as the exchange's JSON has it."""
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
    """A change of an order as the exchange's JSON has it."""
    amounts = {"quantity": quantity, "price": price}
    return {name: f"{amount:f}" for name, amount in amounts.items() if amount is not None}


def order_of(told: dict[str, Any]) -> Order:
    """An order from what the exchange's REST interface says of it."""

    def amount(name: str) -> Decimal | None:
        return None if told[name] is None else Decimal(told[name])

    return Order(
        told["client_order_id"] or told["order_id"],
        told["symbol"],
        told["side"],
        Decimal(told["quantity"]),
        amount("price"),
        told["order_type"],
        told["time_in_force"],
        told["post_only"],
        amount("display_quantity"),
        amount("trigger_price"),
        told["order_id"],
        told["status"],
        Decimal(told["filled_quantity"]),
    )
