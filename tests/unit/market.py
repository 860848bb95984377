"""Helpers for tests of the engine: an engine with accounts, and short forms of commands."""

from collections.abc import Sequence
from typing import Any, TypeVar

from matching_engine.context import Outcome
from matching_engine.engine import Engine
from microexchange.commands import CancelOrder, ListSecurity, NewOrder, OpenAccount, SuspendClient
from microexchange.enums import ExecType, OrderType, Side
from microexchange.ids import IdSequence
from microexchange.numbers import CASH_SCALE
from microexchange.reports import AccountOpened, AssetsTransferred, Event, OrderReport, PriceUpdate, Trade

E = TypeVar("E")
TICK_VALUE = CASH_SCALE // 100
"""The value of one lot of X at one tick, in cash units. The tick is 0.01 and the lot is 1."""


class Floor:
    """An engine with security X (fees 10 and 20 bps) and the clients a, b and c. Each has 10,000.00 and 100 X."""

    def __init__(self, clients: Sequence[str] = ("a", "b", "c"), cash: int = 10_000 * CASH_SCALE, shares: int = 100) -> None:
        self.engine = Engine()
        self._ids = IdSequence(0)
        self.log: list[Any] = []
        """All commands that were applied, in order."""
        self.listing("X")
        for client in clients:
            self.apply(OpenAccount(self.id(), 1, client, cash, {"X": shares}))

    def id(self) -> int:
        return self._ids.next(1_800_000_000_000_000_000)

    def apply(self, command: Any) -> list[Event]:
        self.log.append(command)
        return events_of(self.engine.apply(command))

    def listing(self, symbol: str, maker: int = 10, taker: int = 20) -> list[Event]:
        return self.apply(ListSecurity(self.id(), 1, symbol, f"{symbol} Inc.", "0.01", "1", 10_000, maker, taker))

    def enter(
        self, client: str, side: str, quantity: int, price: int | None, name: str = "", symbol: str = "X"
    ) -> tuple[int, list[Event]]:
        """Enter an order. Return its id and its events. Without a price it is a market order."""
        order_type = OrderType.MARKET if price is None else OrderType.LIMIT
        order_id = self.id()
        command = NewOrder(order_id, 1, client, symbol, Side(side), order_type, quantity, price, name)
        return order_id, self.apply(command)

    def buy(self, client: str, quantity: int, price: int | None = None, name: str = "") -> tuple[int, list[Event]]:
        return self.enter(client, "buy", quantity, price, name)

    def sell(self, client: str, quantity: int, price: int | None = None, name: str = "") -> tuple[int, list[Event]]:
        return self.enter(client, "sell", quantity, price, name)

    def cancel(self, client: str, order_id: int) -> list[Event]:
        return self.apply(CancelOrder(self.id(), 1, client, order_id))

    def suspend(self, client: str) -> list[Event]:
        return self.apply(SuspendClient(self.id(), 1, client, "a test"))

    def levels(self, side: str, symbol: str = "X") -> list[tuple[int, int, int]]:
        """Return the levels of a side as (price, lots, orders), best first."""
        book = self.engine.markets[symbol].book
        return [(level.price, level.quantity, level.count) for level in book.side(Side(side)).best_first()]


def events_of(outcome: Outcome) -> list[Event]:
    """Return the records of an outcome in one list: each instruction before the report of the same trade or transfer."""
    instructions, events = iter(outcome.instructions), list[Event]()
    for report in outcome.reports:
        if isinstance(report, (Trade, AccountOpened, AssetsTransferred)):
            events.append(next(instructions))
        events.append(report)
    assert next(instructions, None) is None
    return events


def of(event_type: type[E], events: Sequence[Any]) -> list[E]:
    """Return the events of one type."""
    return [event for event in events if isinstance(event, event_type)]


def last_report(events: Sequence[Any], order_id: int) -> OrderReport:
    """Return the newest report of an order."""
    return [report for report in of(OrderReport, events) if report.order_id == order_id][-1]


def fills(events: Sequence[Any], order_id: int) -> list[tuple[int, int]]:
    """Return the fills of an order as (quantity, price)."""
    return [
        (report.last_quantity, report.last_price)
        for report in of(OrderReport, events)
        if report.order_id == order_id and report.exec_type is ExecType.TRADE
    ]


def prices(events: Sequence[Any]) -> list[tuple[str, int, int]]:
    """Return the price updates as (side, price, lots)."""
    return [(update.side.value, update.price, update.quantity) for update in of(PriceUpdate, events)]
