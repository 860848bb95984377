"""`microexchange up`: the whole exchange on this machine, from one command."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
import psycopg
from rich.console import Console
from rich.table import Table

from exchange_launcher import addresses
from exchange_launcher.admin import listed_securities
from exchange_launcher.postgres import EmbeddedPostgres, EmbeddedPostgresError
from exchange_launcher.running import Place, announced
from exchange_launcher.supervisor import Child, ServiceFailedError
from exchange_launcher.terminal import BAD_USE, CommandError
from microexchange.databases import EXCHANGE_LOG, without_secrets
from microexchange.listening import PortBusyError, bind
from microexchange.log import LogUnavailableError, open_log
from microexchange.records import ORDER_ENTRY

STARTUP_SECONDS = 90.0
DRAIN_SECONDS = 30.0


class UpError(CommandError):
    """The exchange cannot start, or has failed."""


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
    pricing: str | None = None
    """The pricing rule of every security that is listed; without one, the listing's."""
    seconds: float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    """More settings of the services, by the names of their variables."""
    listing: Path | None = None
    """CSV of the securities to list; without one, the listing that ships."""
    securities: int = 0
    """How many of the listing to list, and to have house bots in; 0 lists all, with house bots in some."""


ENGINE, CLEARINGHOUSE, FEED, GATEWAY, BOTS = (
    "matching-engine",
    "clearinghouse",
    "market-data-feed",
    "order-entry-gateway",
    "trading-bots",
)
STOP_ORDER = (BOTS, GATEWAY, ENGINE, CLEARINGHOUSE, FEED)
"""The order in which services stop: senders first, the feed, which stores, last."""


@dataclass(frozen=True)
class _Service:
    name: str
    port: int
    flag: str
    public: bool = False
    """Whether clients speak with it; the others listen on loopback alone."""

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")


def _services(options: UpOptions) -> dict[str, _Service]:
    """The services by name, in the order in which they start."""
    services = (
        _Service(ENGINE, options.engine_port, "--engine-port"),
        _Service(CLEARINGHOUSE, options.clearing_port, "--clearing-port"),
        _Service(FEED, options.feed_port, "--feed-port", public=True),
        _Service(GATEWAY, options.gateway_port, "--gateway-port", public=True),
    )
    return {service.name: service for service in services}


HOUSE_IN_A_LISTING = 20
"""Securities of a listing file that the house bots trade by default."""


def _listing_settings(options: UpOptions) -> dict[str, str]:
    """The settings of the gateway for its listing."""
    settings = {}
    if options.listing is not None:
        settings["MX_LISTING"] = str(options.listing.absolute())
    if options.securities:
        settings["MX_SECURITIES"] = str(options.securities)
    return settings


