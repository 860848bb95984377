"""The market as the reports tell it: books, prices, balances, counts. A pure fold: no I/O, no clock."""

from dataclasses import dataclass, field

from microexchange.messages import (
    AccountOpened,
    AssetsTransferred,
    ClientResumed,
    ClientSuspended,
    ExecType,
    KeyIssued,
    KeyRevoked,
    OrderReport,
    OrderStatus,
    PriceUpdate,
    Record,
    SecurityListed,
    SettlementReport,
    SettlementStatus,
    Side,
    Trade,
    TradingState,
    TradingStateChanged,
)
from microexchange.numbers import cash_to_text
from microexchange.presentation import (
    BalanceView,
    BookView,
    HoldingView,
    LeaderView,
    LevelView,
    OrderView,
    SecurityView,
    order_view,
)
from microexchange.securities import Security

_BUY = Side.BUY


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
    """Cash units that the issuer gave: at the opening, with shares at their reference prices, and since, at their marks."""
    holdings: dict[str, int] = field(default_factory=dict)
    orders: dict[int, OpenOrder] = field(default_factory=dict)
    """Open orders by id."""


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
            self.changes.securities.add(report.symbol)
        elif isinstance(report, SettlementReport):
            self._on_settlement(report)
        elif isinstance(report, SecurityListed):
            self.list_security(Security(report))
            self.changes.securities.add(report.symbol)
        elif isinstance(report, AccountOpened):
            # Its cash and shares count from when they are settled.
            client = self.client(report.client_id)
            client.opened_with = report.cash + sum(
                self.value(symbol, lots, self.securities[symbol].listing.reference_price)
                for symbol, lots in report.shares.items()
            )
            self.changes.clients.add(report.client_id)
        elif isinstance(report, AssetsTransferred):
            # What comes from outside is no profit, and what goes there no loss.
            worth = sum(self.value(symbol, lots, self.mark(symbol)) for symbol, lots in report.shares.items())
            self.client(report.client_id).opened_with += report.cash + worth
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
            self.changes.securities.add(report.symbol)

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
            return
        elif report.status is OrderStatus.CANCELED:
            totals.canceled += 1
        orders = self.client(report.client_id).orders
        if report.status.is_final:
            orders.pop(report.order_id, None)
        else:
            orders[report.order_id] = OpenOrder(totals.reports, report)
        self.changes.orders.add((report.client_id, report.order_id))

    def _on_settlement(self, report: SettlementReport) -> None:
        if report.status is SettlementStatus.REJECTED:
            self.totals.settlement_faults += 1
        elif report.trade_id:
            self.totals.settled += 1
        for client_id, cash in report.cash:
            self.client(client_id).cash = cash
            self.changes.clients.add(client_id)
        for client_id, symbol, lots in report.holdings:
            self.client(client_id).holdings[symbol] = lots
            self.changes.holdings.add((client_id, symbol))

    def list_security(self, security: Security) -> None:
        """Makes a security known."""
        self.securities[security.symbol] = security
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
        """Cash units that all a client has is worth."""
        return client.cash + sum(self.value(symbol, lots, self.mark(symbol)) for symbol, lots in client.holdings.items())

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

    def holding_view(self, client_id: str, symbol: str) -> HoldingView:
        """A client's holding of one security."""
        lots = self.clients[client_id].holdings.get(symbol, 0)
        return HoldingView(client_id=client_id, symbol=symbol, quantity=self.securities[symbol].quantity_text(lots))

    def leaderboard(self, limit: int) -> list[LeaderView]:
        """The clients with the most profit first; equals by name."""
        standing = sorted(
            ((self.equity(client), client_id, client) for client_id, client in self.clients.items()),
            key=lambda entry: (entry[2].opened_with - entry[0], entry[1]),
        )
        return [
            LeaderView(
                rank=rank,
                client_id=client_id,
                equity=cash_to_text(equity),
                cash=cash_to_text(client.cash),
                profit=cash_to_text(equity - client.opened_with),
            )
            for rank, (equity, client_id, client) in enumerate(standing[:limit], 1)
        ]


def level_view(security: Security, price: int, lots: int, orders: int) -> LevelView:
    """A price level for clients."""
    return LevelView(price=security.price_text(price), quantity=security.quantity_text(lots), orders=orders)
