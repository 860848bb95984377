"""The pages of a session in real browsers: the clock, news, tenders, roles, and the wall."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from tests.browser.test_dashboard import CheckedPage, browser, open_page
from tests.integration.running import Running, eventually

pytestmark = pytest.mark.slow
__all__ = ["browser"]


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """A classroom without house bots, in which two people have joined. A third client is of the house."""
    exchange = Running(None, postgres_url, module_namespace)
    exchange.start("--classroom", "--bots", "0")
    pin = (exchange.data / "secrets" / "pin").read_text().strip()
    exchange.seats = {}  # type: ignore[attr-defined]
    for nickname in ("Ann", "Ben"):
        answer = exchange.http.post(f"{exchange.gateway}/join", json={"pin": pin, "nickname": nickname})
        exchange.seats[nickname] = answer.json()  # type: ignore[attr-defined]
    settings = {"cash": "1000", "house": True}
    exchange.http.put(f"{exchange.gateway}/admin/clients/housebot", json=settings).raise_for_status()
    yield exchange
    # Playwright runs an event loop in this thread, and the audit needs its own.
    with ThreadPoolExecutor(1) as other:
        assert other.submit(exchange.audit).result() == []
    assert exchange.stop() == 0
    exchange.close()


def post(running: Running, path: str, **body: Any) -> Any:
    """Send a request of the admin, and return the answer."""
    answer = running.http.post(f"{running.gateway}{path}", json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


def control(running: Running, action: str, state: str) -> None:
    """Do an action of the session, and wait until the feed has its state."""
    post(running, f"/admin/session/{action}")
    eventually(lambda: running.http.get(f"{running.feed}/session").json()["state"] == state, 30, state)


def plan(running: Running, *rounds: dict[str, Any], name: str = "market day") -> None:
    """Plan a session in place of the one before it, which this ends."""
    answer = running.http.get(f"{running.feed}/session").json()
    if answer.get("state") in ("running", "paused"):
        control(running, "end", "ended")
    planned = post(running, "/admin/session", name=name, rounds=list(rounds))["session_id"]
    eventually(lambda: running.http.get(f"{running.feed}/session").json()["session_id"] == planned, 30, "the plan")


def open_trade_page(browser: Browser, running: Running, nickname: str, size: str = "desk") -> CheckedPage:
    """Open the trade page with the key of a person."""
    seat, watched = running.seats[nickname], open_page(browser, size)  # type: ignore[attr-defined]
    stored = {"client": seat["client_id"], "key": seat["api_key"], "nickname": nickname, "symbol": "AAPL"}
    script = f"for (const [name, value] of Object.entries({json.dumps(stored)})) localStorage.setItem(name, value)"
    watched.page.add_init_script(script)
    watched.page.goto(f"{running.gateway}/#trade")
    expect(watched.page.get_by_text("Connected", exact=True)).to_be_visible()
    return watched


def time_left(page: Page) -> str:
    """Return the time that the page shows."""
    return page.get_by_role("timer", name="Time left").inner_text()


def serious_faults(page: Page) -> list[tuple[str, list[str]]]:
    """Return the faults of accessibility that axe finds in a page."""
    found = Axe().run(page).response["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    return [(fault["id"], [node["target"] for node in fault["nodes"]][:5]) for fault in serious]


def test_every_view_shows_the_clock_of_a_planned_session(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 200, "practice": True}, {"seconds": 100})
    watched = {view: open_page(browser) for view in ("market", "trade", "competition", "lobby", "operations", "wall")}
    clocks = {view: checked.page.locator(".round-clock:visible") for view, checked in watched.items()}
    for view, checked in watched.items():
        checked.page.goto(f"{running.gateway}/#{view}")
        for text in ("1 of 2", "practice", "lobby", "3:20"):
            expect(clocks[view]).to_contain_text(text)
    control(running, "start", "running")
    for clock in clocks.values():
        expect(clock).to_contain_text("running")
        expect(clock.get_by_role("timer")).not_to_have_text("3:20")
    control(running, "end", "ended")
    control(running, "next", "lobby")
    for view, checked in watched.items():
        expect(clocks[view]).to_contain_text("2 of 2")
        expect(clocks[view].get_by_text("practice", exact=True)).to_be_hidden()
        assert checked.errors == []
        checked.page.context.close()


def test_the_clock_of_a_page_that_is_loaded_later_shows_the_same_time(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 600})
    control(running, "start", "running")
    first, second = open_page(browser), open_page(browser, "phone")
    first.page.goto(f"{running.gateway}/#market")
    expect(first.page.get_by_role("timer", name="Time left")).to_be_visible()
    second.page.goto(f"{running.gateway}/#market")
    expect(second.page.get_by_role("timer", name="Time left")).to_be_visible()
    eventually(lambda: time_left(first.page) == time_left(second.page), 10, "the same time")
    for watched in (first, second):
        assert watched.errors == []
        watched.page.context.close()


def test_the_clock_stands_still_in_a_pause_and_then_continues(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 300})
    control(running, "start", "running")
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#market")
    control(running, "pause", "paused")
    expect(page.locator(".round-clock")).to_contain_text("paused")
    stopped = time_left(page)
    page.wait_for_timeout(2500)
    assert time_left(page) == stopped
    control(running, "resume", "running")
    expect(page.get_by_role("timer", name="Time left")).not_to_have_text(stopped)
    assert watched.errors == []
    page.context.close()


def test_the_end_of_a_round_is_announced_in_words_and_not_in_colour_alone(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 25})
    control(running, "start", "running")
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#market")
    shown = page.locator(".round-clock")
    expect(shown.locator(".pill", has_text="ends soon")).to_be_visible()
    announced = shown.get_by_role("status")
    expect(announced).to_contain_text("round 1 of 1, ends soon")
    page.evaluate(
        "() => { window.announced = 0; new MutationObserver(() => { window.announced += 1; })"
        ".observe(document.querySelector('.round-clock [role=status]'), { childList: true }); }"
    )
    page.wait_for_timeout(2000)
    assert page.evaluate("window.announced") == 0, "a screen reader receives no message for each second"
    assert watched.errors == []
    page.context.close()


def test_a_session_that_is_planned_or_news_moves_nothing_in_the_page(browser: Browser, running: Running) -> None:
    for size in ("desk", "phone"):
        plan(running, {"seconds": 60})
        control(running, "close", "closed")
        watched = open_page(browser, size)
        page = watched.page
        page.goto(f"{running.gateway}/#market")
        expect(page.locator(".round-clock")).to_contain_text("closed")
        before = page.locator("main").bounding_box()
        plan(running, {"seconds": 60, "practice": True, "name": "A round with a long name"})
        post(running, "/admin/news", headline="The factory burns, and all of the stock of next summer is lost")
        expect(page.locator(".ticker")).to_contain_text("The factory burns")
        assert page.locator("main").bounding_box() == before
        assert watched.errors == []
        page.context.close()


def test_news_appears_on_an_open_trade_page_and_on_the_wall(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 300})
    control(running, "start", "running")
    pupil, projector = open_trade_page(browser, running, "Ann"), open_page(browser)
    projector.page.goto(f"{running.gateway}/#wall")
    expect(projector.page.locator(".round-clock:visible")).to_contain_text("running")
    headline, text = "The factory <b>burns</b>", "Insurers expect claims."
    post(running, "/admin/news", headline=headline, text=text, value_changes={"AAPL": "-2.00"})
    expect(pupil.page.locator(".ticker")).to_contain_text(headline)
    expect(projector.page.get_by_role("status", name="News")).to_contain_text(headline)
    news = pupil.page.locator(".news-card li")
    expect(news.first).to_contain_text(headline)
    expect(news.first).to_contain_text("AAPL -2.00")
    pupil.page.get_by_title("Show all news").click()
    expect(pupil.page.get_by_role("dialog")).to_contain_text(text)
    pupil.page.keyboard.press("Escape")
    pupil.page.reload()
    expect(pupil.page.locator(".ticker")).to_contain_text(headline)
    pupil.picture("trade-with-news")
    for watched in (pupil, projector):
        assert watched.errors == []
        watched.page.context.close()


def test_news_between_the_connection_of_a_page_and_its_subscription_appears(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 300})
    control(running, "start", "running")
    watched = open_page(browser)
    held: list[str | bytes] = []
    servers: list[WebSocketRoute] = []

    def hold(route: WebSocketRoute) -> None:
        servers.append(route.connect_to_server())
        route.on_message(lambda message: held.append(message))

    watched.page.route_web_socket("**/ws", hold)
    watched.page.goto(f"{running.gateway}/#wall")
    expect(watched.page.locator(".wall")).to_be_visible()
    while not held:
        watched.page.wait_for_timeout(20)
    watched.page.wait_for_load_state("networkidle")
    post(running, "/admin/news", headline="in between")
    for message in held:
        servers[0].send(message)
    expect(watched.page.get_by_role("status", name="News")).to_contain_text("in between")
    assert watched.errors == []
    watched.page.context.close()


def test_private_news_appears_only_at_its_client(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 300})
    control(running, "start", "running")
    ann, ben = open_trade_page(browser, running, "Ann"), open_trade_page(browser, running, "Ben")
    # The browser of the wall is on the machine of the admin, who may read all news.
    projector = open_page(browser)
    projector.page.goto(f"{running.gateway}/#wall")
    post(running, "/admin/news", headline="a bid is planned", client_id=running.seats["Ann"]["client_id"])  # type: ignore[attr-defined]
    expect(ann.page.locator(".ticker")).to_contain_text("a bid is planned")
    expect(ann.page.locator(".news-card li").first).to_contain_text("private")
    post(running, "/admin/news", headline="for all")
    for watched in (ben, projector):
        place = watched.page.locator(".ticker:visible, .headline:visible").first
        expect(place).to_contain_text("for all")
        for _ in range(2):
            expect(watched.page.locator("body")).not_to_contain_text("a bid is planned")
            watched.page.reload()
            expect(place).to_contain_text("for all")
    # The client that logs out has no private news left.
    ann.page.get_by_role("button", name="Log out").click()
    expect(ann.page.locator(".ticker")).to_contain_text("for all")
    expect(ann.page.locator("body")).not_to_contain_text("a bid is planned")
    for watched in (ann, ben, projector):
        assert watched.errors == []
        watched.page.context.close()


def test_a_tender_is_accepted_from_its_card_and_the_position_shows_it(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 300, "cash": "10000", "shares": {"AAPL": "0"}})
    control(running, "start", "running")
    watched = open_trade_page(browser, running, "Ann")
    page = watched.page
    post(running, "/admin/tenders", symbol="AAPL", side="buy", quantity="7", price="12.50", seconds=120)
    card = page.get_by_role("region", name="Offer: buy AAPL")
    expect(card).to_contain_text("Buy 7 AAPL")
    expect(card).to_contain_text("$87.50 in all")
    expect(card.get_by_role("timer")).to_contain_text("1:")
    watched.picture("trade-with-tender")
    card.get_by_role("button", name="Accept").click()
    expect(card).to_have_count(0)
    page.get_by_role("button", name="Show all").click()
    row = page.get_by_role("region", name="Positions").locator("tbody tr", has_text="AAPL")
    expect(row.locator("td").nth(1)).to_have_text("7")
    page.reload()
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    expect(card).to_have_count(0)
    assert watched.errors == []
    page.context.close()


def test_a_tender_that_is_declined_moves_nothing(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 300, "cash": "10000"})
    control(running, "start", "running")
    watched = open_trade_page(browser, running, "Ben")
    page = watched.page
    tender = post(running, "/admin/tenders", symbol="AAPL", side="buy", quantity="1", price="5", seconds=120)["tender_id"]
    card = page.get_by_role("region", name="Offer: buy AAPL")
    card.get_by_role("button", name="Decline").click()
    expect(card).to_have_count(0)
    seat = running.seats["Ben"]  # type: ignore[attr-defined]
    key, url = {"Authorization": f"Bearer {seat['api_key']}"}, f"{running.gateway}/tenders/{tender}/answer"
    assert running.http.post(url, json={"accept": True}, headers=key).json()["error"]["code"] == "TENDER_CLOSED"
    balance = running.http.get(f"{running.feed}/balance/{seat['client_id']}", headers=key).json()
    assert balance["cash"] == "10000.00"
    assert watched.errors == []
    page.context.close()


def test_an_auction_of_a_tender_goes_to_the_price_that_the_client_enters(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 300, "cash": "10000", "shares": {"MSFT": "0"}})
    control(running, "start", "running")
    watched = open_trade_page(browser, running, "Ann")
    page = watched.page
    terms = {"symbol": "MSFT", "side": "buy", "quantity": "2", "price": "300", "seconds": 6, "auction": True}
    post(running, "/admin/tenders", **terms)
    card = page.get_by_role("region", name="Offer: buy MSFT")
    card.get_by_label("Your price").fill("350.00")
    card.get_by_role("button", name="Send price").click()
    expect(card).to_have_count(0)
    page.get_by_role("button", name="Show all").click()
    row = page.get_by_role("region", name="Positions").locator("tbody tr", has_text="MSFT")
    expect(row.locator("td").nth(1)).to_have_text("2")
    expect(page.locator(".figure .value").nth(1)).to_have_text("$9,300.00")
    assert watched.errors == []
    page.context.close()


def test_a_role_shows_the_value_of_each_unit_to_its_client(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 300})
    control(running, "start", "running")
    watched, other = open_trade_page(browser, running, "Ann"), open_trade_page(browser, running, "Ben")
    role = {"role": "buyer", "values": {"AAPL": ["120.50", "110"]}}
    client = running.seats["Ann"]["client_id"]  # type: ignore[attr-defined]
    running.http.put(f"{running.gateway}/admin/clients/{client}/role", json=role).raise_for_status()
    card = watched.page.get_by_role("region", name="Your role")
    expect(card).to_contain_text("You are: buyer")
    assert card.get_by_role("listitem").all_inner_texts() == ["120.50", "110.00"]
    expect(other.page.get_by_role("region", name="Your role")).to_be_hidden()
    for each in (watched, other):
        assert each.errors == []
        each.page.context.close()


def test_the_ticket_shows_why_it_cannot_send_an_order(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 300})
    watched = open_trade_page(browser, running, "Ann")
    page = watched.page
    ticket = page.locator("form.ticket")
    problem, send = ticket.locator(".problem"), ticket.get_by_role("button", name="Buy AAPL")
    expect(problem).to_have_text("The round has not started.")
    expect(send).to_be_disabled()
    control(running, "start", "running")
    expect(problem).to_be_hidden()
    expect(send).to_be_enabled()
    running.http.put(f"{running.gateway}/admin/securities/AAPL/state", json={"state": "halted"}).raise_for_status()
    expect(problem).to_have_text("AAPL is halted. New orders are rejected.")
    running.http.put(f"{running.gateway}/admin/securities/AAPL/state", json={"state": "continuous"}).raise_for_status()
    for action, state, text in (("pause", "paused", "The round is paused."), ("end", "ended", "The round is over.")):
        control(running, action, state)
        expect(problem).to_have_text(text)
        expect(send).to_be_disabled()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("You are not logged in, so you cannot send orders.")).to_be_visible()
    assert watched.errors == []
    page.context.close()


def test_the_wall_follows_the_session_from_the_invitation_to_the_podium(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 300, "cash": "10000", "shares": {"AAPL": "10"}})
    watched = open_page(browser, "wall")
    page = watched.page
    page.goto(f"{running.gateway}/#wall")
    pin = (running.data / "secrets" / "pin").read_text().strip()
    expect(page.locator(".invitation .pin")).to_have_text(f"{pin[:3]} {pin[3:]}")
    expect(page.get_by_role("heading", name="2 people are here")).to_be_visible()
    expect(page.locator(".people:visible")).to_contain_text("Ann")
    watched.picture("wall-lobby")
    control(running, "start", "running")
    expect(page.locator(".invitation")).to_be_hidden()
    expect(page.locator(".plot svg.main-svg").first).to_be_visible()
    keys = {name: {"Authorization": f"Bearer {seat['api_key']}"} for name, seat in running.seats.items()}  # type: ignore[attr-defined]
    # A cheap sale makes the buyer the leader.
    running.order(keys["Ann"], symbol="AAPL", side="sell", quantity=9, price="1.00").raise_for_status()
    running.order(keys["Ben"], symbol="AAPL", side="buy", quantity=9, price="1.00").raise_for_status()
    running.order(keys["Ann"], symbol="AAPL", side="sell", quantity=1, price="120.00").raise_for_status()
    running.order(keys["Ben"], symbol="AAPL", side="buy", quantity=1, price="120.00").raise_for_status()
    places = page.get_by_role("list", name="Leaderboard").get_by_role("listitem")
    expect(places.first).to_contain_text("Ben")
    expect(places).to_have_count(2)
    expect(page.get_by_role("list", name="House bots")).to_contain_text("housebot")
    expect(page.get_by_role("group", name="Prices").get_by_role("button", name="AAPL")).to_contain_text("120.00")
    watched.picture("wall-running")
    control(running, "end", "ended")
    podium = page.locator(".podium")
    expect(podium.locator(".first")).to_contain_text("Ben")
    expect(podium.locator(".second")).to_contain_text("Ann")
    expect(page.get_by_text("Profit of round 1")).to_be_visible()
    expect(podium).not_to_contain_text("housebot")
    watched.picture("wall-ended")
    assert watched.errors == []
    page.context.close()


def test_a_leader_that_loses_its_place_moves_there(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 300, "cash": "10000", "shares": {"AAPL": "10"}})
    control(running, "start", "running")
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#wall")
    places = page.get_by_role("list", name="Leaderboard").get_by_role("listitem")
    expect(places).to_have_count(2)
    page.evaluate(
        "() => { window.moved = []; const animate = Element.prototype.animate;"
        " Element.prototype.animate = function (frames, ...rest) { window.moved.push(frames[0].transform);"
        " return animate.call(this, frames, ...rest); }; }"
    )
    leader = places.first.locator(".who").inner_text()
    seats = running.seats  # type: ignore[attr-defined]
    loser, winner = (seats[name] for name in (leader, "Ben" if leader == "Ann" else "Ann"))
    for seat, side in ((loser, "sell"), (winner, "buy")):
        key = {"Authorization": f"Bearer {seat['api_key']}"}
        running.order(key, symbol="AAPL", side=side, quantity=10, price="1.00").raise_for_status()
    for seat, side in ((winner, "sell"), (loser, "buy")):
        key = {"Authorization": f"Bearer {seat['api_key']}"}
        running.order(key, symbol="AAPL", side=side, quantity=1, price="200.00").raise_for_status()
    expect(places.first.locator(".who")).not_to_have_text(leader)
    moved = page.evaluate("window.moved")
    assert moved
    assert all(text.startswith("translateY(") for text in moved)
    assert watched.errors == []
    page.context.close()


def test_the_wall_and_the_trade_page_of_a_phone_have_no_serious_fault_of_accessibility(
    browser: Browser, running: Running
) -> None:
    plan(running, {"seconds": 300, "cash": "10000"})
    projector = open_page(browser)
    projector.page.goto(f"{running.gateway}/#wall")
    expect(projector.page.locator(".code img")).to_be_visible()
    faults = {"lobby": serious_faults(projector.page)}
    control(running, "start", "running")
    client = running.seats["Ann"]["client_id"]  # type: ignore[attr-defined]
    role = {"role": "seller", "values": {"AAPL": ["120.50", "110"]}}
    running.http.put(f"{running.gateway}/admin/clients/{client}/role", json=role).raise_for_status()
    post(running, "/admin/tenders", symbol="AAPL", side="sell", quantity="1", price="5", seconds=120)
    post(running, "/admin/news", headline="The factory burns", text="All of it.", value_changes={"AAPL": "-2"})
    phone = open_trade_page(browser, running, "Ann", "phone")
    expect(phone.page.get_by_role("region", name="Your role")).to_be_visible()
    expect(phone.page.get_by_role("region", name="Offer: sell AAPL")).to_be_visible()
    too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert phone.page.evaluate(too_wide) <= 0
    # The headline is drawn in another colour for four seconds.
    phone.page.wait_for_timeout(4500)
    faults |= {"phone": serious_faults(phone.page), "running": serious_faults(projector.page)}
    control(running, "end", "ended")
    expect(projector.page.locator(".podium .first")).to_be_visible()
    projector.page.wait_for_timeout(1500)
    faults["ended"] = serious_faults(projector.page)
    phone.picture("trade-phone-session", whole=True)
    assert not any(faults.values()), faults
    for watched in (phone, projector):
        assert watched.errors == []
        watched.page.context.close()
