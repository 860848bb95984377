"""The shell of the market-data feed: read, apply, tell, store."""

import asyncio
import time
from typing import Any

import structlog
from psycopg_pool import AsyncConnectionPool
from pydantic import Field
from starlette.responses import RedirectResponse

from market_data_feed.hub import Hub
from market_data_feed.market import Market
from market_data_feed.rest import add_routes
from market_data_feed.state import FeedState
from market_data_feed.store import Pending, Store, seal
from market_data_feed.websocket import add_websocket
from microexchange.access import Access
from microexchange.auth import Keys
from microexchange.databases import CLEARING_DATA, CONNECTION_LOST, MARKET_DATA, connect, database_url
from microexchange.health import Health
from microexchange.log import Backoff, open_log
from microexchange.messages import DATA_FEED
from microexchange.positions import Positions
from microexchange.service import background, check_position, read_batches, take_fresh
from microexchange.settings import PublicSettings
from microexchange.web import bind, make_app, serve

_logger = structlog.get_logger(__name__)
_DESCRIPTION = "Securities, books, trades, balances, the leaderboard. `/ws` is the WebSocket for books and trades, live."

LEISURE = 2_000
"""Reports that may wait to be stored without a hurry."""
MOST_PENDING = 50_000
"""Reports that may wait to be stored; then the feed reads on only as fast as it stores."""


class FeedSettings(PublicSettings):
    """What the feed is told."""

    port: int = Field(default=8001, ge=0, le=65535, description="Port of REST and WebSocket.")
    nice: int = Field(default=10, ge=0, le=19, description="As in nice(1): those go first whom an order waits for.")


class FeedService:
    """One market-data feed."""

    def __init__(self, settings: FeedSettings) -> None:
        self._settings = settings
        server = settings.database_url.get_secret_value()
        self._url = database_url(server, settings.namespace, MARKET_DATA)
        ledger_url = database_url(server, settings.namespace, CLEARING_DATA)
        self._log = open_log(settings.log_url.get_secret_value(), settings.namespace)
        self._keys = Keys(settings.data_dir)
        self._health = Health()
        self._health.wait("database", "connecting")
        self._health.wait("log", "looking for the position in it")
        pool = AsyncConnectionPool(self._url, min_size=0, max_size=8, open=False)
        read_only = {"options": "-c default_transaction_read_only=on"}
        ledger = AsyncConnectionPool(ledger_url, min_size=0, max_size=4, open=False, kwargs=read_only)
        self._state = FeedState(Market(), Hub(), pool, ledger)
        self._positions = Positions()
        self._offset = 0
        self._stored_offset = 0
        self._pending = Pending()
        self._sealed: Pending | None = None
        """What is being written; kept until it is certain that it was."""
        self._fresh = asyncio.Event()
        self._loaded = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def _status(self) -> dict[str, Any]:
        return {
            "offset": self._offset,
            "stored_offset": self._stored_offset,
            "sequences": {name: position.sequence for name, position in self._positions.by_producer.items()},
            **self._state.totals(),
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop`; then stores what it has read."""
        settings = self._settings
        listener = bind(settings.host, settings.port, settings.port_flag)
        limits = settings.cors_origins, settings.address_requests_per_second
        app = make_app("microexchange market data", _DESCRIPTION, self._health, self._status, *limits)
        add_routes(app, self._state, Access(self._keys, settings.classroom))
        add_websocket(app, self._state)

        @app.get("/", include_in_schema=False)
        async def root() -> RedirectResponse:
            return RedirectResponse("/docs")

        try:
            async with self._state.pool, self._state.ledger, background(self._store_for_ever(), self._read()):
                await serve(app, listener, stop)
                # What is not stored now is read again at the next start.
                for _ in range(50):
                    if self._stored_offset >= self._offset:
                        break
                    await asyncio.sleep(0.1)
        finally:
            await self._log.close()

    async def _read(self) -> None:
        await self._loaded.wait()
        market, hub = self._state.market, self._state.hub
        await check_position(self._log, DATA_FEED, self._offset)
        self._health.clear("log")
        async for batches in read_batches(self._log, DATA_FEED, self._offset, self._health):
            for offset, batch in batches:
                reports = take_fresh(self._positions, DATA_FEED, batch, self._health)
                for report in reports:
                    market.apply(report)
                    self._pending.add(market.totals.reports, report)
                hub.publish(market, reports)
                self._offset = offset + 1
            self._fresh.set()
            if self._pending.count > MOST_PENDING:
                self._room.clear()
                await self._room.wait()

    async def _store_for_ever(self) -> None:
        """Stores; where the database goes away, goes on when it is back. Meanwhile the feed tells on."""
        backoff = Backoff()
        while True:
            try:
                async with await connect(self._url, "feed") as connection:
                    store = Store(connection)
                    while not await store.lock():
                        self._health.wait("database", "another feed stores; this one stands by")
                        await asyncio.sleep(0.5)
                    backoff = Backoff()
                    if not self._loaded.is_set():
                        self._state.market, self._positions, self._offset = await store.load()
                        self._stored_offset = self._offset
                        self._keys.revoked = self._state.market.revoked_keys
                        self._loaded.set()
                        _logger.info("ready", offset=self._offset)
                    self._health.clear("database")
                    await self._store(store)
            except CONNECTION_LOST as error:
                _logger.error("database unavailable", cause=str(error).strip())
                self._health.wait("database", "cannot reach it; see the log")
            await backoff.wait()

    async def _store(self, store: Store) -> None:
        if self._sealed is not None and await store.offset() >= self._sealed.offset:
            # The connection was lost after the commit and before its answer.
            self._written(self._sealed)
        while True:
            if self._sealed is None:
                await self._fresh.wait()
                self._fresh.clear()
                self._sealed = seal(self._pending, self._state.market, self._positions, self._offset)
                self._pending = Pending()
                self._room.set()
            began = time.perf_counter()
            await store.write(self._sealed)
            self._written(self._sealed)
            # Subscribers have heard all of it long before: storing need not keep a processor busy with many small
            # transactions. Half of the time at most goes into them, and never a second passes between two.
            await asyncio.sleep(min(time.perf_counter() - began, 1) if self._pending.count < LEISURE else 0)

    def _written(self, sealed: Pending) -> None:
        self._stored_offset = sealed.offset
        self._sealed = None
