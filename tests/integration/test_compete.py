"""A season on the real services. Bots that loop, leak, fork or crash are removed and disturb nobody else. A round can be
paused, resumed and replayed."""

import csv
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from exchange_launcher.live_display import best_score_text
from tests.integration.running import eventually, free_ports
from trading_bots.competition import replay
from trading_bots.competition.confinement import available
from trading_bots.competition.season import parse_season

pytestmark = pytest.mark.slow
SEASON = """
name = "live"
length = "{length}"
security = [{{ symbol = "X", price = "100.00", taker_fee_bps = 5, value = {{ process = "random_walk" }} }}]
house = [{{ bot = "MarketMaker", count = 2 }}, {{ bot = "NoiseTrader", count = 2 }}, {{ bot = "InformedTrader" }}]
contestant = [{contestants}]
[auctions]
opening = "{auction}"
closing = "{auction}"
[limits]
requests_per_second = 50
memory_megabytes = 200
processor_share = 0.9
answer_seconds = 1.5
"""
BOTS = '''
import gc, glob, os, socket, subprocess, sys, threading, time
from trading_bots import Bot


class Good(Bot):
    timer = 0.5

    def on_timer(self):
        self.cancel_all()
        self.buy("X", 1, self.mid("X") * 999 / 1000)
        self.sell("X", 1)


class Rests(Bot):
    """Enters an order far from the market. Misbehaves later."""

    def on_start(self):
        self.buy("X", 1, 1)
        self.every(2, self.misbehave)


class Loops(Rests):
    def misbehave(self):
        while True:
            pass


class Leaks(Rests):
    def misbehave(self):
        self.hoard = [bytes(1 << 20) for _ in range(400)]


class Fills(Rests):
    def misbehave(self):
        self.hoard = []
        while True:
            self.hoard.append(bytearray(b"x") * (20 << 20))


class Threads(Rests):
    def misbehave(self):
        event = threading.Event()
        for number in range(100):
            threading.Thread(target=event.wait, daemon=True).start()


class Floods(Good):
    """Writes to all its open files, its pipe of heartbeats included, and continues to trade."""

    def on_timer(self):
        super().on_timer()
        for number in range(3, 128):
            try:
                os.set_blocking(number, False)
                os.write(number, b"x" * 65536)
            except OSError:
                pass


class Holds(Rests):
    def misbehave(self):
        time.sleep(600)


class Forks(Rests):
    def misbehave(self):
        os.fork()


class Calls(Rests):
    def misbehave(self):
        subprocess.run(["sleep", "60"])


class Crashes(Rests):
    def misbehave(self):
        os._exit(3)


class Errs(Good):
    def on_timer(self):
        raise ValueError("that is my own fault")


class Prints(Good):
    def on_timer(self):
        print("hello")
        sys.stderr.write("\x1b[2J[/red]\\n")


class Silent(Bot):
    pass


def secret_names(environment):
    return [entry.partition("=")[0] for entry in environment.split("\\0") if "SECRET" in entry or "MX_" in entry]


class Hostile(Good):
    """Tries everything that a stranger would try, prints what it gets, and continues to trade."""

    tried = False

    def on_timer(self):
        super().on_timer()
        if not self.tried:
            self.tried = True
            reads = (self.secrets, self.others, self.network, self.memory_of_others)
            for attempt in (*reads, self.write, self.environment, self.key):
                try:
                    print(attempt.__name__, attempt())
                except Exception as error:
                    print(attempt.__name__, "failed", type(error).__name__)

    def secrets(self):
        return [path for root in ROOTS for path in glob.glob(root + "/**/*-token", recursive=True)]

    def others(self):
        return open(ROOTS[0] + "/other.py").read()

    def network(self):
        return socket.create_connection(("127.0.0.1", GATEWAY), timeout=1)

    def memory_of_others(self):
        return [name for name in os.listdir("/proc") if name.isdigit() and int(name) > 2]

    def write(self):
        open(ROOTS[0] + "/written", "w").write("x")

    def environment(self):
        return secret_names(open("/proc/self/environ").read()) or secret_names(open("/proc/1/environ").read())

    def key(self):
        heap = [value for found in gc.get_objects() if isinstance(found, dict) for value in list(found.values())]
        return [value for value in heap if isinstance(value, str) and value.count(".") == 2 and value.startswith("eyJ")]
'''
REMOVED = {
    "Loops": "a callback took more than 1.5 s",
    "Leaks": "MB of memory",
    "Fills": "MB of memory",
    "Holds": "a callback took more than 1.5 s",
    "Forks": "it tried to start another process",
    "Calls": "it tried to start another process",
    "Crashes": "it ended with status 3",
}

