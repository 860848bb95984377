"""Orders that wait for a trigger: stops and take-profits of one security, watched against its last trade price."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from matching_engine.book import Order
from microexchange.enum_terms import ORDER_TYPES

MAX_ENDED = 64
"""Up to so many places a heap keeps those of orders that have ended. When it drops them changes no event."""


class StopBook:
    """The waiting orders of one security. A cancelled one is forgotten when its place in the heap comes up."""

    __slots__ = ("_falling", "_rising", "orders")

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        """By id."""
        self._rising: list[tuple[int, int, int]] = []
        self._falling: list[tuple[int, int, int]] = []
        """(trigger price, arrival, order id), the nearest to the market first: triggers that fall are negated."""

    def __iter__(self) -> Iterator[Order]:
        """All that wait, in order of arrival."""
        return iter(sorted(self.orders.values(), key=lambda order: order.arrival))

    def add(self, order: Order) -> None:
        """The order waits from now on. Its `arrival` is its place among those with the same trigger."""
        self.orders[order.entry.command_id] = order
        trigger = ORDER_TYPES[order.entry.order_type].trigger
        assert trigger is not None and order.trigger_price is not None, "the order has a trigger"  # noqa: S101, PT018
        if trigger.rises(order.entry.side):
            heappush(self._rising, (order.trigger_price, order.arrival, order.entry.command_id))
        else:
            heappush(self._falling, (-order.trigger_price, order.arrival, order.entry.command_id))

    def remove(self, order: Order) -> None:
        """The order waits no more."""
        del self.orders[order.entry.command_id]
        for heap in (self._rising, self._falling):
            if len(heap) > MAX_ENDED and len(heap) > 4 * len(self.orders):
                heap[:] = [entry for entry in heap if self._is_live(entry)]
                heapify(heap)

    def _is_live(self, entry: tuple[int, int, int]) -> bool:
        order = self.orders.get(entry[2])
        return order is not None and order.arrival == entry[1]

    def take(self, last_price: int) -> list[Order]:
        """Removes the orders whose trigger the last price has touched, in order of trigger price as the price passed
        them, then of arrival. A last price of 0 stands for no trade yet, and touches nothing."""
        touched: list[Order] = []
        if not last_price:
            return touched
        for heap, bound in ((self._rising, last_price), (self._falling, -last_price)):
            while heap and heap[0][0] <= bound:
                entry = heappop(heap)
                if self._is_live(entry):
                    touched.append(self.orders.pop(entry[2]))
        return touched
