"""The subscriptions of sessions: a client's order reports, the revocation of an API key, and the trades of a classroom.

Subscribers are functions that the gateway calls in turn. They must not raise an exception.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from microexchange.reports import OrderReport
from order_entry_gateway.classroom import NamedTrade

_Subscriber = TypeVar("_Subscriber")
OnReport = Callable[[int, OrderReport], None]
"""Receives an order report and its number: the `report_id` under which the feed stores it."""
OnRevoked = Callable[[], None]
OnTrades = Callable[[Sequence[NamedTrade]], None]


class Subscriptions:
    """The functions that receive reports, by client, by API key, and for all trades."""

    def __init__(self) -> None:
        self._orders: dict[str, set[OnReport]] = {}
        """By client id."""
        self._revocations: dict[str, set[OnRevoked]] = {}
        """By key id."""
        self._trades: set[OnTrades] = set()

    def subscribe_to_orders(self, client_id: str, on_report: OnReport) -> None:
        """Call `on_report` with each order report of the client."""
        self._orders.setdefault(client_id, set()).add(on_report)

    def unsubscribe_from_orders(self, client_id: str, on_report: OnReport) -> None:
        """Remove the subscription, if there is one."""
        _remove(self._orders, client_id, on_report)

    def publish_order(self, number: int, report: OrderReport) -> None:
        """Send an order report to the client's subscribers."""
        subscribers = self._orders.get(report.client_id)
        if subscribers:
            for on_report in tuple(subscribers):
                on_report(number, report)

    def subscribe_to_revocation(self, key_id: str, on_revoked: OnRevoked) -> None:
        """Call `on_revoked` when the API key is revoked."""
        self._revocations.setdefault(key_id, set()).add(on_revoked)

    def unsubscribe_from_revocation(self, key_id: str, on_revoked: OnRevoked) -> None:
        """Remove the subscription, if there is one."""
        _remove(self._revocations, key_id, on_revoked)

    def revocation_subscribers(self, key_id: str) -> int:
        """Return the number of subscriptions to the revocation of the API key."""
        return len(self._revocations.get(key_id, ()))

    def publish_revocation(self, key_id: str) -> None:
        """Notify the subscribers of the API key."""
        for on_revoked in tuple(self._revocations.get(key_id, ())):
            on_revoked()

    def subscribe_to_trades(self, on_trades: OnTrades) -> None:
        """Call `on_trades` with all trades of a classroom. Other markets publish none."""
        self._trades.add(on_trades)

    def unsubscribe_from_trades(self, on_trades: OnTrades) -> None:
        """Remove the subscription, if there is one."""
        self._trades.discard(on_trades)

    def publish_trades(self, trades: Sequence[NamedTrade]) -> None:
        """Send trades to all subscribers."""
        for on_trades in tuple(self._trades):
            on_trades(trades)


def _remove(subscribers: dict[str, set[_Subscriber]], name: str, subscriber: _Subscriber) -> None:
    found = subscribers.get(name)
    if found is not None:
        found.discard(subscriber)
        if not found:
            del subscribers[name]
