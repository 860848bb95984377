"""Routes of a client's statement."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from market_data_feed.exports import as_csv
from market_data_feed.rest.routes import Routes, describe_file, stream_file
from market_data_feed.statement import all_movements, movements
from microexchange.databases import query_errors_as_refusals
from microexchange.ids import MAX_ID
from microexchange.number_fields import Whole
from microexchange.schemas import MovementView, StatementView
from microexchange.web import json_response


def statement_routes(routes: Routes) -> APIRouter:
    """Return the routes of a client's statement."""
    router, describe, state = APIRouter(tags=["accounts"]), routes.describe, routes.state

    @router.get(
        "/accounts/{client_id}/statement",
        **describe("Every movement of your account, oldest first", None, StatementView, 200, 401, 403, 404, 422, 503),
    )
    async def get_statement(
        request: Request,
        client_id: str,
        limit: Annotated[Whole, Query(ge=1, le=1000)] = 100,
        after: Annotated[Whole, Query(ge=0, le=MAX_ID, description="A movement id. Return only later movements.")] = 0,
    ) -> Response:
        routes.known_client(request, client_id)
        with query_errors_as_refusals("the ledger"):
            found = await movements(state.ledger, state.market.securities, client_id, after, limit)
        last = found[-1].movement_id if len(found) == limit else None
        return json_response(StatementView(movements=found, next_after=last))

    @router.get("/accounts/{client_id}/statement.csv", **describe_file("The whole statement as CSV", 401, 403, 404, 503))
    async def get_statement_csv(request: Request, client_id: str) -> Response:
        routes.known_client(request, client_id)
        pages = all_movements(state.ledger, state.market.securities, client_id)
        with query_errors_as_refusals("the ledger"):
            parts = as_csv(MovementView.__struct_fields__, pages)
            return await stream_file(parts, f"statement-{client_id}.csv", "text/csv")

    return router
