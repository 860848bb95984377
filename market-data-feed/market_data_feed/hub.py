"""Fan-out: every message is encoded once and sent to each who subscribed.

There are two kinds of channels. Of an *event* (a trade, an order report, a change of state) every subscriber hears each. Of
a *state* (a book, a ticker, a balance) one hears how it stands: a reader that cannot keep up is told the newest, once it has
read what waits for it, and not every step on the way. So its backlog does not grow.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from market_data_feed.candles import INTERVALS
from market_data_feed.market import Market, candle_view, level_view
from microexchange.enums import ExecType, Side
from microexchange.frames import Outgoing
from microexchange.records import Record
from microexchange.reports import (
    AccountOpened,
    AssetsTransferred,
    AuctionUpdate,
    OrderReport,
    PriceUpdate,
    SettlementReport,
    Trade,
    TradingStateChanged,
)
from microexchange.schemas import TradeView, report_view, time_text, trade_view
from microexchange.web import json_frame

FULL = "book.full"
BOOK, BBO, TRADES, CANDLES, TICKER, STATUS, AUCTION = "book", "bbo", "trades", "candles", "ticker", "status", "auction"
ORDERS, BALANCES = "orders", "balances"
LEADERBOARD = "leaderboard"
MARKETDATA, TAPE = "marketdata", "tape"
"""What `/ws/marketdata` and `/ws/trades` send."""
PRIVATE = (ORDERS, BALANCES)
LEADERS = 100
"""The number of clients in the channel `leaderboard`. As many house bots are added."""
TOP = 10
"""Levels of each side in `marketdata`."""
DEPTH = 1000
"""Levels of each side in a snapshot of a book."""
SOON = 64
"""Messages that may wait before states are no longer queued, but told as they stand when the reader comes to it."""
MAX_QUEUED = 5_000
"""Messages that may wait for a slow reader; then it is disconnected, and the others never notice."""

Key = tuple[str, str]
"""A channel, and of what: a symbol, a client id, or nothing. The candles of an interval are a channel of their own."""


def candles_of(interval: str) -> str:
    """The channel of the candles of an interval."""
    return f"{CANDLES}:{interval}"


@dataclass(slots=True)
class Late:
    """What a subscriber has not heard yet of a state."""

    previous_sequence: int = 0
    """Of a book: the sequence that it heard last."""
    levels: set[tuple[Side, int]] = field(default_factory=set)
    """Of a book: the prices that have changed since; of a full one, the ids of the orders."""


class Subscriber(Outgoing):
    """One connection's queue, and the states that it is late with."""

    def __init__(self, put: Callable[[bytes], bool] = lambda _: False) -> None:
        super().__init__(put, MAX_QUEUED)
        self.keys: set[Key] = set()
        """What it has subscribed to."""
        self._late: dict[Key, Late] = {}

    def late(self, key: Key) -> Late | None:
        """What it has not heard of a state: None if the next message about it may be sent."""
        late = self._late.get(key)
        if late is None and len(self._queue) >= SOON:
            late = self._late[key] = Late()
            self._wake.set()
        return late

    def drop(self, key: Key) -> None:
        """It wants no more of that."""
        self.keys.discard(key)
        self._late.pop(key, None)

    def take(self) -> "bytes | tuple[Key, Late] | None":
        """The next message; or, once all are read, a state that it is late with; or None, where it has heard everything."""
        if self._queue:
            return self._queue.popleft()
        return self._late.popitem() if self._late else None


