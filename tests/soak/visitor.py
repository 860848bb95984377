"""Clients that come and go: they connect, subscribe, trade for a while, and leave in several ways."""

import contextlib
import json
import random
import threading
import time
from collections import Counter
from typing import Any

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from tests.integration.running import Running

STAY_SECONDS = (5.0, 60.0)
PAUSE_SECONDS = (1.0, 10.0)
PAUSE_BETWEEN_ORDERS_SECONDS = 0.25
CHANNELS = ("book", "trades", "bbo", "candles", "leaderboard")


class Visitor:
    """A client that visits the exchange again and again, under the same account, in a thread of its own."""

    def __init__(self, running: Running, name: str) -> None:
        self._running = running
        self.name = name
        self.counts: Counter[str] = Counter()
        self.fault = ""
        """An error that is no broken connection. The visitor does not continue after it."""
        self._headers: dict[str, str] = {}
        self._rng = random.Random(name)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to visit."""
        self._thread.start()

    def stop(self) -> None:
        """End the present visit and begin no other."""
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._visit()
            except (httpx.HTTPError, OSError, WebSocketException) as error:
                # A service was killed. A person would come again, too.
                self.counts[f"ended by {type(error).__name__}"] += 1
            except Exception as error:
                self.fault = repr(error)
                raise
            self._stop.wait(self._rng.uniform(*PAUSE_SECONDS))

    def _visit(self) -> None:
        if not self._headers:
            self._headers = self._open_account()
        symbols = [security["symbol"] for security in self._read("securities?limit=20")]
        leave = self._rng.choice((self._leave_politely, self._leave_without_a_word, self._leave_unread))
        with self._connect(self._running.gateway, "/ws/orders") as orders, self._connect(self._running.feed, "/ws") as data:
            for channel in self._rng.sample(CHANNELS, 2):
                data.send(json.dumps({"op": "subscribe", "channel": channel, "symbols": self._rng.sample(symbols, 2)}))
            end = time.monotonic() + self._rng.uniform(*STAY_SECONDS)
            while time.monotonic() < end and not self._stop.is_set():
                self._trade(orders, self._rng.choice(symbols[:8]))
                if leave != self._leave_unread:
                    drain(data)
                self._stop.wait(PAUSE_BETWEEN_ORDERS_SECONDS)
            leave(orders, data)
        self.counts[leave.__name__.removeprefix("_").replace("_", " ")] += 1

    def _open_account(self) -> dict[str, str]:
        """Open an account.

        Raises:
            ConnectionError: The gateway refuses it, since a service was killed.
        """
        try:
            return self._running.open_account(self.name)
        except AssertionError as error:
            raise ConnectionError(str(error)) from error

    def _connect(self, base: str, path: str) -> contextlib.AbstractContextManager[ClientConnection]:
        url = f"{base.replace('http', 'ws')}{path}"
        return connect(url, additional_headers=self._headers, close_timeout=1, ping_interval=None)

    def _read(self, path: str) -> Any:
        return self._running.http.get(f"{self._running.feed}/{path}", headers=self._headers).raise_for_status().json()

    def _trade(self, orders: ClientConnection, symbol: str) -> None:
        quote = self._read(f"bbo/{symbol}")
        side = self._rng.choice(("buy", "sell"))
        crosses = self._rng.random() < 0.3
        price = quote["ask" if (side == "buy") == crosses else "bid"]
        if price is None:
            return
        self.counts["orders"] += 1
        identifier = f"{self.name}-{time.time_ns()}"
        order = {"symbol": symbol, "side": side, "quantity": "1", "price": price, "client_order_id": identifier}
        orders.send(json.dumps({"id": 1, "op": "order", **order}))
        if self._rng.random() < 0.3:
            orders.send(json.dumps({"id": 2, "op": "cancel_all"}))
        drain(orders)

    def _leave_politely(self, orders: ClientConnection, data: ClientConnection) -> None:
        orders.send(json.dumps({"id": 3, "op": "cancel_all"}))
        drain(orders)

    def _leave_without_a_word(self, orders: ClientConnection, data: ClientConnection) -> None:
        for connection in (orders, data):
            connection.socket.close()

    def _leave_unread(self, orders: ClientConnection, data: ClientConnection) -> None:
        """Leave like a laptop that is closed: stay connected, but read nothing for a while."""
        self._stop.wait(10)


def drain(connection: ClientConnection) -> None:
    """Read everything that has arrived."""
    with contextlib.suppress(TimeoutError):
        while True:
            connection.recv(0.01)
