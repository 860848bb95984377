"""The results in real browsers: grades, the market of a round, its replay, reports, and the tasks of a pupil."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.browser.test_dashboard import browser, open_page
from tests.integration.running import Running, eventually

pytestmark = pytest.mark.slow
__all__ = ["browser"]
VALUES = {"Ann": ("buyer", ["120.00", "90.00"]), "Ben": ("seller", ["80.00", "110.00"])}
TASKS = [{"type": "limit_orders", "goal": "2", "text": "Two limit orders"}, {"type": "end_flat"}]


def post(running: Running, path: str, **body: Any) -> Any:
    return running.http.post(f"{running.gateway}{path}", json=body).raise_for_status().json()


def get(running: Running, path: str) -> Any:
    return running.http.get(f"{running.gateway}{path}").raise_for_status().json()


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """A classroom in which a buyer and a seller with private values have played one round."""
    exchange = Running(None, postgres_url, module_namespace)
    exchange.start("--classroom", "--bots", "0", "--securities", "2")
    pin = (exchange.data / "secrets" / "pin").read_text().strip()
    rounds = [{"name": "Trading", "seconds": 600, "cash": "1000", "shares": {"AAPL": "2"}, "assignments": TASKS}]
    post(exchange, "/admin/session", name="graded", rounds=[*rounds, {"name": "More", "seconds": 600, "assignments": TASKS}])
    seats = {}
    for name, (role, values) in VALUES.items():
        seats[name] = post(exchange, "/join", pin=pin, nickname=name, team="Red" if name == "Ann" else "Blue")
        exchange.http.put(
            f"{exchange.gateway}/admin/clients/{seats[name]['client_id']}/role",
            json={"role": role, "values": {"AAPL": values}},
        ).raise_for_status()
    exchange.seats = seats  # type: ignore[attr-defined]
    post(exchange, "/admin/session/start")
    keys = {name: {"Authorization": f"Bearer {seat['api_key']}"} for name, seat in seats.items()}
    exchange.order(keys["Ben"], symbol="AAPL", side="sell", quantity=1, price="100.00").raise_for_status()
    exchange.order(keys["Ann"], symbol="AAPL", side="buy", quantity=1, price="100.00").raise_for_status()
    exchange.order(keys["Ann"], symbol="AAPL", side="buy", quantity=1, price="70.00").raise_for_status()
    post(exchange, "/admin/session/end")
    exchange.until_at_rest()
    eventually(lambda: exchange.http.get(f"{exchange.gateway}/rounds/1/scores").status_code == 200, 30, "the result")
    yield exchange
    with ThreadPoolExecutor(1) as other:
        assert other.submit(exchange.audit).result() == []
    assert exchange.stop() == 0
    exchange.close()


def test_the_teacher_reads_the_grades_and_sorts_them(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#results")
    rows = page.get_by_role("region", name="Grades").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("Ann")
    expect(rows.first).to_contain_text("1 of 2")
    expect(page.get_by_role("region", name="Teams").locator("tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Orders", exact=True).click()
    expect(rows.first).to_contain_text("Ben")
    with page.expect_download() as download:
        page.get_by_role("button", name="grades.csv").click()
    assert download.value.path().read_text().startswith("rank,client_id,nickname,team")
    watched.picture("results")
    assert watched.errors == []
    page.context.close()


def test_a_round_shows_its_equilibrium_and_a_replay_with_a_slider(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#results=1")
    market = page.get_by_role("region", name="Market of AAPL")
    expect(market).to_contain_text("90.00 to 110.00")
    expect(market.locator(".plot svg.main-svg").first).to_be_visible()
    market.get_by_text("Replay").click()
    slider = market.get_by_label("Time of the replay of AAPL")
    expect(market.get_by_role("status")).to_contain_text("last price")
    slider.press("End")
    expect(market.get_by_role("status")).to_contain_text("last price 100.00 · 1 trades")
    watched.picture("results-round", whole=True)
    assert watched.errors == []
    page.context.close()


@pytest.mark.parametrize(("who", "title"), [("ann", "Report of Ann"), ("class", "Report of the class")])
def test_a_report_can_be_printed(browser: Browser, running: Running, who: str, title: str) -> None:
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#report={who}")
    expect(page.get_by_role("heading", name=title)).to_be_visible()
    expect(page.get_by_role("heading", name="Trading")).to_be_visible()
    page.emulate_media(media="print")
    expect(page.locator(".bar")).to_be_hidden()
    watched.picture(f"report-{who}", whole=True)
    page.context.close()


@pytest.mark.parametrize("size", ["phone", "desk"])
def test_the_results_have_no_serious_fault_of_accessibility(browser: Browser, running: Running, size: str) -> None:
    watched = open_page(browser, size)
    watched.page.goto(f"{running.gateway}/#results=1")
    expect(watched.page.get_by_role("region", name="Market of AAPL")).to_be_visible()
    found = Axe().run(watched.page).response["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    assert [(fault["id"], [node["target"] for node in fault["nodes"]][:5]) for fault in serious] == []
    width = watched.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], "the page scrolls sideways"
    watched.page.context.close()


def test_a_pupil_sees_a_task_as_it_is_met(browser: Browser, running: Running) -> None:
    post(running, "/admin/session/next")
    post(running, "/admin/session/start")
    seat = running.seats["Ann"]  # type: ignore[attr-defined]
    watched = open_page(browser)
    page = watched.page
    stored = {"client": seat["client_id"], "key": seat["api_key"], "nickname": "Ann", "symbol": "AAPL"}
    page.add_init_script(f"for (const [k, v] of Object.entries({json.dumps(stored)})) localStorage.setItem(k, v)")
    page.goto(f"{running.gateway}/#trade")
    tasks = page.get_by_role("region", name="Your tasks")
    expect(tasks.locator("li")).to_have_count(2)
    expect(tasks.locator(".met")).to_have_count(0)
    key = {"Authorization": f"Bearer {seat['api_key']}"}
    for price in ("50.00", "51.00"):
        running.order(key, symbol="AAPL", side="buy", quantity=1, price=price).raise_for_status()
    expect(tasks.locator(".met")).to_contain_text("Two limit orders")
    expect(tasks).to_contain_text("decided at the end")
    watched.picture("tasks")
    post(running, "/admin/session/end")
    expect(tasks.locator(".met")).to_have_count(2)
    assert watched.errors == []
    page.context.close()
