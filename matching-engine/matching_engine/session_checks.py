"""The checks of a plan, of news, of payouts and of tenders. They change nothing."""

from collections.abc import Iterator

from matching_engine.context import Reason
from matching_engine.exchange import Exchange
from microexchange.enums import TradingState
from microexchange.numbers import MAX_CASH, MAX_LOTS, MAX_TICKS
from microexchange.refusals import Code
from microexchange.session_commands import (
    MAX_ASSIGNMENTS,
    MAX_HEADLINE,
    MAX_NAME,
    MAX_ROUND_SECONDS,
    MAX_ROUNDS,
    MAX_TEXT,
    AssignmentType,
    OfferTender,
    PayOut,
    PlanSession,
    PublishNews,
    RoundPlan,
    ScheduledEvent,
    ScheduledNews,
    ScheduledPayout,
    ScheduledTender,
)

MAX_EVENTS = 1_000
"""The events of all rounds together."""
MAX_VALUES = 1_000
"""Unit values of one client, and changes of values in one piece of news."""


def refuse_plan(exchange: Exchange, plan: PlanSession) -> Reason | None:
    """Return why a session cannot be planned like this, or None."""
    return next(_faults_of_plan(exchange, plan), None)


def _faults_of_plan(exchange: Exchange, plan: PlanSession) -> Iterator[Reason]:
    if not 1 <= len(plan.name) <= MAX_NAME:
        yield Code.INVALID_FIELD, f"name must have 1 to {MAX_NAME} characters"
    if not 1 <= len(plan.rounds) <= MAX_ROUNDS:
        yield Code.INVALID_FIELD, f"rounds must have 1 to {MAX_ROUNDS} entries"
    if sum(len(round_plan.events) for round_plan in plan.rounds) > MAX_EVENTS:
        yield Code.LIMIT_EXCEEDED, f"the rounds must have {MAX_EVENTS} events at most together"
    for number, round_plan in enumerate(plan.rounds, 1):
        yield from _faults_of_round(exchange, round_plan, f"round {number}")


def _faults_of_round(exchange: Exchange, round_plan: RoundPlan, place: str) -> Iterator[Reason]:
    if not 1 <= len(round_plan.name) <= MAX_NAME:
        yield Code.INVALID_FIELD, f"{place}: name must have 1 to {MAX_NAME} characters"
    if not 1 <= round_plan.seconds <= MAX_ROUND_SECONDS:
        yield Code.INVALID_FIELD, f"{place}: seconds must be between 1 and {MAX_ROUND_SECONDS}"
    if not 0 <= (round_plan.cash or 0) <= MAX_CASH:
        yield Code.INVALID_FIELD, f"{place}: cash must be between 0 and {MAX_CASH // 10**8}"
    for symbol, lots in (round_plan.shares or {}).items():
        yield from _faults_of_symbol(exchange, symbol, f"{place}: ")
        if not 0 <= lots <= MAX_LOTS:
            yield Code.INVALID_FIELD, f"{place}: shares of {symbol} must be between 0 and {MAX_LOTS} lots"
    yield from _faults_of_assignments(exchange, round_plan, place)
    for number, event in enumerate(round_plan.events, 1):
        at = f"{place}, event {number}"
        if not 0 <= event.at_seconds <= round_plan.seconds:
            yield Code.INVALID_FIELD, f"{at}: at_seconds must be between 0 and {round_plan.seconds}, the length of the round"
        yield from _faults_of_event(exchange, event, at)


def _faults_of_assignments(exchange: Exchange, round_plan: RoundPlan, place: str) -> Iterator[Reason]:
    if len(round_plan.assignments) > MAX_ASSIGNMENTS:
        yield Code.LIMIT_EXCEEDED, f"{place}: there must be {MAX_ASSIGNMENTS} assignments at most"
    for number, assignment in enumerate(round_plan.assignments, 1):
        at = f"{place}, assignment {number}"
        if assignment.symbol:
            yield from _faults_of_symbol(exchange, assignment.symbol, f"{at}: ")
        if assignment.assignment_type is not AssignmentType.END_FLAT and not 1 <= assignment.goal <= MAX_CASH:
            yield Code.INVALID_FIELD, f"{at}: goal must be positive"
        if len(assignment.text) > MAX_HEADLINE:
            yield Code.INVALID_FIELD, f"{at}: text must have {MAX_HEADLINE} characters at most"


