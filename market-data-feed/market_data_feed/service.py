"""The shell of the market-data feed: read, apply, tell, store."""

import asyncio
import contextlib
import time
from typing import Any

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool
from pydantic import Field

from exchange_db.days import DAY_NS
from market_data_feed.dashboard import add_dashboard
from market_data_feed.hub import Hub
from market_data_feed.market import Changes, Market
from market_data_feed.operations import Operations
from market_data_feed.rest import add_routes
from market_data_feed.state import FeedState
from market_data_feed.store import Pending, Store, seal
from market_data_feed.websocket import add_websocket
from microexchange.access import Access
from microexchange.auth import Keys
from microexchange.batches import Batch
from microexchange.databases import CLEARING_DATA, CONNECTION_LOST, MARKET_DATA, connect, database_url
from microexchange.forwarding import PURPOSE
from microexchange.health import Health
from microexchange.listening import bind
from microexchange.log import Backoff, open_log
from microexchange.producer_cursors import ProducerCursors
from microexchange.records import DATA_FEED, Record
from microexchange.service import background, check_position, read_batches, take_new_records
from microexchange.settings import PublicSettings
from microexchange.web import make_app, serve

_logger = structlog.get_logger(__name__)
_DESCRIPTION = "Securities, books, trades, balances, the leaderboard. `/ws` is the WebSocket for books and trades, live."

MAX_IN_TURN = 500
"""Reports that are taken in before anything else has its turn."""
LEISURE = 2_000
"""Reports that may wait to be stored without a hurry."""
RETIRE_NANOSECONDS = 3_600 * 10**9
"""How often days that are too old are looked for."""
MAX_PENDING = 100_000
"""Reports that may wait to be stored; then the feed reads on only as fast as it stores."""


