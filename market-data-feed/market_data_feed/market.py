"""The market data of the whole exchange: books, prices, balances, counts. A pure fold of reports: no I/O, no clock."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

from market_data_feed.candles import Candle, Chart
from market_data_feed.positions import Position
from market_data_feed.sessions import SessionData
from microexchange.enums import ExecType, OrderStatus, SettlementStatus, Side, TradingState
from microexchange.numbers import NS_PER_SECOND, average_price, cash_to_text
from microexchange.participants import Participants
from microexchange.records import Record
from microexchange.reports import (
    AccountOpened,
    AssetsTransferred,
    AuctionUpdate,
    ClientResumed,
    ClientSuspended,
    KeyIssued,
    KeyRevoked,
    OrderReport,
    ParticipantChanged,
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
    PositionView,
    RestingOrderView,
    SecurityView,
    TickerView,
    order_view,
    time_text,
)
from microexchange.securities import Security
from microexchange.session_reports import PaidOut, RoundEnded, TenderAnswered

_BUY = Side.BUY
NS_PER_DAY = 86_400 * NS_PER_SECOND
SAMPLE_INTERVAL_NS = 5_000_000_000
"""The time between two samples of equities."""
MIN_RATIO_SAMPLES = 12
"""The samples that a Sharpe ratio needs: those of one minute."""
QUIET_AFTER_NS = 10_000_000_000
"""The time after which a security without orders of house bots is quiet. A bot that replaces its quotes takes less."""


@dataclass(slots=True)
class Book:
    """The levels of one book: (lots, orders) by price in ticks."""

    bids: dict[int, tuple[int, int]] = field(default_factory=dict)
    asks: dict[int, tuple[int, int]] = field(default_factory=dict)
    sequence: int = 0
    """The sequence of the newest price update."""


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An open order: its newest report, and the number of that report."""

    report_id: int
    report: OrderReport


@dataclass(slots=True)
class Client:
    """The settled account of a client, with its statistics."""

    cash: int = 0
    suspended: bool = False
    opened_with: int = 0
    """The opening balance and deposits less withdrawals, in cash units. Shares count at their prices at that time."""
    house: bool = False
    """Whether the client is one of the exchange's own bots."""
    holdings: dict[str, int] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    """Positions by symbol, as of the newest fill."""
    orders: dict[int, OpenOrder] = field(default_factory=dict)
    """Open orders by id."""
    trades: int = 0
    """Fills."""
    peak: int = 0
    """The highest sampled profit, in cash units."""
    drawdown: int = 0
    """The deepest fall of the profit from a peak, in cash units."""
    sampled_equity: int | None = None
    """The equity at the last sample."""
    since: int = 0
    """The number of the first sample with this client; 0 before that."""
    profit: int = 0
    """The profit at the last sample, in cash units."""
    gains: int = 0
    """The sum of the profit's changes from sample to sample, in cash units."""
    squares: int = 0
    """The sum of the squares of these changes."""
    has_funds: bool = False
    """Whether the account ever had cash or shares. It has none until its first deposit is settled."""


@dataclass(slots=True)
class Totals:
    """Counts since the market began."""

    reports: int = 0
    """All reports. The number of the newest is its `report_id`."""
    orders: int = 0
    """Orders that the engine accepted or rejected."""
    trades: int = 0
    rejected: int = 0
    canceled: int = 0
    settled: int = 0
    """Settled trades."""
    settlement_faults: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    """Rejected orders by code."""


@dataclass(slots=True)
class Changes:
    """The differences from the read models in the database."""

    securities: set[str] = field(default_factory=set)
    levels: set[tuple[str, Side, int]] = field(default_factory=set)
    orders: set[tuple[str, int]] = field(default_factory=set)
    """(client id, order id)."""
    clients: set[str] = field(default_factory=set)
    holdings: set[tuple[str, str]] = field(default_factory=set)
    positions: set[tuple[str, str]] = field(default_factory=set)
    """(client id, symbol)."""
    keys: dict[str, tuple[str, int, int | None]] = field(default_factory=dict)
    """(client id, issued at, revoked at) by key id. The database keeps the first `issued_at` of a key."""
    participants: set[str] = field(default_factory=set)
    candles: set[tuple[str, int]] = field(default_factory=set)
    """(symbol, start of the minute)."""
    session: set[tuple[str, str]] = field(default_factory=set)
    """Places in `SessionData.reports`."""
    equity: list[tuple[str, int, int]] = field(default_factory=list)
    """New samples: (client id, time, cash units)."""


