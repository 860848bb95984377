"""A class joins a classroom in real browsers: the lobby on the big screen, and phones that join with the PIN."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.test_dashboard import browser, open_page
from tests.integration.running import Running

pytestmark = pytest.mark.slow
__all__ = ["browser"]


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """A classroom without house bots."""
    exchange = Running(None, postgres_url, module_namespace)
    exchange.start("--classroom", "--bots", "0")
    yield exchange
    # Playwright runs an event loop in this thread, and the audit needs its own.
    with ThreadPoolExecutor(1) as other:
        assert other.submit(exchange.audit).result() == []
    assert exchange.stop() == 0
    exchange.close()


def pin(running: Running) -> str:
    return (running.data / "secrets" / "pin").read_text().strip()


def test_a_phone_joins_with_the_link_of_the_qr_code_and_stays_after_a_reload(browser: Browser, running: Running) -> None:
    wall, phone = open_page(browser, "wall"), open_page(browser, "phone")
    wall.page.goto(f"{running.gateway}/#lobby")
    expect(wall.page.locator(".invitation .pin")).to_have_text(f"{pin(running)[:3]} {pin(running)[3:]}")
    expect(wall.page.locator(".code img")).to_be_visible()
    phone.page.goto(f"{running.gateway}/#join={pin(running)}")
    phone.page.get_by_label("Nickname").fill("Zoë")
    phone.page.get_by_role("button", name="Join").click()
    expect(phone.page.get_by_role("button", name="Log out")).to_be_visible()
    expect(wall.page.locator(".people")).to_contain_text("Zoë")
    expect(wall.page.get_by_role("heading", name="1 person is here")).to_be_visible()
    phone.page.reload()
    expect(phone.page.get_by_role("button", name="Log out")).to_be_visible()
    wall.picture("lobby")
    assert (wall.errors, phone.errors) == ([], [])


def test_a_newcomer_without_a_seat_sees_the_form_to_join(browser: Browser, running: Running) -> None:
    phone = open_page(browser, "phone")
    phone.page.goto(running.gateway)
    phone.page.get_by_label("PIN").fill("000000" if pin(running) != "000000" else "000001")
    phone.page.get_by_label("Nickname").fill("Ida")
    phone.page.get_by_role("button", name="Join").click()
    expect(phone.page.get_by_role("alert")).to_contain_text("the PIN is wrong")
    phone.picture("join")


def test_the_teacher_removes_a_pupil_in_the_lobby(browser: Browser, running: Running) -> None:
    wall, phone = open_page(browser), open_page(browser, "phone")
    phone.page.goto(f"{running.gateway}/#join={pin(running)}")
    phone.page.get_by_label("Nickname").fill("Mallory")
    phone.page.get_by_role("button", name="Join").click()
    expect(phone.page.get_by_role("button", name="Log out")).to_be_visible()
    wall.page.goto(f"{running.gateway}/#lobby")
    wall.page.get_by_label("Manage").check()
    wall.page.get_by_role("button", name="Remove Mallory").click()
    wall.page.get_by_role("dialog").get_by_role("button", name="Remove Mallory").click()
    expect(wall.page.locator(".people .removed")).to_contain_text("Mallory")
    refused = running.http.post(f"{running.gateway}/join", json={"pin": pin(running), "nickname": "mallory"})
    assert refused.status_code == 409


def test_the_pin_can_be_typed_with_the_space_that_the_lobby_shows(browser: Browser, running: Running) -> None:
    phone = open_page(browser, "phone")
    phone.page.goto(f"{running.gateway}/#join")
    phone.page.get_by_label("PIN").press_sequentially(f"{pin(running)[:3]} {pin(running)[3:]}")
    phone.page.get_by_label("Nickname").fill("Spacey")
    phone.page.get_by_role("button", name="Join").click()
    expect(phone.page.get_by_role("button", name="Log out")).to_be_visible()
    assert phone.errors == []


def test_the_lobby_sends_the_token_of_the_admin(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    token = (running.data / "secrets" / "admin-token").read_text().strip()
    watched.page.add_init_script(f"sessionStorage.setItem('admin-token', '{token}')")
    sent = {}
    watched.page.on("request", lambda request: sent.update({request.url: request.headers.get("authorization")}))
    watched.page.goto(f"{running.gateway}/#lobby")
    expect(watched.page.locator(".code img")).to_be_visible()
    for path in ("/admin/participants", "/admin/join.svg"):
        assert sent[f"{running.gateway}{path}"] == f"Bearer {token}"
    assert watched.errors == []


def test_a_teacher_renames_a_pupil_and_a_refresh_leaves_the_focus_on_the_button(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    seat = running.http.post(f"{running.gateway}/join", json={"pin": pin(running), "nickname": "Robert"})
    assert seat.status_code == 201
    page.goto(f"{running.gateway}/#lobby")
    page.get_by_label("Manage").check()
    button = page.get_by_role("button", name="Rename Robert")
    button.focus()
    for _ in range(2):
        with page.expect_response("**/lobby"):
            pass
    expect(button).to_be_focused()
    button.click()
    page.get_by_label("New nickname").fill("Bobby")
    page.keyboard.press("Enter")
    expect(page.locator(".people")).to_contain_text("Bobby")
    assert watched.errors == []


def test_curves_and_the_account_have_the_nickname(browser: Browser, running: Running) -> None:
    watched = open_page(browser)
    page = watched.page
    page.goto(f"{running.gateway}/#join={pin(running)}")
    page.get_by_label("Nickname").fill("Chloé <b>B</b>")
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_role("heading", name="Chloé <b>B</b>")).to_be_visible()
    page.goto(f"{running.gateway}/#competition")
    expect(page.locator(".legendtext", has_text="Chloé <b>B</b>")).to_be_visible()
    assert watched.errors == []
