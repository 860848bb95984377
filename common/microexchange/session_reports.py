"""The reports of a session on `data_feed`. `records` states the units."""

from microexchange.enums import Side
from microexchange.records import Record
from microexchange.session_commands import Assignment, RoundPlan, SessionState


class SessionPlanned(Record, frozen=True):
    """The plan of a session. Only the admin may see it."""

    session_id: int
    """The id of the command that planned the session."""
    timestamp: int
    name: str
    rounds: list[RoundPlan]
    """The rounds. Their events are in order of time."""


class SessionChanged(Record, frozen=True):
    """A new state of the session. It has all that a clock shows."""

    session_id: int
    """The id of the command that planned the session."""
    timestamp: int
    name: str
    state: SessionState
    round_number: int
    """The number of the round, from 1."""
    rounds: list[tuple[str, int, bool]]
    """All rounds of the session: name, length in seconds, and whether it is practice."""
    ends_at: int
    """The time at which a running round ends; 0 in other states."""
    remaining: int
    """The nanoseconds of the round that are left. Of a running round, at the time of the report."""
    assignments: tuple[Assignment, ...] = ()
    """The tasks of the current round."""
    house_bots: bool = True
    """Whether the accounts of the house may trade in the current round."""


class RoundEnded(Record, frozen=True):
    """The result of a round."""

    session_id: int
    timestamp: int
    round_number: int
    values: list[tuple[str, int, int]]
    """(client id, value at the start, value at the end) in cash units: cash, and holdings at the last price.

    The value at the start includes the admin's deposits and withdrawals during the round, without payouts and tenders."""
    redeemed: list[tuple[str, str, int, int]]
    """(client id, symbol, cash units, lots): the changes of accounts by the redemption of units."""


class NewsPublished(Record, frozen=True):
    """News of the session. Only its audience may receive it."""

    news_id: int
    timestamp: int
    headline: str
    text: str
    clients: list[str] | None
    """The clients that may read it; None for everybody."""
    value_changes: dict[str, int]
    """Changes of values in ticks, by symbol."""


class RoleAssigned(Record, frozen=True):
    """The role and the private values of a client. Only the client and the admin may see them."""

    timestamp: int
    client_id: str
    role: str
    values: dict[str, list[int]]
    """The value of each unit in ticks, by symbol."""


class PaidOut(Record, frozen=True):
    """A payout on a security."""

    payout_id: int
    timestamp: int
    symbol: str
    cash_per_lot: int
    final: bool
    payments: list[tuple[str, int, int]]
    """(client id, cash units, lots): the changes of the accounts. Lots change in a final payout only."""
    shortfall: int
    """The cash units that short holders owe and do not have. The issuer bears them."""


class TenderOffered(Record, frozen=True):
    """An open tender. Only its audience may receive it."""

    tender_id: int
    timestamp: int
    symbol: str
    side: Side
    quantity: int
    price: int
    clients: list[str] | None
    """The clients that may answer it; None for everybody."""
    expires_at: int
    auction: bool = False
    """Whether clients answer with a price, and only the best one trades. `price` is then the limit."""


class TenderAnswered(Record, frozen=True):
    """The answer of a client to a tender, and the changes of its account.

    An auction has a second one when it ends, for the client that trades."""

    tender_id: int
    timestamp: int
    client_id: str
    accepted: bool
    symbol: str
    cash: int
    lots: int


SessionReport = (
    SessionPlanned | SessionChanged | RoundEnded | NewsPublished | RoleAssigned | PaidOut | TenderOffered | TenderAnswered
)
"""A report of a session."""
