"""With the gateway's address alone, a client can trade, read all market data and open the pages."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from microexchange.forwarding import PREFIX
from tests.integration.running import Running, eventually

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
STATIC = ROOT / "market-data-feed" / "market_data_feed" / "static"
SHARED_ROUTES = ("/health/live", "/health/ready", "/status", "/metrics", "/docs", "/redoc", "/openapi.json")
"""The routes of both services. At the gateway's address, the gateway answers them itself."""
OF_THE_ADMIN_OR_A_SESSION = (
    "/session",
    "/session/plan",
    "/roles",
    "/rounds/1/scores",
    "/rounds/1/market",
    "/rounds/1/replay/AAPL",
    "/grades",
    "/grades.csv",
    "/grades/teams",
    "/grades/teams.csv",
    "/assignments",
)
"""The routes of the feed that refuse a client, or need a session. `test_sessions.py` reads them."""
OF_THE_CONSOLE = ("/console/login", "/session-templates")
"""The routes that the pages of the teacher request. `test_console.py` tests them."""
OF_A_CLASSROOM = ("/join", "/lobby", "/admin/participants", "/admin/participants${path}", "/admin/join.svg")
"""The routes that pages request in a classroom alone. `test_joining.py` tests them."""


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """An exchange in which AAPL has traded."""
    exchange = Running(None, postgres_url, module_namespace)
    exchange.start("--bots", "0")
    exchange.alice = exchange.open_account("alice")  # type: ignore[attr-defined]
    bob = exchange.open_account("bob")
    exchange.order(bob, symbol="AAPL", side="sell", quantity=2, price="100.00")
    exchange.order(exchange.alice, symbol="AAPL", side="buy", quantity=1, price="100.00")  # type: ignore[attr-defined]
    exchange.order(exchange.alice, symbol="AAPL", side="buy", quantity=5, price="90.00")  # type: ignore[attr-defined]
    exchange.until_at_rest()
    yield exchange
    assert exchange.stop() == 0
    exchange.close()


def alice(running: Running) -> dict[str, str]:
    found: dict[str, str] = running.alice  # type: ignore[attr-defined]
    return found


def feed_routes(running: Running) -> list[str]:
    """Return every path of the feed's OpenAPI document, with AAPL and alice as parameters."""
    paths = running.http.get(f"{running.feed}/openapi.json").json()["paths"]
    named = {"{security_id}": "AAPL", "{client_id}": "alice", "{kind}": "csv", "{number}": "1"}
    found = [re.sub(r"\{\w+\}", lambda match: named[match[0]], path) for path in paths]
    assert len(found) > 20
    return found


def same(first: httpx.Response, second: httpx.Response) -> bool:
    """Return whether two answers match. The values in JSON may differ, since they change with time."""
    content_type = first.headers["content-type"]
    if (first.status_code, content_type) != (second.status_code, second.headers["content-type"]):
        return False
    return first.headers.get("content-disposition") == second.headers.get("content-disposition") and (
        first.content == second.content
        or (content_type == "application/json" and shape(first.json()) == shape(second.json()))
    )


def shape(content: Any) -> Any:
    if isinstance(content, dict):
        return sorted(content)
    return len(content) > 0 if isinstance(content, list) else type(content)


def test_the_gateway_serves_every_route_of_the_feed(running: Running) -> None:
    for path in feed_routes(running):
        direct = running.http.get(f"{running.feed}{path}", headers=alice(running))
        assert direct.status_code in ((403, 404) if path in OF_THE_ADMIN_OR_A_SESSION else (200,)), path
        below = running.http.get(f"{running.gateway}{PREFIX}{path}", headers=alice(running))
        if path != "/metrics":
            assert same(direct, below), path
            assert path in SHARED_ROUTES or same(
                direct, running.http.get(f"{running.gateway}{path}", headers=alice(running))
            ), path


def test_the_gateway_answers_routes_of_both_services_itself(running: Running) -> None:
    assert "last_command_id" in running.http.get(f"{running.gateway}/status").json()
    assert "stored_offset" in running.http.get(f"{running.gateway}{PREFIX}/status").json()
    assert running.http.get(f"{running.gateway}/openapi.json").json()["info"]["title"] == "microexchange order entry"
    feed_page = running.http.get(f"{running.gateway}{PREFIX}/openapi.json").json()
    assert feed_page["info"]["title"] == "microexchange market data"
    assert f"{PREFIX}/docs" in running.http.get(f"{running.gateway}/openapi.json").json()["info"]["description"]


def test_a_number_after_orders_is_an_order_and_a_name_is_a_client(running: Running) -> None:
    (own_order,) = running.http.get(f"{running.gateway}/orders/alice", headers=alice(running)).json()
    assert own_order["price"] == "90.00"
    order = running.http.get(f"{running.gateway}/orders/{own_order['order_id']}", headers=alice(running)).json()
    assert order["order_id"] == own_order["order_id"]
    assert running.http.get(f"{running.gateway}/orders/1", headers=alice(running)).json()["error"]["code"] == "UNKNOWN_ORDER"


def test_the_gateway_forwards_refusals_of_the_feed_unchanged(running: Running) -> None:
    for path, headers, status in (
        ("/book/NONE", {}, 404),
        ("/trades/AAPL?limit=0", {}, 422),
        ("/balance/alice", {}, 401),
        ("/balance/bob", alice(running), 403),
        ("/nothing/here", {}, 404),
    ):
        direct, through = (running.http.get(f"{base}{path}", headers=headers) for base in (running.feed, running.gateway))
        assert (through.status_code, through.json()) == (status, direct.json()), path
        assert through.headers.get("www-authenticate") == direct.headers.get("www-authenticate")
    assert (
        running.http.put(f"{running.gateway}/orders", headers=alice(running)).json()["error"]["code"] == "METHOD_NOT_ALLOWED"
    )


