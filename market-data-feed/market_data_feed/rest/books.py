"""Routes of books."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from market_data_feed.rest.routes import Routes
from microexchange.number_fields import Whole
from microexchange.schemas import BboView, BookView
from microexchange.web import json_response


def book_routes(routes: Routes) -> APIRouter:
    """Return the routes of books."""
    router, describe, state = APIRouter(tags=["market"]), routes.describe, routes.state

    @router.get("/book/{security_id}", **describe("A book, best prices first", None, BookView, 200, 404, 422))
    async def get_book(security_id: str, depth: Annotated[Whole, Query(ge=1, le=1000)] = 10) -> Response:
        return json_response(state.market.book_view(routes.known_symbol(security_id), depth))

    @router.get("/bbo/{security_id}", **describe("Best bid and offer", None, BboView, 200, 404))
    async def get_bbo(security_id: str) -> Response:
        return json_response(state.market.bbo_view(routes.known_symbol(security_id)))

    return router
