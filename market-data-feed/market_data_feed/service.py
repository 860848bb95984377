"""The shell of the market-data feed: read, apply, publish, store."""

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
from market_data_feed.market import Changes, MarketData
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
from microexchange.settings import PublicSettings, connection_limits
from microexchange.web import make_app, serve

_logger = structlog.get_logger(__name__)
_DESCRIPTION = "Securities, books, trades, balances, the leaderboard. `/ws` is the WebSocket of live market data."

MAX_REPORTS_PER_TURN = 500
"""The reports that are applied before other tasks may run."""
BACKLOG_REPORTS = 2_000
"""The number of pending reports from which the writer no longer pauses between transactions."""
RETIRE_INTERVAL_NS = 3_600 * 10**9
"""The time between two searches for days that are too old."""
MAX_PENDING_REPORTS = 100_000
"""The number of pending reports at which the feed stops reading until it has stored them."""


class FeedSettings(PublicSettings):
    """The settings of the feed."""

    port: int = Field(default=8001, ge=0, le=65535, description="Port of REST and WebSocket.")
    gateway_port: int = Field(
        default=8000, ge=1, le=65535, description="Port of the gateway. `/` of the feed redirects there."
    )
    services: dict[str, str] = Field(
        default={}, description='Addresses of the other services, for the page of operations: {"name": "http://…"}.'
    )
    currency: str = Field(
        default="USD", pattern=r"^[A-Z]{3}$", description="Currency in which the pages show cash: a code of ISO 4217."
    )
    history_days: int = Field(
        default=0,
        ge=0,
        le=36_500,
        description="Days of reports, trades and equities to keep, in addition to today. 0 keeps all. Open orders stay.",
    )
    nice: int = Field(default=5, ge=0, le=19, description="Scheduling, as in nice(1): a greater value is a lower priority.")