def _house_settings(options: UpOptions) -> dict[str, str]:
    """The settings of the house bots for their securities."""
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
        self._announcement = contextlib.ExitStack()
        self._watching: asyncio.Task[None] | None = None
        self.database_url = ""
        """The Postgres server, once it has started."""
        self.log_url = ""
        """The log, once it has started."""
        self._services = _services(options)

    def _host(self, service: _Service) -> str:
        return self._options.host if service.public else "127.0.0.1"

    def _url(self, name: str) -> str:
        service = self._services[name]
        return addresses.url(addresses.local_host(self._host(service)), service.port)

    @property
    def gateway_url(self) -> str:
        """Where this machine reaches the gateway."""
        return self._url(GATEWAY)

    @property
    def feed_url(self) -> str:
        """Where this machine reaches the feed."""
        return self._url(FEED)

    # --- start ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts everything in order, and returns when it is ready. Raises `UpError`."""
        self._check_ports()
        await self._start_postgres()
        await self._migrate()
        await self._check_log()
        self._console.print("Starting the services …")
        for service in self._services.values():
            await self._start_child(service.name, self._environment(service))
        for name in self._services:
            await self._until_ready(name)
        if self._options.bots:
            await self._start_child(BOTS, self._environment_of_bots())
        if self._postgres is not None:
            self._watching = asyncio.create_task(self._watch_postgres(self._postgres))
        self._announce()

    def _check_ports(self) -> None:
        """Raises `UpError` where a service could not listen."""
        flags: dict[int, str] = {}
        for service in self._services.values():
            other = flags.setdefault(service.port, service.flag)
            if other != service.flag:
                raise UpError(
                    f"the services cannot start: {other} and {service.flag} are both {service.port}",
                    f"Choose another port with {service.flag}",
                    BAD_USE,
                )
            try:
                bind(self._host(service), service.port, service.flag).close()
            except PortBusyError as error:
                status = 1 if error.is_busy else BAD_USE
                raise UpError(f"{service.name} cannot start: {error.problem}", error.fix, status) from error

    async def _start_postgres(self) -> None:
        """Starts the embedded Postgres, unless another server is named."""
        options = self._options
        self.database_url = options.database or ""
        if not self.database_url:
            self._console.print(f"Starting Postgres in {options.data / 'postgres'} …")
            try:
                self._postgres = EmbeddedPostgres(options.data / "postgres")
                await asyncio.to_thread(self._postgres.start)
            except EmbeddedPostgresError as error:
                raise UpError(error.problem, error.fix, error.status) from error
            self.database_url = self._postgres.url
        self.log_url = options.log or self.database_url

    async def _migrate(self) -> None:
        """Makes the databases, or brings them to this version."""
        from exchange_db.migrate import ALL, migrate  # alembic is slow to load, and most commands do without

        database, log, namespace = self.database_url, self.log_url, self._options.namespace
        names = [name for name in ALL if name != EXCHANGE_LOG or log.startswith("postgres")]
        try:
            await asyncio.to_thread(migrate, database, namespace, names)
            if log != database and log.startswith("postgres"):
                await asyncio.to_thread(migrate, log, namespace, [EXCHANGE_LOG])
        except (psycopg.Error, OSError) as error:
            raise UpError(
                f"the database at {without_secrets(database)} is not usable: {str(error).strip()}",
                "Start that server, or correct --database",
            ) from error

    async def _check_log(self) -> None:
        """Raises `UpError` where the log cannot be reached."""
        probe = open_log(self.log_url, self._options.namespace)
        try:
            await probe.tail(ORDER_ENTRY)
        except LogUnavailableError as error:
            raise UpError(str(error), "Start that server, or correct --log") from error
        finally:
            await probe.close()

    def _environment(self, service: _Service) -> dict[str, str]:
        """The settings of a service."""
        options = self._options
        environment = {
            "MX_DATABASE_URL": self.database_url,
            "MX_LOG_URL": self.log_url,
            "MX_NAMESPACE": options.namespace,
            "MX_DATA_DIR": str(options.data),
            "MX_CLASSROOM": str(options.classroom),
            **({"MX_PRICING": options.pricing} if options.pricing else {}),
            **options.settings,
            "MX_HOST": self._host(service),
            "MX_PORT": str(service.port),
            "MX_PORT_FLAG": service.flag,
        }
        if service.name == FEED:
            others = {name: self._url(name) for name in self._services if name != FEED}
            environment |= {"MX_GATEWAY_PORT": str(options.gateway_port), "MX_SERVICES": json.dumps(others)}
        elif service.name == GATEWAY:
            environment |= {"MX_FEED_URL": self.feed_url, **_listing_settings(options)}
        return environment

    def _environment_of_bots(self) -> dict[str, str]:
        return {
            "MX_GATEWAY_URL": self.gateway_url,
            "MX_FEED_URL": self.feed_url,
            "MX_HOUSE_BOTS": str(self._options.bots),
            **_house_settings(self._options),
            "MX_DATA_DIR": str(self._options.data),
        }

    async def _start_child(self, name: str, environment: Mapping[str, str]) -> None:
        child = Child(name, name.replace("-", "_"), environment, self._options.data / "logs" / f"{name}.log")
        self._children.append(child)
        await child.start(self._fail)

    def _announce(self) -> None:
        """Publishes the addresses of the exchange for the other commands, until it stops."""
        options = self._options
        place = Place(
            pid=os.getpid(),
            mode="classroom" if options.classroom else "market",
            data=str(options.data),
            namespace=options.namespace,
            gateway_url=self.gateway_url,
            feed_url=self.feed_url,
            engine_url=self._url(ENGINE),
            clearing_url=self._url(CLEARINGHOUSE),
            database_url=self.database_url,
            log_url=self.log_url,
            admin_token=str(options.data / "secrets" / "admin-token"),
        )
        try:
            self._announcement.enter_context(announced(place))
        except OSError as error:
            self._console.print(
                f"Other commands cannot find this exchange by themselves: {error}. Give them --data and --gateway.",
                markup=False,
            )

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
            self._failed.set()

    def raise_failure(self) -> None:
        """Raises `UpError` if a service has failed for good."""
        if self._failure is not None:
            fix = f"Read the logs in {self._options.data / 'logs'}, correct the cause, and start it again"
            raise UpError(str(self._failure), fix) from self._failure

    async def _until_ready(self, name: str) -> None:
        deadline = asyncio.get_running_loop().time() + STARTUP_SECONDS
        waiting: object = "it does not answer"
        while asyncio.get_running_loop().time() < deadline:
            self.raise_failure()
            try:
                answer = await self._http.get(f"{self._url(name)}/health/ready")
                if answer.status_code == 200:
                    return
                waiting = answer.json().get("for", waiting)
            except (httpx.HTTPError, ValueError):
                pass
            await asyncio.sleep(0.05)
        raise UpError(
            f"{name} is not ready after {STARTUP_SECONDS:g} s: {waiting}",
            f"Read its log, {self._options.data / 'logs' / f'{name}.log'}",
        )

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

    def address(self) -> list[str]:
        """The one address that people need, and which machines can connect to it."""
        host, port = self._options.host, self._options.gateway_port
        public = addresses.public_host(host)
        shown = addresses.url(addresses.local_host(host) if public is None else public, port)
        lines = [f"microexchange is open: {shown}", "The dashboard, order entry and market data are all there."]
        if public is None:
            return [*lines, "This machine has no address on a network: only this machine can connect."]
        if addresses.is_loopback(host):
            return [*lines, "Only this machine can connect. To let other machines in, start it with --host 0.0.0.0"]
        return [*lines, "Other machines on the network can connect."]

    def details(self, pricing: str) -> Table:
        """All addresses. `pricing` is the text for the pricing rules."""
        options, table = self._options, Table(show_header=False)
        table.add_column("what")
        table.add_column("where", overflow="fold")
        if addresses.local_host(options.host) != options.host:
            table.add_row("The same, from this machine", self.gateway_url)
        table.add_row("Orders (REST, /ws/orders)", f"{self.gateway_url}/docs")
        table.add_row("Market data (REST, /ws)", f"{self.gateway_url}/market-data/docs")
        for name in (ENGINE, CLEARINGHOUSE):
            table.add_row(f"{name}: health", f"{self._url(name)}/status")
        where = (
            f"psql -h {options.data / 'postgres'} -U postgres" if self._postgres else without_secrets(options.database or "")
        )
        table.add_row("Postgres", where)
        log = options.log or options.database
        table.add_row("Log", without_secrets(log) if log else "the same Postgres (exchange_log)")
        table.add_row("House bots", str(options.bots))
        if options.classroom:
            table.add_row(
                "Classroom mode", "clients are known by name alone, credit is not checked, /docs has the quick routes"
            )
        table.add_row("Pricing rule", pricing)
        table.add_row("Data, logs, admin token", str(options.data))
        return table

    async def pricing(self) -> tuple[str, str]:
        """By which rules the listed securities trade, and a warning where that is not what was asked for.

        A listed security keeps the rule that it was listed with."""
        wanted = self._options.pricing
        try:
            listed = await asyncio.to_thread(listed_securities, self.feed_url)
        except CommandError:
            listed = []
        counts = Counter(str(one["pricing_rule"]) for one in listed)
        rules = ", ".join(f"{rule} ({count} securities)" for rule, count in counts.most_common())
        others = sum(counts.values()) - counts[wanted] if wanted else 0
        warning = (
            f"{others} securities keep the pricing rule that they were listed with: --pricing {wanted} is for new ones. "
            "For a market with that rule alone, begin one in another folder with --data."
        )
        return rules or wanted or "that of the listing: resting, unless it names another", warning if others else ""

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

    async def _status(self, name: str) -> dict[str, Any]:
        """A service's status; empty while it does not answer."""
        try:
            answer = await self._http.get(f"{self._url(name)}/status")
            body = answer.json()
            return body if isinstance(body, dict) else {}
        except (httpx.HTTPError, ValueError):
            return {}

    async def _orders(self) -> int:
        return int((await self._status(FEED)).get("orders", 0))

    async def _line(self, rate: float, age: float) -> str:
        feed, gateway = await self._status(FEED), await self._status(GATEWAY)
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
        for child in [child for child in self._children if child.name == BOTS]:
            await child.stop()
            self._children.remove(child)
        deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
        while asyncio.get_running_loop().time() < deadline and not self._failed.is_set():
            if await self._is_drained():
                return True
            await asyncio.sleep(0.1)
        return False

    async def _is_drained(self) -> bool:
        engine, clearing, feed, gateway = [await self._status(name) for name in (ENGINE, CLEARINGHOUSE, FEED, GATEWAY)]
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
        feed, gateway = await self._status(FEED), await self._status(GATEWAY)
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
        self._announcement.close()
        if self._watching is not None:
            self._watching.cancel()
        for child in sorted(self._children, key=lambda child: STOP_ORDER.index(child.name)):
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


