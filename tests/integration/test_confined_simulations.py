"""Bots of strangers in `simulate` and `tournament`, and the check of bots before a live round: none reaches the machine."""

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from trading_bots.competition import landlock
from trading_bots.competition.confinement import available, visible_in_place
from trading_bots.competition.loading import LoadError
from trading_bots.competition.season import parse_season
from trading_bots.simulation import worker as worker_process
from trading_bots.simulation.confined import WorkerError, check_bot, worker_for

CAN_CONFINE = available()
needs_confinement = pytest.mark.skipif(not CAN_CONFINE.bubblewrap, reason=f"contestants are {CAN_CONFINE}")
TIMEOUT_SECONDS = 120
SEASON = """
name = "test"
length = "20s"
seed = 3
security = [{{ symbol = "X", price = "100.00", value = {{ process = "random_walk" }} }}]
house = [{{ bot = "MarketMaker", count = 2 }}, {{ bot = "NoiseTrader" }}]
contestant = [{contestants}]
"""
BOTS = '''
import glob, os, pickle, socket, sys
from trading_bots import Bot

NAMES = ("secrets", "passwords", "others", "environment", "processes", "network", "write", "signal", "start", "save")


class Good(Bot):
    timer = 1

    def on_timer(self):
        self.cancel_all()
        self.buy("X", 1)
        self.sell("X", 1, self.mid("X") * 1001 / 1000)
        if self.errs:
            raise ValueError("that is my own fault")
        print("cash", self.cash)

    errs = False


class Errs(Good):
    errs = True


class Hostile(Good):
    """Tries everything that a stranger would try, and prints what it gets."""

    def on_start(self):
        for name in NAMES:
            try:
                print(name, getattr(self, f"try_{name}")())
            except OSError as error:
                print(name, type(error).__name__)

    def try_secrets(self):
        return glob.glob(FOLDER + "/**/*-token", recursive=True)

    def try_passwords(self):
        return open("/etc/passwd").read()

    def try_others(self):
        return open(FOLDER + "/other.py").read()

    def try_environment(self):
        found = [text for text in (*os.environ.values(), open("/proc/self/environ").read()) if "topsecret" in text]
        return found or open("/proc/1/environ").read()

    def try_processes(self):
        return [name for name in os.listdir("/proc") if name.isdigit() and int(name) > 2]

    def try_network(self):
        return socket.create_connection(("127.0.0.1", PORT), timeout=1)

    def try_write(self):
        open(FOLDER + "/written", "w").write("x")  # /tmp inside is another one
        return open("/usr/written", "w")

    def try_signal(self):
        os.kill(os.getppid(), 9)
        return "sent"

    def try_start(self):
        return os.fork()

    def try_save(self):
        return pickle.dump("x", open(FOLDER + "/results/x.pickle", "wb"))
'''


def contestants(*names: str, file: str = "bots.py") -> str:
    return ", ".join(f'{{ name = "{name}", file = "{file}:{name}" }}' for name in names)


def command(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "exchange_launcher.cli", *map(str, arguments), "--out", str(folder / "results")]
    environment = os.environ | {"MX_SECRET_OF_THE_ORGANISER": "topsecret"}
    return subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "admin-token").write_text("topsecret")
    (tmp_path / "other.py").write_text("SECRET = 'strategy'\n")
    (tmp_path / "bots.py").write_text(BOTS)
    return tmp_path


