"""The market as the gateway sees it: what is listed, and the orders of late. A fold over the engine's reports; pure."""

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


class MarketView:
    """Securities, and the newest report of each of the latest orders."""

    MAX_ORDERS = 200_000
    """Orders that are remembered; older ones are in `market_data`."""

    def __init__(self) -> None:
        self.securities: dict[str, Security] = {}
        self.clients: set[str] = set()
        """Who has an account."""
        self.house: set[str] = set()
        """Whose accounts are of the exchange's own bots."""
        self.suspended: set[str] = set()
        self.orders: OrderedDict[int, OrderReport] = OrderedDict()
        """Newest report by order id, the latest changed last."""
        self.open_orders: Counter[str] = Counter()
        """How many orders each client has open."""
        self.orders_of: defaultdict[str, set[int]] = defaultdict(set)
        """The ids in `orders` by client."""

    def apply(self, report: Record) -> None:
        """Takes in one report of the engine's."""
        if isinstance(report, OrderReport):
            self._remember(report)
            if report.exec_type is ExecType.NEW:
                self.open_orders[report.client_id] += 1
            elif report.status.is_final and report.status is not OrderStatus.REJECTED:
                self.open_orders[report.client_id] -= 1
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

    def pending(self, report: OrderReport) -> None:
        """Takes in that an order of ours is on the log; what the engine said of it goes before."""
        if report.order_id not in self.orders:
            self._remember(report)

    def _remember(self, report: OrderReport) -> None:
        orders = self.orders
        if report.order_id in orders:
            orders.move_to_end(report.order_id)
        else:
            self.orders_of[report.client_id].add(report.order_id)
        orders[report.order_id] = report
        if len(orders) > self.MAX_ORDERS:
            order_id, oldest = orders.popitem(last=False)
            left = self.orders_of[oldest.client_id]
            left.discard(order_id)
            if not left:
                del self.orders_of[oldest.client_id]


def faulted_clients(report: SettlementReport) -> list[str]:
    """The clients for whom trading must stop: the clearinghouse could not settle a trade of theirs."""
    if report.status is SettlementStatus.SETTLED or not report.trade_id:
        return []
    return [client for client, _ in report.cash]