def _unusable(data: Path, error: OSError | UnicodeError) -> UpError:
    reason = (error.strerror or type(error).__name__).lower() if isinstance(error, OSError) else "a file in it is not text"
    return UpError(
        f"the data folder {str(data)[:300]} cannot be used: {reason}",
        "Choose a folder of your own, or one that is not there yet, with --data",
        BAD_USE,
    )


def _lock(data: Path) -> IO[str]:
    """Holds the data folder for this launcher. Raises `UpError`."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "up.lock").open("w")
    except (OSError, ValueError) as error:
        raise _unusable(data, error if isinstance(error, OSError) else OSError(str(error))) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise UpError(
            f"the data folder {data} cannot be used: an exchange runs on it already",
            "Stop that one, or choose another folder with --data",
        ) from error
    return lock


def _same_kind(options: UpOptions) -> None:
    """Remembers whether the folder's market is a classroom: its accounts and securities are for that. Raises `UpError`."""
    kind, file = "classroom" if options.classroom else "market", options.data / "kind"
    try:
        found = file.read_text().strip() if file.exists() else ""
        if not found:
            file.write_text(f"{kind}\n")
            return
    except (OSError, UnicodeError) as error:
        raise _unusable(options.data, error) from error
    if found != kind:
        flag = "with" if found == "classroom" else "without"
        raise UpError(
            f"the market cannot start: the one in {options.data} was begun {flag} --classroom",
            f"Start it {flag} --classroom, or choose another folder with --data",
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
            raise UpError(
                f"there is no exchange in {data}: it has no database",
                "Name the folder of one with --data, or its server with --database",
                BAD_USE,
            )
        with _lock(data):
            server.start()
            try:
                yield server.url
            finally:
                server.stop()
    except EmbeddedPostgresError as error:
        raise UpError(error.problem, error.fix, error.status) from error


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
            pricing, warning = await exchange.pricing()
            for line in exchange.address():
                console.print(line, markup=False, soft_wrap=True)
            console.print(exchange.details(pricing))
            if warning:
                console.print(warning, style="yellow", markup=False, soft_wrap=True)
            console.print("Ctrl-C stops it; nothing is lost.")
            await exchange.mark()
            began = loop.time()
            await exchange.run(stop)
            if options.seconds is not None:
                drained = await exchange.quiesce()
                exchange.raise_failure()
                await exchange.print_results(loop.time() - began)
                if not drained:
                    raise UpError(
                        f"the market did not come to rest: some of it was still under way after {DRAIN_SECONDS:g} s",
                        "Nothing is lost: start it again on the same data, and it goes on",
                    )
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
