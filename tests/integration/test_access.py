"""Access to the exchange: registration, keys, limits and headers."""

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.integration.running import Running, environment, eventually

pytestmark = pytest.mark.slow
ORDER = {"symbol": "AAPL", "side": "buy", "quantity": 1, "price": "1.00"}


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """An exchange with registration by invitation, tight limits, and one allowed origin."""
    exchange = Running(None, postgres_url, module_namespace)
    with environment(
        MX_REGISTRATION="invitation",
        MX_REQUESTS_PER_SECOND="20",
        MX_OPEN_ORDERS="5",
        MX_CONNECTIONS="2",
        MX_KEYS="3",
        MX_ADDRESS_ACCOUNTS="30",
        MX_CORS_ORIGINS='["https://class.example"]',
    ):
        exchange.start("--bots", "3")
    yield exchange
    assert exchange.stop() == 0
    exchange.close()


def secret(running: Running, name: str) -> str:
    return (running.data / "secrets" / name).read_text()


def open_account(running: Running, client_id: str) -> tuple[dict[str, str], str]:
    """Open an account. Return its headers and the id of its key."""
    body = {"client_id": client_id, "invitation_code": secret(running, "invitation-code")}
    answer = running.http.post(f"{running.gateway}/clients", json=body)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['api_key']}"}, answer.json()["key_id"]


def status_and_code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_new_account_needs_the_invitation_code_or_the_admin_token(running: Running) -> None:
    post, url = running.http.post, f"{running.gateway}/clients"
    for body in ({"client_id": "eve"}, {"client_id": "eve", "invitation_code": "guess"}):
        refused = post(url, json=body)
        assert status_and_code(refused) == (403, "FORBIDDEN")
        assert refused.json()["error"]["field"] == "invitation_code"
    open_account(running, "alice")
    admin = {"Authorization": f"Bearer {secret(running, 'admin-token')}"}
    assert post(url, json={"client_id": "eve"}, headers=admin).status_code == 201

    def bots() -> bool:
        leaders = running.http.get(f"{running.feed}/leaderboard").json()
        return any(leader["client_id"].startswith("MarketMaker") for leader in leaders)

    eventually(bots, 60, "house bots have accounts, which the admin token opened")


@pytest.mark.parametrize("login", ["header", "message"])
def test_the_feed_closes_a_connection_when_its_key_is_revoked(running: Running, login: str) -> None:
    name = f"revoked-{login}"
    headers, key_id = open_account(running, name)
    key = headers["Authorization"].removeprefix("Bearer ")
    url = running.feed.replace("http", "ws") + "/ws"
    with connect(url, additional_headers=headers if login == "header" else None) as socket:
        if login == "message":
            socket.send(json.dumps({"op": "login", "key": key}))
        socket.send(json.dumps({"op": "subscribe", "channel": "orders"}))
        while json.loads(socket.recv(10)).get("op") != "subscribed":
            pass
        running.http.delete(f"{running.gateway}/clients/{name}/keys/{key_id}", headers=headers)
        with contextlib.suppress(ConnectionClosed):
            for _ in socket:
                pass  # reports before the end
        assert socket.protocol.close_code == 1008
        assert socket.protocol.close_reason == "the API key was revoked"


def test_a_connection_to_the_feed_belongs_to_one_client(running: Running) -> None:
    keys = [open_account(running, name)[0]["Authorization"].removeprefix("Bearer ") for name in ("first-one", "second-one")]
    with connect(running.feed.replace("http", "ws") + "/ws") as socket:
        answers = []
        for key in (keys[0], keys[0], keys[1]):
            socket.send(json.dumps({"op": "login", "key": key}))
            answers.append(json.loads(socket.recv(10)))
        assert [answer["op"] for answer in answers] == ["login", "login", "error"]
        assert answers[2]["error"]["code"] == "FORBIDDEN"


def test_a_key_is_listed_rotated_and_revoked_in_all_services(running: Running) -> None:
    old, old_id = open_account(running, "bob")
    keys = f"{running.gateway}/clients/bob/keys"
    issued = running.http.post(keys, headers=old).json()
    new = {"Authorization": f"Bearer {issued['api_key']}"}
    with connect(running.gateway.replace("http", "ws") + "/ws/orders", additional_headers=old) as socket:
        assert running.http.delete(f"{keys}/{old_id}", headers=new).json() == {"ok": True}
        with pytest.raises(ConnectionClosed):
            socket.recv(20)
        assert socket.protocol.close_reason == "the API key of this connection was revoked"
    assert status_and_code(running.order(old, **ORDER)) == (401, "UNAUTHENTICATED")
    assert running.order(new, **ORDER).status_code == 201
    balance = f"{running.feed}/balance/bob"
    eventually(lambda: running.http.get(balance, headers=old).status_code == 401, 10, "the feed refuses the revoked key")
    assert running.http.get(balance, headers=new).status_code == 200
    # The list comes from the feed, which stores the revocation a little later.
    eventually(lambda: "revoked_at" in running.http.get(keys, headers=new).json()[0], 10)
    first, second = running.http.get(keys, headers=new).json()
    assert (first["key_id"], "revoked_at" in first, "revoked_at" in second) == (old_id, True, False)
    assert "api_key" not in first
    assert status_and_code(running.http.delete(f"{keys}/none", headers=new)) == (404, "NOT_FOUND")
    other, _ = open_account(running, "carol")
    assert status_and_code(running.http.get(keys, headers=other)) == (403, "FORBIDDEN")
    running.http.delete(f"{running.gateway}/orders", headers=new)

    # The revocation is the same after a restart.
    running.kill("order_entry_gateway")
    running.kill("market_data_feed")
    for base in (running.gateway, running.feed):
        eventually(lambda base=base: running.http.get(f"{base}/health/ready").status_code == 200, 60)
    assert status_and_code(running.order(old, **ORDER)) == (401, "UNAUTHENTICATED")
    assert running.http.get(balance, headers=old).status_code == 401
    assert running.http.get(keys, headers=new).status_code == 200


