"""The activity of a client in a round, and the progress of its assignments. A fold of reports without I/O.

A round begins without open orders, so the counts of open quotes begin with zero.
"""

import msgspec

from microexchange.enums import ExecType, OrderType, Side
from microexchange.numbers import NS_PER_SECOND
from microexchange.reports import OrderReport
from microexchange.session_commands import Assignment, AssignmentType


class RoundActivity(msgspec.Struct, array_like=True, tag=True):
    """The orders, trades and quotes of a client in one round."""

    client_id: str
    round_number: int
    orders: int = 0
    """Orders that were accepted."""
    ordered: int = 0
    """Lots of these orders."""
    filled: int = 0
    """Lots that have traded."""
    limit_orders: dict[str, int] = {}
    """Accepted limit orders by symbol."""
    trades: dict[str, int] = {}
    """Fills by symbol."""
    net: dict[str, int] = {}
    """Lots bought less lots sold, with tenders, by symbol."""
    spent: dict[str, int] = {}
    """Ticks times lots that the client has paid in trades, less those that it has received, by symbol. Without fees."""
    open_bids: dict[str, int] = {}
    """Buy orders in the book, by symbol."""
    open_asks: dict[str, int] = {}
    quoting_since: dict[str, int] = {}
    """The time since which there are a bid and an ask, in nanoseconds by symbol. A pause ends it."""
    quoted: dict[str, int] = {}
    """The time of earlier quotes on both sides, in nanoseconds by symbol."""
    role: str = ""
    """The role at the end of the round."""
    values: dict[str, list[int]] = {}
    """The private values at the end of the round."""

    def add_order(self, report: OrderReport, was_open: bool, is_open: bool) -> None:
        """Add a report of an order. `was_open` and `is_open` are its states in the book before and after the report."""
        symbol = report.symbol
        if report.exec_type is ExecType.NEW:
            self.orders += 1
            self.ordered += report.quantity
            if report.order_type is OrderType.LIMIT:
                self.limit_orders[symbol] = self.limit_orders.get(symbol, 0) + 1
        elif report.exec_type is ExecType.TRADE:
            self.trades[symbol] = self.trades.get(symbol, 0) + 1
            self.filled += report.last_quantity
            lots = report.last_quantity if report.side is Side.BUY else -report.last_quantity
            self.add_lots(symbol, lots)
            self.spent[symbol] = self.spent.get(symbol, 0) + lots * report.last_price
        if was_open is not is_open and report.trigger_price is None:
            counts = self.open_bids if report.side is Side.BUY else self.open_asks
            counts[symbol] = counts.get(symbol, 0) + (1 if is_open else -1)
            self._note_quotes(symbol, report.timestamp)

    def add_lots(self, symbol: str, lots: int) -> None:
        """Add lots that the client has received; negative for lots that it has delivered."""
        self.net[symbol] = self.net.get(symbol, 0) + lots

    def _note_quotes(self, symbol: str, now: int) -> None:
        quotes = self.open_bids.get(symbol, 0) > 0 and self.open_asks.get(symbol, 0) > 0
        since = self.quoting_since.get(symbol)
        if quotes and since is None:
            self.quoting_since[symbol] = now
        elif not quotes and since is not None:
            self.quoted[symbol] = self.quoted.get(symbol, 0) + now - since
            del self.quoting_since[symbol]

    def stop_clock(self, now: int) -> None:
        """End the time of the quotes, for a pause or the end of the round. `now` is in nanoseconds."""
        for symbol, since in self.quoting_since.items():
            self.quoted[symbol] = self.quoted.get(symbol, 0) + now - since
        self.quoting_since.clear()

    def start_clock(self, now: int) -> None:
        """Begin the time of the quotes again, after a pause."""
        for symbol in self.open_bids:
            self._note_quotes(symbol, now)

    def seconds_quoted(self, symbol: str, now: int) -> int:
        """Return the whole seconds of quotes on both sides. Without a `symbol`, those of the security with the most."""
        times = {name: self.quoted.get(name, 0) for name in {*self.quoted, *self.quoting_since}}
        for name, since in self.quoting_since.items():
            times[name] += max(now - since, 0)
        found = times.get(symbol, 0) if symbol else max(times.values(), default=0)
        return found // NS_PER_SECOND


class Progress(msgspec.Struct, frozen=True):
    """The progress of a client with an assignment."""

    done: int | None
    """A number, seconds or cash units; None before the end of the round, if only the end decides."""
    is_met: bool


def progress(assignment: Assignment, activity: RoundActivity, profit: int | None, now: int) -> Progress:
    """Return the progress of a client with an assignment.

    Args:
        profit: The profit of the client in cash units, if the round has ended; None otherwise.
        now: The time in nanoseconds.
    """
    symbol, goal = assignment.symbol, assignment.goal
    match assignment.assignment_type:
        case AssignmentType.LIMIT_ORDERS:
            done = _count(activity.limit_orders, symbol)
        case AssignmentType.TRADES:
            done = _count(activity.trades, symbol)
        case AssignmentType.QUOTE_BOTH_SIDES:
            done = activity.seconds_quoted(symbol, now)
        case AssignmentType.PROFIT:
            return Progress(profit, profit is not None and profit >= goal)
        case AssignmentType.END_FLAT:
            is_flat = not any(lots for name, lots in activity.net.items() if symbol in ("", name))
            return Progress(None, profit is not None and is_flat)
    return Progress(done, done >= goal)


def _count(counts: dict[str, int], symbol: str) -> int:
    return counts.get(symbol, 0) if symbol else sum(counts.values())
