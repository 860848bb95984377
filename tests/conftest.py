"""Fixtures for all tests. tests/servers.py selects the servers, and docs/testing.md explains how."""

import asyncio
import contextlib
import importlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pika
import psycopg
import pytest
from psycopg import sql

from exchange_db.migrate import migrate
from microexchange.databases import database_url
from microexchange.log.rabbitmq import EXCHANGE
from microexchange.records import TOPICS

# A shared machine can stall, so no property test may fail because of its duration.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

TESTS = Path(__file__).parent
QUICK = ("unit", "property", "golden", "contract")
"""The folders with tests that need only Python."""
SERVERS = {"postgres_url": "postgres", "amqp_url": "rabbitmq"}
"""The mark of a test that needs a server, by the fixture that provides the server."""
IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")


@pytest.fixture(scope="session", autouse=True)
def running_dir(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Separate the running exchanges of the tests from those of the user."""
    os.environ["MX_RUNNING_DIR"] = str(tmp_path_factory.mktemp("running"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--quick`."""
    parser.addoption(
        "--quick", action="store_true", help="run only the tests that need nothing but Python (less than two minutes)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that need servers. With `--quick`, deselect them and the slow tests."""
    left_out = []
    for item in items:
        for fixture, mark in SERVERS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
        if any(item.get_closest_marker(name) for name in ("slow", *SERVERS.values())):
            left_out.append(item)
    if config.getoption("quick"):
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--quick`, ignore the folders whose tests need more than Python."""
    if not config.getoption("quick") or not collection_path.is_relative_to(TESTS):
        return None
    parts = collection_path.relative_to(TESTS).parts
    return True if collection_path.is_dir() and parts and parts[0] not in QUICK else None


def _servers() -> Any:
    """Import `tests.servers` late, because its libraries are not needed by the quick tests."""
    return importlib.import_module("tests.servers")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Yield the URL of a Postgres server."""
    servers = _servers()
    with servers.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def amqp_url() -> Iterator[str]:
    """Yield the URL of a RabbitMQ server.

    Without a server, the tests that need it are skipped. They fail if `CI` or `MX_TEST_AMQP_URL` is set.
    """
    with broker() as url:
        yield url


@contextlib.contextmanager
def broker() -> Iterator[str]:
    """Yield the URL of a RabbitMQ server, see `amqp_url`."""
    servers = _servers()
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(servers.rabbitmq())
        except servers.NoServerError as error:
            if IN_CI or "MX_TEST_AMQP_URL" in os.environ:
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield url


def new_namespace() -> str:
    """Return a random namespace, so that tests do not share databases and streams."""
    return f"t{secrets.token_hex(4)}_"


@pytest.fixture
def postgres_namespace(postgres_url: str) -> Iterator[str]:
    """Yield a namespace with migrated databases. Drop them afterwards."""
    namespace = new_namespace()
    migrate(postgres_url, namespace)
    yield namespace
    drop_databases(postgres_url, namespace)


def drop_databases(url: str, namespace: str) -> None:
    """Drops the databases of a namespace, and of those whose names begin with it."""
    # A server's own database may have no encoding. Then psycopg returns names as bytes.
    with psycopg.connect(database_url(url, "", "postgres"), autocommit=True, client_encoding="utf8") as connection:
        query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
        for (name,) in connection.execute(query, (namespace,)).fetchall():
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def module_namespace(postgres_url: str) -> Iterator[str]:
    """Yield a namespace with migrated databases for all tests of a module."""
    namespace = new_namespace()
    migrate(postgres_url, namespace)
    yield namespace
    drop_databases(postgres_url, namespace)


@pytest.fixture
def rabbitmq_namespace(amqp_url: str) -> Iterator[str]:
    """Yield a namespace on the broker. Delete its exchange and streams afterwards."""
    namespace = new_namespace()
    yield namespace
    delete_streams(amqp_url, namespace)


def delete_streams(url: str, namespace: str) -> None:
    """Delete the exchange and the streams of a namespace."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for topic in (*TOPICS, "other"):
        channel.queue_delete(namespace + topic)
    channel.exchange_delete(namespace + EXCHANGE)
    connection.close()


class Proxy:
    """A TCP proxy between a client and a server. A test can disconnect, reconnect and stall it."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.port = 0
        self.connections = 0
        """The number of connection attempts of clients."""

    async def mend(self) -> None:
        """Accept connections, at the same port as before."""
        self._flowing.set()
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._on_client, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Close all connections, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._links):
            writer.transport.abort()
        await asyncio.sleep(0)

    def stall(self) -> None:
        """Hold back the data of the server until `flow` is called."""
        self._flowing.clear()

    def flow(self) -> None:
        """Forward the data of the server again."""
        self._flowing.set()

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if isinstance(self._target, str):
                server_reader, server_writer = await asyncio.open_unix_connection(self._target)
            else:
                server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._links |= {writer, server_writer}
        try:
            await asyncio.gather(self._pump(reader, server_writer, False), self._pump(server_reader, writer, True))
        finally:
            self._links -= {writer, server_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_server: bool) -> None:
        try:
            while data := await reader.read(65536):
                if from_server:
                    await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
