"""Servers for the tests: real ones, found in one order, explained in docs/testing.md.

1. what the environment names: MX_TEST_DATABASE_URL, MX_TEST_AMQP_URL;
2. a container of its own, where a Docker engine answers and has the image or can get it (testcontainers);
3. a local server: Postgres at 127.0.0.1:5432 that lets us in without a password, RabbitMQ at 5672 with guest/guest;
4. one that is started for the tests: the embedded Postgres, and a `rabbitmq-server` that is installed.
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
"""As in docker-compose.yml."""
LOCAL_RABBITMQ = "amqp://guest:guest@127.0.0.1:5672/%2f"


class NoServerError(Exception):
    """There is none, and none can be started; the message says what to do."""


@cache
def engine() -> docker.DockerClient | None:
    """The Docker engine that answers, if one does."""
    try:
        client = docker.from_env(timeout=300)
        client.ping()
    except DockerException:
        return None
    # It would clean up after tests that are killed, and is an image more to fetch. Ours end with their fixtures.
    testcontainers_config.ryuk_disabled = True
    return client


def has_image(name: str) -> bool:
    """Whether the engine has the image, or has it now."""
    client = engine()
    if client is None:
        return False
    try:
        if not client.images.list(name):
            client.images.pull(name)
    except DockerException:
        return False
    return True


def lets_us_in(url: str) -> bool:
    """Whether a Postgres server answers there."""
    try:
        psycopg.connect(database_url(url, "", "postgres"), connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def why_not(url: str) -> str:
    """Why no broker answers there; empty where one does."""
    try:
        parameters = pika.URLParameters(url)
        parameters.socket_timeout = 3
        pika.BlockingConnection(parameters).close()
    except Exception as error:
        return f"no RabbitMQ at {url.rpartition('@')[2]}: {error!r}"
    return ""


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The URL of a Postgres server. Raises `NoServerError`."""
    given = os.environ.get("MX_TEST_DATABASE_URL")
    if given is not None:
        if not lets_us_in(given):
            raise NoServerError(f"MX_TEST_DATABASE_URL={given} does not let us in")
        yield given
        return
    if has_image(POSTGRES_IMAGE):
        with PostgresContainer(POSTGRES_IMAGE, driver=None) as container:
            yield container.get_connection_url().rpartition("/")[0]
        return
    for user in ("postgres", os.environ.get("USER", "root")):
        url = f"postgresql://{user}@127.0.0.1:5432"
        if lets_us_in(url):
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
    """The URL of a RabbitMQ server. Raises `NoServerError`."""
    given = os.environ.get("MX_TEST_AMQP_URL")
    if given is not None:
        if reason := why_not(given):
            raise NoServerError(f"{reason}, which MX_TEST_AMQP_URL names")
        yield given
        return
    if has_image(RABBITMQ_IMAGE):
        with RabbitMqContainer(RABBITMQ_IMAGE) as container:
            url = f"amqp://guest:guest@{container.get_container_host_ip()}:{container.get_exposed_port(5672)}/%2f"
            wait_for(url, 60)
            yield url
        return
    reason = why_not(LOCAL_RABBITMQ)
    if not reason:
        yield LOCAL_RABBITMQ
        return
    if shutil.which("rabbitmq-server") is None:
        raise NoServerError(f"{reason}; start one, name one with MX_TEST_AMQP_URL, or install rabbitmq-server")
    with broker_of_our_own() as url:
        yield url


def wait_for(url: str, seconds: float) -> None:
    """Waits until a broker answers. Raises `NoServerError`."""
    deadline = time.monotonic() + seconds
    while reason := why_not(url):
        if time.monotonic() > deadline:
            raise NoServerError(reason)
        time.sleep(0.2)


@contextlib.contextmanager
def broker_of_our_own(stream_port: int = 0) -> Iterator[str]:
    """A `rabbitmq-server` in a folder of its own, at ports of its own, ended and deleted afterwards. With a `stream_port` it
    also speaks the stream protocol."""
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
        # Debian's script hands over to the user `rabbitmq`, who must be let in.
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
