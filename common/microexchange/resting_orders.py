"""The orders that stand in the books, one by one, as the order reports tell it: a fold. Pure."""

from collections.abc import Iterable

from microexchange.enums import ExecType, Liquidity, OrderStatus, Side
from microexchange.reports import OrderReport


class RestingOrders:
    """Open orders by security and side. A stop is in no book until it is triggered."""

    def __init__(self) -> None:
        self._books: dict[tuple[str, Side], dict[int, OrderReport]] = {}
        """The newest reports of the orders of one side, in the order of their places."""
        self._shown: dict[int, int] = {}
        """Lots that an iceberg shows, by its order id."""

    def apply(self, report: OrderReport) -> bool:
        """Takes in a report: whether the order stands otherwise than before."""
        standing = self._books.setdefault((report.symbol, report.side), {})
        known = standing.get(report.order_id)
        if report.status not in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED):
            self._shown.pop(report.order_id, None)
            return standing.pop(report.order_id, None) is not None
        if known is None and _waits(report):
            return False
        has_moved = known is not None and (report.price != known.price or report.quantity > known.quantity)
        if report.display_quantity:
            shown = None if known is None else self._left_of(report, has_moved)
            has_moved = has_moved or shown == 0
            self._shown[report.order_id] = shown or _first_shown(report, known is not None)
        if has_moved:
            # It has lost its place (rules 1.4 and 2.5).
            del standing[report.order_id]
        standing[report.order_id] = report
        return True

    def _left_of(self, report: OrderReport, has_moved: bool) -> int:
        """What is left of the part of an iceberg that showed before the report; 0 where it shows the next part."""
        if report.exec_type is ExecType.TRADE:
            # As the taker it had not come to rest.
            is_taker = report.liquidity is Liquidity.TAKER
            return 0 if is_taker else max(self._shown[report.order_id] - report.last_quantity, 0)
        return 0 if has_moved else min(self._shown[report.order_id], report.leaves_quantity)

    def shown(self, report: OrderReport) -> int:
        """Lots of a standing order that the book shows."""
        return self._shown[report.order_id] if report.display_quantity else report.leaves_quantity

    def side(self, symbol: str, side: Side) -> list[OrderReport]:
        """The orders of one side of a book, the best price first and at a price the oldest."""
        sign = -1 if side is Side.BUY else 1
        priced = [(sign * report.price, report) for report in self._of(symbol, side) if report.price is not None]
        return [report for _, report in sorted(priced, key=lambda entry: entry[0])]

    def find(self, symbol: str, side: Side, order_id: int) -> OrderReport | None:
        """The newest report of an order that stands there."""
        return self._books.get((symbol, side), {}).get(order_id)

    def _of(self, symbol: str, side: Side) -> Iterable[OrderReport]:
        return self._books.get((symbol, side), {}).values()

    def symbols(self) -> list[str]:
        """The securities in whose books orders stand."""
        return sorted({symbol for (symbol, _), standing in self._books.items() if standing})


def _waits(report: OrderReport) -> bool:
    """Whether an order that does not stand waits for its trigger. One that is put back with a saved book does not: its
    report was caused by another command than its own."""
    if report.trigger_price is None:
        return False
    is_entry = report.exec_type is ExecType.NEW and report.command_id == report.order_id
    return is_entry or (report.exec_type is ExecType.REPLACED and not report.cumulative_quantity)


def _first_shown(report: OrderReport, is_next: bool) -> int:
    """Lots of the part of an iceberg that shows: the next part, or, where this is the first report that was read, all that
    can be known from it. That is exact unless the order has traded on entry, or has been changed."""
    part = report.display_quantity
    return min(part if is_next else part - report.cumulative_quantity % part, report.leaves_quantity)
