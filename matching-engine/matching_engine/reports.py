"""The reports that the engine makes from the state of orders, books and markets."""

import msgspec

from matching_engine.account import Account
from matching_engine.book import BookSide, Level, Order
from matching_engine.limits import MAX_INT
from matching_engine.market import SecurityMarket
from microexchange.commands import CancelOrder, Command, NewOrder, ReplaceOrder
from microexchange.enums import ExecType, Liquidity, OrderStatus
from microexchange.refusals import Code
from microexchange.reports import (
    CommandAccepted,
    CommandRejected,
    OrderRepeated,
    OrderReport,
    PriceUpdate,
    Report,
    Trade,
    TradingStateChanged,
)

_TRADE, _REJECTED, _CANCELED = ExecType.TRADE, ExecType.REJECTED, ExecType.CANCELED
_MAKER, _TAKER, _NONE = Liquidity.MAKER, Liquidity.TAKER, Liquidity.NONE
_STATUS_NEW, _STATUS_PARTIAL, _STATUS_FILLED = OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED


# --- commands -----------------------------------------------------------------------------------------------------


def accepted(command: Command) -> CommandAccepted:
    """Return the report that a command of an administrator was accepted."""
    return CommandAccepted(command.command_id, command.timestamp)


def rejected(command: Command, client_id: str, code: Code, text: str, order_id: int = 0) -> CommandRejected:
    """Return the report that a command was refused."""
    return CommandRejected(command.command_id, command.timestamp, client_id, code, text, order_id)


def unknown_symbol(command: Command, symbol: str) -> CommandRejected:
    """Return the refusal of a command for a security that is not listed."""
    return rejected(command, "", Code.UNKNOWN_SYMBOL, f"{symbol} is not listed")


def unknown_client(command: Command, client_id: str) -> CommandRejected:
    """Return the refusal of a command for a client without an account."""
    return rejected(command, client_id, Code.UNKNOWN_CLIENT, f"{client_id} has no account")


def unknown_order(command: CancelOrder | ReplaceOrder) -> CommandRejected:
    """Return the refusal of a command for an order that is not open."""
    text = "the client has no open order with this id"
    return rejected(command, command.client_id, Code.UNKNOWN_ORDER, text, command.order_id)


# --- markets ------------------------------------------------------------------------------------------------------


def state_changed(market: SecurityMarket, command: Command, reason: str) -> TradingStateChanged:
    """Return the report of the state that a market has entered."""
    return TradingStateChanged(market.symbol, command.timestamp, market.state, market.ends_at, reason)


def price_update(market: SecurityMarket, side: BookSide, level: Level, timestamp: int) -> PriceUpdate:
    """Return the report of a level after a change: zeros if it is empty. Count it in the book's sequence."""
    market.book_sequence = sequence = market.book_sequence + 1
    return PriceUpdate(market.symbol, sequence, timestamp, side.side, level.price, level.quantity, level.count)


# --- orders -------------------------------------------------------------------------------------------------------


def open_status(order: Order) -> OrderStatus:
    """Return the status of an open order."""
    return _STATUS_NEW if order.leaves == order.quantity else _STATUS_PARTIAL


def order_report(
    order: Order,
    command: Command,
    exec_type: ExecType,
    status: OrderStatus,
    leaves: int,
    code: str = "",
    text: str = "",
) -> OrderReport:
    """Return the report of an order after anything but a fill. `trade_reports` makes those of fills."""
    entry = order.entry
    return OrderReport(
        entry.command_id,
        command.command_id,
        command.timestamp,
        entry.client_id,
        entry.client_order_id,
        entry.symbol,
        entry.side,
        entry.order_type,
        order.quantity,
        order.price,
        exec_type,
        status,
        leaves,
        order.quantity - order.leaves,
        order.notional,
        0,
        0,
        0,
        0,
        _NONE,
        code,
        text,
        entry.time_in_force,
        entry.expire_at,
        order.trigger_price,
        entry.post_only,
        entry.display_quantity,
    )


def canceled(order: Order, command: Command, code: Code, text: str) -> OrderReport:
    """Return the report that the exchange has cancelled an order."""
    return order_report(order, command, _CANCELED, OrderStatus.CANCELED, 0, code, text)


def rejected_order(command: NewOrder, code: Code, text: str) -> OrderReport:
    """Return the report of a refused order. Numbers beyond the range of a report become the nearest in the range."""
    numbers = {}
    for name in ("quantity", "price", "trigger_price", "expire_at", "display_quantity"):
        number = getattr(command, name)
        if number is not None and abs(number) > MAX_INT:
            numbers[name] = MAX_INT if number > 0 else -MAX_INT
    entry = msgspec.structs.replace(command, **numbers) if numbers else command
    order = Order(entry, Account(command.client_id, 0))
    return order_report(order, command, _REJECTED, OrderStatus.REJECTED, 0, code, text)


def repeated_order(command: NewOrder, first_id: int) -> list[Report]:
    """Return the reports of an order that repeats the first order of its client order id. The order itself is rejected."""
    name, text = command.client_order_id, f"the order repeats order {first_id}, which has this client_order_id"
    return [
        rejected_order(command, Code.DUPLICATE_CLIENT_ORDER_ID, text),
        OrderRepeated(command.command_id, command.timestamp, command.client_id, name, first_id),
    ]


def other_order(command: NewOrder, first_id: int) -> list[Report]:
    """Return the reports of an order whose client order id belongs to an order with other terms."""
    text = f"{command.client_order_id} is the client_order_id of order {first_id}, which has other terms: send a new one"
    return [rejected_order(command, Code.DUPLICATE_CLIENT_ORDER_ID, text)]


def trade_reports(
    reports: list[Report], trade: Trade, command_id: int, maker: Order, taker: Order, taker_price: int
) -> None:
    """Append the reports of a trade: the trade, the maker's fill at its price, and the taker's fill at `taker_price`."""
    trade_id, timestamp, quantity = trade.trade_id, trade.timestamp, trade.quantity
    maker_entry, taker_entry = maker.entry, taker.entry
    of_maker = OrderReport(
        maker_entry.command_id,
        command_id,
        timestamp,
        maker_entry.client_id,
        maker_entry.client_order_id,
        maker_entry.symbol,
        maker_entry.side,
        maker_entry.order_type,
        maker.quantity,
        maker.price,
        _TRADE,
        _STATUS_PARTIAL if maker.leaves else _STATUS_FILLED,
        maker.leaves,
        maker.quantity - maker.leaves,
        maker.notional,
        quantity,
        trade.price,
        trade.maker_fee,
        trade_id,
        _MAKER,
        "",
        "",
        maker_entry.time_in_force,
        maker_entry.expire_at,
        maker.trigger_price,
        maker_entry.post_only,
        maker_entry.display_quantity,
    )
    of_taker = OrderReport(
        taker_entry.command_id,
        command_id,
        timestamp,
        taker_entry.client_id,
        taker_entry.client_order_id,
        taker_entry.symbol,
        taker_entry.side,
        taker_entry.order_type,
        taker.quantity,
        taker.price,
        _TRADE,
        _STATUS_PARTIAL if taker.leaves else _STATUS_FILLED,
        taker.leaves,
        taker.quantity - taker.leaves,
        taker.notional,
        quantity,
        taker_price,
        trade.taker_fee,
        trade_id,
        _TAKER,
        "",
        "",
        taker_entry.time_in_force,
        taker_entry.expire_at,
        taker.trigger_price,
        taker_entry.post_only,
        taker_entry.display_quantity,
    )
    reports += (trade, of_maker, of_taker)
