"""Routes of the results of a session: scores, grades, assignments, and what happened in the markets of a round."""

import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from market_data_feed.exports import as_csv
from market_data_feed.rest.routes import Routes, WithHouse, describe_file, stream_file
from market_data_feed.round_market import FrameView, RoundMarketView, replay, round_market
from microexchange.ids import MAX_ID
from microexchange.number_fields import Whole
from microexchange.refusals import Code, Refusal
from microexchange.schemas import Answer
from microexchange.session_scores import (
    GradeView,
    Person,
    Round,
    ScoreView,
    TeamView,
    grades,
    scores,
    symbols_with_values,
    team_grades,
)
from microexchange.session_views import AssignmentsView, assignments_view
from microexchange.web import json_response

MAX_TRADES = 20_000
"""The last trades of a round that `/rounds/{n}/market` shows."""
MAX_REPORTS = 200_000
"""The reports of orders of a round that a replay reads."""
RoundNumber = Annotated[Whole, Path(ge=1, le=MAX_ID)]


def grade_routes(routes: Routes) -> APIRouter:
    """Return the routes of results."""
    router, describe, state, access = APIRouter(tags=["session"]), routes.describe, routes.state, routes.access

    def people() -> dict[str, Person]:
        return {one.client_id: Person(one.nickname, one.team) for one in state.market.participants.values()}

    def tick_values() -> dict[str, int]:
        return {symbol: security.listing.tick_value for symbol, security in state.market.securities.items()}

    def left_out(with_house: bool) -> set[str]:
        """Return the accounts of the house, unless they are wanted."""
        return set() if with_house else {name for name, client in state.market.clients.items() if client.house}

    def counted() -> list[Round]:
        return [state.market.session.round(result, tick_values()) for result in state.market.session.graded_results()]

    def one_round(number: int) -> Round:
        result = state.market.session.result(number)
        if result is None:
            raise Refusal(Code.NOT_FOUND, f"round {number} of the session has no result")
        return state.market.session.round(result, tick_values())

    @router.get(
        "/rounds/{number}/scores",
        **describe("The result of a round, for the admin", None, list[ScoreView], 200, 401, 403, 404, 422),
    )
    async def get_scores(request: Request, number: RoundNumber, house: WithHouse = False) -> Response:
        access.admin(request)
        return json_response(scores(one_round(number), people(), left_out(house)))

    def times_of(one: Round) -> tuple[int, int]:
        number = one.result.round_number
        return state.market.session.began_at(number) or one.result.timestamp, one.result.timestamp

    @router.get(
        "/rounds/{number}/market",
        **describe("The trades and the equilibrium of a round", None, list[RoundMarketView], 200, 401, 403, 404, 422, 503),
    )
    async def get_market(request: Request, number: RoundNumber) -> Response:
        access.admin(request)
        one = one_round(number)
        began_at, ended_at = times_of(one)
        trades = await routes.history.trades_between(began_at, ended_at + 1, MAX_TRADES)
        symbols = sorted({*(trade.symbol for trade in trades), *symbols_with_values(one)})
        found = [
            round_market(
                symbol,
                state.market.securities[symbol],
                [trade for trade in trades if trade.symbol == symbol],
                began_at,
                one,
            )
            for symbol in symbols
        ]
        return json_response(found)

    @router.get(
        "/rounds/{number}/replay/{security_id}",
        **describe("The book of a round at many times", None, list[FrameView], 200, 401, 403, 404, 422, 503),
    )
    async def get_replay(request: Request, number: RoundNumber, security_id: str) -> Response:
        access.admin(request)
        one, security = one_round(number), state.market.securities[routes.known_symbol(security_id)]
        began_at, ended_at = times_of(one)
        reports = await routes.history.orders_between(security_id, began_at, ended_at, MAX_REPORTS + 1)
        if len(reports) > MAX_REPORTS:
            text = f"the round has more than {MAX_REPORTS} reports of orders in {security_id}: too many for a replay"
            raise Refusal(Code.LIMIT_EXCEEDED, text, "security_id")
        return json_response(replay(reports, security, began_at, ended_at))

    @router.get("/grades", **describe("The results over all rounds that count", None, list[GradeView], 200, 401, 403, 422))
    async def get_grades(request: Request, house: WithHouse = False) -> Response:
        access.admin(request)
        return json_response(grades(counted(), people(), left_out(house)))

    @router.get("/grades/teams", **describe("The results of teams", None, list[TeamView], 200, 401, 403, 422))
    async def get_teams(request: Request) -> Response:
        access.admin(request)
        return json_response(team_grades(counted(), people(), left_out(False)))

    @router.get(
        "/grades.csv", **describe_file("The result of each client over all rounds that count, for the admin", 401, 403, 422)
    )
    async def get_grades_file(request: Request, house: WithHouse = False) -> Response:
        access.admin(request)
        return await _csv(GradeView, grades(counted(), people(), left_out(house)), "grades.csv")

    @router.get("/grades/teams.csv", **describe_file("The result of each team, for the admin", 401, 403, 422))
    async def get_teams_file(request: Request) -> Response:
        access.admin(request)
        return await _csv(TeamView, team_grades(counted(), people(), left_out(False)), "teams.csv")

    @router.get(
        "/assignments", **describe("The tasks of all clients in the round", None, list[AssignmentsView], 200, 401, 403)
    )
    async def get_all_assignments(request: Request) -> Response:
        access.admin(request)
        hidden = left_out(False)
        names = sorted(name for name in state.market.clients if name not in hidden)
        return json_response([assignments_view(*state.market.session.tasks(name), time.time_ns()) for name in names])

    @router.get("/assignments/{client_id}", **describe("Your tasks", None, AssignmentsView, 200, 401, 403, 404))
    async def get_assignments(request: Request, client_id: str) -> Response:
        client = routes.known_client(request, client_id)
        return json_response(assignments_view(*state.market.session.tasks(client), time.time_ns()))

    return router


async def _csv(view: type[Answer], rows: list[GradeView] | list[TeamView], name: str) -> Response:
    async def pages() -> AsyncIterator[list[GradeView] | list[TeamView]]:
        yield rows

    return await stream_file(as_csv(view.__struct_fields__, pages()), name, "text/csv")
