"""The contract of the two venues of a bot: the same script has the same outcome live and in a simulation.

A script is a generator over two bots. At each `yield`, all requests are completed before the script continues.
"""

import asyncio
import csv
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microexchange.commands import ListSecurity
from microexchange.enums import TradingState
from microexchange.number_fields import json_decoder
from microexchange.numbers import CASH_SCALE
from microexchange.securities import listing_json
from order_entry_gateway.requests import AmendRequest, OrderRequest
from tests.integration.running import Running
from trading_bots import AsyncExchangeClient, Bot, ExchangeClient, ExchangeError, Fill, Order
from trading_bots.bot import Security
from trading_bots.bot_state import MAX_OPEN_REQUESTS, TOO_MANY_REQUESTS, amend_fields, order_fields
from trading_bots.client_requests import new_order_request
from trading_bots.live import LiveVenue
from trading_bots.simulation.client import SECOND, order_request
from trading_bots.simulation.exchange import SimulatedExchange
from trading_bots.simulation.rounds import START

CASH, SHARES = 100_000, 100
Script = Callable[["Actor", "Actor"], Iterator[None]]
SCRIPTS: dict[str, Script] = {}


class Actor(Bot):
    """A bot that a script controls. It records the arguments of its callbacks."""

    def __init__(self, symbol: str) -> None:
        super().__init__()
        self.symbols = (symbol,)
        self.symbol = symbol
        self.calls: list[tuple[Any, ...]] = []
        self.began = False

    def on_start(self) -> None:
        self.began = True

    def on_order(self, order: Order) -> None:
        self.calls.append(("order", order.status, order.filled_quantity, order.quantity, order.price))

    def on_fill(self, fill: Fill) -> None:
        self.calls.append(("fill", fill.side, fill.price, fill.quantity, fill.fee, fill.liquidity, fill.order.order_type))

    def on_reject(self, order: Order) -> None:
        self.calls.append(("reject", order.reason))

    def on_state(self, symbol: str, state: str) -> None:
        self.calls.append(("state", state))

    def outcome(self) -> dict[str, Any]:
        """Return the recorded callbacks and the state of the bot."""
        book = self.book(self.symbol)
        return {
            # The order is undefined between reports and market data, and between refusals of two services.
            "own": [call for call in self.calls if call[0] in ("order", "fill")],
            "rejects": sorted(call[1] for call in self.calls if call[0] == "reject"),
            "states": [call[1] for call in self.calls if call[0] == "state"],
            "cash": self.cash,
            "position": self.position(self.symbol),
            "open": [
                (order.side, order.price, order.quantity, order.filled_quantity, order.status) for order in self.open_orders
            ],
            "bids": book.bids.top(),
            "asks": book.asks.top(),
            "last": self.last(self.symbol),
            "state": self.state(self.symbol),
        }


def script(function: Script) -> Script:
    """Add a function to the scripts of the contract."""
    SCRIPTS[function.__name__] = function
    return function


