"""The parts that the routes of all resources share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request

from microexchange.access import Access
from microexchange.reports import OrderReport, Trade
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
        return ClientSession(self.order_service, *self.access.identify(request))

    def order_view(self, report: OrderReport, trades: list[Trade] | None = None) -> OrderView:
        """Return the JSON form of an order. `trades` are those that its command caused."""
        security = self.order_service.security(report.symbol)
        return order_view(report, security) if trades is None else order_view(report, security, trades)


def list_of(type_: type) -> dict[str, Any]:
    """Return the schema of a list of one of the types in the OpenAPI document."""
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{type_.__name__}"}}
