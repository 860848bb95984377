"""Other order books from PyPI, behind one small interface, so that the same flow runs over each.

Each is driven by its own public calls, its orders made beforehand where it lets us. A slow one gets the beginning of the
flow, so that a round ends in seconds.
"""

import contextlib
import importlib
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from benchmarks.flow import Step


class Peer:
    """One library. `prepare` makes a new book, and returns what runs the flow over it and returns the lots traded."""

    name = ""
    module = ""
    most_steps = 1_000_000

    def __init__(self) -> None:
        self._library = importlib.import_module(self.module)

    def prepare(self, steps: list[Step]) -> Callable[[], int]:
        """See the class."""
        raise NotImplementedError


class OrderlyChaos(Peer):
    """A C++ core, called through ctypes."""

    name, module = "orderly-chaos (C++)", "orderly_chaos"

    def prepare(self, steps: list[Step]) -> Callable[[], int]:
        """See `Peer`."""
        library, total = self._library, [0]

        def on_trade(trade: Any) -> None:
            total[0] += trade.quantity

        book = library.LimitOrderBook(on_trade=on_trade)

        def run() -> int:
            for kind, order, is_buy, price, quantity in steps:
                if kind == "cancel":
                    with contextlib.suppress(library.UnknownOrderIdError):
                        book.cancel(order)
                elif is_buy:
                    book.limit_buy(order, quantity, price)
                else:
                    book.limit_sell(order, quantity, price)
            return total[0]

        return run


class LightMatchingEngine(Peer):
    """Plain Python: dictionaries of lists."""

    name, module = "lightmatchingengine", "lightmatchingengine.lightmatchingengine"
    most_steps = 50_000

    def prepare(self, steps: list[Step]) -> Callable[[], int]:
        """See `Peer`."""
        library = self._library
        engine = library.LightMatchingEngine()
        buy, sell = library.Side.BUY, library.Side.SELL

        def run() -> int:
            ids, total = {}, 0
            for kind, order, is_buy, price, quantity in steps:
                if kind == "cancel":
                    if ids[order].leaves_qty:
                        engine.cancel_order(ids[order].order_id, "X")
                else:
                    ids[order], trades = engine.add_order("X", price, quantity, buy if is_buy else sell)
                    total += sum(trade.trade_qty for trade in trades)
            return total // 2  # it tells each trade from both sides

        return run


class PyOrderBook(Peer):
    """Plain Python: heaps of levels, dictionaries of orders, decimals."""

    name, module = "pyorderbook", "pyorderbook"
    most_steps = 50_000

    def prepare(self, steps: list[Step]) -> Callable[[], int]:
        """See `Peer`."""
        logging.disable(logging.CRITICAL)
        orders = importlib.import_module("pyorderbook.order")
        book = importlib.import_module("pyorderbook.book").Book()
        made = {
            step.order: (orders.bid if step.is_buy else orders.ask)("X", step.price, step.quantity)
            for step in steps
            if step.kind != "cancel"
        }

        def run() -> int:
            for kind, number, *_ in steps:
                order = made[number]
                if kind != "cancel":
                    book.match(order)
                elif order.quantity:
                    book.cancel(order)
            return sum(order.original_quantity - order.quantity for order in made.values()) // 2

        return run


class OrderMatching(Peer):
    """Sorted containers, and a request and a match for each order."""

    name, module = "order-matching", "order_matching.matching_engine"
    most_steps = 2_000

    def prepare(self, steps: list[Step]) -> Callable[[], int]:
        """See `Peer`."""
        engine = self._library.MatchingEngine(seed=1)
        make = importlib.import_module("order_matching.order").LimitOrder
        orders = importlib.import_module("order_matching.orders").Orders
        side = importlib.import_module("order_matching.enums").Side
        importlib.import_module("loguru").logger.disable("order_matching")
        start = datetime(2026, 1, 1)  # noqa: DTZ001 - it takes no time zone
        logging.disable(logging.CRITICAL)
        made = {
            step.order: make(
                side=side.BUY if step.is_buy else side.SELL,
                price=float(step.price),
                size=step.quantity,
                timestamp=start + timedelta(seconds=step.order),
                order_id=str(step.order),
                trader_id="a",
            )
            for step in steps
            if step.kind != "cancel"
        }

        def run() -> int:
            total = 0
            for number, (kind, order, *_) in enumerate(steps):
                if kind == "cancel":
                    with contextlib.suppress(ValueError):
                        engine.cancel_order(str(order))
                else:
                    engine.place(orders([made[order]]))
                    executed = engine.match(timestamp=start + timedelta(seconds=number + 1))
                    total += sum(trade.size for trade in executed.trades)
            return int(total)

        return run


def peers() -> Iterator[Peer]:
    """The libraries that are installed."""
    for kind in (OrderlyChaos, LightMatchingEngine, PyOrderBook, OrderMatching):
        try:
            yield kind()
        except ImportError:
            print(f"{kind.name} is not installed")
