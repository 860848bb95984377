"""The market as the reports tell it: books, prices, balances, counts. A pure fold: no I/O, no clock."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

from market_data_feed.candles import NANOSECONDS, Candle, Chart
from microexchange.enums import ExecType, OrderStatus, SettlementStatus, Side, TradingState
from microexchange.numbers import cash_to_text
from microexchange.records import Record
from microexchange.reports import (
    AccountOpened,
    AuctionUpdate,
    ClientResumed,
    ClientSuspended,
    KeyIssued,
    KeyRevoked,
    OrderReport,
    PriceUpdate,
    SecurityListed,
    SettlementReport,
    Trade,
    TradingStateChanged,
)
from microexchange.resting_orders import RestingOrders
from microexchange.schemas import (
    BalanceView,
    BboView,
    BookView,
    CandleView,
    FullBookView,
    HoldingView,
    LeaderView,
    LevelView,
    OrderView,
    RestingOrderView,
    SecurityView,
    TickerView,
    order_view,
    time_text,
)
from microexchange.securities import Security

_BUY = Side.BUY
SAMPLE_NANOSECONDS = 5_000_000_000
"""How far samples of equities are apart."""
LEAST_SAMPLES = 12
"""A ratio needs at least this many samples: a minute."""
QUIET_NANOSECONDS = 10_000_000_000
"""How long after the last order of a house bot a security counts as quiet: a bot that replaces its quotes is not gone."""


@dataclass(slots=True)
class Book:
    """One book by price: (lots, orders) at each price in ticks."""

    bids: dict[int, tuple[int, int]] = field(default_factory=dict)
    asks: dict[int, tuple[int, int]] = field(default_factory=dict)
    sequence: int = 0
    """Of the newest price update that is in it."""


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that stands in a book: its newest report, and that report's number."""

    report_id: int
    report: OrderReport


@dataclass(slots=True)
class Client:
    """What a client has, as settled."""

    cash: int = 0
    suspended: bool = False
    opened_with: int = 0
    """Cash units that the issuer gave less what it took back, shares at their marks when they were booked."""
    house: bool = False
    """Whether it is one of the exchange's own bots."""
    holdings: dict[str, int] = field(default_factory=dict)
    orders: dict[int, OpenOrder] = field(default_factory=dict)
    """Open orders by id."""
    trades: int = 0
    """Fills."""
    peak: int = 0
    """The most that the profit was, as sampled, in cash units."""
    drawdown: int = 0
    """The deepest that it fell from a peak."""
    sampled: int | None = None
    """The equity at the last sample."""
    since: int = 0
    """The number of the sample in which it was first; 0 before that."""
    profit: int = 0
    """At the last sample, in cash units."""
    gains: int = 0
    """The sum of the profit's changes from sample to sample, in cash units."""
    squares: int = 0
    """The sum of their squares."""
    has_funds: bool = False
    """Whether it ever had cash or shares. An account that is opened but not settled yet is worth nothing, for a moment."""


@dataclass(slots=True)
class Totals:
    """Counts since the market began."""

    reports: int = 0
    """All reports; the number of the newest is its `report_id`."""
    orders: int = 0
    """Orders that the engine took or rejected."""
    trades: int = 0
    rejected: int = 0
    canceled: int = 0
    settled: int = 0
    """Executions that are settled."""
    settlement_faults: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    """Rejected orders by code."""


@dataclass(slots=True)
class Changes:
    """What differs from the read models in the database."""

    securities: set[str] = field(default_factory=set)
    levels: set[tuple[str, Side, int]] = field(default_factory=set)
    orders: set[tuple[str, int]] = field(default_factory=set)
    """(client id, order id)."""
    clients: set[str] = field(default_factory=set)
    holdings: set[tuple[str, str]] = field(default_factory=set)
    keys: dict[str, tuple[str, int, int | None]] = field(default_factory=dict)
    """(client id, issued at, revoked at) by key id. When a key was issued is kept as it was stored first."""
    candles: set[tuple[str, int]] = field(default_factory=set)
    """(symbol, start of the minute)."""
    equity: list[tuple[str, int, int]] = field(default_factory=list)
    """(client id, when, cash units): new samples."""


