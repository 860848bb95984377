"""The language of the golden scripts: readable commands, and the events that they cause.

A line that begins with `>` is a command. The lines below it are the events of the engine, in order. Orders have the names
#1, #2, … in order of entry. Prices are in ticks of 0.01, quantities in lots of one share.
"""

import re
from typing import Any

from matching_engine.engine import Engine
from microexchange.commands import (
    CancelAll,
    CancelOrder,
    ListSecurity,
    LoadBook,
    NewOrder,
    OpenAccount,
    ReplaceOrder,
    ResumeClient,
    SaveBook,
    SetTradingState,
    SuspendClient,
    TimeTick,
    TransferAssets,
)
from microexchange.enums import ExecType, OrderType, PricingRule, SelfTradePrevention, Side, TimeInForce, TradingState
from microexchange.ids import IdSequence
from microexchange.instructions import Execution
from microexchange.numbers import CASH_SCALE, cash_to_text
from microexchange.reports import (
    AssetsTransferred,
    AuctionUpdate,
    BookLoaded,
    BookSaved,
    ClientSuspended,
    CommandRejected,
    OrderRepeated,
    OrderReport,
    PriceUpdate,
    TradingStateChanged,
)
from microexchange.session_commands import (
    AnswerTender,
    AssignRole,
    ControlSession,
    OfferTender,
    PayOut,
    PlanSession,
    PublishNews,
    RoundPlan,
    ScheduledNews,
    ScheduledState,
    SessionAction,
)
from microexchange.session_reports import (
    NewsPublished,
    PaidOut,
    RoleAssigned,
    RoundEnded,
    SessionChanged,
    TenderAnswered,
    TenderOffered,
)
from tests.unit.market import events_of

SECOND = 1_000_000_000
CLIENTS = ("alice", "bob", "carol")


