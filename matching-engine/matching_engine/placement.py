"""Placement: an order trades what it can, and its rest goes into the book or is cancelled."""

from matching_engine import risk
from matching_engine.book import Order
from matching_engine.context import Matching, Outcome
from matching_engine.exchange import Exchange
from matching_engine.market import SecurityMarket
from matching_engine.matching import match
from matching_engine.reports import canceled, price_update, state_changed
from microexchange.commands import Command
from microexchange.enum_terms import AT_ONCE
from microexchange.enums import Side, TimeInForce, TradingState
from microexchange.refusals import Code
from microexchange.reports import Report

_BUY, _GTC, _CONTINUOUS = Side.BUY, TimeInForce.GTC, TradingState.CONTINUOUS


def place(exchange: Exchange, market: SecurityMarket, order: Order, command: Command, outcome: Outcome) -> None:
    """Trade what can trade now in continuous trading. The rest of the order rests, or ends.

    If a trade would leave the price band, a volatility auction begins.
    """
    ended_by = None
    is_buy, limit = order.entry.side is _BUY, order.price
    opposite = market.book.asks if is_buy else market.book.bids
    level = opposite.best()
    if level is not None and (limit is None or (level.price <= limit if is_buy else level.price >= limit)):
        matching = Matching(exchange, market, command, outcome.instructions, outcome.reports)
        ended_by = match(matching, order, level, opposite)
    if not order.leaves:
        if order.arrival:
            exchange.drop_order(order)
    elif ended_by is None and limit is not None and ((terms := order.entry.time_in_force) is _GTC or terms not in AT_ONCE):
        rest(exchange, market, order, command, outcome.reports)
    else:
        if ended_by is None:
            ended_by = (
                (Code.NO_LIQUIDITY, "there are no more orders on the other side")
                if limit is None
                else (Code.UNFILLED, "the quantity that did not trade at once is cancelled")
            )
        risk.release(order, order.leaves)
        exchange.drop_order(order)
        outcome.reports.append(canceled(order, command, *ended_by))
    if market.has_band and market.state is _CONTINUOUS and market.book.is_crossed:
        reason = f"a trade would have been outside the price band of {market.low} to {market.high} ticks"
        exchange.set_state(market, TradingState.VOLATILITY_AUCTION)
        outcome.reports.append(state_changed(market, command, reason))


def rest(exchange: Exchange, market: SecurityMarket, order: Order, command: Command, reports: list[Report]) -> None:
    """Add the open lots of an order to the book."""
    entry, price = order.entry, order.price
    assert price is not None, "only an order with a price can rest"  # noqa: S101
    order.arrival = exchange.next_arrival
    exchange.next_arrival += 1
    if entry.client_order_id or entry.expire_at:
        exchange.add_order(order)
    else:
        order.account.orders[entry.command_id] = order  # as add_order, without a call for most orders
    side = market.book.bids if entry.side is _BUY else market.book.asks
    level = side.add(order, price)
    reports.append(price_update(market, side, level, command.timestamp))
