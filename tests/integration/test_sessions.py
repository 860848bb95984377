"""A session of rounds on a whole exchange: its clock, its news, and crashes in the middle of a round."""

import asyncio
import csv
import time
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from microexchange.session_commands import SessionState
from microexchange.session_views import SessionView
from tests.integration.running import Running, eventually
from trading_bots import Bot, ExchangeClient, News, Tender
from trading_bots.live import LiveVenue

pytestmark = pytest.mark.slow
ROUND_SECONDS = 20


@pytest.fixture(scope="module")
def class_room(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    running = Running(None, postgres_url, module_namespace)
    running.start("--bots", "0", "--securities", "2")
    token = (running.data / "secrets" / "admin-token").read_text().strip()
    running.admin = {"Authorization": f"Bearer {token}"}  # type: ignore[attr-defined]
    running.ann, running.ben = running.open_account("ann"), running.open_account("ben")  # type: ignore[attr-defined]
    yield running
    running.close()


def post(running: Running, path: str, **body: Any) -> Any:
    answer = running.http.post(f"{running.gateway}{path}", json=body, headers=running.admin)  # type: ignore[attr-defined]
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def session(running: Running) -> Any:
    return running.http.get(f"{running.gateway}/session").raise_for_status().json()


def state_is(running: Running, state: str) -> Any:
    return eventually(lambda: (found := session(running))["state"] == state and found, 60, f"the session is {state}")


def get(running: Running, path: str, headers: dict[str, str] | None = None) -> Any:
    return running.http.get(f"{running.gateway}{path}", headers=headers or {}).raise_for_status().json()


def test_a_crash_of_engine_gateway_and_feed_in_a_round_loses_neither_the_clock_nor_the_end(class_room: Running) -> None:
    running = class_room
    assert running.http.get(f"{running.gateway}/session").json()["error"]["code"] == "NO_SESSION"
    terms = {"cash": "5000", "shares": {"AAPL": "50"}}
    event = {"type": "news", "at_seconds": 1, "headline": "the round has begun"}
    rounds = [{"seconds": ROUND_SECONDS, "events": [event], **terms}, {"seconds": 60, "practice": True, **terms}]
    post(running, "/admin/session", name="class", rounds=rounds)
    assert state_is(running, "lobby")["rounds"][1] == {"name": "Round 2", "seconds": 60, "practice": True}
    refused = running.order(running.ann, symbol="AAPL", side="buy", quantity=1, price="100")  # type: ignore[attr-defined]
    assert refused.json()["error"]["code"] == "MARKET_HALTED"
    post(running, "/admin/session/start")
    before = state_is(running, "running")
    assert 0 < before["remaining_seconds"] <= ROUND_SECONDS
    running.order(running.ann, symbol="AAPL", side="sell", quantity=2, price="100").raise_for_status()  # type: ignore[attr-defined]
    running.order(running.ben, symbol="AAPL", side="buy", quantity=3, price="100").raise_for_status()  # type: ignore[attr-defined]
    for module in ("matching_engine", "order_entry_gateway", "market_data_feed"):
        running.kill(module)
    after = state_is(running, "running")
    assert after["ends_at"] == before["ends_at"]
    news = eventually(lambda: get(running, "/news"), 30, "the scheduled news")
    assert [item["headline"] for item in news] == ["the round has begun"]
    state_is(running, "ended")
    assert time.time() >= datetime.fromisoformat(before["ends_at"]).timestamp()
    running.until_at_rest()
    assert get(running, "/orders/ben", running.ben) == []  # type: ignore[attr-defined]
    assert {security["state"] for security in get(running, "/securities")} == {"halted"}
    post(running, "/admin/session/next")
    assert state_is(running, "lobby")["round"] == 2
    running.until_at_rest()
    for client, headers in (("ann", running.ann), ("ben", running.ben)):  # type: ignore[attr-defined]
        assert get(running, f"/balance/{client}", headers)["cash"] == "5000.00"
        assert get(running, f"/holdings/{client}", headers) == [{"client_id": client, "symbol": "AAPL", "quantity": "50"}]
    running.assert_whole_audit_is_clean()


def test_a_pause_keeps_the_remaining_time(class_room: Running) -> None:
    running = class_room
    post(running, "/admin/session", rounds=[{"seconds": 60}])
    post(running, "/admin/session/start")
    post(running, "/admin/session/pause")
    paused = state_is(running, "paused")
    assert paused["ends_at"] is None
    time.sleep(1.5)
    assert session(running)["remaining_seconds"] == paused["remaining_seconds"]
    post(running, "/admin/session/resume")
    assert state_is(running, "running")["remaining_seconds"] <= paused["remaining_seconds"]
    refused = running.http.post(f"{running.gateway}/admin/session/next", headers=running.admin)  # type: ignore[attr-defined]
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "SESSION_STATE")
    assert "pause and end" in refused.json()["error"]["message"]
    post(running, "/admin/session/end")
    state_is(running, "ended")


