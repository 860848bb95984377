"""The routes of a classroom's seats: joining with the PIN, the lobby, and the teacher's changes."""

import csv
import io

import msgspec
import segno
from fastapi import Request, Response

from microexchange.participants import clean_name, clean_team
from microexchange.refusals import Code, Refusal
from microexchange.reports import ParticipantChanged
from microexchange.schemas import JoinView, LobbyView, ParticipantView, SeatsView
from microexchange.web import decode_json, json_response, read_body
from order_entry_gateway.routing import ACCEPTED, RouteContext
from order_entry_gateway.seats import MAX_PARTICIPANTS, Seats

ROSTER_COLUMNS = ("nickname", "team")
_CHANGES = (200, 401, 403, 404, 409, 422, 503, 504)


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Join a classroom."""

    pin: str
    """The digits that the teacher shows."""
    nickname: str
    team: str = ""


class ParticipantRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change the name or the team of a participant."""

    nickname: str
    team: str = ""


class RosterRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keep seats for a roster."""

    csv: str
    """CSV with the header `nickname,team`, one person a line. The team may be left out."""


TYPES = (JoinRequest, ParticipantRequest, RosterRequest, JoinView, LobbyView, ParticipantView, SeatsView)
"""The types of requests and answers, in the order of the OpenAPI document."""
_join_decoder = msgspec.json.Decoder(JoinRequest)
_participant_decoder = msgspec.json.Decoder(ParticipantRequest)
_roster_decoder = msgspec.json.Decoder(RosterRequest)


def add_join_routes(context: RouteContext, seats: Seats) -> None:
    """Add the routes that everybody in the room uses."""
    app, doc = context.app, context.documenter("classroom")

    @app.post("/join", **doc("Join with the PIN and a nickname", JoinRequest, JoinView, 201, 403, 409, 422, 429, 503, 504))
    async def post_join(request: Request) -> Response:
        wanted = decode_json(_join_decoder, await read_body(request))
        joined, key = await seats.join(wanted.pin, wanted.nickname, wanted.team, context.access.counted_address(request))
        answer = JoinView(client_id=joined.client_id, nickname=joined.nickname, team=joined.team, api_key=key)
        return json_response(answer, 201)

    @app.get("/lobby", **doc("The participants", None, LobbyView, 200))
    async def get_lobby() -> Response:
        return json_response(LobbyView(participants=_views(seats)))


def add_seat_routes(context: RouteContext, seats: Seats, public_url: str) -> None:
    """Add the teacher's routes. `public_url` is the address that other machines use."""
    app, doc, access = context.app, context.documenter("classroom"), context.access
    join_url = f"{public_url.rstrip('/')}/#join"

    @app.get("/admin/participants", **doc("The PIN, the link, and the participants", None, SeatsView, 200, 401, 403))
    async def get_participants(request: Request) -> Response:
        access.admin(request)
        return json_response(SeatsView(pin=seats.pin, join_url=join_url, participants=_views(seats)))

    @app.get("/admin/join.svg", include_in_schema=False)
    async def get_code(request: Request) -> Response:
        access.admin(request)
        picture = io.BytesIO()
        segno.make_qr(f"{join_url}={seats.pin}").save(picture, kind="svg", scale=1, border=2, omitsize=True, dark="#000")
        return Response(picture.getvalue(), media_type="image/svg+xml", headers={"Cache-Control": "no-store"})

    @app.post("/admin/participants", **doc("Keep seats for a roster", RosterRequest, LobbyView, *_CHANGES))
    async def post_roster(request: Request) -> Response:
        access.admin(request)
        rows = read_roster(decode_json(_roster_decoder, await read_body(request)).csv)
        invited = [await seats.invite(nickname, team) for nickname, team in rows]
        return json_response(LobbyView(participants=[_view(participant) for participant in invited]))

    @app.put("/admin/participants/{client_id}", **doc("Rename", ParticipantRequest, ParticipantView, *_CHANGES))
    async def put_participant(request: Request, client_id: str) -> Response:
        access.admin(request)
        wanted = decode_json(_participant_decoder, await read_body(request))
        return json_response(_view(await seats.rename(client_id, wanted.nickname, wanted.team)))

    @app.post("/admin/participants/{client_id}/free", **doc("Let a person join again", None, ACCEPTED, *_CHANGES))
    async def post_free(request: Request, client_id: str) -> Response:
        access.admin(request)
        await seats.free(client_id)
        return json_response({"ok": True})

    @app.delete("/admin/participants/{client_id}", **doc("Remove a person", None, ACCEPTED, *_CHANGES))
    async def delete_participant(request: Request, client_id: str) -> Response:
        access.admin(request)
        await seats.remove(client_id)
        return json_response({"ok": True})


def read_roster(text: str) -> list[tuple[str, str]]:
    """Return the nicknames and teams of a roster in CSV.

    Raises:
        Refusal: `INVALID_FIELD`: the header or a line is wrong, or there are too many lines. The message names the line.
    """
    try:
        rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
        if "nickname" not in (rows.fieldnames or ()) or set(rows.fieldnames or ()) - set(ROSTER_COLUMNS):
            raise Refusal(Code.INVALID_FIELD, "the first line of the roster must be 'nickname' or 'nickname,team'", "csv")
        found = []
        for row in rows:
            if None in row or row["nickname"] is None:
                raise Refusal(Code.INVALID_FIELD, f"line {rows.line_num} of the roster has too many or no columns", "csv")
            try:
                found.append((clean_name(row["nickname"], "nickname"), clean_team(row.get("team") or "")))
            except Refusal as refusal:
                raise Refusal(refusal.code, f"line {rows.line_num} of the roster: {refusal.message}", "csv") from refusal
    except csv.Error as error:
        raise Refusal(Code.INVALID_FIELD, f"the roster is not CSV: {error}", "csv") from error
    if len(found) > MAX_PARTICIPANTS:
        raise Refusal(Code.INVALID_FIELD, f"the roster has more than {MAX_PARTICIPANTS} lines", "csv")
    return found


def _views(seats: Seats) -> list[ParticipantView]:
    return [_view(participant) for participant in seats.participants.values()]


def _view(participant: ParticipantChanged) -> ParticipantView:
    return ParticipantView(
        client_id=participant.client_id,
        nickname=participant.nickname,
        team=participant.team,
        seat=participant.seat,
    )
