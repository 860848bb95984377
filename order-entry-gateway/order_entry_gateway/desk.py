"""The order desk: numbers commands, puts them on the log, and waits for what the engine says they caused."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from exchange_db.reports import COLUMNS, LISTING_COLUMNS, order_report, security_listed
from microexchange.batches import CLEARING, ENGINE, gateway_name
from microexchange.commands import (
    CancelAll,
    CancelOrder,
    Command,
    GatewayLogon,
    ListSecurity,
    NewOrder,
    OpenAccount,
    ReplaceOrder,
    SetTradingState,
    SuspendClient,
    TimeTick,
)
from microexchange.databases import MARKET_DATA, database_url, query_rows
from microexchange.enums import ExecType, OrderStatus, PricingRule, Side, TradingState
from microexchange.fencing import next_fencing_token
from microexchange.health import Health
from microexchange.ids import IdSequence
from microexchange.latency import LatencyWindow
from microexchange.limits import RateLimiter
from microexchange.log import Log, LogUnavailableError
from microexchange.outbox import Outbox
from microexchange.producer_cursors import ProducerCursor, ProducerCursors
from microexchange.records import DATA_FEED, ORDER_ENTRY, Record
from microexchange.refusals import Code, Refusal
from microexchange.reports import (
    AccountOpened,
    CommandRejected,
    GatewayLoggedOn,
    KeyIssued,
    KeyRevoked,
    OrderReport,
    PriceUpdate,
    SettlementReport,
    Trade,
)
from microexchange.securities import Security
from microexchange.service import ConfigurationError, read_batches, take_new_records
from order_entry_gateway.classroom import Blackboard, Deal, in_class
from order_entry_gateway.requests import (
    AmendRequest,
    ClientRequest,
    Endowment,
    FundingRequest,
    OrderRequest,
    new_order,
    open_account,
    open_funded,
    replace_order,
)
from order_entry_gateway.view import MarketView, faulted_clients

_logger = structlog.get_logger(__name__)

OnReport = Callable[[int, OrderReport], None]
"""Hears an order report and its number: the `report_id` that the feed stores it under."""
OnAnswer = Callable[[list[Record] | Refusal], None]
"""Hears all that a command caused, in order, or why that is not known. It must not fail."""
LOOK_SECONDS = 0.05
"""How often it is looked whose time is over."""
PENDING_SECONDS = 0.5
"""After which an order on the log that the engine has not taken yet is told of. Not sooner: under load it is one report more
for each order, and makes slow what is not."""
MAX_RECENT = 100_000
"""Order reports that are kept for those who come back; older ones the feed has stored."""
MAX_RESUMED = 10_000
"""Order reports that who comes back may have missed."""


@dataclass(frozen=True)
class Limits:
    """What one client may ask for."""

    requests: RateLimiter
    """Orders, amendments, cancels and questions about them, by client."""
    open_orders: int = 0
    """Orders that may be open at a time; 0 for any number."""
    connections: int = 0
    """WebSockets of one client; 0 for any number."""


class _UnderWay:
    """A command that the market has not answered yet."""

    __slots__ = ("began", "command", "confirmed_at", "then")

    def __init__(self, command: Command, then: OnAnswer, began: float) -> None:
        self.command = command
        self.then = then
        self.began = began
        """When it was sent, on the clock `time.perf_counter`: the event loop's own has milliseconds."""
        self.confirmed_at = 0.0
        """When it came to be on the log, on the same clock; 0 before that."""


class _Numbered(msgspec.Struct, frozen=True, gc=False):
    """An order report and its number. No tuple: of those that are kept, the search for cycles would look at each."""

    number: int
    report: OrderReport