def test_private_news_reaches_only_its_audience(class_room: Running) -> None:
    running = class_room
    ann, ben, admin = running.ann, running.ben, running.admin  # type: ignore[attr-defined]
    post(running, "/admin/session", rounds=[{"seconds": 60}])
    role = {"role": "insider", "values": {"AAPL": ["120.50", "110"]}}
    running.http.put(f"{running.gateway}/admin/clients/ann/role", json=role, headers=admin).raise_for_status()
    with (
        running.socket(running.gateway, "/ws", ann) as of_ann,
        running.socket(running.gateway, "/ws", ben) as of_ben,
        running.socket(running.gateway, "/ws") as of_nobody,
    ):
        for socket in (of_ann, of_ben, of_nobody):
            socket.send({"op": "subscribe", "channel": "news"})
            assert socket.receive()["op"] == "subscribed"
        post(running, "/admin/news", headline="a bid is planned", role="insider", value_changes={"AAPL": "-1.50"})
        post(running, "/admin/news", headline="for ben", client_id="ben")
        post(running, "/admin/news", headline="for all")
        assert [of_ann.receive()["news"]["headline"] for _ in range(2)] == ["a bid is planned", "for all"]
        assert [of_ben.receive()["news"]["headline"] for _ in range(2)] == ["for ben", "for all"]
        assert of_nobody.receive()["news"]["headline"] == "for all"

    def headlines(headers: dict[str, str] | None = None) -> list[str]:
        return [item["headline"] for item in get(running, "/news", headers)]

    assert headlines() == ["for all"]
    assert headlines(ann) == ["for all", "a bid is planned"]
    assert headlines(ben) == ["for all", "for ben"]
    assert headlines(admin) == ["for all", "for ben", "a bid is planned"]
    assert get(running, "/news", ann)[1]["value_changes"] == {"AAPL": "-1.50"}
    assert get(running, "/role/ann", ann)["values"] == {"AAPL": ["120.50", "110.00"]}
    assert running.http.get(f"{running.gateway}/role/ann", headers=ben).status_code == 403
    assert running.http.get(f"{running.gateway}/roles", headers=ben).status_code == 403
    assert [found["client_id"] for found in get(running, "/roles", admin)] == ["ann"]


def test_only_the_admin_controls_a_session(class_room: Running) -> None:
    running = class_room
    for path in ("/admin/session", "/admin/session/start", "/admin/news"):
        answer = running.http.post(f"{running.gateway}{path}", json={}, headers=running.ann)  # type: ignore[attr-defined]
        assert answer.status_code == 403


