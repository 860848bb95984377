"""A whole lesson in browsers: a teacher and five pupils, two rounds, news, a tender, a removal, and a killed gateway.

The teacher uses the console alone. An independent ledger of the start terms, the fills of each pupil and the tender has the
same grades, to the cent.
"""

import csv
import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.test_dashboard import CheckedPage, browser, open_page
from tests.integration.running import Running, eventually

pytestmark = pytest.mark.slow
__all__ = ["browser"]
NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve")
PHONES = ("Dan", "Eve")
CASH, SHARES = Decimal(10_000), Decimal(100)
"""The start terms of each pupil in each round. The shares are of AAPL."""
TENDER_QUANTITY, TENDER_PRICE = Decimal(10), Decimal("90.00")
FIRST, SECOND = "First round", "Second round"


@pytest.fixture
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """A classroom without house bots."""
    exchange = Running(None, postgres_url, module_namespace)
    exchange.start("--classroom", "--bots", "0", "--securities", "2")
    yield exchange
    # Playwright runs an event loop in this thread, and the audit needs its own.
    with ThreadPoolExecutor(1) as other:
        assert other.submit(exchange.audit, True).result() == []
    assert exchange.stop() == 0
    exchange.close()


@dataclass
class Pupil:
    """A pupil with a browser of its own."""

    name: str
    watched: CheckedPage
    is_on_phone: bool

    @property
    def page(self) -> Page:
        return self.watched.page

    @property
    def client_id(self) -> str:
        return str(self.page.evaluate("localStorage.getItem('client')"))

    @property
    def headers(self) -> dict[str, str]:
        key = self.page.evaluate("localStorage.getItem('key')")
        return {"Authorization": f"Bearer {key}"}

    def trade(self, side: str, quantity: int, price: str) -> None:
        """Enter a limit order in AAPL with the ticket."""
        if self.is_on_phone:
            self.page.locator(".thumb-bar").get_by_role("button", name=f"{side.capitalize()} AAPL").click()
        ticket = self.page.locator("form.ticket")
        ticket.get_by_role("group", name="Side").get_by_role("button", name=side.capitalize(), exact=True).click()
        ticket.get_by_label("Quantity", exact=True).fill(str(quantity))
        ticket.get_by_label("Price", exact=True).fill(price)
        ticket.get_by_role("button", name=f"{side.capitalize()} {quantity} AAPL").click()
        expect(self.page.locator("#toasts")).to_contain_text(re.compile("Order accepted|Filled|traded"))
        if self.is_on_phone:
            self.page.get_by_role("button", name="Close", exact=True).click()


def join(browser: Browser, running: Running, name: str) -> Pupil:
    """Join with the PIN, as a pupil does."""
    is_on_phone = name in PHONES
    watched = open_page(browser, "phone" if is_on_phone else "desk")
    page = watched.page
    page.goto(running.gateway)
    page.get_by_label("PIN").fill((running.data / "secrets" / "pin").read_text().strip())
    page.get_by_label("Nickname").fill(name)
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    if not is_on_phone:
        page.get_by_label("Security", exact=True).fill("AAPL")
        page.get_by_label("Security", exact=True).press("Tab")
    return Pupil(name, watched, is_on_phone)


def open_teacher(browser: Browser, running: Running) -> CheckedPage:
    """Open the console with the link that the first command has printed."""
    link = re.search(r"http://\S+/#console=\S+", running.output_text())
    assert link is not None
    watched = open_page(browser)
    watched.page.goto(link[0])
    expect(watched.page.locator("details.round")).to_have_count(2)
    return watched


def plan_lesson(page: Page) -> None:
    """Plan two rounds of ten minutes in the forms. The second one has news."""
    page.get_by_label("Name of the session").fill("The lesson")
    for index, name in enumerate((FIRST, SECOND)):
        form = page.locator("details.round").nth(index)
        form.locator("summary").click()
        form.get_by_label("Name", exact=True).fill(name)
        form.get_by_label("Length").fill("10:00")
        form.get_by_label("Cash at the start").fill(str(CASH))
        form.get_by_role("button", name="Add a security").click()
        form.get_by_label("Shares at the start: security").select_option("AAPL")
        form.get_by_label("Shares at the start: amount").fill(str(SHARES))
        form.get_by_label("Practice: does not count").uncheck()
        form.locator("summary").click()
    page.get_by_role("button", name="Save plan").click()
    expect(page.locator(".round-list li")).to_have_count(2)


