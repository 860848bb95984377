"""Fan-out: every message is encoded once and queued for each who subscribed."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from market_data_feed.market import Market, level_view
from microexchange.messages import PriceUpdate, Record, Trade
from microexchange.presentation import trade_view
from microexchange.web import json_text

BOOK, TRADES = "book", "trades"
CHANNELS = (BOOK, TRADES)
MOST_QUEUED = 5_000
"""Messages that may wait for a slow reader; then it is disconnected, and the others never notice."""


class Subscriber:
    """One connection's queue."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.overflowed = asyncio.Event()
        """Set once the reader is too far behind: nothing more is queued for it."""

    def send(self, text: str) -> None:
        """Queues a message, unless the reader is too far behind."""
        if self.overflowed.is_set():
            return
        if self.queue.qsize() >= MOST_QUEUED:
            self.overflowed.set()
            self.queue.put_nowait(None)
        else:
            self.queue.put_nowait(text)


class Hub:
    """Who listens to what."""

    def __init__(self) -> None:
        self._subscribers: defaultdict[tuple[str, str], set[Subscriber]] = defaultdict(set)

    def subscribe(self, subscriber: Subscriber, channel: str, symbol: str) -> None:
        """From now on `subscriber` hears `channel` of `symbol`."""
        self._subscribers[channel, symbol].add(subscriber)

    def unsubscribe(self, subscriber: Subscriber, channel: str, symbol: str) -> None:
        """No more."""
        self._subscribers[channel, symbol].discard(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """No more of anything."""
        for subscribers in self._subscribers.values():
            subscribers.discard(subscriber)

    def publish(self, market: Market, reports: Iterable[Record]) -> None:
        """Tells of one body's reports, after the market took them in: all changes of a book in one message."""
        changes: dict[str, list[PriceUpdate]] = {}
        for report in reports:
            if isinstance(report, PriceUpdate):
                changes.setdefault(report.symbol, []).append(report)
            elif isinstance(report, Trade):
                self._send(TRADES, report.symbol, lambda report=report: trade_message(market, report))
        for symbol, updates in changes.items():
            self._send(BOOK, symbol, lambda symbol=symbol, updates=updates: book_message(market, symbol, updates))

    def _send(self, channel: str, symbol: str, message: Any) -> None:
        subscribers = self._subscribers.get((channel, symbol))
        if subscribers:
            text = json_text(message())
            for subscriber in subscribers:
                subscriber.send(text)


def trade_message(market: Market, trade: Trade) -> dict[str, Any]:
    """A trade as the channel `trades` sends it."""
    return {"channel": TRADES, "type": "trade", "trade": trade_view(trade, market.securities[trade.symbol])}


def book_message(market: Market, symbol: str, updates: list[PriceUpdate]) -> dict[str, Any]:
    """Changes of a book as the channel `book` sends them: [side, [price, quantity, orders]], a quantity of 0 for gone."""
    security = market.securities[symbol]
    return {
        "channel": BOOK,
        "type": "update",
        "symbol": symbol,
        "previous_sequence": updates[0].book_sequence - 1,
        "sequence": updates[-1].book_sequence,
        "changes": [(u.side, level_view(security, u.price, u.quantity, u.order_count)) for u in updates],
    }


def snapshot_message(market: Market, symbol: str, depth: int) -> dict[str, Any]:
    """A whole book as the channel `book` sends it first."""
    return {"channel": BOOK, "type": "snapshot", "book": market.book_view(symbol, depth)}
