"""The orders that stand in the books, one by one, as the order reports tell it: a fold. Pure."""

from collections.abc import Iterable

from microexchange.messages import ExecType, OrderReport, OrderStatus, Side


class StandingOrders:
    """Open orders by security and side. A stop is in no book until it is triggered."""

    def __init__(self) -> None:
        self._books: dict[tuple[str, Side], dict[int, OrderReport]] = {}
        """The newest reports of the orders of one side, in the order in which they came to stand there."""

    def apply(self, report: OrderReport) -> bool:
        """Takes in a report: whether the order stands otherwise than before."""
        standing = self._books.setdefault((report.symbol, report.side), {})
        known = standing.get(report.order_id)
        if report.status not in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED):
            return standing.pop(report.order_id, None) is not None
        if known is not None:
            if report.price != known.price or report.quantity > known.quantity:
                # It has lost its place (rule 1.4).
                del standing[report.order_id]
            standing[report.order_id] = report
            return True
        if report.trigger_price is None or report.exec_type not in (ExecType.NEW, ExecType.REPLACED):
            standing[report.order_id] = report
            return True
        return False

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


def shown(report: OrderReport) -> int:
    """Lots of a standing order that the book shows: of an iceberg, what is left of the part that shows now."""
    part = report.display_quantity
    if not part:
        return report.leaves_quantity
    return min(part - report.cumulative_quantity % part, report.leaves_quantity)
