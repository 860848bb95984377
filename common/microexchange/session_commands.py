"""The commands of a session: rounds with one clock for everybody, and news. `records` states the units."""

from enum import StrEnum

from microexchange.enums import Side, TradingState
from microexchange.records import Record

MAX_ROUNDS = 100
"""Rounds of a session."""
MAX_ROUND_SECONDS = 86_400
MAX_NAME = 64
"""Characters of the name of a session, a round or a role."""
MAX_ASSIGNMENTS = 10
"""Assignments of a round."""
MAX_HEADLINE = 200
MAX_TEXT = 2_000
"""Characters of the text of news."""


class SessionState(StrEnum):
    """The state of a session."""

    LOBBY = "lobby"
    """The round has not begun. All markets are halted."""
    RUNNING = "running"
    PAUSED = "paused"
    """All markets are halted, and the clock stands still."""
    ENDED = "ended"
    """The round is over. All orders were cancelled, and all markets are halted."""
    CLOSED = "closed"
    """The session is over."""


class SessionAction(StrEnum):
    """An action of the admin on a session."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    END = "end"
    """End the round before its time."""
    NEXT = "next"
    """Go to the lobby of the next round."""
    RESET = "reset"
    """Go to the lobby of the same round."""
    CLOSE = "close"


class AssignmentType(StrEnum):
    """The kind of task. The feed checks it from the reports of the round."""

    LIMIT_ORDERS = "limit_orders"
    """Enter `goal` limit orders."""
    TRADES = "trades"
    """Take part in `goal` trades."""
    QUOTE_BOTH_SIDES = "quote_both_sides"
    """Have a bid and an ask in the book at once, for `goal` seconds together."""
    END_FLAT = "end_flat"
    """Hold the same quantity at the end of the round as at its start."""
    PROFIT = "profit"
    """End the round with a profit of at least `goal` cash units."""


class Assignment(Record, frozen=True):
    """A task of a round for each client."""

    assignment_type: AssignmentType
    goal: int = 0
    """A number, seconds or cash units: see `AssignmentType`. 0 for `end_flat`."""
    symbol: str = ""
    """Only this security counts. Empty for all securities."""
    text: str = ""
    """The words that clients read. Empty for the usual words."""


class ScheduledNews(Record, frozen=True):
    """News at a time of a round. Fields as in `PublishNews`."""

    at_seconds: int
    """Seconds of the round's clock."""
    headline: str
    text: str
    role: str
    client_id: str
    value_changes: dict[str, int]


class ScheduledState(Record, frozen=True):
    """A halt or the end of a halt at a time of a round."""

    at_seconds: int
    symbol: str
    state: TradingState
    """`halted` or `continuous`."""


class ScheduledPayout(Record, frozen=True):
    """A payout at a time of a round. Fields as in `PayOut`."""

    at_seconds: int
    symbol: str
    cash_per_lot: int
    final: bool


class ScheduledTender(Record, frozen=True):
    """A tender at a time of a round. Fields as in `OfferTender`."""

    at_seconds: int
    symbol: str
    side: Side
    quantity: int
    price: int
    role: str
    client_id: str
    seconds: int
    """The time for which the tender is open."""
    auction: bool = False
    """As in `OfferTender`."""


ScheduledEvent = ScheduledNews | ScheduledState | ScheduledPayout | ScheduledTender


class RoundPlan(Record, frozen=True):
    """One round of a plan."""

    name: str
    seconds: int
    """The length of the round, without pauses."""
    practice: bool = False
    """Whether the round does not count for grades."""
    cash: int | None = None
    """The cash of each client at the start, in cash units. None leaves it as it was at the end of the round before."""
    shares: dict[str, int] | None = None
    """The holdings of each client at the start, in lots by symbol. None leaves them as they were."""
    events: tuple[ScheduledEvent, ...] = ()
    house_bots: bool = True
    """Whether the accounts of the house may trade in the round."""
    assignments: tuple[Assignment, ...] = ()


class PlanSession(Record, frozen=True):
    """Plan a session. It begins in the lobby of its first round."""

    command_id: int
    """It becomes the id of the session."""
    timestamp: int
    name: str
    rounds: list[RoundPlan]


class ControlSession(Record, frozen=True):
    """Start, pause or end a round, or go to another one."""

    command_id: int
    timestamp: int
    action: SessionAction


class PublishNews(Record, frozen=True):
    """Publish news to everybody, or to the clients with a role, or to one client."""

    command_id: int
    """It becomes the id of the news."""
    timestamp: int
    headline: str
    text: str = ""
    role: str = ""
    """Only clients with this role receive it. Empty for no restriction by role."""
    client_id: str = ""
    """Only this client receives it. Empty for no restriction to one client."""
    value_changes: dict[str, int] = {}  # noqa: RUF012 - msgspec copies an empty default
    """The changes of values that the news states, in ticks by symbol. The engine does nothing with them."""


class AssignRole(Record, frozen=True):
    """Give a client a role in the session, and private unit values."""

    command_id: int
    timestamp: int
    client_id: str
    role: str
    """Empty takes the role away."""
    values: dict[str, list[int]] = {}  # noqa: RUF012 - msgspec copies an empty default
    """The value of each unit in ticks, the first unit first, by symbol. See `microexchange.induced_values`."""


class PayOut(Record, frozen=True):
    """Pay each holder of a security, such as a dividend. Short holders pay. The issuer is the other side."""

    command_id: int
    timestamp: int
    symbol: str
    cash_per_lot: int
    """Cash units for each lot."""
    final: bool = False
    """Whether it is a liquidation: holdings become zero, and the market is halted."""


class OfferTender(Record, frozen=True):
    """Offer clients to trade a quantity with the issuer at a fixed price. Each client may accept once."""

    command_id: int
    """It becomes the id of the tender."""
    timestamp: int
    symbol: str
    side: Side
    """The side of the client."""
    quantity: int
    price: int
    role: str
    """As in `PublishNews`."""
    client_id: str
    expires_at: int
    """The time from which nobody can accept it."""
    auction: bool = False
    """Whether clients answer with a price, and only the best one trades. `price` is then the worst price for the issuer."""


class AnswerTender(Record, frozen=True):
    """Accept or decline a tender."""

    command_id: int
    timestamp: int
    client_id: str
    tender_id: int
    accept: bool
    price: int = 0
    """The price of the client in cash units for a share, if the tender is an auction; 0 otherwise."""


SessionCommand = PlanSession | ControlSession | PublishNews | AssignRole | PayOut | OfferTender | AnswerTender
"""A command of a session."""
