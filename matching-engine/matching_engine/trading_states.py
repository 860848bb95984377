"""`SetTradingState`, and what happens to a market when its state changes."""

from matching_engine.cancellation import cancel, expire
from matching_engine.context import Matching, Outcome
from matching_engine.exchange import Exchange
from matching_engine.market import SecurityMarket
from matching_engine.matching import uncross
from matching_engine.reports import accepted, rejected, state_changed, unknown_symbol
from matching_engine.triggers import fire
from microexchange.commands import Command, SetTradingState
from microexchange.enum_terms import TIMES_IN_FORCE
from microexchange.enums import TradingState
from microexchange.refusals import Code


def set_trading_state(exchange: Exchange, command: SetTradingState, outcome: Outcome) -> None:
    """Apply a `SetTradingState`. A delisted security stays delisted."""
    market = exchange.markets.get(command.symbol)
    if market is None:
        outcome.reports.append(unknown_symbol(command, command.symbol))
    elif market.state is command.state:
        exchange.keep_state(command.symbol, command.state)
        outcome.reports.append(accepted(command))
    elif market.state is TradingState.DELISTED:
        outcome.reports.append(rejected(command, "", Code.DELISTED, f"{command.symbol} is delisted"))
    else:
        exchange.keep_state(command.symbol, command.state)
        outcome.reports.append(accepted(command))
        enter_state(exchange, market, command.state, command, outcome, "")


def move_to(
    exchange: Exchange, market: SecurityMarket, state: TradingState, command: Command, outcome: Outcome, reason: str
) -> None:
    """Move a market to a state, unless it is in that state or delisted."""
    if market.state is not state and market.state is not TradingState.DELISTED:
        enter_state(exchange, market, state, command, outcome, reason)


def stop_market(
    exchange: Exchange, market: SecurityMarket, command: Command, outcome: Outcome, code: Code, reason: str
) -> None:
    """Halt a market, and cancel all its orders with a code."""
    move_to(exchange, market, TradingState.HALTED, command, outcome, reason)
    for order in market.open_orders():
        cancel(exchange, order, command, outcome.reports, code, reason)


def enter_state(
    exchange: Exchange, market: SecurityMarket, state: TradingState, command: Command, outcome: Outcome, reason: str
) -> None:
    """Change the state of a market.

    A book uncrosses before continuous trading, where it is never crossed, and at the end of the closing auction.
    """
    reports, before = outcome.reports, market.state
    exchange.set_state(market, state)
    reports.append(state_changed(market, command, reason))
    if state is TradingState.CONTINUOUS or (state is TradingState.CLOSED and before is TradingState.CLOSING_AUCTION):
        uncross(Matching(exchange, market, command, outcome.instructions, reports))
    if state is TradingState.DELISTED:
        for order in market.open_orders():
            cancel(exchange, order, command, reports, Code.DELISTED, f"{market.symbol} is delisted")
    elif state is TradingState.CLOSED:
        for order in market.open_orders():
            if TIMES_IN_FORCE[order.entry.time_in_force].is_session:
                expire(exchange, order, command, reports)
    elif state is TradingState.CONTINUOUS and market.stops.orders:
        fire(exchange, market, command, outcome)
