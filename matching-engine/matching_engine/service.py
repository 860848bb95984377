"""The shell of the matching engine: it reads commands, applies them, appends the output and takes snapshots."""

import asyncio
import time
from typing import Any

import structlog
from pydantic import Field

from matching_engine import state
from matching_engine.engine import Engine
from matching_engine.snapshots import Snapshot, SnapshotStore, read_engines
from microexchange.batches import ENGINE
from microexchange.health import Health
from microexchange.listening import bind
from microexchange.log import Backoff, LogUnavailableError, open_log
from microexchange.outbox import Outbox
from microexchange.records import DATA_FEED, ORDER_ENTRY, ORDER_EXECUTION
from microexchange.service import background, check_position, read_batches, run_until, watch_for_successor
from microexchange.settings import ServiceSettings
from microexchange.web import make_app, serve

_logger = structlog.get_logger(__name__)


class EngineSettings(ServiceSettings):
    """The settings of the matching engine."""

    port: int = Field(default=8002, ge=0, le=65535, description="Port of health, status and metrics.")
    snapshot_seconds: float = Field(default=30.0, gt=0, description="Seconds between snapshots.")


class EngineService:
    """One matching engine over a log and a folder of snapshots."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._store = SnapshotStore(settings.data_dir / "engine")
        token = self._fencing_token = self._store.next_fencing_token()
        snapshot, self._engine = next(read_engines(settings.data_dir / "engine"), (None, Engine()))
        if snapshot is None:
            snapshot = Snapshot(0, 1, 1, state.take(self._engine))
        self._offset = snapshot.offset
        """The offset of `order_entry` to read next."""
        self._saved_offset = snapshot.offset
        self._health = Health()
        self._log = open_log(settings.log_url.get_secret_value(), settings.namespace)
        self._instructions = Outbox(self._log, ORDER_EXECUTION, ENGINE, token, self._health, snapshot.instruction_sequence)
        self._reports = Outbox(self._log, DATA_FEED, ENGINE, token, self._health, snapshot.report_sequence)
        self._instructions.announce = self._reports.announce = True
        self._health.wait("replay", "reading the commands after the snapshot")
        _logger.info("restored", offset=self._offset, fencing_token=token, orders=len(snapshot.state.orders))

    def _status(self) -> dict[str, Any]:
        engine = self._engine
        return {
            "offset": self._offset,
            "instruction_sequence": self._instructions.next_sequence - 1,
            "report_sequence": self._reports.next_sequence - 1,
            "last_command_ids": {str(gateway): str(last) for gateway, last in engine.last_command_ids.items()},
            "trades": engine.next_trade_id - 1,
            "accounts": len(engine.accounts),
            "open_orders": sum(len(account.orders) for account in engine.accounts.values()),
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`. Then append the remaining output and take a last snapshot."""
        listener = bind(self._settings.host, self._settings.port, self._settings.port_flag)
        app = make_app("matching-engine", "Health and status of the matching engine.", self._health, self._status)
        try:
            async with background(self._instructions.run(), self._reports.run()):
                await run_until(
                    stop,
                    serve(app, listener, stop),
                    self._fold(),
                    self._take_snapshots(),
                    self._await_replay(),
                    watch_for_successor(self._log, ORDER_EXECUTION, ENGINE, self._fencing_token),
                )
                try:
                    await asyncio.wait_for(self._snapshot(), 15)
                except TimeoutError:
                    _logger.warning("stopped without a snapshot: the log did not accept the last output")
                except OSError as error:
                    _logger.warning("stopped without a snapshot: it could not be written", cause=str(error))
        finally:
            await self._log.close()
            self._store.close()

    async def _fold(self) -> None:
        engine, instructions, reports = self._engine, self._instructions, self._reports
        await check_position(self._log, ORDER_ENTRY, self._offset)
        async for batches in read_batches(self._log, ORDER_ENTRY, self._offset, self._health):
            read_at = time.time_ns()
            for offset, batch in batches:
                reports.cause = batch.stamp, read_at
                for command in engine.fresh(batch):
                    outcome = engine.apply(command)
                    reports.put(outcome.reports)  # first: a client waits for its answer
                    instructions.put(outcome.instructions)
                self._offset = offset + 1
            await instructions.room()
            await reports.room()

    async def _await_replay(self) -> None:
        """Clear the replay from health once all commands are applied that were on the log at the start."""
        backoff = Backoff()
        while True:
            try:
                tail = await self._log.tail(ORDER_ENTRY)
                break
            except LogUnavailableError as error:
                self._health.wait("replay", str(error))
                await backoff.wait()
        while self._offset < tail:
            await asyncio.sleep(0.02)
        self._health.clear("replay")
        _logger.info("ready", offset=self._offset)
        await asyncio.Event().wait()

    async def _take_snapshots(self) -> None:
        while True:
            await asyncio.sleep(self._settings.snapshot_seconds)
            if self._offset > self._saved_offset:
                try:
                    await self._snapshot()
                    self._health.clear("snapshot")
                except OSError as error:
                    # Trading continues. Without this snapshot the next start only replays more commands.
                    _logger.error("could not write a snapshot", cause=str(error))
                    self._health.wait("snapshot", str(error))

    async def _snapshot(self) -> None:
        """Save the current state. Publish the file once all output up to this state is durable, so that none is lost."""
        offset, instruction, report = self._offset, self._instructions.next_sequence, self._reports.next_sequence
        writing = self._store.begin(offset, lambda: Snapshot(offset, instruction, report, state.take(self._engine)))
        try:
            await self._instructions.flushed()
            await self._reports.flushed()
        except BaseException:
            writing.abandon()
            raise
        await asyncio.to_thread(writing.finish)
        self._saved_offset = offset