class OrderDesk:
    """One gateway's way into the market, and its ear on `data_feed`."""

    def __init__(
        self,
        log: Log,
        gateway: int,
        database: str,
        namespace: str,
        health: Health,
        timeout: float,
        epoch_file: Path,
        limits: Limits,
        endowment: Endowment,
        board: Blackboard | None = None,
        pricing: PricingRule | None = None,
    ) -> None:
        self.view = MarketView()
        self.board = board
        """The blackboard of a classroom; None where the market is none."""
        self.on_deals: set[Callable[[Sequence[Deal]], None]] = set()
        """Who wants to hear of trades in a classroom."""
        self._pricing = pricing
        """The pricing rule of every security that is listed; None for the listing's."""
        self._endowment = endowment
        self.latency = LatencyWindow()
        self.listeners: dict[str, set[OnReport]] = {}
        """Who wants a client's order reports, by client id."""
        self.revoked_keys: set[str] = set()
        """Ids of API keys that are no longer valid."""
        self._issued: dict[str, set[str]] = {}
        """Ids of the keys that were issued lately, by client."""
        self.limits = limits
        self.key_listeners: dict[str, set[Callable[[], None]]] = {}
        """Who wants to hear that a key is revoked, by its id."""
        self._log = log
        self._gateway = gateway
        self._database = database_url(database, namespace, MARKET_DATA)
        self._health = health
        self._timeout = timeout
        self._epoch_file = epoch_file
        self._stored = AsyncConnectionPool(self._database, min_size=0, max_size=4, open=False)
        """Connections for questions about orders that are no longer in memory."""
        self._ids = IdSequence(gateway)
        self.last_command_id = 0
        """The newest id that was given; 0 before the first."""
        self.report_id = 0
        """The number of the newest report on `data_feed`, as the feed counts them."""
        self._recent: deque[_Numbered] = deque(maxlen=MAX_RECENT)
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        """Clients whose connection is gone, until their orders are cancelled."""
        self._waiting: dict[int, _UnderWay] = {}
        """Commands without an answer by their ids, in the order of sending."""
        self._confirmed: deque[_UnderWay] = deque()
        """Orders that are on the log, the first there first, until it is time to tell of them."""
        self._logged_on = asyncio.Event()
        self._faulted: dict[str, str] = {}
        """Clients to be suspended, and why."""
        self._cursors = ProducerCursors()
        self._offset = 0
        self._fencing_token = 0
        self._commands = Outbox(log, ORDER_ENTRY, gateway_name(gateway), 0, health)
        self._reports = Outbox(log, DATA_FEED, gateway_name(gateway), 0, health)
        health.wait("market", "not yet logged on to the matching engine")

    # --- starting -------------------------------------------------------------------------------------------

    async def bootstrap(self) -> None:
        """Reads what the feed has stored; from there on the desk listens itself. Raises `psycopg.OperationalError`."""
        async with await psycopg.AsyncConnection.connect(self._database, connect_timeout=5) as connection:
            # One snapshot: the listing, the suspended and the offset that they are true at.
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            query = 'SELECT "offset", producers, totals FROM consumed WHERE topic = %s'
            row = await (await connection.execute(query, (DATA_FEED,))).fetchone()
            if row is not None:
                self._offset, self.report_id = row[0], row[2]["reports"]
                self._cursors = ProducerCursors({name: ProducerCursor(*at) for name, at in row[1].items()})
            terms = ", ".join(LISTING_COLUMNS)
            cursor = await connection.execute(f"SELECT {terms} FROM securities".encode())  # noqa: S608 - our own names
            for row in await cursor.fetchall():
                self.view.apply(security_listed(row))
            cursor = await connection.execute("SELECT key_id FROM keys WHERE revoked_at IS NOT NULL")
            self.revoked_keys.update(key_id for (key_id,) in await cursor.fetchall())
            query = "SELECT r.client_id, count(*) FROM open_orders JOIN order_reports r USING (report_id) GROUP BY 1"
            self.view.open_orders.update(dict(await (await connection.execute(query)).fetchall()))
            query = "SELECT client_id, suspended, house FROM clients"
            for client, suspended, house in await (await connection.execute(query)).fetchall():
                self.view.clients.add(client)
                if suspended:
                    self.view.suspended.add(client)
                if house:
                    self.view.house.add(client)
            cursor = await connection.execute(
                "SELECT DISTINCT balance ->> 0 FROM settlement_reports, jsonb_array_elements(cash) AS balance "
                "WHERE status = 'REJECTED' AND trade_id > 0"
            )
            self._faulted.update(dict.fromkeys((client for (client,) in await cursor.fetchall()), "a fault in settlement"))
            if self.board is not None:
                await self._read_board(connection, self.board)
        self._fencing_token = next_fencing_token(self._epoch_file)
        self._commands = Outbox(self._log, ORDER_ENTRY, gateway_name(self._gateway), self._fencing_token, self._health)
        self._reports = Outbox(self._log, DATA_FEED, gateway_name(self._gateway), self._fencing_token, self._health)
        await self._stored.open()
        _logger.info("bootstrapped", offset=self._offset, securities=len(self.view.securities))

    async def _read_board(self, connection: psycopg.AsyncConnection[Any], board: Blackboard) -> None:
        board.apply([security.listing for security in self.view.securities.values()])
        rows = await (await connection.execute("SELECT symbol, last_price FROM securities WHERE last_price > 0")).fetchall()
        board.last_prices.update(dict(rows))
        for row in await (await connection.execute(_STANDING.encode())).fetchall():
            board.orders.apply(order_report(row))
        row = await (await connection.execute(_PROFIT)).fetchone()
        board.profit = int(row[0]) if row else 0

    async def append(self) -> None:
        """Appends commands and reports, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._commands.run())
            group.create_task(self._reports.run())
            group.create_task(self._look_at_the_time())

    async def log_on(self) -> None:
        """Tells the engine that this gateway begins, and waits for its answer."""
        self._commands.put([GatewayLogon(0, time.time_ns(), self._gateway, self._fencing_token)])
        await self._logged_on.wait()
        self._suspend_faulted()
        self._health.clear("market")
        _logger.info("logged on", gateway=self._gateway, fencing_token=self._fencing_token)

    async def flush(self) -> None:
        """Waits until all that was sent is durable. Before that it cancels the orders of those who have left: a gateway that
        stops does not wait for them to come back."""
        for client_id in list(self._leaving):
            self._cancel_all_of(client_id)
        await self._commands.flushed()
        await self._reports.flushed()

    async def close(self) -> None:
        """Closes the connections to the database."""
        await self._stored.close()

    # --- listening ------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Follows `data_feed`, for ever."""
        async for batches in read_batches(self._log, DATA_FEED, self._offset, self._health):
            for offset, batch in batches:
                self._offset = offset + 1
                fresh = take_new_records(self._cursors, DATA_FEED, batch, self._health)
                first, self.report_id = self.report_id + 1, self.report_id + len(fresh)
                if batch.producer == ENGINE:
                    self._on_engine(fresh, first)
                elif batch.producer == CLEARING:
                    self._on_clearing(fresh)
                else:
                    self._on_gateway(fresh)

    def _on_engine(self, reports: Sequence[Record], first: int) -> None:
        """Takes in a body of the engine's; `first` is the number of its first report. All that a command caused is in one
        body, so its answer is complete with it."""
        answered: dict[int, list[Record]] = {}
        trade: Trade | None = None
        """The last trade, until the command that caused it is known: the first of its fills tells."""
        waiting, listeners, view = self._waiting, self.listeners, self.view
        for number, report in enumerate(reports, first):
            if isinstance(report, PriceUpdate):
                continue  # the most common of all, and nothing to a gateway
            view.apply(report)
            if isinstance(report, OrderReport):
                self._recent.append(_Numbered(number, report))
                for listener in tuple(listeners.get(report.client_id, ())):
                    listener(number, report)
                command_id = report.command_id
                if trade is not None and report.trade_id == trade.trade_id:
                    if command_id in waiting:
                        answered.setdefault(command_id, []).append(trade)
                    trade = None
            elif isinstance(report, Trade):
                trade = report
                continue
            elif isinstance(report, GatewayLoggedOn):
                self._on_logged_on(report)
                continue
            else:
                command_id = getattr(report, "command_id", 0)
            if command_id in waiting:
                answered.setdefault(command_id, []).append(report)
        if self.board is not None:
            deals = self.board.apply(reports)
            for hears in tuple(self.on_deals) if deals else ():
                hears(deals)
        now = time.perf_counter()
        for command_id, caused in answered.items():
            asked = waiting.pop(command_id)
            self.latency.add(now - asked.began)
            asked.then(caused)

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

    def _on_gateway(self, reports: Sequence[Record]) -> None:
        """Takes in what gateways say, this one too: keys that are no longer valid."""
        for report in reports:
            if isinstance(report, KeyIssued):
                self._issued.setdefault(report.client_id, set()).add(report.key_id)
            elif isinstance(report, KeyRevoked):
                self.revoked_keys.add(report.key_id)
                for listener in tuple(self.key_listeners.get(report.key_id, ())):
                    listener()

    def _on_clearing(self, reports: Sequence[Record]) -> None:
        for report in reports:
            if isinstance(report, SettlementReport):
                self._faulted.update(dict.fromkeys(faulted_clients(report), report.text))
        if self._logged_on.is_set():
            self._suspend_faulted()

    def _suspend_faulted(self) -> None:
        """Stops trading for those whose trades did not settle. The engine hears it twice without harm."""
        for client_id, text in self._faulted.items():
            if client_id not in self.view.suspended:
                self._commands.put([SuspendClient(self._next_id(), time.time_ns(), client_id, text)])
        self._faulted.clear()

    # --- sending --------------------------------------------------------------------------------------------

    def _next_id(self, now: int | None = None) -> int:
        self.last_command_id = self._ids.next(now or time.time_ns())
        return self.last_command_id

    def has_issued(self, client_id: str, key_id: str) -> bool:
        """Whether that key of the client was issued since this gateway began."""
        return key_id in self._issued.get(client_id, ())

    def admit(self, client_id: str, entering: bool = False) -> None:
        """Lets a client ask for one thing more. Raises `Refusal` where it asks too often, or has too many orders open."""
        limits = self.limits
        seconds = limits.requests.take(client_id, time.monotonic())
        if seconds:
            text = f"more than {limits.requests.rate:g} requests a second: wait {seconds:.3f} s"
            raise Refusal(Code.RATE_LIMITED, text, retry_after=seconds, limit=limits.requests.rate)
        if entering and limits.open_orders and self.view.open_orders.get(client_id, 0) >= limits.open_orders:
            text = f"you have {limits.open_orders} orders open, which is the limit: cancel some"
            raise Refusal(Code.LIMIT_EXCEEDED, text)

    def next_command(self) -> tuple[int, int]:
        """An id and a timestamp for a command that is sent at once. Raises `Refusal` where none can be sent."""
        if not self._logged_on.is_set():
            raise Refusal(Code.UNAVAILABLE, "the exchange is starting: try again shortly")
        if not self._commands.available:
            raise Refusal(Code.UNAVAILABLE, "the exchange's log is not available: nothing was sent, try again shortly")
        now = time.time_ns()
        return self._next_id(now), now

    def send(self, command: Command, then: OnAnswer) -> None:
        """Sends a command; `then` hears all that it caused."""
        command = self._in_this_market(command)
        asked = self._waiting[command.command_id] = _UnderWay(command, then, time.perf_counter())

        def on_outcome(error: LogUnavailableError | None) -> None:
            if error is None:
                asked.confirmed_at = time.perf_counter()
                if isinstance(command, NewOrder):
                    self._confirmed.append(asked)
            elif self._waiting.pop(command.command_id, None) is not None:
                then(Refusal(Code.UNAVAILABLE, "the exchange's log is not available: nothing was sent"))

        self._commands.put([command], on_outcome)

    def _in_this_market(self, command: Command) -> Command:
        """The command as the settings of this market change it."""
        if self.board is not None:
            command = in_class(command)
        if self._pricing is not None and isinstance(command, ListSecurity):
            command = msgspec.structs.replace(command, pricing_rule=self._pricing)
        return command

    async def _ask(self, command: Command) -> list[Record]:
        """Sends a command, and returns all that it caused, in order. Raises `Refusal`."""
        answer: asyncio.Future[list[Record]] = asyncio.get_running_loop().create_future()

        def then(outcome: list[Record] | Refusal) -> None:
            if not answer.done():
                if isinstance(outcome, Refusal):
                    answer.set_exception(outcome)
                else:
                    answer.set_result(outcome)

        self.send(command, then)
        return await answer

    async def _look_at_the_time(self) -> None:
        """Gives up waiting for what has taken too long, and tells of orders that the engine has not taken, for ever. One
        look for all: a timer for each order costs more than the order."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = time.perf_counter()
            while self._confirmed and self._confirmed[0].confirmed_at + PENDING_SECONDS <= now:
                self._tell_pending(self._confirmed.popleft())
            while self._waiting:
                command_id, first = next(iter(self._waiting.items()))
                if first.began + self._timeout > now:
                    break
                del self._waiting[command_id]
                first.then(
                    Refusal(
                        Code.OUTCOME_UNKNOWN,
                        f"the market has not answered within {self._timeout:g} s; the command may still take effect. "
                        f"Its id is {command_id}: ask GET /orders/{command_id}",
                    )
                )

    def _see_pending(self, asked: _UnderWay) -> None:
        """Remembers an order that is on the log, as long as the engine has said nothing of it."""
        command = asked.command
        if isinstance(command, NewOrder) and asked.confirmed_at and command.command_id not in self.view.orders:
            self.view.pending(OrderReport.pending(command))

    def _tell_pending(self, asked: _UnderWay) -> None:
        """Tells everybody of an order that is on the log and that the engine has not taken yet: it is slow, or away."""
        self._see_pending(asked)
        known = self.view.orders.get(asked.command.command_id)
        if known is not None and known.exec_type is ExecType.PENDING_NEW:
            self._reports.put([known])

    def has_account(self, client_id: str) -> bool:
        """Whether orders of the client's need nothing to be done before: in a classroom the first opens an account."""
        return self.board is None or client_id in self.view.clients

    def new_order(self, client_id: str, request: OrderRequest) -> NewOrder:
        """The command that enters an order now. `entered` returns its outcome. Raises `Refusal`."""
        command_id, now = self.next_command()
        return new_order(request, self.view.securities, client_id, command_id, now)

    async def enter(self, client_id: str, request: OrderRequest) -> tuple[OrderReport, list[Trade]]:
        """Enters an order: its state after the engine took it, and its trades. Raises `Refusal` if it is rejected."""
        if not self.has_account(client_id):
            await self.open_for(client_id)
        command = self.new_order(client_id, request)
        return entered(command.command_id, await self._ask(command))

    def cancel_order(self, client_id: str, order_id: int) -> CancelOrder:
        """The command that cancels an order now. `changed` returns its outcome. Of one that is not remembered here the
        engine knows: it may be old, and open. Raises `Refusal`."""
        known = self.remembered(order_id)
        if known is not None:
            _check_owner(known, client_id, order_id)
            _check_open(known)
        command_id, now = self.next_command()
        return CancelOrder(command_id, now, client_id, order_id)

    async def cancel(self, client_id: str, order_id: int) -> OrderReport:
        """Cancels an order: its state after that. Raises `Refusal`."""
        caused = await self._ask(self.cancel_order(client_id, order_id))
        try:
            report, _ = changed(order_id, caused)
        except Refusal as refusal:
            if refusal.code is Code.ORDER_CLOSED:
                await self.find(client_id, order_id)  # it has ended, unless it never was theirs
            raise
        return report

    def amend_order(self, client_id: str, known: OrderReport, request: AmendRequest) -> ReplaceOrder:
        """The command that changes an order of the client's now. `changed` returns its outcome. Raises `Refusal`."""
        _check_open(known)
        command_id, now = self.next_command()
        return replace_order(request, self.security(known.symbol), client_id, known.order_id, command_id, now)

    async def replace(self, client_id: str, order_id: int, request: AmendRequest) -> tuple[OrderReport, list[Trade]]:
        """Changes an order: its state after that, and the trades that it made by it. Raises `Refusal`."""
        known = await self.find(client_id, order_id)
        return changed(order_id, await self._ask(self.amend_order(client_id, known, request)))

    def cancel_all_orders(self, client_id: str, symbol: str, side: Side | None) -> CancelAll:
        """The command that cancels all open orders of a client now, or those of a security or a side. Raises `Refusal`."""
        command_id, now = self.next_command()
        return CancelAll(command_id, now, client_id, symbol, side)

    async def cancel_all(self, client_id: str, symbol: str, side: Side | None) -> list[OrderReport]:
        """Cancels all open orders of a client, or those of a security or a side: their states after that."""
        reports = await self._ask(self.cancel_all_orders(client_id, symbol, side))
        return [report for report in reports if isinstance(report, OrderReport)]

    def leave(self, client_id: str, grace: float) -> None:
        """A client that wants its orders cancelled then has lost its connection: they are, unless it is back in `grace`
        seconds."""
        self.come_back(client_id)
        loop = asyncio.get_running_loop()
        self._leaving[client_id] = loop.call_later(grace, self._cancel_all_of, client_id)

    def come_back(self, client_id: str) -> None:
        """The client is here: what `leave` has planned is off."""
        planned = self._leaving.pop(client_id, None)
        if planned is not None:
            planned.cancel()

    def _cancel_all_of(self, client_id: str) -> None:
        self.come_back(client_id)
        now = time.time_ns()
        self._commands.put([CancelAll(self._next_id(now), now, client_id)])

    async def command(self, command: Command) -> list[Record]:
        """Sends the admin's command, and returns what it caused. Raises `Refusal`."""
        reports = await self._ask(command)
        for report in reports:
            if isinstance(report, CommandRejected):
                raise Refusal(Code(report.code), report.text)
        return reports

    async def set_state(self, symbol: str, state: TradingState) -> None:
        """Moves a security's market to another state. Raises `Refusal`."""
        command_id, now = self.next_command()
        await self.command(SetTradingState(command_id, now, symbol, state))

    async def tell_time(self) -> None:
        """Tells the engine once a second what time it is, so that orders expire and auctions end in a quiet market."""
        while True:
            await asyncio.sleep(1)
            if self._logged_on.is_set() and self._commands.available:
                now = time.time_ns()
                self._commands.put([TimeTick(self._next_id(now), now)])

    async def open_for(self, client_id: str) -> None:
        """Opens the account of who enters a first order in a classroom."""
        try:
            await self.open_account(ClientRequest(client_id=client_id))
        except Refusal as refusal:
            if refusal.code is not Code.CLIENT_EXISTS:
                raise

    async def open_account(self, request: ClientRequest) -> AccountOpened:
        """Opens an account. Raises `Refusal`."""
        command_id, now = self.next_command()
        return await self._open(open_account(request, self.view.securities, self._endowment, command_id, now))

    async def fund(self, client_id: str, request: FundingRequest) -> AccountOpened | None:
        """Opens an account on the admin's terms. Returns None if the client has one already, which gets nothing more.
        Raises `Refusal`, also where the client has an account of the other kind."""
        command_id, now = self.next_command()
        try:
            command = open_funded(request, client_id, self.view.securities, self._endowment, command_id, now)
            return await self._open(command)
        except Refusal as refusal:
            # The engine's earlier reports have all arrived before this answer, so the accounts here are complete.
            if refusal.code is Code.CLIENT_EXISTS and (client_id in self.view.house) == request.house:
                return None
            raise

    async def _open(self, command: OpenAccount) -> AccountOpened:
        for report in await self._ask(command):
            if isinstance(report, AccountOpened):
                return report
            if isinstance(report, CommandRejected):
                raise Refusal(Code(report.code), report.text, "client_id")
        raise Refusal(Code.INTERNAL, "the engine's answer has no report of the account")

    def list_security(self, listing: ListSecurity) -> None:
        """Sends a listing, unless the security is listed."""
        if listing.symbol not in self.view.securities:
            command_id, now = self.next_command()
            command = msgspec.structs.replace(listing, command_id=command_id, timestamp=now)
            self._commands.put([self._in_this_market(command)])

    # --- asking ---------------------------------------------------------------------------------------------

    def security(self, symbol: str) -> Security:
        """The security of an order that exists."""
        return self.view.securities[symbol]

    def remembered(self, order_id: int) -> OrderReport | None:
        """The newest report of an order, if it is in memory."""
        report = self.view.orders.get(order_id)
        if report is None and order_id in self._waiting:
            self._see_pending(self._waiting[order_id])
            report = self.view.orders.get(order_id)
        return report

    def remembered_of(self, client_id: str, order_id: int) -> OrderReport | None:
        """The newest report of the client's order, if it is in memory. Raises `Refusal` where it is another client's."""
        known = self.remembered(order_id)
        return None if known is None else _check_owner(known, client_id, order_id)

    async def find(self, client_id: str, order_id: int) -> OrderReport:
        """The newest report of the client's order: from memory, or from what the feed has stored. Raises `Refusal`."""
        report = self.remembered(order_id)
        if report is None:
            report = await self._find_stored(client_id, order_id)
        return _check_owner(report, client_id, order_id)

    async def search(
        self, client_id: str, client_order_id: str, symbol: str, only_open: bool, before: int, limit: int
    ) -> tuple[list[OrderReport], int | None]:
        """A page of the client's orders, the newest first, each by its newest report, and where the next page begins.

        What is remembered here is newer than what is stored; what has not come here yet cannot have been answered either.
        Raises `Refusal`.
        """
        found: dict[int, OrderReport] = {}
        for asked in self._waiting.values():
            self._see_pending(asked)
        for order_id in self.view.orders_of.get(client_id, ()):
            report = self.view.orders[order_id]
            if order_id < before and client_order_id in ("", report.client_order_id) and symbol in ("", report.symbol):
                found[order_id] = report
        known = {"client": client_id, "name": client_order_id, "symbol": symbol, "before": before, "limit": limit}
        stored: list[OrderReport] = []
        try:
            rows = await self._ask_stored("past orders", _BY_NAME if client_order_id else _BY_CLIENT, known)
            stored = [order_report(row) for row in rows]
        except Refusal:
            if not (client_order_id and found):
                raise
        found = {**{report.order_id: report for report in stored}, **found}
        page = sorted(found.values(), key=lambda report: report.order_id, reverse=True)
        more = page[limit - 1].order_id if len(page) >= limit else None
        return [report for report in page[:limit] if not (only_open and report.status.is_final)], more

    async def missed(self, client_id: str, after: int) -> list[tuple[int, OrderReport]]:
        """The engine's reports of the client's orders behind the number `after`, oldest first, up to this moment. Raises
        `Refusal`."""
        found: list[tuple[int, OrderReport]] = []
        if not self._recent or self._recent[0].number > after + 1:
            known = {"client": client_id, "after": after, "limit": MAX_RESUMED + 1}
            rows = await self._ask_stored("reports", _MISSED, known)
            found = [(report_id, order_report(row)) for report_id, *row in rows]
        last = found[-1][0] if found else after
        recent = (one for one in self._recent if one.number > last and one.report.client_id == client_id)
        found += [(one.number, one.report) for one in recent]
        if len(found) > MAX_RESUMED:
            text = f"more than {MAX_RESUMED} reports were missed: log in without resume_from, and ask GET /orders"
            raise Refusal(Code.TOO_LARGE, text, "resume_from")
        return found

    async def tell(self, report: KeyIssued | KeyRevoked) -> None:
        """Puts a report of this gateway's own on `data_feed`, and returns when it is durable. Raises `Refusal`; what is not
        durable in time may become so later."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._reports.put_confirmed([report])
        except LogUnavailableError as error:
            raise Refusal(Code.UNAVAILABLE, "the exchange's log is not available: nothing was done") from error
        except TimeoutError as error:
            raise self._too_late("the exchange's log has not confirmed it", report.client_id) from error

    async def revoke(self, client_id: str, key_id: str) -> None:
        """Revokes a key, and returns when this gateway no longer takes it. Raises `Refusal`."""
        revoked = asyncio.Event()
        listeners = self.key_listeners.setdefault(key_id, set())
        listeners.add(revoked.set)
        try:
            await self.tell(KeyRevoked(client_id, key_id, time.time_ns()))
            async with asyncio.timeout(self._timeout):
                await revoked.wait()
        except TimeoutError as error:
            raise self._too_late("it is on the exchange's log, and this gateway has not read it", client_id) from error
        finally:
            listeners.discard(revoked.set)
            if not listeners:
                self.key_listeners.pop(key_id, None)

    def _too_late(self, what: str, client_id: str) -> Refusal:
        text = f"{what} within {self._timeout:g} s; it may still take effect: ask GET /clients/{client_id}/keys"
        return Refusal(Code.OUTCOME_UNKNOWN, text)

    async def keys_of(self, client_id: str) -> list[tuple[str, int, int | None]]:
        """The client's keys that the feed has stored, oldest first: (id, issued at, revoked at). Raises `Refusal`."""
        query = "SELECT key_id, issued_at, revoked_at FROM keys WHERE client_id = %s ORDER BY issued_at, key_id"
        return await self._ask_stored("keys", query, (client_id,))

    async def fills(self, client_id: str, symbol: str, before: int, limit: int) -> list[tuple[int, OrderReport]]:
        """The client's fills that the feed has stored, newest first, each with its number. Raises `Refusal`."""
        known = {"client": client_id, "symbol": symbol, "before": before, "limit": limit}
        rows = await self._ask_stored("fills", _FILLS, known)
        return [(report_id, order_report(row)) for report_id, *row in rows]

    async def _find_stored(self, client_id: str, order_id: int) -> OrderReport | None:
        rows = await self._ask_stored("past orders", _NEWEST_REPORT, (client_id, order_id))
        return order_report(rows[0]) if rows else None

    async def _ask_stored(self, what: str, query: str, values: Mapping[str, object] | Sequence[object]) -> list[Any]:
        """Rows of what the feed has stored. Raises `Refusal` (`UNAVAILABLE`)."""
        return await query_rows(self._stored, f"the database of {what}", query, values)


