"""The market of a round afterwards: its trades, its equilibrium, and its book at many times. Pure."""

from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext

from microexchange.enums import ExecType, Side
from microexchange.numbers import NS_PER_SECOND, cash_to_text
from microexchange.reports import OrderReport, Trade
from microexchange.schemas import Answer
from microexchange.securities import Security
from microexchange.session_scores import Round, efficiency_of, equilibrium_of, ratio_text, units_of

MAX_FRAMES = 300
"""The frames of a replay."""
DEPTH = 5
"""The levels of each side in a frame."""


class EquilibriumView(Answer, frozen=True):
    """The competitive equilibrium of a security with private values."""

    quantity: int
    """The units that trade."""
    lowest_price: str | None
    """The lowest price at which the market clears; null if nothing trades."""
    highest_price: str | None
    surplus: str
    """The greatest gain of all together, in cash."""
    efficiency: str | None
    """The realised part of it; null if it is zero."""
    alpha: str | None
    """Smith's coefficient of convergence: the root of the mean squared difference of the prices of trades from the middle of
    the equilibrium prices, in per cent of that price. Null without trades."""
    demand: list[str]
    """The values of all units, the highest first."""
    supply: list[str]
    """The costs of all units, the lowest first."""


class RoundMarketView(Answer, frozen=True):
    """The trades of a security in a round."""

    symbol: str
    trades: list[tuple[float, str, str]]
    """(seconds since the start of the round with its pauses, price, quantity), oldest first."""
    equilibrium: EquilibriumView | None
    """Null without private values."""


class FrameView(Answer, frozen=True):
    """The book at a time of a round."""

    seconds: float
    """Seconds since the start of the round, with its pauses."""
    bids: list[tuple[str, str]]
    """(price, quantity), the best first. The quantity includes hidden quantity."""
    asks: list[tuple[str, str]]
    last_price: str | None
    """The price of the last trade of the round; null before it."""
    trades: int
    """The number of trades until then."""


def round_market(symbol: str, security: Security, trades: Sequence[Trade], began_at: int, data: Round) -> RoundMarketView:
    """Return the answer for a security. `trades` are those of the round, oldest first."""
    rows = [
        (_seconds(trade.timestamp - began_at), security.price_text(trade.price), security.quantity_text(trade.quantity))
        for trade in trades
    ]
    has_values = any(units_of(data, symbol))
    equilibrium = _equilibrium(symbol, security, [trade.price for trade in trades], data) if has_values else None
    return RoundMarketView(symbol=symbol, trades=rows, equilibrium=equilibrium)


def _equilibrium(symbol: str, security: Security, prices: list[int], data: Round) -> EquilibriumView:
    found, efficiency = equilibrium_of(data, symbol), efficiency_of(data, symbol)
    values, costs = units_of(data, symbol)
    low, high = found.lowest_price, found.highest_price
    return EquilibriumView(
        quantity=found.quantity,
        lowest_price=None if low is None else security.price_text(low),
        highest_price=None if high is None else security.price_text(high),
        surplus=cash_to_text(found.surplus * security.listing.tick_value),
        efficiency=None if efficiency is None else ratio_text(efficiency),
        alpha=None if low is None or high is None else smiths_alpha(prices, low, high),
        demand=[security.price_text(unit) for unit in sorted((u for own in values.values() for u in own), reverse=True)],
        supply=[security.price_text(unit) for unit in sorted(u for own in costs.values() for u in own)],
    )


def smiths_alpha(prices: Sequence[int], lowest: int, highest: int) -> str | None:
    """Return Smith's coefficient of convergence in per cent. None without prices, or for an equilibrium at zero.

    >>> smiths_alpha([90, 110], 100, 100)
    '10.0'
    """
    middle = Decimal(lowest + highest) / 2
    if not prices or not middle:
        return None
    with localcontext() as context:
        context.prec = 30
        mean_square = sum(((price - middle) ** 2 for price in prices), Decimal(0)) / len(prices)
        return f"{100 * mean_square.sqrt() / middle:.1f}"


def replay(
    reports: Iterable[OrderReport], security: Security, began_at: int, ended_at: int, frames: int = MAX_FRAMES
) -> list[FrameView]:
    """Return the book at equal steps of a round. `reports` are those of its orders in their order."""
    length = max(ended_at - began_at, 1)
    times = [began_at + length * number // frames for number in range(1, frames + 1)]
    book, found = _Book(), list[FrameView]()
    for report in reports:
        while len(found) < frames and times[len(found)] < report.timestamp:
            found.append(book.frame(security, times[len(found)] - began_at))
        if report.timestamp > ended_at:
            break
        book.apply(report)
    while len(found) < frames:
        found.append(book.frame(security, times[len(found)] - began_at))
    return found


class _Book:
    """The open quantity by price, and the last trade. A round begins with an empty book."""

    def __init__(self) -> None:
        self._orders: dict[int, tuple[Side, int, int]] = {}
        """(side, price, lots) by order id."""
        self._levels: dict[Side, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}
        self._last_price: int | None = None
        self._trades: set[int] = set()
        self._triggered: set[int] = set()

    def apply(self, report: OrderReport) -> None:
        """Apply a report of an order."""
        if report.exec_type is ExecType.TRADE:
            self._last_price = report.last_price
            self._trades.add(report.trade_id)
        before = self._orders.pop(report.order_id, None)
        if before is not None:
            self._add(*before, -1)
        if report.exec_type is ExecType.TRIGGERED:
            self._triggered.add(report.order_id)
        is_stop = report.trigger_price is not None and report.order_id not in self._triggered
        waits = is_stop or report.exec_type is ExecType.PENDING_NEW
        if report.price is not None and not report.status.is_final and not waits:
            self._orders[report.order_id] = now = (report.side, report.price, report.leaves_quantity)
            self._add(*now, 1)

    def _add(self, side: Side, price: int, lots: int, sign: int) -> None:
        levels = self._levels[side]
        levels[price] = levels.get(price, 0) + sign * lots
        if not levels[price]:
            del levels[price]

    def frame(self, security: Security, elapsed: int) -> FrameView:
        """Return the book as an answer. `elapsed` is in nanoseconds."""
        bids, asks = (
            [(security.price_text(price), security.quantity_text(levels[price])) for price in sorted(levels, reverse=best)]
            for levels, best in ((self._levels[Side.BUY], True), (self._levels[Side.SELL], False))
        )
        last = None if self._last_price is None else security.price_text(self._last_price)
        return FrameView(
            seconds=_seconds(elapsed), bids=bids[:DEPTH], asks=asks[:DEPTH], last_price=last, trades=len(self._trades)
        )


def _seconds(nanoseconds: int) -> float:
    return round(nanoseconds / NS_PER_SECOND, 3)
