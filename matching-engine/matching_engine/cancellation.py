"""`CancelOrder` and `CancelAll`, and the end of open orders for any other reason than a trade."""

from matching_engine import risk
from matching_engine.account import Account
from matching_engine.book import Order
from matching_engine.context import Outcome
from matching_engine.exchange import Exchange
from matching_engine.reports import accepted, order_report, price_update, unknown_client, unknown_order
from microexchange.commands import CancelAll, CancelOrder, Command
from microexchange.enums import ExecType, OrderStatus, Side
from microexchange.refusals import Code
from microexchange.reports import Report

_BUY = Side.BUY
_CANCELED, _STATUS_CANCELED = ExecType.CANCELED, OrderStatus.CANCELED


def cancel_order(exchange: Exchange, command: CancelOrder, outcome: Outcome) -> None:
    """Apply a `CancelOrder`."""
    account = exchange.accounts.get(command.client_id)
    order = None if account is None else account.orders.get(command.order_id)
    if order is None:
        outcome.reports.append(unknown_order(command))
    else:
        cancel(exchange, order, command, outcome.reports)


def cancel_all(exchange: Exchange, command: CancelAll, outcome: Outcome) -> None:
    """Apply a `CancelAll`: cancel the client's open orders, or those of a security or side, oldest first."""
    account = exchange.accounts.get(command.client_id)
    if account is None:
        outcome.reports.append(unknown_client(command, command.client_id))
        return
    outcome.reports.append(accepted(command))
    for order_id in sorted(account.orders):
        order = account.orders[order_id]
        if command.symbol in ("", order.entry.symbol) and command.side in (None, order.entry.side):
            cancel(exchange, order, command, outcome.reports)


def cancel_orders(
    exchange: Exchange, account: Account, command: Command, reports: list[Report], code: Code, text: str
) -> None:
    """Cancel all open orders of an account for a reason, oldest first."""
    for order_id in sorted(account.orders):
        cancel(exchange, account.orders[order_id], command, reports, code, text)


def expire(exchange: Exchange, order: Order, command: Command, reports: list[Report]) -> None:
    """End an open order whose time in force is over."""
    text = "the order has expired"
    cancel(exchange, order, command, reports, Code.EXPIRED, text, ExecType.EXPIRED, OrderStatus.EXPIRED)


def cancel(
    exchange: Exchange,
    order: Order,
    command: Command,
    reports: list[Report],
    code: Code | None = None,
    text: str = "",
    exec_type: ExecType = _CANCELED,
    status: OrderStatus = _STATUS_CANCELED,
) -> None:
    """End an order that rests or waits for its trigger."""
    market, side, level = exchange.markets[order.entry.symbol], order.entry.side, order.level
    risk.release(order, order.leaves)
    exchange.drop_order(order)
    reports.append(order_report(order, command, exec_type, status, 0, code or "", text))
    if level is None:
        market.stops.remove(order)
        return
    own = market.book.bids if side is _BUY else market.book.asks
    own.remove(order)
    reports.append(price_update(market, own, level, command.timestamp))
