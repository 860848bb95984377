"""Every connection of a hostile peer ends, at the feed and at the gateway, and leaves no session behind.

`./mx bench hostile` runs the same peers by the thousand against whole services.
"""

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import hostile
from benchmarks.hostile import FEED_REQUESTS, GATEWAY_REQUESTS, KINDS, Peer, attack
from psycopg_pool import AsyncConnectionPool

from market_data_feed import websocket as feed_websocket
from market_data_feed.hub import Hub
from market_data_feed.market import MarketData
from market_data_feed.operations import Operations
from market_data_feed.state import FeedState
from market_data_feed.websocket import SubscriberSession
from microexchange import http_connection, web
from microexchange.access import Access
from microexchange.auth import Keys
from microexchange.connection_limits import ConnectionLimits
from microexchange.frames import Connection
from microexchange.health import Health
from microexchange.http_connection import HttpConnection
from microexchange.limits import RateLimiter
from microexchange.log.memory import MemoryLog
from microexchange.web import make_app
from order_entry_gateway import websocket as gateway_websocket
from order_entry_gateway.order_service import Limits, OrderService
from order_entry_gateway.requests import Endowment
from order_entry_gateway.websocket import WebSocketSession
from tests.unit.served import served

pytestmark = pytest.mark.slow
PEERS = 30
"""Peers of each of the ten kinds."""


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "PING_SECONDS", 0.5)
    monkeypatch.setattr(web, "COLLECT_SECONDS", 0.1)
    monkeypatch.setattr(http_connection, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(hostile, "END_SECONDS", 60.0)


def feed(app: object, folder: Path) -> None:
    pool = AsyncConnectionPool("", min_size=0, max_size=1, open=False)
    state = FeedState(MarketData(), Hub(), pool, pool, Operations({}, dict))
    feed_websocket.add_websocket(app, state, Access(Keys(folder)))  # type: ignore[arg-type]


def gateway(app: object, folder: Path) -> None:
    limits = Limits(RateLimiter(0, 0))
    service = OrderService(
        MemoryLog(), 0, "postgresql://x", "", Health(), 0.3, folder / "epoch", limits, Endowment(0, {}, 0)
    )
    gateway_websocket.add_websocket(app, service, Access(Keys(folder)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("add", "path", "requests"), [(feed, "/ws", FEED_REQUESTS), (gateway, "/ws/orders", GATEWAY_REQUESTS)]
)
async def test_every_connection_of_a_hostile_peer_ends_and_leaves_no_session(
    tmp_path: Path, add: Callable[[object, Path], None], path: str, requests: bytes
) -> None:
    limits = ConnectionLimits()
    app = make_app("a service", "", Health(), dict)
    add(app, tmp_path)
    key = Keys(tmp_path).issue("peer").key

    async def connections() -> int:
        return limits.open

    async with served(app, limits) as port:
        left = await attack(KINDS, PEERS, lambda: Peer(port, path, key, requests), connections)
        assert left == 0
        assert limits.ended == PEERS * len(KINDS)
        assert (limits.by_client("peer"), limits.refused) == (0, 0)
        async with asyncio.timeout(20):
            while kept := _kept():
                await asyncio.sleep(0.1)
        assert not kept


def _kept() -> list[str]:
    """Return the types of connections and sessions that are still in memory."""
    gc.collect()
    kinds = (HttpConnection, Connection, SubscriberSession, WebSocketSession)
    return [type(found).__name__ for found in gc.get_objects() if type(found) in kinds]
