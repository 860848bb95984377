"""The requests about a session, its payouts and its tenders, and the commands that they become. Without I/O."""

import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

import msgspec

from microexchange.access import checked_client_id
from microexchange.enums import Side, TradingState
from microexchange.number_fields import Amount, SignedAmount
from microexchange.numbers import MAX_TICKS, NS_PER_SECOND, NotExactError, to_steps
from microexchange.refusals import Code, Refusal
from microexchange.securities import Security
from microexchange.session_commands import (
    MAX_ASSIGNMENTS,
    MAX_HEADLINE,
    MAX_NAME,
    MAX_ROUND_SECONDS,
    MAX_ROUNDS,
    MAX_TEXT,
    Assignment,
    AssignmentType,
    AssignRole,
    OfferTender,
    PayOut,
    PlanSession,
    PublishNews,
    RoundPlan,
    ScheduledEvent,
    ScheduledNews,
    ScheduledPayout,
    ScheduledState,
    ScheduledTender,
)
from order_entry_gateway.requests import PRINTABLE, cash_amount, find_security

LINES = r"^[^\x00-\x08\x0b-\x1f\x7f]*$"
"""The pattern of text with tabs and line ends."""
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME, pattern=PRINTABLE)]
OptionalName = Annotated[str, msgspec.Meta(max_length=MAX_NAME, pattern=PRINTABLE)]
Headline = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_HEADLINE, pattern=PRINTABLE)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT, pattern=LINES)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_ROUND_SECONDS)]


class NewsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Publish news. Without `role` and `client_id` it is for everybody."""

    headline: Headline
    text: Text = ""
    role: OptionalName = ""
    """Only the clients with this role receive it."""
    client_id: OptionalName = ""
    """Only this client receives it."""
    value_changes: dict[str, SignedAmount] = {}
    """The changes of values that the news states, in cash for a share, by symbol."""


class NewsEvent(NewsRequest, frozen=True, tag_field="type", tag="news"):
    """News at a time of a round."""

    at_seconds: Seconds


class StateEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="state"):
    """A halt at a time of a round, or the end of one. `state` is `halted` or `continuous`."""

    at_seconds: Seconds
    symbol: str
    state: TradingState


class PayoutTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A payout. `amount` is in cash for a share. In place of it, `draw` is a list of amounts, of which one is drawn."""

    symbol: str
    amount: Amount | None = None
    draw: Annotated[list[Amount], msgspec.Meta(max_length=1_000)] = []
    final: bool = False
    """A final payout takes all holdings, and halts the market."""


class PayoutRequest(PayoutTerms, frozen=True):
    """Pay each holder of a security. `amount` is in cash for a share. In place of it, `draw` is a list of amounts, of which
    one is drawn at random."""


class PayoutEvent(PayoutTerms, frozen=True, tag_field="type", tag="payout"):
    """A payout at a time of a round. A random amount is drawn when the session is planned."""

    at_seconds: Seconds


class TenderTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tender: the exchange trades `quantity` at `price` with each client that accepts."""

    symbol: str
    side: Side
    """The side of the client."""
    quantity: Amount
    price: Amount
    seconds: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROUND_SECONDS)] = 30
    """The time for which it is open. A pause does not extend it."""
    role: OptionalName = ""
    """Only the clients with this role receive it."""
    client_id: OptionalName = ""
    """Only this client receives it."""
    auction: bool = False
    """Whether clients answer with a price, and only the best one trades at the end of the time. `price` is the limit."""


class TenderRequest(TenderTerms, frozen=True):
    """Offer a tender now. Without `role` and `client_id` it is for everybody."""


class TenderEvent(TenderTerms, frozen=True, tag_field="type", tag="tender"):
    """A tender at a time of a round."""

    at_seconds: Seconds


class TenderAnswerRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accept a tender, or decline it."""

    accept: bool
    price: Amount | None = None
    """Your price, if the tender is an auction."""


class AssignmentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task of a round for each client."""

    type: AssignmentType
    goal: Amount | None = None
    """A number of limit orders or trades, seconds for `quote_both_sides`, cash for `profit`. `end_flat` has none."""
    symbol: str = ""
    """Only this security counts. Empty for all securities."""
    text: Annotated[str, msgspec.Meta(max_length=MAX_HEADLINE, pattern=PRINTABLE)] = ""
    """The words that clients read. Empty for the usual words."""


EventRequest = NewsEvent | StateEvent | PayoutEvent | TenderEvent


class RoundRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A round of a session."""

    seconds: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROUND_SECONDS)]
    """The length of the round, without pauses."""
    name: OptionalName = ""
    """The default is `Round` and its number."""
    practice: bool = False
    """A practice round does not count for grades."""
    cash: Amount | None = None
    """The cash of each client at the start. Null leaves it as it is."""
    shares: dict[str, Amount] | None = None
    """The holdings of each client at the start, by symbol. Null leaves them as they are."""
    events: list[EventRequest] = []
    house_bots: bool = True
    """Whether the accounts of the house may trade in the round."""
    assignments: Annotated[list[AssignmentRequest], msgspec.Meta(max_length=MAX_ASSIGNMENTS)] = []


class SessionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Plan a session."""

    name: Name = "session"
    rounds: Annotated[list[RoundRequest], msgspec.Meta(min_length=1, max_length=MAX_ROUNDS)]


class Hand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A role with its private values."""

    role: Name
    values: dict[str, list[Amount]] = {}
    """The value of each unit in cash, the first unit first, by symbol."""


class RoleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Give a client a role and private values."""

    role: OptionalName
    """Empty takes the role away."""
    values: dict[str, list[Amount]] = {}
    """The value of each unit in cash, the first unit first, by symbol."""


def plan_session(request: SessionRequest, securities: dict[str, Security], command_id: int, timestamp: int) -> PlanSession:
    """Return the command that plans the session.

    Raises:
        Refusal: `UNKNOWN_SYMBOL`, or `INVALID_FIELD` with the field.
    """
    rounds = [_round(round_request, index, securities) for index, round_request in enumerate(request.rounds)]
    return PlanSession(command_id, timestamp, request.name, rounds)


def _round(request: RoundRequest, index: int, securities: dict[str, Security]) -> RoundPlan:
    place = f"rounds[{index}]"
    cash = None if request.cash is None else cash_amount(request.cash, f"{place}.cash")
    shares = None
    if request.shares is not None:
        shares = {
            symbol: find_security(securities, symbol).lots(quantity, f"{place}.shares")
            for symbol, quantity in request.shares.items()
            if quantity
        }
    events = tuple(_event(event, f"{place}.events[{number}]", securities) for number, event in enumerate(request.events))
    assignments = tuple(
        _assignment(assignment, f"{place}.assignments[{number}]", securities)
        for number, assignment in enumerate(request.assignments)
    )
    terms = request.seconds, request.practice, cash, shares, events, request.house_bots, assignments
    return RoundPlan(request.name or f"Round {index + 1}", *terms)


def _assignment(request: AssignmentRequest, place: str, securities: dict[str, Security]) -> Assignment:
    field = f"{place}.goal"
    if request.symbol:
        find_security(securities, request.symbol)
    if request.type is AssignmentType.END_FLAT:
        if request.goal is not None:
            raise Refusal(Code.INVALID_FIELD, f"{field} must be left out for end_flat", field)
        return Assignment(request.type, 0, request.symbol, request.text)
    if not request.goal:
        raise Refusal(Code.INVALID_FIELD, f"{field} must be a positive number", field)
    if request.type is AssignmentType.PROFIT:
        return Assignment(request.type, cash_amount(request.goal, field), request.symbol, request.text)
    if request.goal != int(request.goal) or request.goal > MAX_ROUND_SECONDS:
        raise Refusal(Code.INVALID_FIELD, f"{field} must be a whole number up to {MAX_ROUND_SECONDS}", field)
    return Assignment(request.type, int(request.goal), request.symbol, request.text)


def _event(event: EventRequest, place: str, securities: dict[str, Security]) -> ScheduledEvent:
    if isinstance(event, StateEvent):
        find_security(securities, event.symbol)
        if event.state not in (TradingState.HALTED, TradingState.CONTINUOUS):
            field = f"{place}.state"
            raise Refusal(Code.INVALID_FIELD, f"{field} must be halted or continuous", field)
        return ScheduledState(event.at_seconds, event.symbol, event.state)
    if isinstance(event, PayoutEvent):
        return ScheduledPayout(event.at_seconds, event.symbol, _cash_per_lot(event, securities, place), event.final)
    if isinstance(event, TenderEvent):
        return ScheduledTender(event.at_seconds, *_tender_terms(event, securities), event.seconds, event.auction)
    changes = _ticks(event.value_changes, f"{place}.value_changes", securities)
    return ScheduledNews(event.at_seconds, event.headline, event.text, event.role, event.client_id, changes)


def pay_out(request: PayoutRequest, securities: dict[str, Security], command_id: int, timestamp: int) -> PayOut:
    """Return the command that pays the holders. A random amount is drawn here.

    Raises:
        Refusal: `UNKNOWN_SYMBOL`, or `INVALID_FIELD` with the field.
    """
    amount = _cash_per_lot(request, securities, "")
    return PayOut(command_id, timestamp, request.symbol, amount, request.final)


def _cash_per_lot(terms: PayoutTerms, securities: dict[str, Security], place: str) -> int:
    """Return the amount of a payout in cash units for a lot."""
    security, prefix = find_security(securities, terms.symbol), f"{place}." if place else ""
    if (terms.amount is None) == (not terms.draw):
        raise Refusal(Code.INVALID_FIELD, f"{prefix}amount or {prefix}draw: give one of them", f"{prefix}amount")
    field = f"{prefix}draw" if terms.amount is None else f"{prefix}amount"
    amounts = [cash_amount(amount * security.lot_size, field) for amount in (terms.draw or [terms.amount or Decimal(0)])]
    return secrets.choice(amounts)


def offer_tender(request: TenderRequest, securities: dict[str, Security], command_id: int, timestamp: int) -> OfferTender:
    """Return the command that offers the tender.

    Raises:
        Refusal: `UNKNOWN_SYMBOL`, or `INVALID_FIELD` with the field.
    """
    expires_at = timestamp + request.seconds * NS_PER_SECOND
    return OfferTender(command_id, timestamp, *_tender_terms(request, securities), expires_at, request.auction)


def _tender_terms(terms: TenderTerms, securities: dict[str, Security]) -> tuple[str, Side, int, int, str, str]:
    security = find_security(securities, terms.symbol)
    lots, ticks = security.lots(terms.quantity), security.ticks(terms.price)
    return terms.symbol, terms.side, lots, ticks, terms.role, terms.client_id


def publish_news(request: NewsRequest, securities: dict[str, Security], command_id: int, timestamp: int) -> PublishNews:
    """Return the command that publishes the news.

    Raises:
        Refusal: `UNKNOWN_SYMBOL`, or `INVALID_FIELD` with the field.
    """
    changes = _ticks(request.value_changes, "value_changes", securities)
    terms = request.headline, request.text, request.role, request.client_id, changes
    return PublishNews(command_id, timestamp, *terms)


def assign_role(
    request: RoleRequest, client_id: str, securities: dict[str, Security], command_id: int, timestamp: int
) -> AssignRole:
    """Return the command that gives the client its role.

    Raises:
        Refusal: `UNKNOWN_SYMBOL`, or `INVALID_FIELD` with the field.
    """
    values = {
        symbol: [_tick(value, "values", find_security(securities, symbol)) for value in unit_values]
        for symbol, unit_values in request.values.items()
    }
    if any(ticks < 0 for unit_values in values.values() for ticks in unit_values):
        raise Refusal(Code.INVALID_FIELD, "values must not be negative", "values")
    return AssignRole(command_id, timestamp, checked_client_id(client_id), request.role, values)


def _ticks(changes: Mapping[str, Decimal], field: str, securities: dict[str, Security]) -> dict[str, int]:
    return {symbol: _tick(change, field, find_security(securities, symbol)) for symbol, change in changes.items()}


def _tick(value: Decimal, field: str, security: Security) -> int:
    """Return an amount of cash for a share in ticks. It may be negative or zero."""
    try:
        ticks = to_steps(value, security.tick_size) if value else 0
    except NotExactError as error:
        raise Refusal(Code.INVALID_FIELD, f"{field} must be multiples of the tick size: {error}", field) from error
    if abs(ticks) > MAX_TICKS:
        raise Refusal(Code.INVALID_FIELD, f"{field} must be within {MAX_TICKS} ticks", field)
    return ticks
