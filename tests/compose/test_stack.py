"""The stack of docker-compose.yml: start, trading, kills of each container, stop, save and restore.

The tests share one stack and depend on their order, since a stack takes half a minute to start.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.sync.client import connect

from microexchange import __version__
from tests import servers
from tests.compose.stack import BOTS, ONE_SHOT, ROOT, SERVERS, SERVICES, Stack
from tests.integration.running import eventually

pytestmark = pytest.mark.slow
IMAGES = ("python:3.12-slim", servers.POSTGRES_IMAGE, servers.RABBITMQ_IMAGE)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The running stack. Without a Docker engine that has the images or can pull them, the tests are skipped."""
    if servers.engine() is None:
        pytest.skip("no Docker engine answers: the stack of docker-compose.yml is NOT tested in this run")
    missing = [image for image in IMAGES if not servers.has_image(image)]
    if missing:
        pytest.skip(f"the Docker engine cannot get {', '.join(missing)}: docker-compose.yml is NOT tested in this run")
    before = dict(os.environ)
    started = Stack()
    try:
        started.up()
        yield started
    finally:
        started.run("down", "--volumes", "--remove-orphans")
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def alice(stack: Stack) -> dict[str, str]:
    """The headers of an account."""
    return stack.open_account("alice")


def test_the_stack_starts_healthy_in_order_and_its_one_shot_services_end(stack: Stack) -> None:
    containers = stack.containers()
    assert set(containers) == {*SERVERS, *SERVICES, *ONE_SHOT, BOTS}
    assert {containers[name].attrs["State"]["ExitCode"] for name in ONE_SHOT} == {0}
    started = {name: container.attrs["State"]["StartedAt"] for name, container in containers.items()}
    order = ["secrets", "postgres", "migrate", "clearinghouse", "order-entry-gateway", BOTS]
    assert sorted(order, key=started.__getitem__) == order


def test_the_stack_trades_over_rest_and_websocket(stack: Stack, alice: dict[str, str]) -> None:
    bob = stack.open_account("bob")
    assert stack.order(alice, "buy", "0.50")["status"] == "NEW"
    url = f"{stack.gateway.replace('http', 'ws')}/ws/orders"
    with connect(url, additional_headers=bob) as socket:
        socket.send(
            msgspec.json.encode({"op": "order", "id": 7, "symbol": "AAPL", "side": "sell", "quantity": 1, "price": "0.50"})
        )
        received: list[dict[str, Any]] = []
        while not any(message.get("id") == 7 for message in received):
            received.append(msgspec.json.decode(socket.recv(20)))
    answer = received[-1]
    assert answer["ok"], answer
    assert answer["order"]["status"] == "FILLED"
    # Bids of bots may be better than alice's, so bob sells to one of them or to alice.
    assert any(message.get("report", {}).get("exec_type") == "TRADE" for message in received)
    eventually(lambda: float(stack.balance("bob", bob)["cash"]) > 10_000, 20, "the trade is settled")
    eventually(lambda: stack.trades() > 10, 60, "the bots trade")


def test_only_the_gateway_is_published_and_only_to_this_machine(stack: Stack) -> None:
    published = {
        name: [binding["HostIp"] for bindings in container.ports.values() for binding in bindings or ()]
        for name, container in stack.containers().items()
    }
    assert {name: hosts for name, hosts in published.items() if hosts} == {"order-entry-gateway": ["127.0.0.1"]}


def test_the_dashboard_and_the_market_data_are_at_the_gateways_address(stack: Stack) -> None:
    page = stack.http.get(f"{stack.gateway}/", headers={"Accept": "text/html"})
    assert (page.status_code, "/dashboard/js/app.js" in page.text) == (200, True)
    assert stack.http.get(f"{stack.gateway}/book/AAPL").json()["symbol"] == "AAPL"
    with connect(f"{stack.gateway.replace('http', 'ws')}/ws/marketdata?symbol=AAPL") as socket:
        assert msgspec.json.decode(socket.recv(20))["symbol"] == "AAPL"


def test_our_containers_run_as_a_plain_user_without_write_access_or_capabilities(stack: Stack) -> None:
    for name, container in stack.containers().items():
        host = container.attrs["HostConfig"]
        assert "no-new-privileges:true" in (host["SecurityOpt"] or []) or name in ONE_SHOT, name
        assert host["Memory"] > 0, name
        if name not in SERVERS:
            assert container.attrs["Config"]["User"] == "exchange", name
            assert host["ReadonlyRootfs"], name
            assert host["CapDrop"] == ["ALL"], name
    engine = stack.containers()["matching-engine"]
    assert engine.exec_run(["id", "-u"])[1].decode().strip() == "10001"
    code, output = engine.exec_run(["touch", "/opt/x"])
    assert code != 0
    assert "Read-only file system" in output.decode()


def test_no_secret_is_in_the_configuration_or_in_the_logs(stack: Stack) -> None:
    names = ("postgres-password", "rabbitmq-password")
    _, output = stack.containers()["matching-engine"].exec_run(
        ["sh", "-c", " ".join(f"cat /secrets/{n}; echo;" for n in names)]
    )
    passwords = output.decode().split()
    assert len(passwords) == len(names)
    config, logs = stack.run("config"), stack.run("logs")
    for password in passwords:
        assert len(password) > 20
        assert password not in config
        assert password not in logs
        for name, container in stack.containers().items():
            assert password not in str(container.attrs["Config"]), name


def test_the_image_has_a_version_label(stack: Stack) -> None:
    image = stack.containers()["matching-engine"].image
    assert image is not None
    assert image.labels["org.opencontainers.image.version"] == __version__