class FeedService:
    """The process of a market-data feed."""

    def __init__(self, settings: FeedSettings) -> None:
        self._settings = settings
        server = settings.database_url.get_secret_value()
        self._url = database_url(server, settings.namespace, MARKET_DATA)
        ledger_url = database_url(server, settings.namespace, CLEARING_DATA)
        self._log = open_log(settings.log_url.get_secret_value(), settings.namespace)
        self._keys = Keys(settings.data_dir)
        self._access = Access(self._keys, settings.classroom)
        self._health = Health()
        self._connections = connection_limits(settings)
        self._health.wait("database", "connecting")
        self._health.wait("log", "finding the position to read from")
        pool = AsyncConnectionPool(self._url, min_size=0, max_size=8, open=False)
        read_only = {"options": "-c default_transaction_read_only=on"}
        ledger = AsyncConnectionPool(ledger_url, min_size=0, max_size=4, open=False, kwargs=read_only)
        self._state = FeedState(MarketData(), Hub(), pool, ledger, Operations(settings.services, self._own_state))
        self._cursors = ProducerCursors()
        self._offset = 0
        self._stored_offset = 0
        self._pending = Pending()
        self._sealed: Pending | None = None
        """The transaction that is being written. It is kept until its commit is certain."""
        self._is_writer = False
        """Whether this feed stores. If there are several feeds, one stores, and all publish."""
        self._read_as_follower = False
        """Whether this feed has read reports while another feed stored."""
        self._retire_at = 0
        """The time of the next search for days that are too old, in nanoseconds of Unix time."""
        self._may_apply = asyncio.Event()
        self._may_apply.set()
        self._has_unstored = asyncio.Event()
        self._is_loaded = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    def _own_state(self) -> dict[str, Any]:
        return {"waiting_for": self._health.waiting_for, "warnings": self._health.warnings, **self._status()}

    def _status(self) -> dict[str, Any]:
        subscribers, longest = self._state.hub.backlog()
        return {
            "connections": self._connections.open,
            "subscribers": subscribers,
            "longest_queue": longest,
            "offset": self._offset,
            "stored_offset": self._stored_offset,
            "sequences": {name: position.sequence for name, position in self._cursors.by_producer.items()},
            **self._state.totals(),
            **{f"latency_p{percent}_seconds": stages for percent, stages in self._state.operations.seconds.items()},
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then store the reports that were read."""
        settings = self._settings
        listener = bind(settings.host, settings.port, settings.port_flag)
        app = make_app(
            "microexchange market data",
            _DESCRIPTION,
            self._health,
            self._status,
            settings.cors_origins,
            settings.address_requests_per_second,
            self._keys.derived(PURPOSE),
            guards_pages=settings.classroom,
        )
        add_routes(app, self._state, self._access)
        add_websocket(app, self._state, self._access)
        add_dashboard(app, settings.gateway_port, settings.classroom, settings.currency)

        try:
            async with (
                self._state.pool,
                self._state.ledger,
                background(self._keep_storing(), self._read(), self._tick(), self._state.operations.watch()),
            ):
                await serve(app, listener, stop, self._connections, settings.trusted_proxies)
                # The next start reads again what is not stored within five seconds.
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
        await self._is_loaded.wait()
        await check_position(self._log, DATA_FEED, self._offset)
        self._health.clear("log")
        async for batches in read_batches(self._log, DATA_FEED, self._offset, self._health):
            await self._may_apply.wait()
            market, operations = self._state.market, self._state.operations
            self._read_as_follower = self._read_as_follower or not self._is_writer
            applied, read_at = 0, time.time_ns()
            for offset, batch in batches:
                reports = self._apply(market, self._cursors, batch)
                self._state.hub.publish(market, reports, market.totals.reports - len(reports) + 1)
                self._offset = offset + 1
                operations.record_batch(batch, reports, read_at, time.time_ns())
                applied += len(reports)
                if applied > MAX_REPORTS_PER_TURN:
                    # Let the writer and the requests run.
                    applied = 0
                    self._has_unstored.set()
                    await self._wait_for_room()
                    await self._may_apply.wait()
                    market = self._state.market
            self._has_unstored.set()
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        """Let other tasks run. If too many reports are pending, wait until they are being stored."""
        await asyncio.sleep(0)
        if self._pending.count > MAX_PENDING_REPORTS:
            self._has_room.clear()
            await self._has_room.wait()

    async def _keep_storing(self) -> None:
        """Store reports, and reconnect if the connection is lost. In the meantime, the feed continues to publish."""
        backoff = Backoff()
        while True:
            try:
                async with await connect(self._url, "feed") as connection:
                    # A commit need not wait for the disk: the feed reads again from the log what a crash loses.
                    await connection.execute("SET synchronous_commit = off")
                    store = Store(connection)
                    self._is_writer = await store.lock()
                    if not self._is_loaded.is_set():
                        self._begin_at(*await store.load())
                        self._stored_offset = self._offset
                        self._is_loaded.set()
                        _logger.info("ready", offset=self._offset, stores=self._is_writer)
                    backoff = Backoff()
                    self._health.clear("database")
                    while not self._is_writer:
                        await asyncio.sleep(0.5)
                        self._stored_offset = await store.offset()
                        self._is_writer = await store.lock()
                    await self._store(store)
            except CONNECTION_LOST as error:
                _logger.error("database unavailable", cause=str(error).strip())
                self._health.wait("database", "no connection; see the log of the feed")
            await backoff.wait()

    def _begin_at(self, market: MarketData, cursors: ProducerCursors, offset: int) -> None:
        """Replace the state with one that was stored at `offset`."""
        self._state.market, self._cursors, self._offset = market, cursors, offset
        self._keys.revoked, self._access.participants = market.revoked_keys, market.participants

    async def _take_over(self, store: Store) -> None:
        """Become the writer after another feed: load its state, and apply the reports that it has not stored."""
        self._may_apply.clear()
        try:
            market, cursors, offset = await store.load()
            self._pending, self._sealed, end = Pending(), None, self._offset
            self._stored_offset = offset
            if offset < end:
                async with contextlib.aclosing(read_batches(self._log, DATA_FEED, offset, self._health)) as reading:
                    async for batches in reading:
                        for body_offset, batch in batches:
                            if body_offset < end:
                                self._apply(market, cursors, batch)
                                offset = body_offset + 1
                        if offset >= end:
                            break
            market.take_changed_orders()  # subscribers have received these changes
            self._begin_at(market, cursors, offset)
            _logger.info("became the writer", offset=offset)
        finally:
            self._may_apply.set()

    def _apply(self, market: MarketData, cursors: ProducerCursors, batch: Batch[Record]) -> list[Record]:
        """Apply a body, queue its new reports for storage, and return them."""
        reports = take_new_records(cursors, DATA_FEED, batch, self._health)
        for report in reports:
            market.apply(report)
            if self._is_writer:
                self._pending.add(market.totals.reports, report)
        market.advance_to(batch.stamp)
        if not self._is_writer:
            market.changes = Changes()
        return reports

    async def _store(self, store: Store) -> None:
        offset = await store.offset()
        if self._sealed is not None and offset == self._sealed.offset:
            # The connection was lost after the commit and before its answer.
            self._on_written(self._sealed)
        elif offset != self._stored_offset or self._read_as_follower:
            await self._take_over(store)
            self._read_as_follower = False
        while True:
            if self._sealed is None:
                await self._has_unstored.wait()
                self._has_unstored.clear()
                self._sealed = seal(self._pending, self._state.market, self._cursors, self._offset)
                self._pending = Pending()
                self._has_room.set()
            began = time.perf_counter()
            await self._retire(store)
            await store.write(self._sealed)
            self._on_written(self._sealed)
            # Subscribers have received these reports already, so storage may be late. The pause makes transactions fewer and
            # larger. It is as long as the transaction, and at most a second.
            await asyncio.sleep(min(time.perf_counter() - began, 1) if self._pending.count < BACKLOG_REPORTS else 0)

    async def _retire(self, store: Store) -> None:
        """Remove the days that are too old, once an hour."""
        days, now = self._settings.history_days, time.time_ns()
        if not days or now < self._retire_at:
            return
        self._retire_at = now + RETIRE_INTERVAL_NS
        try:
            retired = await store.retire(now // DAY_NS - days)
        except psycopg.errors.LockNotAvailable:
            _logger.warning("old days are in use: next attempt in one hour")
            return
        if retired:
            _logger.info("removed old days", partitions=retired)

    def _on_written(self, sealed: Pending) -> None:
        self._stored_offset = sealed.offset
        self._sealed = None
