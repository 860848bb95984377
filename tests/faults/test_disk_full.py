"""A full disk: a small file system that the test fills to the last byte and empties again."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

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


def fill(folder: Path) -> Path:
    """Fill the file system of a folder. Return the file that fills it."""
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
    with environment(MX_SNAPSHOT_SECONDS="0.5"):
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
    assert running.stop() == 0


def test_a_full_disk_under_postgres_refuses_orders_and_loses_none(running: Running) -> None:
    small_disk(running.data / "postgres", "400m")
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
