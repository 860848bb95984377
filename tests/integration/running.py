"""A whole exchange for a test: `up` as a process, its clients over HTTP and WebSocket, and its audit."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import psutil
from websockets.sync.client import ClientConnection, connect

from exchange_launcher.audit import Places, audit
from exchange_launcher.postgres import EmbeddedPostgres
from microexchange.batches import CLEARING, ENGINE

ENDOWMENT = {
    "MX_ENDOWMENT_SHARES": '{"*": "100", "BTC-USDT": "0.1", "ETH-USDT": "1"}',
    "MX_ENDOWMENT_SHORT_LIMIT": "0",
}
"""The endowment of accounts in most tests: clients can sell, but only what they have.

Environment variables override it.
"""
SERVICES = ("matching_engine", "clearinghouse", "market_data_feed", "order_entry_gateway")


def free_ports(count: int) -> list[int]:
    """Return free ports."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free_socket in sockets:
            free_socket.bind(("127.0.0.1", 0))
        return [free_socket.getsockname()[1] for free_socket in sockets]


def eventually(check: Callable[[], Any], seconds: float = 30, what: str = "") -> Any:
    """Wait until `check` returns a true value, and return it. Failed requests and lookups count as false."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if result := check():
                return result
        except (httpx.HTTPError, OSError, LookupError):
            pass
        assert time.monotonic() < deadline, f"not true within {seconds} s: {what or check}"
        time.sleep(0.05)


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables for the processes that are started in the block."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _with_default_fees(path: Path) -> Path:
    """Write the default listing without its fees, so that trades have the default fees of 10 and 20 basis points."""
    lines = files("order_entry_gateway").joinpath("listing.csv").read_text().splitlines()
    path.write_text("".join(f"{line.rsplit(',', 2)[0]}\n" for line in lines))
    return path


class Running:
    """An exchange in its own folder. It can be started and stopped several times."""

    def __init__(
        self,
        log: str | None = None,
        database: str | None = None,
        namespace: str = "",
        endowment: Mapping[str, str] = ENDOWMENT,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mx-"))
        self.endowment = dict(endowment)
        if endowment:
            self.endowment["MX_LISTING"] = str(_with_default_fees(self.folder / "listing.csv"))
        self.data = self.folder / "data"
        self.log = log
        self.use(database, namespace)
        self.process: subprocess.Popen[str] | None = None
        self.output = self.folder / "output"
        self.http = httpx.Client(timeout=30)
        self.launcher = [sys.executable, "-m", "exchange_launcher.cli"]
        self.cwd: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment of `up` and of the commands that must find it."""
        return {**os.environ, "MX_RUNNING_DIR": str(self.folder / "running")}

    def use(self, database: str | None, namespace: str) -> None:
        """Use this server from the next start on."""
        self.database, self.namespace = database, namespace
        self._server = ["--log", self.log] if self.log else []
        self._server += ["--database", database, "--namespace", namespace] if database else []

    def start(self, *arguments: str, wait: bool = True) -> None:
        """Run `up` in the background. With `wait`, returns when the exchange is open."""
        ports = free_ports(4)
        self.gateway, self.feed, self.engine, self.clearing = (f"http://127.0.0.1:{port}" for port in ports)
        flags = ("--gateway-port", "--feed-port", "--engine-port", "--clearing-port")
        places = [text for flag, port in zip(flags, ports, strict=True) for text in (flag, str(port))]
        command = [*self.launcher, "up", "--data", str(self.data)]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*command, *places, *self._server, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                env={**self.endowment, **self.environment},
                cwd=self.cwd,
            )
        if wait:
            eventually(lambda: "is open" in self.output_text() or self.process.poll() is not None, 120, "open")
            assert self.process.poll() is None, self.output_text()

    def output_text(self) -> str:
        """Return everything that `up` has printed."""
        return self.output.read_text()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command, which finds this exchange."""
        return subprocess.run(
            [*self.launcher, *arguments], capture_output=True, text=True, env=self.environment, cwd=self.cwd, check=False
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal to `up` and return its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(90)

    def pids(self) -> dict[str, int]:
        """Return the process ids of the services and the bots by module."""
        found: dict[str, int] = {}
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                arguments = child.cmdline()
                if "-m" in arguments:
                    found[arguments[arguments.index("-m") + 1]] = child.pid
        return found

    def leftovers(self) -> list[str]:
        """Return the command lines of processes that still use the folder of this exchange."""
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                text = " ".join(process.cmdline()) + process.environ().get("MX_DATA_DIR", "")
                if str(self.folder) in text and process.pid != os.getpid():
                    left.append(text)
        return left

    def kill(self, module: str) -> None:
        """Kill a service with SIGKILL and wait until the launcher has started it again."""
        before = self.pids()[module]
        os.kill(before, signal.SIGKILL)
        eventually(lambda: self.pids().get(module, before) != before, 30, f"{module} is started again")

    # --- clients --------------------------------------------------------------------------------------------------

    def open_account(self, client_id: str) -> dict[str, str]:
        """Open an account. Return the headers that authenticate it."""
        answer = self.http.post(f"{self.gateway}/clients", json={"client_id": client_id})
        assert answer.status_code == 201, answer.text
        return {"Authorization": f"Bearer {answer.json()['api_key']}"}

    def order(self, headers: dict[str, str], **order: Any) -> httpx.Response:
        """Enter an order."""
        return self.http.post(f"{self.gateway}/orders", json=order, headers=headers)

    @contextlib.contextmanager
    def socket(self, base: str, path: str, headers: dict[str, str] | None = None) -> Iterator["JsonSocket"]:
        """Open a WebSocket to the gateway or the feed."""
        url = base.replace("http", "ws") + path
        with connect(url, additional_headers=headers or {}, max_size=None) as connection:
            yield JsonSocket(connection)

    # --- the audit ------------------------------------------------------------------------------------------------

    def until_at_rest(self) -> dict[str, Any]:
        """Wait until everything that the engine has sent is settled and stored. Return the status of the feed."""

        def check() -> Any:
            engine, clearing, feed = (
                self.http.get(f"{service}/status").json() for service in (self.engine, self.clearing, self.feed)
            )
            sequences = feed["sequences"]
            rest = (
                clearing["instruction_sequence"] == engine["instruction_sequence"]
                and sequences[ENGINE] == engine["report_sequence"]
                and sequences[CLEARING] == engine["instruction_sequence"]
                and feed["stored_offset"] == feed["offset"]
                and not feed["waiting_for"]
            )
            return feed if rest else None

        return eventually(check, 60, "idle")

    @property
    def server(self) -> str:
        """The URL of the Postgres server that the exchange uses."""
        return self.database or EmbeddedPostgres(self.data / "postgres").url

    def audit(self, whole: bool = False) -> list[str]:
        """Return the differences that `microexchange audit` finds. It is empty if the audit is clean."""
        server = self.server
        checks = asyncio.run(audit(Places(server, self.log or server, self.namespace, self.data, whole)))
        return [f"{check.name}: {difference}" for check in checks for difference in check.differences]

    def assert_whole_audit_is_clean(self) -> None:
        """Assert that the audit is clean, with a replay of all commands."""
        assert self.audit(whole=True) == []

    def close(self) -> None:
        """Stop the exchange and remove its folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.http.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class JsonSocket:
    """A WebSocket with JSON messages."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def send(self, message: Any) -> None:
        """Send a message. Text is sent unchanged."""
        self._connection.send(message if isinstance(message, str) else json.dumps(message))

    def receive(self, seconds: float = 20) -> Any:
        """Return the next message."""
        return json.loads(self._connection.recv(seconds))

    def request(self, message: Any) -> Any:
        """Send a request and return its answer. Reports before the answer are skipped."""
        self.send(message)
        while (answer := self.receive()).get("op") == "report" or answer.get("id") != message.get("id"):
            pass
        return answer
