"""In a classroom, pages of other origins, foreign host names and bodies that are not JSON are refused."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import Request, Response
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from microexchange.health import Health
from microexchange.page_guard import PageRules
from microexchange.refusals import Code, Refusal
from microexchange.web import json_response, make_app, read_body
from tests.unit.served import served

NAMES = ("localhost", "desk", "desk.local")
ALLOWED = "https://class.example"


def refusal(*origins: str, **headers: str) -> tuple[Code, str | None] | None:
    """Return the code and the field with which the head of a request is refused; None if it is not."""
    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    try:
        PageRules(origins, NAMES).check(encoded)
    except Refusal as refused:
        return refused.code, refused.field
    return None


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "192.168.1.5:8000", "[::1]:8000", "localhost", "LocalHost:8000", "desk.local"]
)
def test_a_request_without_an_origin_to_an_address_or_a_name_of_this_machine_is_served(host: str) -> None:
    assert refusal(host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil@localhost",
        "",
        "[::1",
        "localhost/",
    ],
)
def test_a_host_name_of_somebody_else_is_refused(host: str) -> None:
    assert refusal(host=host) == (Code.FOREIGN_ORIGIN, "Host")


def test_of_two_hosts_both_must_be_allowed() -> None:
    rules = PageRules([], NAMES)
    with pytest.raises(Refusal):
        rules.check([(b"host", b"localhost:8000"), (b"host", b"evil.example"), (b"origin", b"http://evil.example")])


def test_a_page_that_this_address_serves_may_send_requests() -> None:
    for host in ("127.0.0.1:8000", "localhost:8000", "192.168.1.5:8000"):
        assert refusal(host=host, origin=f"http://{host}") is None
        assert refusal(host=host, origin=f"https://{host.upper()}") is None


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://127.0.0.1:8001", "http://localhost:8000", "http://evil.example:8000",
     "file://", "http://127.0.0.1:8000.evil.example", "http://127.0.0.1:80000", "chrome-extension://127.0.0.1:8000"],
)  # fmt: skip
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    assert refusal(host="127.0.0.1:8000", origin=origin) == (Code.FOREIGN_ORIGIN, "Origin")


def test_the_setting_allows_an_origin_and_its_host_and_no_other() -> None:
    assert refusal(ALLOWED, host="127.0.0.1:8000", origin=ALLOWED) is None
    assert refusal(ALLOWED, host="class.example", origin=ALLOWED) is None
    assert refusal(ALLOWED, host="class.example") is None
    assert refusal(ALLOWED, host="127.0.0.1:8000", origin="http://class.example") == (Code.FOREIGN_ORIGIN, "Origin")
    assert refusal(ALLOWED, host="evil.example") == (Code.FOREIGN_ORIGIN, "Host")
    assert refusal("*", host="evil.example", origin="https://evil.example") is None


@pytest.mark.parametrize(
    ("content_type", "is_json"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("text/plain", False),
        ("text/plain;application/json", False),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=x", False),
        ("", False),
        (None, False),
    ],
)
@pytest.mark.parametrize("length", [{"content_length": "7"}, {"transfer_encoding": "chunked"}])
def test_a_body_must_be_json(content_type: str | None, is_json: bool, length: dict[str, str]) -> None:
    headers = {} if content_type is None else {"content_type": content_type}
    expected = None if is_json else (Code.UNSUPPORTED_MEDIA_TYPE, "Content-Type")
    assert refusal(host="localhost", **length, **headers) == expected


def test_a_request_without_a_body_needs_no_content_type() -> None:
    assert refusal(host="localhost", content_length="0") is None


# --- served -------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = make_app("a classroom", "", Health(), dict, [ALLOWED], guards_pages=True)

    @app.post("/buy")
    async def buy(request: Request) -> Response:
        return json_response((await read_body(request)).decode())

    @app.websocket("/")
    async def orders(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    async with served(app) as found:
        yield found


FOREIGN: list[dict[str, str]] = [{"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_every_route_refuses_a_foreign_page(port: int, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as http:
        for answer in (await http.post("/buy", json={}), await http.get("/health/live"), await http.options("/buy")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FOREIGN_ORIGIN")
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_websocket_of_a_foreign_page_is_refused(port: int, headers: dict[str, str]) -> None:
    await (await connect(f"ws://127.0.0.1:{port}/")).close()
    await (await connect(f"ws://127.0.0.1:{port}/", origin=f"http://127.0.0.1:{port}")).close()  # type: ignore[arg-type]
    host, origin = headers.get("Host", "127.0.0.1"), headers.get("Origin")
    with pytest.raises(InvalidStatus) as denied:
        await connect(f"ws://{host}:{port}/", host="127.0.0.1", origin=origin)  # type: ignore[arg-type]
    assert denied.value.response.status_code == 403
    assert b"FOREIGN_ORIGIN" in (denied.value.response.body or b"")


async def test_a_body_in_text_is_refused_with_415_and_its_fix(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        answer = await http.post("/buy", content=b"{}", headers={"Content-Type": "text/plain"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert "Content-Type: application/json" in answer.json()["error"]["message"]
        assert (await http.post("/buy", json={})).status_code == 200


async def test_cors_admits_the_origins_of_the_setting_alone(port: int) -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        for origin, is_allowed in ((ALLOWED, True), (f"http://evil.example:{port}", False), ("http://localhost:1", False)):
            asked = await http.options("/buy", headers={**preflight, "Origin": origin})
            assert (asked.headers.get("access-control-allow-origin") == origin) is is_allowed
            sent = await http.post("/buy", json={}, headers={"Origin": origin})
            assert sent.status_code == (200 if is_allowed else 403)
