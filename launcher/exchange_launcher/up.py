"""`microexchange up`: the whole exchange on this machine, from one command."""

import asyncio
import contextlib
import fcntl
import json
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
import psycopg
from rich.console import Console
from rich.table import Table

from exchange_launcher.postgres import EmbeddedPostgres, EmbeddedPostgresError
from exchange_launcher.supervisor import Child, ServiceFailedError
from microexchange.databases import EXCHANGE_LOG, without_secrets
from microexchange.listening import PortBusyError, bind
from microexchange.log import LogUnavailableError, open_log
from microexchange.messages import ORDER_ENTRY

STARTUP_SECONDS = 90.0
DRAIN_SECONDS = 30.0


class UpError(RuntimeError):
    """The exchange cannot start, or has failed; the message says what to do."""


@dataclass(frozen=True)
class UpOptions:
    """What `up` is told."""

    data: Path
    log: str | None = None
    database: str | None = None
    namespace: str = ""
    host: str = "127.0.0.1"
    gateway_port: int = 8000
    feed_port: int = 8001
    engine_port: int = 8002
    clearing_port: int = 8003
    bots: int = 12
    classroom: bool = False
    seconds: float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    """More settings of the services, by the names of their variables."""
    listing: Path | None = None
    """CSV of the securities to list; without one, the listing that ships."""
    securities: int = 0
    """How many of the listing to list, and to have house bots in; 0 lists all, with house bots in some."""


@dataclass(frozen=True)
class _Service:
    name: str
    module: str
    port: int
    flag: str
    public: bool
    """Whether clients speak with it; the others listen on loopback alone."""


HOUSE_IN_A_LISTING = 20
"""Securities of a listing file that the house bots trade where nothing says how many."""


def _listing_settings(options: UpOptions) -> dict[str, str]:
    """What the gateway is told of what to list."""
    settings = {}
    if options.listing is not None:
        settings["MX_LISTING"] = str(options.listing.absolute())
    if options.securities:
        settings["MX_SECURITIES"] = str(options.securities)
    return settings


def _house_settings(options: UpOptions) -> dict[str, str]:
    """What the house bots are told of what to trade."""
    count = options.securities or (HOUSE_IN_A_LISTING if options.listing is not None else 0)
    return {"MX_HOUSE_SYMBOLS": str(count)} if count else {}


