"""What a new account begins with, and how the admin opens one with something else: an exchange with its own defaults."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from microexchange.securities import MOST_TRADED_SYMBOLS
from tests.integration.running import Running, eventually
from trading_bots import Bot
from trading_bots.runner import Funding, KeyFile, run_bots

pytestmark = pytest.mark.slow
FUNDING = {"cash": "5000.00", "shares": {"AAPL": "40"}, "credit": "0", "short_limit": "0", "house": True}


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """An exchange of ten securities with the endowment that it has by itself."""
    exchange = Running(None, postgres_url, module_namespace, endowment={})
    exchange.start("--bots", "0", "--securities", "10")
    yield exchange
    assert exchange.audit(whole=True) == []
    exchange.close()


def admin(running: Running) -> dict[str, str]:
    return {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text().strip()}"}


def fund(running: Running, client: str, status: int = 200, **body: Any) -> Any:
    answer = running.http.put(f"{running.gateway}/admin/clients/{client}", json=body, headers=admin(running))
    assert answer.status_code == status, answer.text
    return answer.json()


def key(account: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {account['api_key']}"}


def test_as_many_securities_are_listed_as_was_asked_for_the_most_traded_first(running: Running) -> None:
    listed = running.http.get(f"{running.feed}/securities?limit=1000").json()
    assert {one["symbol"] for one in listed} == set(MOST_TRADED_SYMBOLS[:10])


def test_a_new_account_has_cash_and_no_shares_and_may_be_short_up_to_its_limit(running: Running) -> None:
    opened = running.http.post(f"{running.gateway}/clients", json={"client_id": "new"}).json()
    assert (opened["cash"], opened["shares"]) == ("10000.00", {})
    # Apple is listed at 190.00: 52 of it count for 9,880.
    refused = running.order(key(opened), symbol="AAPL", side="sell", quantity=53, price="195.00")
    assert refused.json()["error"]["code"] == "INSUFFICIENT_SHARES"
    assert "52 can be sold" in refused.json()["error"]["message"]
    assert running.order(key(opened), symbol="AAPL", side="sell", quantity=52, price="195.00").status_code == 201
    assert running.order(key(opened), symbol="MSFT", side="sell", quantity=1, price="400.00").status_code == 409
    buyer = fund(running, "deep", cash="1000000", short_limit="0")
    running.order(key(buyer), symbol="AAPL", side="buy", quantity=50, price="195.00")
    eventually(
        lambda: running.http.get(f"{running.feed}/holdings/AAPL/new", headers=key(opened)).json()["quantity"] == "-50"
    )


def test_the_admin_opens_an_account_with_what_it_says_once_and_gets_a_key_each_time(running: Running) -> None:
    first = fund(running, "maker", **FUNDING)
    assert (first["cash"], first["shares"]) == ("5000.00", {"AAPL": "40"})
    again = fund(running, "maker", **FUNDING)
    assert (again["cash"], again["shares"]) == ("0.00", {}), "it is given nothing a second time"
    assert again["api_key"] != first["api_key"]
    for account in (first, again):

        def cash(account: Any = account) -> str:
            return str(running.http.get(f"{running.feed}/balance/maker", headers=key(account)).json()["cash"])

        eventually(lambda cash=cash: cash() == "5000.00")
    assert running.order(key(again), symbol="AAPL", side="sell", quantity=41, price="999.00").status_code == 409


def test_an_account_of_the_other_kind_is_not_taken_for_the_houses_own(running: Running) -> None:
    running.open_account("stranger")
    assert fund(running, "stranger", 409, **FUNDING)["error"]["code"] == "CLIENT_EXISTS"
    fund(running, "maker-2", **FUNDING)
    assert fund(running, "maker-2", 409, cash="1")["error"]["code"] == "CLIENT_EXISTS"


def test_only_the_admin_opens_accounts_so_and_what_cannot_be_is_refused(running: Running) -> None:
    headers = running.open_account("nobody-special")
    answer = running.http.put(f"{running.gateway}/admin/clients/rich", json=FUNDING, headers=headers)
    assert answer.status_code == 403
    assert fund(running, "rich", 404, shares={"NONE": "1"})["error"]["code"] == "UNKNOWN_SYMBOL"
    assert fund(running, "rich", 422, cash="-1")["error"]["field"] == "cash"


def test_a_house_bot_is_funded_once_though_its_keys_are_lost(running: Running, tmp_path: Path) -> None:
    class Idle(Bot):
        def on_start(self) -> None:
            self.begun.set()

    async def once(keys: KeyFile) -> str:
        bot, stop = Idle(), asyncio.Event()
        bot.begun = asyncio.Event()
        token = admin(running)["Authorization"].removeprefix("Bearer ")
        funding = {"Idle-1": Funding(cash=Decimal(777), shares={"AAPL": Decimal(2)})}
        task = asyncio.create_task(run_bots({"Idle-1": bot}, running.gateway, running.feed, keys, stop, token, funding))
        await asyncio.wait_for(bot.begun.wait(), 30)
        stop.set()
        await task
        return bot.client_id

    def has(account: str) -> tuple[str, str]:
        cash = running.http.get(f"{running.feed}/balance/Idle-1", headers=key({"api_key": account})).json()["cash"]
        held = running.http.get(f"{running.feed}/holdings/AAPL/Idle-1", headers=key({"api_key": account})).json()["quantity"]
        return cash, held

    for name in ("first", "second"):
        keys = KeyFile(tmp_path / name)
        assert asyncio.run(once(keys)) == "Idle-1"
        account = keys.get("Idle-1")
        assert account is not None
        running.until_at_rest()
        assert has(account) == ("777.00", "2")


def test_the_leaderboard_ranks_by_profit_and_hides_the_house_where_it_is_asked_to(running: Running) -> None:
    fund(running, "house-one", **FUNDING)
    running.open_account("plain-one")

    def board(query: str = "") -> dict[str, Any]:
        leaders = running.http.get(f"{running.feed}/leaderboard?limit=1000{query}").json()
        assert [one["rank"] for one in leaders] == list(range(1, len(leaders) + 1))
        profits = [Decimal(one["profit"]) for one in leaders]
        assert profits == sorted(profits, reverse=True)
        return {one["client_id"]: one for one in leaders}

    eventually(lambda: {"plain-one", "house-one"} <= board().keys())
    everybody = board()
    assert everybody["house-one"]["house"]
    assert "house-one" not in board("&house=false")
    assert "plain-one" in board("&house=false")
    eventually(lambda: board()["house-one"]["given"] != "0.00")
    given = board()["house-one"]
    assert Decimal(given["given"]) == Decimal(given["equity"]), "what it was given at today's prices"
    assert given["profit"] == "0.00"
    curves = running.http.get(f"{running.feed}/leaderboard/equity?limit=20&house=false").json()
    assert "house-one" not in {one["client_id"] for one in curves}


def test_what_the_leaderboard_says_survives_the_feed(running: Running) -> None:
    eventually(lambda: any(one["trades"] for one in running.http.get(f"{running.feed}/leaderboard").json()))
    running.until_at_rest()

    def board() -> Any:
        return running.http.get(f"{running.feed}/leaderboard?limit=1000").json()

    before = board()
    running.kill("market_data_feed")
    eventually(lambda: running.http.get(f"{running.feed}/health/ready").status_code == 200)
    kept = ("client_id", "house", "given", "profit", "drawdown", "trades")
    assert [[one[name] for name in kept] for one in board()] == [[one[name] for name in kept] for one in before]


def test_a_listing_file_is_listed_by_a_flag(postgres_url: str, postgres_namespace: str, tmp_path: Path) -> None:
    listing = tmp_path / "own.csv"
    listing.write_text("symbol,name,reference_price\nOAK,Oak,10\nASH,Ash,20\nELM,Elm,30\n")
    exchange = Running(None, postgres_url, postgres_namespace, endowment={})
    try:
        exchange.start("--bots", "0", "--listing", str(listing))
        listed = eventually(lambda: len(found := exchange.http.get(f"{exchange.feed}/securities").json()) == 3 and found)
        assert {one["symbol"] for one in listed} == {"OAK", "ASH", "ELM"}
        assert not any(one["quiet"] for one in listed), "there is no house"
    finally:
        exchange.close()


def test_a_security_is_quiet_until_the_house_has_an_order_in_it(running: Running) -> None:
    account = fund(running, "quoter", **FUNDING)

    def quiet() -> dict[str, bool]:
        return {one["symbol"]: one["quiet"] for one in running.http.get(f"{running.feed}/securities?limit=1000").json()}

    eventually(lambda: quiet()["META"])
    assert running.order(key(account), symbol="META", side="buy", quantity=1, price="1.00").status_code == 201
    eventually(lambda: not quiet()["META"])
    assert quiet()["GOOG"]