def test_payouts_and_tenders_move_cash_and_shares_and_count_as_profit(class_room: Running) -> None:
    running = class_room
    ann, ben = running.ann, running.ben  # type: ignore[attr-defined]
    payout = {"type": "payout", "at_seconds": 0, "symbol": "AAPL", "amount": "0.50"}
    post(running, "/admin/session", rounds=[{"seconds": 60, "cash": "5000", "shares": {"AAPL": "10"}, "events": [payout]}])
    running.until_at_rest()
    at_start = profits(running)
    post(running, "/admin/session/start")
    eventually(lambda: get(running, "/balance/ann", ann)["cash"] == "5005.00", 30, "the payout")
    running.until_at_rest()
    before = profits(running)
    assert before["ann"] - at_start["ann"] == pytest.approx(5)
    offer = {"symbol": "AAPL", "side": "buy", "quantity": "2", "price": "1.00", "client_id": "ann"}
    with running.socket(running.gateway, "/ws", ben) as of_ben, running.socket(running.gateway, "/ws", ann) as of_ann:
        for socket in (of_ann, of_ben):
            socket.send({"op": "subscribe", "channel": "tenders"})
            assert socket.receive()["op"] == "subscribed"
        tender = post(running, "/admin/tenders", **offer)["tender_id"]
        assert of_ann.receive()["tender"]["tender_id"] == tender
        of_another = post(running, "/admin/tenders", **{**offer, "client_id": "ben"})["tender_id"]
        assert of_ben.receive()["tender"]["tender_id"] == of_another
    assert [found["tender_id"] for found in get(running, "/tenders", ann)] == [tender]
    assert get(running, "/tenders") == []
    url, answer = f"{running.gateway}/tenders/{tender}/answer", {"accept": True}
    assert running.http.post(url, json=answer, headers=ben).json()["error"]["code"] == "UNKNOWN_TENDER"
    running.http.post(url, json=answer, headers=ann).raise_for_status()
    assert running.http.post(url, json=answer, headers=ann).json()["error"]["code"] == "TENDER_CLOSED"
    eventually(lambda: get(running, "/balance/ann", ann)["cash"] == "5003.00", 30, "the tender")
    running.until_at_rest()
    mark = get(running, "/securities/AAPL")
    gain = 2 * (float(mark["last_price"] or mark["reference_price"]) - 1)
    assert profits(running)["ann"] - before["ann"] == pytest.approx(gain)
    auction = post(running, "/admin/tenders", **{**offer, "client_id": "", "seconds": 2, "auction": True})["tender_id"]
    url = f"{running.gateway}/tenders/{auction}/answer"
    assert running.http.post(url, json=answer, headers=ann).json()["error"]["code"] == "INVALID_FIELD"
    running.http.post(url, json={**answer, "price": "1.25"}, headers=ann).raise_for_status()
    running.http.post(url, json={**answer, "price": "1.50"}, headers=ben).raise_for_status()
    eventually(lambda: get(running, "/balance/ben", ben)["cash"] == "5002.00", 30, "the auction")
    assert get(running, "/balance/ann", ann)["cash"] == "5003.00"
    drawn = post(running, "/admin/payouts", symbol="AAPL", draw=["1", "2"], final=True)["amount"]
    running.until_at_rest()
    assert get(running, "/holdings/ann", ann) == []
    assert float(get(running, "/balance/ann", ann)["cash"]) == 5003 + 12 * float(drawn)
    post(running, "/admin/session/end")
    state_is(running, "ended")
    assert get(running, "/tenders", ben) == []
    running.until_at_rest()
    running.assert_whole_audit_is_clean()


def profits(running: Running) -> dict[str, float]:
    return {row["client_id"]: float(row["profit"]) for row in get(running, "/leaderboard")}


class _Reader(Bot):
    """A bot that records what it receives about a session, until the round ends."""

    symbols = ("AAPL",)

    def __init__(self) -> None:
        super().__init__()
        self.states: list[str] = []
        self.headlines: list[str] = []
        self.has_begun = asyncio.Event()
        self.has_ended = asyncio.Event()

    def on_start(self) -> None:
        self.has_begun.set()

    def on_session(self, session: SessionView) -> None:
        self.states.append(session.state)
        if session.state is SessionState.ENDED:
            self.has_ended.set()

    def on_news(self, news: News) -> None:
        self.headlines.append(news.headline)
        assert news.value_changes == {"AAPL": Decimal("-1.50")}


