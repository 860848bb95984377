"""An order that is sent again under its `client_order_id` is entered once, through each way in and over each fault."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.running import Running, environment, eventually
from trading_bots.client import ExchangeClient

pytestmark = pytest.mark.slow
ENGINE, GATEWAY = "matching_engine", "order_entry_gateway"


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """An exchange whose gateway waits a second for the engine."""
    exchange = Running(None, postgres_url, module_namespace)
    with environment(MX_REPORT_TIMEOUT="1"):
        exchange.start("--bots", "0")
    yield exchange
    exchange.until_at_rest()
    exchange.assert_whole_audit_is_clean()
    assert exchange.stop() == 0
    exchange.close()


@contextlib.contextmanager
def stopped_engine(running: Running) -> Iterator[None]:
    """Stop the process of the engine for a while."""
    engine = running.pids()[ENGINE]
    os.kill(engine, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(engine, signal.SIGCONT)


def orders_of(running: Running, headers: dict[str, str], name: str) -> list[tuple[str, str]]:
    """Return (id, status) of the orders with a client order id, oldest first."""
    found = running.http.get(f"{running.gateway}/orders", params={"client_order_id": name}, headers=headers).json()
    return [(order["order_id"], order["status"]) for order in reversed(found["orders"])]


def fills_of(running: Running, headers: dict[str, str]) -> int:
    """Return the number of fills of a client, once all are stored."""
    running.until_at_rest()
    return len(running.http.get(f"{running.gateway}/fills", headers=headers).json()["fills"])


def buy(name: str, symbol: str, quantity: int = 3) -> dict[str, Any]:
    return {"symbol": symbol, "side": "buy", "quantity": quantity, "price": "10.00", "client_order_id": name}


def test_an_order_that_is_sent_again_after_a_504_and_a_fill_is_entered_once(running: Running) -> None:
    ann, ben = running.open_account("ann"), running.open_account("ben")
    assert running.order(ben, symbol="AAPL", side="sell", quantity=3, price="10.00").status_code == 201
    order = buy("once", "AAPL")
    with stopped_engine(running):
        for _ in range(2):
            answer = running.order(ann, **order)
            assert (answer.status_code, answer.json()["error"]["code"]) == (504, "OUTCOME_UNKNOWN")
    first = eventually(lambda: [found for found in orders_of(running, ann, "once") if found[1] == "FILLED"])[0][0]
    for _ in range(2):
        answer = running.order(ann, **order)
        view = answer.json()
        assert (answer.status_code, view["duplicate"], view["order_id"], view["status"]) == (200, True, first, "FILLED")
    assert fills_of(running, ann) == 1
    assert [status for _, status in orders_of(running, ann, "once")] == ["FILLED", "REJECTED", "REJECTED", "REJECTED"]


def test_the_first_order_is_the_answer_after_a_restart_of_engine_and_gateway(running: Running) -> None:
    cat, dan = running.open_account("cat"), running.open_account("dan")
    running.order(dan, symbol="MSFT", side="sell", quantity=3, price="10.00")
    first = running.order(cat, **buy("restart", "MSFT")).json()
    assert (first["status"], first["duplicate"]) == ("FILLED", False)
    running.until_at_rest()
    for service in (ENGINE, GATEWAY):
        running.kill(service)
    eventually(lambda: _is_ready(running), 60, "ready")
    answer = eventually(lambda: _answered(running.order(cat, **buy("restart", "MSFT"))), 60, "an answer")
    assert (answer.status_code, answer.json()["duplicate"]) == (200, True)
    assert (answer.json()["order_id"], answer.json()["status"]) == (first["order_id"], "FILLED")
    with running.socket(running.gateway, "/ws/orders", cat) as ws:
        answer = ws.request({"id": 1, "op": "order", **buy("restart", "MSFT")})
        assert (answer["ok"], answer["order"]["duplicate"], answer["order"]["order_id"]) == (True, True, first["order_id"])
    assert fills_of(running, cat) == 1


def _is_ready(running: Running) -> bool:
    with contextlib.suppress(Exception):
        return running.http.get(f"{running.gateway}/health/ready").status_code == 200
    return False


def _answered(answer: Any) -> Any:
    return answer if answer.status_code < 500 else None


def test_an_order_on_two_connections_at_once_is_entered_once(running: Running) -> None:
    eve = running.open_account("eve")
    order = buy("both", "AMZN", 1)
    with running.socket(running.gateway, "/ws/orders", eve) as ws, ThreadPoolExecutor(8) as pool:
        rest = [pool.submit(running.order, eve, **order) for _ in range(50)]
        for number in range(50):
            ws.send({"id": number, "op": "order", **order})
        answers = [future.result() for future in rest]
        by_socket: dict[int, Any] = {}
        while len(by_socket) < 50:
            message = ws.receive()
            if message.get("op") != "report" and "order" in message:
                by_socket[message["id"]] = message
    views = [answer.json() for answer in answers] + [message["order"] for message in by_socket.values()]
    assert len({view["order_id"] for view in views}) == 1
    assert [view["duplicate"] for view in views].count(False) == 1
    assert sorted({answer.status_code for answer in answers}) in ([200], [200, 201])
    (book,) = running.http.get(f"{running.feed}/book/AMZN").json()["bids"]
    assert book[1:] == ["1", 1]


def test_another_order_under_a_taken_name_is_refused_over_each_protocol(running: Running) -> None:
    fay = running.open_account("fay")
    first = running.order(fay, **buy("taken", "AAPL", 1)).json()["order_id"]
    running.http.delete(f"{running.gateway}/orders/{first}", headers=fay)
    for change in ({"quantity": 2}, {"side": "sell"}, {"price": "9.00"}, {"symbol": "MSFT"}):
        answer = running.order(fay, **(buy("taken", "AAPL", 1) | change))
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["field"]) == (409, "DUPLICATE_CLIENT_ORDER_ID", "client_order_id")
        assert first in error["message"]
        with running.socket(running.gateway, "/ws/orders", fay) as ws:
            answer = ws.request({"id": 1, "op": "order", **buy("taken", "AAPL", 1), **change})
            assert answer["error"]["code"] == "DUPLICATE_CLIENT_ORDER_ID"


def test_the_client_of_the_sdk_sends_an_order_again_and_returns_the_first(running: Running) -> None:
    gus, hal = running.open_account("gus"), running.open_account("hal")
    running.order(hal, symbol="GOOG", side="sell", quantity=2, price="10.00")
    key = gus["Authorization"].removeprefix("Bearer ")
    with ExchangeClient(running.gateway, running.feed, key, "gus") as client, stopped_engine(running):
        continues = threading.Timer(2.5, os.kill, (running.pids()[ENGINE], signal.SIGCONT))
        continues.start()
        order = client.buy("GOOG", 2, "10.00")
        continues.join()
    assert (order.status, order.duplicate) == ("FILLED", True)
    assert fills_of(running, gus) == 1
