"""The record of a round: all that its report needs, from the reports of a live or simulated market. No I/O."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from market_data_feed.market import Changes, MarketData
from microexchange.batches import decode_batch
from microexchange.enums import ExecType, OrderStatus, Side, TradingState
from microexchange.producer_cursors import ProducerCursors
from microexchange.records import DATA_FEED
from microexchange.reports import Event, OrderReport, PriceUpdate, Trade


@dataclass(frozen=True, slots=True)
class FillRow:
    """One side of a trade."""

    timestamp: int
    """Nanoseconds of Unix time."""
    client_id: str
    symbol: str
    side: Side
    price: int
    """Ticks."""
    quantity: int
    """Lots."""
    fee: int
    """Cash units."""
    liquidity: str
    trade_id: int
    order_id: int
    edge: int
    """Cash units by which the price was better than the mid price before the order that caused it. Negative if worse."""


@dataclass(slots=True)
class Tally:
    """The totals of one client."""

    orders: int = 0
    rejected: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    """Rejected orders by code."""
    canceled: int = 0
    filled_orders: int = 0
    """Orders that traded, in part or whole."""
    fills: int = 0
    edge: int = 0
    """The sum over all fills, in cash units."""
    fees: int = 0
    """Fees paid, in cash units. Negative if more rebates were received."""
    peak: int = 0
    drawdown: int = 0
    """The deepest fall of the sampled equity from a peak, in cash units."""
    inventory_sum: int = 0
    """The sum over the samples of the value of the difference from the initial holdings, in cash units."""
    equity: list[int | None] = field(default_factory=list)
    """The sampled equity in cash units. None before the opening balance or first deposit was settled."""


@dataclass(slots=True)
class Tape:
    """The totals and samples of one security."""

    trades: int = 0
    volume: int = 0
    high: int = 0
    low: int = 0
    bids: dict[int, int] = field(default_factory=dict)
    """Lots by price, now."""
    asks: dict[int, int] = field(default_factory=dict)
    mid_prices: list[float | None] = field(default_factory=list)
    """Samples in ticks. None if a side was empty or the sides crossed, as in an auction."""
    spreads: list[int | None] = field(default_factory=list)
    """Samples in ticks. None also if the trading state was not `continuous`."""
    depths: list[int | None] = field(default_factory=list)
    """Samples of the lots at both best prices together. 0 if a side was empty, None if trading was not continuous."""
    flow: list[int] = field(default_factory=list)
    """Lots that buyers took less those that sellers took, between two samples."""
    net_taken: int = 0

    def best(self) -> tuple[int, int] | None:
        """Return the best bid and offer in ticks. None if a side is empty or the two cross."""
        if not (self.bids and self.asks):
            return None
        bid, ask = max(self.bids), min(self.asks)
        return (bid, ask) if bid < ask else None

    def twice_mid_price(self, last: int) -> int:
        """Return twice the mid price in ticks. If there is none, return twice the last price."""
        best = self.best()
        return 2 * last if best is None else sum(best)


class Record:
    """The record of a round."""

    def __init__(self, market: MarketData) -> None:
        self.market = market
        """The feed's state, to which the same reports were applied before."""
        self._initial: dict[str, dict[str, int]] = {}
        """The initial holdings of each client in lots, by symbol."""
        self.fills: list[FillRow] = []
        self.clients: defaultdict[str, Tally] = defaultdict(Tally)
        self.tapes: defaultdict[str, Tape] = defaultdict(Tape)
        self.times: list[int] = []
        """The times of the samples, in nanoseconds of Unix time."""

    def set_initial_holdings(self, client_id: str, lots: dict[str, int]) -> None:
        """Set the initial holdings of a client, in lots by symbol."""
        self._initial[client_id] = lots

    def apply(self, _: int, reports: Sequence[Event]) -> None:
        """Add the reports of one command, in order. The market must have them already."""
        for report in reports:
            if isinstance(report, OrderReport):
                self._on_order(report)
            elif isinstance(report, PriceUpdate):
                tape = self.tapes[report.symbol]
                levels = tape.bids if report.side is Side.BUY else tape.asks
                if report.quantity:
                    levels[report.price] = report.quantity
                else:
                    levels.pop(report.price, None)
            elif isinstance(report, Trade):
                tape = self.tapes[report.symbol]
                tape.trades += 1
                tape.volume += report.quantity
                tape.high = max(tape.high, report.price)
                tape.low = min(tape.low or report.price, report.price)
                tape.net_taken += report.quantity if report.aggressor_side is Side.BUY else -report.quantity

    def _on_order(self, report: OrderReport) -> None:
        tally, exec_type = self.clients[report.client_id], report.exec_type
        if exec_type is ExecType.NEW:
            tally.orders += 1
        elif report.status is OrderStatus.REJECTED:
            tally.orders += 1
            tally.rejected += 1
            tally.rejects[report.code] = tally.rejects.get(report.code, 0) + 1
        elif report.status is OrderStatus.CANCELED:
            tally.canceled += 1
        if exec_type is not ExecType.TRADE:
            return
        security = self.market.securities[report.symbol]
        twice = self.tapes[report.symbol].twice_mid_price(report.last_price)
        sign = 1 if report.side is Side.BUY else -1
        edge = sign * (twice - 2 * report.last_price) * report.last_quantity * security.listing.tick_value // 2
        tally.fills += 1
        tally.filled_orders += report.cumulative_quantity == report.last_quantity
        tally.edge += edge
        tally.fees += report.fee
        self.fills.append(
            FillRow(
                report.timestamp,
                report.client_id,
                report.symbol,
                report.side,
                report.last_price,
                report.last_quantity,
                report.fee,
                report.liquidity,
                report.trade_id,
                report.order_id,
                edge,
            )
        )

    def sample(self, now: int) -> None:
        """Add a sample of all clients and securities. `now` is in nanoseconds of Unix time."""
        market = self.market
        market.changes = Changes()  # not stored here
        market.take_changed_orders()
        self.times.append(now)
        for symbol in market.securities:
            tape = self.tapes[symbol]
            trades = market.states[symbol] is TradingState.CONTINUOUS
            best = tape.best()
            tape.mid_prices.append(None if best is None else sum(best) / 2)
            tape.spreads.append(best[1] - best[0] if best is not None and trades else None)
            depth = 0 if best is None else tape.bids[best[0]] + tape.asks[best[1]]
            tape.depths.append(depth if trades else None)
            tape.flow.append(tape.net_taken)
            tape.net_taken = 0
        for client_id, client in market.clients.items():
            tally = self.clients[client_id]
            # The curve of an account that was opened later begins with None, so that all curves have the same length.
            tally.equity += [None] * (len(self.times) - 1 - len(tally.equity))
            if not client.has_funds:
                tally.equity.append(None)
                continue
            equity = market.equity(client)
            tally.equity.append(equity)
            tally.peak = max(tally.peak, equity)
            tally.drawdown = max(tally.drawdown, tally.peak - equity)
            initial = self._initial.get(client_id, {})
            for symbol in initial.keys() | client.holdings.keys():
                excess = abs(client.holdings.get(symbol, 0) - initial.get(symbol, 0))
                if excess:
                    tally.inventory_sum += market.value(symbol, excess, market.mark(symbol))


def record_of(bodies: Iterable[bytes], start: int, interval: int, initial: Mapping[str, dict[str, int]]) -> Record:
    """Return the record of a live round.

    Args:
        bodies: The bodies of the topic `data_feed`.
        start: The time of the first sample, in nanoseconds of Unix time.
        interval: The time between two samples, in nanoseconds.
        initial: The initial holdings of each client, in lots by symbol.
    """
    market, cursors, due = MarketData(), ProducerCursors(), start
    record = Record(market)
    for client_id, lots in initial.items():
        record.set_initial_holdings(client_id, lots)
    for body in bodies:
        batch = decode_batch(DATA_FEED, body)
        while batch.stamp >= due:
            if market.clients:
                record.sample(due)
            due += interval
        reports = cursors.take(batch)
        for report in reports:
            market.apply(report)
        record.apply(batch.stamp, reports)
    record.sample(due)
    return record