class Hub:
    """Who listens to what."""

    def __init__(self) -> None:
        self._subscribers: defaultdict[Key, set[Subscriber]] = defaultdict(set)
        self._traded: set[str] = set()
        """Symbols that have traded since the last tick."""

    def subscribe(self, subscriber: Subscriber, key: Key) -> None:
        """From now on `subscriber` hears `key`."""
        self._subscribers[key].add(subscriber)
        subscriber.keys.add(key)

    def unsubscribe(self, subscriber: Subscriber, key: Key) -> None:
        """No more."""
        subscriber.drop(key)
        subscribers = self._subscribers.get(key)
        if subscribers is not None:
            subscribers.discard(subscriber)
            if not subscribers:
                del self._subscribers[key]

    def leave(self, subscriber: Subscriber) -> None:
        """No more of anything."""
        for key in list(subscriber.keys):
            self.unsubscribe(subscriber, key)

    def backlog(self) -> tuple[int, int]:
        """How many subscribers there are, and how many messages wait for the one that is furthest behind."""
        everybody = {subscriber for subscribers in self._subscribers.values() for subscriber in subscribers}
        return len(everybody), max(map(len, everybody), default=0)

    def publish(self, market: Market, reports: Iterable[Record], first: int = 0) -> None:
        """Tells of one body's reports, after the market took them in: all changes of a book in one message. `first` is the
        number of the first report."""
        books: dict[str, list[PriceUpdate]] = {}
        traded: set[str] = set()
        auctions: set[str] = set()
        clients: set[str] = set()
        for number, report in enumerate(reports, first):
            if isinstance(report, PriceUpdate):
                books.setdefault(report.symbol, []).append(report)
            elif isinstance(report, OrderReport):
                if report.exec_type is not ExecType.PENDING_NEW:
                    self._event((ORDERS, report.client_id), order_message, market, number, report)
            elif isinstance(report, Trade):
                traded.add(report.symbol)
                self._event((TRADES, report.symbol), trade_message, market, report)
                self._event((TAPE, report.symbol), tape_message, market, report)
            elif isinstance(report, SettlementReport):
                clients.update(client_id for client_id, _ in report.cash)
                clients.update(client_id for client_id, _, _ in report.holdings)
            elif isinstance(report, TradingStateChanged):
                auctions.add(report.symbol)
                self._event((STATUS, report.symbol), status_message, report)
            elif isinstance(report, AuctionUpdate):
                auctions.add(report.symbol)
            elif isinstance(report, (AccountOpened, AssetsTransferred)):
                clients.add(report.client_id)
        for symbol, (before, orders) in market.take_changed_orders().items():
            self._changed((FULL, symbol), before, orders, partial(full_message, market, symbol, before, orders))
        for symbol, updates in books.items():
            changed = [(update.side, update.price) for update in updates]
            make = partial(book_message, market, symbol, updates)
            self._changed((BOOK, symbol), updates[0].book_sequence - 1, changed, make)
            for channel in (BBO, MARKETDATA):
                self._state(market, (channel, symbol))
        for symbol in traded:
            for interval in INTERVALS:
                self._state(market, (candles_of(interval), symbol))
        for symbol in auctions:
            self._state(market, (AUCTION, symbol))
        for client_id in clients:
            self._state(market, (BALANCES, client_id))
        self._traded |= traded

    def tick(self, market: Market) -> None:
        """Tells what need not be told more often than once a second."""
        for symbol in self._traded:
            self._state(market, (TICKER, symbol))
        self._traded = set()
        self._state(market, (LEADERBOARD, ""))

    def _event(self, key: Key, message: Callable[..., Any], *of: Any) -> None:
        subscribers = self._subscribers.get(key)
        if subscribers:
            frame = json_frame(message(*of))
            for subscriber in subscribers:
                subscriber.send(frame)

    def _state(self, market: Market, key: Key) -> None:
        subscribers = self._subscribers.get(key)
        if subscribers:
            frame = b""
            for subscriber in subscribers:
                if subscriber.late(key) is None:
                    frame = frame or json_frame(state_message(market, key))
                    subscriber.send(frame)

    def _changed(self, key: Key, previous: int, changed: Iterable[tuple[Side, int]], message: Callable[[], Any]) -> None:
        """Tells of changes of a book, which follow what had the sequence `previous`."""
        subscribers = self._subscribers.get(key)
        if subscribers:
            frame = b""
            for subscriber in subscribers:
                late = subscriber.late(key)
                if late is None:
                    frame = frame or json_frame(message())
                    subscriber.send(frame)
                else:
                    late.previous_sequence = late.previous_sequence or previous
                    late.levels.update(changed)


def message_for(market: Market, key: Key, late: Late) -> Any:
    """What a subscriber that is late hears of a state: how it stands now."""
    if key[0] == BOOK:
        return merged_message(market, key[1], late)
    if key[0] == FULL:
        return full_message(market, key[1], late.previous_sequence, sorted(late.levels))
    return state_message(market, key)


