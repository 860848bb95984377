"""The dashboard in a real browser on a running exchange: every view, orders, a moving market, and a lost connection.

`MX_SCREENSHOTS` is a folder for screenshots.
"""

import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.integration.running import Running, eventually

pytestmark = pytest.mark.slow
VIEWS = ("market", "trade", "competition", "operations", "administration", "wall")
SIZES = {"phone": (360, 800), "desk": (1280, 800), "wall": (3840, 2160)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found is None:
        reason = "no Chromium is installed (Debian and Ubuntu: apt install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """An exchange without house bots, so that only the tests move the market."""
    exchange = Running(None, postgres_url, module_namespace)
    exchange.start("--bots", "0")
    maker, taker = exchange.open_account("maker"), exchange.open_account("taker")
    for number in range(30):
        price = 190 + number % 7 - number % 3
        exchange.order(maker, symbol="AAPL", side="sell", quantity=1, price=f"{price}.00")
        exchange.order(taker, symbol="AAPL", side="buy", quantity=1, price=f"{price}.00")
    for step in range(1, 9):
        exchange.order(maker, symbol="AAPL", side="sell", quantity=step, price=f"{200 + step / 4:.2f}")
        exchange.order(taker, symbol="AAPL", side="buy", quantity=step, price=f"{189 - step / 4:.2f}")
    exchange.maker = maker  # type: ignore[attr-defined]
    yield exchange
    # Playwright runs an event loop in this thread, and the audit needs its own.
    with ThreadPoolExecutor(1) as other:
        assert other.submit(exchange.audit).result() == []
    assert exchange.stop() == 0
    exchange.close()


class CheckedPage:
    """A page with its console errors and its requests to other addresses."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self.errors.append(line.text) if line.type in ("error", "warning") else None)
        page.on("request", lambda request: self.check_address(request.url))
        page.on("websocket", lambda ws: self.check_address(ws.url))

    def check_address(self, url: str) -> None:
        # The page may send requests only to the address that it was loaded from.
        own = self.page.url.split("/")[2] if "//" in self.page.url else url.split("/")[2]
        if not url.startswith((f"http://{own}/", f"ws://{own}/", "data:", "blob:")):
            self.errors.append(f"request to another address: {url}")

    def picture(self, name: str, whole: bool = False) -> None:
        if folder := os.environ.get("MX_SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=whole)


TIMEOUT_MS = 30_000
"""The timeout of the browser in milliseconds. Without a graphics card, it shares two processors with the exchange."""
expect.set_options(timeout=TIMEOUT_MS)


def open_page(browser: Browser, size: str = "desk", scheme: str = "light", confirms: bool = False) -> CheckedPage:
    """Open a page that shows American numbers. Unless `confirms`, it asks nothing before an order."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
        locale="en-US",
    )
    if not confirms:
        context.add_init_script("localStorage.setItem('confirm', localStorage.getItem('confirm') ?? 'off')")
    context.set_default_timeout(TIMEOUT_MS)
    return CheckedPage(context.new_page())


def choose_security(page: Page, text: str, symbol: str) -> None:
    """Search for a security and choose it."""
    page.get_by_label("Search securities").fill(text)
    row_of(page, symbol).click()


def row_of(page: Page, symbol: str) -> Locator:
    """Return the row of a security in the list."""
    return page.locator(f'.pick:has(strong:text-is("{symbol}"))')


def log_in(page: Page, running: Running, name: str, security: str = "") -> Locator:
    """Open an account in the page, choose a security, and return the form of the ticket."""
    page.goto(f"{running.gateway}/#trade")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Open account").click()
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    if security:
        page.get_by_label("Security").fill(security)
        page.get_by_label("Security").press("Tab")
    return page.locator("form.ticket")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_every_view_loads_without_console_errors_and_fits_the_screen(
    browser: Browser, running: Running, size: str, scheme: str
) -> None:
    watched = open_page(browser, size, scheme)
    page = watched.page
    for view in VIEWS:
        page.goto(f"{running.gateway}/#{view}")
        expect(page.locator("main > *").first).to_be_visible()
        if view != "wall":
            expect(page.locator("#connection")).to_have_text("live")
        if view in ("market", "competition", "operations", "wall"):
            expect(page.locator(".plot svg.main-svg").first).to_be_visible()
        page.wait_for_timeout(800)
        too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{view} is {too_wide} pixels wider than the screen"
        watched.picture(f"{view}-{size}-{scheme}", whole=size == "phone")
    assert watched.errors == []
    page.context.close()


def test_the_market_view_shows_the_current_state_and_follows_changes(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#market")
    choose_security(page, "apple", "AAPL")
    asks, bids = page.locator(".asks .level"), page.locator(".bids .level")
    expect(asks.last).to_contain_text("200.25")
    expect(bids.first).to_contain_text("188.75")
    expect(page.locator(".tape tbody tr")).to_have_count(30)
    expect(page.locator(".ladder .middle")).to_contain_text("spread 11.50")
    expect(page.locator(".quote .pill")).to_have_text("open")
    # The ladder follows each change of the market.
    maker = running.maker  # type: ignore[attr-defined]
    for step in range(20):
        order = running.order(maker, symbol="AAPL", side="sell", quantity=3, price=f"{199 - step / 4:.2f}").json()
        expect(asks.last).to_contain_text(f"{199 - step / 4:.2f}")
        running.http.delete(f"{running.gateway}/orders/{order['order_id']}", headers=maker)
    expect(asks.last).to_contain_text("200.25")
    taker = running.open_account("mover")
    running.order(taker, symbol="AAPL", side="buy", quantity=1, price="200.25")
    expect(page.locator(".quote .last")).to_have_text("200.25")
    expect(page.locator(".tape tbody tr").first).to_contain_text("200.25")
    token = {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text()}"}
    state = f"{running.gateway}/admin/securities/AAPL/state"
    running.http.put(state, json={"state": "halted"}, headers=token)
    expect(page.locator(".quote .pill").first).to_have_text("halted")
    expect(page.locator(".notice")).to_contain_text("Trading is halted")
    expect(page.locator(".ladder .middle")).to_contain_text("halted")
    expect(row_of(page, "AAPL")).to_contain_text("halted")
    running.http.put(state, json={"state": "continuous"}, headers=token)
    expect(page.locator(".quote .pill").first).to_have_text("open")
    expect(page.locator(".notice")).to_be_hidden()
    assert watched.errors == []
    page.context.close()


def test_an_auction_shows_its_indicative_price_and_no_spread(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    token = {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text()}"}
    state = f"{running.gateway}/admin/securities/NVDA/state"
    maker, taker = running.maker, running.open_account("bidder")  # type: ignore[attr-defined]
    running.http.put(state, json={"state": "opening_auction"}, headers=token)
    orders = [running.order(taker, symbol="NVDA", side="buy", quantity=5, price="95.00").json()]
    orders.append(running.order(maker, symbol="NVDA", side="sell", quantity=4, price="90.00").json())
    eventually(lambda: running.http.get(f"{running.feed}/bbo/NVDA").json()["ask"] == "90.00")
    assert running.http.get(f"{running.feed}/bbo/NVDA").json()["spread"] is None
    page.goto(f"{running.gateway}/#market")
    choose_security(page, "nvda", "NVDA")
    expect(page.locator(".ladder .middle")).to_contain_text("indicative price")
    expect(page.locator(".facts")).to_contain_text("Spread–")
    expect(page.locator(".notice")).to_contain_text("An auction collects orders")
    page.goto(f"{running.gateway}/#trade")
    page.get_by_label("Name").fill("watcher")
    page.get_by_role("button", name="Open account").click()
    pill = page.locator(".card header .pill", has_text="NVDA")
    expect(pill).to_have_text("NVDA: opening auction")
    note = page.locator("form.ticket").get_by_role("note")
    expect(note).to_contain_text("at one price")
    for account, order in zip((taker, maker), orders, strict=True):
        running.http.delete(f"{running.gateway}/orders/{order['order_id']}", headers=account)
    running.http.put(state, json={"state": "continuous"}, headers=token)
    expect(pill).to_have_text("NVDA: open")
    expect(note).to_contain_text("resting order's price")
    # The equity curve of the new account begins with its endowment.
    points = running.http.get(f"{running.feed}/leaderboard/equity").json()
    assert all(float(point["equity"]) > 0 for curve in points for point in curve["points"])
    assert watched.errors == []
    page.context.close()


def test_an_order_is_entered_amended_filled_and_cancelled_by_clicks(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#trade")
    page.get_by_label("Name").fill("clicker")
    page.get_by_role("button", name="Open account").click()
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    expect(page.locator(".figure .value").nth(1)).to_contain_text("000.00")
    page.get_by_label("Security").fill("MSFT")
    page.get_by_label("Security").press("Tab")
    ticket = page.locator("form.ticket")
    ticket.get_by_label("Quantity").first.fill("5")
    ticket.get_by_label("Price", exact=True).first.fill("300.00")
    expect(ticket.locator(".cost")).to_contain_text("$1,503.00")
    for order_type, fields in {
        "market": [],
        "stop_market": ["Trigger price"],
        "stop_limit": ["Price", "Trigger price"],
    }.items():
        ticket.get_by_label("Type").select_option(order_type)
        for name in ("Price", "Trigger price"):
            assert ticket.get_by_label(name, exact=True).first.is_visible() == (name in fields), (order_type, name)
    ticket.get_by_label("Type").select_option("limit")
    ticket.get_by_role("button", name="Buy 5 MSFT").click()
    row = page.get_by_role("region", name="Open orders").locator("tbody tr")
    expect(row).to_contain_text("300.00")
    # The amendment reduces the quantity.
    row.get_by_role("button", name="Amend").click()
    page.get_by_label("Total quantity").fill("4")
    page.get_by_role("button", name="Save").click()
    expect(row.locator("td").nth(5)).to_have_text("4")
    # Another client sells to the order.
    running.order(running.maker, symbol="MSFT", side="sell", quantity=1, price="300.00")  # type: ignore[attr-defined]
    fills = page.get_by_role("region", name="Fills").locator("tbody tr")
    expect(fills).to_contain_text("300.00")
    expect(row.locator("td").nth(6)).to_have_text("1")
    holding = page.get_by_role("region", name="Positions").locator("tbody tr", has_text="MSFT")
    expect(holding).to_contain_text("101")
    watched.picture("trade-desk-account")
    row.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("No open orders.")).to_be_visible()
    # The page warns of an order that the account cannot pay, and the exchange refuses it.
    ticket.get_by_label("Quantity").first.fill("5000")
    expect(ticket.locator(".cost .warning")).to_be_visible()
    ticket.get_by_role("button", name="Buy 5000 MSFT").click()
    expect(page.locator(".toast.bad")).to_be_visible()
    assert watched.errors == []
    # The key stays in the browser until the user clicks Leave.
    page.reload()
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Open account")).to_be_visible()
    page.context.close()


def test_a_client_that_logs_in_after_another_one_sees_its_own_balance(browser: Browser, running: Running) -> None:
    page = open_page(browser).page
    log_in(page, running, "first-user")
    cash = page.locator(".figure .value").nth(1)
    expect(cash).to_contain_text("$")
    admin = {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text()}"}
    deposits = f"{running.gateway}/admin/clients/second-user/deposits"
    second = running.open_account("second-user")["Authorization"].removeprefix("Bearer ")
    assert running.http.post(deposits, json={"cash": "123.45"}, headers=admin).status_code == 201
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("API key").fill(second)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="second-user")).to_be_visible()
    expect(cash).to_contain_text("123.45")
    page.context.close()


def test_on_a_phone_an_open_order_can_be_cancelled_and_numbers_have_one_format(browser: Browser, running: Running) -> None:
    watched = open_page(browser, "phone")
    page = watched.page
    page.goto(f"{running.gateway}/#trade")
    page.get_by_label("Name").fill("phoner")
    page.get_by_role("button", name="Open account").click()
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    page.evaluate("localStorage.setItem('symbol', 'MSFT')")
    page.reload()
    ticket = page.locator("form.ticket")
    expect(ticket).to_be_hidden()
    page.get_by_role("button", name="Buy MSFT").click()
    ticket.get_by_label("Quantity").first.fill("12")
    ticket.get_by_label("Price", exact=True).first.fill("310.55")
    ticket.get_by_role("button", name="Buy 12 MSFT").click()
    page.get_by_role("button", name="Close", exact=True).click()
    orders = page.get_by_role("region", name="Open orders")
    button = orders.get_by_role("button", name="Cancel")
    expect(button).to_be_visible()
    box, frame = button.bounding_box(), orders.bounding_box()
    assert box is not None
    assert frame is not None
    assert box["x"] + box["width"] <= frame["x"] + frame["width"], "the button is beyond the edge of its table"
    ticks = page.get_by_label("Equity over time").locator(".yaxislayer-above text, .ytick text")
    expect(ticks.first).to_be_visible()
    texts = ticks.all_text_contents()
    assert texts
    assert all(re.fullmatch(r"\d{1,3}(,\d{3})*\.\d\d", text) for text in texts), texts
    watched.picture("trade-phone-account", whole=True)
    button.click()
    expect(page.get_by_text("No open orders.")).to_be_visible()
    assert watched.errors == []
    page.context.close()


def test_the_dashboard_is_live_at_the_gateways_address(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#competition")
    expect(page).to_have_url(f"{running.gateway}/#competition")
    expect(page.locator("#connection")).to_have_text("live")
    page.context.close()


def test_the_page_shows_a_lost_connection_and_reconnects(browser: Browser, running: Running) -> None:
    page = open_page(browser).page
    page.goto(f"{running.gateway}/#market")
    pill = page.locator("#connection")
    expect(pill).to_have_text("live")
    choose_security(page, "aapl", "AAPL")
    running.kill("market_data_feed")
    expect(pill).to_have_text("connecting")
    eventually(lambda: running.http.get(f"{running.feed}/health/ready").status_code == 200)
    expect(pill).to_have_text("live")
    running.order(running.maker, symbol="AAPL", side="sell", quantity=1, price="195.00")  # type: ignore[attr-defined]
    expect(page.locator(".asks .level").last).to_contain_text("195.00")
    page.context.close()


def test_a_busy_market_is_drawn_less_often_than_it_changes(browser: Browser, running: Running) -> None:
    page = open_page(browser).page
    page.goto(f"{running.gateway}/#market")
    choose_security(page, "tsla", "TSLA")
    page.evaluate(
        "() => { window.drawn = 0; new MutationObserver(() => { window.drawn += 1; })"
        ".observe(document.querySelector('.asks'), { subtree: true, characterData: true, childList: true }); }"
    )
    maker = running.maker  # type: ignore[attr-defined]
    before = running.http.get(f"{running.feed}/book/TSLA").json()["sequence"]
    orders = [{"symbol": "TSLA", "side": "sell", "quantity": 1, "price": f"{300 + n / 10:.2f}"} for n in range(90)]
    for _ in range(4):
        assert running.http.post(f"{running.gateway}/orders/batch", json=orders, headers=maker).status_code == 200
        running.http.delete(f"{running.gateway}/orders?symbol=TSLA", headers=maker)
    running.order(maker, symbol="TSLA", side="sell", quantity=1, price="321.00")
    expect(page.locator(".asks .level").last).to_contain_text("321.00")
    changes = running.http.get(f"{running.feed}/book/TSLA").json()["sequence"] - before
    assert changes > 700
    assert 0 < page.evaluate("window.drawn") < changes / 2
    search = page.get_by_label("Search securities")
    search.fill("")
    search.press_sequentially("micro")
    expect(row_of(page, "MSFT")).to_be_visible()
    page.context.close()


def test_house_bots_are_hidden_by_default_and_securities_without_them_are_quiet(browser: Browser, running: Running) -> None:
    token = {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text()}"}
    settings = {"cash": "100000", "house": True}
    bot = running.http.put(f"{running.gateway}/admin/clients/housebot", json=settings, headers=token).json()["api_key"]
    running.order({"Authorization": f"Bearer {bot}"}, symbol="NVDA", side="buy", quantity=1, price="1.00")
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#wall")
    expect(page.get_by_role("list", name="Leaderboard")).to_contain_text("maker")
    expect(page.get_by_role("list", name="Leaderboard")).not_to_contain_text("housebot")
    expect(page.get_by_role("list", name="House bots")).to_contain_text("housebot")
    page.goto(f"{running.gateway}/#competition")
    board = page.get_by_role("region", name="Leaderboard").locator("tbody")
    expect(board).to_contain_text("maker")
    expect(board).not_to_contain_text("housebot")
    page.get_by_label("House bots").check()
    expect(board.locator("tr", has_text="housebot")).to_contain_text("house")
    page.reload()
    expect(board).to_contain_text("housebot")
    watched.picture("competition-with-house")
    page.get_by_label("House bots").uncheck()
    expect(board).not_to_contain_text("housebot")

    page.goto(f"{running.gateway}/#market")
    rows = page.locator(".pick")
    expect(rows.first).to_contain_text("NVDA")
    expect(rows.first).not_to_contain_text("quiet")
    expect(rows.nth(1)).to_contain_text("quiet")
    watched.picture("market-with-quiet")
    assert watched.errors == []
    page.context.close()


def test_in_a_classroom_a_name_is_enough_to_trade(browser: Browser, postgres_url: str, module_namespace: str) -> None:
    classroom = Running(None, postgres_url, f"{module_namespace}_c")
    try:
        classroom.start("--classroom", "--bots", "0")
        watched = open_page(browser)
        page = watched.page
        page.goto(f"{classroom.gateway}/#trade")
        page.get_by_label("Name").fill("ada")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("Connected", exact=True)).to_be_visible()
        ticket = page.locator("form.ticket")
        ticket.get_by_label("Quantity").first.fill("100000")
        ticket.get_by_label("Price", exact=True).first.fill("200.00")
        expect(ticket.get_by_role("note")).to_have_text("You pay the resting order's price: your limit or better.")
        ticket.get_by_role("button", name="Buy 100000").click()
        expect(page.get_by_role("region", name="Open orders").locator("tbody tr")).to_contain_text("200.00")
        symbol = page.get_by_label("Security").input_value()
        classroom.order({"Client-ID": "bob"}, symbol=symbol, side="sell", quantity=1, price="190.00")
        expect(page.get_by_role("region", name="Fills").locator("tbody tr")).to_contain_text("200.00")
        # The balance is 10,000 less 200, without a fee.
        expect(page.locator(".figure .value").nth(1)).to_have_text("$9,800.00")
        # A browser on the same machine acts as the admin without a token.
        page.get_by_role("link", name="Administration").click()
        card = page.locator("section.card", has=page.get_by_role("heading", name="Trading state"))
        card.get_by_role("button", name="Halt").click()
        expect(card.locator(".pill")).to_have_text("halted")
        assert watched.errors == []
        page.context.close()
    finally:
        classroom.close()


def test_the_ticket_shows_at_which_price_an_order_trades(browser: Browser, running: Running) -> None:
    """The text depends on the pricing rule of the security, the side, and the order type."""
    headers = {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text()}"}
    for symbol, rule in (("RULE1", "spread_capture"), ("RULE2", "midpoint")):
        listing = {"symbol": symbol, "name": symbol, "pricing_rule": rule}
        assert running.http.post(f"{running.gateway}/admin/securities", json=listing, headers=headers).status_code == 201
        eventually(lambda symbol=symbol: running.http.get(f"{running.feed}/book/{symbol}").status_code == 200)
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#trade")
    page.get_by_label("Name").fill("pricing")
    page.get_by_role("button", name="Open account").click()
    ticket = page.locator("form.ticket")
    note, security = ticket.get_by_role("note"), ticket.get_by_label("Security")
    for symbol, text in (("AAPL", "resting order's price"), ("RULE1", "at your limit"), ("RULE2", "the middle of")):
        security.fill(symbol)
        security.press("Tab")
        expect(note).to_contain_text(text)
    ticket.get_by_role("button", name="Sell", exact=True).click()
    expect(note).to_contain_text("You get the middle of")
    ticket.get_by_label("Type").select_option("market")
    expect(note).to_contain_text("the prices of the resting orders")
    assert watched.errors == []
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_a_serious_fault_of_accessibility(browser: Browser, running: Running, scheme: str) -> None:
    """Axe checks contrast, names, roles and the order of headings, against WCAG 2.2 AA."""
    watched = open_page(browser, scheme=scheme)
    page = watched.page
    faults = []

    def check(view: str) -> None:
        page.wait_for_timeout(1500)
        for found in Axe().run(page).response["violations"]:
            if found["impact"] in ("serious", "critical"):
                faults.append((view, found["id"], [node["target"] for node in found["nodes"]][:5]))

    for view in VIEWS:
        page.goto(f"{running.gateway}/#{view}")
        expect(page.locator("main > *").first).to_be_attached()
        check(view)
    log_in(page, running, f"axe-{scheme}", "AAPL")
    page.get_by_text("More options").click()
    check("trade as a client")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    check("shortcuts")
    assert faults == []
    page.context.close()


def test_a_price_of_the_book_fills_the_ticket(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    ticket = log_in(page, running, "picky", "AAPL")
    page.get_by_role("button", name="Ask 200.50").click()
    expect(ticket.get_by_label("Price", exact=True)).to_have_value("200.50")
    expect(ticket.get_by_role("button", name="Buy AAPL")).to_be_visible()
    page.get_by_role("button", name="Bid 188.50").click()
    expect(ticket.get_by_label("Price", exact=True)).to_have_value("188.50")
    expect(ticket.get_by_role("button", name="Sell AAPL")).to_be_visible()
    assert watched.errors == []
    page.context.close()


def test_the_book_groups_prices_and_adds_quantities_up(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#market")
    for price in ("200.25", "200.50", "202.00"):
        running.order(running.maker, symbol="COST", side="sell", quantity=3, price=price)  # type: ignore[attr-defined]
    choose_security(page, "COST", "COST")
    rows = page.locator(".asks .level")
    expect(rows.nth(8).locator("span").nth(2)).to_have_text("6")
    page.get_by_label("Group prices").select_option("100")
    # Asks are rounded up, so that a grouped price is never better than its orders.
    expect(rows.last.locator(".price")).to_have_text("201.00")
    page.reload()
    expect(page.get_by_label("Group prices")).to_have_value("100")
    assert watched.errors == []
    page.context.close()


def test_steppers_and_parts_fill_in_the_quantity(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    ticket = log_in(page, running, "stepper", "AAPL")
    quantity = ticket.get_by_label("Quantity", exact=True)
    ticket.get_by_role("button", name="Increase: quantity").click()
    quantity.press("ArrowUp")
    expect(quantity).to_have_value("2")
    ticket.get_by_role("button", name="Sell", exact=True).click()
    for part, expected in (("25 %", "25"), ("50 %", "50"), ("100 %", "100")):
        ticket.get_by_role("button", name=part, exact=True).click()
        expect(quantity).to_have_value(expected)
    # The part of a purchase is of the cash, less the maximum fee of 20 basis points.
    ticket.get_by_role("button", name="Buy", exact=True).click()
    ticket.get_by_label("Price", exact=True).fill("100.00")
    ticket.get_by_role("button", name="100 %", exact=True).click()
    warning = ticket.locator(".cost .warning", has_text="Your cash is")
    expect(warning).to_have_count(0)
    ticket.get_by_role("button", name="Increase: quantity").click()
    expect(warning).to_be_visible()
    assert watched.errors == []
    page.context.close()


def test_shortcuts_work_outside_of_fields_and_a_question_mark_lists_them(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    ticket = log_in(page, running, "keys", "AAPL")
    ticket.get_by_label("Price", exact=True).press("Escape")
    page.keyboard.press("s")
    expect(ticket.get_by_role("button", name="Sell AAPL")).to_be_visible()
    page.keyboard.press("q")
    page.keyboard.type("7")
    expect(ticket.get_by_label("Quantity", exact=True)).to_have_value("7")
    page.keyboard.press("b")
    expect(ticket.get_by_role("button", name="Sell 7", exact=False)).to_be_visible()  # a letter in a field is text
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Cancel all orders")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert watched.errors == []
    page.context.close()


def test_an_order_is_confirmed_until_the_client_switches_questions_off(browser: Browser, running: Running) -> None:
    watched = open_page(browser, confirms=True)
    page = watched.page
    ticket = log_in(page, running, "careful", "AAPL")
    ticket.get_by_label("Quantity", exact=True).fill("1")
    ticket.get_by_label("Price", exact=True).fill("150.00")
    ticket.get_by_role("button", name="Buy 1 AAPL").click()
    page.get_by_role("dialog").get_by_role("button", name="Back").click()
    expect(page.get_by_text("No open orders.")).to_be_visible()
    ticket.get_by_text("More options").click()
    ticket.get_by_label("Confirm orders").uncheck()
    ticket.get_by_role("button", name="Buy 1 AAPL").click()
    expect(page.get_by_role("region", name="Open orders").locator("tbody tr")).to_contain_text("150.00")
    page.get_by_role("button", name="Cancel all").click()
    expect(page.get_by_text("No open orders.")).to_be_visible()
    assert watched.errors == []
    page.context.close()


def test_positions_show_their_profit_and_are_closed_by_a_click(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    ticket = log_in(page, running, "closer", "INTC")
    maker = running.maker  # type: ignore[attr-defined]
    positions = page.get_by_role("region", name="Positions").locator("tbody tr")
    expect(positions).to_contain_text("No positions from your own trades.")
    running.order(maker, symbol="INTC", side="sell", quantity=10, price="45.00")
    ticket.get_by_label("Quantity", exact=True).fill("10")
    ticket.get_by_label("Price", exact=True).fill("45.00")
    ticket.get_by_role("button", name="Buy 10 INTC").click()
    row = positions.filter(has_text="INTC")
    expect(row.locator("td").nth(1)).to_have_text("110")
    expect(row.locator("td").nth(3)).to_have_text("45.00")
    running.order(maker, symbol="INTC", side="buy", quantity=110, price="46.00")
    row.get_by_role("button", name="Close").click()
    expect(positions).to_contain_text("No positions from your own trades.")
    page.get_by_role("button", name="Show all").click()
    expect(positions.filter(has_text="INTC").locator("td").nth(1)).to_have_text("0")
    expect(positions.filter(has_text="INTC").locator("td").nth(6)).to_contain_text("+$")
    expect(page.get_by_label("Candles and volume").locator(".scatterlayer path.point").first).to_be_visible()
    assert watched.errors == []
    page.context.close()


@pytest.mark.parametrize("way", ["a double click", "a held key"])
def test_a_position_is_closed_by_one_order(browser: Browser, running: Running, way: str) -> None:
    watched = open_page(browser)
    page = watched.page
    sent: list[str] = []
    page.on("websocket", lambda ws: ws.on("framesent", lambda frame: sent.append(str(frame))))
    ticket = log_in(page, running, f"closer-{way[2]}", "QCOM")
    maker = running.maker  # type: ignore[attr-defined]
    running.order(maker, symbol="QCOM", side="sell", quantity=1, price="5.00")
    ticket.get_by_label("Quantity", exact=True).fill("1")
    ticket.get_by_label("Price", exact=True).fill("5.00")
    ticket.get_by_role("button", name="Buy 1 QCOM").click()
    page.get_by_role("button", name="Show all").click()
    quantity = page.get_by_role("region", name="Positions").locator("tbody tr").filter(has_text="QCOM").locator("td").nth(1)
    expect(quantity).to_have_text("101")
    running.order(maker, symbol="QCOM", side="buy", quantity=101, price="4.00")
    if way == "a double click":
        page.get_by_role("button", name="Close the position in QCOM").dblclick()
    else:
        ticket.get_by_role("button", name="Sell", exact=True).focus()
        for _ in range(5):
            page.keyboard.down("f")
        page.keyboard.up("f")
    expect(quantity).to_have_text("0")
    assert sum('"order_type":"market"' in frame for frame in sent) == 1
    assert watched.errors == []
    page.context.close()


def test_a_tick_of_the_market_leaves_the_focus_on_a_button_of_a_position(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    ticket = log_in(page, running, "focused", "CSCO")
    maker, taker = running.maker, running.open_account("ticker")  # type: ignore[attr-defined]
    running.order(maker, symbol="CSCO", side="sell", quantity=20, price="50.00")
    ticket.get_by_label("Quantity", exact=True).fill("1")
    ticket.get_by_label("Price", exact=True).fill("50.00")
    ticket.get_by_role("button", name="Buy 1 CSCO").click()
    close = page.get_by_role("button", name="Close the position in CSCO")
    close.focus()
    running.order(maker, symbol="CSCO", side="sell", quantity=1, price="49.00")
    running.order(taker, symbol="CSCO", side="buy", quantity=1, price="49.00")
    row = page.get_by_role("region", name="Positions").locator("tbody tr").filter(has_text="CSCO")
    expect(row.locator("td").nth(3)).to_have_text("49.00")
    expect(close).to_be_focused()
    assert watched.errors == []
    page.context.close()


def test_a_wrong_text_in_a_hidden_field_does_not_block_the_ticket(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    ticket = log_in(page, running, "hidden", "PEP")
    running.order(running.maker, symbol="PEP", side="sell", quantity=5, price="170.00")  # type: ignore[attr-defined]
    ticket.get_by_label("Price", exact=True).fill("1,000")
    ticket.get_by_label("Type").select_option("market")
    ticket.get_by_label("Quantity", exact=True).fill("5")
    ticket.get_by_role("button", name="Buy 5 PEP").click()
    expect(page.get_by_role("region", name="Fills").locator("tbody tr")).to_contain_text("170.00")
    assert watched.errors == []
    page.context.close()


def test_a_double_click_on_deposit_books_it_once(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    saver = running.open_account("saver")
    page.goto(f"{running.gateway}/#administration")
    page.get_by_label("Admin token").fill((running.data / "secrets" / "admin-token").read_text())
    page.get_by_role("button", name="Continue").click()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/deposits") else None)
    transfer = page.locator("section.card", has=page.get_by_role("heading", name="Deposit or withdrawal"))
    transfer.get_by_label("Client").fill("saver")
    transfer.get_by_label("Cash").fill("250")
    before = running.http.get(f"{running.gateway}/balance/saver", headers=saver).json()["cash"]
    transfer.get_by_role("button", name="Deposit").dblclick()
    expect(page.locator(".toast")).to_contain_text("Deposit to saver: $250.00")
    after = f"{float(before) + 250:.2f}"
    eventually(lambda: running.http.get(f"{running.gateway}/balance/saver", headers=saver).json()["cash"] == after)
    assert len(sent) == 1
    assert watched.errors == []
    page.context.close()


def test_the_chart_keeps_its_interval_and_follows_the_market_again_after_a_pan(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#market")
    choose_security(page, "apple", "AAPL")
    page.get_by_role("button", name="5m", exact=True).click()
    page.reload()
    expect(page.get_by_role("button", name="5m", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".ohlc")).to_contain_text("O ")
    latest = page.get_by_role("button", name="Latest")
    expect(latest).to_be_hidden()
    box = page.locator(".candles .nsewdrag").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y, steps=5)
    page.mouse.up()
    expect(latest).to_be_visible()
    latest.click()
    expect(latest).to_be_hidden()
    assert watched.errors == []
    page.context.close()


def test_favourites_are_first_and_securities_without_trades_are_below_a_button(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#market")
    rows = page.locator(".pick")
    expect(rows.filter(has_text="AAPL")).to_be_visible()
    expect(rows.filter(has_text="XEL")).to_have_count(0)
    page.get_by_label("Search securities").fill("XEL")
    page.get_by_role("button", name="Favourite: Xcel Energy Inc.").click()
    page.get_by_label("Search securities").fill("")
    expect(rows.first).to_contain_text("XEL")
    page.reload()
    expect(rows.first).to_contain_text("XEL")
    page.get_by_role("button", name="more that nobody trades").click()
    assert rows.count() > 50
    assert watched.errors == []
    page.context.close()


def test_a_message_covers_nothing(browser: Browser, running: Running) -> None:
    watched = open_page(browser, "phone")
    page = watched.page
    page.goto(f"{running.gateway}/#administration")
    page.get_by_label("Admin token").fill("no token")
    before = page.locator("main").bounding_box()
    page.get_by_role("button", name="Continue").click()
    message = page.locator(".toast.bad")
    expect(message).to_be_visible()
    box, main = message.bounding_box(), page.locator("main").bounding_box()
    assert box is not None
    assert main is not None
    assert main == before, "the message moves nothing"
    assert box["y"] + box["height"] <= main["y"]
    page.context.close()


def test_the_admin_halts_a_security_and_manages_clients(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    running.open_account("ward")
    page.goto(f"{running.gateway}/#operations")
    expect(page.get_by_role("navigation").get_by_text("Administration")).to_be_hidden()
    page.get_by_role("link", name="Administration").click()
    token = (running.data / "secrets" / "admin-token").read_text().strip()
    page.get_by_label("Admin token").fill(token)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("navigation").get_by_text("Administration")).to_be_visible()
    card = {name: page.locator("section.card", has=page.get_by_role("heading", name=name, exact=True)) for name in
            ("Trading state", "Client", "Deposit or withdrawal", "List a security")}  # fmt: skip
    state = card["Trading state"]
    state.get_by_label("Security").fill("INTC")
    for button, shown in (("Halt", "halted"), ("Opening auction", "opening auction"), ("Open or resume", "open")):
        state.get_by_role("button", name=button, exact=True).click()
        expect(state.locator(".pill")).to_have_text(shown)
    client = card["Client"]
    client.get_by_label("Client").fill("ward")
    for button, shown in (("Suspend", "suspended"), ("Let trade again", "may trade")):
        client.get_by_role("button", name=button).click()
        expect(page.locator(".toast")).to_contain_text("ward")
        client.get_by_role("button", name="Show").click()
        expect(client.get_by_role("status")).to_contain_text(shown)
    transfer = card["Deposit or withdrawal"]
    transfer.get_by_label("Client").fill("ward")
    transfer.get_by_label("Cash").fill("250")
    transfer.get_by_role("button", name="Deposit").click()
    expect(page.locator(".toast")).to_contain_text("Deposit to ward: $250.00")
    listing = card["List a security"]
    listing.get_by_label("Symbol").fill("PAGE1")
    listing.get_by_label("Company").fill("Page One")
    listing.get_by_role("button", name="List").click()
    expect(page.locator(".toast")).to_contain_text("PAGE1 is listed")
    state.get_by_label("Security").fill("PAGE1")
    state.get_by_role("button", name="Delist").click()
    # The switch for questions before orders is off. This question is asked all the same.
    page.get_by_role("dialog").get_by_role("button", name="Delist").click()
    expect(page.locator(".toast")).to_contain_text("PAGE1 is delisted")
    stored = page.evaluate("Object.values(localStorage).join()")
    assert token not in stored, "the token is in the tab alone"
    page.get_by_role("button", name="Remove the token").click()
    expect(page.get_by_label("Admin token")).to_be_visible()
    assert watched.errors == []
    page.context.close()
