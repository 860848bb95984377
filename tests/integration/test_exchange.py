"""The whole exchange, started as a user starts it, over the embedded log and over RabbitMQ with Postgres."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from microexchange.databases import CLEARING_DATA, MARKET_DATA, database_url
from tests.conftest import delete_streams, drop_databases, new_namespace
from tests.integration.running import SERVICES, Running, eventually

pytestmark = pytest.mark.slow


@pytest.fixture(params=["embedded", "rabbitmq"], scope="module")
def exchange(request: pytest.FixtureRequest) -> Iterator[Running]:
    """An exchange that is not started yet. The tests of this module share it and depend on their order."""
    if request.param == "embedded":
        running = Running()
        yield running
        running.close()
        return
    amqp, postgres = request.getfixturevalue("amqp_url"), request.getfixturevalue("postgres_url")
    namespace = new_namespace()
    running = Running(amqp, postgres, namespace)
    yield running
    running.close()
    drop_databases(postgres, namespace)
    delete_streams(amqp, namespace)


def listed_symbols(exchange: Running) -> set[str]:
    first = eventually(lambda: exchange.http.get(f"{exchange.feed}/securities").json())
    assert len(first) == 100, "a page has 100 securities"
    second = exchange.http.get(f"{exchange.feed}/securities?after={first[-1]['symbol']}").json()
    return {security["symbol"] for security in [*first, *second]}


def test_clients_trade_over_rest_and_websocket_and_the_books_balance(exchange: Running) -> None:
    exchange.start("--bots", "0")
    symbols = listed_symbols(exchange)
    assert len(symbols) == 102
    assert {"AAPL", "BTC-USDT", "ETH-USDT"} <= symbols
    alice, bob = exchange.open_account("alice"), exchange.open_account("bob")

    # A limit order rests. Only its owner can read it.
    sell = exchange.order(alice, symbol="AAPL", side="sell", quantity=10, price="190.50").json()
    assert (sell["status"], sell["resting"], sell["resting_order_id"]) == ("NEW", True, sell["order_id"])
    assert exchange.http.get(f"{exchange.gateway}/orders/{sell['order_id']}", headers=alice).json() == sell
    assert exchange.http.get(f"{exchange.gateway}/orders/{sell['order_id']}", headers=bob).status_code == 404

    with (
        exchange.socket(exchange.feed, "/ws") as market,
        exchange.socket(exchange.gateway, "/ws/orders", alice) as alice_socket,
        exchange.socket(exchange.gateway, "/ws/orders") as bob_socket,
    ):
        market.send({"op": "subscribe", "channel": "trades", "symbols": ["AAPL"]})
        market.send({"op": "subscribe", "channel": "book", "symbols": ["AAPL"]})
        assert market.receive()["op"] == market.receive()["op"] == "subscribed"
        snapshot = market.receive()
        assert snapshot["book"]["asks"] == [["190.50", "10", 1]]

        # The answer to an order contains its fills.
        assert bob_socket.request({"id": 0, "op": "get", "order_id": "1"})["error"]["code"] == "UNAUTHENTICATED"
        login = bob_socket.request({"id": 1, "op": "login", "key": bob["Authorization"].removeprefix("Bearer ")})
        assert login["client_id"] == "bob"
        request = {"id": "x", "op": "order", "symbol": "AAPL", "side": "buy", "quantity": "4", "order_type": "market"}
        bought = bob_socket.request(request)
        assert bought["ok"]
        order = bought["order"]
        assert (order["status"], order["filled_quantity"], order["average_price"]) == ("FILLED", "4", "190.5")
        (trade,) = order["trades"]
        assert (trade["price"], trade["quantity"], trade["aggressor_side"]) == ("190.50", "4", "buy")
        assert (trade["maker_order_id"], trade["taker_order_id"]) == (sell["order_id"], order["order_id"])
        assert (trade["maker_fee"], trade["taker_fee"]) == ("0.762", "1.524")

        # The other client and the subscribers of market data receive the trade.
        report = alice_socket.receive()["report"]
        assert (report["exec_type"], report["status"], report["last_quantity"], report["liquidity"]) == (
            "TRADE", "PARTIALLY_FILLED", "4", "maker",
        )  # fmt: skip
        messages = [market.receive(), market.receive()]
        assert {message["type"] for message in messages} == {"trade", "update"}
        (update,) = [message for message in messages if message["type"] == "update"]
        assert update["previous_sequence"] == snapshot["book"]["sequence"]
        assert update["changes"] == [["sell", ["190.50", "6", 1]]]

        cancelled = alice_socket.request({"id": 9, "op": "cancel", "order_id": sell["order_id"]})
        assert (cancelled["order"]["status"], cancelled["order"]["filled_quantity"]) == ("CANCELED", "4")
        again = alice_socket.request({"id": 10, "op": "cancel", "order_id": sell["order_id"]})
        assert again["error"]["code"] == "ORDER_CLOSED"

    exchange.until_at_rest()
    balances = {
        name: exchange.http.get(f"{exchange.feed}/balance/{name}", headers=headers).json()["cash"]
        for name, headers in (("alice", alice), ("bob", bob))
    }
    assert balances == {"alice": "10761.238", "bob": "9236.476"}
    holding = exchange.http.get(f"{exchange.feed}/holdings/AAPL/bob", headers=bob).json()
    assert holding == {"client_id": "bob", "symbol": "AAPL", "quantity": "104"}
    trades = exchange.http.get(f"{exchange.feed}/trades/AAPL").json()
    assert [trade["trade_id"] for trade in trades["trades"]] == ["1"]
    board = exchange.http.get(f"{exchange.feed}/leaderboard").json()
    assert {leader["client_id"] for leader in board} == {"alice", "bob"}
    exchange.assert_whole_audit_is_clean()


def test_wrong_requests_are_refused_with_a_code(exchange: Running) -> None:
    carol = exchange.open_account("carol")
    order = {"symbol": "AAPL", "side": "buy", "quantity": 1, "price": "100.00"}

    def refused(status: int, code: str, field: str | None = None, headers: dict[str, str] = carol, **change: object) -> None:
        answer = exchange.order(headers, **{**order, **change})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error.get("field")) == (status, code, field), answer.text

    refused(401, "UNAUTHENTICATED", headers={})
    refused(404, "UNKNOWN_SYMBOL", "symbol", symbol="NONE")
    refused(422, "INVALID_FIELD", "price", price="100.001")
    refused(422, "INVALID_FIELD", "quantity", quantity=0)
    refused(409, "INSUFFICIENT_CASH", quantity=101)
    refused(409, "INSUFFICIENT_SHARES", side="sell", quantity=101)
    assert exchange.order(carol, **order, client_order_id="mine").status_code == 201
    refused(409, "DUPLICATE_CLIENT_ORDER_ID", "client_order_id", client_order_id="mine", quantity=2)
    post = exchange.http.post
    answers = [
        (post(f"{exchange.gateway}/orders", content=b"{", headers=carol), 400, "MALFORMED"),
        (post(f"{exchange.gateway}/orders", content=b" " * (1 << 21), headers=carol), 413, "TOO_LARGE"),
        (post(f"{exchange.gateway}/clients", json={"client_id": "carol"}), 409, "CLIENT_EXISTS"),
        (exchange.http.delete(f"{exchange.gateway}/orders/12345", headers=carol), 404, "UNKNOWN_ORDER"),
        (exchange.http.get(f"{exchange.gateway}/nothing"), 404, "NOT_FOUND"),
        (exchange.http.put(f"{exchange.gateway}/orders"), 405, "METHOD_NOT_ALLOWED"),
        (exchange.http.get(f"{exchange.feed}/book/NONE"), 404, "UNKNOWN_SYMBOL"),
        (exchange.http.get(f"{exchange.feed}/book/AAPL?depth=x"), 422, "INVALID_FIELD"),
        (exchange.http.get(f"{exchange.feed}/balance/carol"), 401, "UNAUTHENTICATED"),
        (exchange.http.get(f"{exchange.feed}/balance/alice", headers=carol), 403, "FORBIDDEN"),
    ]
    for answer, status, code in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    with exchange.socket(exchange.gateway, "/ws/orders", carol) as ws:
        ws.send("no json")
        assert ws.receive()["error"]["code"] == "MALFORMED"
        bad = ws.request({"id": 5, "op": "order", "symbol": "AAPL", "side": "up", "quantity": 1})
        assert (bad["id"], bad["error"]["field"]) == (5, "side")
    with exchange.socket(exchange.feed, "/ws") as ws:
        ws.send({"op": "subscribe", "channel": "book", "symbols": ["NONE"]})
        assert ws.receive()["error"]["code"] == "UNKNOWN_SYMBOL"


def test_text_that_databases_cannot_store_is_refused_on_every_route(exchange: Running) -> None:
    odette = exchange.open_account("odette")
    admin = {"Authorization": f"Bearer {(exchange.data / 'secrets' / 'admin-token').read_text()}"}
    url, odd = exchange.gateway, "a\x00b"
    order = {"symbol": "AAPL", "side": "buy", "quantity": 1, "price": "1.00", "client_order_id": odd}
    request = exchange.http.request
    answers = [
        exchange.order(odette, **order),
        request("GET", f"{url}/orders", params={"client_order_id": odd}, headers=odette),
        request("POST", f"{url}/admin/clients/odette/deposits", json={"cash": 1, "memo": odd}, headers=admin),
        request("POST", f"{url}/admin/clients/a%00b/deposits", json={"cash": 1}, headers=admin),
        request("POST", f"{url}/admin/securities", json={"symbol": "ODD", "name": odd}, headers=admin),
        request("POST", f"{url}/admin/save", params={"symbol": "AAPL", "name": odd}, headers=admin),
        request("PUT", f"{url}/admin/clients/a%00b/suspended", headers=admin),
        request("DELETE", f"{url}/admin/clients/a%00b/suspended", headers=admin),
        request("GET", f"{url}/clients/a%00b/keys", headers=admin),
        request("POST", f"{url}/clients/a%00b/keys", headers=admin),
    ]
    assert [answer.status_code for answer in answers] == [422] * len(answers)
    message = {"id": 1, "op": "order", **order}
    with exchange.socket(url, "/ws/orders", odette) as ws:
        assert ws.request(message)["error"]["field"] == "client_order_id"
    with connect(
        url.replace("http", "ws") + "/ws/orders", additional_headers=odette, subprotocols=[Subprotocol("msgpack")]
    ) as binary:
        binary.send(msgspec.msgpack.encode(message))
        assert msgspec.msgpack.decode(binary.recv(20))["error"]["field"] == "client_order_id"
    exchange.until_at_rest()


def test_order_types_amendments_and_cancels_work_over_rest_and_websocket(exchange: Running) -> None:
    grace, heidi = exchange.open_account("grace"), exchange.open_account("heidi")
    stop = exchange.order(grace, symbol="INTC", side="sell", quantity=2, order_type="stop_market", trigger_price="44.00")
    assert (stop.json()["status"], stop.json()["trigger_price"]) == ("NEW", "44.00")
    soon = "2030-01-01T00:00:00Z"
    gtd = {"time_in_force": "gtd", "expire_at": soon, "display_quantity": 3}
    order = exchange.order(grace, symbol="INTC", side="buy", quantity=10, price="43.00", **gtd).json()
    assert (order["expire_at"], order["display_quantity"]) == ("2030-01-01T00:00:00.000000Z", "3")
    eventually(lambda: exchange.http.get(f"{exchange.feed}/book/INTC").json()["bids"][:1] == [["43.00", "3", 1]])

    # The last price falls to 43.00. The stop triggers and would trade with its own client, which the exchange prevents.
    amended = exchange.http.patch(f"{exchange.gateway}/orders/{order['order_id']}", json={"quantity": 6}, headers=grace)
    assert (amended.json()["quantity"], amended.json()["leaves_quantity"]) == ("6", "6")
    sold = exchange.order(heidi, symbol="INTC", side="sell", quantity=1, order_type="ioc", price="43.00").json()
    assert (sold["status"], len(sold["trades"])) == ("FILLED", 1)
    triggered = exchange.http.get(f"{exchange.gateway}/orders/{stop.json()['order_id']}", headers=grace).json()
    assert (triggered["status"], triggered["code"]) == ("CANCELED", "SELF_TRADE")

    assert exchange.order(heidi, symbol="INTC", side="sell", quantity=99, order_type="fok", price="43.00").status_code == 409
    assert exchange.order(heidi, symbol="INTC", side="sell", quantity=1, price="43.00", post_only=True).status_code == 409
    refused = exchange.order(heidi, symbol="INTC", side="buy", quantity=1, order_type="stop_limit", price="1.00")
    assert refused.json()["error"]["field"] == "trigger_price"

    with exchange.socket(exchange.gateway, "/ws/orders", grace) as ws:
        changed = ws.request({"id": 1, "op": "amend", "order_id": order["order_id"], "price": "42.50"})
        assert (changed["order"]["price"], changed["order"]["filled_quantity"]) == ("42.50", "1")
        gone = ws.request({"id": 2, "op": "cancel_all", "symbol": "INTC", "side": "buy"})
        assert [order["status"] for order in gone["orders"]] == ["CANCELED"]
        assert ws.request({"id": 3, "op": "cancel_all"})["orders"] == []
    with exchange.socket(exchange.gateway, "/ws/orders") as ws:
        key = heidi["Authorization"].removeprefix("Bearer ")
        ws.request({"id": 1, "op": "login", "key": key, "cancel_on_disconnect": True})
        resting = ws.request({"id": 2, "op": "order", "symbol": "INTC", "side": "buy", "quantity": 1, "price": "1.00"})[
            "order"
        ]
        assert resting["resting"]
    url = f"{exchange.gateway}/orders/{resting['order_id']}"
    eventually(lambda: exchange.http.get(url, headers=heidi).json()["status"] == "CANCELED", 20)
    last = exchange.order(heidi, symbol="INTC", side="buy", quantity=1, price="1.00").json()
    assert [order["order_id"] for order in exchange.http.delete(f"{exchange.gateway}/orders", headers=heidi).json()] == [
        last["order_id"]
    ]


def test_the_admin_halts_resumes_auctions_suspends_and_restores_books(exchange: Running) -> None:
    token = (exchange.data / "secrets" / "admin-token").read_text()
    admin, ivan = {"Authorization": f"Bearer {token}"}, exchange.open_account("ivan")
    state = f"{exchange.gateway}/admin/securities/META/state"
    put, order = exchange.http.put, {"symbol": "META", "side": "buy", "quantity": 1, "price": "10.00"}
    assert put(state, json={"state": "halted"}, headers=ivan).status_code == 403
    assert put(state, json={"state": "halted"}).status_code == 401
    assert put(state, json={"state": "asleep"}, headers=admin).json()["error"]["field"] == "state"
    for _ in range(2):
        assert put(state, json={"state": "halted"}, headers=admin).json() == {"ok": True}
    assert exchange.order(ivan, **order).json()["error"]["code"] == "MARKET_HALTED"

    def states() -> dict[str, str]:
        return {
            security["symbol"]: security["state"] for security in exchange.http.get(f"{exchange.feed}/securities").json()
        }

    eventually(lambda: states()["META"] == "halted")
    assert states()["AAPL"] == "continuous"
    put(state, json={"state": "opening_auction"}, headers=admin)
    assert exchange.order(ivan, **order).status_code == 201
    put(state, json={"state": "continuous"}, headers=admin)

    saved = exchange.http.post(f"{exchange.gateway}/admin/save?symbol=META", headers=admin).json()
    assert saved == {"ok": True, "orders": 1}
    exchange.http.delete(f"{exchange.gateway}/orders", headers=ivan)
    loaded = exchange.http.post(f"{exchange.gateway}/admin/load?symbol=META", headers=admin).json()
    assert (loaded["orders"], loaded["refused"]) == (1, [])
    unknown = exchange.http.post(f"{exchange.gateway}/admin/load?symbol=META&name=never", headers=admin)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "UNKNOWN_SAVED_BOOK")

    suspended = f"{exchange.gateway}/admin/clients/ivan/suspended"
    assert put(suspended, headers=admin).json() == {"ok": True}
    assert exchange.order(ivan, **order).json()["error"]["code"] == "CLIENT_SUSPENDED"
    assert exchange.http.delete(suspended, headers=admin).json() == {"ok": True}
    assert exchange.order(ivan, **order).status_code == 201
    exchange.until_at_rest()
    exchange.assert_whole_audit_is_clean()


def test_the_admin_lists_and_delists_by_rest_and_from_the_command_line(exchange: Running) -> None:
    token = (exchange.data / "secrets" / "admin-token").read_text()
    admin, vera = {"Authorization": f"Bearer {token}"}, exchange.open_account("vera")
    listing = {"symbol": "GOLD", "name": "An ounce", "tick_size": "0.05", "lot_size": "0.1", "reference_price": "2000"}
    url = f"{exchange.gateway}/admin/securities"
    assert exchange.http.post(url, json=listing, headers=vera).status_code == 403
    assert exchange.http.post(url, json=listing, headers=admin).status_code == 201
    assert exchange.http.post(url, json=listing, headers=admin).json()["error"]["code"] == "SECURITY_EXISTS"
    for change, field in (({"symbol": "G O"}, "symbol"), ({"reference_price": "0.01"}, "reference_price"),
                          ({"tick_size": "0"}, "tick_size"), ({"short_limit": "0.05"}, "short_limit")):  # fmt: skip
        refused = exchange.http.post(url, json={**listing, "symbol": "OTHER", **change}, headers=admin)
        assert (refused.status_code, refused.json()["error"]["field"]) == (422, field)
    order = exchange.order(vera, symbol="GOLD", side="buy", quantity="0.3", price="1999.95").json()
    assert (order["status"], order["price"], order["quantity"]) == ("NEW", "1999.95", "0.3")

    def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
        place = ["--data", str(exchange.data), "--gateway", exchange.gateway]
        command = [sys.executable, "-m", "exchange_launcher.cli", *arguments, *place]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert cli("halt", "GOLD").stdout == "GOLD: halted\n"
    assert exchange.order(vera, **listing_order("GOLD")).json()["error"]["code"] == "MARKET_HALTED"
    assert cli("auction", "GOLD").returncode == cli("resume", "GOLD").returncode == 0
    file = exchange.folder / "nasdaq.csv"
    file.write_text("Symbol,Name,Last Sale\nNEW1,New One,$12.34\nAAPL,Again,$1\n")
    listed = cli("list", str(file))
    assert (listed.returncode, listed.stdout) == (0, "listed 1 of 2; 1 were listed already\n")
    assert cli("delist", "GOLD").returncode == 0
    assert cli("halt", "NONE").returncode == 2
    gone = exchange.http.get(f"{exchange.gateway}/orders/{order['order_id']}", headers=vera).json()
    assert (gone["status"], gone["code"]) == ("CANCELED", "DELISTED")
    assert exchange.order(vera, **listing_order("GOLD")).json()["error"]["code"] == "DELISTED"
    assert cli("resume", "GOLD").returncode == 1
    exchange.until_at_rest()
    found = exchange.http.get(f"{exchange.feed}/securities?limit=1000").json()
    symbols = {security["symbol"] for security in found}
    assert "NEW1" in symbols
    assert "GOLD" not in symbols
    exchange.assert_whole_audit_is_clean()


def listing_order(symbol: str) -> dict[str, str]:
    return {"symbol": symbol, "side": "buy", "quantity": "1", "price": "10.00"}


def test_deposits_and_withdrawals_are_settled_and_are_in_the_statement(exchange: Running) -> None:
    token = (exchange.data / "secrets" / "admin-token").read_text()
    admin, judy, kim = {"Authorization": f"Bearer {token}"}, exchange.open_account("judy"), exchange.open_account("kim")
    account = f"{exchange.gateway}/admin/clients/judy"

    def transfer(direction: str, **assets: object) -> httpx.Response:
        return exchange.http.post(f"{account}/{direction}", json=assets, headers=admin)

    def profit() -> str:
        exchange.until_at_rest()
        leaders = exchange.http.get(f"{exchange.feed}/leaderboard").json()
        return next(leader["profit"] for leader in leaders if leader["client_id"] == "judy")

    before = profit()
    assert exchange.http.post(f"{account}/deposits", json={"cash": 1}, headers=judy).status_code == 403
    given = transfer("deposits", cash="250.50", shares={"AMZN": 5}, memo="a prize")
    assert (given.status_code, given.json()["cash"], given.json()["shares"]) == (201, "250.50", {"AMZN": "5"})
    exchange.order(judy, symbol="AMZN", side="buy", quantity=1, price="10.00", client_order_id="hold")
    for refused, status, code in (
        (transfer("withdrawals", cash="10240.50"), 409, "INSUFFICIENT_CASH"),
        (transfer("withdrawals", shares={"AMZN": 106}), 409, "INSUFFICIENT_SHARES"),
        (transfer("withdrawals"), 422, "INVALID_FIELD"),
        (transfer("deposits", cash="-1"), 422, "INVALID_FIELD"),
        (transfer("deposits", cash="0.000000001"), 422, "INVALID_FIELD"),
        (transfer("deposits", shares={"NONE": 1}), 404, "UNKNOWN_SYMBOL"),
        (exchange.http.post(account.replace("judy", "nobody") + "/deposits", json={"cash": 1}, headers=admin), 404,
         "UNKNOWN_CLIENT"),
    ):  # fmt: skip
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code), refused.text
    assert transfer("withdrawals", cash="10200").json()["cash"] == "-10200.00"
    assert profit() == before, "a deposit is not a profit, and a withdrawal is not a loss"
    exchange.order(kim, symbol="AMZN", side="sell", quantity=1, price="10.00")
    exchange.until_at_rest()

    page = exchange.http.get(f"{exchange.feed}/accounts/judy/statement", headers=judy).json()
    assert [(m["kind"], m["cash"], m["shares"].get("AMZN"), m["cash_after"], m["memo"]) for m in page["movements"]] == [
        ("transfer", "10000.00", "100", "10000.00", ""),
        ("transfer", "250.50", "5", "10250.50", "a prize"),
        ("transfer", "-10200.00", None, "50.50", ""),
        ("buy", "-10.01", "1", "40.49", ""),
    ]
    assert page["movements"][-1]["shares_after"] == {"AMZN": "106"}
    seen, after = [], "0"
    while after is not None:
        part = exchange.http.get(f"{exchange.feed}/accounts/judy/statement?limit=3&after={after}", headers=judy).json()
        seen, after = seen + part["movements"], part["next_after"]
    assert seen == page["movements"]
    lines = exchange.http.get(f"{exchange.feed}/accounts/judy/statement.csv", headers=judy).text.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("movement_id,timestamp,kind,cash,shares")
    assert lines[2].endswith("a prize")
    assert exchange.http.get(f"{exchange.feed}/accounts/judy/statement", headers=kim).status_code == 403
    exchange.assert_whole_audit_is_clean()


def test_a_client_finds_its_orders_by_client_order_id_and_in_pages(exchange: Running) -> None:
    lena = exchange.open_account("lena")
    for number in range(5):
        exchange.order(lena, symbol="GOOG", side="buy", quantity=1, price="1.00", client_order_id=f"mine-{number}")
    exchange.order(lena, symbol="GOOG", side="buy", quantity=10**6, price="1.00", client_order_id="too-much")

    def orders(query: str) -> list[tuple[str, str]]:
        found = exchange.http.get(f"{exchange.gateway}/orders?{query}", headers=lena).json()
        return [(order["client_order_id"], order["status"]) for order in found["orders"]]

    assert orders("client_order_id=mine-3") == [("mine-3", "NEW")]
    assert orders("client_order_id=too-much") == [("too-much", "REJECTED")]
    assert orders("client_order_id=never-sent") == []
    assert [name for name, _ in orders("status=open")] == [f"mine-{number}" for number in (4, 3, 2, 1, 0)]
    first = exchange.http.get(f"{exchange.gateway}/orders?limit=4", headers=lena).json()
    second = exchange.http.get(f"{exchange.gateway}/orders?limit=4&before={first['next_before']}", headers=lena).json()
    names = [order["client_order_id"] for page in (first, second) for order in page["orders"]]
    assert names == ["too-much", *(f"mine-{number}" for number in (4, 3, 2, 1, 0))]
    assert second["next_before"] is None
    exchange.http.delete(f"{exchange.gateway}/orders", headers=lena)
    assert orders("status=open") == []


def test_a_client_that_reconnects_receives_the_reports_that_it_missed(exchange: Running) -> None:
    olga = exchange.open_account("olga")
    key = olga["Authorization"].removeprefix("Bearer ")
    order = {"symbol": "GOOG", "side": "buy", "quantity": 1, "price": "1.00"}
    with exchange.socket(exchange.gateway, "/ws/orders") as ws:
        before = ws.request({"id": 1, "op": "login", "key": key})["sequence"]
        first = ws.request({"id": 2, "op": "order", **order})["order"]["order_id"]
    exchange.order(olga, **order)
    exchange.until_at_rest()
    exchange.kill("order_entry_gateway")
    eventually(lambda: exchange.http.get(f"{exchange.gateway}/health/ready").status_code == 200, 30)
    exchange.http.delete(f"{exchange.gateway}/orders", headers=olga)
    with exchange.socket(exchange.gateway, "/ws/orders") as ws:
        ws.send({"op": "login", "key": key, "resume_from": before})
        assert ws.receive()["ok"]
        reports = [ws.receive() for _ in range(4)]
        assert [(message["report"]["exec_type"], message["report"]["order_id"] == first) for message in reports] == [
            ("NEW", True), ("NEW", False), ("CANCELED", True), ("CANCELED", False),
        ]  # fmt: skip
        numbers = [message["sequence"] for message in reports]
        assert numbers == sorted(set(numbers))
        exchange.order(olga, **order)
        assert ws.receive()["sequence"] > numbers[-1]
        assert ws.request({"id": 3, "op": "login", "key": key, "resume_from": numbers[1]})["ok"]
        assert [ws.receive()["sequence"] for _ in range(3)][:2] == numbers[2:]
        bad = ws.request({"id": 4, "op": "login", "key": key, "resume_from": -1})
        assert bad["error"]["field"] == "resume_from"


def test_after_a_restart_the_gateway_cancels_orders_without_the_database(exchange: Running) -> None:
    ada, eve = exchange.open_account("forgotten-ada"), exchange.open_account("forgotten-eve")
    terms = {"symbol": "GOOG", "side": "buy", "quantity": 1, "price": "1.00"}
    first, second, ended, eves = (exchange.order(owner, **terms).json()["order_id"] for owner in (ada, ada, ada, eve))
    url = f"{exchange.gateway}/orders"
    exchange.http.delete(f"{url}/{ended}", headers=ada)
    exchange.until_at_rest()
    exchange.kill("order_entry_gateway")
    eventually(lambda: exchange.http.get(f"{exchange.gateway}/health/ready").status_code == 200, 30)
    with exchange.socket(exchange.gateway, "/ws/orders", ada) as ws:

        def cancel(order_id: str) -> Any:
            ws.send({"id": order_id, "op": "cancel", "order_id": order_id})
            while (message := ws.receive()).get("id") != order_id:
                assert message["op"] == "report"
            return message

        with psycopg.connect(database_url(exchange.server, exchange.namespace, MARKET_DATA)) as connection:
            connection.execute("LOCK TABLE order_reports")
            assert exchange.http.delete(f"{url}/{first}", headers=ada).json()["status"] == "CANCELED"
            assert cancel(second)["order"]["status"] == "CANCELED"
        for order_id, code in ((ended, "ORDER_CLOSED"), (eves, "UNKNOWN_ORDER"), ("12345", "UNKNOWN_ORDER")):
            assert exchange.http.delete(f"{url}/{order_id}", headers=ada).json()["error"]["code"] == code
            assert cancel(order_id)["error"]["code"] == code
    assert exchange.http.get(f"{url}/{eves}", headers=eve).json()["status"] == "NEW"


def test_orders_stay_open_within_the_grace_period_and_are_cancelled_after_it(exchange: Running) -> None:
    pia = exchange.open_account("pia")
    login = {"id": 1, "op": "login", "key": pia["Authorization"].removeprefix("Bearer "), "cancel_on_disconnect": True}
    enter = {"id": 2, "op": "order", "symbol": "GOOG", "side": "buy", "quantity": 1, "price": "1.00"}
    with exchange.socket(exchange.gateway, "/ws/orders") as ws:
        ws.request({**login, "grace_seconds": 2})
        url = f"{exchange.gateway}/orders/{ws.request(enter)['order']['order_id']}"
    time.sleep(0.5)
    with exchange.socket(exchange.gateway, "/ws/orders") as ws:
        ws.request({**login, "grace_seconds": 2, "heartbeat_seconds": 0.2})
        time.sleep(2.5)
        assert exchange.http.get(url, headers=pia).json()["status"] == "NEW", "the client reconnects within the grace period"
        assert ws.receive()["op"] == "heartbeat"
    eventually(lambda: exchange.http.get(url, headers=pia).json()["status"] == "CANCELED", 20)


def test_the_websocket_uses_msgpack_if_the_client_asks_for_it(exchange: Running) -> None:
    rosa = exchange.open_account("rosa")
    url = exchange.gateway.replace("http", "ws") + "/ws/orders"
    with connect(url, additional_headers=rosa, subprotocols=[Subprotocol("msgpack")]) as ws:
        assert ws.subprotocol == "msgpack"
        order = {"id": 7, "op": "order", "symbol": "GOOG", "side": "buy", "quantity": "1", "price": "1.00"}
        ws.send(msgspec.msgpack.encode(order))
        messages = [msgspec.msgpack.decode(ws.recv(20)) for _ in range(2)]
        assert {message.get("op", "answer") for message in messages} == {"report", "answer"}
        (answer,) = [message for message in messages if message.get("id") == 7]
        assert answer["order"]["status"] == "NEW"
        ws.send(b"\xc1")
        assert msgspec.msgpack.decode(ws.recv(20))["error"]["code"] == "MALFORMED"


def test_a_batch_has_one_answer_for_each_order_and_fills_come_in_pages(exchange: Running) -> None:
    mona, nils = exchange.open_account("mona"), exchange.open_account("nils")
    exchange.order(nils, symbol="MSFT", side="sell", quantity=5, price="400.00")
    good = {"symbol": "MSFT", "side": "buy", "quantity": 1, "price": "400.00"}
    batch = [
        good,
        {**good, "quantity": "x"},
        {**good, "symbol": "NONE"},
        good,
        {**good, "price": "1.00"},
        {**good, "odd": 1},
    ]
    answers = exchange.http.post(f"{exchange.gateway}/orders/batch", json=batch, headers=mona).json()
    assert [answer["ok"] for answer in answers] == [True, False, False, True, True, False]
    assert [answers[n]["error"]["code"] for n in (1, 2, 5)] == ["INVALID_FIELD", "UNKNOWN_SYMBOL", "INVALID_FIELD"]
    assert [answers[n]["order"]["status"] for n in (0, 3, 4)] == ["FILLED", "FILLED", "NEW"]
    ids = [int(answers[n]["order"]["order_id"]) for n in (0, 3, 4)]
    assert ids == sorted(ids), "the orders of a batch enter in their order"
    post = exchange.http.post
    assert post(f"{exchange.gateway}/orders/batch", json=[good] * 501, headers=mona).status_code == 413
    assert post(f"{exchange.gateway}/orders/batch", json=good, headers=mona).status_code == 400

    resting = answers[4]["order"]["order_id"]
    other = post(f"{exchange.gateway}/orders/{resting}/cancel?symbol=AAPL", headers=mona)
    assert (other.status_code, other.json()["error"]["field"]) == (404, "symbol")
    assert post(f"{exchange.gateway}/orders/{resting}/cancel?symbol=MSFT", headers=mona).json() == {"ok": True}
    assert post(f"{exchange.gateway}/orders/{resting}/cancel", headers=mona).json()["error"]["code"] == "ORDER_CLOSED"

    exchange.until_at_rest()
    page = exchange.http.get(f"{exchange.gateway}/fills?limit=1", headers=mona).json()
    rest = exchange.http.get(f"{exchange.gateway}/fills?limit=1&before={page['next_before']}", headers=mona).json()
    (newest,), (oldest,) = page["fills"], rest["fills"]
    assert [newest["order_id"], oldest["order_id"]] == [str(ids[1]), str(ids[0])]
    assert (newest["price"], newest["quantity"], newest["liquidity"], newest["fee"]) == ("400.00", "1", "taker", "0.80")
    assert [fill["liquidity"] for fill in exchange.http.get(f"{exchange.gateway}/fills", headers=nils).json()["fills"]] == [
        "maker",
        "maker",
    ]
    assert exchange.http.get(f"{exchange.gateway}/fills?symbol=AAPL", headers=nils).json()["fills"] == []


def test_gateway_and_feed_have_openapi_pages_and_all_services_have_health(exchange: Running) -> None:
    for base in (exchange.gateway, exchange.feed):
        assert exchange.http.get(f"{base}/docs").status_code == 200
        assert len(exchange.http.get(f"{base}/openapi.json").json()["paths"]) > 5
    for base in (exchange.gateway, exchange.feed, exchange.engine, exchange.clearing):
        assert exchange.http.get(f"{base}/health/live").json() == {"status": "alive"}
        assert exchange.http.get(f"{base}/health/ready").json() == {"status": "ready"}
        assert "python_info" in exchange.http.get(f"{base}/metrics").text


def test_books_balances_and_holdings_are_the_same_after_a_stop_and_a_start(exchange: Running) -> None:
    dave = exchange.open_account("dave")
    order = exchange.order(dave, symbol="TSLA", side="buy", quantity=3, price="200.00").json()
    exchange.until_at_rest()
    routes = ("/book/TSLA", "/book/AAPL", "/trades/AAPL", "/leaderboard", "/securities")

    def state() -> dict[str, Any]:
        found = {route: exchange.http.get(exchange.feed + route).json() for route in routes}
        for leader in found["/leaderboard"]:
            del leader["sharpe"], leader["drawdown"]  # these depend on the time of the sample
        return found

    before = state()
    (mine,) = exchange.http.get(f"{exchange.feed}/orders/dave", headers=dave).json()
    assert mine == order
    assert exchange.stop(signal.SIGINT) == 0, exchange.output_text()
    assert exchange.leftovers() == []
    exchange.start("--bots", "0")
    assert exchange.http.get(f"{exchange.feed}/orders/dave", headers=dave).json() == [mine]
    assert state() == before
    assert exchange.http.get(f"{exchange.gateway}/orders/{order['order_id']}", headers=dave).json() == order
    erin = exchange.open_account("erin")
    sold = exchange.order(erin, symbol="TSLA", side="sell", quantity=3, price="200.00").json()
    assert (sold["status"], sold["trades"][0]["maker_order_id"]) == ("FILLED", order["order_id"])
    exchange.until_at_rest()
    exchange.assert_whole_audit_is_clean()
    assert exchange.stop() == 0
    assert exchange.leftovers() == []


def test_a_killed_service_is_started_again_and_loses_nothing(exchange: Running) -> None:
    exchange.start("--bots", "12")
    eventually(lambda: exchange.http.get(f"{exchange.feed}/stats").json()["trades"] > 20, 60, "bots trade")
    frank = exchange.open_account("frank")
    accepted = []
    for module in (*SERVICES, "trading_bots"):
        order = exchange.order(frank, symbol="AAPL", side="buy", quantity=1, price="1.00")
        assert order.status_code == 201, order.text
        accepted.append(order.json()["order_id"])
        exchange.kill(module)
        time.sleep(1)
        for base in (exchange.gateway, exchange.feed, exchange.engine, exchange.clearing):
            eventually(lambda base=base: exchange.http.get(f"{base}/health/ready").status_code == 200, 30, base)
    orders = exchange.http.get(f"{exchange.feed}/stats").json()["orders"]
    eventually(lambda: exchange.http.get(f"{exchange.feed}/stats").json()["orders"] > orders + 20, 60, "bots trade again")
    for order_id in accepted:
        order = exchange.http.get(f"{exchange.gateway}/orders/{order_id}", headers=frank).json()
        assert order["status"] == "NEW", order
    assert exchange.stop() == 0, exchange.output_text()


def test_a_timed_run_prints_results_that_balance(exchange: Running) -> None:
    exchange.start("--for", "8s", wait=False)
    assert exchange.process is not None
    assert exchange.process.wait(120) == 0, exchange.output_text()
    output = exchange.output_text()
    for expected in ("Leaderboard", "profit", "Totals", "orders per second", "p50", "p95"):
        assert expected in output
    numbers = {name: int(count.replace(",", "")) for name, count in re.findall(r"│ (trades|settled) +│ +([\d,]+) │", output)}
    assert numbers["trades"] == numbers["settled"] > 20
    assert exchange.leftovers() == []


def test_after_all_tests_both_audits_are_clean(exchange: Running) -> None:
    exchange.start("--bots", "0")
    exchange.until_at_rest()
    exchange.assert_whole_audit_is_clean()
    assert exchange.audit() == [], "the audit from the snapshot is clean too"
    assert exchange.stop() == 0


def test_a_busy_port_is_an_error_that_names_the_port_and_the_flag(exchange: Running) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        exchange.start("--feed-port", str(port), wait=False)
        assert exchange.process is not None
        assert exchange.process.wait(60) == 1
    assert str(port) in exchange.output_text()
    assert "--feed-port" in exchange.output_text()


def test_an_unreachable_server_is_an_error_that_names_its_address() -> None:
    running = Running("amqp://guest:guest@127.0.0.1:1/%2f", "postgresql://nobody:secret@127.0.0.1:1")
    try:
        running.start(wait=False)
        assert running.process is not None
        assert running.process.wait(60) == 1
        assert "127.0.0.1:1" in running.output_text()
        assert "secret" not in running.output_text()
    finally:
        running.close()


def test_a_service_that_fails_stops_the_exchange_with_its_name_and_the_reason(
    postgres_url: str, postgres_namespace: str
) -> None:
    running = Running(None, postgres_url, postgres_namespace)
    with psycopg.connect(database_url(postgres_url, postgres_namespace, CLEARING_DATA), autocommit=True) as connection:
        connection.execute("ALTER TABLE settlements RENAME TO elsewhere")
    try:
        running.start("--bots", "0", wait=False)
        assert running.process is not None
        assert running.process.wait(120) == 1
        assert "clearinghouse failed" in running.output_text()
        assert "settlements" in running.output_text()
    finally:
        running.close()


def test_a_trade_that_cannot_settle_suspends_its_clients_and_nobody_else(postgres_url: str, postgres_namespace: str) -> None:
    running = Running(None, postgres_url, postgres_namespace)
    try:
        running.start("--bots", "0")
        alice, bob, carol = (running.open_account(name) for name in ("alice", "bob", "carol"))
        running.until_at_rest()
        # A change outside of the exchange takes bob's cash.
        with psycopg.connect(database_url(postgres_url, postgres_namespace, CLEARING_DATA), autocommit=True) as connection:
            connection.execute("UPDATE accounts SET cash = 5 WHERE client_id = 'bob'")
        order = {"symbol": "AAPL", "quantity": 1, "price": "100.00"}
        running.order(alice, side="sell", **order)
        assert running.order(bob, side="buy", **order).json()["status"] == "FILLED"

        def code(headers: dict[str, str]) -> str:
            return running.order(headers, side="buy", **order).json().get("error", {}).get("code", "")

        eventually(lambda: code(bob) == "CLIENT_SUSPENDED", 20)
        assert code(alice) == "CLIENT_SUSPENDED"
        assert code(carol) == ""
        feed = running.until_at_rest()
        assert (feed["settlement_faults"], feed["settled"]) == (1, 0)
        assert running.http.get(f"{running.feed}/balance/bob", headers=bob).json()["suspended"] is True
        assert running.stop() == 0
    finally:
        running.close()


def test_a_data_folder_with_another_log_is_refused(postgres_url: str, postgres_namespace: str) -> None:
    running = Running(None, postgres_url, postgres_namespace)
    other = new_namespace()
    try:
        running.start("--bots", "0")
        running.open_account("alice")
        assert running.stop() == 0
        running.use(postgres_url, other)
        running.start("--bots", "0", wait=False)
        assert running.process is not None
        assert running.process.wait(60) == 1
        assert "not the log that this data belongs to" in " ".join(running.output_text().split())
    finally:
        running.close()
        drop_databases(postgres_url, other)


def test_a_killed_launcher_leaves_no_service_behind_and_can_start_again() -> None:
    running = Running()
    try:
        running.start("--bots", "3")
        alice = running.open_account("alice")
        order = running.order(alice, symbol="AAPL", side="buy", quantity=1, price="1.00").json()
        assert running.stop(signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: not [text for text in running.leftovers() if "postgres" not in text], 30, "no service is left")
        running.start("--bots", "0")
        assert running.http.get(f"{running.gateway}/orders/{order['order_id']}", headers=alice).json() == order
        running.until_at_rest()
        running.assert_whole_audit_is_clean()
        assert running.stop() == 0
        assert running.leftovers() == []
    finally:
        running.close()


def test_an_exchange_continues_after_its_postgres_is_killed() -> None:
    running = Running()
    try:
        running.start("--bots", "6")
        alice = running.open_account("alice")
        eventually(lambda: running.http.get(f"{running.feed}/stats").json()["trades"] > 5, 60, "bots trade")
        postmaster = int((running.data / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        order = {"symbol": "AAPL", "side": "buy", "quantity": 1, "price": "1.00"}
        answers: list[int] = []

        def accepted() -> bool:
            answers.append(running.order(alice, **order).status_code)
            return answers[-1] == 201

        eventually(accepted, 60, "orders are accepted again")
        assert set(answers) <= {201, 503, 504}
        eventually(lambda: running.http.get(f"{running.feed}/health/ready").status_code == 200, 60)
        eventually(lambda: running.http.get(f"{running.clearing}/health/ready").status_code == 200, 60)
        assert running.stop() == 0
        running.start("--bots", "0")
        running.until_at_rest()
        running.assert_whole_audit_is_clean()
        assert running.stop() == 0
    finally:
        running.close()
