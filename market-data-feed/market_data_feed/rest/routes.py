"""Checks, queries and descriptions that the routers of all resources share."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from starlette.responses import StreamingResponse

from market_data_feed.history import History
from market_data_feed.round_market import EquilibriumView, FrameView, RoundMarketView
from market_data_feed.state import FeedState
from microexchange.access import Access
from microexchange.ids import MAX_ID
from microexchange.numbers import cash_to_text
from microexchange.refusals import Code, Refusal
from microexchange.schemas import (
    BalanceView,
    BboView,
    BookView,
    CandleView,
    CurveView,
    EquityView,
    ErrorView,
    HoldingView,
    LeaderView,
    OrderView,
    PositionView,
    SecurityView,
    StatementView,
    TickerView,
    TradesView,
    time_text,
    unix_ns,
)
from microexchange.session_plan import PlanView
from microexchange.session_scores import GradeView, ScoreView, TeamView
from microexchange.session_views import (
    AssignmentsView,
    AssignmentView,
    NewsView,
    RoleView,
    SessionView,
    TaskView,
    TenderView,
)
from microexchange.web import document

VIEWS = (
    SecurityView,
    BookView,
    BboView,
    TickerView,
    TradesView,
    CandleView,
    BalanceView,
    HoldingView,
    PositionView,
    EquityView,
    CurveView,
    LeaderView,
    OrderView,
    StatementView,
    SessionView,
    NewsView,
    RoleView,
    PlanView,
    TenderView,
    ScoreView,
    EquilibriumView,
    RoundMarketView,
    FrameView,
    GradeView,
    TeamView,
    AssignmentView,
    TaskView,
    AssignmentsView,
    ErrorView,
)
"""The types of all responses."""
Since = Annotated[str | None, Query(max_length=40, description="The earliest time. ISO 8601 with an offset.")]
Until = Annotated[str | None, Query(max_length=40, description="The end of the period, exclusive. ISO 8601 with an offset.")]
OneSymbol = Annotated[str, Query(max_length=16, description="Only this security.")]
WithHouse = Annotated[bool, Query(description="Include the exchange's own bots.")]


class Routes:
    """The state of the feed, and the checks and descriptions of its routes."""

    def __init__(self, app: FastAPI, state: FeedState, access: Access) -> None:
        self.state = state
        self.access = access
        self.history = History(state.pool)
        self.describe = document(app, *VIEWS)

    def known_symbol(self, symbol: str) -> str:
        """Return `symbol`.

        Raises:
            Refusal: No such security is listed.
        """
        if symbol not in self.state.market.securities:
            raise Refusal(Code.UNKNOWN_SYMBOL, f"{symbol[:32]!r} is not listed; GET /securities returns all symbols")
        return symbol

    def known_client(self, request: Request, client_id: str) -> str:
        """Return `client_id`.

        Raises:
            Refusal: The request comes from another client, or the client has no account.
        """
        self.access.owner(request, client_id)
        if client_id not in self.state.market.clients:
            raise Refusal(Code.UNKNOWN_CLIENT, f"{client_id[:32]!r} has no account")
        return client_id

    async def equity_curve(self, client_id: str, limit: int) -> list[EquityView]:
        """Return the last `limit` samples of a client's equity, oldest first, and its equity now."""
        market = self.state.market
        points = await self.history.equity(client_id, MAX_ID, limit)
        client = market.clients[client_id]
        if not client.has_funds:
            return points  # the first deposit of the account is not settled yet
        return [*points, EquityView(timestamp=time_text(market.updated_at), equity=cash_to_text(market.equity(client)))]


def describe_file(summary: str, *statuses: int, media_types: Sequence[str] = ("text/csv",)) -> dict[str, Any]:
    """Return the description of a route that sends a file. `statuses` are those of its refusals."""
    refused = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorView"}}}
    responses: dict[int, Any] = {200: {"content": {media_type: {} for media_type in media_types}}}
    responses |= {status: {"description": "Refused", "content": refused} for status in statuses}
    return {"summary": summary, "response_class": StreamingResponse, "responses": responses}


async def stream_file(parts: AsyncIterator[bytes], name: str, media_type: str) -> Response:
    """Return a response that sends a file in parts. `parts` has at least one.

    An error in the first two parts becomes a refusal, since the response has not started yet.
    """
    head = await anext(parts)
    first = await anext(parts, b"")

    async def all_parts() -> AsyncIterator[bytes]:
        yield head + first
        async for part in parts:
            yield part

    disposition = f'attachment; filename="{name}"'
    return StreamingResponse(all_parts(), media_type=media_type, headers={"Content-Disposition": disposition})


def time_to_ns(field: str, text: str) -> int:
    """Return a time as nanoseconds of Unix time. A time before 1970 is 0, and one after the year 2262 is `MAX_ID`.

    Raises:
        Refusal: `text` is not ISO 8601 with an offset.
    """
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return min(max(unix_ns(at), 0), MAX_ID)
    except ValueError:
        pass
    raise Refusal(Code.INVALID_FIELD, f"{field} must be ISO 8601 with an offset: 2030-01-31T12:00:00Z", field)


def period_ns(since: str | None, until: str | None) -> tuple[int, int]:
    """Return the start and the end of a period, in nanoseconds of Unix time.

    Raises:
        Refusal: One of them is not ISO 8601 with an offset.
    """
    begin = 0 if since is None else time_to_ns("since", since)
    return begin, MAX_ID if until is None else time_to_ns("until", until)
