"""The endowment of new accounts: the default, and accounts that the admin opens."""

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
    """An exchange of ten securities with its default endowment."""
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


def test_the_securities_flag_lists_the_most_traded_securities(running: Running) -> None:
    listed = running.http.get(f"{running.feed}/securities?limit=1000").json()
    assert {security["symbol"] for security in listed} == set(MOST_TRADED_SYMBOLS[:10])


def test_a_new_account_has_cash_and_no_shares_and_may_be_short_up_to_its_limit(running: Running) -> None:
    opened = running.http.post(f"{running.gateway}/clients", json={"client_id": "new"}).json()
    assert (opened["cash"], opened["shares"]) == ("10000.00", {})
    # The reference price of AAPL is 190.00, so 52 shares count for 9,880.
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


def test_the_admin_endows_an_account_once_and_gets_a_key_each_time(running: Running) -> None:
    first = fund(running, "maker", **FUNDING)
    assert (first["cash"], first["shares"]) == ("5000.00", {"AAPL": "40"})
    again = fund(running, "maker", **FUNDING)
    assert (again["cash"], again["shares"]) == ("0.00", {}), "a second request endows nothing"
    assert again["api_key"] != first["api_key"]
    for account in (first, again):

        def cash(account: Any = account) -> str:
            return str(running.http.get(f"{running.feed}/balance/maker", headers=key(account)).json()["cash"])

        eventually(lambda cash=cash: cash() == "5000.00")
    assert running.order(key(again), symbol="AAPL", side="sell", quantity=41, price="999.00").status_code == 409


def test_an_account_of_a_client_cannot_become_one_of_the_house(running: Running) -> None:
    running.open_account("stranger")
    assert fund(running, "stranger", 409, **FUNDING)["error"]["code"] == "CLIENT_EXISTS"
    fund(running, "maker-2", **FUNDING)
    assert fund(running, "maker-2", 409, cash="1")["error"]["code"] == "CLIENT_EXISTS"


def test_only_the_admin_endows_accounts_and_wrong_endowments_are_refused(running: Running) -> None:
    headers = running.open_account("nobody-special")
    answer = running.http.put(f"{running.gateway}/admin/clients/rich", json=FUNDING, headers=headers)
    assert answer.status_code == 403
    assert fund(running, "rich", 404, shares={"NONE": "1"})["error"]["code"] == "UNKNOWN_SYMBOL"
    assert fund(running, "rich", 422, cash="-1")["error"]["field"] == "cash"


def test_a_house_bot_is_funded_once_even_if_its_keys_are_lost(running: Running, tmp_path: Path) -> None:
    class Idle(Bot):
        def on_start(self) -> None:
            self.begun.set()

    async def run_once(keys: KeyFile) -> str:
        bot, stop = Idle(), asyncio.Event()
        bot.begun = asyncio.Event()
        token = admin(running)["Authorization"].removeprefix("Bearer ")
        funding = {"Idle-1": Funding(cash=Decimal(777), shares={"AAPL": Decimal(2)})}
        task = asyncio.create_task(run_bots({"Idle-1": bot}, running.gateway, running.feed, keys, stop, token, funding))
        await asyncio.wait_for(bot.begun.wait(), 30)
        stop.set()
        await task
        return bot.client_id

    def cash_and_holding(account: str) -> tuple[str, str]:
        cash = running.http.get(f"{running.feed}/balance/Idle-1", headers=key({"api_key": account})).json()["cash"]
        held = running.http.get(f"{running.feed}/holdings/AAPL/Idle-1", headers=key({"api_key": account})).json()["quantity"]
        return cash, held

    for name in ("first", "second"):
        keys = KeyFile(tmp_path / name)
        assert asyncio.run(run_once(keys)) == "Idle-1"
        account = keys.get("Idle-1")
        assert account is not None
        running.until_at_rest()
        assert cash_and_holding(account) == ("777.00", "2")


def test_the_leaderboard_ranks_by_profit_and_can_hide_the_house(running: Running) -> None:
    fund(running, "house-one", **FUNDING)
    running.open_account("plain-one")

    def board(query: str = "") -> dict[str, Any]:
        leaders = running.http.get(f"{running.feed}/leaderboard?limit=1000{query}").json()
        assert [leader["rank"] for leader in leaders] == list(range(1, len(leaders) + 1))
        profits = [Decimal(leader["profit"]) for leader in leaders]
        assert profits == sorted(profits, reverse=True)
        return {leader["client_id"]: leader for leader in leaders}

    eventually(lambda: {"plain-one", "house-one"} <= board().keys())
    with_house = board()
    assert with_house["house-one"]["house"]
    assert "house-one" not in board("&house=false")
    assert "plain-one" in board("&house=false")
    eventually(lambda: board()["house-one"]["given"] != "0.00")
    given = board()["house-one"]
    assert Decimal(given["given"]) == Decimal(given["equity"]), "the endowment is valued at today's prices"
    assert given["profit"] == "0.00"
    curves = running.http.get(f"{running.feed}/leaderboard/equity?limit=20&house=false").json()
    assert "house-one" not in {curve["client_id"] for curve in curves}


def test_the_leaderboard_is_the_same_after_a_restart_of_the_feed(running: Running) -> None:
    eventually(lambda: any(leader["trades"] for leader in running.http.get(f"{running.feed}/leaderboard").json()))
    running.until_at_rest()

    def board() -> Any:
        return running.http.get(f"{running.feed}/leaderboard?limit=1000").json()

    before = board()
    running.kill("market_data_feed")
    eventually(lambda: running.http.get(f"{running.feed}/health/ready").status_code == 200)
    kept = ("client_id", "house", "given", "profit", "drawdown", "trades")
    assert [[leader[name] for name in kept] for leader in board()] == [[leader[name] for name in kept] for leader in before]


def test_the_listing_flag_lists_the_securities_of_a_file(postgres_url: str, postgres_namespace: str, tmp_path: Path) -> None:
    listing = tmp_path / "own.csv"
    listing.write_text("symbol,name,reference_price\nOAK,Oak,10\nASH,Ash,20\nELM,Elm,30\n")
    exchange = Running(None, postgres_url, postgres_namespace, endowment={})
    try:
        exchange.start("--bots", "0", "--listing", str(listing))
        listed = eventually(lambda: len(found := exchange.http.get(f"{exchange.feed}/securities").json()) == 3 and found)
        assert {security["symbol"] for security in listed} == {"OAK", "ASH", "ELM"}
        assert not any(security["quiet"] for security in listed), "without house bots no security is marked as quiet"
    finally:
        exchange.close()


def test_a_security_is_quiet_until_the_house_has_an_order_in_it(running: Running) -> None:
    account = fund(running, "quoter", **FUNDING)

    def quiet() -> dict[str, bool]:
        return {
            security["symbol"]: security["quiet"]
            for security in running.http.get(f"{running.feed}/securities?limit=1000").json()
        }

    eventually(lambda: quiet()["META"])
    assert running.order(key(account), symbol="META", side="buy", quantity=1, price="1.00").status_code == 201
    eventually(lambda: not quiet()["META"])
    assert quiet()["GOOG"]