def test_a_flood_is_refused_with_a_time_to_wait_and_other_clients_trade(running: Running) -> None:
    flood, _ = open_account(running, "flood")
    other, _ = open_account(running, "calm")
    with ThreadPoolExecutor(20) as pool:
        send_request = partial(running.http.get, f"{running.gateway}/orders/1", headers=flood)
        answers = list(pool.map(lambda _: send_request(), range(200)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused, "the limit allows forty requests at once, and two hundred came"
    assert status_and_code(refused[0]) == (429, "RATE_LIMITED")
    assert (refused[0].headers["Retry-After"], refused[0].headers["RateLimit-Limit"]) == ("1", "20")
    assert running.order(other, **ORDER).status_code == 201
    time.sleep(1)
    assert running.order(flood, **ORDER).status_code == 201


def test_open_orders_and_connections_have_a_limit(running: Running) -> None:
    dave, _ = open_account(running, "dave")
    for _ in range(5):
        assert running.order(dave, **ORDER).status_code == 201
    assert status_and_code(running.order(dave, **ORDER)) == (422, "LIMIT_EXCEEDED")
    running.http.delete(f"{running.gateway}/orders", headers=dave)
    assert running.order(dave, **ORDER).status_code == 201
    url = running.gateway.replace("http", "ws") + "/ws/orders"
    with (
        connect(url, additional_headers=dave),
        connect(url, additional_headers=dave),
        connect(url, additional_headers=dave) as third,
    ):
        assert "connections" in third.recv(20)
        with pytest.raises(ConnectionClosed):
            third.recv(20)


@pytest.mark.parametrize("service", ["gateway", "feed"])
def test_a_client_has_a_limit_of_connections_at_the_feed_over_all_its_keys(running: Running, service: str) -> None:
    name = f"reader-{service}"
    first, _ = open_account(running, name)
    second = running.http.post(f"{running.gateway}/clients/{name}/keys", headers=first).json()["api_key"]
    url = getattr(running, service).replace("http", "ws") + "/ws"
    login = json.dumps({"op": "login", "key": second})
    with connect(url, additional_headers=first), connect(url) as by_message, connect(url) as third:
        by_message.send(login)
        assert json.loads(by_message.recv(10))["ok"]
        third.send(login)
        refused = json.loads(third.recv(10))["error"]
        assert refused["code"] == "RATE_LIMITED"
        assert refused["message"] == f"{name} has 2 connections, which is the limit: close some"
        with connect(url, additional_headers=first) as fourth:
            assert json.loads(fourth.recv(10))["error"] == refused
            with pytest.raises(ConnectionClosed):
                fourth.recv(10)
            assert fourth.protocol.close_code == 1008


def test_a_client_has_a_limit_of_valid_keys_also_for_requests_at_once(running: Running) -> None:
    headers, first_id = open_account(running, "keyring")
    keys = f"{running.gateway}/clients/keyring/keys"
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: running.http.post(keys, headers=headers), range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [422] * 8
    refused = next(answer for answer in answers if answer.status_code == 422).json()["error"]
    assert (refused["code"], "3 API keys, which is the limit: revoke some" in refused["message"]) == ("LIMIT_EXCEEDED", True)
    other = next(answer for answer in answers if answer.status_code == 201).json()["api_key"]
    assert running.http.delete(f"{keys}/{first_id}", headers=headers).status_code == 200
    again = {"Authorization": f"Bearer {other}"}
    assert running.http.post(keys, headers=again).status_code == 201
    assert running.http.post(keys, headers=again).status_code == 422
    admin = {"Authorization": f"Bearer {secret(running, 'admin-token')}"}
    assert running.http.post(keys, headers=admin).status_code == 201, "the admin has no limit"


def test_answers_have_security_headers_and_allow_the_configured_origin(running: Running) -> None:
    for base in (running.gateway, running.feed):
        ours = running.http.get(f"{base}/health/live", headers={"Origin": "https://class.example"})
        assert ours.headers["Access-Control-Allow-Origin"] == "https://class.example"
        assert ours.headers["X-Content-Type-Options"] == "nosniff"
        assert ours.headers["X-Frame-Options"] == "DENY"
        other = running.http.get(f"{base}/health/live", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in other.headers


def test_an_address_has_a_limit_of_accounts_and_the_admin_has_none(running: Running) -> None:
    code, statuses = secret(running, "invitation-code"), []
    for number in range(31):
        body = {"client_id": f"many-{number}", "invitation_code": code}
        answer = running.http.post(f"{running.gateway}/clients", json=body)
        statuses.append(answer.status_code)
        if answer.status_code != 201:
            break
    assert status_and_code(answer) == (429, "RATE_LIMITED")
    assert "127.0.0.1 has opened 30 accounts" in answer.json()["error"]["message"]
    assert 100 < int(answer.headers["Retry-After"]) <= 120
    admin = {"Authorization": f"Bearer {secret(running, 'admin-token')}"}
    assert running.http.post(f"{running.gateway}/clients", json={"client_id": "late"}, headers=admin).status_code == 201
