"""Tests of the package structure: the allowed imports, and the purity of the cores."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "microexchange": "common",
    "exchange_db": "db",
    "order_entry_gateway": "order-entry-gateway",
    "matching_engine": "matching-engine",
    "clearinghouse": "clearinghouse",
    "market_data_feed": "market-data-feed",
    "trading_bots": "trading-bots",
    "exchange_launcher": "launcher",
}
SHARED = {"microexchange", "exchange_db"}
MAY_IMPORT = {
    "microexchange": set(),
    "exchange_db": {"microexchange"},
    "order_entry_gateway": SHARED,
    "matching_engine": {"microexchange"},
    "clearinghouse": SHARED,
    "market_data_feed": SHARED,
    # A simulation runs all cores in one process. The SDK imports none of them, see `SDK`.
    "trading_bots": {"microexchange", "order_entry_gateway", "matching_engine", "clearinghouse", "market_data_feed"},
    "exchange_launcher": SHARED | {"matching_engine", "trading_bots"},  # the audit replays commands in an engine
}
SDK = [
    "bot.py",
    "bot_state.py",
    "connections.py",
    "live.py",
    "live_market.py",
    "runner.py",
    "client_requests.py",
    "client.py",
    "async_client.py",
    "strategies",
]
ENGINE = sorted((ROOT / "matching-engine" / "matching_engine").glob("*.py"))
ENGINE_SHELL = {"__init__.py", "__main__.py", "service.py", "snapshots.py"}
CORES = [
    *(f"matching-engine/matching_engine/{path.name}" for path in ENGINE if path.name not in ENGINE_SHELL),
    "clearinghouse/clearinghouse/ledger.py",
    "market-data-feed/market_data_feed/market.py",
    "order-entry-gateway/order_entry_gateway/requests.py",
    "order-entry-gateway/order_entry_gateway/gateway_state.py",
    "order-entry-gateway/order_entry_gateway/classroom.py",
    *(f"common/microexchange/{name}.py" for name in ("enums", "records", "commands", "instructions", "reports", "batches")),
    "common/microexchange/numbers.py",
    "common/microexchange/ids.py",
    "common/microexchange/producer_cursors.py",
]
FOLDS = [
    "trading-bots/trading_bots/bot.py",
    "trading-bots/trading_bots/bot_state.py",
    "trading-bots/trading_bots/competition/record.py",
]
"""Modules without I/O that may use floating-point numbers, for bots and for statistics."""
IMPURE = {"asyncio", "time", "random", "os", "socket", "logging", "structlog", "psycopg", "pika", "httpx", "secrets"}


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports must be absolute"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", FOLDERS)
def test_a_package_imports_only_the_allowed_packages(package: str) -> None:
    files = list((ROOT / FOLDERS[package] / package).rglob("*.py"))
    assert files
    for path in files:
        foreign = imports_of(path) & set(FOLDERS) - {package}
        assert foreign <= MAY_IMPORT[package], f"{path} imports {foreign - MAY_IMPORT[package]}"


@pytest.mark.parametrize("module", ["exchange_launcher.cli", "trading_bots.simulation.exchange", "matching_engine.service"])
def test_modules_that_need_no_database_do_not_import_a_database_toolkit(module: str) -> None:
    program = f"import sys, {module}; print({{'sqlalchemy', 'alembic'}} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize("name", SDK)
def test_the_sdk_imports_no_package_of_the_exchange(name: str) -> None:
    target = ROOT / "trading-bots" / "trading_bots" / name
    for path in target.rglob("*.py") if target.is_dir() else [target]:
        assert imports_of(path) & set(FOLDERS) <= {"trading_bots", "microexchange"}, path


@pytest.mark.parametrize("core", CORES + FOLDS)
def test_a_core_has_no_input_output_no_clock_and_no_random_numbers(core: str) -> None:
    assert not imports_of(ROOT / core) & IMPURE


@pytest.mark.parametrize("path", [path for path in ENGINE if path.name != "risk.py"], ids=lambda path: path.name)
def test_only_risk_changes_what_orders_reserve(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
        for target in (part for one in targets for part in ast.walk(one)):
            if isinstance(target, ast.Attribute) and target.attr in ("held", "offered", "bid", "hold_per_lot"):
                assert isinstance(target.value, ast.Name), f"{path.name}:{node.lineno}"
                assert target.value.id == "self", f"{path.name}:{node.lineno}: {target.attr}"


def test_a_core_uses_no_floating_point_numbers() -> None:
    for core in CORES:
        for node in ast.walk(ast.parse((ROOT / core).read_text())):
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), f"{core}:{node.lineno}"
            assert not (isinstance(node, ast.Name) and node.id == "float"), f"{core}:{node.lineno}"
