"""The service of the clearinghouse: it reads instructions, settles them, commits the changes and reports them."""

import asyncio
import contextlib
import time
from typing import Any

import psycopg
import structlog
from prometheus_client import Counter
from pydantic import Field

from clearinghouse.ledger import Ledger
from clearinghouse.store import Progress, Settled, Store
from microexchange.batches import CLEARING, Batch
from microexchange.databases import CLEARING_DATA, CONNECTION_LOST, connect, database_url
from microexchange.enums import SettlementStatus
from microexchange.health import Health
from microexchange.instructions import Instruction
from microexchange.latency import LatencyWindow
from microexchange.listening import bind
from microexchange.log import Backoff, open_log
from microexchange.outbox import Outbox
from microexchange.producer_cursors import ProducerCursors
from microexchange.records import DATA_FEED, ORDER_EXECUTION
from microexchange.service import background, check_position, read_batches, run_until, take_new_records
from microexchange.settings import ServiceSettings
from microexchange.web import make_app, serve

_logger = structlog.get_logger(__name__)

_counter = Counter(
    "microexchange_settlements", "Settlements since the start. A REJECTED settlement is a fault in the exchange.", ["status"]
)
_settlements = {status: _counter.labels(status.value) for status in SettlementStatus}

MAX_TRANSACTION_SETTLEMENTS = 2000
"""The number of settlements after which a transaction is committed."""
PAUSE_SECONDS = 0.02
"""The pause after a small transaction, in which instructions for the next one arrive."""
BUSY_SETTLEMENTS = 100
"""The number of settlements in one read from which there is no pause, since more instructions may be waiting."""


class ReplacedError(RuntimeError):
    """Another clearinghouse was active in the meantime, so this process must restart."""


class ClearingSettings(ServiceSettings):
    """The settings of the clearinghouse."""

    port: int = Field(default=8003, ge=0, le=65535, description="Port of health, status and metrics.")
    nice: int = Field(default=10, ge=0, le=19, description="Scheduling, as in nice(1): a greater value is a lower priority.")


class ClearingService:
    """One clearinghouse over a log and a database."""

    def __init__(self, settings: ClearingSettings) -> None:
        self._settings = settings
        self._url = database_url(settings.database_url.get_secret_value(), settings.namespace, CLEARING_DATA)
        self._log = open_log(settings.log_url.get_secret_value(), settings.namespace)
        self._health = Health()
        self._health.wait("database", "connecting")
        self._progress = Progress(0, ProducerCursors(), 0)
        self._reports: Outbox | None = None
        self._reports_made = asyncio.Event()
        self._rejected = 0
        self._fencing_token = 0
        self._times = LatencyWindow()

    def _status(self) -> dict[str, Any]:
        engine = self._progress.cursors.by_producer.get("engine")
        return {
            "offset": self._progress.offset,
            "instruction_sequence": engine.sequence if engine else 0,
            "reported": self._reports.confirmed - 1 if self._reports else 0,
            "rejected": self._rejected,
            **dict(zip(("settle_p50", "settle_p95"), self._times.percentiles(50, 95), strict=True)),
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set."""
        listener = bind(self._settings.host, self._settings.port, self._settings.port_flag)
        app = make_app("clearinghouse", "Health and status of the clearinghouse.", self._health, self._status)
        try:
            async with background(self._append_reports()):
                await run_until(stop, serve(app, listener, stop), self._settle_until_cancelled())
                if self._reports is not None:
                    # Reports that are not appended in time are sent again after the next start.
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._reports.flushed(), 5)
        finally:
            await self._log.close()

    async def _append_reports(self) -> None:
        await self._reports_made.wait()
        assert self._reports is not None  # noqa: S101 - the event is set after the outbox
        await self._reports.run()

    async def _settle_until_cancelled(self) -> None:
        """Settle without end. After a database error, continue from the committed state."""
        backoff = Backoff()
        while True:
            try:
                async with await connect(self._url, "clearinghouse") as connection:
                    store = Store(connection)
                    while not await store.lock():
                        self._health.wait("database", "another clearinghouse is active; this one waits")
                        await asyncio.sleep(0.5)
                    backoff = Backoff()
                    if self._reports is None:
                        progress, _ = await store.load()
                        token = self._fencing_token = await store.next_fencing_token()
                        self._reports = Outbox(self._log, DATA_FEED, CLEARING, token, self._health, progress.reported + 1)
                        self._reports.announce = True
                        self._reports_made.set()
                    elif await store.fencing_token() != self._fencing_token:
                        # Readers ignore the reports of this process now. After a restart it has a new fencing token.
                        raise ReplacedError("another clearinghouse was active in the meantime: this process restarts")
                    await self._settle(store, self._reports)
            except CONNECTION_LOST as error:
                _logger.error("database unavailable", cause=str(error).strip())
                self._health.wait("database", "cannot be reached; the logs have the reason")
            except psycopg.IntegrityError as error:
                # The database refused what the ledger allowed, so another program has changed the balances. From the
                # balances in the database, the ledger rejects the same settlement and reports it.
                _logger.critical("the database refused a settlement", cause=str(error).strip())
            await backoff.wait()

    async def _settle(self, store: Store, reports: Outbox) -> None:
        progress, ledger = await store.load()
        self._progress = progress
        await check_position(self._log, ORDER_EXECUTION, progress.offset)
        while unsent := await store.reports_after(reports.next_sequence - 1):
            reports.put(unsent)
            await reports.room()
        self._health.clear("database")
        _logger.info("ready", offset=progress.offset, accounts=len(ledger.cash))
        async for batches in read_batches(self._log, ORDER_EXECUTION, progress.offset, self._health):
            settled: list[Settled] = []
            first, began = reports.next_sequence, time.perf_counter()
            for number, (offset, batch) in enumerate(batches, 1):
                settled += self._settle_batch(progress, ledger, offset, batch)
                if len(settled) >= MAX_TRANSACTION_SETTLEMENTS or number == len(batches):
                    progress.reported = reports.confirmed - 1
                    await store.commit(settled, ledger, progress)
                    self._times.add(time.perf_counter() - began)
                    self._report(reports, settled)
                    await reports.room()
                    settled, began = [], time.perf_counter()
            if reports.next_sequence - first < BUSY_SETTLEMENTS:
                # Many small transactions would take processor time from orders, and no order waits for settlement.
                await asyncio.sleep(PAUSE_SECONDS)

    def _report(self, reports: Outbox, settled: list[Settled]) -> None:
        """Report committed settlements."""
        for _, report in settled:
            _settlements[report.status].inc()
            if report.status is SettlementStatus.REJECTED:
                self._rejected += 1
                _logger.critical("settlement rejected", instruction=report.instruction, cause=report.text)
        reports.put([report for _, report in settled])

    def _settle_batch(self, progress: Progress, ledger: Ledger, offset: int, batch: Batch[Instruction]) -> list[Settled]:
        """Settle the new instructions of a batch, and move the progress past it."""
        instructions = take_new_records(progress.cursors, ORDER_EXECUTION, batch, self._health)
        progress.offset = offset + 1
        first = progress.cursors.by_producer[batch.producer].sequence - len(instructions) + 1
        return [(instruction, ledger.settle(number, instruction)) for number, instruction in enumerate(instructions, first)]
