"""The state of a classroom, and the terms that it gives to accounts and securities. Without I/O.

In a classroom every order is public, every account has a large credit and may sell short, and there are no fees. The
exchange makes a profit only with the pricing rule `spread_capture`, which a setting selects. The profit is public.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from microexchange.commands import Command, ListSecurity, OpenAccount
from microexchange.enums import ExecType, SelfTradePrevention, Side, TradingState
from microexchange.numbers import MAX_CASH, MAX_LOTS
from microexchange.records import Record
from microexchange.reports import OrderReport, SecurityListed, Trade, TradingStateChanged
from microexchange.resting_orders import RestingOrders

CREDIT = MAX_CASH // 10
"""Cash units by which an account in a classroom may be below zero: a hundred million in currency. With hundreds of accounts,
the total that all can spend is still less than the largest balance of one account."""
THROUGHPUT_WINDOW_NS = 1_000_000_000
"""Period over which orders are counted for the throughput."""


def classroom_terms(command: Command) -> Command:
    """Return the command with a classroom's terms: credit and self-trades for accounts, short sales and no fees for
    securities."""
    if isinstance(command, OpenAccount):
        return replace(command, credit_limit=CREDIT, self_trade_prevention=SelfTradePrevention.NONE)
    if isinstance(command, ListSecurity):
        return replace(command, maker_fee_bps=0, taker_fee_bps=0, short_limit=MAX_LOTS)
    return command


@dataclass(frozen=True)
class NamedTrade:
    """A trade with the client ids of both sides."""

    trade: Trade
    buyer: str
    seller: str


class ClassroomState:
    """The open orders by security and side, the last prices, and the exchange's profit: a fold over the engine's reports."""

    def __init__(self) -> None:
        self.last_prices: dict[str, int] = {}
        """Ticks, by symbol of the securities that have traded."""
        self.profit = 0
        """Cash units that the exchange has kept: differences between the prices of two sides, and fees."""
        self.pre_open: set[str] = set()
        """Symbols of securities in the state `pre_open`."""
        self.orders = RestingOrders()
        self._tick_values: dict[str, int] = {}
        self._entry_times: deque[int] = deque()
        """Nanoseconds of Unix time at which recent orders entered."""

    def load(
        self,
        listings: Iterable[SecurityListed],
        last_prices: Iterable[tuple[str, int]],
        open_orders: Iterable[OrderReport],
        profit: int,
    ) -> None:
        """Start from stored state. `last_prices` are symbols and ticks, `profit` is in cash units."""
        self.apply(list(listings))
        self.last_prices.update(last_prices)
        for report in open_orders:
            self.orders.apply(report)
        self.profit = profit

    def apply(self, reports: Sequence[Record]) -> list[NamedTrade]:
        """Apply reports of the engine, in order. Return the trades among them."""
        trades: list[NamedTrade] = []
        trade: Trade | None = None
        names: dict[Side, str] = {}
        for report in reports:
            if isinstance(report, OrderReport):
                self._on_order(report)
                if trade is not None and report.trade_id == trade.trade_id:
                    names[report.side] = report.client_id
                    if len(names) == 2:
                        trades.append(NamedTrade(trade, names[Side.BUY], names[Side.SELL]))
                        trade, names = None, {}
            elif isinstance(report, Trade):
                trade = report
                self.last_prices[report.symbol] = report.price
            elif isinstance(report, SecurityListed):
                self._tick_values[report.symbol] = report.tick_value
                self._on_state(report.symbol, report.state)
            elif isinstance(report, TradingStateChanged):
                self._on_state(report.symbol, report.state)
        return trades

    def _on_state(self, symbol: str, state: TradingState) -> None:
        if state is TradingState.PRE_OPEN:
            self.pre_open.add(symbol)
        else:
            self.pre_open.discard(symbol)

    def _on_order(self, report: OrderReport) -> None:
        if report.exec_type is ExecType.NEW:
            self._entry_times.append(report.timestamp)
            self.throughput(report.timestamp)
        elif report.exec_type is ExecType.TRADE:
            value = report.last_price * report.last_quantity * self._tick_values[report.symbol]
            self.profit += (value if report.side is Side.BUY else -value) + report.fee
        self.orders.apply(report)

    def throughput(self, now: int) -> int:
        """Return the number of orders that entered in the second before `now`, in nanoseconds of Unix time."""
        entry_times = self._entry_times
        while entry_times and entry_times[0] <= now - THROUGHPUT_WINDOW_NS:
            entry_times.popleft()
        return len(entry_times)
