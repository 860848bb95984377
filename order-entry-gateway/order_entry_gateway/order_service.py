"""The order service: numbers commands, appends them to the log, and passes on the reports that they caused.

All protocols share one order service. A protocol uses it through a `ClientSession`.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from microexchange.batches import CLEARING, ENGINE, gateway_name
from microexchange.commands import CancelAll, Command, GatewayLogon, NewOrder, SuspendClient, TimeTick
from microexchange.disks import DiskGuard
from microexchange.enums import ExecType
from microexchange.fencing import next_fencing_token
from microexchange.health import Health
from microexchange.ids import IdSequence
from microexchange.latency import LatencyWindow
from microexchange.limits import RateLimiter
from microexchange.log import Log, LogUnavailableError
from microexchange.outbox import Outbox
from microexchange.participants import Participants, name_key
from microexchange.producer_cursors import ProducerCursors
from microexchange.records import DATA_FEED, ORDER_ENTRY, Record
from microexchange.refusals import Code, Refusal
from microexchange.reports import GatewayLoggedOn, OrderReport, ParticipantChanged, PriceUpdate, SettlementReport, Trade
from microexchange.securities import Security
from microexchange.service import ConfigurationError, read_batches, take_new_records
from order_entry_gateway.gateway_state import GatewayState, clients_of_failed_settlement
from order_entry_gateway.key_registry import KeyRegistry
from order_entry_gateway.market_policy import MarketPolicy
from order_entry_gateway.order_history import OrderHistory
from order_entry_gateway.pending_commands import (
    TIMEOUT_CHECK_INTERVAL_SECONDS,
    OnResult,
    PendingCommand,
    PendingCommands,
)
from order_entry_gateway.requests import Endowment
from order_entry_gateway.subscriptions import Subscriptions

_logger = structlog.get_logger(__name__)

STORAGE_CHECK_INTERVAL_SECONDS = 30.0
MAX_RECENT_REPORTS = 100_000
"""Order reports in memory for clients that resume. The feed has stored older ones."""
TIME_TICK_SECONDS = 1.0


@dataclass(frozen=True)
class Limits:
    """The limits of one client, and of one address that opens accounts."""

    requests: RateLimiter
    """Requests about orders, by client."""
    open_orders: int = 0
    """Open orders; 0 for no limit."""
    accounts: RateLimiter = field(default_factory=lambda: RateLimiter(0, 0))
    """Accounts that are opened, by address."""
    keys: int = 0
    """Valid API keys; 0 for no limit."""

    def admit_account(self, address: str) -> None:
        """Count an account that `address` opens. An empty one has no limit.

        Raises:
            Refusal: `RATE_LIMITED`: it has opened too many.
        """
        seconds = self.accounts.take(address, time.monotonic()) if address else 0
        if seconds:
            text = f"{address} has opened {self.accounts.burst:g} accounts, the limit of an hour: wait {seconds:.0f} s"
            raise Refusal(Code.RATE_LIMITED, text, retry_after=seconds, limit=self.accounts.rate)


class NumberedReport(msgspec.Struct, frozen=True, gc=False):
    """An order report and its number.

    Not a tuple: the garbage collector would visit each tuple in memory, and there are many.
    """

    number: int
    report: OrderReport


class OrderService:
    """The connection of one gateway to the market: commands to `order_entry`, and reports from `data_feed`."""

    def __init__(
        self,
        log: Log,
        gateway: int,
        database: str,
        namespace: str,
        health: Health,
        timeout_seconds: float,
        fencing_token_file: Path,
        limits: Limits,
        endowment: Endowment,
        policy: MarketPolicy | None = None,
    ) -> None:
        self.state = GatewayState()
        self.policy = policy or MarketPolicy()
        self.limits = limits
        self.endowment = endowment
        self.latency = LatencyWindow()
        self.subscriptions = Subscriptions()
        self.history = OrderHistory(database, namespace)
        self.keys = KeyRegistry(self._publish, self.history, self.subscriptions, timeout_seconds, limits.keys)
        self.participants = Participants()
        self.last_command_id = 0
        """The id of the newest command; 0 before the first."""
        self.report_id = 0
        """The number of the newest report on `data_feed`, as the feed counts them."""
        self.recent_reports: deque[NumberedReport] = deque(maxlen=MAX_RECENT_REPORTS)
        self.disks: DiskGuard | None = None
        """The check of the disks. None if they are not checked."""
        self._log = log
        self._gateway = gateway
        self._health = health
        self._fencing_token_file = fencing_token_file
        self._ids = IdSequence(gateway)
        self._pending = PendingCommands(timeout_seconds)
        self._planned_cancels: dict[str, asyncio.TimerHandle] = {}
        """The timers that cancel the orders of clients whose connection has ended, by client."""
        self._logged_on = asyncio.Event()
        self._unsettled: dict[str, str] = {}
        """The clients to suspend, each with the reason."""
        self._cursors = ProducerCursors()
        self._offset = 0
        self._fencing_token = 0
        self._commands = Outbox(log, ORDER_ENTRY, gateway_name(gateway), 0, health)
        self._reports = Outbox(log, DATA_FEED, gateway_name(gateway), 0, health)
        health.wait("market", "not yet logged on to the matching engine")

    # --- start and end --------------------------------------------------------------------------------------

    async def bootstrap(self) -> None:
        """Read the state that the feed has stored. `listen` continues from there.

        Raises:
            psycopg.OperationalError: The database is not available.
        """
        stored = await self.history.load(with_open_orders=self.policy.has_public_orders)
        self._offset, self.report_id, self._cursors = stored.offset, stored.report_id, stored.cursors
        for listing in stored.listings:
            self.state.apply(listing)
        self.keys.revoked.update(stored.revoked_keys)
        for participant in stored.participants:
            self.participants.apply(participant)
        self.state.open_order_counts.update(stored.open_order_counts)
        for client_id, suspended, house in stored.clients:
            self.state.clients.add(client_id)
            if suspended:
                self.state.suspended.add(client_id)
            if house:
                self.state.house.add(client_id)
        self._unsettled.update(dict.fromkeys(stored.unsettled_clients, "a fault in settlement"))
        self.policy.load(stored)
        self._fencing_token = next_fencing_token(self._fencing_token_file)
        self._commands = Outbox(self._log, ORDER_ENTRY, gateway_name(self._gateway), self._fencing_token, self._health)
        self._reports = Outbox(self._log, DATA_FEED, gateway_name(self._gateway), self._fencing_token, self._health)
        await self.history.open()
        _logger.info("bootstrapped", offset=self._offset, securities=len(self.state.securities))

    async def append(self) -> None:
        """Append commands and reports to the log, without end."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._commands.run())
            group.create_task(self._reports.run())
            group.create_task(self._check_pending())

    async def log_on(self) -> None:
        """Announce this gateway to the engine, and wait for the engine's answer."""
        self._commands.put([GatewayLogon(0, time.time_ns(), self._gateway, self._fencing_token)])
        await self._logged_on.wait()
        self._suspend_unsettled()
        self._health.clear("market")
        _logger.info("logged on", gateway=self._gateway, fencing_token=self._fencing_token)

    async def flush(self) -> None:
        """Wait until all commands and reports are durable. First send the planned cancels, since this gateway stops."""
        for client_id in list(self._planned_cancels):
            self._cancel_all(client_id)
        await self._commands.flushed()
        await self._reports.flushed()

    async def close(self) -> None:
        """Close the connections to the database."""
        await self.history.close()

    # --- reports --------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Read `data_feed`, without end."""
        async for batches in read_batches(self._log, DATA_FEED, self._offset, self._health):
            for offset, batch in batches:
                self._offset = offset + 1
                fresh = take_new_records(self._cursors, DATA_FEED, batch, self._health)
                first, self.report_id = self.report_id + 1, self.report_id + len(fresh)
                if batch.producer == ENGINE:
                    self._on_engine_reports(fresh, first)
                elif batch.producer == CLEARING:
                    self._on_settlement_reports(fresh)
                else:
                    for report in fresh:
                        self.keys.apply(report)
                        self.apply_participant(report)

    def apply_participant(self, report: Record) -> None:
        """Apply a report of a gateway. Connections that gave only the name of a new participant end."""
        if isinstance(report, ParticipantChanged):
            self.participants.apply(report)
            self.subscriptions.publish_revocation(name_key(report.client_id))

    def _on_engine_reports(self, reports: Sequence[Record], first_number: int) -> None:
        """Apply a body of the engine. All reports that a command caused are in one body, so each result is complete."""
        results: dict[int, list[Record]] = {}
        trade: Trade | None = None
        """The last trade, until its first fill names the command that caused it."""
        pending, state, publish = self._pending.by_id, self.state, self.subscriptions.publish_order
        for number, report in enumerate(reports, first_number):
            if isinstance(report, PriceUpdate):
                continue  # the most frequent report, which the gateway does not use
            state.apply(report)
            if isinstance(report, OrderReport):
                self._keep(NumberedReport(number, report))
                publish(number, report)
                command_id = report.command_id
                if trade is not None and report.trade_id == trade.trade_id:
                    if command_id in pending:
                        results.setdefault(command_id, []).append(trade)
                    trade = None
            elif isinstance(report, Trade):
                trade = report
                continue
            elif isinstance(report, GatewayLoggedOn):
                self._on_logged_on(report)
                continue
            else:
                command_id = getattr(report, "command_id", 0)
            if command_id in pending:
                results.setdefault(command_id, []).append(report)
        if trades := self.policy.apply(reports):
            self.subscriptions.publish_trades(trades)
        now = time.perf_counter()
        for command_id, result in results.items():
            command = pending.pop(command_id)
            self.latency.add(now - command.sent_at)
            command.on_result(result)

    def _keep(self, entry: NumberedReport) -> None:
        """Keep a report for connections that resume. Older ones are in `market_data`."""
        recent_reports, oldest = self.recent_reports, self.state.kept_since(entry.report.timestamp)
        recent_reports.append(entry)
        for _ in range(2):
            if recent_reports[0].report.timestamp < oldest:
                recent_reports.popleft()

    def _on_logged_on(self, report: GatewayLoggedOn) -> None:
        if report.gateway != self._gateway:
            return
        if report.fencing_token == self._fencing_token:
            self._ids.raise_floor(report.last_command_id)
            self._logged_on.set()
        elif report.fencing_token > self._fencing_token:
            raise ConfigurationError(
                f"another gateway has logged on as number {self._gateway}: give each its own MX_GATEWAY_NUMBER"
            )

    def _on_settlement_reports(self, reports: Sequence[Record]) -> None:
        for report in reports:
            if isinstance(report, SettlementReport):
                self._unsettled.update(dict.fromkeys(clients_of_failed_settlement(report), report.text))
        if self._logged_on.is_set():
            self._suspend_unsettled()

    def _suspend_unsettled(self) -> None:
        """Suspend the clients whose trades did not settle. A second suspension of a client has no effect."""
        for client_id, text in self._unsettled.items():
            if client_id not in self.state.suspended:
                self._commands.put([SuspendClient(self._next_id(), time.time_ns(), client_id, text)])
        self._unsettled.clear()

    # --- commands -------------------------------------------------------------------------------------------

    def _next_id(self, now: int | None = None) -> int:
        self.last_command_id = self._ids.next(now or time.time_ns())
        return self.last_command_id

    def next_command(self, even_if_full: bool = False) -> tuple[int, int]:
        """Return an id and a timestamp for a command that is sent at once.

        `even_if_full` is true for commands that are accepted while a disk is nearly full.

        Raises:
            Refusal: `UNAVAILABLE`: no command can be sent now. `DISK_FULL`: a disk is nearly full.
        """
        if self.disks is not None and self.disks.is_full and not even_if_full:
            text = "a disk of the exchange is nearly full: only cancels are accepted until its operator has freed some space"
            raise Refusal(Code.DISK_FULL, text)
        if not self._logged_on.is_set():
            raise Refusal(Code.UNAVAILABLE, "the exchange is starting: try again shortly")
        if not self._commands.available:
            raise Refusal(Code.UNAVAILABLE, "the exchange's log is not available: nothing was sent, try again shortly")
        now = time.time_ns()
        return self._next_id(now), now

    def send(self, command: Command, on_result: OnResult) -> None:
        """Send a command. `on_result` receives all reports that it caused, or a refusal. The call does not wait."""
        command = self.policy.adapt(command)
        pending = self._pending.add(command, on_result)

        def on_outcome(error: LogUnavailableError | None) -> None:
            if error is None:
                self._pending.confirm(pending)
            else:
                self._pending.withdraw(pending)

        self._commands.put([command], on_outcome)

    async def request(self, command: Command) -> list[Record]:
        """Send a command, and return all reports that it caused, in order.

        Raises:
            Refusal: `UNAVAILABLE`: nothing was sent. `OUTCOME_UNKNOWN`: the engine has not answered in time.
        """
        future: asyncio.Future[list[Record]] = asyncio.get_running_loop().create_future()

        def on_result(result: list[Record] | Refusal) -> None:
            if not future.done():
                if isinstance(result, Refusal):
                    future.set_exception(result)
                else:
                    future.set_result(result)

        self.send(command, on_result)
        return await future

    def send_unanswered(self, command: Command) -> None:
        """Send a command whose result nobody waits for. It is kept while the log is not available."""
        self._commands.put([self.policy.adapt(command)])

    async def watch_storage(self) -> None:
        """Read what the feed has stored, twice a minute without end.

        Orders and reports leave the memory by their age only if they are stored.
        """
        while True:
            await asyncio.sleep(STORAGE_CHECK_INTERVAL_SECONDS)
            with contextlib.suppress(Refusal):
                stored_id = await self.history.stored_report_id()
                stored = (entry.report.timestamp for entry in reversed(self.recent_reports) if entry.number <= stored_id)
                self.state.stored_until = max(self.state.stored_until, next(stored, 0))

    async def send_time_ticks(self) -> None:
        """Send the time to the engine every second, so that orders expire and auctions end in a quiet market."""
        while True:
            await asyncio.sleep(TIME_TICK_SECONDS)
            if self._logged_on.is_set() and self._commands.available:
                now = time.time_ns()
                self._commands.put([TimeTick(self._next_id(now), now)])

    def _publish(self, report: Record) -> "asyncio.Future[None]":
        return self._reports.put_confirmed([report])

    # --- pending orders -------------------------------------------------------------------------------------

    async def _check_pending(self) -> None:
        """Report the orders that the engine has not answered, and expire commands, without end."""
        while True:
            await asyncio.sleep(TIMEOUT_CHECK_INTERVAL_SECONDS)
            now = time.perf_counter()
            for pending in self._pending.due_for_report(now):
                self._report_pending(pending)
            self._pending.expire(now)

    def _report_pending(self, pending: PendingCommand) -> None:
        """Report an order that is on the log to all services, if the engine has not answered it."""
        self._add_pending(pending)
        report = self.state.orders.get(pending.command.command_id)
        if report is not None and report.exec_type is ExecType.PENDING_NEW:
            self._reports.put([report])

    def _add_pending(self, pending: PendingCommand) -> None:
        """Add an order that is on the log to the state, if the engine has not answered it."""
        command = pending.command
        if isinstance(command, NewOrder) and pending.confirmed_at and command.command_id not in self.state.orders:
            self.state.add_pending(OrderReport.pending(command))

    # --- orders in memory -----------------------------------------------------------------------------------

    def security(self, symbol: str) -> Security:
        """Return the security of an order that exists."""
        return self.state.securities[symbol]

    def known_report(self, order_id: int) -> OrderReport | None:
        """Return the newest report of an order in memory, or None."""
        report = self.state.orders.get(order_id)
        if report is None and order_id in self._pending.by_id:
            self._add_pending(self._pending.by_id[order_id])
            report = self.state.orders.get(order_id)
        return report

    def known_reports(self, client_id: str) -> list[OrderReport]:
        """Return the newest reports of the client's orders in memory."""
        for pending in self._pending.by_id.values():
            if isinstance(pending.command, NewOrder) and pending.command.client_id == client_id:
                self._add_pending(pending)
        return [self.state.orders[order_id] for order_id in self.state.order_ids.get(client_id, ())]

    # --- cancel on disconnect -------------------------------------------------------------------------------

    def plan_cancel(self, client_id: str, after_seconds: float) -> None:
        """Cancel all orders of a client after a delay, unless `drop_planned_cancel` is called before."""
        self.drop_planned_cancel(client_id)
        loop = asyncio.get_running_loop()
        self._planned_cancels[client_id] = loop.call_later(after_seconds, self._cancel_all, client_id)

    def drop_planned_cancel(self, client_id: str) -> None:
        """Keep the orders of a client that is connected again."""
        planned = self._planned_cancels.pop(client_id, None)
        if planned is not None:
            planned.cancel()

    def _cancel_all(self, client_id: str) -> None:
        self.drop_planned_cancel(client_id)
        now = time.time_ns()
        self._commands.put([CancelAll(self._next_id(now), now, client_id)])
