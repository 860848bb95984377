"""The gateway's state of the market: securities, accounts and the newest report of each recent order.

It is a fold over the engine's reports, without I/O.
"""

from collections import Counter, OrderedDict, defaultdict

from microexchange.enums import ExecType, OrderStatus, SettlementStatus
from microexchange.records import Record
from microexchange.reports import (
    AccountOpened,
    ClientResumed,
    ClientSuspended,
    OrderReport,
    SecurityListed,
    SettlementReport,
)
from microexchange.securities import Security


class GatewayState:
    """Securities, accounts, and the newest report of each recent order."""

    MAX_ORDERS = 200_000
    """Orders in memory. Older orders are in `market_data`."""
    MAX_AGE_NS = 900 * 10**9
    """The time for which an order stays in memory after its last change, at least. It leaves only when it is stored."""

    def __init__(self) -> None:
        self.securities: dict[str, Security] = {}
        self.clients: set[str] = set()
        """Clients with an account."""
        self.house: set[str] = set()
        """Clients whose accounts belong to the exchange's own bots."""
        self.suspended: set[str] = set()
        self.orders: OrderedDict[int, OrderReport] = OrderedDict()
        """Newest report by order id. The order that changed last is at the end."""
        self.stored_until = 0
        """The time of the newest report that the feed has stored, as far as the gateway has asked."""
        self.open_order_counts: Counter[str] = Counter()
        """Number of open orders by client."""
        self.order_ids: defaultdict[str, set[int]] = defaultdict(set)
        """The ids in `orders` by client."""

    def apply(self, report: Record) -> None:
        """Apply a report of the engine."""
        if isinstance(report, OrderReport):
            self._store(report)
            if report.exec_type is ExecType.NEW:
                self.open_order_counts[report.client_id] += 1
            elif report.status.is_final and report.status is not OrderStatus.REJECTED:
                self.open_order_counts[report.client_id] -= 1
        elif isinstance(report, SecurityListed):
            self.securities[report.symbol] = Security(report)
        elif isinstance(report, AccountOpened):
            self.clients.add(report.client_id)
            if report.house:
                self.house.add(report.client_id)
        elif isinstance(report, ClientSuspended):
            self.suspended.add(report.client_id)
        elif isinstance(report, ClientResumed):
            self.suspended.discard(report.client_id)

    def add_pending(self, report: OrderReport) -> None:
        """Add this gateway's report of an order that is on the log. A report of the engine has precedence."""
        if report.order_id not in self.orders:
            self._store(report)

    def _store(self, report: OrderReport) -> None:
        orders = self.orders
        if report.order_id in orders:
            orders.move_to_end(report.order_id)
        else:
            self.order_ids[report.client_id].add(report.order_id)
        orders[report.order_id] = report
        if len(orders) > self.MAX_ORDERS:
            self._remove_oldest()
        # Two for each new one, so that a busy quarter of an hour is removed over the next one, without a pause.
        for _ in range(2):
            if next(iter(orders.values())).timestamp < self.kept_since(report.timestamp):
                self._remove_oldest()

    def kept_since(self, now: int) -> int:
        """Return the time since which orders and reports stay in memory."""
        return min(now - self.MAX_AGE_NS, self.stored_until)

    def _remove_oldest(self) -> None:
        order_id, oldest = self.orders.popitem(last=False)
        remaining = self.order_ids[oldest.client_id]
        remaining.discard(order_id)
        if not remaining:
            del self.order_ids[oldest.client_id]


def clients_of_failed_settlement(report: SettlementReport) -> list[str]:
    """Return the clients to suspend: those of a trade that the clearinghouse could not settle."""
    if report.status is SettlementStatus.SETTLED or not report.trade_id:
        return []
    return [client for client, _ in report.cash]
