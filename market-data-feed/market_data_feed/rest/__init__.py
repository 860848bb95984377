"""The feed's REST interface: one router for each resource."""

from fastapi import FastAPI

from market_data_feed.rest.accounts import account_routes
from market_data_feed.rest.books import book_routes
from market_data_feed.rest.exports import export_routes
from market_data_feed.rest.grades import grade_routes
from market_data_feed.rest.history import history_routes
from market_data_feed.rest.leaderboard import leaderboard_routes
from market_data_feed.rest.operations import operation_routes
from market_data_feed.rest.routes import Routes
from market_data_feed.rest.securities import security_routes
from market_data_feed.rest.sessions import session_routes
from market_data_feed.rest.statements import statement_routes
from market_data_feed.state import FeedState
from microexchange.access import Access

ROUTERS = (
    security_routes,
    book_routes,
    history_routes,
    leaderboard_routes,
    account_routes,
    statement_routes,
    export_routes,
    operation_routes,
    session_routes,
    grade_routes,
)


def add_routes(app: FastAPI, state: FeedState, access: Access) -> None:
    """Add the routes of market data and accounts to `app`."""
    routes = Routes(app, state, access)
    for router in ROUTERS:
        app.include_router(router(routes))
