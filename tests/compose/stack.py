"""The stack of docker-compose.yml on a real Docker engine."""

import contextlib
import os
import secrets
import signal
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import msgspec
from docker.models.containers import Container
from testcontainers.compose import DockerCompose

from tests import servers
from tests.integration.running import eventually, free_ports

ROOT = Path(__file__).parents[2]
SERVICES = ("matching-engine", "clearinghouse", "market-data-feed", "order-entry-gateway")
SERVERS = ("rabbitmq", "postgres")
ONE_SHOT = ("secrets", "migrate")
BOTS = "trading-bots"


class Stack(DockerCompose):
    """The stack under its own project name and port. It supports `docker compose` and `docker-compose` 1.29."""

    def __init__(self) -> None:
        self.project = f"mxtest{secrets.token_hex(3)}"
        (self.port,) = free_ports(1)
        os.environ |= {
            "COMPOSE_PROJECT_NAME": self.project,
            "GATEWAY_PORT": str(self.port),
        }
        super().__init__(ROOT, build=True, wait=False)
        self.gateway = f"http://127.0.0.1:{self.port}"
        self.feed = f"{self.gateway}/market-data"
        self.http = httpx.Client(timeout=10)

    @cached_property
    def compose_command_property(self) -> list[str]:
        """`docker compose` if it is installed, else `docker-compose`."""
        second = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        return ["docker", "compose"] if second.returncode == 0 else ["docker-compose"]

    def run(self, *arguments: str) -> str:
        """Run a command of compose. Return its output."""
        done = subprocess.run(
            [*self.compose_command_property, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def containers(self) -> dict[str, Container]:
        """Return the containers by service, with those that have ended."""
        client = servers.engine()
        assert client is not None
        label = f"com.docker.compose.project={self.project}"
        found = client.containers.list(all=True, filters={"label": label})
        return {container.labels["com.docker.compose.service"]: container for container in found}

    def health(self) -> dict[str, str]:
        """Return the health of each service, such as `healthy` or `starting`, or else the status of its container."""
        return {
            name: container.attrs["State"].get("Health", {}).get("Status") or container.status
            for name, container in self.containers().items()
        }

    def until_healthy(self, seconds: float = 120) -> None:
        """Wait until all servers and services are healthy and the bots run."""

        def is_healthy() -> bool:
            health = self.health()
            return all(health.get(name) == "healthy" for name in (*SERVERS, *SERVICES)) and health.get(BOTS) == "running"

        try:
            eventually(is_healthy, seconds)
        except AssertionError:
            logs = self.run("logs", "--tail", "20")
            raise AssertionError(f"not healthy: {self.health()}\n{logs}") from None

    def up(self) -> None:
        """Start the stack and wait until it is healthy."""
        self.start()
        self.until_healthy()

    def kill(self, service: str) -> None:
        """Kill the process of a container from outside, so that the engine must start it again."""
        container = self.containers()[service]
        before = container.attrs["State"]["StartedAt"]
        os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)
        eventually(lambda: self.containers()[service].attrs["State"]["StartedAt"] != before, 60, f"{service} starts again")
        self.until_healthy()

    def open_account(self, name: str) -> dict[str, str]:
        """Open an account. Return the header that authenticates it."""
        answer = self.http.post(f"{self.gateway}/clients", json={"client_id": name})
        assert answer.status_code == 201, answer.text
        return {"Authorization": f"Bearer {answer.json()['api_key']}"}

    def order(self, account: dict[str, str], side: str, price: str = "1.00", symbol: str = "AAPL") -> dict[str, Any]:
        """Enter an order for one share.

        Raises:
            HTTPStatusError: The gateway has no log at the moment, so `eventually` tries again.
        """
        body = {"symbol": symbol, "side": side, "quantity": "1", "price": price}
        answer = self.http.post(f"{self.gateway}/orders", json=body, headers=account)
        if answer.status_code == 503:
            answer.raise_for_status()
        assert answer.status_code == 201, answer.text
        order: dict[str, Any] = answer.json()
        return order

    def balance(self, name: str, account: dict[str, str]) -> dict[str, Any]:
        """Return the balance of a client at the feed."""
        answer = self.http.get(f"{self.feed}/balance/{name}", headers=account)
        assert answer.status_code == 200, answer.text
        balance: dict[str, Any] = answer.json()
        return balance

    def trades(self) -> int:
        """Return the number of trades."""
        return int(self.http.get(f"{self.feed}/status").json()["trades"])

    def audited(self) -> list[str]:
        """Return the differences that an audit finds while the market trades."""

        def checks() -> dict[str, Any]:
            # If it finds differences, the audit prints them and ends with status 1.
            command = [*self.compose_command_property, "exec", "-T", "matching-engine", "microexchange", "audit", "--json"]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            with contextlib.suppress(msgspec.DecodeError):
                answer: dict[str, Any] = msgspec.json.decode(done.stdout)
                return answer
            return {}

        answer = eventually(checks, 120, "the audit answers")
        assert sum(check["compared"] for check in answer["checks"]) > 0
        return [f"{check['name']}: {text}" for check in answer["checks"] for text in check["differences"]]