def terms() -> list[dict[str, str]]:
    """Return a listing with its own security for each script and each test of the clients."""
    numbers = range(len(SCRIPTS) + 2)
    listed = [
        ListSecurity(0, 0, f"S{number}", f"S{number}", "0.01", "1", 10_000, 5, 10, state=TradingState.CONTINUOUS)
        for number in numbers
    ]
    return [listing_json(security) for security in listed]


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a live exchange with the same accounts and securities as the simulated exchange."""
    file: Path = tmp_path_factory.mktemp("listing") / "listing.csv"
    rows = terms()
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    exchange = Running(None, postgres_url, module_namespace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MX_LISTING", str(file))
        patch.setenv("MX_ENDOWMENT_CASH", str(CASH))
        patch.setenv("MX_ENDOWMENT_SHARES", json.dumps({"*": str(SHARES)}))
        patch.setenv("MX_REQUESTS_PER_SECOND", "0")
        exchange.start("--bots", "0")
    yield exchange
    exchange.close()


def simulated(play: Script, symbol: str) -> list[dict[str, Any]]:
    """Return the outcomes of a script in a simulation."""
    made = SimulatedExchange(START)
    made.list_security(
        symbol=symbol, name=symbol, tick_size="0.01", lot_size="1", reference_price=10_000, maker_fee_bps=5, taker_fee_bps=10
    )
    bots = [Actor(symbol), Actor(symbol)]
    for name, bot in zip("ab", bots, strict=True):
        made.join(bot, name, CASH * CASH_SCALE, {symbol: SHARES}, 1_000_000)
        bot.admin = lambda state: made.set_state(symbol, TradingState(state))  # type: ignore[attr-defined]
    made.run_until(START + SECOND)
    for number, _ in enumerate(play(*bots), 2):
        made.run_until(START + number * SECOND)
    before = [bot.outcome() for bot in bots]
    for client in made.clients.values():
        client.stop()
    made.run_until(made.now + SECOND)
    assert [client.errors for client in made.clients.values()] == [[], []]
    return [ended(outcome, bot) for outcome, bot in zip(before, bots, strict=True)]


def ended(before: dict[str, Any], bot: Actor) -> dict[str, Any]:
    """Return the outcome of an ended bot: its orders and cash after its end, and the market before its end."""
    return before | {name: value for name, value in bot.outcome().items() if name in ("own", "rejects", "cash", "open")}


async def live(play: Script, symbol: str, running: Running) -> list[dict[str, Any]]:
    """Return the outcomes of a script on the live exchange."""
    bots, venues, stop, tasks = [Actor(symbol), Actor(symbol)], [], asyncio.Event(), []
    token = {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text()}"}

    def admin(state: str) -> None:
        url = f"{running.gateway}/admin/securities/{symbol}/state"
        assert running.http.put(url, json={"state": state}, headers=token).is_success

    for name, bot in zip("ab", bots, strict=True):
        bot.admin = admin  # type: ignore[attr-defined]
        client = ExchangeClient(running.gateway, running.feed)
        account = client.open_account(f"{symbol}-{name}")
        venue = LiveVenue(bot, account.client_id, account.api_key, running.gateway, running.feed)
        venues.append(venue)
        tasks.append(asyncio.create_task(venue.run(stop)))
    async with asyncio.timeout(60):
        while not all(bot.began and venue._is_connected for bot, venue in zip(bots, venues, strict=True)):
            await asyncio.sleep(0.02)
    for _ in play(*bots):
        await quiet(bots, venues)
    before = [bot.outcome() for bot in bots]
    stop.set()
    await asyncio.gather(*tasks)
    return [ended(outcome, bot) for outcome, bot in zip(before, bots, strict=True)]


async def quiet(bots: list[Actor], venues: list[LiveVenue]) -> None:
    """Wait until all requests are answered and no outcome has changed for 0.4 seconds."""
    before: Any = None
    async with asyncio.timeout(60):
        while True:
            await asyncio.sleep(0.4)
            now = [bot.outcome() for bot in bots]
            if now == before and not any(venue._open_requests for venue in venues):
                return
            before = now


@script
def a_market_order_trades_and_its_rest_is_cancelled(me: Actor, other: Actor) -> Iterator[None]:
    other.sell(other.symbol, 3, "100.10")
    other.sell(other.symbol, 2, "100.20")
    yield
    me.buy(me.symbol, 10)
    yield


@script
def a_market_order_keeps_its_time_in_force(me: Actor, other: Actor) -> Iterator[None]:
    other.sell(other.symbol, 3, "100.10")
    yield
    me.buy(me.symbol, 10, time_in_force="fok")
    yield
    me.buy(me.symbol, 2, time_in_force="ioc")
    yield
    me.buy(me.symbol, 2, time_in_force="day")
    yield


@script
def a_market_order_keeps_post_only(me: Actor, other: Actor) -> Iterator[None]:
    other.sell(other.symbol, 3, "100.10")
    yield
    me.buy(me.symbol, 1, post_only=True)
    yield


@script
def a_stop_keeps_its_time_in_force(me: Actor, other: Actor) -> Iterator[None]:
    other.sell(other.symbol, 3, "101.00")
    other.buy(other.symbol, 3, "99.00")
    yield
    me.buy(me.symbol, 1, trigger_price="100.50", time_in_force="ioc")
    me.sell(me.symbol, 1, trigger_price="99.50", time_in_force="fok")
    me.buy(me.symbol, 1, "102.00", trigger_price="100.50", post_only=True)
    yield
    me.buy(me.symbol, 1, "101.00")
    yield
    me.sell(me.symbol, 1, "99.00")
    yield


@script
def limit_orders_of_every_time_in_force_trade_or_rest(me: Actor, other: Actor) -> Iterator[None]:
    other.sell(other.symbol, 5, "100.10", display_quantity=2)
    other.sell(other.symbol, 5, "100.30", time_in_force="day")
    yield
    me.buy(me.symbol, 3, "100.10", time_in_force="ioc")
    me.buy(me.symbol, 30, "100.30", time_in_force="fok")
    yield
    me.buy(me.symbol, 3, "100.10", post_only=True)
    me.buy(me.symbol, 1, "99.90", post_only=True)
    yield
    me.buy(me.symbol, 20, "100.30", time_in_force="ioc")
    yield


@script
def refusals_have_the_same_text(me: Actor, other: Actor) -> Iterator[None]:
    me.buy(me.symbol, 0, "100.00")
    me.buy(me.symbol, 10_000, "100.00")
    me.sell(me.symbol, SHARES + 1, "100.00")
    me.buy(me.symbol, 5, "100.00", display_quantity=6)
    me.buy(me.symbol, 1, "100.00", time_in_force="gtd")
    yield
    other.buy(other.symbol, 1, trigger_price=0)
    yield


@script
def two_consecutive_amendments_are_both_applied(me: Actor, other: Actor) -> Iterator[None]:
    order = me.buy(me.symbol, 9, "99.00")
    yield
    me.amend(order, quantity=7)
    me.amend(order, price="99.50")
    yield
    me.amend(order, quantity=20, price="99.60")
    yield
    me.cancel(order)
    me.amend(order, quantity=3)
    yield
    me.amend(order, quantity=1)
    me.cancel(order)
    yield


@script
def an_amendment_and_a_later_cancel_are_applied_in_order(me: Actor, other: Actor) -> Iterator[None]:
    order, second = me.buy(me.symbol, 9, "99.00"), me.buy(me.symbol, 5, "98.00")
    yield
    me.amend(order, quantity=7)
    me.cancel(order)
    me.amend(second, price="98.50")
    me.cancel_all()
    yield


@script
def a_refused_amendment_does_not_change_the_order(me: Actor, other: Actor) -> Iterator[None]:
    order = me.buy(me.symbol, 9, "99.00")
    yield
    me.amend(order, quantity=10_000)
    me.amend(order, quantity=0)
    yield
    me.buy(me.symbol, 1, "98.00")
    yield


@script
def an_order_that_is_cancelled_before_its_acknowledgement_is_cancelled_after_it(me: Actor, other: Actor) -> Iterator[None]:
    me.cancel(me.buy(me.symbol, 9, "99.00"))
    me.sell(me.symbol, 1, "101.00")
    me.cancel_all()
    yield
    other.buy(other.symbol, 1, "100.00")
    yield
    other.cancel_all()
    other.cancel_all()
    yield


@script
def two_orders_of_one_client_do_not_trade(me: Actor, other: Actor) -> Iterator[None]:
    me.sell(me.symbol, 2, "100.00")
    yield
    me.buy(me.symbol, 5, "100.00")
    yield


@script
def a_halt_and_a_reopening_are_reported(me: Actor, other: Actor) -> Iterator[None]:
    me.buy(me.symbol, 2, "99.00")
    yield
    me.admin("halted")  # type: ignore[attr-defined]
    yield
    me.buy(me.symbol, 2, "99.00")
    other.sell(other.symbol, 1)
    yield
    me.admin("continuous")  # type: ignore[attr-defined]
    yield
    other.sell(other.symbol, 1)
    yield


@script
def an_auction_collects_orders_and_uncrosses(me: Actor, other: Actor) -> Iterator[None]:
    me.admin("opening_auction")  # type: ignore[attr-defined]
    yield
    me.buy(me.symbol, 5, "101.00")
    yield
    other.sell(other.symbol, 3, "99.00")
    yield
    other.sell(other.symbol, 3, time_in_force="ioc")
    yield
    me.admin("continuous")  # type: ignore[attr-defined]
    yield


@script
def too_many_orders_at_a_time_are_refused(me: Actor, other: Actor) -> Iterator[None]:
    for _ in range(MAX_OPEN_REQUESTS + 3):
        me.sell(me.symbol, SHARES + 1, "100.00")
    yield


@script
def requests_of_on_stop_are_executed(me: Actor, other: Actor) -> Iterator[None]:
    me.buy(me.symbol, 2, "99.00")
    me.on_stop = me.cancel_all  # type: ignore[method-assign]
    yield


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SCRIPTS))
async def test_a_script_has_the_same_outcome_live_and_in_a_simulation(name: str, running: Running) -> None:
    symbol = f"S{list(SCRIPTS).index(name)}"
    expected, found = simulated(SCRIPTS[name], symbol), await live(SCRIPTS[name], symbol, running)
    assert any(outcome["own"] or outcome["rejects"] for outcome in expected), "the script has no effect"
    for number, (simulated_outcome, live_outcome) in enumerate(zip(expected, found, strict=True)):
        for name, value in simulated_outcome.items():
            assert live_outcome[name] == value, f"{name} of bot {number}"


def test_the_script_of_too_many_orders_exceeds_the_maximum() -> None:
    assert simulated(too_many_orders_at_a_time_are_refused, "S0")[0]["rejects"].count(TOO_MANY_REQUESTS) == 3


# --- clients --------------------------------------------------------------------------------------------------------


def orders_of_clients() -> list[tuple[str, dict[str, Any]]]:
    """Return orders with all combinations of terms that clients use, as (side, terms)."""
    return [
        ("buy", {"price": "99.00"}),
        ("buy", {"price": "99.00", "time_in_force": "ioc"}),
        ("buy", {"trigger_price": "101.00"}),
        ("buy", {"price": "102.00", "trigger_price": "101.00", "time_in_force": "day"}),
        ("sell", {"trigger_price": "98.50", "time_in_force": "ioc"}),
        ("sell", {"price": "110.00", "post_only": True}),
        ("sell", {"price": Decimal("110.5"), "display_quantity": 1}),
        ("buy", {}),
        ("buy", {"time_in_force": "fok"}),
        ("buy", {"price": 99.5, "post_only": True}),
        ("buy", {"price": "99.001"}),
    ]


FIELDS = ("side", "order_type", "time_in_force", "post_only", "price", "trigger_price", "display_quantity", "status", "code")


@pytest.mark.slow
async def test_the_sync_and_the_async_client_have_the_same_outcome_of_an_order(running: Running) -> None:
    symbol = f"S{len(SCRIPTS)}"
    found: dict[str, list[Any]] = {"sync": [], "async": []}
    with ExchangeClient(running.gateway, running.feed) as sync_client:
        sync_client.open_account("sync")
        async with AsyncExchangeClient(running.gateway, running.feed) as async_client:
            await async_client.open_account("async")
            for side, terms_ in orders_of_clients():
                for name, send in (("sync", getattr(sync_client, side)), ("async", getattr(async_client, side))):
                    try:
                        answer = send(symbol, 2, **terms_)
                        view = await answer if name == "async" else answer
                        found[name].append(tuple(str(getattr(view, field)) for field in FIELDS))
                        sync_client.cancel_all()
                        await async_client.cancel_all()
                    except ExchangeError as error:
                        found[name].append((error.code, error.field))
            until = datetime(2100, 1, 1, tzinfo=UTC)
            timed = sync_client.buy(symbol, 1, "90.00", time_in_force="gtd", expire_at=until)
            assert timed.expire_at == "2100-01-01T00:00:00.000000Z"
            stop = await async_client.buy(symbol, 1, trigger_price="101.00")
            assert (await async_client.amend(stop.order_id, trigger_price="101.50")).trigger_price == "101.50"
    assert found["sync"] == found["async"]
    assert [fields[1] for fields in found["sync"][:4]] == ["limit", "limit", "stop_market", "stop_limit"]
    assert found["sync"][-1] == ("INVALID_FIELD", "price")


# --- requests -------------------------------------------------------------------------------------------------------


class RecordingVenue:
    """A venue that records orders and sends nothing."""

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def send_order(self, order: Order) -> None:
        self.orders.append(order)


orders = st.fixed_dictionaries(
    {},
    optional={
        "price": st.decimals("0.01", "1000", places=3),
        "time_in_force": st.sampled_from(["gtc", "day", "ioc", "fok", "gtd"]),
        "post_only": st.booleans(),
        "display_quantity": st.integers(0, 20),
        "trigger_price": st.decimals("0.01", "1000", places=2),
    },
)


def recorded_bot() -> tuple[Bot, RecordingVenue]:
    bot, venue = Bot(), RecordingVenue()
    bot._venue = venue  # type: ignore[assignment]
    bot.securities["X"] = Security("X", Decimal("0.01"), Decimal(1), Decimal(100))
    return bot, venue


@given(st.sampled_from(["buy", "sell"]), st.integers(0, 50), orders)
def test_an_order_is_the_same_request_live_and_in_a_simulation(side: str, quantity: int, given_: dict[str, Any]) -> None:
    bot, venue = recorded_bot()
    getattr(bot, side)("X", quantity, **given_)
    (order,) = venue.orders
    request = json_decoder(OrderRequest).decode(msgspec.json.encode(order_fields(order)))
    assert request == order_request(order)


@given(st.none() | st.decimals("0", "1000", places=2), st.none() | st.decimals("0", "1000", places=2))
def test_an_amendment_is_the_same_request_live_and_in_a_simulation(quantity: Decimal | None, price: Decimal | None) -> None:
    request = json_decoder(AmendRequest).decode(msgspec.json.encode(amend_fields(quantity, price)))
    assert request == AmendRequest(quantity=quantity, price=price)


@given(st.sampled_from(["buy", "sell"]), st.integers(0, 50), orders)
def test_a_client_and_a_bot_send_the_same_request(side: str, quantity: int, given_: dict[str, Any]) -> None:
    tick = Decimal("0.01")
    given_ = {key: (value // tick * tick) if key == "price" else value for key, value in given_.items()}
    bot, venue = recorded_bot()
    getattr(bot, side)("X", quantity, **given_)
    of_client = dict(given_)
    body = new_order_request(side, "X", quantity, of_client.pop("price", None), of_client).body
    request = json_decoder(OrderRequest).decode(msgspec.json.encode(body))
    of_bot = order_request(venue.orders[0])
    for name in OrderRequest.__struct_fields__:
        if name not in ("client_order_id", "time_in_force"):
            assert getattr(request, name) == getattr(of_bot, name) or name == "price", name
    # A client request may omit the time in force. The exchange then uses gtc.
    assert (request.time_in_force or "gtc") == of_bot.time_in_force