def _faults_of_event(exchange: Exchange, event: ScheduledEvent, place: str) -> Iterator[Reason]:
    if isinstance(event, ScheduledNews):
        yield from _faults_of_news(exchange, event, f"{place}: ")
    elif isinstance(event, ScheduledPayout):
        yield from faults_of_payout(exchange, event, f"{place}: ")
    elif isinstance(event, ScheduledTender):
        yield from _faults_of_tender(exchange, event, f"{place}: ")
        if not 1 <= event.seconds <= MAX_ROUND_SECONDS:
            yield Code.INVALID_FIELD, f"{place}: seconds must be between 1 and {MAX_ROUND_SECONDS}"
    else:
        yield from _faults_of_symbol(exchange, event.symbol, f"{place}: ")
        if event.state not in (TradingState.HALTED, TradingState.CONTINUOUS):
            yield Code.INVALID_FIELD, f"{place}: state must be halted or continuous"


def _faults_of_symbol(exchange: Exchange, symbol: str, place: str) -> Iterator[Reason]:
    if symbol not in exchange.markets:
        yield Code.UNKNOWN_SYMBOL, f"{place}{symbol} is not listed"


def _faults_of_audience(terms: PublishNews | ScheduledNews | OfferTender | ScheduledTender, place: str) -> Iterator[Reason]:
    if terms.role and terms.client_id:
        yield Code.INVALID_FIELD, f"{place}give a role or a client as the audience, not both"
    if max(len(terms.role), len(terms.client_id)) > MAX_NAME:
        yield Code.INVALID_FIELD, f"{place}the audience must have {MAX_NAME} characters at most"


def faults_of_payout(exchange: Exchange, payout: PayOut | ScheduledPayout, place: str) -> Iterator[Reason]:
    """Iterate over the faults of the terms of a payout. `place` begins each sentence."""
    yield from _faults_of_symbol(exchange, payout.symbol, place)
    if not 0 <= payout.cash_per_lot <= MAX_CASH:
        yield Code.INVALID_FIELD, f"{place}the amount of a lot must be between 0 and {MAX_CASH // 10**8}"


def refuse_tender_terms(exchange: Exchange, tender: OfferTender) -> Reason | None:
    """Return why a tender cannot have these terms, or None."""
    return next(_faults_of_tender(exchange, tender, ""), None)


def _faults_of_tender(exchange: Exchange, tender: OfferTender | ScheduledTender, place: str) -> Iterator[Reason]:
    yield from _faults_of_symbol(exchange, tender.symbol, f"{place}tender: ")
    if not 1 <= tender.quantity <= MAX_LOTS or not 1 <= tender.price <= MAX_TICKS:
        yield Code.INVALID_FIELD, f"{place}quantity must be up to {MAX_LOTS} lots, and price up to {MAX_TICKS} ticks"
    yield from _faults_of_audience(tender, place)


def refuse_news(exchange: Exchange, news: PublishNews) -> Reason | None:
    """Return why news cannot be published like this, or None. `publish_news` checks the audience."""
    return next(_faults_of_news(exchange, news, ""), None)


def _faults_of_news(exchange: Exchange, news: PublishNews | ScheduledNews, place: str) -> Iterator[Reason]:
    if not 1 <= len(news.headline) <= MAX_HEADLINE:
        yield Code.INVALID_FIELD, f"{place}headline must have 1 to {MAX_HEADLINE} characters"
    if len(news.text) > MAX_TEXT:
        yield Code.INVALID_FIELD, f"{place}text must have {MAX_TEXT} characters at most"
    yield from _faults_of_audience(news, place)
    if len(news.value_changes) > MAX_VALUES:
        yield Code.INVALID_FIELD, f"{place}value_changes must have {MAX_VALUES} entries at most"
    for symbol, ticks in news.value_changes.items():
        yield from _faults_of_symbol(exchange, symbol, f"{place}value_changes: ")
        if not -MAX_TICKS <= ticks <= MAX_TICKS:
            yield Code.INVALID_FIELD, f"{place}value_changes of {symbol} must be within {MAX_TICKS} ticks"
