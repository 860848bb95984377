"""Real servers for the tests. docs/testing.md explains their order.

1. the server in MX_TEST_DATABASE_URL or MX_TEST_AMQP_URL
2. a new container, if a Docker engine is available and has the image or can pull it (testcontainers)
3. a local server: Postgres at 127.0.0.1:5432 without a password, RabbitMQ at 127.0.0.1:5672 with guest/guest
4. a server that is started for the tests: the embedded Postgres, or an installed `rabbitmq-server`
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import docker
import pika
import psutil
import psycopg
from docker.errors import DockerException
from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.rabbitmq import RabbitMqContainer
from testcontainers.core.config import testcontainers_config

from exchange_launcher.postgres import EmbeddedPostgres
from microexchange.databases import database_url

POSTGRES_IMAGE, RABBITMQ_IMAGE = "postgres:17", "rabbitmq:4-management"
"""The images of docker-compose.yml."""
LOCAL_RABBITMQ = "amqp://guest:guest@127.0.0.1:5672/%2f"


class NoServerError(Exception):
    """No server is available and none can be started. The message names the fix."""


@cache
def engine() -> docker.DockerClient | None:
    """Return a client of the Docker engine, or None if none is available."""
    try:
        client = docker.from_env(timeout=300)
        client.ping()
    except DockerException:
        return None
    # Ryuk removes the containers of killed tests, but needs another image. The fixtures stop their containers.
    testcontainers_config.ryuk_disabled = True
    return client


def has_image(name: str) -> bool:
    """Return whether the engine has the image. Pull it if it is missing."""
    client = engine()
    if client is None:
        return False
    try:
        if not client.images.list(name):
            client.images.pull(name)
    except DockerException:
        return False
    return True


def accepts_connections(url: str) -> bool:
    """Return whether a Postgres server at `url` accepts a connection."""
    try:
        psycopg.connect(database_url(url, "", "postgres"), connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def unavailable_reason(url: str) -> str:
    """Return why no broker is available at `url`, or an empty string if one is."""
    try:
        parameters = pika.URLParameters(url)
        parameters.socket_timeout = 3
        pika.BlockingConnection(parameters).close()
    except Exception as error:
        return f"no RabbitMQ at {url.rpartition('@')[2]}: {error!r}"
    return ""


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Yield the URL of a Postgres server.

    Raises:
        NoServerError: The server in MX_TEST_DATABASE_URL does not accept a connection.
    """
    given = os.environ.get("MX_TEST_DATABASE_URL")
    if given is not None:
        if not accepts_connections(given):
            raise NoServerError(f"MX_TEST_DATABASE_URL={given} does not accept a connection")
        yield given
        return
    if has_image(POSTGRES_IMAGE):
        with PostgresContainer(POSTGRES_IMAGE, driver=None) as container:
            yield container.get_connection_url().rpartition("/")[0]
        return
    for user in ("postgres", os.environ.get("USER", "root")):
        url = f"postgresql://{user}@127.0.0.1:5432"
        if accepts_connections(url):
            yield url
            return
    folder = Path(tempfile.mkdtemp(prefix="mx-test-pg-"))
    server = EmbeddedPostgres(folder / "postgres")
    server.start()
    try:
        yield server.url
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def rabbitmq() -> Iterator[str]:
    """Yield the URL of a RabbitMQ server.

    Raises:
        NoServerError: No server is available and none can be started.
    """
    given = os.environ.get("MX_TEST_AMQP_URL")
    if given is not None:
        if reason := unavailable_reason(given):
            raise NoServerError(f"{reason} (from MX_TEST_AMQP_URL)")
        yield given
        return
    if has_image(RABBITMQ_IMAGE):
        with RabbitMqContainer(RABBITMQ_IMAGE) as container:
            url = f"amqp://guest:guest@{container.get_container_host_ip()}:{container.get_exposed_port(5672)}/%2f"
            wait_for(url, 60)
            yield url
        return
    reason = unavailable_reason(LOCAL_RABBITMQ)
    if not reason:
        yield LOCAL_RABBITMQ
        return
    if shutil.which("rabbitmq-server") is None:
        raise NoServerError(f"{reason}; start one, set MX_TEST_AMQP_URL, or install rabbitmq-server")
    with started_broker() as url:
        yield url


def wait_for(url: str, seconds: float) -> None:
    """Wait until a broker is available.

    Raises:
        NoServerError: No broker is available after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while reason := unavailable_reason(url):
        if time.monotonic() > deadline:
            raise NoServerError(reason)
        time.sleep(0.2)


@contextlib.contextmanager
def started_broker(stream_port: int = 0) -> Iterator[str]:
    """Start a `rabbitmq-server` with its own folder and ports. Stop it and delete the folder afterwards.

    With a `stream_port`, it also serves the stream protocol.

    Raises:
        NoServerError: The server does not start within 60 seconds.
    """
    with contextlib.ExitStack() as sockets:
        probes = [sockets.enter_context(socket.socket()) for _ in range(2)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        port, distribution = (probe.getsockname()[1] for probe in probes)
    folder = Path(tempfile.mkdtemp(prefix="mx-test-rmq-"))
    stream = f"stream.listeners.tcp.1 = 127.0.0.1:{stream_port}\n" if stream_port else ""
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{port}\n{stream}")
    (folder / "enabled_plugins").write_text("[rabbitmq_stream].\n" if stream_port else "[].\n")
    environment = {
        **os.environ,
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "logs"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    if os.geteuid() == 0:
        # The script of Debian runs the server as the user `rabbitmq`, which needs access to the folder.
        shutil.chown(folder, "rabbitmq", "rabbitmq")
        for file in folder.iterdir():
            shutil.chown(file, "rabbitmq", "rabbitmq")
    output = (folder / "output").open("w")
    process = subprocess.Popen(
        ["rabbitmq-server"], env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    url = f"amqp://guest:guest@127.0.0.1:{port}/%2f"
    try:
        try:
            wait_for(url, 60)
        except NoServerError as error:
            raise NoServerError(f"rabbitmq-server does not start: {(folder / 'output').read_text()[-2000:]}") from error
        yield url
    finally:
        # Debian's script runs the broker in a session of its own, so a signal to the group of the script does not reach it.
        family = [process, *psutil.Process(process.pid).children(recursive=True)]
        for member in family[::-1]:
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                member.terminate()
        psutil.wait_procs(family[1:], 30)
        process.wait(30)
        output.close()
        shutil.rmtree(folder, ignore_errors=True)