def state_message(market: Market, key: Key) -> Any:
    """How a state stands, as its channel sends it. A book's is its snapshot."""
    channel, what = key
    match channel:
        case "book":
            return {"channel": BOOK, "type": "snapshot", "book": market.book_view(what, DEPTH)}
        case "book.full":
            return {"channel": FULL, "type": "snapshot", "book": market.full_book_view(what)}
        case "bbo":
            return {"channel": BBO, "type": "bbo", "bbo": market.bbo_view(what)}
        case "ticker":
            return {"channel": TICKER, "type": "ticker", "ticker": market.ticker_view(what, market.now)}
        case "auction":
            return {"channel": AUCTION, "type": "auction", "symbol": what, "auction": market.auction_view(what)}
        case "status":
            return {"channel": STATUS, "type": "status", "symbol": what, "state": market.states[what]}
        case "balances":
            return {
                "channel": BALANCES,
                "type": "balance",
                "balance": market.balance_view(what),
                "holdings": market.holdings_view(what),
            }
        case "leaderboard":
            return {"channel": LEADERBOARD, "type": "leaderboard", "leaders": market.leaders(LEADERS)}
        case "marketdata":
            return marketdata_message(market, what)
    interval = channel.removeprefix(f"{CANDLES}:")
    chart = market.charts.get(what)
    candle = None if chart is None else chart.newest.get(interval)
    view = None if candle is None else candle_view(market.securities[what], candle)
    return {"channel": CANDLES, "type": "candle", "symbol": what, "interval": interval, "candle": view}


def trade_message(market: Market, trade: Trade) -> dict[str, Any]:
    """A trade as the channel `trades` sends it."""
    return {"channel": TRADES, "type": "trade", "trade": trade_view(trade, market.securities[trade.symbol])}


def tape_message(market: Market, trade: Trade) -> TradeView:
    """A trade as `/ws/trades` sends it."""
    return trade_view(trade, market.securities[trade.symbol])


def order_message(market: Market, number: int, report: OrderReport) -> dict[str, Any]:
    """An order report as the channel `orders` sends it, with the number that it is stored under."""
    view = report_view(report, market.securities[report.symbol])
    return {"channel": ORDERS, "type": "report", "sequence": number, "report": view}


def status_message(report: TradingStateChanged) -> dict[str, Any]:
    """A change of state as the channel `status` sends it."""
    ends = time_text(report.ends_at) if report.ends_at else None
    state = {"symbol": report.symbol, "state": report.state, "ends_at": ends, "reason": report.reason}
    return {"channel": STATUS, "type": "status", **state}


def book_message(market: Market, symbol: str, updates: list[PriceUpdate]) -> dict[str, Any]:
    """Changes of a book as the channel `book` sends them: [side, [price, quantity, orders]], a quantity of 0 for gone."""
    security = market.securities[symbol]
    changes = [(u.side, level_view(security, u.price, u.quantity, u.order_count)) for u in updates]
    return _changes(BOOK, symbol, updates[0].book_sequence - 1, updates[-1].book_sequence, changes)


def merged_message(market: Market, symbol: str, late: Late) -> dict[str, Any]:
    """All changes that a late subscriber has missed in one: how those levels stand now."""
    security, book = market.securities[symbol], market.books[symbol]
    changes = []
    for side, price in sorted(late.levels):
        levels = book.bids if side is Side.BUY else book.asks
        changes.append((side, level_view(security, price, *levels.get(price, (0, 0)))))
    return _changes(BOOK, symbol, late.previous_sequence, book.sequence, changes)


def full_message(market: Market, symbol: str, previous: int, orders: Iterable[tuple[Side, int]]) -> dict[str, Any]:
    """Changes of a full book: how those orders stand now."""
    changes = [market.standing_view(symbol, side, order_id) for side, order_id in dict.fromkeys(orders)]
    return _changes(FULL, symbol, previous, market.order_sequences.get(symbol, 0), changes)


def _changes(channel: str, symbol: str, previous: int, sequence: int, changes: list[Any]) -> dict[str, Any]:
    return {
        "channel": channel,
        "type": "update",
        "symbol": symbol,
        "previous_sequence": previous,
        "sequence": sequence,
        "changes": changes,
    }


def marketdata_message(market: Market, symbol: str) -> dict[str, Any]:
    """The top of a book as `/ws/marketdata` sends it."""
    book = market.book_view(symbol, TOP)
    sides = {
        name: [[level.price, level.quantity] for level in side] for name, side in (("bids", book.bids), ("asks", book.asks))
    }
    return {"timestamp": time_text(market.newest), "symbol": symbol, **sides}
