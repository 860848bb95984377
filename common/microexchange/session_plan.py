"""The plan of a session in the form in which the admin sends it. The page of the console edits it."""

from decimal import Decimal
from typing import Any

from microexchange.numbers import cash_to_text
from microexchange.schemas import Answer
from microexchange.securities import Security
from microexchange.session_commands import (
    Assignment,
    AssignmentType,
    RoundPlan,
    ScheduledEvent,
    ScheduledNews,
    ScheduledPayout,
    ScheduledTender,
)
from microexchange.session_reports import SessionPlanned


class PlanView(Answer, frozen=True):
    """A plan, as `POST /admin/session` takes it. A random amount of a payout is the one that was drawn."""

    name: str
    rounds: list[dict[str, Any]]


def plan_view(plan: SessionPlanned, securities: dict[str, Security]) -> PlanView:
    """Return the answer for a plan. Only the admin may receive it."""
    return PlanView(name=plan.name, rounds=[_round(round_plan, securities) for round_plan in plan.rounds])


def _round(plan: RoundPlan, securities: dict[str, Security]) -> dict[str, Any]:
    shares = plan.shares
    return {
        "name": plan.name,
        "seconds": plan.seconds,
        "practice": plan.practice,
        "cash": None if plan.cash is None else cash_to_text(plan.cash),
        "shares": None if shares is None else {name: securities[name].quantity_text(shares[name]) for name in shares},
        "events": [_event(event, securities) for event in plan.events],
        "house_bots": plan.house_bots,
        "assignments": [_assignment(assignment) for assignment in plan.assignments],
    }


def _assignment(assignment: Assignment) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": assignment.assignment_type, "symbol": assignment.symbol, "text": assignment.text}
    if assignment.assignment_type is AssignmentType.END_FLAT:
        return fields
    is_cash = assignment.assignment_type is AssignmentType.PROFIT
    return {**fields, "goal": cash_to_text(assignment.goal) if is_cash else str(assignment.goal)}


def _event(event: ScheduledEvent, securities: dict[str, Security]) -> dict[str, Any]:
    at = {"at_seconds": event.at_seconds}
    if isinstance(event, ScheduledNews):
        changes = {symbol: securities[symbol].price_text(ticks) for symbol, ticks in event.value_changes.items()}
        audience = {"role": event.role, "client_id": event.client_id}
        return {"type": "news", **at, "headline": event.headline, "text": event.text, **audience, "value_changes": changes}
    security = securities[event.symbol]
    if isinstance(event, ScheduledPayout):
        amount = Decimal(cash_to_text(event.cash_per_lot)) / security.lot_size
        return {"type": "payout", **at, "symbol": event.symbol, "amount": f"{amount:f}", "final": event.final}
    if isinstance(event, ScheduledTender):
        quantity, price = security.quantity_text(event.quantity), security.price_text(event.price)
        terms = {"symbol": event.symbol, "side": event.side, "quantity": quantity, "price": price, "seconds": event.seconds}
        return {"type": "tender", **at, **terms, "role": event.role, "client_id": event.client_id, "auction": event.auction}
    return {"type": "state", **at, "symbol": event.symbol, "state": event.state}