def test_the_image_exports_history_as_parquet(stack: Stack) -> None:
    answer = stack.http.get(f"{stack.feed}/export/trades.parquet?symbol=AAPL")
    assert (answer.status_code, answer.content[:4]) == (200, b"PAR1")


@pytest.mark.parametrize("service", [*SERVICES, BOTS, *SERVERS])
def test_a_killed_container_starts_again_and_the_market_trades(stack: Stack, alice: dict[str, str], service: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("to kill a container's process from outside takes root")
    stack.kill(service)
    before = stack.trades()
    eventually(lambda: stack.order(alice, "buy")["status"] == "NEW", 30)
    eventually(lambda: stack.trades() > before, 60, "the market trades again")


SEASON = """
name = "Short"
length = "8s"
[[security]]
symbol = "ACME"
name = "Acme"
price = "100.00"
value = { process = "random_walk", volatility = 0.4 }
[account]
cash = "20000"
shares = { "*" = "100" }
[[house]]
bot = "MarketMaker"
count = 2
[[contestant]]
name = "mine"
file = "mine.py:Mine"
"""
MINE = """
import socket
from trading_bots import Bot


class Mine(Bot):
    timer = 0.5

    def on_start(self) -> None:
        for name in ("/secrets/admin-token", "/season/other.py", "/proc/1/environ", "/etc/passwd"):
            try:
                print(name, len(open(name).read()))
            except OSError as error:
                print(name, type(error).__name__)
        for address in ("order-entry-gateway", "127.0.0.1"):
            try:
                print(socket.create_connection((address, 8000), timeout=2))
            except OSError as error:
                print(address, "not connected")

    def on_timer(self) -> None:
        for symbol in self.securities:
            self.buy(symbol, 1)
"""


def test_a_mounted_season_runs_beside_the_market_and_its_bots_are_confined(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "season.toml").write_text(SEASON)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "other.py").write_text("SECRET = 'strategy'")
    tmp_path.chmod(0o755)
    os.environ["SEASON"] = str(tmp_path)
    before = stack.trades()
    run = ("--profile", "competition", "run", "--rm", "-T", "competition")
    output = stack.run(*run)
    assert "mine" in output
    assert "results are in /results/Short/round-1" in " ".join(output.split())
    eventually(lambda: stack.trades() > before, 30, "the market trades beside the season")
    result = msgspec.json.decode(stack.run(*run, "cat", "/results/Short/round-1/result.json"))
    assert result["confinement"]["mine"].startswith("confined by bubblewrap")
    assert "seccomp filter" in result["confinement"]["mine"]
    (mine,) = (client for client in result["ranking"] if client["client_id"] == "mine")
    assert mine["fills"] > 0
    tries = stack.run(*run, "cat", "/results/Short/round-1/output/mine.txt").splitlines()
    names = ("/secrets/admin-token", "/season/other.py", "/proc/1/environ", "/etc/passwd")
    assert tries == [
        *(f"{name} FileNotFoundError" for name in names),
        *("order-entry-gateway not connected", "127.0.0.1 not connected"),
    ]


def test_the_container_of_a_competition_has_no_capabilities_and_refuses_other_privileged_calls(stack: Stack) -> None:
    run = ("--profile", "competition", "run", "--rm", "-T", "competition")
    program = """
import ctypes, re
libc = ctypes.CDLL(None, use_errno=True)
status = open("/proc/self/status").read()
print(re.search("CapBnd:.(.*)", status)[1], re.search("NoNewPrivs:.(.*)", status)[1])
for call in (lambda: libc.ptrace(0, 0, 0, 0), lambda: libc.personality(0), lambda: libc.setns(0, 0)):
    print(call(), ctypes.get_errno())
"""
    assert stack.run(*run, "python", "-c", program).splitlines() == ["0000000000000000 1", *["-1 1"] * 3]


def test_after_all_tests_the_audit_is_clean(stack: Stack) -> None:
    assert stack.audited() == []


def test_nothing_is_lost_by_down_and_up(stack: Stack, alice: dict[str, str]) -> None:
    order = stack.order(alice, "buy", "0.25")
    before = stack.trades()
    stack.run("down")
    stack.up()
    assert stack.trades() >= before
    again = stack.http.get(f"{stack.gateway}/orders/{order['order_id']}", headers=alice)
    assert (again.status_code, again.json()["status"]) == (200, "NEW")
    assert stack.audited() == []


def test_restore_returns_the_saved_state(stack: Stack, alice: dict[str, str], tmp_path: Path) -> None:
    order = stack.order(alice, "buy", "0.10")
    assert stack.http.delete(f"{stack.gateway}/orders/{order['order_id']}", headers=alice).status_code == 200
    file = tmp_path / "saved.tar.gz"
    saved = subprocess.run([ROOT / "stack", "save", file], capture_output=True, text=True, check=False)
    assert saved.returncode == 0, saved.stdout + saved.stderr
    assert file.stat().st_mode & 0o077 == 0, "only the owner can read the file, since it contains secrets"
    stack.until_healthy()
    stack.open_account("late")
    restored = subprocess.run([ROOT / "stack", "restore", file], capture_output=True, text=True, check=False)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    stack.until_healthy()
    again = stack.http.get(f"{stack.gateway}/orders/{order['order_id']}", headers=alice)
    assert (again.status_code, again.json()["status"]) == (200, "CANCELED")
    assert stack.open_account("late"), "an account that was opened after the save does not exist"
    assert stack.audited() == []


def test_a_file_that_is_not_a_backup_is_refused_and_nothing_changes(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "other"
    file.write_bytes(b"no backup")
    refused = subprocess.run([ROOT / "stack", "restore", file], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "nothing was done" in refused.stderr
    assert set(stack.health().values()) <= {"healthy", "running", "exited"}
    stack.until_healthy(1)