class FeedSettings(PublicSettings):
    """What the feed is told."""

    port: int = Field(default=8001, ge=0, le=65535, description="Port of REST and WebSocket.")
    gateway_port: int = Field(default=8000, ge=1, le=65535, description="The gateway's, to which `/` leads.")
    services: dict[str, str] = Field(
        default={}, description='Addresses of the other services, whose health the dashboard shows: {"name": "http://…"}.'
    )
    history_days: int = Field(
        default=0,
        ge=0,
        le=36_500,
        description="Days of reports, trades and equities that are kept, and today; 0 keeps all. Open orders stay.",
    )
    nice: int = Field(default=5, ge=0, le=19, description="As in nice(1): those go first whom an order waits for.")


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
        self._state = FeedState(Market(), Hub(), pool, ledger, Operations(settings.services, self._status))
        self._cursors = ProducerCursors()
        self._offset = 0
        self._stored_offset = 0
        self._pending = Pending()
        self._sealed: Pending | None = None
        """What is being written; kept until it is certain that it was."""
        self._stores = False
        """Whether this is the feed that stores; of several, one does, and all tell."""
        self._followed = False
        """Whether something was read while another stored."""
        self._retire_at = 0
        """When to look for days that are too old, in nanoseconds of Unix time."""
        self._turn = asyncio.Event()
        self._turn.set()
        self._fresh = asyncio.Event()
        self._loaded = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def _status(self) -> dict[str, Any]:
        subscribers, longest = self._state.hub.backlog()
        return {
            "subscribers": subscribers,
            "longest_queue": longest,
            "offset": self._offset,
            "stored_offset": self._stored_offset,
            "sequences": {name: position.sequence for name, position in self._cursors.by_producer.items()},
            **self._state.totals(),
            **{f"latency_p{percent}_seconds": stages for percent, stages in self._state.operations.seconds.items()},
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop`; then stores what it has read."""
        settings = self._settings
        listener = bind(settings.host, settings.port, settings.port_flag)
        limits = settings.cors_origins, settings.address_requests_per_second, self._keys.derived(PURPOSE)
        app = make_app("microexchange market data", _DESCRIPTION, self._health, self._status, *limits)
        access = Access(self._keys, settings.classroom)
        add_routes(app, self._state, access)
        add_websocket(app, self._state, access)
        add_dashboard(app, settings.gateway_port, settings.classroom)

        try:
            async with (
                self._state.pool,
                self._state.ledger,
                background(self._store_for_ever(), self._read(), self._tick(), self._state.operations.watch()),
            ):
                await serve(app, listener, stop)
                # What is not stored now is read again at the next start.
                for _ in range(50):
                    if self._stored_offset >= self._offset:
                        break
                    await asyncio.sleep(0.1)
        finally:
            await self._log.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._state.hub.tick(self._state.market)

    async def _read(self) -> None:
        await self._loaded.wait()
        await check_position(self._log, DATA_FEED, self._offset)
        self._health.clear("log")
        async for batches in read_batches(self._log, DATA_FEED, self._offset, self._health):
            await self._turn.wait()
            market, operations = self._state.market, self._state.operations
            self._followed = self._followed or not self._stores
            in_turn, read_at = 0, time.time_ns()
            for offset, batch in batches:
                reports = self._apply(market, self._cursors, batch)
                self._state.hub.publish(market, reports, market.totals.reports - len(reports) + 1)
                self._offset = offset + 1
                operations.heard(batch, reports, read_at, time.time_ns())
                in_turn += len(reports)
                if in_turn > MAX_IN_TURN:
                    # What is stored, and who asks, has its turn in between; and the database works meanwhile.
                    in_turn = 0
                    self._fresh.set()
                    await (self._have_room() if self._pending.count > MAX_PENDING else asyncio.sleep(0))
                    await self._turn.wait()
                    market = self._state.market
            self._fresh.set()

    async def _have_room(self) -> None:
        self._room.clear()
        await self._room.wait()

    async def _store_for_ever(self) -> None:
        """Stores; where the database goes away, goes on when it is back. Meanwhile the feed tells on."""
        backoff = Backoff()
        while True:
            try:
                async with await connect(self._url, "feed") as connection:
                    # What a crash of the server takes back is read from the log again, so nobody has to wait for its disk.
                    await connection.execute("SET synchronous_commit = off")
                    store = Store(connection)
                    self._stores = await store.lock()
                    if not self._loaded.is_set():
                        self._begin_at(*await store.load())
                        self._stored_offset = self._offset
                        self._loaded.set()
                        _logger.info("ready", offset=self._offset, stores=self._stores)
                    backoff = Backoff()
                    self._health.clear("database")
                    while not self._stores:
                        await asyncio.sleep(0.5)
                        self._stored_offset = await store.offset()
                        self._stores = await store.lock()
                    await self._store(store)
            except CONNECTION_LOST as error:
                _logger.error("database unavailable", cause=str(error).strip())
                self._health.wait("database", "cannot reach it; see the log")
            await backoff.wait()

    def _begin_at(self, market: Market, cursors: ProducerCursors, offset: int) -> None:
        """From here on the market is as it was stored at `offset`."""
        self._state.market, self._cursors, self._offset = market, cursors, offset
        self._keys.revoked = market.revoked_keys

    async def _take_over(self, store: Store) -> None:
        """Another feed has stored until now. Reads what it has not stored again, and from there on this one does."""
        self._turn.clear()
        try:
            market, cursors, offset = await store.load()
            self._pending, self._sealed, end = Pending(), None, self._offset
            self._stored_offset = offset
            if offset < end:
                async with contextlib.aclosing(read_batches(self._log, DATA_FEED, offset, self._health)) as reading:
                    async for batches in reading:
                        for at, batch in batches:
                            if at < end:
                                self._apply(market, cursors, batch)
                                offset = at + 1
                        if offset >= end:
                            break
            market.take_changed_orders()  # subscribers have heard of them
            self._begin_at(market, cursors, offset)
            _logger.info("stores from now on", offset=offset)
        finally:
            self._turn.set()

    def _apply(self, market: Market, cursors: ProducerCursors, batch: Batch[Record]) -> list[Record]:
        """Takes in a body, and what is to be stored of it: the reports that are new."""
        reports = take_new_records(cursors, DATA_FEED, batch, self._health)
        for report in reports:
            market.apply(report)
            if self._stores:
                self._pending.add(market.totals.reports, report)
        market.at(batch.stamp)
        if not self._stores:
            market.changes = Changes()
        return reports

    async def _store(self, store: Store) -> None:
        offset = await store.offset()
        if self._sealed is not None and offset == self._sealed.offset:
            # The connection was lost after the commit and before its answer.
            self._written(self._sealed)
        elif offset != self._stored_offset or self._followed:
            await self._take_over(store)
            self._followed = False
        while True:
            if self._sealed is None:
                await self._fresh.wait()
                self._fresh.clear()
                self._sealed = seal(self._pending, self._state.market, self._cursors, self._offset)
                self._pending = Pending()
                self._room.set()
            began = time.perf_counter()
            await self._retire(store)
            await store.write(self._sealed)
            self._written(self._sealed)
            # Subscribers have heard all of it long before: storing need not keep a processor busy with many small
            # transactions. Half of the time at most goes into them, and never a second passes between two.
            await asyncio.sleep(min(time.perf_counter() - began, 1) if self._pending.count < LEISURE else 0)

    async def _retire(self, store: Store) -> None:
        """Once an hour, removes the days that are too old."""
        days, now = self._settings.history_days, time.time_ns()
        if not days or now < self._retire_at:
            return
        self._retire_at = now + RETIRE_NANOSECONDS
        try:
            retired = await store.retire(now // DAY_NS - days)
        except psycopg.errors.LockNotAvailable:
            _logger.warning("old days stay for another hour: somebody reads them")
            return
        if retired:
            _logger.info("removed what is too old", partitions=retired)

    def _written(self, sealed: Pending) -> None:
        self._stored_offset = sealed.offset
        self._sealed = None
