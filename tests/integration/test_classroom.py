"""Classroom mode: clients by name, the simple dialect and the quick routes. All of these are off outside of a classroom."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from order_entry_gateway.quick_routes import QUICK_ROUTES
from tests.integration.running import Running, eventually

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """A classroom without house bots."""
    exchange = Running(None, postgres_url, module_namespace)
    exchange.start("--classroom", "--bots", "0", "--pricing", "spread_capture")
    yield exchange
    exchange.until_at_rest()
    exchange.assert_whole_audit_is_clean()
    assert exchange.stop() == 0
    exchange.close()


def quick(running: Running, route: str, stock: str, uid: Any, price: Any, quantity: Any) -> httpx.Response:
    body = {"stock": stock, "uid": uid, "price": price, "quantity": quantity}
    return running.http.post(f"{running.gateway}/{route}", json=body)


def get_json(running: Running, route: str) -> Any:
    return running.http.get(f"{running.gateway}/{route}").json()


def test_the_exchange_is_alive(running: Running) -> None:
    assert get_json(running, "") == {"status": "alive"}


def test_the_status_of_a_quick_order_shows_its_outcome(running: Running) -> None:
    for route, price, quantity, status, filled in (
        ("buy", 10, 5, 202, 0),
        ("sell", 10, 5, 200, 5),
        ("sell", 10, 5, 202, 0),
        ("buy", 9, 1, 413, 0),
        ("buy", "10.5", 8, 413, 5),
        ("sell", 9, 4, 200, 4),
    ):
        answer = quick(running, route, "MSFT", "ada", price, quantity)
        assert (answer.status_code, answer.json()["filled"]) == (status, filled), (route, price, quantity)
    assert quick(running, "buy", "NONE", "ada", 10, 1).status_code == 404


def test_with_spread_capture_each_side_pays_its_limit_and_the_exchange_keeps_the_rest(running: Running) -> None:
    before = get_json(running, "profit")
    quick(running, "sell", "AMZN", "seller", 98.5, 4)
    bought = quick(running, "buy", "AMZN", "buyer", 100, 4).json()
    assert bought["average_price"] == 100
    assert get_json(running, "profit") == before + 6
    assert get_json(running, "quotes")["AMZN"] == 98.5

    def has_cash(client_id: str, cash: str) -> bool:
        answer = running.http.get(f"{running.feed}/balance/{client_id}", headers={"Client-ID": client_id})
        return bool(answer.json().get("cash") == cash)

    eventually(
        lambda: has_cash("buyer", "9600.00") and has_cash("seller", "10394.00"), what="the trade is settled without fees"
    )


def test_the_orderbook_has_the_best_price_first_with_names(running: Running) -> None:
    for uid, price in (("a", 10), ("b", 11), ("c", 11)):
        assert quick(running, "add_buy", "META", uid, price, 2).status_code == 200
    assert quick(running, "add_sell", "META", 7, 12.25, 1).status_code == 200
    book = get_json(running, "orderbook")
    assert [(order["uid"], order["price"]) for order in book["buy"]["META"]] == [("b", 11), ("c", 11), ("a", 10)]
    assert book["sell"]["META"] == [{"name": "META", "uid": "7", "price": 12.25, "quantity": 1}]


def test_an_added_order_lists_its_stock_and_waits_for_the_first_trade(running: Running) -> None:
    assert quick(running, "add_sell", "HOMEWORK", "ada", 10.001, 1).status_code == 422
    assert quick(running, "buy", "HOMEWORK", "ada", 10, 1).status_code == 404, "a refused order lists no stock"
    assert quick(running, "add_sell", "HOMEWORK", "ada", 10, 3).status_code == 200
    assert quick(running, "add_buy", "HOMEWORK", "bob", 12, 3).status_code == 200, (
        "the order crosses the other side, but does not trade yet"
    )
    book = get_json(running, "orderbook")
    assert (book["sell"]["HOMEWORK"][0]["price"], book["buy"]["HOMEWORK"][0]["price"]) == (10, 12)
    assert "HOMEWORK" not in get_json(running, "quotes")
    assert quick(running, "buy", "HOMEWORK", "cy", 9, 1).status_code == 202, (
        "the added orders trade before a new order enters"
    )
    assert 10 <= get_json(running, "quotes")["HOMEWORK"] <= 12


def test_the_orderbook_names_a_stock_only_on_the_side_where_it_has_orders(running: Running) -> None:
    assert quick(running, "add_buy", "PEP", "ada", 10, 1).status_code == 200
    assert quick(running, "add_sell", "KO", "ada", 12, 1).status_code == 200
    book = get_json(running, "orderbook")
    assert ("PEP" in book["buy"], "PEP" in book["sell"]) == (True, False)
    assert ("KO" in book["buy"], "KO" in book["sell"]) == (False, True)
    assert all(orders for side in book.values() for orders in side.values())


def test_a_stock_without_a_trade_has_no_quote(running: Running) -> None:
    assert quick(running, "add_buy", "DIS", "ada", 10, 1).status_code == 200
    quotes = get_json(running, "quotes")
    assert "DIS" not in quotes
    assert None not in quotes.values()


def test_the_root_is_a_page_for_browsers_and_json_for_scripts(running: Running) -> None:
    page = running.http.get(f"{running.gateway}/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert "/dashboard/js/app.js" in page.text
    assert running.http.get(f"{running.gateway}/dashboard/config.json").json()["classroom"] is True
    assert get_json(running, "") == {"status": "alive"}


def test_clearbook_cancels_all_orders_of_all_clients(running: Running) -> None:
    quick(running, "add_buy", "TSLA", "ada", 1, 1)
    answer = running.http.post(f"{running.gateway}/clearbook").json()
    assert answer["ok"]
    assert answer["cancelled"] >= 1
    assert get_json(running, "orderbook") == {"sell": {}, "buy": {}}


def test_a_bad_quick_order_is_refused_with_the_field(running: Running) -> None:
    for change, status, field in (
        ({"price": None}, 422, "price"),
        ({"quantity": 0}, 422, "quantity"),
        ({"quantity": 1.5}, 422, "quantity"),
        ({"uid": "$issuer"}, 422, "uid"),
        ({"uid": [1]}, 422, "uid"),
        ({"stock": 5}, 422, "stock"),
    ):
        body = {"stock": "AAPL", "uid": "eve", "price": 10, "quantity": 1, **change}
        answer = running.http.post(f"{running.gateway}/buy", json=body)
        assert (answer.status_code, answer.json()["error"]["field"]) == (status, field), change


def test_a_first_order_opens_an_account_that_needs_neither_cash_nor_shares(running: Running) -> None:
    order = {"symbol": "NVDA", "side": "sell", "quantity": 90_000, "price": "1000.00"}
    answer = running.order({"Client-ID": "grace"}, **order)
    assert (answer.status_code, answer.json()["client_id"]) == (201, "grace")
    answer = running.order({"Client-ID": "grace"}, **{**order, "side": "buy"})
    assert (answer.json()["status"], answer.json()["trades"][0]["price"]) == ("FILLED", "1000.00"), (
        "in a classroom an order may trade with one of the same client"
    )
    assert running.order({}, **order).json()["client_id"] == "guest"
    assert running.http.delete(f"{running.gateway}/orders").json()[0]["status"] == "CANCELED"


def test_admin_routes_are_open_on_the_machine_itself_and_closed_for_foreign_pages(running: Running) -> None:
    url = f"{running.gateway}/admin/securities/INTC/state"
    assert running.http.put(url, json={"state": "halted"}).status_code == 200
    assert running.order({"Client-ID": "grace"}, symbol="INTC", side="buy", quantity=1, price="1").status_code == 409
    elsewhere = {"Origin": "https://elsewhere.example"}
    assert running.http.put(url, json={"state": "continuous"}, headers=elsewhere).status_code == 403
    assert running.http.put(url, json={"state": "continuous"}).status_code == 200


FOREIGN_PAGE = {"Origin": "https://elsewhere.example"}
REBOUND_PAGE = {"Host": "elsewhere.example:8000"}
"""A page whose host name resolves to this machine. Its browser sends no `Origin` with GET, and one that fits with POST."""


@pytest.mark.parametrize(
    "headers", [FOREIGN_PAGE, REBOUND_PAGE, {**REBOUND_PAGE, "Origin": "http://elsewhere.example:8000"}]
)
@pytest.mark.parametrize(
    ("method", "service", "path"),
    [
        ("POST", "gateway", "/buy"),
        ("POST", "gateway", "/add_sell"),
        ("POST", "gateway", "/clearbook"),
        ("POST", "gateway", "/orders"),
        ("POST", "gateway", "/clients"),
        ("PUT", "gateway", "/admin/securities/INTC/state"),
        ("GET", "gateway", "/orderbook"),
        ("GET", "gateway", "/balance/guest"),
        ("GET", "feed", "/balance/guest"),
        ("GET", "feed", "/export/orders.csv"),
    ],
)
def test_no_route_of_a_classroom_serves_a_foreign_page(
    running: Running, headers: dict[str, str], method: str, service: str, path: str
) -> None:
    body = {} if method == "GET" else {"json": {"stock": "AAPL", "price": 10, "quantity": 1}}
    answer = running.http.request(method, f"{getattr(running, service)}{path}", headers=headers, **body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FOREIGN_ORIGIN")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("service", "path"), [("gateway", "/"), ("gateway", "/ws/orders"), ("gateway", "/ws"), ("feed", "/ws")]
)
def test_no_websocket_of_a_classroom_serves_a_foreign_page_and_every_one_serves_its_own(
    running: Running, service: str, path: str
) -> None:
    base = getattr(running, service)
    url = base.replace("http", "ws") + path
    for origin in ("https://elsewhere.example", "null", base.replace("127.0.0.1", "localhost")):
        with pytest.raises(InvalidStatus) as refused:
            connect(url, origin=origin)  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403
        assert b"FOREIGN_ORIGIN" in (refused.value.response.body or b"")
    for own in (base, None):
        with connect(url, origin=own) as socket:  # type: ignore[arg-type]
            assert socket.protocol.close_code is None


def test_a_body_that_a_page_could_send_without_asking_is_refused_with_415(running: Running) -> None:
    body = b'{"stock": "AAPL", "price": 10, "quantity": 1}'
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {}):
        answer = running.http.post(f"{running.gateway}/buy", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_the_simple_dialect_answers_open_matched_and_rejected(running: Running) -> None:
    with (
        running.socket(running.gateway, "/", {"Client-ID": "ada"}) as ada,
        running.socket(running.gateway, "/") as guest,
        running.socket(running.gateway, "/", {"Client-ID": "wall"}) as subscriber,
    ):
        subscriber.send({"type": "subscribe", "channel": "trades"})
        assert subscriber.receive() == {"status": "subscribed", "channel": "trades"}
        ada.send({"type": "sell", "symbol": "NFLX", "price": 50.25, "quantity": 3})
        resting = ada.receive()
        assert (resting["status"], "trade" in resting) == ("open", False)
        guest.send({"type": "buy", "symbol": "NFLX", "price": 51, "quantity": 2})
        matched = guest.receive()
        assert matched["status"] == "matched"
        assert matched["trade"]["quantity"] == 2
        assert matched["trade"]["price"] == 51
        update = subscriber.receive()
        assert update["type"] == "order_update"
        trade = update["data"]
        assert {name: trade[name] for name in ("symbol", "price", "quantity", "buyer", "seller", "side")} == {
            "symbol": "NFLX",
            "price": 50.25,
            "quantity": 2,
            "buyer": "guest",
            "seller": "ada",
            "side": "buy",
        }
        assert trade["order_id"] == matched["order_id"]
        assert trade["maker_order_id"] == resting["order_id"]
        assert 0 < trade["latency"] < 30
        assert trade["throughput"] >= 1
        guest.send({"type": "buy", "symbol": "NFLX", "price": "lots", "quantity": 2})
        assert guest.receive()["status"] == "rejected"
        guest.send({"type": "buy", "symbol": "NONE", "price": 1, "quantity": 2})
        refused = guest.receive()
        assert (refused["status"], "not listed" in refused["message"]) == ("rejected", True)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("{", "Invalid JSON format"),
        ("hello", "Invalid JSON format"),
        ("[]", "Invalid JSON format"),
        ({"type": "buy", "symbol": "AAPL", "quantity": 1}, "Missing key in order data: 'price'"),
        ({"type": "sell", "price": 1, "quantity": 1}, "Missing key in order data: 'symbol'"),
        ({"type": "buy", "symbol": "AAPL", "price": 1}, "Missing key in order data: 'quantity'"),
        ({"symbol": "AAPL", "price": 1, "quantity": 1}, "Missing key in order data: 'type'"),
        ({"type": "hold"}, "Unknown message type: 'hold'"),
        ({"type": 5}, "Unknown message type: '5'"),
        ({"type": "subscribe"}, "Unknown channel: ''; there is 'trades'"),
        ({"type": "subscribe", "channel": ["x"]}, "Unknown channel: '[\"x\"]'; there is 'trades'"),
    ],
)
def test_an_unknown_message_of_the_simple_dialect_is_an_error_and_the_connection_stays_open(
    running: Running, message: Any, error: str
) -> None:
    with running.socket(running.gateway, "/") as ws:
        ws.send(message)
        assert ws.receive() == {"error": error}
        ws.send({"type": "buy", "symbol": "AAPL", "price": 1, "quantity": 1})
        assert ws.receive()["status"] == "open"


def test_an_impossible_name_is_reported_and_the_connection_closes(running: Running) -> None:
    with running.socket(running.gateway, "/", {"Client-ID": "$issuer"}) as ws:
        assert ws.receive()["error"].startswith("Client-ID must be")


def test_the_order_websocket_accepts_names_too(running: Running) -> None:
    with running.socket(running.gateway, "/ws/orders", {"Client-ID": "ada"}) as ws:
        order = {"op": "order", "id": 1, "symbol": "ADBE", "side": "buy", "quantity": 1, "price": "2.00"}
        assert ws.request(order)["order"]["client_id"] == "ada"
    with running.socket(running.gateway, "/ws/orders") as ws:
        assert ws.request(order)["order"]["client_id"] == "guest"
    with running.socket(running.gateway, "/ws/orders") as ws:
        ws.send({"op": "login", "client_id": "bob", "id": 2})
        assert ws.receive()["client_id"] == "bob"
        assert ws.request(order)["order"]["client_id"] == "bob"


def test_the_state_of_a_classroom_is_the_same_after_a_restart(running: Running) -> None:
    quick(running, "sell", "CSCO", "ada", 9, 4)
    quick(running, "buy", "CSCO", "bob", 10, 1)
    quick(running, "buy", "CSCO", "cy", 8, 2)
    before = [get_json(running, route) for route in ("orderbook", "quotes", "profit")]
    running.until_at_rest()
    running.kill("order_entry_gateway")
    eventually(lambda: running.http.get(f"{running.gateway}/health/ready").status_code == 200)
    assert [get_json(running, route) for route in ("orderbook", "quotes", "profit")] == before


def test_a_folder_stays_a_classroom(running: Running) -> None:
    other = Running(None, running.database, "never")
    other.data = running.data.parent / "other"
    other.data.mkdir()
    (other.data / "kind").write_text("classroom\n")
    other.start("--bots", "0", wait=False)
    assert other.process is not None
    assert other.process.wait(90) == 1
    assert "was created with --classroom" in other.output_text()
    other.close()


def test_outside_of_a_classroom_the_quick_routes_name_the_classroom_flag(postgres_url: str, module_namespace: str) -> None:
    market = Running(None, postgres_url, f"{module_namespace}_m")
    try:
        market.start("--bots", "0")
        for method, path in QUICK_ROUTES:
            answer = market.http.request(method, f"{market.gateway}{path}", json={})
            assert answer.status_code == 404
            assert "microexchange up --classroom" in answer.json()["error"]["message"], path
        with pytest.raises(InvalidStatus) as refused:
            connect(market.gateway.replace("http", "ws") + "/")
        assert refused.value.response.status_code == 404
        assert b"microexchange up --classroom" in (refused.value.response.body or b"")
        order = {"symbol": "AAPL", "side": "buy", "quantity": 1, "price": "1.00"}
        assert market.order({"Client-ID": "ada"}, **order).status_code == 401
        assert market.http.put(f"{market.gateway}/admin/securities/AAPL/state", json={"state": "halted"}).status_code == 401
    finally:
        market.close()
