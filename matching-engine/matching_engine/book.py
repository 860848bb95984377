"""The order book of one security: price levels, and a queue of orders at each."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from microexchange.commands import NewOrder
from microexchange.enums import Side

if TYPE_CHECKING:
    from matching_engine.account import Account

_BUY = Side.BUY

MAX_EMPTY = 64
"""A side with at most this many prices keeps its empty ones. Snapshots do not have them, and no record depends on them."""


class Order:
    """An order that enters, waits for its trigger, or rests in the book.

    `entry` is the command that entered it, with the fields that never change. The order has the id of this command.
    """

    __slots__ = (
        "account",
        "arrival",
        "entry",
        "hold_per_lot",
        "holding",
        "leaves",
        "level",
        "newer",
        "notional",
        "older",
        "price",
        "quantity",
        "trigger_price",
        "visible",
    )

    def __init__(self, entry: NewOrder, account: Account) -> None:
        symbol, quantity, shown = entry.symbol, entry.quantity, entry.display_quantity
        self.entry = entry
        self.account = account
        self.holding = account.holdings.get(symbol) or account.holding(symbol)
        """The account's holding of the security."""
        self.price = entry.price
        """The limit in ticks. None for an order that trades at any price."""
        self.trigger_price = entry.trigger_price
        self.quantity = quantity
        self.leaves = quantity
        """Open lots: those that can still trade."""
        self.visible = shown if 0 < shown < quantity else quantity
        """Open lots that the book shows. The others of an iceberg are hidden."""
        self.notional = 0
        """Cash units of all fills, without fees."""
        self.hold_per_lot = 0
        """Cash units that each open lot holds; 0 for a sell."""
        self.arrival = 0
        """The place in the sequence of all orders that came to rest or to wait. 0 if the order has done neither."""
        self.level: Level | None = None
        self.older: Order | None = None
        self.newer: Order | None = None


class Level:
    """The orders at one price, oldest first. A doubly linked list, so that any order can leave in constant time."""

    __slots__ = ("count", "head", "price", "quantity", "tail")

    def __init__(self, price: int) -> None:
        self.price = price
        self.head: Order | None = None
        self.tail: Order | None = None
        self.quantity = 0
        """The lots that all orders together show."""
        self.count = 0
        """The number of orders."""

    def __iter__(self) -> Iterator[Order]:
        order = self.head
        while order is not None:
            yield order
            order = order.newer

    def move_back(self, order: Order) -> None:
        """Move `order` behind all others. The level stays the same object, and is never empty."""
        newer, tail = order.newer, self.tail
        if newer is None or tail is None:
            return
        older = order.older
        newer.older = older
        if older is None:
            self.head = newer
        else:
            older.newer = newer
        order.older, order.newer = tail, None
        self.tail = tail.newer = order


class BookSide:
    """All levels of one side.

    `levels` has every price with orders, and some prices that had orders. An empty price stays until it is at the top of the
    heap, or until the side drops all empty prices. The heap has the same prices as `levels`.

    A level that was dropped stays empty: its price gets a new level. Therefore do not keep a level while orders are added. A
    record must not depend on whether an empty price is still there.

    The best price costs O(1) amortised, a new price O(log n), all else O(1).
    """

    __slots__ = ("_heap", "_sign", "levels", "live", "side")

    def __init__(self, side: Side) -> None:
        self.side = side
        self.levels: dict[int, Level] = {}
        self.live = 0
        """The number of levels with orders."""
        self._heap: list[int] = []
        self._sign = -1 if side is _BUY else 1
        """The smallest entry of the heap is the best price: the heap has bids negated."""

    def best(self) -> Level | None:
        """Return the level that trades first: the highest bid or the lowest offer. None if the side is empty."""
        heap, levels, sign = self._heap, self.levels, self._sign
        while heap:
            price = heap[0] * sign
            level = levels[price]
            if level.head is not None:
                return level
            heappop(heap)
            del levels[price]
        return None

    def add(self, order: Order, price: int) -> Level:
        """Add `order` behind all others at `price`, and return its level."""
        level = self.levels.get(price)
        if level is None:
            level = self.levels[price] = Level(price)
            heappush(self._heap, price * self._sign)
        tail = level.tail
        if tail is None:
            level.head = order
            self.live += 1
        else:
            tail.newer = order
            order.older = tail
        level.tail = order
        level.quantity += order.visible
        level.count += 1
        order.level = level
        return level

    def remove(self, order: Order) -> None:
        """Remove `order` and its visible lots from its level."""
        level = order.level
        assert level is not None, "the order rests"  # noqa: S101
        older, newer = order.older, order.newer
        if older is None:
            level.head = newer
        else:
            older.newer = newer
        if newer is None:
            level.tail = older
        else:
            newer.older = older
        order.level = order.older = order.newer = None
        level.quantity -= order.visible
        level.count -= 1
        if level.head is None:
            self.live -= 1
            if len(self._heap) > MAX_EMPTY and len(self._heap) > 4 * self.live:
                self._sweep()

    def _sweep(self) -> None:
        """Drop the prices without orders, so that memory grows with the open orders and not with the history."""
        self.levels = {price: level for price, level in self.levels.items() if level.head is not None}
        self._heap = [price * self._sign for price in self.levels]
        heapify(self._heap)

    def best_first(self) -> Iterator[Level]:
        """Iterate over the levels with orders, best first. The first k of them cost O(k log k)."""
        heap, levels, sign = self._heap, self.levels, self._sign
        frontier = [(heap[0], 0)] if heap else []
        while frontier:
            price, place = heappop(frontier)
            for child in (2 * place + 1, 2 * place + 2):
                if child < len(heap):
                    heappush(frontier, (heap[child], child))
            level = levels[price * sign]
            if level.head is not None:
                yield level

    def __iter__(self) -> Iterator[Order]:
        """Iterate over all orders in priority."""
        for level in self.best_first():
            yield from level


class Book:
    """Both sides of one security."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = BookSide(Side.BUY)
        self.asks = BookSide(Side.SELL)

    def side(self, side: Side) -> BookSide:
        """Return the side on which orders of `side` rest."""
        return self.bids if side is _BUY else self.asks

    def opposite(self, side: Side) -> BookSide:
        """Return the side with which orders of `side` trade."""
        return self.asks if side is _BUY else self.bids

    @property
    def is_crossed(self) -> bool:
        """Return whether the best bid is at the best offer or above."""
        bid, ask = self.bids.best(), self.asks.best()
        return bid is not None and ask is not None and bid.price >= ask.price