@needs_confinement
@pytest.mark.parametrize("name", ["simulate", "tournament"])
def test_a_hostile_bot_gets_nothing_in_a_simulation(folder: Path, name: str) -> None:
    (folder / "season.toml").write_text(SEASON.format(contestants=contestants("Good", "Hostile")))
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = (folder / "bots.py").read_text()
        (folder / "bots.py").write_text(f"FOLDER, PORT = {str(folder)!r}, {server.getsockname()[1]}\n{text}")
        arguments = ["season.toml"] if name == "simulate" else ["--season", "season.toml", "--rounds", 2, "--workers", 2]
        done = command(folder, name, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    output = folder / "results/test" / ("round-1/output" if name == "simulate" else "output") / "Hostile.txt"
    prefix = "" if name == "simulate" else "round 1: "
    tries = [line.removeprefix(prefix) for line in output.read_text().splitlines() if "cash" not in line]
    assert tries[:10] == [
        "secrets []",
        "passwords FileNotFoundError",
        "others FileNotFoundError",
        "environment " + ("PermissionError" if CAN_CONFINE.landlock else ""),
        "processes []",
        "network PermissionError",
        "write OSError",  # a read-only file system
        "signal " + ("PermissionError" if CAN_CONFINE.landlock >= 6 else "sent"),
        "start PermissionError",
        "save FileNotFoundError",
    ]
    assert not (folder / "written").exists()


@needs_confinement
def test_a_confined_simulation_has_the_same_bytes_as_one_without_confinement(folder: Path) -> None:
    (folder / "season.toml").write_text(SEASON.format(contestants=contestants("Good", "Errs")))
    assert command(folder, "simulate", "season.toml").returncode == 0
    first = folder / "results" / "test"
    first.rename(folder / "first")
    assert command(folder, "simulate", "season.toml", "--trust-bots").returncode == 0
    files = {path.relative_to(first) for path in first.rglob("*") if path.is_file()}
    assert {"result.json", "report.html", "Good.csv", "Good.txt", "order_entry.log", "data_feed.log"} <= {
        path.name for path in files
    }
    for path in files:
        assert (first / path).read_bytes() == (folder / "first" / path).read_bytes(), path
    assert {path.relative_to(folder / "first") for path in (folder / "first").rglob("*") if path.is_file()} == files
    errors = next(
        row["errors"] for row in json.loads((first / "round-1/result.json").read_text())["ranking"] if row["errors"]
    )
    assert str(folder / "bots.py") in errors[0]


FORGERS = '''
import glob, os, pickle, sys
import msgspec
from trading_bots import Bot
from trading_bots.simulation import worker


class Escape:
    def __reduce__(self):
        return (open, (FOLDER + "/escaped", "w"))


class Forger(Bot):
    def on_start(self):
        body = self.body()
        for number in range(3, 64):
            try:
                os.write(number, len(body).to_bytes(4, "big") + body)
            except OSError:
                pass
        os._exit(0)


class Pickles(Forger):
    def body(self):
        return pickle.dumps(Escape())


class Garbage(Forger):
    def body(self):
        return b"\\xff" * 100


class Writes(Forger):
    """Names a file outside of the results."""

    def body(self):
        return msgspec.msgpack.encode(worker.Line("../../../escaped", "x"))


class Ranks(Forger):
    """Sends the result of a round in which a client has the name of a file outside."""

    def body(self):
        from trading_bots.competition import results
        client = results.RankedClient(1, "../../../../escaped", False, *["1"] * 8, 1, 0, 1, 0.0)
        result = results.RoundResult("test", 1, "3/1", "simulation", 20.0, "", 1, 1, [client], {})
        return msgspec.msgpack.encode(worker.Finished(result, [1]))
'''


@needs_confinement
@pytest.mark.parametrize("name", ["Pickles", "Garbage", "Writes", "Ranks"])
def test_a_bot_that_forges_a_message_of_its_simulation_writes_no_file_and_runs_no_code_outside(
    folder: Path, name: str
) -> None:
    (folder / "bots.py").write_text(f"FOLDER = {str(folder)!r}\n{FORGERS}")
    (folder / "season.toml").write_text(SEASON.format(contestants=contestants(name)))
    done = command(folder, "simulate", "season.toml")
    assert done.returncode == 1, done.stdout
    assert "something else than the result of its round" in " ".join(done.stderr.split())
    assert not list(folder.rglob("*escaped*"))
    assert not (folder / "results").exists()


HOLDS = """
import faulthandler, signal
from trading_bots import Bot

class Holds(Bot):
    def on_start(self):
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        while True:
            pass
"""


@needs_confinement
def test_a_bot_that_turns_off_the_watchdog_and_holds_the_clock_ends_its_simulation(folder: Path) -> None:
    (folder / "bots.py").write_text(HOLDS)
    (folder / "season.toml").write_text(SEASON.format(contestants=contestants("Holds")))
    done = command(folder, "simulate", "season.toml", "--patience", 0.5)
    assert done.returncode == 1
    assert "has sent no whole message for 6 s" in done.stderr


FLOODS = """
import mmap, os, sys
from trading_bots import Bot

class Floods(Bot):
    def on_start(self):
        while True:
            for number in (1, 2):
                os.write(number, b"\\x1b[2J" * 10_000)

class Prints(Bot):
    timer = 1
    def on_timer(self):
        for number in range(200):
            print("\\x1b[2J" * 2_000)

class Leaks(Bot):
    def on_start(self):
        self.hoard = [mmap.mmap(-1, 1 << 30) for _ in range(10_000)]

class Opens(Bot):
    def on_start(self):
        self.files = [open("/dev/null") for _ in range(1_000)]
"""


@needs_confinement
def test_a_bot_that_floods_the_output_of_its_simulation_fills_neither_the_disk_nor_the_terminal(folder: Path) -> None:
    (folder / "bots.py").write_text(FLOODS)
    (folder / "season.toml").write_text(SEASON.format(contestants=contestants("Floods")))
    done = command(folder, "simulate", "season.toml", "--patience", 20)
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert len(done.stderr) < 200_000
    (folder / "season.toml").write_text(SEASON.format(contestants=contestants("Prints")))
    done = command(folder, "simulate", "season.toml")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "more characters are left out" in (folder / "results/test/round-1/output/Prints.txt").read_text()[-100:]


@needs_confinement
def test_a_bot_that_fills_memory_or_descriptors_gets_an_error_and_its_simulation_continues(folder: Path) -> None:
    (folder / "bots.py").write_text(FLOODS)
    (folder / "season.toml").write_text(SEASON.format(contestants=contestants("Leaks", "Opens")))
    done = command(folder, "simulate", "season.toml")
    assert done.returncode == 0, done.stderr
    ranking = json.loads((folder / "results/test/round-1/result.json").read_text())["ranking"]
    errors = {row["client_id"]: " ".join(row["errors"]) for row in ranking}
    assert "Cannot allocate memory" in errors["Leaks"]
    assert "Too many open files" in errors["Opens"]


@needs_confinement
def test_the_file_of_a_bot_is_checked_in_a_sandbox_before_a_live_round(folder: Path) -> None:
    inside = Path("/tmp") / f"mx-{uuid4().hex}"  # noqa: S108 - the path inside
    (folder / "bots.py").write_text(
        f"from trading_bots import Bot\nopen({str(folder / 'written')!r}, 'w').write('x')\n"
        f"open({str(inside)!r}, 'w').write('x')\nclass Good(Bot):\n    pass\nraise ValueError('loaded')\n"
    )
    (folder / "season.toml").write_text(SEASON.format(contestants=contestants("Good")))
    done = command(folder, "compete", "season.toml")
    assert done.returncode != 0
    assert "bots.py:6: ValueError: loaded" in done.stderr
    assert not (folder / "written").exists()
    assert not inside.exists()
    assert not (folder / "results").exists()


@needs_confinement
def test_a_name_of_a_file_with_line_breaks_and_escapes_is_shown_safely(folder: Path) -> None:
    name = "a\n\x1b[2J'\"; rm -rf ..py"
    (folder / name).write_text("from trading_bots import Bot\n\nclass Good(Bot):\n    pass\n")
    check_bot(CAN_CONFINE, f"{name}:Good", folder, [])
    with pytest.raises(LoadError) as refused:
        check_bot(CAN_CONFINE, f"{name}:Bad", folder, [])
    assert "\x1b" not in str(refused.value)


@needs_confinement
def test_links_and_parents_in_the_name_of_a_file_show_no_other_file(folder: Path) -> None:
    program = """
import os
from trading_bots import Bot
shown = []
for name in ("link", "up", "../other.py", "../secrets/admin-token"):
    try:
        shown.append(open(os.path.join(os.path.dirname(__file__), name)).read())
    except OSError as error:
        shown.append(type(error).__name__)
raise ValueError(" ".join(shown))
"""
    own = folder / "own"
    own.mkdir()
    (own / "bot.py").write_text(program)
    (own / "link").symlink_to(folder / "secrets" / "admin-token")
    (own / "up").symlink_to("../other.py")
    for file in ("own/bot.py", "own/../own/bot.py", str(own / "bot.py")):
        with pytest.raises(LoadError) as refused:
            check_bot(CAN_CONFINE, file, folder, ["other.py"])
        assert "ValueError: " + " ".join(["FileNotFoundError"] * 4) in str(refused.value), file


def test_a_contestant_whose_folder_is_a_link_to_another_place_shows_that_file_alone(tmp_path: Path) -> None:
    season, home = tmp_path / "season", tmp_path / "home"
    season.mkdir()
    home.mkdir()
    (home / "bot.py").touch()
    (season / "mine").symlink_to(home)
    assert visible_in_place("mine/bot.py", season, []) == (home / "bot.py", str(season / "mine" / "bot.py"))


@needs_confinement
def test_a_worker_ends_with_its_context_and_names_why_it_ended(folder: Path) -> None:
    season = parse_season(SEASON.format(contestants=contestants("Good")))
    with worker_for(CAN_CONFINE, season, folder) as worker:
        finished = worker.play(season, 1, folder)
        assert {client.client_id for client in finished.result.ranking} >= {"Good"}
        worker.kill()
        with pytest.raises(WorkerError, match="has ended with status"):
            worker.play(season, 2, folder)
    assert worker._process.returncode is not None


def test_a_worker_that_landlock_must_restrict_loads_no_bot_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(landlock, "restrict", lambda *_: 0)
    worker_process._limit(worker_process.Setup([], landlock=False, memory_bytes=1))
    with pytest.raises(OSError, match="the kernel has no Landlock"):
        worker_process._limit(worker_process.Setup([], landlock=True, memory_bytes=1))


def test_without_bubblewrap_a_simulation_states_that_it_is_not_confined(folder: Path) -> None:
    (folder / "season.toml").write_text(SEASON.format(contestants=contestants("Good")))
    line = [sys.executable, "-m", "exchange_launcher.cli", "simulate", "season.toml", "--out", "results"]
    for more, expected in (((), True), (("--trust-bots",), False)):
        done = subprocess.run(
            [*line, *more], cwd=folder, env={"PATH": "/nowhere"}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert ("run without confinement" in done.stderr) == expected
        assert ("the program bwrap is missing" in done.stderr) == expected