def act(page: Page, button: str, state: str) -> None:
    """Press a button of the console, and wait for the state of the session."""
    page.get_by_role("button", name=button, exact=True).click()
    if button == "End round":
        page.get_by_role("dialog").get_by_role("button", name=button, exact=True).click()
    expect(page.locator(".control-card .time")).to_contain_text(state)


def get(running: Running, path: str, headers: dict[str, str] | None = None) -> Any:
    return running.http.get(f"{running.gateway}{path}", headers=headers or {}).raise_for_status().json()


def last_price(running: Running) -> Decimal:
    running.until_at_rest()
    found = get(running, "/securities/AAPL")
    return Decimal(found["last_price"] or found["reference_price"])


class Ledger:
    """The cash and the shares of each pupil in one round, from its start terms, its own fills, and the tender."""

    def __init__(self, start_price: Decimal) -> None:
        self.start = CASH + SHARES * start_price
        self.cash: dict[str, Decimal] = {}
        self.shares: dict[str, Decimal] = {}

    def add(self, pupil: Pupil, fills: list[dict[str, str]], tendered: bool = False) -> None:
        cash, shares = CASH, SHARES
        for fill in fills:
            sign = 1 if fill["side"] == "buy" else -1
            quantity, price = Decimal(fill["quantity"]), Decimal(fill["price"])
            cash -= sign * quantity * price + Decimal(fill["fee"])
            shares += sign * quantity
        if tendered:
            cash -= TENDER_QUANTITY * TENDER_PRICE
            shares += TENDER_QUANTITY
        self.cash[pupil.client_id], self.shares[pupil.client_id] = cash, shares

    def profits(self, end_price: Decimal) -> dict[str, Decimal]:
        return {client: self.cash[client] + self.shares[client] * end_price - self.start for client in self.cash}


def fills_of(running: Running, pupil: Pupil, seen: int) -> list[dict[str, str]]:
    """Return the fills of a pupil, oldest first, without the first `seen` of them."""
    found = list(reversed(get(running, "/fills", pupil.headers)["fills"]))
    return found[seen:]


def tender_card(pupil: Pupil) -> Locator:
    return pupil.page.get_by_role("region", name="Offer: buy AAPL")


