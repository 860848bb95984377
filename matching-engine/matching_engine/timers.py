"""The effects of time: orders expire, auctions and rounds end, and `TimeTick` reports open auctions."""

from heapq import heappop

from matching_engine.auction import uncrossing
from matching_engine.cancellation import expire
from matching_engine.context import Outcome
from matching_engine.exchange import SESSION_TIMER, Exchange
from matching_engine.session_clock import session_due
from matching_engine.trading_states import enter_state
from microexchange.commands import Command, TimeTick
from microexchange.enums import TradingState
from microexchange.reports import AuctionUpdate


def end_due(exchange: Exchange, command: Command, outcome: Outcome) -> None:
    """Expire the orders, and end the auctions and rounds, whose time has come, earliest first."""
    timers = exchange.timers
    while timers and timers[0][0] <= exchange.now:
        timer = heappop(timers)
        if not exchange.has_effect(timer):
            continue
        _, name, order_id = timer
        if order_id == SESSION_TIMER:
            session_due(exchange, command, outcome)
        elif order_id:
            expire(exchange, exchange.accounts[name].orders[order_id], command, outcome.reports)
        else:
            enter_state(exchange, exchange.markets[name], TradingState.CONTINUOUS, command, outcome, "the auction is over")


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
