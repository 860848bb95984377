"""Fan-out: the hub encodes each message once and sends it to all subscribers of its channel.

There are two kinds of channels. A channel of *events* (trades, order reports, changes of state) sends every event. A channel
of *states* (books, tickers, balances) conflates: a slow reader first receives its backlog. Then it receives one message with
the newest state. So its backlog does not grow.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from market_data_feed.candles import INTERVALS
from market_data_feed.market import MarketData, candle_view, level_view
from microexchange.enums import ExecType, Side
from microexchange.frames import Outgoing
from microexchange.participants import name_key
from microexchange.records import Record
from microexchange.reports import (
    AccountOpened,
    AssetsTransferred,
    AuctionUpdate,
    KeyRevoked,
    OrderReport,
    ParticipantChanged,
    PriceUpdate,
    SettlementReport,
    Trade,
    TradingStateChanged,
)
from microexchange.schemas import report_view, time_text, trade_view
from microexchange.session_reports import NewsPublished, SessionChanged, TenderOffered
from microexchange.session_views import news_view, session_view, tender_view
from microexchange.web import json_frame

FULL_BOOK = "book.full"
BOOK, BBO, TRADES, CANDLES, TICKER, STATUS, AUCTION = "book", "bbo", "trades", "candles", "ticker", "status", "auction"
ORDERS, BALANCES, POSITIONS = "orders", "balances", "positions"
LEADERBOARD = "leaderboard"
SESSION, NEWS, TENDERS = "session", "news", "tenders"
FOR_AN_AUDIENCE = (NEWS, TENDERS)
"""The channels with a part for everybody, whose subject is empty, and a part for each client."""
MARKETDATA, TAPE = "marketdata", "tape"
"""The channels of `/ws/marketdata` and `/ws/trades`."""
PRIVATE = (ORDERS, BALANCES, POSITIONS)
LEADERBOARD_SIZE = 100
"""The largest number of clients in the channel `leaderboard`, and the largest number of house bots."""
MARKETDATA_DEPTH = 10
"""The levels of each side in `marketdata`."""
SNAPSHOT_DEPTH = 1000
"""The levels of each side in a snapshot of a book."""
CONFLATION_QUEUE_LENGTH = 64
"""The queue length at which the states of a subscriber are conflated."""
MAX_CONFLATED_CHANGES = 10_000
"""The changes of a book that are conflated for one subscriber. If there are more, it receives a snapshot instead."""
MAX_QUEUED = 5_000
"""The queue length at which a subscriber is disconnected."""

Key = tuple[str, str]
"""A channel and its subject: a symbol, a client id, or the empty string. The candles of each interval are a channel."""


def candles_of(interval: str) -> str:
    """Return the channel of the candles of an interval."""
    return f"{CANDLES}:{interval}"


@dataclass(slots=True)
class ConflatedState:
    """The changes of a state that a subscriber has not received yet."""

    previous_sequence: int = 0
    """The last sequence of a book that the subscriber received."""
    levels: set[tuple[Side, int]] | None = field(default_factory=set)
    """The prices of a book that have changed since. In a full book, the ids of the orders. None if there are too many."""

    def add(self, previous_sequence: int, changed: Iterable[tuple[Side, int]]) -> None:
        """Add changes of a book that follow the sequence `previous_sequence`."""
        self.previous_sequence = self.previous_sequence or previous_sequence
        if self.levels is not None:
            self.levels.update(changed)
            if len(self.levels) > MAX_CONFLATED_CHANGES:
                self.levels = None


class Subscriber(Outgoing):
    """The queue of one connection, and its conflated states."""

    def __init__(self, put: Callable[[bytes], bool] = lambda _: False) -> None:
        super().__init__(put, MAX_QUEUED)
        self.keys: set[Key] = set()
        """The subscriptions."""
        self.key_ids: set[str] = set()
        """The ids of the API keys with which it has logged in."""
        self.revoked = asyncio.Event()
        """Set if one of these keys is revoked."""
        self._conflated: dict[Key, ConflatedState] = {}

    def conflated(self, key: Key) -> ConflatedState | None:
        """Return the changes of a state that are conflated; None if the next message of it may be queued."""
        state = self._conflated.get(key)
        if state is None and len(self._queue) >= CONFLATION_QUEUE_LENGTH:
            state = self._conflated[key] = ConflatedState()
            self._wake.set()
        return state

    def drop(self, key: Key) -> None:
        """Remove a subscription."""
        self.keys.discard(key)
        self._conflated.pop(key, None)

    def take(self) -> "bytes | tuple[Key, ConflatedState] | None":
        """Return the next message. If the queue is empty, return a conflated state; None if there is none."""
        if self._queue:
            return self._queue.popleft()
        return self._conflated.popitem() if self._conflated else None


class Hub:
    """The subscribers of each channel."""

    def __init__(self) -> None:
        self._subscribers: defaultdict[Key, set[Subscriber]] = defaultdict(set)
        self._key_users: defaultdict[str, set[Subscriber]] = defaultdict(set)
        """The subscribers that have logged in with an API key, by its id."""
        self._traded: set[str] = set()
        """Symbols that have traded since the last tick."""

    def subscribe(self, subscriber: Subscriber, key: Key) -> None:
        """Subscribe `subscriber` to `key`."""
        self._subscribers[key].add(subscriber)
        subscriber.keys.add(key)

    def unsubscribe(self, subscriber: Subscriber, key: Key) -> None:
        """End one subscription."""
        subscriber.drop(key)
        subscribers = self._subscribers.get(key)
        if subscribers is not None:
            subscribers.discard(subscriber)
            if not subscribers:
                del self._subscribers[key]

    def leave(self, subscriber: Subscriber) -> None:
        """End all subscriptions of `subscriber`."""
        for key in list(subscriber.keys):
            self.unsubscribe(subscriber, key)
        for key_id in subscriber.key_ids:
            users = self._key_users[key_id]
            users.discard(subscriber)
            if not users:
                del self._key_users[key_id]
        subscriber.key_ids.clear()

    def use_key(self, subscriber: Subscriber, key_id: str) -> None:
        """Note that `subscriber` has logged in with a key. `subscriber.revoked` is set if the key is revoked."""
        subscriber.key_ids.add(key_id)
        self._key_users[key_id].add(subscriber)

    def backlog(self) -> tuple[int, int]:
        """Return the number of subscribers, and the length of the longest queue."""
        distinct = {subscriber for subscribers in self._subscribers.values() for subscriber in subscribers}
        return len(distinct), max(map(len, distinct), default=0)

    def publish(self, market: MarketData, reports: Iterable[Record], first: int = 0) -> None:
        """Send the reports of one body to subscribers. The market must have applied them already.

        All changes of a book are one message. `first` is the number of the first report.
        """
        books: dict[str, list[PriceUpdate]] = {}
        traded: set[str] = set()
        auctions: set[str] = set()
        clients: set[str] = set()
        positions: set[str] = set()
        for number, report in enumerate(reports, first):
            if isinstance(report, PriceUpdate):
                books.setdefault(report.symbol, []).append(report)
            elif isinstance(report, OrderReport):
                if report.exec_type is not ExecType.PENDING_NEW:
                    self._event((ORDERS, report.client_id), order_message, market, number, report)
                    if report.exec_type is ExecType.TRADE:
                        positions.add(report.client_id)
            elif isinstance(report, Trade):
                traded.add(report.symbol)
                self._event((TRADES, report.symbol), trade_message, market, report)
                self._event((TAPE, report.symbol), trade_view, report, market.securities[report.symbol])
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
                positions.add(report.client_id)
            elif isinstance(report, SessionChanged):
                self._state(market, (SESSION, ""))
            elif isinstance(report, NewsPublished):
                self._event_to(report.clients, NEWS, news_message, market, report)
            elif isinstance(report, TenderOffered):
                self._event_to(report.clients, TENDERS, tender_message, market, report)
            elif isinstance(report, KeyRevoked):
                self._revoke(report.key_id)
            elif isinstance(report, ParticipantChanged):
                self._revoke(name_key(report.client_id))
        for symbol, (before, orders) in market.take_changed_orders().items():
            self._changed((FULL_BOOK, symbol), before, orders, partial(full_message, market, symbol, before, orders))
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
        for client_id in positions:
            self._state(market, (POSITIONS, client_id))
        self._traded |= traded

    def tick(self, market: MarketData) -> None:
        """Send tickers and the leaderboard. Call it once a second."""
        for symbol in self._traded:
            self._state(market, (TICKER, symbol))
        self._traded = set()
        self._state(market, (LEADERBOARD, ""))

    def _revoke(self, key_id: str) -> None:
        for subscriber in self._key_users.get(key_id, ()):
            subscriber.revoked.set()

    def _event(self, key: Key, message: Callable[..., Any], *arguments: Any) -> None:
        subscribers = self._subscribers.get(key)
        if subscribers:
            frame = json_frame(message(*arguments))
            for subscriber in subscribers:
                subscriber.send(frame)

    def _event_to(self, clients: list[str] | None, channel: str, message: Callable[..., Any], *arguments: Any) -> None:
        """Send an event to these clients, or to all if it is None. The frame is made once."""
        keys = [(channel, client_id) for client_id in ([""] if clients is None else clients)]
        subscribers = [subscriber for key in keys for subscriber in self._subscribers.get(key, ())]
        if subscribers:
            frame = json_frame(message(*arguments))
            for subscriber in subscribers:
                subscriber.send(frame)

    def _state(self, market: MarketData, key: Key) -> None:
        subscribers = self._subscribers.get(key)
        if subscribers:
            frame = b""
            for subscriber in subscribers:
                if subscriber.conflated(key) is None:
                    frame = frame or json_frame(state_message(market, key))
                    subscriber.send(frame)

    def _changed(self, key: Key, previous: int, changed: Iterable[tuple[Side, int]], message: Callable[[], Any]) -> None:
        """Send changes of a book that follow the sequence `previous`."""
        subscribers = self._subscribers.get(key)
        if subscribers:
            frame = b""
            for subscriber in subscribers:
                state = subscriber.conflated(key)
                if state is None:
                    frame = frame or json_frame(message())
                    subscriber.send(frame)
                else:
                    state.add(previous, changed)


def conflated_message(market: MarketData, key: Key, state: ConflatedState) -> Any:
    """Return the message of a conflated state: the changes of a book, or the newest state."""
    if state.levels is None:
        return state_message(market, key)
    if key[0] == BOOK:
        return conflated_book_message(market, key[1], state.previous_sequence, state.levels)
    if key[0] == FULL_BOOK:
        return full_message(market, key[1], state.previous_sequence, sorted(state.levels))
    return state_message(market, key)


def state_message(market: MarketData, key: Key) -> Any:
    """Return the message of the current state of a channel. The message of a book is a snapshot."""
    channel, subject = key
    match channel:
        case "book":
            return {"channel": BOOK, "type": "snapshot", "book": market.book_view(subject, SNAPSHOT_DEPTH)}
        case "book.full":
            return {"channel": FULL_BOOK, "type": "snapshot", "book": market.full_book_view(subject)}
        case "bbo":
            return {"channel": BBO, "type": "bbo", "bbo": market.bbo_view(subject)}
        case "ticker":
            return {"channel": TICKER, "type": "ticker", "ticker": market.ticker_view(subject, market.now)}
        case "auction":
            return {"channel": AUCTION, "type": "auction", "symbol": subject, "auction": market.auction_view(subject)}
        case "status":
            return {"channel": STATUS, "type": "status", "symbol": subject, "state": market.states[subject]}
        case "balances":
            return {
                "channel": BALANCES,
                "type": "balance",
                "balance": market.balance_view(subject),
                "holdings": market.holdings_view(subject),
            }
        case "positions":
            return {"channel": POSITIONS, "type": "positions", "positions": market.positions_view(subject)}
        case "leaderboard":
            return {"channel": LEADERBOARD, "type": "leaderboard", "leaders": market.leaders(LEADERBOARD_SIZE)}
        case "session":
            session = market.session.session
            clock = None if session is None else session_view(session, time.time_ns())
            return {"channel": SESSION, "type": "session", "session": clock}
        case "marketdata":
            return marketdata_message(market, subject)
    interval = channel.removeprefix(f"{CANDLES}:")
    chart = market.charts.get(subject)
    candle = None if chart is None else chart.newest.get(interval)
    view = None if candle is None else candle_view(market.securities[subject], candle)
    return {"channel": CANDLES, "type": "candle", "symbol": subject, "interval": interval, "candle": view}


def trade_message(market: MarketData, trade: Trade) -> dict[str, Any]:
    """Return the message of a trade on the channel `trades`."""
    return {"channel": TRADES, "type": "trade", "trade": trade_view(trade, market.securities[trade.symbol])}


def order_message(market: MarketData, number: int, report: OrderReport) -> dict[str, Any]:
    """Return the message of an order report on the channel `orders`. Its `sequence` is the `report_id` in the database."""
    view = report_view(report, market.securities[report.symbol])
    return {"channel": ORDERS, "type": "report", "sequence": number, "report": view}


def news_message(market: MarketData, news: NewsPublished) -> dict[str, Any]:
    """Return the message of news on the channel `news`."""
    return {"channel": NEWS, "type": "news", "news": news_view(news, market.securities)}


def tender_message(market: MarketData, tender: TenderOffered) -> dict[str, Any]:
    """Return the message of a tender on the channel `tenders`."""
    return {"channel": TENDERS, "type": "tender", "tender": tender_view(tender, market.securities)}


def status_message(report: TradingStateChanged) -> dict[str, Any]:
    """Return the message of a change of state on the channel `status`."""
    ends = time_text(report.ends_at) if report.ends_at else None
    state = {"symbol": report.symbol, "state": report.state, "ends_at": ends, "reason": report.reason}
    return {"channel": STATUS, "type": "status", **state}


def book_message(market: MarketData, symbol: str, updates: list[PriceUpdate]) -> dict[str, Any]:
    """Return the message of changes of a book on the channel `book`.

    A change is [side, [price, quantity, orders]]. A level without orders has quantity 0.
    """
    security = market.securities[symbol]
    changes = [(u.side, level_view(security, u.price, u.quantity, u.order_count)) for u in updates]
    return _changes(BOOK, symbol, updates[0].book_sequence - 1, updates[-1].book_sequence, changes)


def conflated_book_message(
    market: MarketData, symbol: str, previous: int, changed: Iterable[tuple[Side, int]]
) -> dict[str, Any]:
    """Return one message with the current levels of all changes that were conflated."""
    security, book = market.securities[symbol], market.books[symbol]
    changes = []
    for side, price in sorted(changed):
        levels = book.bids if side is Side.BUY else book.asks
        changes.append((side, level_view(security, price, *levels.get(price, (0, 0)))))
    return _changes(BOOK, symbol, previous, book.sequence, changes)


def full_message(market: MarketData, symbol: str, previous: int, orders: Iterable[tuple[Side, int]]) -> dict[str, Any]:
    """Return the message of changes of a full book: the current views of `orders`."""
    changes = [market.resting_order_view(symbol, side, order_id) for side, order_id in dict.fromkeys(orders)]
    return _changes(FULL_BOOK, symbol, previous, market.order_sequences.get(symbol, 0), changes)


def _changes(channel: str, symbol: str, previous: int, sequence: int, changes: list[Any]) -> dict[str, Any]:
    return {
        "channel": channel,
        "type": "update",
        "symbol": symbol,
        "previous_sequence": previous,
        "sequence": sequence,
        "changes": changes,
    }


def marketdata_message(market: MarketData, symbol: str) -> dict[str, Any]:
    """Return the message of the best levels of a book on `/ws/marketdata`."""
    book = market.book_view(symbol, MARKETDATA_DEPTH)
    sides = {
        name: [[level.price, level.quantity] for level in side] for name, side in (("bids", book.bids), ("asks", book.asks))
    }
    return {"timestamp": time_text(market.updated_at), "symbol": symbol, **sides}