class ScriptRunner:
    """An engine with one security, X, reference price 1000, fees 10 and 20 bps. Each client has 10,000.00 and 100 X."""

    def __init__(self) -> None:
        self._engine = Engine()
        self._ids = IdSequence(0)
        self._now = 1
        self._orders: dict[int, int] = {}
        self._terms: dict[str, Any] = {}
        self._preventions: dict[str, SelfTradePrevention] = {}
        self._credit: dict[str, int] = {}
        self._short: dict[str, int] = {}
        self._open = False
        self._tenders: list[int] = []

    def execute(self, line: str) -> list[str]:
        """Execute a command. Return its events as lines."""
        verb, *words = line.split()
        if verb == "terms":
            self._terms = {key: _term(key, value) for key, value in (word.split("=") for word in words)}
            return []
        if verb == "credit":
            self._credit[words[0]] = int(words[1]) * CASH_SCALE
            return []
        if verb == "may-be-short":
            self._short[words[0]] = int(words[1]) * CASH_SCALE
            return []
        if verb == "prevention":
            self._preventions[words[0]] = SelfTradePrevention(words[1])
            return []
        if not self._open:
            self._begin()
        return [text for event in events_of(self._engine.apply(self._command(verb, words))) if (text := self._line(event))]

    def _id(self) -> int:
        return self._ids.next(1_800_000_000 * SECOND)

    def _begin(self) -> None:
        self._open = True
        fees = {"maker_fee_bps": 10, "taker_fee_bps": 20}
        self._engine.apply(ListSecurity(self._id(), 1, "X", "X Inc.", "0.01", "1", 1000, **{**fees, **self._terms}))
        for client in CLIENTS:
            prevention = self._preventions.get(client, SelfTradePrevention.CANCEL_NEWEST)
            credit = self._credit.get(client, 0)
            terms = prevention, credit, self._short.get(client, 0)
            self._engine.apply(OpenAccount(self._id(), 1, client, 10_000 * CASH_SCALE, {"X": 100}, *terms))

    def _command(self, verb: str, words: list[str]) -> Any:
        command_id, now = self._id(), self._now
        match verb:
            case "buy" | "sell":
                self._orders[command_id] = len(self._orders) + 1
                return _order(command_id, now, verb, words)
            case "cancel":
                return CancelOrder(command_id, now, words[0], self._number(words[1]))
            case "cancel-all":
                return CancelAll(command_id, now, words[0])
            case "amend":
                change = {key: int(value) for key, value in (word.split("=") for word in words[2:])}
                return ReplaceOrder(command_id, now, words[0], self._number(words[1]), **change)
            case "state":
                return SetTradingState(command_id, now, "X", TradingState(words[0]))
            case "wait":
                self._now += int(float(words[0]) * SECOND)
                return TimeTick(command_id, self._now)
            case "plan":
                return PlanSession(command_id, now, "class", [_round(word) for word in words])
            case "session":
                return ControlSession(command_id, now, SessionAction(words[0]))
            case "news":
                return PublishNews(command_id, now, " ".join(words[1:]), **_audience(words[0]))
            case "pay":
                return PayOut(command_id, now, "X", int(words[0]) * CASH_SCALE, "final" in words)
            case "tender":
                terms = Side(words[1]), int(words[2]), int(words[4])
                ends = self._now + int(words[6]) * SECOND
                self._tenders.append(command_id)
                audience = {"role": "", "client_id": "", **_audience(words[0])}
                return OfferTender(command_id, now, "X", *terms, **audience, expires_at=ends, auction="auction" in words)
            case "accept" | "decline":
                tender = self._tenders[-1] if self._tenders else 0
                price = int(words[1]) * CASH_SCALE // 100 if len(words) > 1 else 0
                return AnswerTender(command_id, now, words[0], tender, verb == "accept", price)
            case "open" | "open-house":
                is_house = verb == "open-house"
                return OpenAccount(command_id, now, words[0], 10_000 * CASH_SCALE, {"X": 100}, house=is_house)
            case "role":
                return AssignRole(command_id, now, words[0], words[1], {"X": [int(word) for word in words[2:]]})
            case "deposit" | "withdraw":
                sign = 1 if verb == "deposit" else -1
                shares = {"X": sign * int(words[2])} if len(words) > 2 else {}
                return TransferAssets(command_id, now, words[0], sign * int(words[1]) * CASH_SCALE, shares)
            case "suspend":
                return SuspendClient(command_id, now, words[0])
            case "resume":
                return ResumeClient(command_id, now, words[0])
            case "save":
                return SaveBook(command_id, now, "X", words[0])
            case "load":
                return LoadBook(command_id, now, "X", words[0])
        raise ValueError(f"there is no command {verb!r}")

    def _number(self, name: str) -> int:
        return next(order_id for order_id, number in self._orders.items() if f"#{number}" == name)

    def _name(self, order_id: int) -> str:
        return f"#{self._orders.setdefault(order_id, len(self._orders) + 1)}"

    def _line(self, event: Any) -> str:
        match event:
            case OrderReport():
                prefix = f"{self._name(event.order_id)} {event.client_id} {event.exec_type}"
                if event.exec_type is ExecType.TRADE:
                    fill = f"{event.last_quantity} @ {event.last_price}, fee {cash_to_text(event.fee)}"
                    return f"{prefix} {fill}: {event.status}, {event.leaves_quantity} left"
                price = "any" if event.price is None else event.price
                terms = f"{event.side} {event.leaves_quantity} @ {price}" if not event.status.is_final else event.code
                return f"{prefix} {terms}".rstrip()
            case Execution():
                buyer = f"{event.buyer} pays {cash_to_text(event.buyer_pays)}"
                return f"settle {event.quantity}: {buyer}, {event.seller} receives {cash_to_text(event.seller_receives)}"
            case PriceUpdate():
                return f"book {event.side} {event.price}: {event.quantity}"
            case TradingStateChanged():
                return f"state {event.state}"
            case AuctionUpdate():
                return f"auction {event.quantity} @ {event.price}, imbalance {event.imbalance}"
            case OrderRepeated():
                return f"{self._name(event.command_id)} repeats {self._name(event.order_id)}"
            case CommandRejected():
                return f"refused {event.code}"
            case ClientSuspended():
                return f"suspended {event.client_id}"
            case AssetsTransferred():
                return f"transferred {event.client_id} {cash_to_text(event.cash)}, {event.shares.get('X', 0)} X"
            case SessionChanged():
                return f"round {event.round_number} {event.state}, {event.remaining / SECOND:g} s left"
            case RoundEnded():
                profits = ", ".join(f"{client} {cash_to_text(end - start)}" for client, start, end in event.values)
                return f"profits {profits}"
            case NewsPublished():
                return f"news to {'all' if event.clients is None else ', '.join(event.clients)}: {event.headline}"
            case PaidOut():
                return f"paid {cash_to_text(event.cash_per_lot)} a lot, shortfall {cash_to_text(event.shortfall)}"
            case TenderOffered():
                clients = "all" if event.clients is None else ", ".join(event.clients)
                return f"tender to {clients}: {event.side} {event.quantity} @ {event.price}"
            case TenderAnswered():
                return f"tender {'accepted' if event.accepted else 'declined'} by {event.client_id}"
            case RoleAssigned():
                return f"role {event.client_id} {event.role}"
            case BookSaved():
                return f"saved {event.orders} orders"
            case BookLoaded():
                return f"loaded {event.orders} orders, {event.refused} refused"
        return ""