class Exchange:
    """A running exchange."""

    def __init__(self, options: UpOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._postgres: EmbeddedPostgres | None = None
        self._children: list[Child] = []
        self._http = httpx.AsyncClient(timeout=5)
        self._failure: Exception | None = None
        self._failed = asyncio.Event()
        self._postgres_restarts = 0
        self.log_url = ""
        """The log, once it has started."""
        self._services = [
            _Service("matching-engine", "matching_engine", options.engine_port, "--engine-port", False),
            _Service("clearinghouse", "clearinghouse", options.clearing_port, "--clearing-port", False),
            _Service("market-data-feed", "market_data_feed", options.feed_port, "--feed-port", True),
            _Service("order-entry-gateway", "order_entry_gateway", options.gateway_port, "--gateway-port", True),
        ]

    def _host(self, service: _Service) -> str:
        return self._options.host if service.public else "127.0.0.1"

    def _url(self, service: _Service) -> str:
        host = self._host(service)
        host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{service.port}" if ":" in host else f"http://{host}:{service.port}"

    @property
    def gateway_url(self) -> str:
        """Where clients enter orders."""
        return self._url(self._services[3])

    @property
    def feed_url(self) -> str:
        """Where the feed serves."""
        return self._url(self._services[2])

    # --- start ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts everything in order, and returns when it is ready. Raises `UpError`."""
        options, say = self._options, self._console.print
        for service in self._services:
            try:
                bind(self._host(service), service.port, service.flag).close()
            except PortBusyError as error:
                raise UpError(f"{service.name}: {error}") from error
        database = options.database
        if database is None:
            say(f"Starting Postgres in {options.data / 'postgres'} …")
            try:
                self._postgres = EmbeddedPostgres(options.data / "postgres")
                await asyncio.to_thread(self._postgres.start)
            except EmbeddedPostgresError as error:
                raise UpError(str(error)) from error
            database = self._postgres.url
        log = self.log_url = options.log or database
        from exchange_db.migrate import ALL, migrate  # alembic is slow to load, and most commands do without

        names = [name for name in ALL if name != EXCHANGE_LOG or log.startswith("postgres")]
        try:
            await asyncio.to_thread(migrate, database, options.namespace, names)
            if log != database and log.startswith("postgres"):
                await asyncio.to_thread(migrate, log, options.namespace, [EXCHANGE_LOG])
        except (psycopg.Error, OSError) as error:
            raise UpError(f"the database at {without_secrets(database)} is not usable: {str(error).strip()}") from error
        probe = open_log(log, options.namespace)
        try:
            await probe.tail(ORDER_ENTRY)
        except LogUnavailableError as error:
            raise UpError(str(error)) from error
        finally:
            await probe.close()
        environment = {
            "MX_DATABASE_URL": database,
            "MX_LOG_URL": log,
            "MX_NAMESPACE": options.namespace,
            "MX_DATA_DIR": str(options.data),
            "MX_CLASSROOM": str(options.classroom),
            **options.settings,
        }
        others = {service.name: self._url(service) for service in self._services if service.module != "market_data_feed"}
        extra = {
            "market_data_feed": {"MX_GATEWAY_PORT": str(options.gateway_port), "MX_SERVICES": json.dumps(others)},
            "order_entry_gateway": {"MX_FEED_URL": self.feed_url, **_listing_settings(options)},
        }
        say("Starting the services …")
        for service in self._services:
            child = Child(
                service.name,
                service.module,
                {
                    **environment,
                    "MX_HOST": self._host(service),
                    "MX_PORT": str(service.port),
                    "MX_PORT_FLAG": service.flag,
                    **extra.get(service.module, {}),
                },
                options.data / "logs" / f"{service.name}.log",
            )
            self._children.append(child)
            await child.start(self._fail)
        for service in self._services:
            await self._until_ready(service)
        if options.bots:
            bots = Child(
                "trading-bots",
                "trading_bots",
                {
                    "MX_GATEWAY_URL": self.gateway_url,
                    "MX_FEED_URL": self.feed_url,
                    "MX_HOUSE_BOTS": str(options.bots),
                    **_house_settings(options),
                    "MX_DATA_DIR": str(options.data),
                },
                options.data / "logs" / "trading-bots.log",
            )
            self._children.append(bots)
            await bots.start(self._fail)
        if self._postgres is not None:
            self._watching = asyncio.create_task(self._watch_postgres(self._postgres))

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
            self._failed.set()

    def raise_failure(self) -> None:
        """Raises `UpError` if a service has failed for good."""
        if self._failure is not None:
            raise UpError(str(self._failure)) from self._failure

    async def _until_ready(self, service: _Service) -> None:
        deadline = asyncio.get_running_loop().time() + STARTUP_SECONDS
        waiting: object = "it does not answer"
        while asyncio.get_running_loop().time() < deadline:
            self.raise_failure()
            try:
                answer = await self._http.get(f"{self._url(service)}/health/ready")
                if answer.status_code == 200:
                    return
                waiting = answer.json().get("for", waiting)
            except (httpx.HTTPError, ValueError):
                pass
            await asyncio.sleep(0.05)
        raise UpError(f"{service.name} is not ready after {STARTUP_SECONDS:g} s: {waiting}")

    async def _watch_postgres(self, postgres: EmbeddedPostgres) -> None:
        while True:
            await asyncio.sleep(1)
            if not postgres.is_running:
                self._postgres_restarts += 1
                try:
                    await asyncio.to_thread(postgres.start)
                except EmbeddedPostgresError as error:
                    self._fail(error)
                    return

    def addresses(self) -> Table:
        """Where everything is."""
        options, table = self._options, Table(title="microexchange is open", title_justify="left")
        table.add_column("what")
        table.add_column("where", overflow="fold")
        table.add_row("Dashboard", self.feed_url)
        table.add_row("Order entry (REST, WebSocket /ws/orders)", f"{self.gateway_url}/docs")
        table.add_row("Market data (REST, WebSocket /ws)", f"{self.feed_url}/docs")
        for service in self._services[:2]:
            table.add_row(f"{service.name}: health", f"{self._url(service)}/status")
        where = (
            f"psql -h {options.data / 'postgres'} -U postgres" if self._postgres else without_secrets(options.database or "")
        )
        table.add_row("Postgres (clearing_data, market_data)", where)
        log = options.log or options.database
        table.add_row("Log", without_secrets(log) if log else "the same Postgres (exchange_log)")
        table.add_row("House bots", str(options.bots))
        if options.classroom:
            table.add_row("Classroom mode", "known by name alone, no credit is checked; /docs has the quick routes")
        table.add_row("Data, logs, admin token", str(options.data))
        return table

    # --- run ------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Shows a status line until `stop`, the time is over, or a service fails for good."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        end = None if self._options.seconds is None else began + self._options.seconds
        live = self._console.is_terminal
        orders, at = await self._orders(), loop.time()
        with self._console.status("…") if live else contextlib.nullcontext() as status:
            while not stop.is_set() and not self._failed.is_set():
                pause = 1.0 if live else 10.0
                if end is not None:
                    pause = min(pause, end - loop.time())
                    if pause <= 0:
                        break
                await _first(pause, stop, self._failed)
                now_orders, now = await self._orders(), loop.time()
                rate = (now_orders - orders) / (now - at) if now > at else 0.0
                orders, at = now_orders, now
                line = await self._line(rate, loop.time() - began)
                if status is not None:
                    status.update(line)
                elif now - began >= 9:
                    self._console.print(line)
        self.raise_failure()

    async def _status(self, service: _Service) -> dict[str, Any]:
        """A service's status; empty while it does not answer."""
        try:
            answer = await self._http.get(f"{self._url(service)}/status")
            body = answer.json()
            return body if isinstance(body, dict) else {}
        except (httpx.HTTPError, ValueError):
            return {}

    async def _orders(self) -> int:
        return int((await self._status(self._services[2])).get("orders", 0))

    async def _line(self, rate: float, age: float) -> str:
        feed, gateway = await self._status(self._services[2]), await self._status(self._services[3])
        restarts = sum(child.restarts for child in self._children) + self._postgres_restarts
        return (
            f"{int(age) // 60:02d}:{int(age) % 60:02d}  orders {feed.get('orders', '…')} ({rate:.0f}/s)  "
            f"trades {feed.get('trades', '…')}  settled {feed.get('settled', '…')}  "
            f"order to report p50 {_ms(gateway.get('latency_p50'))} p95 {_ms(gateway.get('latency_p95'))}"
            + (f"  restarts {restarts}" if restarts else "")
        )

    # --- end ------------------------------------------------------------------------------------------------

    async def quiesce(self) -> bool:
        """Stops the bots, and waits until everything that was ordered is matched, settled and stored. Whether it was."""
        for child in [child for child in self._children if child.name == "trading-bots"]:
            await child.stop()
            self._children.remove(child)
        deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
        while asyncio.get_running_loop().time() < deadline and not self._failed.is_set():
            if await self._is_drained():
                return True
            await asyncio.sleep(0.1)
        return False

    async def _is_drained(self) -> bool:
        engine, clearing, feed, gateway = [await self._status(service) for service in self._services]
        if not (engine and clearing and feed and gateway):
            return False
        sequences = feed["sequences"]
        number = str(gateway["number"])
        return bool(
            int(engine["last_command_ids"].get(number, 0)) >= int(gateway["last_command_id"])
            and clearing["instruction_sequence"] == engine["instruction_sequence"]
            and sequences.get("engine", 0) == engine["report_sequence"]
            and sequences.get("clearing", 0) == clearing["instruction_sequence"]
            and feed["stored_offset"] == feed["offset"]
        )

    async def print_results(self, seconds: float) -> None:
        """Prints the leaderboard and the totals."""
        leaders = (await self._http.get(f"{self.feed_url}/leaderboard?limit=20")).json()
        table = Table(title="Leaderboard", title_justify="left")
        for heading in ("", "client", "profit", "return", "equity", "cash", "trades"):
            table.add_column(heading, justify="left" if heading == "client" else "right")
        for leader in leaders:
            profit, equity, cash = (f"{float(leader[field]):,.2f}" for field in ("profit", "equity", "cash"))
            returned = "–" if leader["return_percent"] is None else f"{leader['return_percent']} %"
            name = f"{leader['client_id']} (house)" if leader["house"] else leader["client_id"]
            table.add_row(str(leader["rank"]), name, profit, returned, equity, cash, f"{leader['trades']:,}")
        self._console.print(table)
        feed, gateway = await self._status(self._services[2]), await self._status(self._services[3])
        totals = Table(title="Totals", title_justify="left", show_header=False)
        totals.add_column()
        totals.add_column(justify="right")
        totals.add_row("orders", f"{feed['orders']:,}")
        totals.add_row("  rejected", f"{feed['rejected']:,}")
        totals.add_row("  cancelled", f"{feed['canceled']:,}")
        totals.add_row("trades", f"{feed['trades']:,}")
        totals.add_row("settled", f"{feed['settled']:,}")
        totals.add_row("settlement faults", f"{feed['settlement_faults']:,}")
        totals.add_row("orders per second, this run", f"{self.orders_this_run(feed) / seconds:,.1f}")
        totals.add_row("order to report, p50", _ms(gateway.get("latency_p50")))
        totals.add_row("order to report, p95", _ms(gateway.get("latency_p95")))
        self._console.print(totals)

    async def mark(self) -> None:
        """Remembers the counts at the beginning of this run."""
        self._orders_before = await self._orders()

    def orders_this_run(self, feed: dict[str, Any]) -> int:
        """Orders since `mark`."""
        return int(feed["orders"]) - self._orders_before

    async def stop(self) -> None:
        """Stops everything in order: who sends first, who stores last."""
        if self._postgres is not None and hasattr(self, "_watching"):
            self._watching.cancel()
        order = ["trading-bots", "order-entry-gateway", "matching-engine", "clearinghouse", "market-data-feed"]
        for child in sorted(self._children, key=lambda child: order.index(child.name)):
            await child.stop()
        self._children.clear()
        if self._postgres is not None:
            await asyncio.to_thread(self._postgres.stop)
        await self._http.aclose()


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.1f} ms"