async def test_a_bot_receives_the_rounds_and_the_news_that_are_for_it(class_room: Running) -> None:
    running = class_room
    rounds = [{"seconds": 60}]
    await asyncio.to_thread(post, running, "/admin/session", rounds=rounds)
    bot, stop = _Reader(), asyncio.Event()
    key = running.ann["Authorization"].removeprefix("Bearer ")  # type: ignore[attr-defined]
    task = asyncio.create_task(LiveVenue(bot, "ann", key, running.gateway, running.feed).run(stop))
    await asyncio.wait_for(bot.has_begun.wait(), 30)
    assert bot.session is not None
    assert bot.session.state is SessionState.LOBBY
    news = {"value_changes": {"AAPL": "-1.50"}}
    for path, body in (
        ("/admin/session/start", {}),
        ("/admin/news", {"headline": "for ann", "client_id": "ann", **news}),
        ("/admin/news", {"headline": "for ben", "client_id": "ben", **news}),
        ("/admin/session/end", {}),
    ):
        await asyncio.to_thread(post, running, path, **body)
    await asyncio.wait_for(bot.has_ended.wait(), 30)
    stop.set()
    await task
    assert bot.states == [SessionState.RUNNING, SessionState.ENDED]
    assert bot.headlines == ["for ann"]


class _Acceptor(Bot):
    """A bot that accepts each tender, and records what it receives."""

    symbols = ("AAPL",)

    def __init__(self) -> None:
        super().__init__()
        self.headlines: list[str] = []
        self.tenders: list[Tender] = []
        self.has_begun = asyncio.Event()

    def on_start(self) -> None:
        self.has_begun.set()

    def on_news(self, news: News) -> None:
        self.headlines.append(news.headline)

    def on_tender(self, tender: Tender) -> None:
        self.tenders.append(tender)
        self.answer_tender(tender, price="3.509" if tender.auction else None)


async def test_a_bot_answers_tenders_and_misses_no_news_while_the_feed_restarts(class_room: Running) -> None:
    running = class_room
    rounds = [{"seconds": 120, "cash": "100", "shares": {"AAPL": "0"}}]
    await asyncio.to_thread(post, running, "/admin/session", rounds=rounds)
    await asyncio.to_thread(post, running, "/admin/session/start")
    await asyncio.to_thread(state_is, running, "running")
    await asyncio.to_thread(post, running, "/admin/news", headline="old")
    tender = {"symbol": "AAPL", "side": "buy", "quantity": "3", "client_id": "ann"}
    await asyncio.to_thread(post, running, "/admin/tenders", price="2", **tender)
    bot, stop = _Acceptor(), asyncio.Event()
    key = running.ann["Authorization"].removeprefix("Bearer ")  # type: ignore[attr-defined]
    task = asyncio.create_task(LiveVenue(bot, "ann", key, running.gateway, running.feed).run(stop))
    await asyncio.wait_for(bot.has_begun.wait(), 30)
    await asyncio.to_thread(eventually, lambda: bot.position("AAPL") == 3, 30, "the open tender is settled")
    restart = asyncio.create_task(asyncio.to_thread(running.kill, "market_data_feed"))
    await asyncio.to_thread(post, running, "/admin/news", headline="missed")
    await asyncio.to_thread(post, running, "/admin/tenders", price="3", seconds=20, auction=True, **tender)
    await restart
    await asyncio.to_thread(eventually, lambda: len(bot.tenders) == 2, 60, "the auction")
    await asyncio.to_thread(eventually, lambda: bot.position("AAPL") == 6, 60, "the auction is settled")
    stop.set()
    await task
    assert bot.headlines == ["missed"]
    assert [tender.price for tender in bot.tenders] == [2, 3]
    assert bot.cash == Decimal("83.50"), "3 at 2.00, and 3 at 3.50, the tick below the answer"
    await asyncio.to_thread(post, running, "/admin/session/end")