class MarketData:
    """Books, prices, accounts and counts of the whole exchange, as of the newest report."""

    def __init__(self) -> None:
        self.securities: dict[str, Security] = {}
        self.books: dict[str, Book] = {}
        self.last_prices: dict[str, int] = {}
        """The price of the last trade, in ticks, of securities that have traded."""
        self.opening_prices: dict[str, tuple[int, int]] = {}
        """The day of the last trade in days of Unix time, and the price at its start in ticks, by symbol."""
        self.states: dict[str, TradingState] = {}
        self.clients: dict[str, Client] = {}
        self.revoked_keys: set[str] = set()
        """Ids of revoked API keys."""
        self.participants = Participants()
        self.charts: dict[str, Chart] = {}
        self.orders = RestingOrders()
        self.order_sequences: dict[str, int] = {}
        """The number of the newest report that changed a resting order, by symbol."""
        self.changed_orders: dict[str, tuple[int, list[tuple[Side, int]]]] = {}
        """The changes since `take_changed_orders`, by symbol: the sequence before them, and the orders that changed."""
        self.has_house = False
        """Whether there are accounts of the exchange's own bots."""
        self.house_orders: Counter[str] = Counter()
        """The number of open orders of house bots, by symbol."""
        self.last_house_order_ended_at: dict[str, int] = {}
        """The time at which the last of these orders ended, in nanoseconds. Empty after a restart."""
        self.auctions: dict[str, AuctionUpdate] = {}
        """The newest update of each auction that collects orders now."""
        self.session = SessionData()
        self.updated_at = 0
        """The time at which the newest applied batch was appended, in nanoseconds."""
        self.sampled_at = 0
        """The time of the last sample of equities, in nanoseconds."""
        self.samples = 0
        """The number of samples. While there are no reports, as when the exchange is stopped, there are no samples."""
        self.totals = Totals()
        self.changes = Changes()

    def apply(self, report: Record) -> None:
        """Apply one report."""
        self.totals.reports += 1
        if isinstance(report, PriceUpdate):
            self._on_price(report)
        elif isinstance(report, OrderReport):
            self._on_order(report)
        elif isinstance(report, Trade):
            self.totals.trades += 1
            day = report.timestamp // NS_PER_DAY
            if self.opening_prices.get(report.symbol, (-1, 0))[0] < day:
                self.opening_prices[report.symbol] = (day, self.mark(report.symbol))
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
            # The settlement of the first deposit sets its cash and shares.
            self.client(report.client_id).house = report.house
            self.has_house = self.has_house or report.house
            self.changes.clients.add(report.client_id)
            self._transfer(report)
        elif isinstance(report, AssetsTransferred):
            self._transfer(report)
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
            # A key that is stored already keeps its `issued_at`, so the value here counts only for a key that is not.
            issued = self.changes.keys.get(report.key_id, (report.client_id, report.timestamp, None))[1]
            self.changes.keys[report.key_id] = (report.client_id, issued, report.timestamp)
        elif isinstance(report, ParticipantChanged):
            self.participants.apply(report)
            self.changes.participants.add(report.client_id)
        elif isinstance(report, TradingStateChanged):
            self.states[report.symbol] = report.state
            self.auctions.pop(report.symbol, None)
            self.changes.securities.add(report.symbol)
        elif isinstance(report, AuctionUpdate):
            self.auctions[report.symbol] = report
        elif isinstance(report, PaidOut):
            for client_id, cash, lots in report.payments:
                self._count_as_profit(client_id, report.symbol, cash, lots)
        elif isinstance(report, TenderAnswered):
            self._count_as_profit(report.client_id, report.symbol, report.cash, report.lots)
            if self.session.is_running and report.lots:
                self.changes.session.add(self.session.note_tender(report))
        elif isinstance(report, RoundEnded):
            for client_id, symbol, cash, lots in report.redeemed:
                self._count_as_profit(client_id, symbol, cash, lots)
            self.changes.session |= self.session.apply(report)
        else:
            self.changes.session |= self.session.apply(report)

    @property
    def now(self) -> int:
        """Return the time of the newest report, in seconds."""
        return self.updated_at // NS_PER_SECOND

    def advance_to(self, timestamp: int) -> None:
        """Set the time of the newest report, in nanoseconds, and sample equities if a sample is due.

        A sample has only the clients whose equity or profit changed since the sample before.
        """
        self.updated_at = max(self.updated_at, timestamp)
        at = timestamp - timestamp % SAMPLE_INTERVAL_NS
        if at <= self.sampled_at:
            return
        self.sampled_at = at
        self.samples += 1
        for client_id, client in self.clients.items():
            equity = self.equity(client)
            profit = equity - client.opened_with
            # A loss and a deposit of the same amount change the profit, but not the equity.
            if (equity == client.sampled_equity and profit == client.profit) or not client.has_funds:
                continue
            client.sampled_equity = equity
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
        was_open = report.order_id in orders
        if report.exec_type is ExecType.TRADE:
            client.trades += 1
            self.changes.clients.add(report.client_id)
            lots = report.last_quantity if report.side is _BUY else -report.last_quantity
            self._trade(report.client_id, report.symbol, report.timestamp, lots, report.last_price, report.fee).trades += 1
        if report.status.is_final:
            ended = orders.pop(report.order_id, None)
            if client.house and ended is not None:
                self.house_orders[report.symbol] -= 1
                self.last_house_order_ended_at[report.symbol] = self.updated_at
        else:
            if client.house and report.order_id not in orders:
                self.house_orders[report.symbol] += 1
            orders[report.order_id] = OpenOrder(totals.reports, report)
        self.changes.orders.add((report.client_id, report.order_id))
        if self.session.is_running:
            self.changes.session.add(self.session.note_order(report, was_open, report.order_id in orders))

    def _trade(self, client_id: str, symbol: str, timestamp: int, lots: int, price: int, fee: int = 0) -> Position:
        """Add a trade to a position, and return it. The lots of a sale are negative."""
        positions = self.clients[client_id].positions
        position = positions.get(symbol)
        if position is None:
            position = positions[symbol] = Position()
        position.begin_day(timestamp // NS_PER_DAY)
        position.trade(lots, self.value(symbol, 1, price), fee)
        self.changes.positions.add((client_id, symbol))
        return position

    def _transfer(self, report: AccountOpened | AssetsTransferred) -> None:
        """Add the shares of a transfer to the positions of a client, at their present prices and without a fee."""
        for symbol, lots in report.shares.items():
            self._trade(report.client_id, symbol, report.timestamp, lots, self.mark(symbol))

    def _on_settlement(self, report: SettlementReport) -> None:
        if report.status is SettlementStatus.REJECTED:
            self.totals.settlement_faults += 1
        elif report.trade_id:
            self.totals.settled += 1
        # A deposit is not a profit, and a withdrawal is not a loss. Both count at their present value.
        is_transfer = bool(report.transfer_id)
        for client_id, cash in report.cash:
            client = self.client(client_id)
            if is_transfer:
                client.opened_with += cash - client.cash
            client.cash, client.has_funds = cash, True
            self.changes.clients.add(client_id)
        for client_id, symbol, lots in report.holdings:
            client = self.client(client_id)
            if is_transfer and symbol in self.securities:
                client.opened_with += self.value(symbol, lots - client.holdings.get(symbol, 0), self.mark(symbol))
            client.holdings[symbol], client.has_funds = lots, True
            self.changes.holdings.add((client_id, symbol))

    def _count_as_profit(self, client_id: str, symbol: str, cash: int, lots: int) -> None:
        """Count a transfer as a profit or a loss. Its settlement, before or after it, counts it as a deposit."""
        client = self.client(client_id)
        client.opened_with -= cash + (self.value(symbol, lots, self.mark(symbol)) if lots else 0)
        self.changes.clients.add(client_id)

    def list_security(self, security: Security) -> None:
        """Add a security, or replace its terms.

        The clearinghouse may settle a deposit of shares before the engine's report of the listing is on the log. The price
        of such a deposit is the reference price of the listing.
        """
        symbol, is_new = security.symbol, security.symbol not in self.securities
        self.securities[symbol] = security
        for client in self.clients.values() if is_new else ():
            if lots := client.holdings.get(symbol, 0):
                client.opened_with += self.value(symbol, lots, self.mark(symbol))
        self.books.setdefault(security.symbol, Book())
        self.states.setdefault(security.symbol, security.listing.state)

    def client(self, client_id: str) -> Client:
        """Return the client with that id. A new id gets a new client."""
        client = self.clients.get(client_id)
        if client is None:
            client = self.clients[client_id] = Client()
        return client

    # --- views ----------------------------------------------------------------------------------------------

    def value(self, symbol: str, lots: int, price: int) -> int:
        """Return the value of `lots` at `price` ticks, in cash units."""
        return lots * price * self.securities[symbol].listing.tick_value

    def mark(self, symbol: str) -> int:
        """Return the price at which holdings are valued, in ticks: the last price or, before any trade, the reference."""
        return self.last_prices.get(symbol, self.securities[symbol].listing.reference_price)

    def equity(self, client: Client) -> int:
        """Return a client's equity in cash units. Holdings of a security that is not listed yet count as zero."""
        return client.cash + sum(
            self.value(symbol, lots, self.mark(symbol))
            for symbol, lots in client.holdings.items()
            if symbol in self.securities
        )

    def ratio(self, client: Client) -> Decimal | None:
        """Return the Sharpe ratio: the mean change of the profit from sample to sample, divided by its standard deviation.

        The ratio is per sample of five seconds, not annualised and without a riskless rate (Sharpe, The Sharpe Ratio, 1994).
        It is None before `MIN_RATIO_SAMPLES`, and if the standard deviation is zero.
        """
        samples = 1 + self.samples - client.since if client.since else 0
        spread = samples * client.squares - client.gains**2
        if samples < MIN_RATIO_SAMPLES or spread <= 0:
            return None
        with localcontext() as context:
            context.prec = 60  # squares of cash units have many digits
            return Decimal(client.gains) / Decimal(spread).sqrt()

    def is_quiet(self, symbol: str) -> bool:
        """Return whether there are house bots, but no order of theirs in this security now or in the last ten seconds."""
        return (
            self.has_house
            and not self.house_orders[symbol]
            and self.updated_at - self.last_house_order_ended_at.get(symbol, 0) >= QUIET_AFTER_NS
        )

    def security_view(self, symbol: str) -> SecurityView:
        """Return the view of a security."""
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
        """Return the best `depth` levels of each side of a book."""
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
        """Return `changed_orders`, and clear it."""
        changed, self.changed_orders = self.changed_orders, {}
        return changed

    def resting_order_view(self, symbol: str, side: Side, order_id: int) -> RestingOrderView:
        """Return the view of an order in its book. An order that is no longer in the book has quantity 0."""
        security, report = self.securities[symbol], self.orders.find(symbol, side, order_id)
        if report is None or report.price is None:
            return RestingOrderView(str(order_id), side, "0", security.quantity_text(0))
        lots = self.orders.shown(report)
        return RestingOrderView(str(order_id), side, security.price_text(report.price), security.quantity_text(lots))

    def full_book_view(self, symbol: str) -> FullBookView:
        """Return all orders of a book, best first, without their owners."""
        bids, asks = (
            [self.resting_order_view(symbol, side, report.order_id) for report in self.orders.side(symbol, side)]
            for side in (Side.BUY, Side.SELL)
        )
        return FullBookView(symbol=symbol, sequence=self.order_sequences.get(symbol, 0), bids=bids, asks=asks)

    def bbo_view(self, symbol: str) -> BboView:
        """Return the best bid and offer. There is no spread if they cross, as they may in an auction."""
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
        """Return the statistics of the 24 hours before `now`, in seconds of Unix time."""
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
        """Return the price, quantity and imbalance at which the security's auction would end now; None if there is none."""
        update, security = self.auctions.get(symbol), self.securities[symbol]
        if update is None:
            return None
        return {
            "price": security.price_text(update.price) if update.price else None,
            "quantity": security.quantity_text(update.quantity),
            "imbalance": security.quantity_text(update.imbalance),
        }

    def balance_view(self, client_id: str) -> BalanceView:
        """Return a client's balance."""
        client = self.clients[client_id]
        return BalanceView(
            client_id=client_id,
            cash=cash_to_text(client.cash),
            equity=cash_to_text(self.equity(client)),
            suspended=client.suspended,
        )

    def open_orders_view(self, client_id: str) -> list[OrderView]:
        """Return a client's open orders, oldest first."""
        orders = sorted(self.clients[client_id].orders.items())
        return [order_view(order.report, self.securities[order.report.symbol]) for _, order in orders]

    def holdings_view(self, client_id: str) -> list[HoldingView]:
        """Return a client's holdings, by symbol."""
        holdings = self.clients[client_id].holdings
        return [self.holding_view(client_id, symbol) for symbol in sorted(holdings) if holdings[symbol]]

    def holding_view(self, client_id: str, symbol: str) -> HoldingView:
        """Return a client's holding of one security."""
        lots = self.clients[client_id].holdings.get(symbol, 0)
        return HoldingView(client_id=client_id, symbol=symbol, quantity=self.securities[symbol].quantity_text(lots))

    def positions_view(self, client_id: str) -> list[PositionView]:
        """Return a client's positions, by symbol. Closed ones are included."""
        return [self._position_view(*entry) for entry in sorted(self.clients[client_id].positions.items())]

    def _position_view(self, symbol: str, position: Position) -> PositionView:
        security, mark, day = self.securities[symbol], self.mark(symbol), self.updated_at // NS_PER_DAY
        value = self.value(symbol, position.quantity, mark)
        opening_day, opening_price = self.opening_prices.get(symbol, (-1, 0))
        opening = self.value(symbol, 1, opening_price if opening_day == day else mark)
        return PositionView(
            symbol=symbol,
            quantity=security.quantity_text(position.quantity),
            average_cost=average_price(position.cost, position.quantity, security.lot_size),
            cost=cash_to_text(position.cost),
            last=security.price_text(mark),
            value=cash_to_text(value),
            unrealised=cash_to_text(position.unrealised(value)),
            realised=cash_to_text(position.realised),
            fees=cash_to_text(position.fees),
            today=cash_to_text(position.of_day(day, value, opening)),
            trades=position.trades,
        )

    def leaderboard(self, limit: int, house: bool = True) -> list[LeaderView]:
        """Return the clients with the highest profit first, and equal profits by name.

        If `house` is false, the exchange's own bots are left out.
        """
        places = self._places([entry for entry in self.clients.items() if house or not entry[1].house])
        return [self._leader_view(*place) for place in places[:limit]]

    def leaders(self, limit: int) -> list[LeaderView]:
        """Return the first `limit` clients and the first `limit` house bots, with their ranks among all accounts."""
        shown, left = [], {True: limit, False: limit}
        for place in self._places(list(self.clients.items())):
            is_house = place[2].house
            if left[is_house]:
                left[is_house] -= 1
                shown.append(self._leader_view(*place))
        return shown

    def _places(self, clients: list[tuple[str, Client]]) -> list[tuple[int, str, Client, int]]:
        """Return rank, name, client and equity of clients, the highest profit first.

        Views are made later, only for the clients that are shown, because they cost more than the ranking.
        """
        ranking = sorted(
            ((self.equity(client), client_id, client) for client_id, client in clients),
            key=lambda entry: (entry[2].opened_with - entry[0], entry[1]),
        )
        return [(rank, client_id, client, equity) for rank, (equity, client_id, client) in enumerate(ranking, 1)]

    def _leader_view(self, rank: int, client_id: str, client: Client, equity: int) -> LeaderView:
        profit, given, ratio = equity - client.opened_with, client.opened_with, self.ratio(client)
        return LeaderView(
            rank=rank,
            client_id=client_id,
            nickname=self.participants[client_id].nickname if client_id in self.participants else client_id,
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
    """Return the view of a candle."""
    text = security.price_text
    return CandleView(
        start=time_text(candle.start * NS_PER_SECOND),
        open=text(candle.open),
        high=text(candle.high),
        low=text(candle.low),
        close=text(candle.close),
        volume=security.quantity_text(candle.volume),
        trades=candle.trades,
    )


def level_view(security: Security, price: int, lots: int, orders: int) -> LevelView:
    """Return the view of a price level."""
    return LevelView(price=security.price_text(price), quantity=security.quantity_text(lots), orders=orders)
