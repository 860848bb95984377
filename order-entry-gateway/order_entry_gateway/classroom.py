"""Classroom mode: what is on the blackboard, and what a classroom makes of a command. Pure.

In a classroom everybody sees everybody's orders, nobody runs out of cash or shares, and there are no fees. The exchange
makes a profit only with the pricing rule `spread_capture`, which the settings choose; everybody sees that profit.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from microexchange.commands import Command, ListSecurity, OpenAccount
from microexchange.enums import ExecType, SelfTradePrevention, Side, TradingState
from microexchange.numbers import MAX_CASH, MAX_LOTS
from microexchange.records import Record
from microexchange.reports import OrderReport, SecurityListed, Trade, TradingStateChanged
from microexchange.resting_orders import RestingOrders

CREDIT = MAX_CASH // 10
"""How far below zero an account in a class may go: a hundred million. So hundreds may have one, and all that they can spend
together is still less than one account can count."""
THROUGHPUT_WINDOW = 1_000_000_000
"""Nanoseconds over which orders are counted for the throughput."""


def in_class(command: Command) -> Command:
    """What a classroom makes of a command: accounts may owe a lot and trade with themselves, securities may be sold
    short, and have no fees."""
    if isinstance(command, OpenAccount):
        return replace(command, credit_limit=CREDIT, self_trade_prevention=SelfTradePrevention.NONE)
    if isinstance(command, ListSecurity):
        return replace(command, maker_fee_bps=0, taker_fee_bps=0, short_limit=MAX_LOTS)
    return command


@dataclass(frozen=True)
class Deal:
    """A trade with the names on it."""

    trade: Trade
    buyer: str
    seller: str


class Blackboard:
    """The open orders by security and side, last prices, and the exchange's profit: a fold over the engine's reports."""

    def __init__(self) -> None:
        self.last_prices: dict[str, int] = {}
        """Ticks, of the securities that have traded."""
        self.profit = 0
        """Cash units that the exchange has kept: differences of the prices of two sides, and fees."""
        self.pre_open: set[str] = set()
        """Securities whose markets collect orders until they are opened."""
        self.orders = RestingOrders()
        self._tick_values: dict[str, int] = {}
        self._entered: deque[int] = deque()
        """When the orders of late entered."""

    def apply(self, reports: Sequence[Record]) -> list[Deal]:
        """Takes in some of the engine's reports, in order: the trades among them."""
        deals: list[Deal] = []
        trade: Trade | None = None
        names: dict[Side, str] = {}
        for report in reports:
            if isinstance(report, OrderReport):
                self._on_order(report)
                if trade is not None and report.trade_id == trade.trade_id:
                    names[report.side] = report.client_id
                    if len(names) == 2:
                        deals.append(Deal(trade, names[Side.BUY], names[Side.SELL]))
                        trade, names = None, {}
            elif isinstance(report, Trade):
                trade = report
                self.last_prices[report.symbol] = report.price
            elif isinstance(report, SecurityListed):
                self._tick_values[report.symbol] = report.tick_value
                self._on_state(report.symbol, report.state)
            elif isinstance(report, TradingStateChanged):
                self._on_state(report.symbol, report.state)
        return deals

    def _on_state(self, symbol: str, state: TradingState) -> None:
        if state is TradingState.PRE_OPEN:
            self.pre_open.add(symbol)
        else:
            self.pre_open.discard(symbol)

    def _on_order(self, report: OrderReport) -> None:
        if report.exec_type is ExecType.NEW:
            self._entered.append(report.timestamp)
            self.throughput(report.timestamp)
        elif report.exec_type is ExecType.TRADE:
            value = report.last_price * report.last_quantity * self._tick_values[report.symbol]
            self.profit += (value if report.side is Side.BUY else -value) + report.fee
        self.orders.apply(report)

    def throughput(self, now: int) -> int:
        """Orders that entered in the second before `now`, in nanoseconds."""
        entered = self._entered
        while entered and entered[0] <= now - THROUGHPUT_WINDOW:
            entered.popleft()
        return len(entered)
