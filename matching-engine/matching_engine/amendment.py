"""`ReplaceOrder`: a change of the quantity, price or trigger price of an open order."""

from matching_engine import risk
from matching_engine.book import Level, Order
from matching_engine.context import Outcome
from matching_engine.exchange import Exchange
from matching_engine.market import SecurityMarket
from matching_engine.placement import place, rest
from matching_engine.reports import open_status, order_report, price_update, rejected, unknown_order
from matching_engine.triggers import fire, wait
from matching_engine.validation import NewTerms, refuse_replace
from microexchange.commands import ReplaceOrder
from microexchange.enums import ExecType, TradingState

_REPLACED = ExecType.REPLACED


def replace_order(exchange: Exchange, command: ReplaceOrder, outcome: Outcome) -> None:
    """Apply a `ReplaceOrder`. A resting order keeps its place if its price stays and its quantity does not grow."""
    account = exchange.accounts.get(command.client_id)
    order = None if account is None else account.orders.get(command.order_id)
    if order is None:
        outcome.reports.append(unknown_order(command))
        return
    market = exchange.markets[order.entry.symbol]
    quantity = order.quantity if command.quantity is None else command.quantity
    price = order.price if command.price is None else command.price
    trigger_price = order.trigger_price if command.trigger_price is None else command.trigger_price
    leaves = quantity - (order.quantity - order.leaves)
    new = NewTerms(quantity, leaves, price, trigger_price, risk.hold_per_lot(order, price, market))
    refusal = refuse_replace(exchange, order, market, command, new)
    if refusal is not None:
        outcome.reports.append(rejected(command, command.client_id, *refusal, order.entry.command_id))
        return
    level = order.level
    if level is not None and price == order.price and leaves <= order.leaves:
        _reduce(market, order, level, new, command, outcome)
    else:
        _move(exchange, market, order, new, command, outcome)


def _reduce(
    market: SecurityMarket, order: Order, level: Level, new: NewTerms, command: ReplaceOrder, outcome: Outcome
) -> None:
    """Take lots from an order, which keeps its place in the book."""
    leaves = new.leaves
    risk.release(order, order.leaves - leaves)
    level.quantity -= order.visible
    order.quantity, order.leaves = new.quantity, leaves
    order.visible = min(order.visible, leaves)
    level.quantity += order.visible
    outcome.reports.append(order_report(order, command, _REPLACED, open_status(order), leaves))
    side = market.book.side(order.entry.side)
    outcome.reports.append(price_update(market, side, level, command.timestamp))


def _move(
    exchange: Exchange, market: SecurityMarket, order: Order, new: NewTerms, command: ReplaceOrder, outcome: Outcome
) -> None:
    """Take an order out of the book or from the waiting orders, change it, and place it again behind the others."""
    level = order.level
    side = market.book.side(order.entry.side)
    if level is not None:
        side.remove(order)
    else:
        market.stops.remove(order)
    risk.release(order, order.leaves)
    exchange.drop_order(order)
    order.quantity, order.leaves, order.price, order.trigger_price = new.quantity, new.leaves, new.price, new.trigger_price
    order.visible = min(order.entry.display_quantity or new.leaves, new.leaves)
    risk.reserve(order, new.hold)
    outcome.reports.append(order_report(order, command, _REPLACED, open_status(order), new.leaves))
    if level is None:
        wait(exchange, market, order)
    else:
        outcome.reports.append(price_update(market, side, level, command.timestamp))
        if market.state is TradingState.CONTINUOUS:
            place(exchange, market, order, command, outcome)
        else:
            rest(exchange, market, order, command, outcome.reports)
    if market.stops.orders:
        fire(exchange, market, command, outcome)
