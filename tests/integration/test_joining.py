"""A classroom with a PIN: joining, the roster, and the teacher's changes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.integration.running import Running, eventually

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    exchange = Running(None, postgres_url, module_namespace)
    exchange.start("--classroom", "--bots", "0")
    yield exchange
    exchange.until_at_rest()
    exchange.assert_whole_audit_is_clean()
    assert exchange.stop() == 0
    exchange.close()


def pin(running: Running) -> str:
    return (running.data / "secrets" / "pin").read_text().strip()


def join(running: Running, nickname: str, **fields: str) -> httpx.Response:
    return running.http.post(f"{running.gateway}/join", json={"pin": pin(running), "nickname": nickname, **fields})


def joined(running: Running, nickname: str) -> dict[str, str]:
    """Join, and return the headers that authenticate the person."""
    answer = join(running, nickname)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['api_key']}"}


def seat(running: Running, client_id: str) -> str:
    people = running.http.get(f"{running.gateway}/lobby").json()["participants"]
    return next((person["seat"] for person in people if person["client_id"] == client_id), "")


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


ORDER = {"symbol": "AAPL", "side": "buy", "quantity": "1", "price": "10"}


def test_a_person_joins_with_the_pin_and_trades_with_the_key(running: Running) -> None:
    answer = join(running, "Zoë  Kay", team="Red")
    assert answer.status_code == 201
    body = answer.json()
    assert (body["client_id"], body["nickname"], body["team"]) == ("zoe-kay", "Zoë Kay", "Red")
    assert running.order({"Authorization": f"Bearer {body['api_key']}"}, **ORDER).status_code == 201


def test_a_wrong_pin_is_refused_with_its_field(running: Running) -> None:
    answer = running.http.post(f"{running.gateway}/join", json={"pin": "12", "nickname": "Eve"})
    assert (answer.status_code, code(answer), answer.json()["error"]["field"]) == (403, "FORBIDDEN", "pin")
    assert seat(running, "eve") == ""


def test_nobody_can_be_somebody_else_without_the_key(running: Running) -> None:
    headers = joined(running, "Grace")
    for impostor in ({"Client-ID": "grace"}, {"Client-ID": "Grace"}):
        answer = running.order(impostor, **ORDER)
        assert answer.status_code == (401 if impostor["Client-ID"] == "grace" else 201)
    quick = running.http.post(f"{running.gateway}/buy", json={"stock": "AAPL", "uid": "grace", "price": 1, "quantity": 1})
    assert (quick.status_code, code(quick)) == (401, "UNAUTHENTICATED")
    with running.socket(running.gateway, "/ws/orders") as orders:
        assert orders.request({"op": "login", "client_id": "grace"})["error"]["code"] == "UNAUTHENTICATED"
    eventually(lambda: running.http.get(f"{running.feed}/balance/grace", headers=headers).status_code == 200)
    assert running.http.get(f"{running.feed}/balance/grace", headers={"Client-ID": "grace"}).status_code == 401


def test_a_name_that_a_program_uses_ends_with_the_join_of_a_person(running: Running) -> None:
    answer = running.http.post(f"{running.gateway}/clients/heidi/keys", headers={"Client-ID": "heidi"})
    assert answer.status_code == 201
    stolen = {"Authorization": f"Bearer {answer.json()['api_key']}"}
    name = {"Client-ID": "heidi"}
    with running.socket(running.gateway, "/ws/orders", name) as orders, running.socket(running.feed, "/ws", name) as feed:
        assert orders.request({"op": "login", "client_id": "heidi"})["ok"]
        feed.send({"op": "login", "client_id": "heidi"})
        assert feed.receive()["ok"]
        joined(running, "Heidi")
        for socket in (orders, feed):
            with pytest.raises(ConnectionClosed, match="1008"):
                [socket.receive() for _ in range(100)]
    assert running.order(stolen, **ORDER).status_code == 401


def test_a_nickname_is_unique_even_if_thirty_join_with_it_at_once(running: Running) -> None:
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda number: join(running, "Same" if number % 2 else "SAME"), range(30)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 29]
    assert {code(answer) for answer in answers if answer.status_code == 409} == {"CLIENT_EXISTS"}


def test_the_roster_keeps_seats_and_gives_teams(running: Running) -> None:
    answer = running.http.post(f"{running.gateway}/admin/participants", json={"csv": "nickname,team\nMary,Blue\nTim,Red\n"})
    assert answer.status_code == 200, answer.text
    assert seat(running, "mary") == "invited"
    assert join(running, "mary").json()["team"] == "Blue"
    assert (seat(running, "mary"), join(running, "Mary").status_code) == ("joined", 409)


def test_a_removed_person_loses_key_connection_and_orders(running: Running) -> None:
    headers = joined(running, "Mallory")
    order_id = running.order(headers, **ORDER).json()["order_id"]
    with running.socket(running.gateway, "/ws/orders", headers) as orders:
        assert running.http.delete(f"{running.gateway}/admin/participants/mallory").status_code == 200
        with pytest.raises(ConnectionClosed, match="1008"):
            [orders.receive() for _ in range(100)]
    assert running.order(headers, **ORDER).status_code == 401
    assert (seat(running, "mallory"), join(running, "Mallory").status_code) == ("removed", 409)
    admin = {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text().strip()}"}
    ended = running.http.get(f"{running.gateway}/orders/mallory", headers=admin)
    assert order_id not in ended.text


def test_a_freed_seat_keeps_the_account_and_ends_the_old_key(running: Running) -> None:
    lost = joined(running, "Ann")
    assert running.order(lost, **ORDER).status_code == 201
    assert running.http.post(f"{running.gateway}/admin/participants/ann/free").status_code == 200
    assert running.order(lost, **ORDER).status_code == 401
    found = joined(running, "Ann")
    assert len(running.http.get(f"{running.gateway}/orders", headers=found).json()["orders"]) == 1


def test_a_renamed_participant_keeps_its_account_and_the_pages_show_the_new_name(running: Running) -> None:
    joined(running, "Rude Word")
    route = f"{running.gateway}/admin/participants/rude-word"
    assert running.http.put(route, json={"nickname": "Robin"}).json()["nickname"] == "Robin"
    assert code(running.http.put(route, json={"nickname": "Zoë Kay"})) == "CLIENT_EXISTS"

    def shown_name() -> str:
        leaders = running.http.get(f"{running.feed}/leaderboard?limit=1000").json()
        return next(leader["nickname"] for leader in leaders if leader["client_id"] == "rude-word")

    eventually(lambda: shown_name() == "Robin")


def test_the_pin_and_the_link_are_the_teachers_alone(running: Running) -> None:
    person = joined(running, "Curious")
    for route in ("admin/participants", "admin/join.svg"):
        assert running.http.get(f"{running.gateway}/{route}", headers=person).status_code == 403
    shown = running.http.get(f"{running.gateway}/admin/participants").json()
    assert shown["pin"] == pin(running)
    assert shown["join_url"] == f"{running.gateway}/#join"
    assert running.http.get(f"{running.gateway}/admin/join.svg").text.startswith("<?xml")
    assert pin(running) not in running.http.get(f"{running.gateway}/lobby").text


def test_too_many_wrong_pins_are_refused_for_a_while(running: Running) -> None:
    def guess(number: int) -> int:
        return running.http.post(f"{running.gateway}/join", json={"pin": f"x{number}", "nickname": "Eve"}).status_code

    statuses = {guess(number) for number in range(80)}
    assert statuses == {403, 429}
    eventually(lambda: join(running, "After the guesses").status_code == 201)


def test_seats_outlast_a_kill_of_gateway_and_feed(running: Running) -> None:
    headers = joined(running, "Steady")
    for module in ("order_entry_gateway", "market_data_feed"):
        running.kill(module)
    eventually(lambda: running.http.get(f"{running.gateway}/health/ready").status_code == 200)
    eventually(lambda: running.http.get(f"{running.feed}/health/ready").status_code == 200)
    assert seat(running, "steady") == "joined"
    assert running.order({"Client-ID": "steady"}, **ORDER).status_code == 401
    assert running.order(headers, **ORDER).status_code == 201
    assert join(running, "Steady").status_code == 409
