"""Bots and clients on a running exchange, with lost connections and rate limits."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.running import Running, eventually
from trading_bots import AsyncExchangeClient, Bot, ExchangeClient, ExchangeError, Fill, Order
from trading_bots.live import LiveVenue

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """An exchange with a limit of thirty requests a second for each client."""
    exchange = Running(None, postgres_url, module_namespace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MX_REQUESTS_PER_SECOND", "30")
        exchange.start("--bots", "0")
    yield exchange
    assert exchange.audit() == []
    exchange.close()


class Trader(Bot):
    """A bot that trades all the time and records its callbacks."""

    symbols = ("AAPL",)

    def __init__(self, side: str) -> None:
        super().__init__()
        self.side = side
        self.fills: list[Fill] = []
        self.rejects: list[Order] = []
        self.states: list[str] = []
        self.started = asyncio.Event()
        self.trades = True

    def on_start(self) -> None:
        self.every(0.1, self.act)
        self.started.set()

    async def act(self) -> None:
        if self.trades:
            price = Decimal(190)
            if self.side == "buy":
                self.buy("AAPL", 1, price)
            else:
                self.sell("AAPL", 1, price)
            if len(list(self.open_orders)) > 5:
                self.cancel(next(self.open_orders))

    def on_fill(self, fill: Fill) -> None:
        self.fills.append(fill)

    def on_reject(self, order: Order) -> None:
        self.rejects.append(order)

    def on_state(self, symbol: str, state: str) -> None:
        self.states.append(state)


def admin(running: Running) -> dict[str, str]:
    return {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text()}"}


def deposit(running: Running, client_id: str, **what: Any) -> None:
    url = f"{running.gateway}/admin/clients/{client_id}/deposits"
    assert running.http.post(url, json=what, headers=admin(running)).is_success


def settled(running: Running, client: ExchangeClient) -> dict[str, Any]:
    running.until_at_rest()
    return {
        "cash": Decimal(client.balance().cash),
        "AAPL": next((Decimal(holding.quantity) for holding in client.holdings() if holding.symbol == "AAPL"), Decimal(0)),
        "open": {order.order_id for order in client.open_orders()},
    }


def state_of(bot: Bot) -> dict[str, Any]:
    return {"cash": bot.cash, "AAPL": bot.position("AAPL"), "open": {order.order_id for order in bot.open_orders}}


async def test_a_bots_state_is_right_after_gateway_and_feed_are_killed(running: Running) -> None:
    clients = {side: ExchangeClient(running.gateway, running.feed) for side in ("buy", "sell")}
    bots = {side: Trader(side) for side in clients}
    stop = asyncio.Event()
    tasks = []
    for side, client in clients.items():
        account = client.open_account(f"trader-{side}")
        deposit(running, account.client_id, cash=1_000_000, shares={"AAPL": 10_000})
        venue = LiveVenue(bots[side], account.client_id, account.api_key, running.gateway, running.feed)
        tasks.append(asyncio.create_task(venue.run(stop)))
    for bot in bots.values():
        await asyncio.wait_for(bot.started.wait(), 20)
    for module in ("order_entry_gateway", "market_data_feed", "order_entry_gateway"):
        before = len(bots["buy"].fills)
        async with asyncio.timeout(60):
            while len(bots["buy"].fills) < before + 10:
                await asyncio.sleep(0.05)
        await asyncio.to_thread(running.kill, module)
    async with asyncio.timeout(60):
        while len(bots["buy"].fills) < before + 25:
            await asyncio.sleep(0.05)
    for bot in bots.values():
        bot.trades = False
    for side, client in clients.items():
        for _ in range(30):  # a bot reads its settled balances two seconds after its last fill
            await asyncio.sleep(1)
            expected = await asyncio.to_thread(settled, running, client)
            if state_of(bots[side]) == expected:
                break
        assert state_of(bots[side]) == expected, side
    assert bots["buy"].mid("AAPL") == bots["buy"].last("AAPL") or bots["buy"].best_bid("AAPL") is not None
    # A deposit is not a fill, but the bot reads it too.
    cash_before = bots["buy"].cash
    deposit(running, "trader-buy", cash=5)
    async with asyncio.timeout(20):
        while bots["buy"].cash != cash_before + 5:
            await asyncio.sleep(0.1)
    state = f"{running.gateway}/admin/securities/AAPL/state"
    for wanted in ("halted", "continuous"):
        assert running.http.put(state, json={"state": wanted}, headers=admin(running)).is_success
    async with asyncio.timeout(20):
        while bots["sell"].states != ["halted", "continuous"]:
            await asyncio.sleep(0.05)
    assert bots["sell"].state("AAPL") == "continuous"
    stop.set()
    await asyncio.gather(*tasks)


async def test_a_bot_that_exceeds_its_rate_limit_waits_and_loses_no_order(running: Running) -> None:
    class Burst(Bot):
        symbols = ("TSLA",)

        def on_start(self) -> None:
            self.orders = [self.buy("TSLA", 1, 1 + number) for number in range(120)]

    with ExchangeClient(running.gateway, running.feed) as client:
        account = client.open_account("burst")
        bot, stop = Burst(), asyncio.Event()
        venue = LiveVenue(bot, account.client_id, account.api_key, running.gateway, running.feed)
        task = asyncio.create_task(venue.run(stop))
        async with asyncio.timeout(30):
            while not hasattr(bot, "orders") or any(order.order_id is None for order in bot.orders):
                await asyncio.sleep(0.1)
        assert {(order.status, order.reason) for order in bot.orders} == {("NEW", "")}
        bot.amend(bot.orders[0], price="1.50", quantity=2)
        async with asyncio.timeout(20):
            while bot.orders[0].price != Decimal("1.50"):
                await asyncio.sleep(0.05)
        assert bot.orders[0].quantity == 2
        stop.set()
        await task
        running.until_at_rest()
        assert len(client.open_orders()) == 120


def test_the_client_reads_everything_and_raises_refusals_with_their_codes(running: Running) -> None:
    with ExchangeClient(running.gateway, running.feed) as ada, ExchangeClient(running.gateway, running.feed) as bob:
        ada.open_account("ada")
        bob.open_account("bob")
        resting = ada.sell("MSFT", 5, "400.00")
        assert (resting.status, resting.resting) == ("NEW", True)
        assert ada.amend(resting.order_id, quantity=4).quantity == "4"
        taken = bob.buy("MSFT", 1)
        assert (taken.status, taken.average_price) == ("FILLED", "400")
        assert bob.buy("MSFT", 1, "399.00", time_in_force="ioc").status == "CANCELED"
        running.until_at_rest()
        assert [fill.price for fill in ada.fills("MSFT")] == ["400.00"]
        assert bob.trades("MSFT")[0].price == "400.00"
        assert bob.book("MSFT").asks[0].quantity == bob.bbo("MSFT").ask_quantity == "3"
        assert [order.order_id for order in ada.open_orders()] == [resting.order_id]
        assert ada.order(resting.order_id).filled_quantity == "1"
        assert ada.candles("MSFT")[-1].close == "400.00"
        assert any(security.symbol == "MSFT" for security in ada.securities())
        assert {leader.client_id for leader in ada.leaderboard()} >= {"ada", "bob"}
        assert ada.equity()[-1].equity == ada.balance().equity
        assert ada.cancel(resting.order_id).status == "CANCELED"
        assert ada.cancel_all() == []
        with pytest.raises(ExchangeError) as refused:
            ada.buy("MSFT", 1, "399.001")
        assert (refused.value.code, refused.value.field) == ("INVALID_FIELD", "price")
        with pytest.raises(ExchangeError, match="UNAUTHENTICATED"):
            ExchangeClient(running.gateway, running.feed).balance()


async def test_the_async_client_trades_and_reads_its_balance(running: Running) -> None:
    async with AsyncExchangeClient(running.gateway, running.feed) as client:
        await client.open_account("eve")
        order = await client.buy("NVDA", 2, "50.00")
        assert (await client.cancel(order.order_id)).status == "CANCELED"
        assert (await client.balance()).client_id == "eve"


def test_both_clients_have_the_same_methods() -> None:
    def methods(client_type: type) -> set[str]:
        return {name for name in vars(client_type) if not name.startswith("_")}

    assert methods(ExchangeClient) == methods(AsyncExchangeClient)


def test_bot_new_writes_a_bot_that_bot_runs_and_its_errors_show_its_own_line(running: Running, tmp_path: Path) -> None:
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "exchange_launcher.cli", "bot", *arguments]

    made = subprocess.run(command("new", "my_bot"), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "my_bot.py:MyBot" in made.stdout.replace("\n", "")
    assert subprocess.run(command("new", "my_bot"), cwd=tmp_path, capture_output=True, text=True).returncode == 2
    path = tmp_path / "my_bot.py"
    path.write_text(path.read_text().replace("def on_timer(self) -> None:", "def on_timer(self) -> None:\n        1 / 0", 1))
    with ExchangeClient(running.gateway, running.feed) as client:
        key = client.open_account("from-cli").api_key
    urls = ("--url", running.gateway, "--feed-url", running.feed)
    output = (tmp_path / "output").open("w+")
    process = subprocess.Popen(
        command("my_bot.py:MyBot", *urls),
        cwd=tmp_path,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "MX_KEY": key, "PYTHONUNBUFFERED": "1"},
    )
    try:
        eventually(lambda: "ZeroDivisionError" in Path(output.name).read_text(), 30)
    finally:
        process.terminate()
        assert process.wait(20) == 0
    printed = Path(output.name).read_text()
    assert "from-cli has 10000" in printed
    assert "1 / 0" in printed
    assert "live.py" not in printed
    wrong = subprocess.run(command("my_bot.py:YourBot", *urls), cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "it has MyBot" in wrong.stderr.replace("\n", " ")


def test_the_notebook_runs(running: Running) -> None:
    notebook = json.loads((ROOT / "examples/notebook.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 5
    with ExchangeClient(running.gateway, running.feed) as maker:
        maker.open_account("notebook-maker")
        maker.sell("AAPL", 5, "190.00")
    names: dict[str, Any] = {}
    exec(cells[0].replace("ExchangeClient()", f"ExchangeClient({running.gateway!r}, {running.feed!r})"), names)
    for cell in cells[1:]:
        exec(cell, names)
    assert names["order"].status == "FILLED"
    names["exchange"].close()
