"""Other order books from PyPI behind a common interface, so that the same flow runs over each.

The benchmark uses the public calls of each library, and makes its orders in advance if the library allows it. A slow library
runs only the beginning of the flow, so that a round takes seconds.
"""

import contextlib
import importlib
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from benchmarks.flow import Step


class Peer:
    """A library. `prepare` makes a new book and returns a function that runs the flow and returns the traded lots."""

    name = ""
    module = ""
    max_steps = 1_000_000

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
            for action, order, is_buy, price, quantity in steps:
                if action == "cancel":
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
    max_steps = 50_000

    def prepare(self, steps: list[Step]) -> Callable[[], int]:
        """See `Peer`."""
        library = self._library
        engine = library.LightMatchingEngine()
        buy, sell = library.Side.BUY, library.Side.SELL

        def run() -> int:
            ids, total = {}, 0
            for action, order, is_buy, price, quantity in steps:
                if action == "cancel":
                    if ids[order].leaves_qty:
                        engine.cancel_order(ids[order].order_id, "X")
                else:
                    ids[order], trades = engine.add_order("X", price, quantity, buy if is_buy else sell)
                    total += sum(trade.trade_qty for trade in trades)
            return total // 2  # the library returns each trade once for each side

        return run


class PyOrderBook(Peer):
    """Plain Python: heaps of levels, dictionaries of orders, decimals."""

    name, module = "pyorderbook", "pyorderbook"
    max_steps = 50_000

    def prepare(self, steps: list[Step]) -> Callable[[], int]:
        """See `Peer`."""
        logging.disable(logging.CRITICAL)
        orders = importlib.import_module("pyorderbook.order")
        book = importlib.import_module("pyorderbook.book").Book()
        orders_by_number = {
            step.order: (orders.bid if step.is_buy else orders.ask)("X", step.price, step.quantity)
            for step in steps
            if step.action != "cancel"
        }

        def run() -> int:
            for action, number, *_ in steps:
                order = orders_by_number[number]
                if action != "cancel":
                    book.match(order)
                elif order.quantity:
                    book.cancel(order)
            return sum(order.original_quantity - order.quantity for order in orders_by_number.values()) // 2

        return run


class OrderMatching(Peer):
    """Plain Python: sorted containers. Each order takes a request and a match."""

    name, module = "order-matching", "order_matching.matching_engine"
    max_steps = 2_000

    def prepare(self, steps: list[Step]) -> Callable[[], int]:
        """See `Peer`."""
        engine = self._library.MatchingEngine(seed=1)
        make = importlib.import_module("order_matching.order").LimitOrder
        orders = importlib.import_module("order_matching.orders").Orders
        side = importlib.import_module("order_matching.enums").Side
        importlib.import_module("loguru").logger.disable("order_matching")
        start = datetime(2026, 1, 1)  # noqa: DTZ001 - the library takes no time zone
        logging.disable(logging.CRITICAL)
        orders_by_number = {
            step.order: make(
                side=side.BUY if step.is_buy else side.SELL,
                price=float(step.price),
                size=step.quantity,
                timestamp=start + timedelta(seconds=step.order),
                order_id=str(step.order),
                trader_id="a",
            )
            for step in steps
            if step.action != "cancel"
        }

        def run() -> int:
            total = 0
            for number, (action, order, *_) in enumerate(steps):
                if action == "cancel":
                    with contextlib.suppress(ValueError):
                        engine.cancel_order(str(order))
                else:
                    engine.place(orders([orders_by_number[order]]))
                    executed = engine.match(timestamp=start + timedelta(seconds=number + 1))
                    total += sum(trade.size for trade in executed.trades)
            return int(total)

        return run


def peers() -> Iterator[Peer]:
    """Return the installed libraries."""
    for peer in (OrderlyChaos, LightMatchingEngine, PyOrderBook, OrderMatching):
        try:
            yield peer()
        except ImportError:
            print(f"{peer.name} is not installed")
