"""What the reference says of the WebSockets is what they say."""

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from reference import websockets as said
from websockets.sync.client import ClientConnection, connect

from microexchange.schemas import TradeView
from tests.integration.running import Running, eventually


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """An exchange without bots."""
    exchange = Running(None, postgres_url, module_namespace)
    exchange.start("--bots", "0")
    yield exchange
    assert exchange.stop() == 0
    exchange.close()


class Listener:
    """A WebSocket that holds what it hears to the types of the reference."""

    def __init__(self, socket: ClientConnection, *types: type) -> None:
        self._socket = socket
        self._types = types
        self.heard: list[Any] = []

    def say(self, **message: Any) -> None:
        self._socket.send(msgspec.json.encode(message))

    def until(self, kind: type, **fields: Any) -> Any:
        """Hears on until such a message comes."""
        deadline = time.monotonic() + 20
        while True:
            assert time.monotonic() < deadline, f"no {kind.__name__} came; heard: {self.heard[-5:]}"
            text = self._socket.recv(20)
            found = self._read(text if isinstance(text, bytes) else text.encode())
            self.heard.append(found)
            if isinstance(found, kind) and all(getattr(found, name) == value for name, value in fields.items()):
                return found

    def _read(self, text: bytes) -> Any:
        """As the one type that it is of."""
        fits = []
        for kind in self._types:
            try:
                fits.append(msgspec.json.decode(text, type=kind))
            except msgspec.ValidationError:
                continue
        # A type may fit without its tag: those without one are asked first.
        assert fits, f"the reference has no such message: {text.decode()}"
        return fits[0]


def test_everything_that_the_gateway_says_is_in_the_reference(running: Running) -> None:
    key = running.open_account("ada")
    with connect(running.gateway.replace("http", "ws") + "/ws/orders") as socket:
        told = Listener(socket, said.RequestAnswer, said.Report, said.Heartbeat, said.Pong, said.LoginAnswer)
        told.say(op="login", key="wrong", id=1)
        assert told.until(said.LoginAnswer, ok=False).error.code == "UNAUTHENTICATED"
        told.say(op="login", key=key["Authorization"].removeprefix("Bearer "), id="two", heartbeat_seconds=0.1)
        assert told.until(said.LoginAnswer, ok=True).client_id == "ada"
        order = {"op": "order", "symbol": "AAPL", "side": "buy", "quantity": 1, "price": 5}
        told.say(**order, id=3)
        assert told.until(said.Report).report.exec_type == "NEW"
        entered = told.until(said.RequestAnswer, id=3).order
        told.say(op="amend", order_id=entered.order_id, price="4.00", id=4)
        assert told.until(said.RequestAnswer, id=4).ok
        told.say(op="get", order_id=entered.order_id, id=5)
        assert told.until(said.RequestAnswer, id=5).order.price == "4.00"
        told.say(op="cancel", order_id=entered.order_id, id=6)
        assert told.until(said.RequestAnswer, id=6).order.status == "CANCELED"
        told.say(op="cancel", order_id=entered.order_id, id=7)
        assert told.until(said.RequestAnswer, id=7).error.code == "ORDER_CLOSED"
        told.say(**order, id=8)
        told.until(said.RequestAnswer, id=8)
        told.say(op="cancel_all", id=9)
        assert len(told.until(said.RequestAnswer, id=9).orders) == 1
        told.say(op="ping", id=10)
        told.until(said.Pong, id=10)
        told.until(said.Heartbeat)
        assert {type(one) for one in told.heard} == set(said.FROM_GATEWAY), "each type was heard"


def test_everything_that_the_feed_says_is_in_the_reference(running: Running) -> None:
    key, other = running.open_account("bea"), running.open_account("cid")
    url = running.feed.replace("http", "ws")
    order = {"symbol": "MSFT", "quantity": 1, "price": 100}
    with (
        connect(f"{url}/ws") as socket,
        connect(f"{url}/ws/marketdata?symbol=MSFT") as top,
        connect(f"{url}/ws/trades?symbol=MSFT") as tape,
    ):
        told = Listener(socket, *said.FROM_FEED)
        told.say(op="subscribe", channel="orders")
        assert told.until(said.FeedError).error.code == "UNAUTHENTICATED"
        told.say(op="login", key=key["Authorization"].removeprefix("Bearer "))
        assert told.until(said.FeedLogin).client_id == "bea"
        channels = ("book", "book.full", "bbo", "trades", "candles", "ticker", "status", "auction")
        for channel in channels:
            told.say(op="subscribe", channel=channel, symbols=["MSFT"])
            told.until(said.Subscribed, channel=channel)
        for channel in ("orders", "balances", "leaderboard"):
            told.say(op="subscribe", channel=channel)
            told.until(said.Subscribed, channel=channel)
        assert running.order(key, **order, side="buy").status_code == 201
        assert running.order(other, **order, side="sell").status_code == 201
        wanted = set(said.FROM_FEED) - {said.FeedPong, said.Unsubscribed}

        def heard_all() -> bool:
            told.say(op="ping")
            told.until(said.FeedPong)
            return wanted <= {type(one) for one in told.heard}

        eventually(heard_all, 30, "each type is heard")
        token = {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text().strip()}"}
        state = f"{running.gateway}/admin/securities/MSFT/state"
        assert running.http.put(state, json={"state": "halted"}, headers=token).is_success
        told.until(said.Status, state="halted")
        told.say(op="unsubscribe", channel="book", symbols=["MSFT"])
        told.until(said.Unsubscribed, channel="book")
        Listener(tape, TradeView).until(TradeView, symbol="MSFT")
        Listener(top, said.MarketData).until(said.MarketData, symbol="MSFT")