def test_the_pages_request_only_existing_routes(running: Running) -> None:
    page = running.http.get(f"{running.gateway}/")
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    wanted = set(re.findall(r'(?:href|src)="(/[^"]*)"', page.text))
    for file in STATIC.glob("js/*.js"):
        text = file.read_text()
        wanted.update(re.findall(r'["`](?:\$\{(?:gate\.)?gateway\})?(/[a-z][^"`]*)["`]', text))
        wanted.add(f"/dashboard/js/{file.name}")
    # The pages build some paths from parts. Values replace these parts here. The path /clients is for POST only.
    parts = {"${symbol}": "AAPL", "/${route}": "/deposits", "=${interval}": "=1m", "/${gate.session.client}": "/alice"}
    parts["${encodeURIComponent(gate.session.client)}"] = "alice"
    paths = []
    for path in wanted - {"/clients", *OF_A_CLASSROOM, *OF_THE_CONSOLE, *OF_THE_ADMIN_OR_A_SESSION}:
        if path.startswith("/rounds/"):
            continue  # of the admin, as those in OF_THE_ADMIN_OR_A_SESSION
        for part, text in parts.items():
            path = path.replace(part, text)
        paths.append(re.sub(r"=\$\{[^&]*", "=1", path).replace("${encodeURIComponent(client.value)}", "alice"))
    assert len(paths) > 20
    for path in paths:
        if not path.startswith("/ws"):
            answer = running.http.get(f"{running.gateway}{path}", headers=alice(running))
            # These routes exist, but not with GET or not for a client.
            assert answer.status_code in (
                (403, 405) if path.startswith(("/admin/", "/clients/", "/tenders/")) else (200,)
            ), path


def test_browsers_cache_the_files_of_the_pages_and_revalidate_them(running: Running) -> None:
    assert running.http.get(f"{running.gateway}/dashboard/plotly.js").headers["cache-control"] == "max-age=86400"
    style = f"{running.gateway}/dashboard/style.css"
    first = running.http.get(style)
    assert running.http.get(style, headers={"If-None-Match": first.headers["etag"]}).status_code == 304


def test_every_documented_route_answers_without_optional_parameters(running: Running) -> None:
    """The routes are those in the table of market data of docs/interfaces.md."""
    text = (ROOT / "docs" / "interfaces.md").read_text().partition("## Market data")[2].partition("### WebSocket")[0]
    routes = [
        route for row in re.findall(r"^\| (`GET.*?`) \|", text, re.M) for route in re.findall(r"(?:GET )?(/[^`,]*)", row)
    ]
    assert len(routes) > 20
    for route in routes:
        path = re.sub(r"\{n\w*\}", "1", route.partition("?")[0])
        path = path.replace("{securityId}", "AAPL").replace("{clientId}", "alice").strip()
        if path in OF_THE_ADMIN_OR_A_SESSION:
            continue
        assert running.http.get(f"{running.gateway}{path}", headers=alice(running)).status_code == 200, path


def test_a_client_trades_and_receives_market_data_at_one_address(running: Running) -> None:
    gateway, key = running.gateway, alice(running)["Authorization"].removeprefix("Bearer ")
    with (
        running.socket(gateway, "/ws") as feed,
        running.socket(gateway, "/ws/marketdata?symbol=MSFT") as top,
        running.socket(gateway, "/ws/trades?symbol=MSFT") as tape,
        running.socket(gateway, "/ws/orders", alice(running)) as orders,
    ):
        feed.send({"op": "login", "key": key})
        assert feed.receive() == {"op": "login", "ok": True, "client_id": "alice"}
        feed.send({"op": "subscribe", "channel": "orders"})
        assert feed.receive()["op"] == "subscribed"
        assert top.receive()["bids"] == []
        order = {"op": "order", "symbol": "MSFT", "quantity": 1, "price": "50.00"}
        assert orders.request({**order, "id": 1, "side": "buy"})["ok"]
        assert top.receive()["bids"] == [["50.00", "1"]]
        assert feed.receive()["report"]["exec_type"] == "NEW"
        bob = running.open_account("seller")
        running.order(bob, symbol="MSFT", side="sell", quantity=1, price="50.00")
        assert tape.receive()["price"] == "50.00"
        assert feed.receive()["report"]["exec_type"] == "TRADE"
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{gateway.replace('http', 'ws')}/ws/trades?symbol=NONE")
    assert refused.value.response.status_code == 404
    assert b"UNKNOWN_SYMBOL" in (refused.value.response.body or b"")


def test_the_feeds_own_port_redirects_browsers_to_the_gateway_and_serves_data(running: Running) -> None:
    answer = running.http.get(f"{running.feed}/")
    assert (answer.status_code, answer.headers["location"]) == (307, f"{running.gateway}/")
    assert running.http.get(f"{running.feed}/book/AAPL").status_code == 200


def test_without_the_feed_orders_are_accepted_and_market_data_is_unavailable(running: Running) -> None:
    running.kill("market_data_feed")
    answer = running.http.get(f"{running.gateway}/book/AAPL")
    order = running.order(alice(running), symbol="AAPL", side="buy", quantity=1, price="1.00")
    assert order.status_code == 201
    if answer.status_code != 200:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "UNAVAILABLE")
    eventually(lambda: running.http.get(f"{running.gateway}/book/AAPL").status_code == 200, 60)
    with running.socket(running.gateway, "/ws/marketdata?symbol=AAPL") as top:
        assert top.receive()["symbol"] == "AAPL"
