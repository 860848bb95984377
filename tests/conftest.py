"""Fixtures that all tests share. Which servers they get is in tests/servers.py, and explained in docs/testing.md."""

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

# A shared machine stalls now and then: no test of ours may fail for the time it took.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

TESTS = Path(__file__).parent
QUICK = ("unit", "property", "golden", "contract")
"""The folders with tests that need nothing but Python."""
SERVERS = {"postgres_url": "postgres", "amqp_url": "rabbitmq"}
"""The mark of a test that needs a server, by the fixture that gives it."""
IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")


@pytest.fixture(scope="session", autouse=True)
def running_dir(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The exchanges of tests are not among those that run for the user, nor those among these."""
    os.environ["MX_RUNNING_DIR"] = str(tmp_path_factory.mktemp("running"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--quick`."""
    parser.addoption("--quick", action="store_true", help="only what needs nothing but Python: less than two minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests that need servers; with `--quick`, leaves out those, the slow ones, and all other folders."""
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
    """With `--quick`, folders whose tests need more are not even imported."""
    if not config.getoption("quick") or not collection_path.is_relative_to(TESTS):
        return None
    parts = collection_path.relative_to(TESTS).parts
    return True if collection_path.is_dir() and parts and parts[0] not in QUICK else None


def _servers() -> Any:
    """Loaded with the first test that needs a server: it takes libraries that the quick tests do without."""
    return importlib.import_module("tests.servers")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A Postgres server."""
    servers = _servers()
    with servers.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def amqp_url() -> Iterator[str]:
    """A RabbitMQ server. Without one the tests that need it are skipped, and fail where CI is set, or one was named."""
    with broker() as url:
        yield url


@contextlib.contextmanager
def broker() -> Iterator[str]:
    """See `amqp_url`."""
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
    """A name that no other test has on the servers."""
    return f"t{secrets.token_hex(4)}_"


@pytest.fixture
def postgres_namespace(postgres_url: str) -> Iterator[str]:
    """A namespace with freshly migrated databases, which are dropped afterwards."""
    namespace = new_namespace()
    migrate(postgres_url, namespace)
    yield namespace
    drop_databases(postgres_url, namespace)


def drop_databases(url: str, namespace: str) -> None:
    """Drops the databases of a namespace, and of those whose names begin with it."""
    # A server's own database may say no encoding, and then gives names as bytes.
    with psycopg.connect(database_url(url, "", "postgres"), autocommit=True, client_encoding="utf8") as connection:
        query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
        for (name,) in connection.execute(query, (namespace,)).fetchall():
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def module_namespace(postgres_url: str) -> Iterator[str]:
    """The same, for all tests of a module."""
    namespace = new_namespace()
    migrate(postgres_url, namespace)
    yield namespace
    drop_databases(postgres_url, namespace)


@pytest.fixture
def rabbitmq_namespace(amqp_url: str) -> Iterator[str]:
    """A namespace on the broker, whose exchange and streams are deleted afterwards."""
    namespace = new_namespace()
    yield namespace
    delete_streams(amqp_url, namespace)


def delete_streams(url: str, namespace: str) -> None:
    """Deletes the exchange and the streams of a namespace."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for topic in (*TOPICS, "other"):
        channel.queue_delete(namespace + topic)
    channel.exchange_delete(namespace + EXCHANGE)
    connection.close()


class Proxy:
    """A TCP hop between a client and a server, which a test can cut, mend and stall."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.port = 0
        self.connections = 0
        """Connections that clients have tried to make."""

    async def mend(self) -> None:
        """Lets clients through, at the same port as before."""
        self._flowing.set()
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._on_client, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Ends all connections, and refuses new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._links):
            writer.transport.abort()
        await asyncio.sleep(0)

    def stall(self) -> None:
        """Holds back what the server says, until `flow`."""
        self._flowing.clear()

    def flow(self) -> None:
        """Lets the server's words through again."""
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