FAULTS_AT_THE_END = (
    "Traceback",
    "Event loop is closed",
    "Exception ignored",
    "was destroyed",
    "was never awaited",
    "\x1b[2J",
)
"""Texts that `compete` must not print."""


class Competition:
    """The command `compete` as a process."""

    def __init__(self, folder: Path, database: str, namespace: str, length: str, auction: str, contestants: str) -> None:
        self.folder = folder
        (folder / "bots.py").write_text(BOTS)
        text = SEASON.format(length=length, auction=auction, contestants=contestants)
        (folder / "season.toml").write_text(text)
        gateway, feed, engine, clearing = free_ports(4)
        self.gateway, self.feed = f"http://127.0.0.1:{gateway}", f"http://127.0.0.1:{feed}"
        ports = {"gateway": gateway, "feed": feed, "engine": engine, "clearing": clearing}
        flags = [text for name, port in ports.items() for text in (f"--{name}-port", str(port))]
        command = [
            sys.executable,
            "-m",
            "exchange_launcher.cli",
            "compete",
            str(folder / "season.toml"),
            "--out",
            str(folder),
            *([] if available().bubblewrap else ["--trust-bots"]),
        ]
        self.process = subprocess.Popen(
            [*command, "--database", database, "--namespace", namespace, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.round = folder / "live" / "round-1"

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self, seconds: float = 120) -> str:
        output, _ = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0, output
        return output

    def result(self) -> dict[str, Any]:
        return json.loads((self.round / "result.json").read_text())


def contestants(*names: str) -> str:
    return ", ".join(f'{{ name = "{name}", file = "bots.py:{name}" }}' for name in names)


def test_a_bot_that_loops_leaks_forks_or_crashes_loses_its_turn_and_harms_nobody(
    tmp_path: Path, postgres_url: str, postgres_namespace: str
) -> None:
    competition = Competition(
        tmp_path, postgres_url, postgres_namespace, "16s", "2s", contestants("Good", "Errs", "Threads", "Floods", *REMOVED)
    )
    eventually(lambda: httpx.get(f"{competition.feed}/leaderboard").json(), 60)
    output = competition.end()
    result = competition.result()
    standing = {contestant["client_id"]: contestant for contestant in result["ranking"]}
    for name, why in REMOVED.items():
        assert why in standing[name]["ended"], name
        assert why in output
    for name in ("Leaks", "Fills"):
        why = r"it took (more than 200 MB of memory|\d+ MB of memory; 200 are allowed)"
        assert re.fullmatch(why, standing[name]["ended"]), standing[name]["ended"]
    assert standing["Good"]["ended"] == standing["Errs"]["ended"] == ""
    if "; control group" in result["confinement"]["Threads"]:
        assert "can't start new thread" in standing["Threads"]["errors"][0]
    else:
        assert "threads; 64 are allowed" in standing["Threads"]["ended"]
    assert standing["Good"]["fills"] >= 5, "a bot trades in spite of the others"
    assert "that is my own fault" in standing["Errs"]["errors"][0]
    assert "bots.py" in standing["Errs"]["errors"][0]
    assert result["mode"] == "live"
    assert standing["Good"]["errors"] == []
    # A removed bot has no open order.
    reports = [event for event in replay.recorded_events(competition.round) if type(event).__name__ == "OrderReport"]
    for name in REMOVED:
        assert [event.status for event in reports if event.client_id == name][-1] in ("CANCELED", "FILLED"), name


@pytest.mark.parametrize("times", [3])
def test_a_round_ends_without_an_error_if_it_is_complete_or_interrupted(
    tmp_path: Path, postgres_url: str, postgres_namespace: str, times: int
) -> None:
    for number in range(times):
        folder = tmp_path / str(number)
        folder.mkdir()
        playing = contestants("Prints", "Silent")
        competition = Competition(folder, postgres_url, f"{postgres_namespace}{number}_", "6s", "0s", playing)
        if number == 1:
            eventually(lambda competition=competition: httpx.get(f"{competition.feed}/leaderboard").json(), 60)
            competition.process.send_signal(signal.SIGINT)
        output = competition.end()
        assert [text for text in FAULTS_AT_THE_END if text in output] == []
        assert "Silent: it has sent no order" in output
        standing = {contestant["client_id"]: contestant for contestant in competition.result()["ranking"]}
        assert standing["Prints"]["ended"] == ""
        if number != 1:
            lines = (competition.round / "output" / "Prints.txt").read_text().splitlines()
            assert set(lines) == {"hello"}
            curves = competition.round / "report.html"
            assert curves.exists()


@pytest.mark.skipif(not available().bubblewrap, reason=f"contestants are {available()}")
def test_a_hostile_bot_gets_nothing_and_the_round_ends_on_time(
    tmp_path: Path, postgres_url: str, postgres_namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.py").write_text("SECRET = 'strategy'\n")
    playing = contestants("Good", "Hostile") + ', { name = "ships", strategy = "Momentum" }'
    monkeypatch.setenv("SECRET_OF_THE_ORGANISER", "x")
    competition = Competition(tmp_path, postgres_url, postgres_namespace, "8s", "0s", playing)
    text = (tmp_path / "bots.py").read_text()
    gateway_port = competition.gateway.rpartition(":")[2]
    (tmp_path / "bots.py").write_text(f"ROOTS, GATEWAY = ({str(tmp_path)!r},), {gateway_port}\n{text}")
    competition.end()
    lines = (competition.round / "output" / "Hostile.txt").read_text().splitlines()
    assert lines == [
        "secrets []",
        "others failed FileNotFoundError",
        "network failed PermissionError",
        "memory_of_others []",
        "write failed FileNotFoundError",
        "environment failed PermissionError" if available().landlock else "environment []",
        "key []",
    ]
    result = competition.result()
    standing = {contestant["client_id"]: contestant for contestant in result["ranking"]}
    assert standing["Hostile"]["ended"] == standing["Good"]["ended"] == ""
    assert standing["Good"]["fills"] > 0
    assert set(result["confinement"]) == {"Good", "Hostile", "ships"}
    assert all(text.startswith("confined by bubblewrap") for text in result["confinement"].values())
    assert all("control group" in text for text in result["confinement"].values()), "whether there is one, or why not"
    assert "confined by bubblewrap" in (competition.round / "report.html").read_text()


def test_bots_in_files_are_not_run_without_confinement_unless_they_are_trusted(tmp_path: Path) -> None:
    (tmp_path / "bots.py").write_text(BOTS)
    season = tmp_path / "season.toml"
    season.write_text(SEASON.format(length="4s", auction="0s", contestants=contestants("Good")))
    command = [sys.executable, "-m", "exchange_launcher.cli", "compete", str(season), "--out", str(tmp_path)]
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode != 0
    text = " ".join(refused.stderr.split())
    assert "the bot of Good cannot be confined: the program bwrap is missing" in text
    assert "--trust-bots" in text
    assert not (tmp_path / "live").exists()


def test_the_leader_is_chosen_by_the_score_of_the_season() -> None:
    text = SEASON.format(length="9s", auction="1s", contestants=contestants("a", "b"))
    season = parse_season(f"{text}[scoring]\nby = 'profit'\ndrawdown_penalty = 0.5\n")
    leaders = [
        {"client_id": "MarketMaker-1", "profit": "50.00", "equity": "1050.00", "drawdown": "0"},
        {"client_id": "a", "profit": "30.00", "equity": "1030.00", "drawdown": "40.00"},
        {"client_id": "b", "profit": "20.00", "equity": "1020.00", "drawdown": "2.00"},
        {"client_id": "unsettled", "profit": "-1000.00", "equity": "0.00", "drawdown": "0"},
    ]
    assert best_score_text(season, leaders, {"MarketMaker-1"}) == ", best score so far: b with 19.00"
    assert best_score_text(season, leaders[:1], {"MarketMaker-1"}) == ""


def test_the_files_of_a_live_round_can_be_read_and_replayed(
    tmp_path: Path, postgres_url: str, postgres_namespace: str
) -> None:
    competition = Competition(tmp_path, postgres_url, postgres_namespace, "8s", "2s", contestants("Good"))
    competition.end()
    result = competition.result()
    assert result["trades"] > 0
    rows = list(csv.DictReader((competition.round / "fills" / "Good.csv").open()))
    good = next(contestant for contestant in result["ranking"] if contestant["client_id"] == "Good")
    assert len(rows) == good["fills"] > 0
    assert sum(float(row["fee"]) for row in rows) == pytest.approx(-float(good["from_fees"]))
    assert "fundamental value" in (competition.round / "report.html").read_text()
    found = replay.compare(competition.round)
    assert found.differences == []
    assert found.commands > 50


def test_a_round_can_be_paused_resumed_and_ended_early_with_an_external_contestant(
    tmp_path: Path, postgres_url: str, postgres_namespace: str
) -> None:
    outside = '{ name = "outside", external = true }'
    competition = Competition(tmp_path, postgres_url, postgres_namespace, "10m", "0s", outside)

    def state() -> str:
        return str(httpx.get(f"{competition.feed}/securities/X").json()["state"])

    def trades() -> int:
        return int(httpx.get(f"{competition.feed}/stats").json()["trades"])

    eventually(lambda: trades() > 3, 60)
    key = (competition.round / "keys" / "outside.key").read_text()
    order = {"symbol": "X", "side": "buy", "quantity": 1, "order_type": "market"}
    headers = {"Authorization": f"Bearer {key}"}
    assert httpx.post(f"{competition.gateway}/orders", json=order, headers=headers).status_code == 201
    assert httpx.post(f"{competition.gateway}/clients", json={"client_id": "stranger"}).status_code == 403
    competition.send("p")
    eventually(lambda: state() == "halted", 10)
    before = eventually(lambda: (trades() == trades()) and trades())
    assert httpx.post(f"{competition.gateway}/orders", json=order, headers=headers).status_code == 409
    assert trades() == before
    competition.send("p")
    eventually(lambda: state() == "continuous" and trades() > before, 20)
    competition.send("q")
    competition.end(60)
    standing = {contestant["client_id"]: contestant for contestant in competition.result()["ranking"]}
    assert standing["outside"]["fills"] >= 1


def test_no_bot_stays_behind_if_the_process_of_the_round_is_killed(
    tmp_path: Path, postgres_url: str, postgres_namespace: str
) -> None:
    competition = Competition(tmp_path, postgres_url, postgres_namespace, "10m", "0s", contestants("Good"))
    eventually(lambda: httpx.get(f"{competition.feed}/stats").json()["trades"] > 3, 60)
    children = psutil.Process(competition.process.pid).children(recursive=True)
    assert len(children) >= 6
    competition.process.kill()
    competition.process.wait()
    eventually(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children), 60)
