"""An exchange on this machine: it starts the services, watches them and stops them in order."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg
from rich.console import Console

from exchange_launcher.data_folder import UpError
from exchange_launcher.log_files import bound_files
from exchange_launcher.postgres import EmbeddedPostgres, EmbeddedPostgresError
from exchange_launcher.running import Place, announced
from exchange_launcher.services import BOTS, CLEARINGHOUSE, ENGINE, FEED, GATEWAY, STOP_ORDER, Services, UpOptions
from exchange_launcher.supervisor import Child
from exchange_launcher.terminal import BAD_USE
from microexchange.databases import EXCHANGE_LOG, without_secrets
from microexchange.listening import PortBusyError, bind
from microexchange.log import LogUnavailableError, open_log
from microexchange.records import ORDER_ENTRY

STARTUP_TIMEOUT_SECONDS = 90.0
"""The longest wait for one service to become ready."""
DRAIN_TIMEOUT_SECONDS = 30.0
"""The longest wait until all orders are matched, settled and stored."""
READY_CHECK_INTERVAL_SECONDS = 0.05
DRAIN_CHECK_INTERVAL_SECONDS = 0.1
POSTGRES_CHECK_INTERVAL_SECONDS = 1.0


class Exchange:
    """The services of one exchange as child processes."""

    def __init__(self, options: UpOptions, console: Console) -> None:
        self.options = options
        self.services = Services(options)
        self.database_url = ""
        """The URL of the Postgres server. It is empty before the start."""
        self.log_url = ""
        """The URL of the log. It is empty before the start."""
        self.failed = asyncio.Event()
        """It is set when a service has failed permanently. `raise_failure` then raises the reason."""
        self.http = httpx.AsyncClient(timeout=5)
        self._console = console
        self._postgres: EmbeddedPostgres | None = None
        self._children: list[Child] = []
        self._failure: Exception | None = None
        self._postgres_restarts = 0
        self._announcement = contextlib.ExitStack()
        self._postgres_watch: asyncio.Task[None] | None = None
        self._log_watch: asyncio.Task[None] | None = None

    @property
    def gateway_url(self) -> str:
        """The URL by which this machine connects to the gateway."""
        return self.services.url(GATEWAY)

    @property
    def feed_url(self) -> str:
        """The URL by which this machine connects to the feed."""
        return self.services.url(FEED)

    @property
    def has_embedded_postgres(self) -> bool:
        """Return whether the exchange has started its own Postgres server."""
        return self._postgres is not None

    @property
    def restarts(self) -> int:
        """The number of restarts of services and of the embedded Postgres."""
        return sum(child.restarts for child in self._children) + self._postgres_restarts

    # --- start ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all services in order, and return when they are ready.

        Raises:
            UpError: A service, the database or the log cannot be used.
        """
        self._check_ports()
        await self._start_postgres()
        await self._migrate()
        await self._check_log()
        self._log_watch = asyncio.create_task(bound_files(self._log_files))
        self._console.print("Starting the services …")
        for service in self.services.by_name.values():
            environment = self.services.environment(service, self.database_url, self.log_url)
            await self._start_child(service.name, environment)
        for name in self.services.by_name:
            await self._wait_until_ready(name)
        if self.options.bots:
            await self._start_child(BOTS, self.services.environment_of_bots())
        if self._postgres is not None:
            self._postgres_watch = asyncio.create_task(self._watch_postgres(self._postgres))
        self._announce()

    def _check_ports(self) -> None:
        """Check that every service can listen on its port.

        Raises:
            UpError: A port is in use, or two services have the same port.
        """
        flags: dict[int, str] = {}
        for service in self.services.by_name.values():
            other_flag = flags.setdefault(service.port, service.flag)
            if other_flag != service.flag:
                raise UpError(
                    f"the services cannot start: {other_flag} and {service.flag} are both {service.port}",
                    f"Choose another port with {service.flag}",
                    BAD_USE,
                )
            try:
                bind(self.services.host(service), service.port, service.flag).close()
            except PortBusyError as error:
                status = 1 if error.is_busy else BAD_USE
                raise UpError(f"{service.name} cannot start: {error.problem}", error.fix, status) from error

    async def _start_postgres(self) -> None:
        """Start the embedded Postgres, unless the options name another server."""
        self.database_url = self.options.database or ""
        if not self.database_url:
            folder = self.options.data / "postgres"
            self._console.print(f"Starting Postgres in {folder} …")
            try:
                self._postgres = EmbeddedPostgres(folder)
                await asyncio.to_thread(self._postgres.start)
            except EmbeddedPostgresError as error:
                raise UpError(error.problem, error.fix, error.status) from error
            self.database_url = self._postgres.url
        self.log_url = self.options.log or self.database_url

    async def _migrate(self) -> None:
        """Create the databases, or upgrade them to this version."""
        from exchange_db.migrate import ALL, migrate  # alembic is slow to load, and most commands do not need it

        database, log, namespace = self.database_url, self.log_url, self.options.namespace
        names = [name for name in ALL if name != EXCHANGE_LOG or log.startswith("postgres")]
        try:
            await asyncio.to_thread(migrate, database, namespace, names)
            if log != database and log.startswith("postgres"):
                await asyncio.to_thread(migrate, log, namespace, [EXCHANGE_LOG])
        except (psycopg.Error, OSError) as error:
            raise UpError(
                f"the database at {without_secrets(database)} cannot be used: {str(error).strip()}",
                "Start that server, or correct --database",
            ) from error

    async def _check_log(self) -> None:
        """Check that the log can be read.

        Raises:
            UpError: Its server does not answer.
        """
        probe = open_log(self.log_url, self.options.namespace)
        try:
            await probe.tail(ORDER_ENTRY)
        except LogUnavailableError as error:
            raise UpError(str(error), "Start that server, or correct --log") from error
        finally:
            await probe.close()

    def _log_files(self) -> list[Path]:
        """Return the log files of the services and of the embedded Postgres."""
        return [*(self.options.data / "logs").glob("*.log"), self.options.data / "postgres" / "log"]

    async def _start_child(self, name: str, environment: Mapping[str, str]) -> None:
        child = Child(name, name.replace("-", "_"), environment, self.options.data / "logs" / f"{name}.log")
        self._children.append(child)
        await child.start(self._fail)

    def _announce(self) -> None:
        """Publish the addresses of the exchange to the other commands until it stops."""
        options = self.options
        place = Place(
            pid=os.getpid(),
            mode="classroom" if options.classroom else "market",
            data=str(options.data),
            namespace=options.namespace,
            gateway_url=self.gateway_url,
            feed_url=self.feed_url,
            engine_url=self.services.url(ENGINE),
            clearing_url=self.services.url(CLEARINGHOUSE),
            database_url=self.database_url,
            log_url=self.log_url,
            admin_token=str(options.data / "secrets" / "admin-token"),
        )
        try:
            self._announcement.enter_context(announced(place))
        except OSError as error:
            self._console.print(
                f"Other commands cannot find this exchange: {error}. Use --data and --gateway with them.",
                markup=False,
            )

    async def _wait_until_ready(self, name: str) -> None:
        """Wait until a service is ready.

        Raises:
            UpError: It is not ready after `STARTUP_TIMEOUT_SECONDS`, or a service has failed permanently.
        """
        deadline = asyncio.get_running_loop().time() + STARTUP_TIMEOUT_SECONDS
        reason: object = "it does not answer"
        while asyncio.get_running_loop().time() < deadline:
            self.raise_failure()
            try:
                answer = await self.http.get(f"{self.services.url(name)}/health/ready")
                if answer.status_code == 200:
                    return
                reason = answer.json().get("for", reason)
            except (httpx.HTTPError, ValueError):
                pass
            await asyncio.sleep(READY_CHECK_INTERVAL_SECONDS)
        raise UpError(
            f"{name} is not ready after {STARTUP_TIMEOUT_SECONDS:g} s: {reason}",
            f"Read its log, {self.options.data / 'logs' / f'{name}.log'}",
        )

    # --- failures and status --------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        """Store the first permanent failure."""
        if self._failure is None:
            self._failure = error
            self.failed.set()

    def raise_failure(self) -> None:
        """Do nothing while all services can run.

        Raises:
            UpError: A service has failed permanently.
        """
        if self._failure is not None:
            fix = f"Read the logs in {self.options.data / 'logs'}, correct the cause, and start the exchange again"
            raise UpError(str(self._failure), fix) from self._failure

    async def _watch_postgres(self, postgres: EmbeddedPostgres) -> None:
        """Restart the embedded Postgres when it stops."""
        while True:
            await asyncio.sleep(POSTGRES_CHECK_INTERVAL_SECONDS)
            if not postgres.is_running:
                self._postgres_restarts += 1
                try:
                    await asyncio.to_thread(postgres.start)
                except EmbeddedPostgresError as error:
                    self._fail(error)
                    return

    async def status(self, name: str) -> dict[str, Any]:
        """Return a service's status. It is empty if the service does not answer."""
        try:
            answer = await self.http.get(f"{self.services.url(name)}/status")
            body = answer.json()
            return body if isinstance(body, dict) else {}
        except (httpx.HTTPError, ValueError):
            return {}

    # --- stop -----------------------------------------------------------------------------------------------

    async def quiesce(self) -> bool:
        """Stop the bots, and wait until all orders are matched, settled and stored.

        Return False if that takes longer than `DRAIN_TIMEOUT_SECONDS`, or if a service fails.
        """
        for child in [child for child in self._children if child.name == BOTS]:
            await child.stop()
            self._children.remove(child)
        deadline = asyncio.get_running_loop().time() + DRAIN_TIMEOUT_SECONDS
        while asyncio.get_running_loop().time() < deadline and not self.failed.is_set():
            if await self._is_drained():
                return True
            await asyncio.sleep(DRAIN_CHECK_INTERVAL_SECONDS)
        return False

    async def _is_drained(self) -> bool:
        """Return whether every service has processed all records of the others."""
        engine, clearing, feed, gateway = [await self.status(name) for name in (ENGINE, CLEARINGHOUSE, FEED, GATEWAY)]
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

    async def stop(self) -> None:
        """Stop all services in the order of `STOP_ORDER`, and the embedded Postgres last."""
        self._announcement.close()
        for watch in (self._postgres_watch, self._log_watch):
            if watch is not None:
                watch.cancel()
        for child in sorted(self._children, key=lambda child: STOP_ORDER.index(child.name)):
            await child.stop()
        self._children.clear()
        if self._postgres is not None:
            await asyncio.to_thread(self._postgres.stop)
        await self.http.aclose()
