"""`PlanSession` and `ControlSession`: the plan of a session, and its actions."""

import msgspec

from matching_engine.context import Outcome
from matching_engine.exchange import Exchange
from matching_engine.reports import accepted, rejected
from matching_engine.session import Session
from matching_engine.session_checks import refuse_plan
from matching_engine.session_clock import (
    change_state,
    end_round,
    enter_lobby,
    pause_round,
    resume_round,
    start_round,
    stop_trading,
)
from matching_engine.session_news import NO_SESSION
from matching_engine.session_terms import refuse_terms
from microexchange.commands import Command
from microexchange.refusals import Code
from microexchange.session_commands import (
    ControlSession,
    PlanSession,
    RoundPlan,
    ScheduledEvent,
    SessionAction,
    SessionState,
)
from microexchange.session_reports import SessionPlanned

ACTIONS: dict[SessionState, tuple[SessionAction, ...]] = {
    SessionState.LOBBY: (SessionAction.START, SessionAction.NEXT, SessionAction.CLOSE),
    SessionState.RUNNING: (SessionAction.PAUSE, SessionAction.END),
    SessionState.PAUSED: (SessionAction.RESUME, SessionAction.END),
    SessionState.ENDED: (SessionAction.NEXT, SessionAction.RESET, SessionAction.CLOSE),
    SessionState.CLOSED: (),
}
"""The possible actions in each state."""


def plan_session(exchange: Exchange, command: PlanSession, outcome: Outcome) -> None:
    """Apply a `PlanSession`. It replaces a session whose round is not running."""
    session, refusal = exchange.session, refuse_plan(exchange, command)
    if session is not None and session.state in (SessionState.RUNNING, SessionState.PAUSED):
        text = f"a round of the session {session.plan.name!r} is {session.state}: end it first"
        refusal = Code.SESSION_STATE, text
    rounds = [_ordered(round_plan) for round_plan in command.rounds]
    refusal = refusal or refuse_terms(exchange, rounds[0])
    if refusal is not None:
        outcome.reports.append(rejected(command, "", *refusal))
        return
    exchange.session = Session(msgspec.structs.replace(command, rounds=rounds))
    outcome.reports.append(accepted(command))
    outcome.reports.append(SessionPlanned(command.command_id, command.timestamp, command.name, rounds))
    enter_lobby(exchange, exchange.session, command, outcome)


def _ordered(round_plan: RoundPlan) -> RoundPlan:
    """Return a round with its events in order of time. Events of one time keep their order."""
    return msgspec.structs.replace(round_plan, events=tuple(sorted(round_plan.events, key=_time_of)))


def _time_of(event: ScheduledEvent) -> int:
    return event.at_seconds


def control_session(exchange: Exchange, command: ControlSession, outcome: Outcome) -> None:
    """Apply a `ControlSession`."""
    session, action = exchange.session, command.action
    if session is None:
        outcome.reports.append(rejected(command, "", Code.NO_SESSION, NO_SESSION))
        return
    possible = ACTIONS[session.state]
    if session.round_number == len(session.plan.rounds):
        possible = tuple(other for other in possible if other is not SessionAction.NEXT)
    if action not in possible:
        _refuse_action(session, command, possible, outcome)
        return
    number = session.round_number + (action is SessionAction.NEXT)
    if action in (SessionAction.START, SessionAction.NEXT, SessionAction.RESET):
        refusal = refuse_terms(exchange, session.plan.rounds[number - 1])
        if refusal is not None:
            outcome.reports.append(rejected(command, "", *refusal))
            return
    session.round_number = number
    outcome.reports.append(accepted(command))
    _act(exchange, session, action, command, outcome)


def _refuse_action(session: Session, command: ControlSession, possible: tuple[SessionAction, ...], outcome: Outcome) -> None:
    number, count = session.round_number, len(session.plan.rounds)
    text = f"{command.action} is not possible: round {number} of {count} is in the state {session.state}, "
    text += f"in which {' and '.join(possible)} are possible" if possible else "so plan another session"
    outcome.reports.append(rejected(command, "", Code.SESSION_STATE, text))


def _act(exchange: Exchange, session: Session, action: SessionAction, command: Command, outcome: Outcome) -> None:
    """Do what an action asks for."""
    match action:
        case SessionAction.START:
            start_round(exchange, session, command, outcome)
        case SessionAction.PAUSE:
            pause_round(exchange, session, command, outcome)
        case SessionAction.RESUME:
            resume_round(exchange, session, command, outcome)
        case SessionAction.END:
            end_round(exchange, session, command, outcome)
        case SessionAction.NEXT | SessionAction.RESET:
            enter_lobby(exchange, session, command, outcome)
        case SessionAction.CLOSE:
            change_state(exchange, session, SessionState.CLOSED, command, outcome)
            stop_trading(exchange, command, outcome, "the session is closed")
