"""`NewOrder`: the engine checks an order, reserves the cash or shares that it needs, and places it.

An order whose client order id is taken is not entered. If its terms are those of the first order, it repeats that order.
"""

from matching_engine.account import Account
from matching_engine.book import Order
from matching_engine.client_order_ids import encoded, has_terms, order_id_in
from matching_engine.context import Outcome
from matching_engine.exchange import Exchange
from matching_engine.placement import place, rest
from matching_engine.reports import order_report, other_order, rejected_order, repeated_order
from matching_engine.risk import hold_per_lot, reserve
from matching_engine.triggers import fire, wait
from matching_engine.validation import refuse_order
from microexchange.commands import NewOrder
from microexchange.enums import ExecType, OrderStatus, Side, TradingState
from microexchange.refusals import Code

_SELL = Side.SELL
_NEW, _STATUS_NEW, _CONTINUOUS = ExecType.NEW, OrderStatus.NEW, TradingState.CONTINUOUS


def new_order(exchange: Exchange, command: NewOrder, outcome: Outcome) -> None:
    """Apply a `NewOrder`: reject it, let it wait for its trigger, or place it."""
    account = exchange.accounts.get(command.client_id)
    market = exchange.markets.get(command.symbol)
    reports = outcome.reports
    if market is None:
        reports.append(rejected_order(command, Code.UNKNOWN_SYMBOL, f"{command.symbol} is not listed"))
        return
    if account is None:
        reports.append(rejected_order(command, Code.UNKNOWN_CLIENT, f"{command.client_id} has no account"))
        return
    if command.client_order_id and (first := _first_order(exchange, account, command)) is not None:
        answer = repeated_order if has_terms(first, command) else other_order
        reports += answer(command, order_id_in(first))
        return
    order = Order(command, account)
    hold = 0 if command.side is _SELL else hold_per_lot(order, command.price, market)
    refusal = refuse_order(exchange, order, market, hold)
    if refusal is not None:
        reports.append(rejected_order(command, *refusal))
        return

    if command.client_order_id:
        exchange.client_order_ids.take(command, exchange.now)
    reserve(order, hold)
    reports.append(order_report(order, command, _NEW, _STATUS_NEW, order.leaves))
    if order.trigger_price is not None:
        wait(exchange, market, order)
    elif market.state is _CONTINUOUS:
        place(exchange, market, order, command, outcome)
    else:
        rest(exchange, market, order, command, reports)
        return
    if market.stops.orders:
        fire(exchange, market, command, outcome)


def _first_order(exchange: Exchange, account: Account, command: NewOrder) -> bytes | None:
    """Return the encoded order that has taken the client order id, or None.

    An order that is open for more than a period, or is one of a saved book, is only among the account's own.
    """
    first = exchange.client_order_ids.find(command.client_id, command.client_order_id, exchange.now)
    if first is None and (open_id := account.by_client_order_id.get(command.client_order_id)) is not None:
        return encoded(account.orders[open_id].entry)
    return first