# The gateway's own PENDING_NEW may be stored after what the engine said, and goes behind it.
_NEWEST_REPORT = (
    f"SELECT {', '.join(COLUMNS)} FROM order_reports WHERE client_id = %s AND order_id = %s "  # noqa: S608 - our own names
    f"ORDER BY exec_type = '{ExecType.PENDING_NEW}', report_id DESC LIMIT 1"
)
_SEARCH = (
    f"SELECT DISTINCT ON (order_id) {', '.join(COLUMNS)} FROM order_reports "  # noqa: S608 - our own names
    "WHERE client_id = %(client)s AND order_id < %(before)s AND (%(symbol)s = '' OR symbol = %(symbol)s) {more} "
    f"ORDER BY order_id DESC, exec_type = '{ExecType.PENDING_NEW}', report_id DESC LIMIT %(limit)s"
)
_FILLS = (
    f"SELECT report_id, {', '.join(COLUMNS)} FROM order_reports "  # noqa: S608 - our own names
    "WHERE client_id = %(client)s AND exec_type = 'TRADE' AND report_id < %(before)s "
    "AND (%(symbol)s = '' OR symbol = %(symbol)s) ORDER BY report_id DESC LIMIT %(limit)s"
)
_STANDING = (
    f"SELECT {', '.join('r.' + name for name in COLUMNS)} FROM open_orders JOIN order_reports r USING (report_id) "  # noqa: S608
    "ORDER BY r.order_id"
)
_PROFIT = (
    "SELECT sum(CASE side WHEN 'buy' THEN 1 ELSE -1 END * r.last_price::numeric * last_quantity * tick_value + fee) "
    "FROM order_reports r JOIN securities USING (symbol) WHERE exec_type = 'TRADE' HAVING count(*) > 0"
)
_MISSED = (
    f"SELECT report_id, {', '.join(COLUMNS)} FROM order_reports "  # noqa: S608 - our own names
    f"WHERE client_id = %(client)s AND report_id > %(after)s AND exec_type <> '{ExecType.PENDING_NEW}' "
    "ORDER BY report_id LIMIT %(limit)s"
)
_BY_CLIENT = _SEARCH.replace("{more}", "")
_BY_NAME = _SEARCH.replace("{more}", "AND client_order_id = %(name)s AND client_order_id <> ''")


