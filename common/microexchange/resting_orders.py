"""The resting orders of all books, computed from order reports. Pure."""

from collections.abc import Iterable

from microexchange.enums import ExecType, Liquidity, OrderStatus, Side
from microexchange.reports import OrderReport


class RestingOrders:
    """The resting orders by security and side. A stop order rests only after its trigger."""

    def __init__(self) -> None:
        self._books: dict[tuple[str, Side], dict[int, OrderReport]] = {}
        """The newest reports of the orders of one side, by order id, in order of time priority."""
        self._shown: dict[int, int] = {}
        """Lots that the book shows of an iceberg, by order id."""

    def apply(self, report: OrderReport) -> bool:
        """Apply a report. Return whether the order in the book changed."""
        place = (report.symbol, report.side)
        resting = self._books.get(place, {})
        known = resting.get(report.order_id)
        if report.status not in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED):
            self._shown.pop(report.order_id, None)
            return resting.pop(report.order_id, None) is not None
        if known is None and _waits_for_trigger(report):
            return False
        self._books[place] = resting
        has_moved = known is not None and (report.price != known.price or report.quantity > known.quantity)
        if report.display_quantity:
            shown = None if known is None else self._slice_left(report, has_moved)
            has_moved = has_moved or shown == 0
            self._shown[report.order_id] = shown or _slice(report, known is not None)
        if has_moved:
            # The order loses its time priority (rules 1.4 and 2.5).
            del resting[report.order_id]
        resting[report.order_id] = report
        return True

    def _slice_left(self, report: OrderReport, has_moved: bool) -> int:
        """Return the lots that a report leaves of an iceberg's slice; 0 if the next slice is shown."""
        if report.exec_type is ExecType.TRADE:
            # A taker was not in the book.
            is_taker = report.liquidity is Liquidity.TAKER
            return 0 if is_taker else max(self._shown[report.order_id] - report.last_quantity, 0)
        return 0 if has_moved else min(self._shown[report.order_id], report.leaves_quantity)

    def shown(self, report: OrderReport) -> int:
        """Return the lots that the book shows of a resting order."""
        return self._shown[report.order_id] if report.display_quantity else report.leaves_quantity

    def side(self, symbol: str, side: Side) -> list[OrderReport]:
        """Return the orders of one side of a book, the best price first, and the oldest first at each price."""
        sign = -1 if side is Side.BUY else 1
        priced = [(sign * report.price, report) for report in self._of(symbol, side) if report.price is not None]
        return [report for _, report in sorted(priced, key=lambda entry: entry[0])]

    def find(self, symbol: str, side: Side, order_id: int) -> OrderReport | None:
        """Return the newest report of a resting order."""
        return self._books.get((symbol, side), {}).get(order_id)

    def _of(self, symbol: str, side: Side) -> Iterable[OrderReport]:
        return self._books.get((symbol, side), {}).values()

    def symbols(self) -> list[str]:
        """Return the symbols of the books with resting orders."""
        return sorted({symbol for (symbol, _), resting in self._books.items() if resting})


def _waits_for_trigger(report: OrderReport) -> bool:
    """Return whether an order that is not in the book waits for its trigger.

    An order of a restored book does not wait. The command of its report is not the order's own command.
    """
    if report.trigger_price is None:
        return False
    is_entry = report.exec_type is ExecType.NEW and report.command_id == report.order_id
    return is_entry or (report.exec_type is ExecType.REPLACED and not report.cumulative_quantity)


def _slice(report: OrderReport, is_next: bool) -> int:
    """Return the lots of the slice that an iceberg shows: of the next slice, or an estimate from the first report.

    The estimate is exact unless the order traded on entry or was amended.
    """
    slice_lots = report.display_quantity
    return min(slice_lots if is_next else slice_lots - report.cumulative_quantity % slice_lots, report.leaves_quantity)
