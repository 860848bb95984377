"""The effects of time: orders expire, volatility auctions end, and `TimeTick` reports open auctions."""

from heapq import heappop

from matching_engine.auction import uncrossing
from matching_engine.cancellation import expire
from matching_engine.context import Outcome
from matching_engine.exchange import Exchange
from matching_engine.trading_states import enter_state
from microexchange.commands import Command, TimeTick
from microexchange.enums import TradingState
from microexchange.reports import AuctionUpdate


def end_due(exchange: Exchange, command: Command, outcome: Outcome) -> None:
    """Expire the orders and end the auctions whose time has come, earliest first."""
    timers = exchange.timers
    while timers and timers[0][0] <= exchange.now:
        ends_at, name, order_id = heappop(timers)
        if order_id:
            order = exchange.accounts[name].orders.get(order_id)
            if order is not None and order.entry.expire_at == ends_at:
                expire(exchange, order, command, outcome.reports)
        elif exchange.markets[name].ends_at == ends_at:
            market = exchange.markets[name]
            enter_state(exchange, market, TradingState.CONTINUOUS, command, outcome, "the auction is over")


def time_tick(exchange: Exchange, command: TimeTick, outcome: Outcome) -> None:
    """Apply a `TimeTick`: report each auction whose uncrossing has changed since its last report."""
    for market in exchange.markets.values():
        if market.is_collecting:
            current = uncrossing(market.book, market.reference_price)
            if current != market.auction:
                market.auction = current
                outcome.reports.append(
                    AuctionUpdate(market.symbol, command.timestamp, current.price, current.quantity, current.imbalance)
                )