def test_a_client_of_the_sdk_reads_the_session_and_answers_a_tender(class_room: Running) -> None:
    running = class_room
    post(running, "/admin/session", rounds=[{"seconds": 60, "cash": "100"}])
    role = {"role": "buyer", "values": {"AAPL": ["7"]}}
    url = f"{running.gateway}/admin/clients/ben/role"
    running.http.put(url, json=role, headers=running.admin).raise_for_status()  # type: ignore[attr-defined]
    post(running, "/admin/session/start")
    state_is(running, "running")
    post(running, "/admin/news", headline="for buyers", role="buyer")
    post(running, "/admin/tenders", symbol="AAPL", side="buy", quantity="3", price="2", role="buyer")
    key = running.ben["Authorization"].removeprefix("Bearer ")  # type: ignore[attr-defined]
    with ExchangeClient(running.gateway, key=key, client_id="ben") as exchange:
        (tender,) = eventually(exchange.tenders, 30, "the tender")
        exchange.answer_tender(tender.tender_id, True)
        assert exchange.session().state is SessionState.RUNNING
        assert [news.headline for news in exchange.news()] == ["for buyers"]
        assert exchange.role().values == {"AAPL": ["7.00"]}
        eventually(lambda: exchange.balance().cash == "94.00", 30, "the tender is settled")
    post(running, "/admin/session/end")


def test_private_values_are_redeemed_and_scores_and_grades_are_for_the_admin(class_room: Running) -> None:
    running = class_room
    ann, ben, admin = running.ann, running.ben, running.admin  # type: ignore[attr-defined]
    terms = {"cash": "1000", "shares": {"AAPL": "5"}}
    post(running, "/admin/session", rounds=[{"seconds": 60, "practice": True, **terms}, {"seconds": 60, **terms}])
    for client, role, value in (("ann", "buyer", "120"), ("ben", "seller", "80")):
        body = {"role": role, "values": {"AAPL": [value]}}
        running.http.put(f"{running.gateway}/admin/clients/{client}/role", json=body, headers=admin).raise_for_status()
    post(running, "/admin/session/next")
    post(running, "/admin/session/start")
    state_is(running, "running")
    running.order(ben, symbol="AAPL", side="sell", quantity=1, price="100").raise_for_status()
    running.order(ann, symbol="AAPL", side="buy", quantity=1, price="100").raise_for_status()
    post(running, "/admin/session/end")
    running.until_at_rest()
    found = {score["client_id"]: score for score in get(running, "/rounds/2/scores", admin)}
    assert (found["ann"]["profit"], found["ben"]["profit"]) == ("19.80", "19.90"), "20 less the fees of taker and maker"
    assert found["ann"]["start"] == found["ben"]["start"]
    assert get(running, "/balance/ann", ann)["cash"] == "1019.80"
    assert get(running, "/holdings/ann", ann)[0]["quantity"] == "5"
    lines = running.http.get(f"{running.gateway}/grades.csv", headers=admin).raise_for_status().text.splitlines()
    (best, *_) = csv.DictReader(lines)
    assert (best["rank"], best["client_id"], best["profit"], best["efficiency"]) == ("1", "ben", "19.90", "1.00")
    assert running.http.get(f"{running.gateway}/rounds/1/scores", headers=admin).status_code == 404
    for path in ("/rounds/2/scores", "/rounds/2/market", "/rounds/2/replay/AAPL", "/grades.csv"):
        assert running.http.get(f"{running.gateway}{path}", headers=ann).status_code == 403
    running.assert_whole_audit_is_clean()


def test_a_plan_comes_back_in_the_form_in_which_the_admin_has_sent_it(class_room: Running) -> None:
    tender = {"type": "tender", "at_seconds": 9, "symbol": "AAPL", "side": "sell", "quantity": "3", "price": "2.50"}
    plan = {
        "name": "form",
        "rounds": [
            {
                "name": "first",
                "seconds": 60,
                "practice": True,
                "cash": "500.25",
                "shares": {"AAPL": "10"},
                "house_bots": False,
                "events": [
                    {"type": "news", "at_seconds": 1, "headline": "h", "text": "t", "role": "insider", "client_id": ""}
                    | {"value_changes": {"AAPL": "-1.50"}},
                    {"type": "state", "at_seconds": 2, "symbol": "AAPL", "state": "halted"},
                    {"type": "payout", "at_seconds": 3, "symbol": "AAPL", "amount": "0.60", "final": False},
                    tender | {"seconds": 7, "role": "", "client_id": "ann", "auction": True},
                ],
                "assignments": [
                    {"type": "profit", "goal": "10.00", "symbol": "", "text": ""},
                    {"type": "end_flat", "symbol": "AAPL", "text": "go home flat"},
                ],
            },
        ],
    }
    session_id = post(class_room, "/admin/session", **plan)["session_id"]
    eventually(lambda: session(class_room)["session_id"] == session_id, 30, "the plan")
    assert get(class_room, "/session/plan", class_room.admin) == plan  # type: ignore[attr-defined]
    assert class_room.http.get(f"{class_room.gateway}/session/plan").status_code == 401
    shown = session(class_room)
    assert not shown["house_bots"]
    assert [(task["type"], task["goal"], task["text"]) for task in shown["assignments"]] == [
        ("profit", "10.00", "Make a profit of 10.00"),
        ("end_flat", "", "go home flat"),
    ]
    refused = dict(plan, rounds=[{"seconds": 60, "assignments": [{"type": "trades"}]}])
    answer = class_room.http.post(f"{class_room.gateway}/admin/session", json=refused, headers=class_room.admin)  # type: ignore[attr-defined]
    assert answer.json()["error"]["field"] == "rounds[0].assignments[0].goal"
    post(class_room, "/admin/session", rounds=plan["rounds"])


