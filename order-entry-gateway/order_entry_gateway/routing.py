"""The parts that the routes of all resources share."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request

from microexchange.access import Access
from microexchange.auth import IssuedKey
from microexchange.reports import KeyIssued, OrderReport, Trade
from microexchange.schemas import OrderView, order_view
from order_entry_gateway.client_session import ClientSession
from order_entry_gateway.order_service import OrderService

ACCEPTED = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
"""The schema of `{"ok": true}`."""


@dataclass(frozen=True)
class RouteContext:
    """The application, and the services that routes use."""

    app: FastAPI
    order_service: OrderService
    access: Access
    describe: Callable[..., dict[str, Any]]
    """Returns the OpenAPI arguments of a route: summary, body type, answer type, status of success, statuses of refusals."""

    def documenter(self, tag: str) -> Callable[..., dict[str, Any]]:
        """Return `describe` for the routes of one tag."""

        def describe(*arguments: Any) -> dict[str, Any]:
            return {"tags": [tag], **self.describe(*arguments)}

        return describe

    def client(self, request: Request) -> ClientSession:
        """Return the session of the client that sent a request.

        Raises:
            Refusal: The key is not valid, or it is the admin's.
        """
        client_id, key_id = self.access.identify(request)
        return ClientSession(self.order_service, client_id, key_id, self.access.counted_address(request))

    async def issue_key(self, client_id: str) -> tuple[IssuedKey, int]:
        """Issue an API key and publish it. Return it and its time in nanoseconds of Unix time.

        Raises:
            Refusal: The log did not confirm it.
        """
        issued, now = self.access.keys.issue(client_id), time.time_ns()
        report = KeyIssued(client_id, issued.key_id, now)
        await self.order_service.keys.publish(report)
        self.order_service.keys.apply(report)  # the next request counts it, although this gateway has not read it yet
        return issued, now

    def order_view(self, report: OrderReport, trades: Sequence[Trade] = (), is_duplicate: bool = False) -> OrderView:
        """Return the JSON form of an order. `trades` are those that its command caused."""
        return order_view(report, self.order_service.security(report.symbol), trades, is_duplicate)