def _round(word: str) -> RoundPlan:
    """Return the round of a word. `60,cash=500,shares=10,halt@5,news@10` is a round of 60 seconds with two events."""
    seconds, *parts = word.split(",")
    terms = dict(part.split("=") for part in parts if "=" in part)
    events: list[ScheduledNews | ScheduledState] = []
    for name, at in (part.split("@") for part in parts if "@" in part):
        if name == "news":
            events.append(ScheduledNews(int(at), "an event", "", "", "", {}))
        else:
            state = TradingState.HALTED if name == "halt" else TradingState.CONTINUOUS
            events.append(ScheduledState(int(at), "X", state))
    cash = int(terms["cash"]) * CASH_SCALE if "cash" in terms else None
    shares = {"X": int(terms["shares"])} if "shares" in terms else None
    has_house = "no-house" not in parts
    return RoundPlan("round", int(seconds), cash=cash, shares=shares, events=tuple(events), house_bots=has_house)


def _audience(word: str) -> dict[str, str]:
    """Return the audience of `all`, `role:buyer` or `client:alice`."""
    kind, _, name = word.partition(":")
    return {} if kind == "all" else {"role" if kind == "role" else "client_id": name}


def _term(key: str, value: str) -> Any:
    if key == "pricing_rule":
        return PricingRule(value)
    return TradingState(value) if key == "state" else int(value)


def _order(command_id: int, now: int, side: str, words: list[str]) -> NewOrder:
    """Return the order of a command.

    Examples: `alice 5 @ 1000 ioc`, `alice 5` for a market order, `alice 5 stop 1100`, `alice 5 @ 1105 stop 1100`,
    `alice 5 @ 1000 as mine` with a client order id.
    """
    text = " ".join(words)
    client, quantity = words[0], int(words[1])
    price = re.search(r"@ (-?\d+)", text)
    trigger = re.search(r"(stop|take) (\d+)", text)
    ends = re.search(r"until (\d+)", text)
    shown = re.search(r"show (\d+)", text)
    name = re.search(r"as (\S+)", text)
    order_type = OrderType.LIMIT if price else OrderType.MARKET
    if trigger:
        names = {"stop": ("stop_market", "stop_limit"), "take": ("take_profit", "take_profit_limit")}
        order_type = OrderType(names[trigger[1]][price is not None])
    default = TimeInForce.GTD if ends else TimeInForce.GTC
    time_in_force = next((value for value in TimeInForce if value.value in words), default)
    return NewOrder(
        command_id,
        now,
        client,
        "X",
        Side(side),
        order_type,
        quantity,
        int(price[1]) if price else None,
        name[1] if name else "",
        time_in_force,
        1 + int(ends[1]) * SECOND if ends else 0,
        int(trigger[2]) if trigger else None,
        "post" in words,
        int(shown[1]) if shown else 0,
    )


def replay(text: str) -> str:
    """Return a script with the events that the engine emits now."""
    runner = ScriptRunner()
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(">"):
            lines += [line, *(f"    {event}" for event in runner.execute(line[1:].strip()))]
        elif not line.startswith("    "):
            lines.append(line)
    return "\n".join(lines) + "\n"
