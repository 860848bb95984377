"""The answers about a session. JSON, OpenAPI and the bots share them. `schemas` states the forms of numbers and times."""

from microexchange.enums import Side
from microexchange.numbers import NS_PER_SECOND, cash_to_text
from microexchange.round_activity import RoundActivity, progress
from microexchange.schemas import Answer, time_text
from microexchange.securities import Security
from microexchange.session_commands import Assignment, AssignmentType, SessionState
from microexchange.session_reports import NewsPublished, RoleAssigned, SessionChanged, TenderOffered


class RoundView(Answer, frozen=True):
    """A round of a session."""

    name: str
    seconds: int
    """The length of the round, without pauses."""
    practice: bool
    """Whether the round does not count for grades."""


class AssignmentView(Answer, frozen=True):
    """A task of the round for each client."""

    type: AssignmentType
    text: str
    goal: str
    """A number of orders or trades, seconds, or cash. Empty for `end_flat`."""
    symbol: str
    """Only this security counts. Empty for all securities."""


_WORDS = {
    AssignmentType.LIMIT_ORDERS: "Enter {goal} limit orders{symbol}",
    AssignmentType.TRADES: "Trade {goal} times{symbol}",
    AssignmentType.QUOTE_BOTH_SIDES: "Quote a bid and an ask at once{symbol}, for {goal} seconds together",
    AssignmentType.END_FLAT: "End the round with the holdings that you began with{symbol}",
    AssignmentType.PROFIT: "Make a profit of {goal}{symbol}",
}


def assignment_view(assignment: Assignment) -> AssignmentView:
    """Return the answer for an assignment, with the usual words if it has none of its own."""
    goal = (
        cash_to_text(assignment.goal) if assignment.assignment_type is AssignmentType.PROFIT else str(assignment.goal or "")
    )
    symbol = f" in {assignment.symbol}" if assignment.symbol else ""
    text = assignment.text or _WORDS[assignment.assignment_type].format(goal=goal, symbol=symbol)
    return AssignmentView(type=assignment.assignment_type, text=text, goal=goal, symbol=assignment.symbol)


class TaskView(AssignmentView, frozen=True):
    """A task of the round, and how far a client is with it."""

    done: str
    """In the unit of `goal`. Empty if only the end of the round decides, or the round has not ended."""
    met: bool


class AssignmentsView(Answer, frozen=True):
    """The tasks of a client in the current round."""

    client_id: str
    round: int
    """The number of the round; 0 if no session is planned."""
    assignments: list[TaskView]


def assignments_view(
    activity: RoundActivity, assignments: tuple[Assignment, ...], profit: int | None, now: int
) -> AssignmentsView:
    """Return the answer for the tasks of a client. `progress` has the meaning of `profit` and `now`."""
    return AssignmentsView(
        client_id=activity.client_id,
        round=activity.round_number,
        assignments=[_task(one, activity, profit, now) for one in assignments],
    )


def _task(assignment: Assignment, activity: RoundActivity, profit: int | None, now: int) -> TaskView:
    shown, reached = assignment_view(assignment), progress(assignment, activity, profit, now)
    done = "" if reached.done is None else str(reached.done)
    if reached.done is not None and assignment.assignment_type is AssignmentType.PROFIT:
        done = cash_to_text(reached.done)
    return TaskView(type=shown.type, text=shown.text, goal=shown.goal, symbol=shown.symbol, done=done, met=reached.is_met)


class SessionView(Answer, frozen=True):
    """The session, its current round and the clock. A page computes the clock from `ends_at` and `server_time`."""

    session_id: str
    name: str
    state: SessionState
    round: int
    """The number of the current round, from 1."""
    rounds: list[RoundView]
    ends_at: str | None
    """The time at which the running round ends; null in other states."""
    remaining_seconds: float
    """The time of the round that is left at `server_time`. It does not change during a pause."""
    server_time: str
    assignments: list[AssignmentView]
    """The tasks of the current round."""
    house_bots: bool
    """Whether the accounts of the house may trade in the current round."""


def session_view(changed: SessionChanged, now: int) -> SessionView:
    """Return the answer for the session. `now` is the time in nanoseconds of Unix time."""
    remaining = changed.remaining
    if changed.state is SessionState.RUNNING:
        remaining = min(max(changed.ends_at - now, 0), changed.remaining)
    return SessionView(
        session_id=str(changed.session_id),
        name=changed.name,
        state=changed.state,
        round=changed.round_number,
        rounds=[RoundView(name=name, seconds=seconds, practice=practice) for name, seconds, practice in changed.rounds],
        ends_at=time_text(changed.ends_at) if changed.ends_at else None,
        remaining_seconds=round(remaining / NS_PER_SECOND, 3),
        server_time=time_text(now),
        assignments=[assignment_view(assignment) for assignment in changed.assignments],
        house_bots=changed.house_bots,
    )


class NewsView(Answer, frozen=True):
    """News of the session."""

    news_id: str
    timestamp: str
    headline: str
    text: str
    private: bool
    """Whether only some clients may read it."""
    value_changes: dict[str, str]
    """The changes of values that the news states, in cash for a share, by symbol."""


def news_view(news: NewsPublished, securities: dict[str, Security]) -> NewsView:
    """Return the answer for news. Only its audience may receive it."""
    return NewsView(
        news_id=str(news.news_id),
        timestamp=time_text(news.timestamp),
        headline=news.headline,
        text=news.text,
        private=news.clients is not None,
        value_changes={symbol: securities[symbol].price_text(ticks) for symbol, ticks in news.value_changes.items()},
    )


class RoleView(Answer, frozen=True):
    """The role of a client, and its private values. Only the client and the admin may receive it."""

    client_id: str
    role: str
    """Empty if the client has no role."""
    values: dict[str, list[str]]
    """The value of each unit in cash, the first unit first, by symbol."""


def role_view(assigned: RoleAssigned, securities: dict[str, Security]) -> RoleView:
    """Return the answer for a role."""
    values = {
        symbol: [securities[symbol].price_text(ticks) for ticks in unit_values]
        for symbol, unit_values in assigned.values.items()
    }
    return RoleView(client_id=assigned.client_id, role=assigned.role, values=values)


class TenderView(Answer, frozen=True):
    """An open tender: the exchange trades with each client that accepts it."""

    tender_id: str
    timestamp: str
    symbol: str
    side: Side
    """Your side."""
    quantity: str
    price: str
    private: bool
    """Whether only some clients may answer it."""
    expires_at: str
    auction: bool
    """Whether you answer with a price, and only the best one trades when the time is over. `price` is then the limit."""


def tender_view(tender: TenderOffered, securities: dict[str, Security]) -> TenderView:
    """Return the answer for a tender. Only its audience may receive it."""
    security = securities[tender.symbol]
    return TenderView(
        tender_id=str(tender.tender_id),
        timestamp=time_text(tender.timestamp),
        symbol=tender.symbol,
        side=tender.side,
        quantity=security.quantity_text(tender.quantity),
        price=security.price_text(tender.price),
        private=tender.clients is not None,
        expires_at=time_text(tender.expires_at),
        auction=tender.auction,
    )
