"""The state of a session as data: its plan, its round and its clock."""

import msgspec

from microexchange.enums import Side, TradingState
from microexchange.numbers import NS_PER_SECOND
from microexchange.session_commands import PlanSession, RoundPlan, SessionState


class Tender(msgspec.Struct, array_like=True, frozen=True):
    """An offer of the issuer to clients."""

    symbol: str
    side: Side
    """The side of the client."""
    quantity: int
    price: int
    clients: list[str] | None
    """The clients that may answer; None for everybody."""
    expires_at: int
    auction: bool = False
    """Whether only the client with the best price trades."""


class Session(msgspec.Struct, array_like=True):
    """A session. Snapshots contain it as it is."""

    plan: PlanSession
    """The plan. The events of each round are in order of time."""
    state: SessionState = SessionState.LOBBY
    round_number: int = 1
    began_at: int = 0
    """Of a running round: the time at which it would have begun without its pauses, in nanoseconds."""
    elapsed: int = 0
    """The time on the clock of the round when it last stopped, in nanoseconds."""
    done: int = 0
    """The number of the round's events that have happened."""
    states_before_pause: dict[str, TradingState] = {}
    """In a pause: the state that each market gets after it, by symbol."""
    start_values: dict[str, int] = {}
    """The value of each account at the start of the round, with later transfers, in cash units."""
    start_lots: dict[str, dict[str, int]] = {}
    """The holdings of each account at the start of the round, with later transfers, in lots by client id and symbol."""
    roles: dict[str, str] = {}
    """By client id."""
    values: dict[str, dict[str, list[int]]] = {}
    """The value of each unit in ticks, by client id and symbol."""
    tenders: dict[int, Tender] = {}
    """The tenders of the round, by id."""
    answers: dict[int, list[str]] = {}
    """The clients that have answered each tender, by tender id."""
    bids: dict[int, dict[str, int]] = {}
    """The prices of clients in auctions of tenders, in ticks by tender id and client id. In order of arrival."""

    @property
    def round(self) -> RoundPlan:
        """The plan of the current round."""
        return self.plan.rounds[self.round_number - 1]

    @property
    def length(self) -> int:
        """The length of the current round in nanoseconds."""
        return self.round.seconds * NS_PER_SECOND

    @property
    def ends_at(self) -> int:
        """The time at which a running round ends; 0 in other states."""
        return self.began_at + self.length if self.state is SessionState.RUNNING else 0

    def next_due(self) -> int:
        """Return the time of the next event, auction or end of a running round; 0 in other states."""
        if self.state is not SessionState.RUNNING:
            return 0
        due, auction = self._next_event(), self.next_auction()
        return due if auction is None else min(due, self.tenders[auction].expires_at)

    def _next_event(self) -> int:
        """Return the time of the next event of a running round, or of its end."""
        events = self.round.events
        if self.done < len(events):
            return self.began_at + events[self.done].at_seconds * NS_PER_SECOND
        return self.ends_at

    def next_auction(self) -> int | None:
        """Return the id of the auction that ends next. None if no auction is open."""
        ends = [(tender.expires_at, tender_id) for tender_id, tender in self.tenders.items() if tender.auction]
        return min(ends)[1] if ends else None

    def due_auction(self) -> int | None:
        """Return the id of the auction that ends before the next event of a running round, or at its time."""
        auction = self.next_auction()
        return auction if auction is not None and self.tenders[auction].expires_at <= self._next_event() else None

    def remaining(self, now: int) -> int:
        """Return the nanoseconds of the round that are left at `now`."""
        elapsed = now - self.began_at if self.state is SessionState.RUNNING else self.elapsed
        return max(self.length - elapsed, 0)

    def copy(self) -> "Session":
        """Return a session that shares nothing with this one that can change."""
        return msgspec.structs.replace(
            self,
            states_before_pause=dict(self.states_before_pause),
            start_values=dict(self.start_values),
            start_lots={client_id: dict(lots) for client_id, lots in self.start_lots.items()},
            roles=dict(self.roles),
            values=dict(self.values),
            tenders=dict(self.tenders),
            answers={tender_id: list(clients) for tender_id, clients in self.answers.items()},
            bids={tender_id: dict(prices) for tender_id, prices in self.bids.items()},
        )
