"""Tests of the launcher: the list of running exchanges, addresses, and unusable arguments of commands."""

import errno
import http.server
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from exchange_launcher import addresses, running
from exchange_launcher.cli import app
from exchange_launcher.running import Place, announced, places, running_place, target
from exchange_launcher.terminal import CommandError, path_error
from tests.unit.test_simulation import SEASON

ANNOUNCES = """
import sys, time
from exchange_launcher.running import Place, announced
with announced(Place(1, "market", sys.argv[1], *[""] * 8)):
    print("announced", flush=True)
    time.sleep(60)
"""


def place(data: Path, port: int = 8000, **changes: str) -> Place:
    urls = [f"http://127.0.0.1:{port + number}" for number in range(4)]
    return Place(os.getpid(), "market", str(data), "", *urls, "", "", str(data / "secrets" / "admin-token"), **changes)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of running exchanges. The environment has no other setting of the exchange."""
    for name in [name for name in os.environ if name.startswith("MX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MX_RUNNING_DIR", str(tmp_path / "running"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "running"


# --- running exchanges ---------------------------------------------------------------------------------------------------


def test_an_exchange_is_listed_only_while_it_runs(folder: Path, tmp_path: Path) -> None:
    with announced(place(tmp_path)):
        assert places() == [place(tmp_path)]
    assert places() == []
    assert list(folder.iterdir()) == []


def test_only_the_owner_can_read_the_address_of_an_exchange(folder: Path, tmp_path: Path) -> None:
    with announced(place(tmp_path)):
        (file,) = folder.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_exchange_whose_launcher_was_killed_is_not_listed_and_its_file_is_removed(folder: Path, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ANNOUNCES, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "announced\n"
        assert [found.data for found in places()] == [str(tmp_path)]
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert len(list(folder.iterdir())) == 1
    assert places() == []
    assert list(folder.iterdir()) == []


def test_an_unreadable_file_is_not_listed_as_an_exchange(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / "1-x.json").write_bytes(b"\xff{")
    (folder / "2-x.json").mkdir()
    with announced(place(tmp_path)):
        assert places() == [place(tmp_path)]


def test_a_command_uses_the_only_running_exchange(folder: Path, tmp_path: Path) -> None:
    with announced(place(tmp_path, 9100)):
        found = target(None, None)
    assert (found.gateway_url, found.admin_token) == ("http://127.0.0.1:9100", tmp_path / "secrets" / "admin-token")


def test_with_several_running_exchanges_the_error_names_them_and_the_flag_that_selects_one(
    folder: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with announced(place(first, 9100)), announced(place(second, 9200)):
        with pytest.raises(CommandError) as error:
            running_place(None, None)
        assert (str(first) in error.value.problem, str(second) in error.value.problem) == (True, True)
        assert f"--data {first}" in error.value.fix
        assert target(second, None).gateway_url == "http://127.0.0.1:9200"
        assert target(None, "http://localhost:9100").admin_token == first / "secrets" / "admin-token"


def test_flags_take_precedence_over_a_running_exchange(folder: Path, tmp_path: Path) -> None:
    with announced(place(tmp_path, 9100)):
        found = target(tmp_path / "else", "http://127.0.0.1:9300")
    assert (found.gateway_url, found.admin_token.parent.parent) == ("http://127.0.0.1:9300", tmp_path / "else")


def test_the_environment_takes_precedence_over_a_running_exchange(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MX_DATA_DIR", str(tmp_path / "else"))
    with announced(place(tmp_path, 9100)):
        found = target(None, None)
    assert (found.gateway_url, found.admin_token.parent.parent) == (running.DEFAULT_GATEWAY, tmp_path / "else")


def test_without_a_running_exchange_a_command_fails(folder: Path) -> None:
    with pytest.raises(CommandError, match="no exchange runs on this machine"):
        target(None, None)


# --- addresses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
    ],
)
def test_loopback_addresses_are_recognised(host: str, is_loopback: bool) -> None:
    assert addresses.is_loopback(host) is is_loopback


@pytest.mark.parametrize("host", addresses.WILDCARDS)
def test_the_public_address_of_a_wildcard_belongs_to_this_machine(host: str) -> None:
    own = {address.address for found in psutil.net_if_addrs().values() for address in found}
    found = addresses.public_host(host)
    assert found is None or (found in own and not addresses.is_loopback(found))


def test_without_a_default_route_the_public_address_is_that_of_an_active_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    def interface_of(family: int, address: str, isup: bool = True) -> tuple[object, object]:
        stats = type("Stats", (), {"isup": isup})()
        return [type("Address", (), {"family": family, "address": address})()], stats

    found = {
        "lo": interface_of(socket.AF_INET, "127.0.0.1"),
        "docker0": interface_of(socket.AF_INET, "172.17.0.1"),
        "eth0": interface_of(socket.AF_INET, "10.0.0.1", isup=False),
        "eth1": interface_of(socket.AF_INET, "169.254.3.4"),
        "wlan0": interface_of(socket.AF_INET, "10.0.0.2"),
    }
    monkeypatch.setattr(addresses, "_of_default_route", lambda family: None)
    monkeypatch.setattr(addresses.psutil, "net_if_addrs", lambda: {name: interface[0] for name, interface in found.items()})
    monkeypatch.setattr(addresses.psutil, "net_if_stats", lambda: {name: interface[1] for name, interface in found.items()})
    assert addresses.public_host("0.0.0.0") == "10.0.0.2"
    del found["wlan0"]
    assert addresses.public_host("0.0.0.0") is None


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80"), ("10.0.0.2", "http://10.0.0.2:80")]
)
def test_the_local_address_of_a_wildcard_is_the_loopback_address(host: str, url: str) -> None:
    assert addresses.url(addresses.local_host(host), 80) == url


# --- unusable arguments -------------------------------------------------------------------------------------------------

LONG = "x" * 5000
SYMBOL_COMMANDS = ("halt", "resume", "auction", "delist")
NO_FOLDERS = ("{}/text", "{}/text/below", "/proc", "/proc/nothing", f"{{}}/{LONG}")
NO_FILES = ("{}/nothing", "{}/folder", "{}/binary", "{}/empty", "{}/text", f"{{}}/{LONG}", "")
BAD: list[tuple[str, ...]] = [
    ("nonsense",),
    ("up", "--nonsense"),
    ("halt",),
    *(("up", "--data", text) for text in (*NO_FOLDERS, "", " ")),
    *(("up", "--for", text) for text in ("", "0", "-1", "soon", "9" * 400, "1e9", "٣s")),
    *(("up", "--bots", text) for text in ("-1", "501", "many", "9" * 400, "1.5", "")),
    *(("up", flag, text) for flag in ("--gateway-port", "--engine-port") for text in ("-1", "0", "65536", "x", "")),
    ("up", "--gateway-port", "8005", "--feed-port", "8005", "--data", "{}/new"),
    *(("up", "--log", text) for text in ("", "nonsense", "http://x", "amqp://x:port", "postgresql://[x")),
    *(("up", "--database", text) for text in ("", "nonsense", "amqp://x", "postgresql://x:99999", "postgresql://a\nb")),
    *(("up", "--namespace", text) for text in ("A", "a-b", "a" * 33, "é", "a\n")),
    *(("up", "--host", text, "--data", "{}/new") for text in ("", " ", "no.such.host.invalid", "999.9.9.9", LONG, "a..b")),
    ("up", "--pricing", "cheapest"),
    ("migrate",),
    *(("migrate", "--database", text) for text in ("nonsense", "amqp://x", "postgresql://x:port")),
    ("migrate", "--database", "postgresql://127.0.0.1:1", "--namespace", "A B"),
    *(("audit", "--data", text) for text in (*NO_FOLDERS, "{}/nothing", "{}/folder", "")),
    *(("audit", flag, "nonsense") for flag in ("--database", "--log")),
    ("audit", "--namespace", "A B"),
    *(("list", text) for text in NO_FILES),
    *(("list", f"{{}}/{name}.csv") for name in ("one_column", "twice", "price", "huge", "state", "nul")),
    *((name, symbol) for name in SYMBOL_COMMANDS for symbol in ("", " ", "A B", "../x", LONG, "é", "A\x01")),
    *((name, "AAPL", "--data", text) for name in SYMBOL_COMMANDS for text in (*NO_FOLDERS, "")),
    *(("halt", "AAPL", "--data", "{}/market", "--gateway", text) for text in ("", "nonsense", "ftp://x", "http://", "http://x:port")),
    ("halt", "AAPL", "--data", "{}/market", "--gateway", "{web}"),
    ("list", "{}/good.csv", "--data", "{}/market", "--gateway", "{web}"),
    ("halt", "AAPL", "--data", "{}/spoilt", "--gateway", "{web}"),
    *(("secrets", text) for text in NO_FOLDERS[:3]),
    *(("secrets", "{}/new", "--postgres", text) for text in ("", "nonsense", "a b:1", "x:y", f"{LONG}:1")),
    *((name, text) for name in ("simulate", "compete") for text in NO_FILES if text not in ("{}/empty",)),
    *(("simulate", "{}/season.toml", "--speed", text) for text in ("0", "-1", "nan", "fast", "")),
    *(("simulate", "{}/season.toml", "--seed", text) for text in ("x", "1.5", "")),
    *(("simulate", "{}/season.toml", "--out", text) for text in NO_FOLDERS),
    *(("compete", "{}/season.toml", "--out", text) for text in NO_FOLDERS[:3]),
    *(("tournament", text) for text in ("{}/nothing", "{}/folder", "{}/binary", "{}/text", f"{{}}/{LONG}", "")),
    *(("tournament", "--rounds", text) for text in ("0", "-1", "x", "9" * 30)),
    ("tournament", "--workers", "0"),
    ("tournament",),
    *(("tournament", "--season", text) for text in NO_FILES if text not in ("{}/empty",)),
    *(("replay", text) for text in ("{}/nothing", "{}/text", "{}/folder", f"{{}}/{LONG}")),
    *(("replay", text) for text in ("{}/spoilt_round", "{}/empty_round")),
    *(("bot", text) for text in ("{}/nothing", "{}/folder", "{}/text", "{}/binary", "{}/no_bot.py", f"{{}}/{LONG}", "")),
    *(("bot", "{}/bot.py", "--url", text) for text in ("", "nonsense", "ftp://x", "http://x:port")),
    *(("bot", "new", text) for text in ("", "1", "a b", "{}/nothing/bot", f"{LONG}", "{}/bot")),
    ("bot", "{}/bot.py", "--keys", "{}/text", "--url", "{web}"),
]  # fmt: skip


class _Web(http.server.BaseHTTPRequestHandler):
    """A web server that is not an exchange."""

    def _answer(self) -> None:
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b"<html>nothing here</html>")

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - names of the base class

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Web) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def files(folder: Path, tmp_path: Path) -> Path:
    """Return a folder with unusable files and some usable files."""
    for name in ("folder", "market/secrets", "spoilt/secrets", "spoilt_round", "empty_round", "home"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    contents = {
        "text": "not a usable file: {",
        "empty": "",
        "market/secrets/admin-token": "token",
        "spoilt/secrets/admin-token": "two\nlines of é",
        "spoilt_round/order_entry.log": "nonsense",
        "spoilt_round/data_feed.log": "nonsense",
        "empty_round/order_entry.log": "",
        "empty_round/data_feed.log": "",
        "season.toml": SEASON.replace('"40s"', '"2s"').replace('"5s"', '"500ms"'),
        "no_bot.py": "x = 1\n",
        "bot.py": "from trading_bots import Bot\n\n\nclass Mine(Bot):\n    pass\n",
        "good.csv": "symbol,name\nX,x\n",
        "one_column.csv": "symbol\nX\n",
        "twice.csv": "symbol,name\nX,x\nX,x\n",
        "price.csv": "symbol,name,price\nX,x,cheap\n",
        "huge.csv": "symbol,name,price\nX,x,1e999999\n",
        "state.csv": "symbol,name,state\nX,x,asleep\n",
        "nul.csv": f"symbol,name\nX,{'x' * 200_000}\n",
    }
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    return tmp_path


@pytest.mark.parametrize("arguments", BAD, ids=lambda arguments: " ".join(arguments)[:60])
def test_an_unusable_argument_ends_a_command_with_the_problem_and_the_fix(
    files: Path, web: str, arguments: tuple[str, ...]
) -> None:
    result = CliRunner().invoke(app, [argument.replace("{web}", web).replace("{}", str(files)) for argument in arguments])
    message = " ".join(result.output.split())
    assert isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code == 2, message
    assert "Traceback" not in message
    assert "[Errno" not in message
    assert "microexchange: " in message
    assert message.rpartition(" Fix: ")[2], message
    assert len(message) < 2000


@pytest.mark.parametrize("arguments", [("halt", "AAPL"), ("audit",), ("migrate",), ("compete", "{}/season.toml")])
@pytest.mark.parametrize(("name", "text"), [("MX_NAMESPACE", "A B"), ("MX_NAMESPACE", "x" * 40)])
def test_an_unusable_environment_variable_is_named(
    files: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    result = CliRunner().invoke(app, [argument.replace("{}", str(files)) for argument in arguments])
    assert (result.exit_code, name in result.output) == (2, True), result.output


def test_an_unknown_pricing_rule_in_the_environment_is_named(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MX_PRICING", "cheapest")
    result = CliRunner().invoke(app, ["up", "--data", str(files / "new")])
    assert (result.exit_code, "MX_PRICING" in result.output) == (2, True), result.output


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.ELOOP])
def test_an_inaccessible_path_is_named_with_a_fix(number: int, tmp_path: Path) -> None:
    error = path_error(OSError(number, os.strerror(number), str(tmp_path)))
    assert (str(tmp_path) in error.problem, error.status, bool(error.fix)) == (True, 2, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root has all permissions")
def test_a_folder_without_write_permission_is_refused(files: Path) -> None:
    (files / "folder").chmod(0o500)
    result = CliRunner().invoke(app, ["up", "--data", str(files / "folder")])
    assert (result.exit_code, "permission denied" in result.output) == (2, True), result.output


@pytest.mark.parametrize("arguments", [("simulate", "{}/season.toml", "--out", "{}/new"), ("bot", "new", "{}/new_bot")])
def test_usable_arguments_are_accepted(files: Path, arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [argument.replace("{}", str(files)) for argument in arguments])
    assert result.exit_code == 0, result.output
