"""What happened in a round: a fold over the reports of the market, live or simulated. Pure."""

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
    """Cash units by which the price was better than the middle of the market before the order that caused the trade; below
    zero, worse."""


@dataclass(slots=True)
class Tally:
    """What a client did."""

    orders: int = 0
    rejected: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    """Rejected orders by code."""
    canceled: int = 0
    filled_orders: int = 0
    """Orders that traded at all."""
    fills: int = 0
    edge: int = 0
    """Of all fills together, in cash units."""
    fees: int = 0
    """Paid, in cash units; below zero, received."""
    peak: int = 0
    drawdown: int = 0
    """The deepest fall of the equity from a peak, in cash units, as sampled."""
    held_off: int = 0
    """The sum over the samples of the value of what was held more or less than at the beginning, in cash units."""
    equity: list[int | None] = field(default_factory=list)
    """As sampled; None before the account's opening, or its first deposit, was settled."""


@dataclass(slots=True)
class Tape:
    """What a security did."""

    trades: int = 0
    volume: int = 0
    high: int = 0
    low: int = 0
    bids: dict[int, int] = field(default_factory=dict)
    """Lots by price, now."""
    asks: dict[int, int] = field(default_factory=dict)
    middles: list[float | None] = field(default_factory=list)
    """Ticks, as sampled; None where a side was empty, or the sides crossed: an auction collects orders."""
    spreads: list[int | None] = field(default_factory=list)
    """Ticks; None also where the market did not trade continuously."""
    depths: list[int | None] = field(default_factory=list)
    """Lots at the best prices, both sides together; 0 where a side was empty, None where the spread has no meaning."""
    flow: list[int] = field(default_factory=list)
    """Lots that buyers took less those that sellers took, between two samples."""
    taken: int = 0

    def best(self) -> tuple[int, int] | None:
        """The best bid and offer in ticks; None where a side is empty, or the two cross."""
        if not (self.bids and self.asks):
            return None
        bid, ask = max(self.bids), min(self.asks)
        return (bid, ask) if bid < ask else None

    def twice_middle(self, last: int) -> int:
        """Twice the middle of the market, in ticks; where it has none, twice the last price."""
        best = self.best()
        return 2 * last if best is None else sum(best)


class Record:
    """Everything that a report needs to know of a round."""

    def __init__(self, market: MarketData) -> None:
        self.market = market
        """The feed's, which has heard what `hear` is told."""
        self._initial: dict[str, dict[str, int]] = {}
        """Lots that each client began with."""
        self.fills: list[FillRow] = []
        self.clients: defaultdict[str, Tally] = defaultdict(Tally)
        self.tapes: defaultdict[str, Tape] = defaultdict(Tape)
        self.times: list[int] = []
        """When samples were taken, in nanoseconds."""

    def began_with(self, client_id: str, lots: dict[str, int]) -> None:
        """A client holds so much of each security at the beginning."""
        self._initial[client_id] = lots

    def hear(self, _: int, reports: Sequence[Event]) -> None:
        """Takes in what one command has caused, in order. The market has heard it already."""
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
                tape.taken += report.quantity if report.aggressor_side is Side.BUY else -report.quantity

    def _on_order(self, report: OrderReport) -> None:
        tally, kind = self.clients[report.client_id], report.exec_type
        if kind is ExecType.NEW:
            tally.orders += 1
        elif report.status is OrderStatus.REJECTED:
            tally.orders += 1
            tally.rejected += 1
            tally.rejects[report.code] = tally.rejects.get(report.code, 0) + 1
        elif report.status is OrderStatus.CANCELED:
            tally.canceled += 1
        if kind is not ExecType.TRADE:
            return
        security = self.market.securities[report.symbol]
        twice = self.tapes[report.symbol].twice_middle(report.last_price)
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
        """Takes note of how everything stands."""
        market = self.market
        market.changes = Changes()  # nobody stores them
        market.take_changed_orders()
        self.times.append(now)
        for symbol in market.securities:
            tape = self.tapes[symbol]
            trades = market.states[symbol] is TradingState.CONTINUOUS
            best = tape.best()
            tape.middles.append(None if best is None else sum(best) / 2)
            tape.spreads.append(best[1] - best[0] if best is not None and trades else None)
            depth = 0 if best is None else tape.bids[best[0]] + tape.asks[best[1]]
            tape.depths.append(depth if trades else None)
            tape.flow.append(tape.taken)
            tape.taken = 0
        for client_id, client in market.clients.items():
            tally = self.clients[client_id]
            # All curves have a value for each sample, whenever their accounts were opened.
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
                off = abs(client.holdings.get(symbol, 0) - initial.get(symbol, 0))
                if off:
                    tally.held_off += market.value(symbol, off, market.mark(symbol))


def record_of(bodies: Iterable[bytes], began: int, every: int, initial: Mapping[str, dict[str, int]]) -> Record:
    """The record of a live round, from the bodies on `data_feed`, with a sample every so many nanoseconds from `began` on;
    `initial` is what each client began with, in lots."""
    market, cursors, due = MarketData(), ProducerCursors(), began
    record = Record(market)
    for client_id, lots in initial.items():
        record.began_with(client_id, lots)
    for body in bodies:
        batch = decode_batch(DATA_FEED, body)
        while batch.stamp >= due:
            if market.clients:
                record.sample(due)
            due += every
        reports = cursors.take(batch)
        for report in reports:
            market.apply(report)
        record.hear(batch.stamp, reports)
    record.sample(due)
    return record
