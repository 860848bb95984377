"""Dead and slow WebSocket readers among a thousand. The other readers receive everything.

A slow reader of a state receives the newest state. A slow reader of events is disconnected.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from psycopg_pool import AsyncConnectionPool
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from market_data_feed import hub, websocket
from market_data_feed.hub import Hub
from market_data_feed.market import MarketData
from market_data_feed.operations import Operations
from market_data_feed.state import FeedState
from microexchange.access import Access
from microexchange.auth import Keys
from microexchange.enums import Side
from microexchange.health import Health
from microexchange.listening import bind
from microexchange.reports import PriceUpdate, SecurityListed, Trade
from microexchange.web import make_app, serve
from tests.integration.running import free_ports

READERS = 1000
ROUNDS = 40


class Feed:
    """The WebSockets of a feed, with updates that the test publishes."""

    def __init__(self, state: FeedState, url: str) -> None:
        self.state, self.url = state, url
        self._sequences = {"X": 0, "BIG": 0}

    def publish(self, symbol: str, changes: int) -> None:
        """Publish `changes` changes of a book in one message."""
        first = self._sequences[symbol] + 1
        self._sequences[symbol] += changes
        updates = [PriceUpdate(symbol, first + n, 1, Side.BUY, 1 + n, 5, 1) for n in range(changes)]
        for update in updates:
            self.state.market.apply(update)
        self.state.hub.publish(self.state.market, updates)

    def trade(self, symbol: str, trades: int) -> None:
        """Publish `trades` trades."""
        reports = [Trade(n, 1, symbol, 1, 1, Side.BUY, 1, 2, 0, 0) for n in range(trades)]
        for report in reports:
            self.state.market.apply(report)
        self.state.hub.publish(self.state.market, reports)


@pytest.fixture
async def feed(tmp_path: Path) -> AsyncIterator[Feed]:
    pool = AsyncConnectionPool("", min_size=0, max_size=1, open=False)
    state = FeedState(MarketData(), Hub(), pool, pool, Operations({}, dict))
    for symbol in ("X", "BIG"):
        state.market.apply(SecurityListed(1, 1, symbol, symbol, "0.01", "1", 10**6, 100, 10, 20))
    (port,) = free_ports(1)
    stop = asyncio.Event()
    app = make_app("a feed", "", Health(), dict)
    websocket.add_websocket(app, state, Access(Keys(tmp_path)))
    serving = asyncio.create_task(serve(app, bind("127.0.0.1", port, "--port"), stop))
    url = f"ws://127.0.0.1:{port}/ws"
    while True:
        with contextlib.suppress(OSError):
            await (await connect(url)).close()
            break
        await asyncio.sleep(0.02)
    yield Feed(state, url)
    stop.set()
    await serving


async def subscribe(url: str, channel: str, symbol: str, **options: Any) -> ClientConnection:
    connection = await connect(url, max_size=None, compression=None, open_timeout=60, ping_interval=None, **options)
    await connection.send(msgspec.json.encode({"op": "subscribe", "channel": channel, "symbols": [symbol]}).decode())
    await connection.recv()
    if channel == "book":
        await connection.recv()  # the snapshot
    return connection


def small_socket(feed: Feed) -> socket.socket:
    """Return a socket to the feed with a very small receive buffer."""
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect(("127.0.0.1", int(feed.url.split(":")[2].split("/")[0])))
    return small


async def test_a_dead_and_a_slow_reader_do_not_delay_a_thousand_readers_of_a_book(feed: Feed) -> None:
    readers: list[ClientConnection] = []
    for first in range(0, READERS, 50):
        readers += await asyncio.gather(*(subscribe(feed.url, "book", "X") for _ in range(first, first + 50)))
    with small_socket(feed) as small:
        dead = await subscribe(feed.url, "book", "BIG", sock=small)
        dead.transport.pause_reading()
        slow = await subscribe(feed.url, "book", "BIG", max_queue=1)
        received = [0] * READERS

        async def listen(number: int) -> None:
            async for message in readers[number]:
                received[number] += 1
                assert msgspec.json.decode(message)["sequence"] == received[number], "each change arrives, in order"

        async def read_slowly(last: int) -> int:
            sequence = messages = 0
            while sequence < last:
                message = msgspec.json.decode(await slow.recv())
                assert message["previous_sequence"] == sequence, "no change is missing"
                sequence, messages = message["sequence"], messages + 1
                await asyncio.sleep(0.02)
            return messages

        listening = [asyncio.create_task(listen(number)) for number in range(READERS)]
        reading_slowly = asyncio.create_task(read_slowly(ROUNDS * 30 * 1000))
        subscribers = feed.state.hub._subscribers["book", "BIG"]
        assert len(subscribers) == 2
        async with asyncio.timeout(120):
            for _ in range(ROUNDS):
                feed.publish("X", 1)
                for _ in range(30):
                    feed.publish("BIG", 1000)
                    await asyncio.sleep(0)
                assert max(map(len, subscribers)) <= hub.CONFLATION_QUEUE_LENGTH, "no backlog grows"
                await asyncio.sleep(0.02)
            while min(received) < ROUNDS:
                await asyncio.sleep(0.05)
            assert await reading_slowly < ROUNDS * 30, "the slow reader receives the newest state, and not each change"
        assert received == [ROUNDS] * READERS, "the other readers receive everything"
    for task in listening:
        task.cancel()
    await asyncio.gather(slow.close(), *(reader.close() for reader in readers), return_exceptions=True)


async def test_a_dead_reader_of_trades_is_disconnected_and_the_others_receive_every_trade(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MAX_QUEUED", 60)
    with small_socket(feed) as small:
        dead = await subscribe(feed.url, "trades", "BIG", sock=small)
        dead.transport.pause_reading()
        live = await subscribe(feed.url, "trades", "BIG")
        subscribers = feed.state.hub._subscribers["trades", "BIG"]
        sent = 0
        async with asyncio.timeout(60):
            while len(subscribers) == 2:
                feed.trade("BIG", 50)
                sent += 50
                await asyncio.sleep(0.01)
            for _ in range(sent):
                assert msgspec.json.decode(await live.recv())["type"] == "trade"
    await live.close()


async def test_a_disconnected_reader_receives_the_reason_and_can_reconnect(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MAX_QUEUED", 60)
    with small_socket(feed) as small:
        slow = await subscribe(feed.url, "trades", "X", sock=small)
        slow.transport.pause_reading()
        (subscriber,) = feed.state.hub._subscribers["trades", "X"]
        async with asyncio.timeout(20):
            while not subscriber.overflowed.is_set():
                feed.trade("X", 50)
                await asyncio.sleep(0)
            slow.transport.resume_reading()
            with contextlib.suppress(ConnectionClosed):
                async for _ in slow:
                    pass
    assert slow.close_code == websocket.TOO_SLOW
    assert "subscribe again" in str(slow.close_reason)
    again = await subscribe(feed.url, "trades", "X")
    feed.trade("X", 1)
    assert msgspec.json.decode(await asyncio.wait_for(again.recv(), 20))["type"] == "trade"
    await again.close()