class Market:
    """The state of the feed."""

    def __init__(self) -> None:
        self.securities: dict[str, Security] = {}
        self.books: dict[str, Book] = {}
        self.last_prices: dict[str, int] = {}
        """Ticks of the last trade, for securities that have traded."""
        self.states: dict[str, TradingState] = {}
        self.clients: dict[str, Client] = {}
        self.revoked_keys: set[str] = set()
        """Ids of API keys that are no longer valid."""
        self.charts: dict[str, Chart] = {}
        self.orders = RestingOrders()
        self.order_sequences: dict[str, int] = {}
        """The number of the newest report that changed how an order stands, by symbol."""
        self.changed_orders: dict[str, tuple[int, list[tuple[Side, int]]]] = {}
        """By symbol, since `take_changed_orders`: the sequence before, and the orders that stand otherwise."""
        self.has_house = False
        """Whether there are accounts of the exchange's own bots."""
        self.house_orders: Counter[str] = Counter()
        """How many orders house bots have open, by symbol."""
        self.house_left: dict[str, int] = {}
        """When the last of them ended, in nanoseconds, as far as this process has seen it."""
        self.auctions: dict[str, AuctionUpdate] = {}
        """Where the auctions that collect orders now would uncross."""
        self.newest = 0
        """When the newest of what was applied was appended, in nanoseconds."""
        self.sampled_at = 0
        """When equities were sampled last, in nanoseconds."""
        self.samples = 0
        """How often they were. There is none while nothing is reported: a night without the exchange is no quiet one."""
        self.totals = Totals()
        self.changes = Changes()

    def apply(self, report: Record) -> None:
        """Takes in one report."""
        self.totals.reports += 1
        if isinstance(report, PriceUpdate):
            self._on_price(report)
        elif isinstance(report, OrderReport):
            self._on_order(report)
        elif isinstance(report, Trade):
            self.totals.trades += 1
            self.last_prices[report.symbol] = report.price
            chart = self.charts.get(report.symbol)
            if chart is None:
                chart = self.charts[report.symbol] = Chart()
            self.changes.candles.add((report.symbol, chart.add(report)))
            self.changes.securities.add(report.symbol)
        elif isinstance(report, SettlementReport):
            self._on_settlement(report)
        elif isinstance(report, SecurityListed):
            self.list_security(Security(report))
            self.changes.securities.add(report.symbol)
        elif isinstance(report, AccountOpened):
            # Its cash and shares count from when they are settled.
            self.client(report.client_id).house = report.house
            self.has_house = self.has_house or report.house
            self.changes.clients.add(report.client_id)
        elif isinstance(report, ClientSuspended):
            self.client(report.client_id).suspended = True
            self.changes.clients.add(report.client_id)
        elif isinstance(report, ClientResumed):
            self.client(report.client_id).suspended = False
            self.changes.clients.add(report.client_id)
        elif isinstance(report, KeyIssued):
            self.changes.keys[report.key_id] = (report.client_id, report.timestamp, None)
        elif isinstance(report, KeyRevoked):
            self.revoked_keys.add(report.key_id)
            # Of one that is stored already only the revocation is taken; one that is not yet keeps when it was issued.
            issued = self.changes.keys.get(report.key_id, (report.client_id, report.timestamp, None))[1]
            self.changes.keys[report.key_id] = (report.client_id, issued, report.timestamp)
        elif isinstance(report, TradingStateChanged):
            self.states[report.symbol] = report.state
            self.auctions.pop(report.symbol, None)
            self.changes.securities.add(report.symbol)

        elif isinstance(report, AuctionUpdate):
            self.auctions[report.symbol] = report

    @property
    def now(self) -> int:
        """The time of the newest report, in seconds."""
        return self.newest // NANOSECONDS

    def at(self, stamp: int) -> None:
        """All that was applied so far was appended by `stamp`. If it is time, takes note of what every client is worth: of
        those for whom it differs from the note before."""
        self.newest = max(self.newest, stamp)
        at = stamp - stamp % SAMPLE_NANOSECONDS
        if at <= self.sampled_at:
            return
        self.sampled_at = at
        self.samples += 1
        for client_id, client in self.clients.items():
            equity = self.equity(client)
            profit = equity - client.opened_with
            # A loss that a deposit makes good changes the profit, and not the equity.
            if (equity == client.sampled and profit == client.profit) or not client.has_funds:
                continue
            client.sampled = equity
            client.since = client.since or self.samples
            change, client.profit = profit - client.profit, profit
            client.gains += change
            client.squares += change * change
            client.peak = max(client.peak, profit)
            client.drawdown = max(client.drawdown, client.peak - profit)
            self.changes.equity.append((client_id, at, equity))
            self.changes.clients.add(client_id)

    def _on_price(self, update: PriceUpdate) -> None:
        book = self.books[update.symbol]
        levels = book.bids if update.side is _BUY else book.asks
        if update.quantity:
            levels[update.price] = (update.quantity, update.order_count)
        else:
            levels.pop(update.price, None)
        book.sequence = update.book_sequence
        self.changes.levels.add((update.symbol, update.side, update.price))
        self.changes.securities.add(update.symbol)

    def _on_order(self, report: OrderReport) -> None:
        totals = self.totals
        if report.exec_type is ExecType.PENDING_NEW:
            return
        if report.exec_type is ExecType.NEW:
            totals.orders += 1
        elif report.status is OrderStatus.REJECTED:
            totals.orders += 1
            totals.rejected += 1
            totals.rejects[report.code] = totals.rejects.get(report.code, 0) + 1
            return
        elif report.status is OrderStatus.CANCELED:
            totals.canceled += 1
        if self.orders.apply(report):
            before = self.order_sequences.get(report.symbol, 0)
            self.changed_orders.setdefault(report.symbol, (before, []))[1].append((report.side, report.order_id))
            self.order_sequences[report.symbol] = totals.reports
        client = self.client(report.client_id)
        orders = client.orders
        if report.exec_type is ExecType.TRADE:
            client.trades += 1
            self.changes.clients.add(report.client_id)
        if report.status.is_final:
            ended = orders.pop(report.order_id, None)
            if client.house and ended is not None:
                self.house_orders[report.symbol] -= 1
                self.house_left[report.symbol] = self.newest
        else:
            if client.house and report.order_id not in orders:
                self.house_orders[report.symbol] += 1
            orders[report.order_id] = OpenOrder(totals.reports, report)
        self.changes.orders.add((report.client_id, report.order_id))

    def _on_settlement(self, report: SettlementReport) -> None:
        if report.status is SettlementStatus.REJECTED:
            self.totals.settlement_faults += 1
        elif report.trade_id:
            self.totals.settled += 1
        # What the issuer gives is no profit, and what it takes back no loss: it counts as what it is worth in this moment.
        given = bool(report.transfer_id)
        for client_id, cash in report.cash:
            client = self.client(client_id)
            if given:
                client.opened_with += cash - client.cash
            client.cash, client.has_funds = cash, True
            self.changes.clients.add(client_id)
        for client_id, symbol, lots in report.holdings:
            client = self.client(client_id)
            if given and symbol in self.securities:
                client.opened_with += self.value(symbol, lots - client.holdings.get(symbol, 0), self.mark(symbol))
            client.holdings[symbol], client.has_funds = lots, True
            self.changes.holdings.add((client_id, symbol))

    def list_security(self, security: Security) -> None:
        """Makes a security known.

        The clearinghouse may settle a deposit of its shares before the engine's report of the listing is on the log. Such
        shares have had no price until now, and count as given at this price.
        """
        symbol, is_new = security.symbol, security.symbol not in self.securities
        self.securities[symbol] = security
        for client in self.clients.values() if is_new else ():
            if lots := client.holdings.get(symbol, 0):
                client.opened_with += self.value(symbol, lots, self.mark(symbol))
        self.books.setdefault(security.symbol, Book())
        self.states.setdefault(security.symbol, security.listing.state)

    def client(self, client_id: str) -> Client:
        """The client of that id; made if need be."""
        client = self.clients.get(client_id)
        if client is None:
            client = self.clients[client_id] = Client()
        return client

    # --- what it says ---------------------------------------------------------------------------------------

    def value(self, symbol: str, lots: int, price: int) -> int:
        """Cash units that `lots` are worth at `price` ticks."""
        return lots * price * self.securities[symbol].listing.tick_value

    def mark(self, symbol: str) -> int:
        """The price, in ticks, at which holdings are valued: the last, or the reference before the first trade."""
        return self.last_prices.get(symbol, self.securities[symbol].listing.reference_price)

    def equity(self, client: Client) -> int:
        """The value of all that a client has, in cash units. A security that is not listed yet has no price."""
        return client.cash + sum(
            self.value(symbol, lots, self.mark(symbol))
            for symbol, lots in client.holdings.items()
            if symbol in self.securities
        )

    def ratio(self, client: Client) -> Decimal | None:
        """The mean change of the profit from sample to sample by its standard deviation; None before `LEAST_SAMPLES`, and
        where it never changed otherwise than by the same. Per sample of five seconds, not annualised; `Sharpe, The Sharpe
        Ratio, 1994`, without a riskless rate."""
        samples = 1 + self.samples - client.since if client.since else 0
        spread = samples * client.squares - client.gains**2
        if samples < LEAST_SAMPLES or spread <= 0:
            return None
        with localcontext() as context:
            context.prec = 60  # squares of cash units are long
            return Decimal(client.gains) / Decimal(spread).sqrt()

    def is_quiet(self, symbol: str) -> bool:
        """Whether the house bots, where there are any, leave this security alone."""
        return (
            self.has_house
            and not self.house_orders[symbol]
            and self.newest - self.house_left.get(symbol, 0) >= QUIET_NANOSECONDS
        )

    def security_view(self, symbol: str) -> SecurityView:
        """A security for clients."""
        security, last = self.securities[symbol], self.last_prices.get(symbol)
        terms = security.listing
        return SecurityView(
            symbol=symbol,
            name=terms.name,
            state=self.states[symbol],
            tick_size=f"{security.tick_size:f}",
            lot_size=f"{security.lot_size:f}",
            maker_fee_bps=terms.maker_fee_bps,
            taker_fee_bps=terms.taker_fee_bps,
            pricing_rule=terms.pricing_rule,
            band_bps=terms.band_bps,
            reference_price=security.price_text(terms.reference_price),
            last_price=None if last is None else security.price_text(last),
            quiet=self.is_quiet(symbol),
        )

    def book_view(self, symbol: str, depth: int) -> BookView:
        """The best `depth` levels of a book."""
        book, security = self.books[symbol], self.securities[symbol]

        def side(levels: dict[int, tuple[int, int]], best_first: list[int]) -> list[LevelView]:
            return [level_view(security, price, *levels[price]) for price in best_first[:depth]]

        return BookView(
            symbol=symbol,
            sequence=book.sequence,
            bids=side(book.bids, sorted(book.bids, reverse=True)),
            asks=side(book.asks, sorted(book.asks)),
        )

    def take_changed_orders(self) -> dict[str, tuple[int, list[tuple[Side, int]]]]:
        """What `changed_orders` has gathered; it begins anew."""
        changed, self.changed_orders = self.changed_orders, {}
        return changed

    def standing_view(self, symbol: str, side: Side, order_id: int) -> RestingOrderView:
        """How an order stands in its book now; of quantity 0 where it does no more."""
        security, report = self.securities[symbol], self.orders.find(symbol, side, order_id)
        if report is None or report.price is None:
            return RestingOrderView(str(order_id), side, "0", security.quantity_text(0))
        lots = self.orders.shown(report)
        return RestingOrderView(str(order_id), side, security.price_text(report.price), security.quantity_text(lots))

    def full_book_view(self, symbol: str) -> FullBookView:
        """Every order of a book, the best first, without owners."""
        bids, asks = (
            [self.standing_view(symbol, side, report.order_id) for report in self.orders.side(symbol, side)]
            for side in (Side.BUY, Side.SELL)
        )
        return FullBookView(symbol=symbol, sequence=self.order_sequences.get(symbol, 0), bids=bids, asks=asks)

    def bbo_view(self, symbol: str) -> BboView:
        """The best bid and offer. Where they cross, as in an auction, there is no spread."""
        book, security = self.books[symbol], self.securities[symbol]
        bid, ask = max(book.bids, default=None), min(book.asks, default=None)
        return BboView(
            symbol=symbol,
            sequence=book.sequence,
            bid=None if bid is None else security.price_text(bid),
            bid_quantity=None if bid is None else security.quantity_text(book.bids[bid][0]),
            ask=None if ask is None else security.price_text(ask),
            ask_quantity=None if ask is None else security.quantity_text(book.asks[ask][0]),
            spread=None if bid is None or ask is None or bid >= ask else security.price_text(ask - bid),
        )

    def ticker_view(self, symbol: str, now: int) -> TickerView:
        """The 24 hours before `now`, in seconds of Unix time."""
        security, chart = self.securities[symbol], self.charts.get(symbol)
        day = None if chart is None else chart.last_day(now)
        last = self.last_prices.get(symbol)
        text = security.price_text
        change = None if day is None else day.close - day.open
        return TickerView(
            symbol=symbol,
            last=None if last is None else text(last),
            open=None if day is None else text(day.open),
            high=None if day is None else text(day.high),
            low=None if day is None else text(day.low),
            volume=security.quantity_text(0 if day is None else day.volume),
            trades=0 if day is None else day.trades,
            change=None if change is None else text(change),
            change_percent=None if day is None or change is None else f"{100 * change / day.open:.2f}",
            quiet=self.is_quiet(symbol),
        )

    def auction_view(self, symbol: str) -> dict[str, object] | None:
        """Where the security's auction would uncross now; None outside of an auction."""
        update, security = self.auctions.get(symbol), self.securities[symbol]
        if update is None:
            return None
        return {
            "price": security.price_text(update.price) if update.price else None,
            "quantity": security.quantity_text(update.quantity),
            "imbalance": security.quantity_text(update.imbalance),
        }

    def balance_view(self, client_id: str) -> BalanceView:
        """A client's balance."""
        client = self.clients[client_id]
        return BalanceView(
            client_id=client_id,
            cash=cash_to_text(client.cash),
            equity=cash_to_text(self.equity(client)),
            suspended=client.suspended,
        )

    def open_orders_view(self, client_id: str) -> list[OrderView]:
        """A client's open orders, oldest first."""
        orders = sorted(self.clients[client_id].orders.items())
        return [order_view(order.report, self.securities[order.report.symbol]) for _, order in orders]

    def holdings_view(self, client_id: str) -> list[HoldingView]:
        """A client's holdings, by symbol."""
        holdings = self.clients[client_id].holdings
        return [self.holding_view(client_id, symbol) for symbol in sorted(holdings) if holdings[symbol]]

    def holding_view(self, client_id: str, symbol: str) -> HoldingView:
        """A client's holding of one security."""
        lots = self.clients[client_id].holdings.get(symbol, 0)
        return HoldingView(client_id=client_id, symbol=symbol, quantity=self.securities[symbol].quantity_text(lots))

    def leaderboard(self, limit: int, house: bool = True) -> list[LeaderView]:
        """The clients with the most profit first; equals by name. With `house` false, without the exchange's own bots."""
        places = self._places([one for one in self.clients.items() if house or not one[1].house])
        return [self._leader_view(*place) for place in places[:limit]]

    def leaders(self, limit: int) -> list[LeaderView]:
        """The first `limit` of the clients and the first `limit` of the house bots, each at its place among all."""
        shown, left = [], {True: limit, False: limit}
        for place in self._places(list(self.clients.items())):
            is_house = place[2].house
            if left[is_house]:
                left[is_house] -= 1
                shown.append(self._leader_view(*place))
        return shown

    def _places(self, clients: list[tuple[str, Client]]) -> list[tuple[int, str, Client, int]]:
        """Place, name, client and equity, the most profit first. A view is made only of those that are shown: it costs
        more than all else."""
        standing = sorted(
            ((self.equity(client), client_id, client) for client_id, client in clients),
            key=lambda entry: (entry[2].opened_with - entry[0], entry[1]),
        )
        return [(rank, client_id, client, equity) for rank, (equity, client_id, client) in enumerate(standing, 1)]

    def _leader_view(self, rank: int, client_id: str, client: Client, equity: int) -> LeaderView:
        profit, given, ratio = equity - client.opened_with, client.opened_with, self.ratio(client)
        return LeaderView(
            rank=rank,
            client_id=client_id,
            house=client.house,
            equity=cash_to_text(equity),
            cash=cash_to_text(client.cash),
            given=cash_to_text(given),
            profit=cash_to_text(profit),
            return_percent=f"{Decimal(100 * profit) / given:z.2f}" if given > 0 else None,
            drawdown=cash_to_text(client.drawdown),
            sharpe=None if ratio is None else f"{ratio:z.4f}",
            trades=client.trades,
        )


def candle_view(security: Security, candle: Candle) -> CandleView:
    """A candle for clients."""
    text = security.price_text
    return CandleView(
        start=time_text(candle.start * NANOSECONDS),
        open=text(candle.open),
        high=text(candle.high),
        low=text(candle.low),
        close=text(candle.close),
        volume=security.quantity_text(candle.volume),
        trades=candle.trades,
    )


def level_view(security: Security, price: int, lots: int, orders: int) -> LevelView:
    """A price level for clients."""
    return LevelView(price=security.price_text(price), quantity=security.quantity_text(lots), orders=orders)
