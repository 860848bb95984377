"""A dead WebSocket reader and a slow one among a thousand: the others hear everything; those two are disconnected."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from psycopg_pool import AsyncConnectionPool
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from market_data_feed import hub, websocket
from market_data_feed.hub import Hub
from market_data_feed.market import Market
from market_data_feed.state import FeedState
from microexchange.health import Health
from microexchange.messages import PriceUpdate, SecurityListed, Side
from microexchange.web import bind, make_app, serve
from tests.integration.running import free_ports

READERS = 1000
ROUNDS = 40


class Feed:
    """A feed's WebSocket side, fed by hand."""

    def __init__(self, state: FeedState, url: str) -> None:
        self.state, self.url = state, url
        self._sequences = {"X": 0, "BIG": 0}

    def publish(self, symbol: str, changes: int) -> None:
        """So many changes of a book, in one message."""
        first = self._sequences[symbol] + 1
        self._sequences[symbol] += changes
        updates = [PriceUpdate(symbol, first + n, 1, Side.BUY, 1 + n, 5, 1) for n in range(changes)]
        for update in updates:
            self.state.market.apply(update)
        self.state.hub.publish(self.state.market, updates)


@pytest.fixture
async def feed() -> AsyncIterator[Feed]:
    pool = AsyncConnectionPool("", min_size=0, max_size=1, open=False)
    state = FeedState(Market(), Hub(), pool, pool)
    for symbol in ("X", "BIG"):
        state.market.apply(SecurityListed(1, 1, symbol, symbol, "0.01", "1", 10**6, 100, 10, 20))
    (port,) = free_ports(1)
    stop = asyncio.Event()
    app = make_app("a feed", "", Health(), dict)
    websocket.add_websocket(app, state)
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


async def subscribe(url: str, *symbols: str, **options: Any) -> ClientConnection:
    connection = await connect(url, max_size=None, compression=None, open_timeout=60, ping_interval=None, **options)
    await connection.send(msgspec.json.encode({"op": "subscribe", "channel": "book", "symbols": symbols}).decode())
    for _ in range(1 + len(symbols)):  # that it is subscribed, and a snapshot of each book
        await connection.recv()
    return connection


async def until_closed(connection: ClientConnection, pause: float) -> int:
    """Reads to the end, with a pause after each message; how many there were."""
    got = 0
    with contextlib.suppress(ConnectionClosed):
        async for _ in connection:
            got += 1
            await asyncio.sleep(pause)
    return got


async def test_a_dead_and_a_slow_reader_among_a_thousand(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MOST_QUEUED", 60)
    readers: list[ClientConnection] = []
    for first in range(0, READERS, 50):
        readers += await asyncio.gather(*(subscribe(feed.url, "X") for _ in range(first, first + 50)))

    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect(("127.0.0.1", int(feed.url.split(":")[2].split("/")[0])))
    dead = await subscribe(feed.url, "BIG", sock=small)
    dead.transport.pause_reading()
    slow = await subscribe(feed.url, "BIG", max_queue=1)

    heard = [0] * READERS

    async def listen(number: int) -> None:
        async for message in readers[number]:
            heard[number] += 1
            assert msgspec.json.decode(message)["sequence"] == heard[number], "each change, in order"

    listening = [asyncio.create_task(listen(number)) for number in range(READERS)]
    reading_slowly = asyncio.create_task(until_closed(slow, 0.02))
    sessions = len(feed.state.hub._subscribers["book", "BIG"])
    assert sessions == 2
    big = 0
    async with asyncio.timeout(120):
        for _ in range(ROUNDS):
            feed.publish("X", 1)
            for _ in range(30):
                feed.publish("BIG", 1000)
                big += 1
                await asyncio.sleep(0)
            await asyncio.sleep(0.02)
        while min(heard) < ROUNDS:
            await asyncio.sleep(0.05)
        while feed.state.hub._subscribers["book", "BIG"]:
            await asyncio.sleep(0.05)
    assert heard == [ROUNDS] * READERS, "the others heard everything"

    # The slow one hears what had been sent, then why it was disconnected.
    assert await asyncio.wait_for(reading_slowly, 60) < big
    assert slow.close_code == websocket.TOO_SLOW
    assert "subscribe again" in str(slow.close_reason)

    # And subscribes again: a fresh snapshot, and what changes from there on.
    again = await connect(feed.url, max_size=None)
    await again.send('{"op":"subscribe","channel":"book","symbols":["BIG"]}')
    await again.recv()
    snapshot = msgspec.json.decode(await again.recv())
    assert snapshot["book"]["sequence"] == big * 1000
    feed.publish("BIG", 1)
    assert msgspec.json.decode(await again.recv())["previous_sequence"] == big * 1000
    await again.close()
    small.close()
    for task in listening:
        task.cancel()
    await asyncio.gather(*(reader.close() for reader in readers), return_exceptions=True)