def entered(order_id: int, reports: Sequence[Record]) -> tuple[OrderReport, list[Trade]]:
    """What came of entering an order: its state, and its trades. Raises `Refusal` if it was rejected."""
    own = [report for report in reports if isinstance(report, OrderReport) and report.order_id == order_id]
    newest = own[-1]
    if newest.status is OrderStatus.REJECTED:
        raise Refusal(Code(newest.code), newest.text)
    return newest, _trades_of(order_id, reports)


def changed(order_id: int, reports: Sequence[Record]) -> tuple[OrderReport, list[Trade]]:
    """What came of changing an order, or of cancelling it: its state, and its trades by it. Raises `Refusal`."""
    own = [report for report in reports if isinstance(report, OrderReport) and report.order_id == order_id]
    if own:
        return own[-1], _trades_of(order_id, reports)
    for report in reports:
        if isinstance(report, CommandRejected):
            if report.code == Code.UNKNOWN_ORDER:
                # The order was open when we looked: it ended in between.
                raise Refusal(Code.ORDER_CLOSED, f"order {order_id} has ended before the request came", "order_id")
            raise Refusal(Code(report.code), report.text)
    raise Refusal(Code.INTERNAL, "the engine's answer has no report of the order")


def _check_owner(known: OrderReport | None, client_id: str, order_id: int) -> OrderReport:
    if known is None or known.client_id != client_id:
        raise Refusal(Code.UNKNOWN_ORDER, f"you have no order {order_id}", "order_id")
    return known


def _check_open(known: OrderReport) -> None:
    if known.status.is_final:
        raise Refusal(Code.ORDER_CLOSED, f"order {known.order_id} is {known.status} already", "order_id")


def _trades_of(order_id: int, reports: Sequence[Record]) -> list[Trade]:
    """The order's trades. A command may cause others': orders that it triggers, an auction that ends with it."""
    return [
        report
        for report in reports
        if isinstance(report, Trade) and order_id in (report.taker_order_id, report.maker_order_id)
    ]
