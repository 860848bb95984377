"""The messages of the WebSockets match the types of the reference."""

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from reference import websockets as reference
from websockets.sync.client import ClientConnection, connect

from microexchange.schemas import TradeView
from tests.integration.running import Running, eventually


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """An exchange without house bots."""
    exchange = Running(None, postgres_url, module_namespace)
    exchange.start("--bots", "0")
    yield exchange
    assert exchange.stop() == 0
    exchange.close()


class CheckedSocket:
    """A WebSocket that decodes its messages as the types of the reference."""

    def __init__(self, socket: ClientConnection, *types: type) -> None:
        self._socket = socket
        self._types = types
        self.received: list[Any] = []

    def send(self, **message: Any) -> None:
        self._socket.send(msgspec.json.encode(message))

    def until(self, message_type: type, **fields: Any) -> Any:
        """Receive messages until one has this type and these fields."""
        deadline = time.monotonic() + 20
        while True:
            assert time.monotonic() < deadline, f"no {message_type.__name__} arrived; received: {self.received[-5:]}"
            text = self._socket.recv(20)
            message = self._read(text if isinstance(text, bytes) else text.encode())
            self.received.append(message)
            if isinstance(message, message_type) and all(getattr(message, name) == value for name, value in fields.items()):
                return message

    def _read(self, text: bytes) -> Any:
        """Decode a message as the first type that fits."""
        fits = []
        for message_type in self._types:
            try:
                fits.append(msgspec.json.decode(text, type=message_type))
            except msgspec.ValidationError:
                continue
        # A type without a tag may also fit messages of tagged types, so untagged types come first.
        assert fits, f"the reference has no such message: {text.decode()}"
        return fits[0]


def test_every_message_of_the_gateway_is_in_the_reference(running: Running) -> None:
    key = running.open_account("ada")
    with connect(running.gateway.replace("http", "ws") + "/ws/orders") as socket:
        ws = CheckedSocket(
            socket, reference.RequestAnswer, reference.Report, reference.Heartbeat, reference.Pong, reference.LoginAnswer
        )
        ws.send(op="login", key="wrong", id=1)
        assert ws.until(reference.LoginAnswer, ok=False).error.code == "UNAUTHENTICATED"
        ws.send(op="login", key=key["Authorization"].removeprefix("Bearer "), id="two", heartbeat_seconds=0.1)
        assert ws.until(reference.LoginAnswer, ok=True).client_id == "ada"
        order = {"op": "order", "symbol": "AAPL", "side": "buy", "quantity": 1, "price": 5}
        ws.send(**order, id=3)
        assert ws.until(reference.Report).report.exec_type == "NEW"
        entered = ws.until(reference.RequestAnswer, id=3).order
        ws.send(op="amend", order_id=entered.order_id, price="4.00", id=4)
        assert ws.until(reference.RequestAnswer, id=4).ok
        ws.send(op="get", order_id=entered.order_id, id=5)
        assert ws.until(reference.RequestAnswer, id=5).order.price == "4.00"
        ws.send(op="cancel", order_id=entered.order_id, id=6)
        assert ws.until(reference.RequestAnswer, id=6).order.status == "CANCELED"
        ws.send(op="cancel", order_id=entered.order_id, id=7)
        assert ws.until(reference.RequestAnswer, id=7).error.code == "ORDER_CLOSED"
        ws.send(**order, id=8)
        ws.until(reference.RequestAnswer, id=8)
        ws.send(op="cancel_all", id=9)
        assert len(ws.until(reference.RequestAnswer, id=9).orders) == 1
        ws.send(op="ping", id=10)
        ws.until(reference.Pong, id=10)
        ws.until(reference.Heartbeat)
        assert {type(message) for message in ws.received} == set(reference.FROM_GATEWAY), "every type is received"


def test_every_message_of_the_feed_is_in_the_reference(running: Running) -> None:
    key, other = running.open_account("bea"), running.open_account("cid")
    url = running.feed.replace("http", "ws")
    order = {"symbol": "MSFT", "quantity": 1, "price": 100}
    with (
        connect(f"{url}/ws") as socket,
        connect(f"{url}/ws/marketdata?symbol=MSFT") as top,
        connect(f"{url}/ws/trades?symbol=MSFT") as tape,
    ):
        ws = CheckedSocket(socket, *reference.FROM_FEED)
        ws.send(op="subscribe", channel="orders")
        assert ws.until(reference.FeedError).error.code == "UNAUTHENTICATED"
        ws.send(op="login", key=key["Authorization"].removeprefix("Bearer "))
        assert ws.until(reference.FeedLogin).client_id == "bea"
        channels = ("book", "book.full", "bbo", "trades", "candles", "ticker", "status", "auction")
        for channel in channels:
            ws.send(op="subscribe", channel=channel, symbols=["MSFT"])
            ws.until(reference.Subscribed, channel=channel)
        for channel in ("orders", "balances", "positions", "leaderboard", "session", "news", "tenders"):
            ws.send(op="subscribe", channel=channel)
            ws.until(reference.Subscribed, channel=channel)
        assert running.order(key, **order, side="buy").status_code == 201
        assert running.order(other, **order, side="sell").status_code == 201
        admin = {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text().strip()}"}
        tender = {"symbol": "MSFT", "side": "buy", "quantity": "1", "price": "1"}
        for path, body in (
            ("session", {"name": "day", "rounds": [{"seconds": 600}]}),
            ("session/start", {}),
            ("news", {"headline": "rain"}),
            ("tenders", tender),
        ):
            assert running.http.post(f"{running.gateway}/admin/{path}", json=body, headers=admin).is_success, path
        wanted = set(reference.FROM_FEED) - {reference.FeedPong, reference.Unsubscribed}

        def received_all() -> bool:
            ws.send(op="ping")
            ws.until(reference.FeedPong)
            return wanted <= {type(message) for message in ws.received}

        eventually(received_all, 30, "every type is received")
        state = f"{running.gateway}/admin/securities/MSFT/state"
        assert running.http.put(state, json={"state": "halted"}, headers=admin).is_success
        ws.until(reference.Status, state="halted")
        ws.send(op="unsubscribe", channel="book", symbols=["MSFT"])
        ws.until(reference.Unsubscribed, channel="book")
        CheckedSocket(tape, TradeView).until(TradeView, symbol="MSFT")
        CheckedSocket(top, reference.MarketData).until(reference.MarketData, symbol="MSFT")
