"""The orders of one security that wait for a trigger: stop and take-profit orders."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from matching_engine.book import Order
from microexchange.enum_terms import ORDER_TYPES

MAX_ENDED = 64
"""A heap with at most this many entries keeps those of ended orders. No record depends on them."""


class StopBook:
    """The waiting orders of one security. The heap entry of a cancelled order stays until it is at the top."""

    __slots__ = ("_falling", "_rising", "orders")

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        """By order id."""
        self._rising: list[tuple[int, int, int]] = []
        self._falling: list[tuple[int, int, int]] = []
        """Heaps of (trigger price, arrival, order id), nearest to the last price first. `_falling` has negated prices."""

    def __iter__(self) -> Iterator[Order]:
        """Iterate over all waiting orders by arrival."""
        return iter(sorted(self.orders.values(), key=lambda order: order.arrival))

    def add(self, order: Order) -> None:
        """Add an order. Its `arrival` is its place among orders with the same trigger price."""
        self.orders[order.entry.command_id] = order
        trigger = ORDER_TYPES[order.entry.order_type].trigger
        assert trigger is not None and order.trigger_price is not None, "the order has a trigger"  # noqa: S101, PT018
        if trigger.rises(order.entry.side):
            heappush(self._rising, (order.trigger_price, order.arrival, order.entry.command_id))
        else:
            heappush(self._falling, (-order.trigger_price, order.arrival, order.entry.command_id))

    def remove(self, order: Order) -> None:
        """Remove an order."""
        del self.orders[order.entry.command_id]
        for heap in (self._rising, self._falling):
            if len(heap) > MAX_ENDED and len(heap) > 4 * len(self.orders):
                heap[:] = [entry for entry in heap if self._is_waiting(entry)]
                heapify(heap)

    def _is_waiting(self, entry: tuple[int, int, int]) -> bool:
        order = self.orders.get(entry[2])
        return order is not None and order.arrival == entry[1]

    def take(self, last_price: int) -> list[Order]:
        """Remove and return the orders that a last price in ticks triggers.

        They come in the order in which the price passed their trigger prices, then by arrival. A last price of 0 means that
        there was no trade yet. It triggers nothing.
        """
        triggered: list[Order] = []
        if not last_price:
            return triggered
        for heap, bound in ((self._rising, last_price), (self._falling, -last_price)):
            while heap and heap[0][0] <= bound:
                entry = heappop(heap)
                if self._is_waiting(entry):
                    triggered.append(self.orders.pop(entry[2]))
        return triggered
