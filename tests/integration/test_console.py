"""The routes of the console, and its one-time links, on a whole exchange."""

import re
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from order_entry_gateway.templates import ORDER
from tests.integration.running import Running, eventually

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def room(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """A classroom without house bots."""
    running = Running(None, postgres_url, module_namespace)
    running.start("--classroom", "--bots", "0", "--securities", "2")
    yield running
    assert running.stop() == 0
    running.close()


def token(room: Running) -> str:
    return (room.data / "secrets" / "admin-token").read_text().strip()


def post(room: Running, path: str, **body: Any) -> Any:
    return room.http.post(f"{room.gateway}{path}", json=body, headers={"Authorization": f"Bearer {token(room)}"})


def join(room: Running, nickname: str) -> str:
    pin = (room.data / "secrets" / "pin").read_text().strip()
    answer = room.http.post(f"{room.gateway}/join", json={"pin": pin, "nickname": nickname})
    return str(answer.raise_for_status().json()["client_id"])


def test_the_link_that_the_launcher_prints_gives_the_admin_token_once(room: Running) -> None:
    link = re.search(r"http://\S+/#console=(\S+)", room.output_text())
    assert link is not None
    answer = room.http.post(f"{room.gateway}/console/login", json={"code": link[1]})
    assert answer.json() == {"ok": True, "token": token(room)}
    again = room.http.post(f"{room.gateway}/console/login", json={"code": link[1]})
    assert (again.status_code, again.json()["error"]["field"]) == (403, "code")


def test_the_command_prints_a_new_link(room: Running) -> None:
    command = [*room.launcher, "console", "--data", str(room.data), "--gateway", room.gateway]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    code = printed.removeprefix(f"{room.gateway}/#console=")
    assert room.http.post(f"{room.gateway}/console/login", json={"code": code}).json()["token"] == token(room)


def test_a_pupil_cannot_use_the_routes_of_the_console(room: Running) -> None:
    pin = (room.data / "secrets" / "pin").read_text().strip()
    key = room.http.post(f"{room.gateway}/join", json={"pin": pin, "nickname": "Mallory"}).json()["api_key"]
    for path in ("/admin/console-links", "/admin/roles", "/admin/session-from-season"):
        answer = room.http.post(f"{room.gateway}{path}", json={}, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 403, path
    room.http.delete(f"{room.gateway}/admin/participants/mallory").raise_for_status()


def test_hands_are_dealt_in_turn_to_the_participants_that_have_joined(room: Running) -> None:
    post(room, "/admin/session", rounds=[{"seconds": 60}]).raise_for_status()
    assert post(room, "/admin/roles", hands=[{"role": "buyer"}]).json()["error"]["field"] == "client_ids"
    ann, ben, cid = (join(room, name) for name in ("Ann", "Ben", "Cid"))
    hands = [{"role": "buyer", "values": {"AAPL": ["12.00", "9.50"]}}, {"role": "seller", "values": {"AAPL": ["4"]}}]
    dealt = post(room, "/admin/roles", hands=hands).raise_for_status().json()["dealt"]
    assert [(one["client_id"], one["role"]) for one in dealt] == [(ann, "buyer"), (ben, "seller"), (cid, "buyer")]

    def role_of(client_id: str) -> Any:
        headers = {"Authorization": f"Bearer {token(room)}"}
        return room.http.get(f"{room.gateway}/role/{client_id}", headers=headers).json()

    found = eventually(lambda: role_of(cid)["role"] and role_of(cid), 30, "the role of Cid")
    assert found["values"] == {"AAPL": ["12.00", "9.50"]}
    assert role_of(ben)["values"] == {"AAPL": ["4.00"]}
    one = post(room, "/admin/roles", hands=hands[1:], client_ids=[cid]).raise_for_status().json()["dealt"]
    assert one == [{"client_id": cid, "role": "seller"}]


def test_a_hand_with_an_unknown_security_is_refused(room: Running) -> None:
    post(room, "/admin/session", rounds=[{"seconds": 60}]).raise_for_status()
    answer = post(room, "/admin/roles", hands=[{"role": "buyer", "values": {"NONE": ["1"]}}], client_ids=["guest"])
    assert answer.json()["error"]["code"] == "UNKNOWN_SYMBOL"


def test_a_season_becomes_a_session(room: Running) -> None:
    season = 'length = "1m"\nrounds = 2\n[[security]]\nsymbol = "AAPL"\nprice = "10"\n'
    found = post(room, "/admin/session-from-season", toml=season).raise_for_status().json()
    assert [one["seconds"] for one in found["session"]["rounds"]] == [60, 60]
    assert post(room, "/admin/session", **found["session"]).status_code == 201
    refused = post(room, "/admin/session-from-season", toml="length = 1").json()["error"]
    assert (refused["code"], refused["field"]) == ("INVALID_FIELD", "toml")


@pytest.mark.parametrize("name", ORDER)
def test_a_template_is_planned_and_its_first_round_begins(room: Running, name: str) -> None:
    used = post(room, f"/admin/session-templates/{name}/use").raise_for_status().json()
    headers = {"Authorization": f"Bearer {token(room)}"}
    eventually(
        lambda: room.http.get(f"{room.gateway}/session").json().get("session_id") == used["session_id"], 30, "the session"
    )
    hands = next(
        one for one in room.http.get(f"{room.gateway}/session-templates", headers=headers).json() if one["id"] == name
    )
    assert bool(used["dealt"]) == bool(hands["hands"])
    assert post(room, "/admin/session/start").status_code == 200
    assert post(room, "/admin/session/end").status_code == 200
    assert post(room, "/admin/session/close").status_code == 200


def test_a_template_that_does_not_exist_is_refused(room: Running) -> None:
    assert post(room, "/admin/session-templates/none/use").json()["error"]["code"] == "NOT_FOUND"


def test_the_bubble_pays_its_draws_to_each_holder(room: Running) -> None:
    """The plan of the template, with a second for each period."""
    post(room, "/admin/session-templates/bubble/use").raise_for_status()
    headers = {"Authorization": f"Bearer {token(room)}"}
    plan = eventually(
        lambda: (
            (found := room.http.get(f"{room.gateway}/session/plan", headers=headers).json())["name"] == "Bubble" and found
        ),
        30,
        "the plan",
    )
    short = plan["rounds"][1] | {"seconds": 15}
    short["events"] = [event | {"at_seconds": event["at_seconds"] // 60} for event in short["events"]]
    post(room, "/admin/session", name="short", rounds=[short]).raise_for_status()
    post(room, "/admin/session/start").raise_for_status()
    eventually(lambda: room.http.get(f"{room.gateway}/session").json()["state"] == "ended", 60, "the end")
    room.until_at_rest()
    drawn = sum(Decimal(event["amount"]) for event in short["events"] if event["type"] == "payout")
    joined = room.http.get(f"{room.gateway}/lobby").json()["participants"][0]["client_id"]
    balance = room.http.get(f"{room.gateway}/balance/{joined}", headers=headers).json()
    assert Decimal(balance["cash"]) == Decimal("5.85") + 2 * drawn
    assert [one["symbol"] for one in room.http.get(f"{room.gateway}/holdings/{joined}", headers=headers).json()] == []
