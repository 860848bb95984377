"""Triggers: stop and take-profit orders wait for the last price to reach their trigger price, then enter."""

from matching_engine import risk
from matching_engine.book import Order
from matching_engine.context import Outcome
from matching_engine.exchange import Exchange
from matching_engine.liquidity import market_cost
from matching_engine.market import SecurityMarket
from matching_engine.placement import place
from matching_engine.reports import canceled, order_report
from microexchange.commands import Command
from microexchange.enums import ExecType, OrderStatus, Side, TradingState

_CONTINUOUS = TradingState.CONTINUOUS


def wait(exchange: Exchange, market: SecurityMarket, order: Order) -> None:
    """Add an order to those that wait for their trigger."""
    order.arrival = exchange.next_arrival
    exchange.next_arrival += 1
    exchange.add_order(order)
    market.stops.add(order)


def fire(exchange: Exchange, market: SecurityMarket, command: Command, outcome: Outcome) -> None:
    """Enter the waiting orders whose trigger the last price has reached, and those that their trades trigger.

    Each order is triggered once, so this ends.
    """
    while market.state is _CONTINUOUS and (triggered := market.stops.take(market.last_price)):
        for order in triggered:
            if market.state is not _CONTINUOUS:
                market.stops.add(order)
            elif order.entry.command_id in order.account.orders:
                _enter(exchange, market, order, command, outcome)


def _enter(exchange: Exchange, market: SecurityMarket, order: Order, command: Command, outcome: Outcome) -> None:
    """Report that an order was triggered. Place it, or cancel it if it is a market buy that the client cannot afford."""
    leaves = order.leaves
    outcome.reports.append(order_report(order, command, ExecType.TRIGGERED, OrderStatus.NEW, leaves))
    refusal = None
    if order.price is None and order.entry.side is Side.BUY:
        cost = market_cost(order.account, market, leaves)
        refusal = risk.refuse(exchange.markets, order, market, leaves, cost, released_lots=leaves)
    if refusal is None:
        place(exchange, market, order, command, outcome)
    else:
        risk.release(order, leaves)
        exchange.drop_order(order)
        outcome.reports.append(canceled(order, command, *refusal))
