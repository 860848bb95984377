"""Servers for benchmarks: the embedded Postgres in its own folder, and RabbitMQ if a broker answers."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pika

from benchmarks.harness import LOGS
from exchange_db.migrate import migrate
from exchange_launcher.postgres import EmbeddedPostgres
from microexchange.log.rabbitmq import EXCHANGE
from microexchange.records import TOPICS

AMQP_URL = os.environ.get("MX_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run a fresh embedded server. Yield its URL."""
    folder = Path(tempfile.mkdtemp(prefix="mx-bench-"))
    server = EmbeddedPostgres(folder / "postgres")
    server.start()
    try:
        yield server.url
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def rabbitmq() -> str | None:
    """Return the URL of the broker, or None if no broker answers."""
    try:
        parameters = pika.URLParameters(AMQP_URL)
        parameters.socket_timeout = 3
        pika.BlockingConnection(parameters).close()
    except Exception:
        return None
    return AMQP_URL


def logs(database: str, only: str | None = None) -> dict[str, str]:
    """Return the URLs of the available logs by their names in tables. With `only`, returns that log alone.

    Raises:
        SystemExit: `only` is `rabbitmq` and no broker answers.
    """
    urls = {"embedded": database, "rabbitmq": None if only == "embedded" else rabbitmq()}
    if only is not None and urls[only] is None:
        sys.exit(f"mx: no RabbitMQ at {AMQP_URL.rpartition('@')[2]}: start one, or use --log embedded")
    return {LOGS[name]: url for name, url in urls.items() if url is not None and only in (None, name)}


@contextlib.contextmanager
def fresh(database: str, log: str, namespace: str) -> Iterator[None]:
    """Make the databases of a namespace, and delete its streams afterwards."""
    migrate(database, namespace)
    try:
        yield
    finally:
        if log.startswith("amqp"):
            connection = pika.BlockingConnection(pika.URLParameters(log))
            channel = connection.channel()
            for topic in TOPICS:
                channel.queue_delete(namespace + topic)
            channel.exchange_delete(namespace + EXCHANGE)
            connection.close()


SERVICES = ("matching_engine", "clearinghouse", "market_data_feed", "order_entry_gateway")
SYMBOLS = ("AAPL", "AMZN", "GOOG", "INTC", "META", "MSFT", "NVDA", "TSLA")
"""The securities of the load. Each account has enough of each."""

NO_ADDRESS_LIMITS = {"MX_ADDRESS_CONNECTIONS": "0", "MX_ADDRESS_ACCOUNTS": "0"}
"""The load is from one address, and stands for clients with addresses of their own."""


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """A service as a process."""

    def __init__(self, module: str, database: str, log: str, namespace: str, folder: Path, **settings: str) -> None:
        self.port = free_port()
        environment = {
            **os.environ,
            "MX_DATABASE_URL": database,
            "MX_LOG_URL": log,
            "MX_NAMESPACE": namespace,
            "MX_DATA_DIR": str(folder),
            "MX_PORT": str(self.port),
            **NO_ADDRESS_LIMITS,
            **settings,
        }
        self._http = httpx.Client(timeout=30)
        self.log = (folder / f"{module}.log").open("w")
        # A new session, as the launcher starts it, since the system divides processor time by session.
        self.process = subprocess.Popen(
            [sys.executable, "-m", module], env=environment, stderr=self.log, start_new_session=True
        )

    def status(self) -> dict[str, Any]:
        """Return the answer to `/status`, or an empty dictionary while the service does not answer.

        Raises:
            RuntimeError: The service has ended.
        """
        try:
            answer: dict[str, Any] = self._http.get(f"{self.url}/status").json()
        except httpx.HTTPError:
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended: {Path(self.log.name).read_text()}") from None
            return {}
        return answer

    @property
    def url(self) -> str:
        """The address of the service."""
        return f"http://127.0.0.1:{self.port}"

    def until_ready(self) -> None:
        """Wait until the service waits for nothing."""
        while (status := self.status()).get("waiting_for", True):
            time.sleep(0.05)
            assert status is not None

    def stop(self) -> None:
        """Stop the service."""
        self.process.terminate()
        self.process.wait(30)
        self._http.close()
        self.log.close()


@contextlib.contextmanager
def exchange(database: str, log: str, namespace: str, folder: Path, **settings: str) -> Iterator[dict[str, Service]]:
    """Run the four services. Yield them by module when all are ready. New accounts have much cash and many holdings."""
    endowment = {
        "MX_ENDOWMENT_CASH": "1000000",
        "MX_ENDOWMENT_SHARES": msgspec.json.encode(dict.fromkeys(SYMBOLS, "10000")).decode(),
    }
    services = {name: Service(name, database, log, namespace, folder, **(endowment | settings)) for name in SERVICES}
    try:
        for service in services.values():
            service.until_ready()
        yield services
    finally:
        for service in reversed(services.values()):
            service.stop()
