"""`SaveBook` and `LoadBook`: the resting orders of a security, stored under a name and entered again."""

import msgspec

from matching_engine import risk
from matching_engine.book import Order
from matching_engine.cancellation import cancel
from matching_engine.context import Matching, Outcome, Reason
from matching_engine.exchange import HOUSE_CLOSED, Exchange
from matching_engine.limits import MAX_SAVED_BOOKS
from matching_engine.market import SecurityMarket
from matching_engine.matching import uncross
from matching_engine.placement import rest
from matching_engine.reports import accepted, order_report, rejected, unknown_symbol
from matching_engine.triggers import fire
from microexchange.commands import LoadBook, NewOrder, SaveBook
from microexchange.enums import ExecType, OrderStatus, TradingState
from microexchange.refusals import Code
from microexchange.reports import BookLoaded, BookSaved, Report


def save_book(exchange: Exchange, command: SaveBook, outcome: Outcome) -> None:
    """Apply a `SaveBook`: store the open lots of all resting orders in priority."""
    market = exchange.markets.get(command.symbol)
    if market is None:
        outcome.reports.append(unknown_symbol(command, command.symbol))
        return
    key = (command.symbol, command.name)
    if key not in exchange.saved_books and len(exchange.saved_books) >= MAX_SAVED_BOOKS:
        text = f"there are {MAX_SAVED_BOOKS} saved books already"
        outcome.reports.append(rejected(command, "", Code.LIMIT_EXCEEDED, text))
        return
    replace = msgspec.structs.replace
    saved = exchange.saved_books[key] = [
        replace(order.entry, quantity=order.leaves, price=order.price, trigger_price=order.trigger_price)
        for order in market.resting_orders()
    ]
    outcome.reports.append(accepted(command))
    outcome.reports.append(BookSaved(command.command_id, command.timestamp, command.symbol, command.name, len(saved)))


def load_book(exchange: Exchange, command: LoadBook, outcome: Outcome) -> None:
    """Apply a `LoadBook`: cancel all resting orders of the security, and enter those of the saved book as new orders.

    The saved orders rest without trading. If the market is in continuous trading, the book then uncrosses: a book that was
    saved in an auction can be crossed.
    """
    market = exchange.markets.get(command.symbol)
    saved = exchange.saved_books.get((command.symbol, command.name))
    reports = outcome.reports
    if market is not None and market.state is TradingState.DELISTED:
        reports.append(rejected(command, "", Code.DELISTED, f"{command.symbol} is delisted"))
        return
    if market is None or saved is None:
        text = f"no book of {command.symbol} was saved as {command.name}"
        reports.append(rejected(command, "", Code.UNKNOWN_SAVED_BOOK, text))
        return
    reports.append(accepted(command))
    for order in market.resting_orders():
        cancel(exchange, order, command, reports, Code.BOOK_LOADED, f"the saved book {command.name} was loaded")
    orders = _enter(exchange, market, saved, command, reports)
    refused = len(saved) - orders
    reports.append(BookLoaded(command.command_id, command.timestamp, market.symbol, command.name, orders, refused))
    if market.state is TradingState.CONTINUOUS:
        uncross(Matching(exchange, market, command, outcome.instructions, reports))
        if market.stops.orders:
            fire(exchange, market, command, outcome)


def _enter(
    exchange: Exchange, market: SecurityMarket, saved: list[NewOrder], command: LoadBook, reports: list[Report]
) -> int:
    """Enter the orders of a saved book under new ids, and return how many rest."""
    entered = 0
    for entry in saved:
        order = Order(msgspec.structs.replace(entry, command_id=exchange.new_id()), exchange.accounts[entry.client_id])
        hold = risk.hold_per_lot(order, order.price, market)
        refusal = _refuse(exchange, market, order, hold)
        if refusal is not None:
            reports.append(order_report(order, command, ExecType.REJECTED, OrderStatus.REJECTED, 0, *refusal))
            continue
        risk.reserve(order, hold)
        reports.append(order_report(order, command, ExecType.NEW, OrderStatus.NEW, order.leaves))
        rest(exchange, market, order, command, reports)
        entered += 1
    return entered


def _refuse(exchange: Exchange, market: SecurityMarket, order: Order, hold: int) -> Reason | None:
    """Return why an order of a saved book cannot enter again, or None."""
    entry, account = order.entry, order.account
    if account.suspended:
        return Code.CLIENT_SUSPENDED, f"{account.client_id} is suspended"
    if account.opened_with is not None and not exchange.house_may_trade:
        return Code.HOUSE_CLOSED, HOUSE_CLOSED
    if entry.client_order_id in account.by_client_order_id:
        return Code.DUPLICATE_CLIENT_ORDER_ID, f"{entry.client_order_id} is the client_order_id of another open order"
    if entry.expire_at and entry.expire_at <= exchange.now:
        return Code.EXPIRED, "the order has expired"
    return risk.refuse(exchange.markets, order, market, order.leaves, order.leaves * hold)