def test_a_lesson_is_played_to_its_grades(browser: Browser, running: Running) -> None:
    teacher = open_teacher(browser, running)
    console = teacher.page
    wall = open_page(browser, "wall")
    wall.page.goto(f"{running.gateway}/#wall")
    pupils = {name: join(browser, running, name) for name in NAMES}
    ada, ben, cleo, dan, eve = pupils.values()
    expect(console.locator(".room-card")).to_contain_text("5 people are here")
    plan_lesson(console)
    for pupil in pupils.values():
        expect(pupil.page.locator(".round-clock")).to_contain_text("1 of 2")

    first = Ledger(last_price(running))
    act(console, "Start round", "running")
    ada.trade("sell", 20, "101.00")
    dan.trade("buy", 5, "101.00")
    console.get_by_label("Headline").fill("The harvest is bad")
    console.get_by_role("button", name="Publish").click()
    for pupil in pupils.values():
        expect(pupil.page.locator(".ticker")).to_contain_text("The harvest is bad")
    expect(wall.page.locator("body")).to_contain_text("The harvest is bad")
    offer_tender(console, "cleo")
    tender_card(cleo).get_by_role("button", name="Accept").click()
    expect(tender_card(cleo)).to_have_count(0)
    expect(tender_card(ben)).to_have_count(0)

    # The gateway is killed. The pages connect again, and the clock of the round continues.
    running.kill("order_entry_gateway")
    for pupil in pupils.values():
        expect(pupil.page.locator("#connection")).to_have_text("live")
        if not pupil.is_on_phone:
            expect(pupil.page.get_by_text("Connected", exact=True)).to_be_visible()
    ben.trade("buy", 10, "102.00")
    eve.trade("buy", 2, "99.00")

    # Eve leaves the room. Her order is cancelled, and her key ends.
    console.get_by_role("button", name="Remove Eve").click()
    console.get_by_role("dialog").get_by_role("button", name="Remove Eve").click()
    expect(console.locator(".people .removed")).to_contain_text("Eve")
    left = {pupil.name: pupil for pupil in pupils.values() if pupil is not eve}
    cleo.trade("sell", 7, "99.50")
    ben.trade("buy", 3, "99.50")
    act(console, "End round", "ended")
    seen = {}
    for pupil in left.values():
        fills = fills_of(running, pupil, 0)
        seen[pupil.name] = len(fills)
        first.add(pupil, fills, tendered=pupil is cleo)
    price_between = last_price(running)

    act(console, "Next round", "lobby")
    second = Ledger(price_between)
    act(console, "Start round", "running")
    ben.trade("sell", 12, "95.00")
    ada.trade("buy", 12, "96.00")
    dan.trade("sell", 1, "94.00")
    cleo.trade("buy", 1, "94.00")
    act(console, "Pause", "paused")
    expect(ada.page.locator("form.ticket .problem")).to_contain_text("paused")
    act(console, "Resume", "running")
    act(console, "End round", "ended")
    for pupil in left.values():
        second.add(pupil, fills_of(running, pupil, seen[pupil.name]))
    wall.picture("lesson-podium")

    check_grades(running, left, [first.profits(price_between), second.profits(last_price(running))])
    for watched in (teacher, wall, *(pupil.watched for pupil in left.values())):
        assert [error for error in watched.errors if not is_of_the_outage(error)] == []
        watched.page.context.close()


def is_of_the_outage(error: str) -> bool:
    """Return whether the browser has reported that the gateway did not answer while it was killed."""
    return any(
        text in error for text in ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "WebSocket")
    )


def offer_tender(console: Page, client_id: str) -> None:
    """Offer one pupil to buy from the exchange."""
    now = console.locator(".now-card")
    now.get_by_role("button", name="Tender").click()
    now.get_by_label("Security").select_option("AAPL")
    now.get_by_label("Quantity").fill(str(TENDER_QUANTITY))
    now.get_by_label("Price", exact=True).fill(str(TENDER_PRICE))
    now.get_by_label("Open for").fill("5:00")
    now.get_by_label(re.compile("^For")).select_option("One person")
    now.get_by_label("Name of the role or of the person").fill(client_id)
    now.get_by_role("button", name="Offer").click()


def check_grades(running: Running, pupils: dict[str, Pupil], expected: list[dict[str, Decimal]]) -> None:
    """Compare the results of both rounds and the grades with the ledgers, to the cent."""
    for number, profits in enumerate(expected, 1):
        eventually(
            lambda n=number: running.http.get(f"{running.gateway}/rounds/{n}/scores").status_code == 200, 30, "scores"
        )
        found = {row["client_id"]: Decimal(row["profit"]) for row in get(running, f"/rounds/{number}/scores")}
        assert {client: found[client].quantize(Decimal("0.01")) for client in profits} == {
            client: profit.quantize(Decimal("0.01")) for client, profit in profits.items()
        }
        assert any(profits.values()), "the round moved no money"
    text = running.http.get(f"{running.gateway}/grades.csv").raise_for_status().text
    rows = {row["client_id"]: row for row in csv.DictReader(io.StringIO(text))}
    totals = {pupil.client_id: sum(profits[pupil.client_id] for profits in expected) for pupil in pupils.values()}
    for client, total in totals.items():
        assert Decimal(rows[client]["profit"]).quantize(Decimal("0.01")) == total.quantize(Decimal("0.01"))
    best = max(totals, key=lambda client: totals[client])
    assert rows[best]["rank"] == "1"
