"""Servers for benchmarks: the embedded Postgres in a folder of its own, and RabbitMQ where one answers."""

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
    """The URL of a fresh embedded server."""
    folder = Path(tempfile.mkdtemp(prefix="mx-bench-"))
    server = EmbeddedPostgres(folder / "postgres")
    server.start()
    try:
        yield server.url
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def rabbitmq() -> str | None:
    """The URL of a broker, or None where there is none."""
    try:
        parameters = pika.URLParameters(AMQP_URL)
        parameters.socket_timeout = 3
        pika.BlockingConnection(parameters).close()
    except Exception:
        return None
    return AMQP_URL


def logs(database: str, only: str | None = None) -> dict[str, str]:
    """The logs that can be measured here, by what they are called in a table: URLs. With `only`, that one; ends the process
    with a message where it is not there."""
    urls = {"embedded": database, "rabbitmq": None if only == "embedded" else rabbitmq()}
    if only is not None and urls[only] is None:
        sys.exit(f"mx: no RabbitMQ at {AMQP_URL.rpartition('@')[2]}: start one, or take --log embedded")
    return {LOGS[name]: url for name, url in urls.items() if url is not None and only in (None, name)}


@contextlib.contextmanager
def fresh(database: str, log: str, namespace: str) -> Iterator[None]:
    """Databases of that namespace, and streams that are deleted afterwards."""
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
"""What is traded under load, and what accounts have enough of."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """A service as a process, asked over its `/status`."""

    def __init__(self, module: str, database: str, log: str, namespace: str, folder: Path, **settings: str) -> None:
        self.port = free_port()
        environment = {
            **os.environ,
            "MX_DATABASE_URL": database,
            "MX_LOG_URL": log,
            "MX_NAMESPACE": namespace,
            "MX_DATA_DIR": str(folder),
            "MX_PORT": str(self.port),
            **settings,
        }
        self._http = httpx.Client(timeout=30)
        self.log = (folder / f"{module}.log").open("w")
        # A session of its own, as the launcher starts it: the system shares the processors out by session.
        self.process = subprocess.Popen(
            [sys.executable, "-m", module], env=environment, stderr=self.log, start_new_session=True
        )

    def status(self) -> dict[str, Any]:
        """Its status; empty while it does not answer."""
        try:
            answer: dict[str, Any] = self._http.get(f"{self.url}/status").json()
        except httpx.HTTPError:
            if self.process.poll() is not None:
                raise RuntimeError(f"it ended: {Path(self.log.name).read_text()}") from None
            return {}
        return answer

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def until_ready(self) -> None:
        """Waits until it waits for nothing."""
        while (status := self.status()).get("waiting_for", True):
            time.sleep(0.05)
            assert status is not None

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait(30)
        self._http.close()
        self.log.close()


@contextlib.contextmanager
def exchange(database: str, log: str, namespace: str, folder: Path, **settings: str) -> Iterator[dict[str, Service]]:
    """The four services by module, ready, with accounts that are rich; stopped at the end."""
    rich = {
        "MX_ENDOWMENT_CASH": "1000000",
        "MX_ENDOWMENT_SHARES": msgspec.json.encode(dict.fromkeys(SYMBOLS, "10000")).decode(),
    }
    services = {name: Service(name, database, log, namespace, folder, **(rich | settings)) for name in SERVICES}
    try:
        for service in services.values():
            service.until_ready()
        yield services
    finally:
        for service in reversed(services.values()):
            service.stop()
