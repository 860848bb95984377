"""The clock of a round: its start, its pauses, its events and its end. The time is the time of commands.

The caller has checked that the session is in the right state.
"""

from matching_engine.context import Outcome
from matching_engine.exchange import Exchange
from matching_engine.payouts import pay_scheduled
from matching_engine.redemption import redeem
from matching_engine.session import Session
from matching_engine.session_news import publish_scheduled
from matching_engine.session_terms import account_value, apply_terms
from matching_engine.tenders import end_auction, offer_scheduled
from matching_engine.trading_states import move_to, stop_market
from microexchange.commands import Command
from microexchange.enums import TradingState
from microexchange.refusals import Code
from microexchange.session_commands import ScheduledNews, ScheduledPayout, ScheduledTender, SessionState
from microexchange.session_reports import RoundEnded, SessionChanged

_HALTED, _CONTINUOUS = TradingState.HALTED, TradingState.CONTINUOUS


def change_state(exchange: Exchange, session: Session, state: SessionState, command: Command, outcome: Outcome) -> None:
    """Set the state of a session, report it, and set its next timer."""
    session.state = state
    plan = session.plan
    changed = SessionChanged(
        plan.command_id,
        command.timestamp,
        plan.name,
        state,
        session.round_number,
        [(round_plan.name, round_plan.seconds, round_plan.practice) for round_plan in plan.rounds],
        session.ends_at,
        session.remaining(exchange.now),
        session.round.assignments,
        session.round.house_bots,
    )
    outcome.reports.append(changed)
    exchange.plan_session_timer()


def enter_lobby(exchange: Exchange, session: Session, command: Command, outcome: Outcome) -> None:
    """Begin the current round in its lobby: its start terms apply, and all markets are halted."""
    session.elapsed, session.done = 0, 0
    change_state(exchange, session, SessionState.LOBBY, command, outcome)
    stop_trading(exchange, command, outcome, "the round has not begun")
    apply_terms(exchange, session.round, command, outcome)


def start_round(exchange: Exchange, session: Session, command: Command, outcome: Outcome) -> None:
    """Start the round. The start terms apply again, to accounts that have changed in the lobby."""
    stop_trading(exchange, command, outcome, "the round begins")
    apply_terms(exchange, session.round, command, outcome)
    for market in exchange.markets.values():
        market.set_reference(market.listing.reference_price)
    session.start_values = {client_id: account_value(exchange, account) for client_id, account in exchange.accounts.items()}
    session.start_lots = {
        client_id: {symbol: holding.quantity for symbol, holding in account.holdings.items() if holding.quantity}
        for client_id, account in exchange.accounts.items()
    }
    session.began_at = exchange.now
    change_state(exchange, session, SessionState.RUNNING, command, outcome)
    for market in exchange.markets.values():
        move_to(exchange, market, _CONTINUOUS, command, outcome, "the round has begun")


def pause_round(exchange: Exchange, session: Session, command: Command, outcome: Outcome) -> None:
    """Stop the clock, and halt all markets. Their orders stay."""
    session.elapsed = exchange.now - session.began_at
    session.states_before_pause = {symbol: market.state for symbol, market in exchange.markets.items()}
    change_state(exchange, session, SessionState.PAUSED, command, outcome)
    for market in exchange.markets.values():
        move_to(exchange, market, _HALTED, command, outcome, "the round is paused")


def resume_round(exchange: Exchange, session: Session, command: Command, outcome: Outcome) -> None:
    """Start the clock again. Markets return to their states, but a volatility auction is over."""
    session.began_at = exchange.now - session.elapsed
    before, session.states_before_pause = session.states_before_pause, {}
    change_state(exchange, session, SessionState.RUNNING, command, outcome)
    for symbol, market in exchange.markets.items():
        state = before.get(symbol, _CONTINUOUS)
        if market.state is _HALTED:
            after = _CONTINUOUS if state is TradingState.VOLATILITY_AUCTION else state
            move_to(exchange, market, after, command, outcome, "the round continues")


def end_round(exchange: Exchange, session: Session, command: Command, outcome: Outcome) -> None:
    """End the round: cancel all orders, halt all markets, redeem units, and report the values of all accounts."""
    if session.state is SessionState.RUNNING:
        session.elapsed = min(exchange.now - session.began_at, session.length)
    session.states_before_pause = {}
    session.tenders.clear()
    session.answers.clear()
    session.bids.clear()
    change_state(exchange, session, SessionState.ENDED, command, outcome)
    stop_trading(exchange, command, outcome, "the round is over")
    redeemed = redeem(exchange, session, command, outcome)
    values = [
        (client_id, session.start_values.get(client_id, 0), account_value(exchange, account))
        for client_id, account in exchange.accounts.items()
    ]
    outcome.reports.append(RoundEnded(session.plan.command_id, command.timestamp, session.round_number, values, redeemed))


def stop_trading(exchange: Exchange, command: Command, outcome: Outcome, reason: str) -> None:
    """Halt all markets, and cancel all orders."""
    for market in exchange.markets.values():
        stop_market(exchange, market, command, outcome, Code.ROUND_ENDED, reason)


def session_due(exchange: Exchange, command: Command, outcome: Outcome) -> None:
    """End an auction, apply the next event of a running round, or end the round. The caller has checked that this is due."""
    session = exchange.session
    assert session is not None, "a timer of a session has an effect only if there is one"  # noqa: S101
    events = session.round.events
    auction = session.due_auction()
    if auction is not None:
        end_auction(exchange, session, auction, command, outcome)
        exchange.plan_session_timer()
        return
    if session.done == len(events):
        end_round(exchange, session, command, outcome)
        return
    event = events[session.done]
    session.done += 1
    if isinstance(event, ScheduledNews):
        publish_scheduled(exchange, event, command, outcome)
    elif isinstance(event, ScheduledPayout):
        pay_scheduled(exchange, event, command, outcome)
    elif isinstance(event, ScheduledTender):
        offer_scheduled(exchange, event, command, outcome)
    else:
        move_to(exchange, exchange.markets[event.symbol], event.state, command, outcome, "an event of the round")
    exchange.plan_session_timer()
