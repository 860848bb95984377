"""The gateway's REST interface: all its routes, and the types in its OpenAPI document."""

from fastapi import FastAPI

from microexchange.access import Access
from microexchange.schemas import (
    AccountView,
    BatchAnswer,
    ErrorView,
    FillsView,
    KeyView,
    OrdersView,
    OrderView,
    TransferView,
)
from microexchange.web import document
from order_entry_gateway import console_routes, session_routes
from order_entry_gateway.account_routes import Registration, add_account_routes, add_key_routes
from order_entry_gateway.admin_routes import (
    add_admin_client_routes,
    add_book_routes,
    add_security_routes,
    add_transfer_routes,
)
from order_entry_gateway.market_data import MarketData
from order_entry_gateway.order_routes import add_order_change_routes, add_order_entry_routes, add_order_query_routes
from order_entry_gateway.order_service import OrderService
from order_entry_gateway.requests import (
    AmendRequest,
    ClientRequest,
    FundingRequest,
    ListingRequest,
    OrderRequest,
    StateRequest,
    TransferRequest,
)
from order_entry_gateway.routing import RouteContext

_TYPES = (
    OrderRequest,
    AmendRequest,
    ClientRequest,
    FundingRequest,
    StateRequest,
    TransferRequest,
    ListingRequest,
    OrderView,
    OrdersView,
    BatchAnswer,
    FillsView,
    KeyView,
    AccountView,
    TransferView,
    ErrorView,
    *session_routes.TYPES,
    *console_routes.TYPES,
)
"""The types of requests and answers, in the order of the OpenAPI document."""


def add_routes(
    app: FastAPI,
    order_service: OrderService,
    access: Access,
    registration: Registration,
    market_data: MarketData | None = None,
) -> None:
    """Add the routes of order entry to `app`. With `market_data`, `GET /orders/{clientId}` is forwarded to the feed."""
    context = RouteContext(app, order_service, access, document(app, *_TYPES))
    add_account_routes(context, registration)
    add_key_routes(context)
    add_order_entry_routes(context)
    add_order_query_routes(context, market_data)
    add_order_change_routes(context)
    add_security_routes(context)
    add_admin_client_routes(context)
    add_transfer_routes(context)
    add_book_routes(context)
    session_routes.add_session_routes(context)
    session_routes.add_payout_routes(context)
    console_routes.add_console_routes(context)
    console_routes.add_template_routes(context)
