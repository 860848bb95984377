"""The dashboard in a real browser on a running exchange: every view, orders, a moving market, and a lost connection.

`MX_SCREENSHOTS` is a folder for screenshots.
"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.integration.running import Running, eventually

pytestmark = pytest.mark.slow
VIEWS = ("market", "trade", "competition", "operations", "wall")
SIZES = {"phone": (360, 800), "desk": (1440, 900), "wall": (2560, 1440)}


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


def open_page(browser: Browser, size: str = "desk", scheme: str = "light") -> CheckedPage:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    context.set_default_timeout(TIMEOUT_MS)
    return CheckedPage(context.new_page())


def choose_security(page: Page, text: str, symbol: str) -> None:
    """Search for a security and choose it."""
    page.get_by_label("Search securities").fill(text)
    page.get_by_role("button", name=symbol).click()


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
    expect(page.get_by_role("button", name="AAPL")).to_contain_text("halted")
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
    expect(ticket.locator(".cost")).to_contain_text("1\u202f503.00")
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
    holding = page.get_by_role("region", name="Holdings").locator("tbody tr", has_text="MSFT")
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


def test_on_a_phone_an_open_order_can_be_cancelled_and_numbers_have_one_format(browser: Browser, running: Running) -> None:
    watched = open_page(browser, "phone")
    page = watched.page
    page.goto(f"{running.gateway}/#trade")
    page.get_by_label("Name").fill("phoner")
    page.get_by_role("button", name="Open account").click()
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    page.get_by_label("Security").fill("MSFT")
    page.get_by_label("Security").press("Tab")
    ticket = page.locator("form.ticket")
    ticket.get_by_label("Quantity").first.fill("12")
    ticket.get_by_label("Price", exact=True).first.fill("310.55")
    ticket.get_by_role("button", name="Buy 12 MSFT").click()
    orders = page.get_by_role("region", name="Open orders")
    button = orders.get_by_role("button", name="Cancel")
    expect(button).to_be_visible()
    box, frame = button.bounding_box(), orders.bounding_box()
    assert box is not None
    assert frame is not None
    assert box["x"] + box["width"] <= frame["x"] + frame["width"], "the button is beyond the edge of its table"
    ticks = page.locator(".plot .yaxislayer-above text, .plot .ytick text")
    expect(ticks.first).to_be_visible()
    texts = ticks.all_text_contents()
    assert texts
    assert all("," not in text and "." in text for text in texts), texts
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
    expect(page.get_by_role("button", name="MSFT")).to_be_visible()
    page.context.close()


def test_house_bots_are_hidden_by_default_and_securities_without_them_are_quiet(browser: Browser, running: Running) -> None:
    token = {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text()}"}
    settings = {"cash": "100000", "house": True}
    bot = running.http.put(f"{running.gateway}/admin/clients/housebot", json=settings, headers=token).json()["api_key"]
    running.order({"Authorization": f"Bearer {bot}"}, symbol="NVDA", side="buy", quantity=1, price="1.00")
    watched = open_page(browser)
    page = watched.page
    for view in ("wall", "competition"):
        page.goto(f"{running.gateway}/#{view}")
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
    rows = page.get_by_label("Securities").get_by_role("button")
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
        expect(page.locator(".figure .value").nth(1)).to_have_text("9\u202f800.00")
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
