"""The command line with a running exchange, in any current folder."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.running import SERVICES, Running, eventually, free_ports
from tests.unit.test_simulation import SEASON

pytestmark = pytest.mark.slow
MICROEXCHANGE = [str(Path(sys.executable).with_name("microexchange"))]
SHADOWING_NAMES = (
    "click",
    "asyncio",
    "json",
    "typing",
    "httpx",
    "csv",
    "random",
    "multiprocessing",
    "signal",
    "msgspec",
    "typer",
)
"""Modules whose names a file in a user's folder may have."""
BOT = """
from trading_bots import Bot


class Mine(Bot):
    timer = 0.5

    def on_timer(self):
        self.buy("X", 1)
"""


def make_folder(folder: Path) -> Path:
    """Make a folder with files that have the names of modules and end the process that imports them."""
    folder.mkdir()
    for name in SHADOWING_NAMES:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the current folder was imported')\n")
    (folder / "mine.py").write_text(BOT)
    season = SEASON.replace('"40s"', '"6s"').replace('"5s"', '"1s"')
    (folder / "season.toml").write_text(
        season.replace("contestant = [", 'contestant = [{ name = "mine", file = "mine.py" }, ')
    )
    return folder


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """A classroom with a house bot, started in such a folder."""
    exchange = Running(None, postgres_url, module_namespace)
    exchange.launcher, exchange.cwd = MICROEXCHANGE, make_folder(exchange.folder / "user")
    exchange.start("--classroom", "--bots", "1")
    yield exchange
    exchange.close()


def state_of(running: Running, symbol: str) -> str:
    (found,) = running.http.get(f"{running.feed}/securities", params={"limit": 1, "after": f"{symbol[:-1]}K"}).json()
    assert found["symbol"] == symbol
    return str(found["state"])


def test_no_process_imports_a_module_from_the_current_folder_of_up(running: Running) -> None:
    assert {*SERVICES, "trading_bots"} <= running.pids().keys()
    assert "of the current folder was imported" not in running.output_text()
    for log in (running.data / "logs").glob("*.log"):
        assert "of the current folder was imported" not in log.read_text()


def test_up_prints_the_address_of_the_gateway_first(running: Running) -> None:
    first, *_ = (line for line in running.output_text().splitlines() if "http" in line)
    assert first == f"microexchange is open: {running.gateway}"
    assert "Only this machine can connect" in running.output_text()
    assert "--host 0.0.0.0" in running.output_text()


def test_commands_find_the_running_exchange_and_accept_symbols_in_any_case(running: Running) -> None:
    for command, state in (("halt", "halted"), ("auction", "opening_auction"), ("resume", "continuous")):
        done = running.command(command, "aapl")
        assert (done.returncode, done.stdout) == (0, f"AAPL: {state}\n"), done.stderr
        eventually(lambda state=state: state_of(running, "AAPL") == state)
    unknown = running.command("halt", "APLL")
    assert (unknown.returncode, "AAPL" in unknown.stderr) == (2, True)


def test_list_reads_a_price_and_names_the_columns_that_it_ignores(running: Running) -> None:
    file = running.folder / "mine.csv"
    file.write_text("symbol,name,price,colour\nZZZ,Zed,12.5,red\n")
    done = running.command("list", str(file))
    assert (done.returncode, done.stdout) == (0, "listed 1 of 1\n")
    assert "colour" in done.stderr
    assert "price" not in done.stderr

    def found() -> bool:
        listed = running.http.get(f"{running.feed}/securities", params={"after": "ZZY"}).json()
        return bool(listed and listed[-1]["reference_price"] == "12.50")

    eventually(found)
    assert running.command("delist", "zzz").stdout == "ZZZ: delisted\n"


def test_the_audit_finds_the_servers_of_the_running_exchange(running: Running) -> None:
    done = running.command("audit")
    assert done.returncode == 0, done.stdout + done.stderr


def test_in_a_class_a_marketable_limit_trades_at_the_price_of_the_resting_order(running: Running) -> None:
    order = {"symbol": "ABNB", "quantity": 2}
    running.http.delete(f"{running.gateway}/orders", headers={"Client-ID": "seller"})
    resting = running.order({"Client-ID": "seller"}, side="sell", price="1.39", **order)
    assert resting.status_code == 201, resting.text
    taken = running.order({"Client-ID": "buyer"}, side="buy", price="2.00", **order).json()
    assert [trade["price"] for trade in taken["trades"]] == ["1.39"]
    assert running.http.get(f"{running.gateway}/profit").json() == 0


def test_a_changed_pricing_rule_is_for_new_securities_and_up_warns_of_the_others(running: Running) -> None:
    assert running.stop() == 0
    failed = running.command("halt", "AAPL")
    assert (failed.returncode, "no exchange runs on this machine" in failed.stderr) == (1, True)
    running.start("--classroom", "--bots", "0", "--pricing", "spread_capture")
    eventually(lambda: "keep the pricing rule that they were listed with" in running.output_text())
    (running.folder / "new.csv").write_text("symbol,name\nNEW,New\n")
    assert running.command("list", str(running.folder / "new.csv")).returncode == 0
    order = {"symbol": "NEW", "quantity": 1}
    running.order({"Client-ID": "seller"}, side="sell", price="1.00", **order)
    taken = running.order({"Client-ID": "buyer"}, side="buy", price="2.00", **order).json()
    assert float(taken["average_price"]) == 2
    assert running.http.get(f"{running.gateway}/profit").json() == 1
    assert running.stop() == 0


def test_tournament_and_compete_run_in_a_folder_with_files_named_like_modules(
    tmp_path: Path, postgres_url: str, postgres_namespace: str
) -> None:
    folder = make_folder(tmp_path / "user")
    flags = ("--gateway-port", "--feed-port", "--engine-port", "--clearing-port")
    ports = [text for flag, port in zip(flags, free_ports(4), strict=True) for text in (flag, str(port))]
    server = ["--database", postgres_url, "--namespace", postgres_namespace]
    for arguments in (
        ["tournament", "mine.py", "--season", "season.toml", "--rounds", "2", "--workers", "2"],
        ["compete", "season.toml", "--out", str(tmp_path / "out"), *ports, *server],
    ):
        done = subprocess.run([*MICROEXCHANGE, *arguments], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "was imported" not in done.stdout + done.stderr
    for log in (tmp_path / "out").rglob("*.log"):
        assert b"of the current folder was imported" not in log.read_bytes(), log