def test_assignments_and_grades_survive_a_killed_feed(class_room: Running) -> None:
    running = class_room
    tasks = [{"type": "limit_orders", "goal": "2"}, {"type": "trades", "goal": "1"}, {"type": "end_flat"}]
    rounds = [{"seconds": 300, "cash": "5000", "shares": {"AAPL": "20"}, "assignments": tasks}]
    planned = post(running, "/admin/session", name="graded", rounds=rounds)["session_id"]
    eventually(lambda: session(running)["session_id"] == planned, 30, "the plan")
    post(running, "/admin/session/start")
    ann, ben = running.ann, running.ben  # type: ignore[attr-defined]
    running.order(ann, symbol="AAPL", side="sell", quantity=2, price="100").raise_for_status()
    running.order(ben, symbol="AAPL", side="buy", quantity=2, price="100").raise_for_status()
    running.order(ann, symbol="AAPL", side="sell", quantity=2, price="101").raise_for_status()

    def met(headers: dict[str, str], client: str) -> list[bool]:
        return [task["met"] for task in get(running, f"/assignments/{client}", headers)["assignments"]]

    eventually(lambda: met(ann, "ann") == [True, True, False], 30, "the tasks of ann")
    assert met(ben, "ben") == [False, True, False]
    refused = running.http.get(f"{running.gateway}/assignments/ann", headers=ben)
    assert refused.json()["error"]["code"] == "FORBIDDEN"
    running.until_at_rest()
    running.kill("market_data_feed")
    running.until_at_rest()
    assert met(ann, "ann") == [True, True, False]
    assert get(running, "/session/plan", running.admin)["name"] == "graded"  # type: ignore[attr-defined]
    running.order(ben, symbol="AAPL", side="buy", quantity=1, price="90").raise_for_status()
    post(running, "/admin/session/end")
    state_is(running, "ended")
    running.until_at_rest()
    rows = {row["client_id"]: row for row in get(running, "/grades", running.admin)}  # type: ignore[attr-defined]
    assert [rows["ann"][name] for name in ("orders", "trades", "fill_ratio", "tasks_met", "tasks")] == [2, 1, "0.50", 2, 3]
    assert [rows["ben"][name] for name in ("orders", "trades", "fill_ratio", "tasks_met", "tasks")] == [2, 1, "0.67", 2, 3]
    everybody = {row["client_id"]: row for row in get(running, "/assignments", running.admin)}  # type: ignore[attr-defined]
    assert [task["met"] for task in everybody["ben"]["assignments"]] == [True, True, False]
    assert get(running, "/grades/teams", running.admin) == []  # type: ignore[attr-defined]
    assert running.http.get(f"{running.gateway}/grades", headers=ann).status_code == 403
    text = running.http.get(f"{running.gateway}/grades.csv", headers=running.admin).text  # type: ignore[attr-defined]
    assert text.splitlines()[0].split(",")[:4] == ["rank", "client_id", "nickname", "team"]
    running.assert_whole_audit_is_clean()