async def _first(seconds: float, *events: asyncio.Event) -> None:
    """Waits until one of `events` is set, or the time is over."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _lock(data: Path) -> IO[str]:
    """Holds the data folder for this launcher. Raises `UpError`."""
    data.mkdir(parents=True, exist_ok=True)
    lock = (data / "up.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UpError(f"an exchange runs on {data} already: stop it, or choose another folder with --data") from error
    return lock


def _same_kind(options: UpOptions) -> None:
    """Remembers whether the folder's market is a classroom: its accounts and securities are for that. Raises `UpError`."""
    kind, file = "classroom" if options.classroom else "market", options.data / "kind"
    if not file.exists():
        file.write_text(f"{kind}\n")
    elif (found := file.read_text().strip()) != kind:
        flag = "with" if found == "classroom" else "without"
        raise UpError(
            f"the market in {options.data} was begun {flag} --classroom: go on so, or choose another folder with --data"
        )


@contextlib.contextmanager
def running_postgres(data: Path) -> Iterator[str]:
    """The URL of the folder's own Postgres: of the exchange that runs on it, or started for as long as the block lasts.
    Raises `UpError`."""
    try:
        server = EmbeddedPostgres(data / "postgres")
        if server.is_running:
            yield server.url
            return
        if not (data / "postgres" / "PG_VERSION").exists():
            raise UpError(f"there is no exchange in {data}: name its folder with --data, or its server with --database")
        with _lock(data):
            server.start()
            try:
                yield server.url
            finally:
                server.stop()
    except EmbeddedPostgresError as error:
        raise UpError(str(error)) from error


async def up(options: UpOptions, console: Console) -> None:
    """Runs an exchange until it is told to stop. Raises `UpError`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    with _lock(options.data):
        _same_kind(options)
        exchange = Exchange(options, console)
        try:
            if not await _unless(stop, exchange.start):
                return
            console.print(exchange.addresses())
            console.print("Ctrl-C stops it; nothing is lost.")
            await exchange.mark()
            began = loop.time()
            await exchange.run(stop)
            if options.seconds is not None:
                drained = await exchange.quiesce()
                exchange.raise_failure()
                await exchange.print_results(loop.time() - began)
                if not drained:
                    raise UpError(f"the market did not come to rest within {DRAIN_SECONDS:g} s")
        finally:
            console.print("Stopping …")
            await exchange.stop()
        console.print("Stopped.")


async def _unless(stop: asyncio.Event, work: Callable[[], Awaitable[None]]) -> bool:
    """Does `work`, unless `stop` comes first: whether it was done."""
    working, stopping = asyncio.ensure_future(work()), asyncio.ensure_future(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        return False
    working.result()
    return True


__all__ = ["Exchange", "ServiceFailedError", "UpError", "UpOptions", "running_postgres", "up"]
