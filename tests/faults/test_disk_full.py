"""A full disk: a small file system that the test fills and empties again."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from microexchange.disks import used_percent
from tests.integration.running import Running, environment, eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def running() -> Iterator[Running]:
    """An exchange with small file systems for parts of its folder."""
    exchange = Running()
    yield exchange
    if exchange.process is not None and exchange.process.poll() is None:
        exchange.stop(signal.SIGTERM)
    for mounted in reversed([partition.mountpoint for partition in psutil.disk_partitions(all=True)]):
        if mounted.startswith(str(exchange.folder)):
            subprocess.run(["umount", "-l", mounted], check=True)
    exchange.close()


def small_disk(folder: Path, size: str) -> None:
    folder.mkdir(parents=True)
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if mounting.returncode:
        pytest.skip("cannot mount a small file system here: needs root")


def fill_to(folder: Path, percent: float) -> Path:
    """Fill the file system of a folder to a percentage. Return the file that fills it."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file:
        while used_percent(folder) < percent:
            file.write(b"\0" * (1 << 18))
    return filler


def fill(folder: Path) -> Path:
    """Fill the file system of a folder to the last byte. Return the file that fills it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return filler


def test_a_full_disk_for_snapshots_stops_nothing_and_is_reported(running: Running) -> None:
    small_disk(running.data / "engine", "2m")
    with environment(MX_SNAPSHOT_SECONDS="0.5", MX_DISK_HALT_PERCENT="0"):
        running.start("--bots", "4")
    alice = running.open_account("alice")
    eventually(lambda: list((running.data / "engine").glob("snapshot-*.bin")), 30, "a snapshot")
    filler = fill(running.data / "engine")

    def waiting() -> str:
        return str(running.http.get(f"{running.engine}/status").json()["waiting_for"].get("snapshot", ""))

    eventually(lambda: "No space left" in waiting(), 30, "the engine reports that it has no space")
    order = {"symbol": "AAPL", "side": "buy", "quantity": 1, "price": "1.00"}
    assert running.order(alice, **order).status_code == 201, "the market continues"
    running.kill("matching_engine")
    eventually(lambda: running.order(alice, **order).status_code == 201, 60, "the engine starts from an older snapshot")
    filler.unlink()
    eventually(lambda: not waiting(), 30, "the engine writes snapshots again")
    assert running.audit() == []
    fill(running.data / "engine")
    assert running.order(alice, **order).status_code == 201
    assert running.stop() == 0, "a snapshot that cannot be written at the end is no failure"
    assert not list((running.data / "engine").glob("*.new"))
    (running.data / "engine" / "filler").unlink()
    running.start("--bots", "0")
    assert running.audit() == []


def test_a_full_disk_under_postgres_refuses_orders_and_loses_none(running: Running) -> None:
    small_disk(running.data / "postgres", "400m")
    with environment(MX_DISK_HALT_PERCENT="0"):
        running.start("--bots", "4")
    alice = running.open_account("alice")
    order = {"symbol": "AAPL", "side": "buy", "quantity": 1, "price": "1.00"}
    accepted = [running.order(alice, **order, client_order_id="before").json()["order_id"]]
    filler = fill(running.data / "postgres")
    answers: list[int] = []

    def refused() -> bool:
        answer = running.order(alice, **order)
        answers.append(answer.status_code)
        if answer.status_code == 201:
            accepted.append(answer.json()["order_id"])
        return answer.status_code in (503, 504)

    eventually(refused, 120, "orders are refused")
    filler.unlink()
    eventually(lambda: not refused(), 120, "orders are accepted again without intervention")
    assert set(answers) <= {201, 503, 504}
    for base in (running.engine, running.clearing, running.feed, running.gateway):
        eventually(lambda base=base: running.http.get(f"{base}/health/ready").status_code == 200, 90, base)
    for order_id in accepted:
        answer = running.http.get(f"{running.gateway}/orders/{order_id}", headers=alice)
        assert answer.json()["status"] == "NEW", answer.text
    assert running.audit() == []
    assert running.stop() == 0


def test_new_orders_end_before_a_disk_is_full_and_begin_again_when_there_is_space(running: Running) -> None:
    disk = running.data / "postgres"
    small_disk(disk, "600m")
    running.start("--bots", "4", "--securities", "4")
    alice = running.open_account("alice")
    order = {"symbol": "AAPL", "side": "buy", "quantity": 1, "price": "1.00"}
    accepted = [running.order(alice, **order).json()["order_id"] for _ in range(2)]
    processes = running.pids()

    def gateway(path: str) -> httpx.Response:
        return running.http.get(running.gateway + path)

    def warnings() -> str:
        return str(gateway("/health/ready").json().get("warnings", {}).get("disk", ""))

    assert warnings() == ""
    filler = fill_to(disk, 82)
    eventually(lambda: "free some space" in warnings(), 30, "a warning")
    accepted.append(running.order(alice, **order).json()["order_id"])

    fill_to(disk, 96)
    eventually(lambda: "new orders are refused" in warnings(), 30, "new orders are refused")
    refused = running.order(alice, **order)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "DISK_FULL")
    refused = running.http.patch(f"{running.gateway}/orders/{accepted[1]}", json={"quantity": 2}, headers=alice)
    assert refused.json()["error"]["code"] == "DISK_FULL"
    cancelled = running.http.delete(f"{running.gateway}/orders/{accepted.pop(0)}", headers=alice)
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "CANCELED")
    assert gateway("/health/ready").status_code == 200, "cancels and queries still reach the gateway"
    assert "microexchange_disk_full 1.0" in gateway("/metrics").text

    def shown() -> str:
        services = gateway("/market-data/operations").json()["services"]
        return str(services["order-entry-gateway"]["warnings"]["disk"])

    eventually(lambda: "new orders are refused" in shown(), 30, "the page of operations shows it")
    eventually(lambda: "Warning: the disk of" in running.output_text(), 30, "`up` shows it")
    running.until_at_rest()
    assert running.audit() == []

    filler.unlink()
    eventually(lambda: running.order(alice, **order).status_code == 201, 30, "orders are accepted without intervention")
    for order_id in accepted:
        assert running.http.get(f"{running.gateway}/orders/{order_id}", headers=alice).json()["status"] == "NEW"
    assert running.pids() == processes, "no service has ended"
    assert running.audit() == []
    assert running.stop() == 0
