"""The console in real browsers: a teacher plans a session, controls its rounds, and acts on the market."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.test_dashboard import CheckedPage, browser, open_page
from tests.integration.running import Running, eventually

pytestmark = pytest.mark.slow
__all__ = ["browser"]


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """A classroom without house bots, with two participants."""
    exchange = Running(None, postgres_url, module_namespace)
    exchange.start("--classroom", "--bots", "0", "--securities", "3")
    pin = (exchange.data / "secrets" / "pin").read_text().strip()
    for nickname in ("Ann", "Ben"):
        exchange.http.post(f"{exchange.gateway}/join", json={"pin": pin, "nickname": nickname}).raise_for_status()
    yield exchange
    # Playwright runs an event loop in this thread, and the audit needs its own.
    with ThreadPoolExecutor(1) as other:
        assert other.submit(exchange.audit).result() == []
    assert exchange.stop() == 0
    exchange.close()


def get(running: Running, path: str) -> Any:
    return running.http.get(f"{running.gateway}{path}").raise_for_status().json()


def open_console(browser: Browser, running: Running, size: str = "desk") -> CheckedPage:
    watched = open_page(browser, size)
    watched.page.goto(f"{running.gateway}/#console")
    expect(watched.page.get_by_role("button", name="Save plan")).to_be_visible()
    expect(watched.page.locator("details.round").first).to_be_visible()
    return watched


def plan(running: Running, *rounds: dict[str, Any], name: str = "lesson") -> None:
    """Plan a session over REST, after the end of the one before."""
    if running.http.get(f"{running.gateway}/session").status_code == 200 and state(running) in ("running", "paused"):
        running.http.post(f"{running.gateway}/admin/session/end").raise_for_status()
    running.http.post(f"{running.gateway}/admin/session", json={"name": name, "rounds": rounds}).raise_for_status()
    eventually(lambda: get(running, "/session")["name"] == name, 30, "the plan")


def state(running: Running) -> str:
    return str(get(running, "/session")["state"])


def card(page: Page, name: str) -> Locator:
    return page.locator(f".{name}-card")


def test_the_one_time_link_logs_the_teacher_in_and_leaves_the_address(browser: Browser, running: Running) -> None:
    link = re.search(r"http://\S+/#console=\S+", running.output_text())
    assert link is not None
    watched = open_page(browser)
    page = watched.page
    page.goto(link[0])
    expect(page.get_by_role("button", name="Save plan")).to_be_visible()
    assert page.url == f"{running.gateway}/#console"
    assert (
        page.evaluate("sessionStorage.getItem('admin-token')") == (running.data / "secrets/admin-token").read_text().strip()
    )
    assert watched.errors == []
    page.context.close()


def test_a_teacher_plans_a_session_in_forms_and_plays_it(browser: Browser, running: Running) -> None:
    watched = open_console(browser, running)
    page = watched.page
    page.get_by_label("Name of the session").fill("Tuesday")
    form = page.locator("details.round").nth(1)
    form.locator("summary").click()
    form.get_by_label("Name", exact=True).fill("Harvest")
    form.get_by_label("Length").fill("3:30")
    form.get_by_label("Cash at the start").fill("2500")
    form.get_by_role("button", name="Add a security").click()
    form.get_by_label("Shares at the start: security").select_option("AAPL")
    form.get_by_label("Shares at the start: amount").fill("40")
    form.get_by_role("button", name="Add news").click()
    news = form.locator("fieldset", has_text="News")
    news.get_by_label("At", exact=True).fill("0:30")
    news.get_by_label("Headline").fill("Rain in the valley")
    form.get_by_role("button", name="Add an assignment").click()
    form.get_by_label("Goal").fill("3")
    page.get_by_role("button", name="Save plan").click()
    expect(page.locator(".round-list li")).to_have_count(2)
    expect(card(page, "control").get_by_role("heading")).to_have_text("Tuesday")
    planned = get(running, "/session/plan")["rounds"][1]
    assert (planned["name"], planned["seconds"], planned["cash"], planned["shares"]) == (
        "Harvest",
        210,
        "2500.00",
        {"AAPL": "40"},
    )
    assert [(one["headline"], one["at_seconds"]) for one in planned["events"]] == [("Rain in the valley", 30)]
    assert [(one["type"], one["goal"]) for one in planned["assignments"]] == [("limit_orders", "3")]
    page.get_by_role("button", name="Next round").click()
    expect(page.locator(".round-list [aria-current]")).to_contain_text("Harvest")
    for button, after in (("Start round", "running"), ("Pause", "paused"), ("Resume", "running")):
        page.get_by_role("button", name=button, exact=True).click()
        expect(card(page, "control").locator(".time")).to_contain_text(after)
        assert state(running) == after
    page.get_by_role("button", name="End round").click()
    page.get_by_role("dialog").get_by_role("button", name="End round").click()
    expect(card(page, "control").locator(".time")).to_contain_text("ended")
    expect(page.get_by_role("button", name="Next round")).to_be_disabled()
    watched.picture("console", whole=True)
    assert watched.errors == []
    page.context.close()


def test_a_plan_that_is_refused_stays_and_the_focus_moves_to_its_field(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 60})
    watched = open_console(browser, running)
    page = watched.page
    form = page.locator("details.round").first
    form.locator("summary").click()
    form.get_by_role("button", name="Add news").click()
    form.get_by_label("Headline").fill("Too late")
    form.get_by_label("At", exact=True).fill("5:00")
    page.get_by_role("button", name="Save plan").click()
    expect(card(page, "plan").get_by_role("alert")).to_contain_text("round 1, event 1: at_seconds must be between 0 and 60")
    expect(form.get_by_label("At", exact=True)).to_be_focused()
    expect(form.get_by_label("Headline")).to_have_value("Too late")
    assert get(running, "/session/plan")["rounds"][0]["events"] == []
    page.context.close()


def test_a_plan_can_be_downloaded_and_opened_again(browser: Browser, running: Running, tmp_path: Path) -> None:
    plan(running, {"seconds": 90, "name": "Kept", "cash": "70"}, name="kept")
    watched = open_console(browser, running)
    page = watched.page
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "kept.json")
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert (kept["name"], kept["rounds"][0]["cash"]) == ("kept", "70.00")
    plan(running, {"seconds": 60}, name="other")
    page.reload()
    expect(page.get_by_label("Name of the session")).to_have_value("other")
    page.get_by_label("Open a plan").set_input_files(tmp_path / "kept.json")
    expect(page.get_by_label("Name of the session")).to_have_value("kept")
    page.get_by_role("button", name="Save plan").click()
    eventually(lambda: get(running, "/session")["name"] == "kept", 30, "the plan")
    season = tmp_path / "season.toml"
    season.write_text('name = "autumn"\nlength = "2m"\nrounds = 3\n[[security]]\nsymbol = "AAPL"\nprice = "10"\n')
    page.get_by_label("Open a plan").set_input_files(season)
    expect(page.get_by_label("Name of the session")).to_have_value("autumn")
    expect(page.locator("details.round")).to_have_count(3)
    assert watched.errors == []
    page.context.close()


def test_news_a_tender_a_payout_and_a_halt_happen_at_a_click(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 600, "shares": {"AAPL": "10"}, "cash": "100"})
    running.http.post(f"{running.gateway}/admin/session/start").raise_for_status()
    watched = open_console(browser, running)
    page = watched.page
    now = card(page, "now")
    now.get_by_label("Headline").fill("A strike begins")
    now.get_by_role("button", name="Publish").click()
    expect(page.locator(".ticker")).to_contain_text("A strike begins")
    now.get_by_role("button", name="Tender").click()
    now.get_by_label("Security").select_option("AAPL")
    now.get_by_label("Side").select_option("They sell")
    now.get_by_label("Quantity").fill("5")
    now.get_by_label("Price", exact=True).fill("12.00")
    now.get_by_label(re.compile("^For")).select_option("One person")
    now.get_by_label("Name of the role or of the person").fill("ann")
    now.get_by_role("button", name="Offer").click()
    eventually(lambda: get(running, "/tenders"), 30, "the tender")
    assert get(running, "/tenders")[0]["private"]
    now.get_by_role("button", name="Payout").click()
    now.get_by_label("Security").select_option("AAPL")
    now.get_by_label("Cash for a share").fill("0.50")
    now.get_by_role("button", name="Pay", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Pay", exact=True).click()
    token = {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text().strip()}"}
    balance = f"{running.gateway}/balance/ben"
    eventually(lambda: running.http.get(balance, headers=token).json()["cash"] == "105.00", 30, "the payout")
    page.get_by_role("button", name="Halt AAPL").click()
    expect(page.locator(".markets-card tr", has_text="AAPL")).to_contain_text("halted")
    page.get_by_role("button", name="Resume AAPL").click()
    expect(page.locator(".markets-card tr", has_text="AAPL")).to_contain_text("open")
    assert watched.errors == []
    page.context.close()


def test_a_role_with_values_is_assigned_and_listed(browser: Browser, running: Running) -> None:
    plan(running, {"seconds": 60})
    watched = open_console(browser, running)
    roles = card(watched.page, "roles")
    roles.get_by_label("Person").fill("ben")
    roles.get_by_label("Role (empty takes it away)").fill("buyer")
    roles.get_by_label("Values in").select_option("AAPL")
    roles.get_by_label("Value of each unit").fill("12, 9.50")
    roles.get_by_role("button", name="Assign").click()
    expect(roles.locator("tbody tr")).to_contain_text("AAPL: 12.00, 9.50")
    assert watched.errors == []
    watched.page.context.close()


@pytest.mark.parametrize("size", ["phone", "desk", "wall"])
def test_the_console_has_no_serious_fault_of_accessibility(browser: Browser, running: Running, size: str) -> None:
    plan(running, {"seconds": 60, "events": [{"type": "news", "at_seconds": 1, "headline": "x"}]})
    watched = open_console(browser, running, size)
    watched.page.locator("details.round summary").first.click()
    found = Axe().run(watched.page).response["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    assert [(fault["id"], [node["target"] for node in fault["nodes"]][:5]) for fault in serious] == []
    width = watched.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], "the page scrolls sideways"
    watched.picture(f"console-{size}", whole=True)
    watched.page.context.close()
