"""A whole exchange with trading bots and real faults: processes are killed, servers stopped, and records doubled.

Witnesses enter orders all the time, each with its own `client_order_id`, and record the answers. After each fault the
exchange must recover without help, and `audit` must be clean. At the end each witness reads all its orders: an accepted
order exists once, and a refused one does not exist.

    ./mx faults --minutes 10 --log rabbitmq
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from exchange_launcher.audit import AuditError
from tests.conftest import delete_streams, drop_databases, new_namespace
from tests.faults.doubler import Doubler
from tests.faults.outcome import Outcome
from tests.faults.proxies import ProxyThread
from tests.faults.witness import Witness
from tests.integration.running import SERVICES, Running, environment, eventually

CLOCK = Path(__file__).parent / "clock"


LOCAL_BROKER_PORT = 5672


class Ordeal:
    """An exchange with faults. `amqp` and `postgres` are URLs of servers. Without them, log and databases are embedded."""

    def __init__(self, seed: int, amqp: str | None = None, postgres: str | None = None, bots: int = 8) -> None:
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.differences: list[str] = []
        """The differences that audits have found, with the fault before them."""
        self._amqp, self._postgres, self._bots = amqp, postgres, bots
        self._namespace = new_namespace() if postgres else ""
        self._proxies: list[ProxyThread] = []
        self.is_local = False
        """Whether the broker runs on this machine, where `rabbitmqctl` controls it."""
        if amqp and postgres:
            # All connections pass through a proxy, so that a fault can cut them.
            places = [urlsplit(url) for url in (amqp, postgres)]
            self.is_local = places[0].port == LOCAL_BROKER_PORT
            self._proxies = [ProxyThread((place.hostname or "", place.port or 0)) for place in places]
            through = [
                url.replace(f":{place.port}", f":{proxy.port}")
                for url, place, proxy in zip((amqp, postgres), places, self._proxies, strict=True)
            ]
            self.running = Running(*through, self._namespace)
        else:
            self.running = Running()
        self._clock = self.running.folder / "clock"
        self._clock.write_text("0")
        self._witnesses: list[Witness] = []
        self._doubler: Doubler | None = None

    @property
    def is_embedded(self) -> bool:
        """Return whether the log and the databases are the embedded ones."""
        return not self._proxies

    # --- running ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the exchange, the bots and the witnesses."""
        self._open()
        for number in range(2):
            witness = Witness(self.running, f"witness-{number}")
            self._witnesses.append(witness)
            witness.start()
        self._until_trading()

    def _open(self) -> None:
        with environment(MX_TEST_CLOCK=str(self._clock), PYTHONPATH=str(CLOCK)):
            self.running.start("--bots", str(self._bots))

    def _until_trading(self) -> None:
        self._until_ready()
        trades = self._trades()
        eventually(lambda: self._trades() > trades, 60, "bots and witnesses trade")

    def _until_ready(self) -> None:
        running = self.running
        for base in (running.engine, running.clearing, running.feed, running.gateway):
            eventually(lambda base=base: running.http.get(f"{base}/health/ready").status_code == 200, 90, f"{base} is ready")

    def _trades(self) -> int:
        return int(self.running.http.get(f"{self.running.feed}/stats").json()["trades"])

    def inject(self, fault: Callable[[], None], name: str = "") -> None:
        """Inject a fault, wait until the exchange trades again, and audit it."""
        fault()
        name = name or fault.__name__
        self.counts[name] += 1
        self._until_trading()
        for attempt in range(3):
            try:
                self.differences += [f"after {name}: {difference}" for difference in self.running.audit()]
                return
            except AuditError:
                if attempt == 2:
                    raise
                time.sleep(1)

    def finish(self) -> Outcome:
        """Stop the bots and the witnesses, audit the idle exchange, and check every order."""
        for witness in self._witnesses:
            witness.stop()
        if self._doubler is not None:
            self._doubler.stop()
        running = self.running
        assert running.stop() == 0, running.output_text()
        self._bots = 0
        self._open()
        running.until_at_rest()
        self.differences += [f"at the end: {difference}" for difference in running.audit(whole=True)]
        answers: Counter[str] = Counter()
        lost: list[str] = []
        twice: list[str] = []
        for witness in self._witnesses:
            answers.update(witness.answers.values())
            wrong, doubled = witness.faults()
            lost += wrong
            twice += doubled
        assert running.stop() == 0, running.output_text()
        return Outcome(
            self.counts, answers, lost, twice, self.differences, sum((w.codes for w in self._witnesses), Counter())
        )

    def recent_output(self) -> str:
        """Return the last lines of the launcher and of the services."""
        logs = sorted((self.running.data / "logs").glob("*.log"))
        ends = [f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines()[-5:]]
        return "\n".join([self.running.output_text()[-2000:], *ends, f"faults so far: {dict(self.counts)}"])

    def close(self) -> None:
        """Stop everything and clean up."""
        for proxy in self._proxies:
            proxy.mend()
        for witness in self._witnesses:
            witness.stop()
        if self._doubler is not None:
            self._doubler.stop()
        self.running.close()
        if self._amqp and self._postgres:
            drop_databases(self._postgres, self._namespace)
            delete_streams(self._amqp, self._namespace)

    # --- faults -------------------------------------------------------------------------------------------------

    def kill_a_service(self) -> None:
        """Kill a service at a random time."""
        time.sleep(self.rng.random())
        self.running.kill(self.rng.choice(SERVICES))

    def kill_all_at_once(self) -> None:
        """Kill the launcher, all services, the bots and the embedded Postgres at once, similar to a power cut."""
        others: list[psutil.Process] = []
        postmaster = self.running.data / "postgres" / "postmaster.pid"
        if postmaster.exists():
            server = psutil.Process(int(postmaster.read_text().split()[0]))
            others = [server, *server.children(recursive=True)]
        self._kill_everything(others)
        self._open()

    def _kill_everything(self, others: list[psutil.Process]) -> None:
        """Kill the launcher, all its child processes, and `others`."""
        assert self.running.process is not None
        launcher = psutil.Process(self.running.process.pid)
        victims = [launcher, *launcher.children(recursive=True), *others]
        for victim in victims:
            with contextlib.suppress(psutil.Error):
                victim.kill()
        self.running.process.wait(30)
        psutil.wait_procs(victims[1:], 30)

    def stop_and_start(self) -> None:
        """Stop the exchange under load and start it again."""
        assert self.running.stop() == 0, self.running.output_text()
        self._open()

    def stop_the_broker(self, seconds: float = 20) -> None:
        """Stop the broker under load and start it again."""
        subprocess.run(["rabbitmqctl", "-q", "stop_app"], check=True, capture_output=True)
        time.sleep(seconds)
        subprocess.run(["rabbitmqctl", "-q", "start_app"], check=True, capture_output=True)
        subprocess.run(["rabbitmqctl", "-q", "await_startup"], check=True, capture_output=True)

    def kill_the_broker(self) -> None:
        """Kill the broker and the whole exchange at once. Confirmed records must exist afterwards."""
        broker: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name() == "beam.smp" and any("rabbit" in word for word in process.cmdline()):
                    broker.append(process)
        self._kill_everything(broker)
        subprocess.run(["rabbitmq-server", "-detached"], check=True, capture_output=True)
        eventually(can_stop_the_broker, 60, "the broker runs again")
        subprocess.run(["rabbitmqctl", "-q", "await_startup"], check=True, capture_output=True)
        self._open()

    def cut_the_broker(self) -> None:
        """Cut all connections to the broker several times in a row."""
        self._cut(self._proxies[0], 3, 0.7)

    def cut_the_database(self) -> None:
        """Cut all connections to Postgres several times in a row."""
        self._cut(self._proxies[1], 3, 0.7)

    def make_the_database_unreachable(self, seconds: float = 20) -> None:
        """Make Postgres unreachable for some time."""
        self._cut(self._proxies[1], 1, seconds)

    def _cut(self, proxy: ProxyThread, times: int, seconds: float) -> None:
        for _ in range(times):
            proxy.cut()
            time.sleep(seconds * (1 if times == 1 else self.rng.random()))
            proxy.mend()
            time.sleep(self.rng.random() * 0.5)

    def kill_postgres(self) -> None:
        """Kill the embedded server. The launcher starts it again."""
        postmaster = int((self.running.data / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        time.sleep(1)

    def suspend_postgres(self, seconds: float = 20) -> None:
        """Suspend all processes of the embedded server, as on a machine that hangs."""
        server = psutil.Process(int((self.running.data / "postgres" / "postmaster.pid").read_text().split()[0]))
        family = [server, *server.children()]
        for process in family:
            process.suspend()
        time.sleep(seconds)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.resume()

    def damage_the_snapshot(self) -> None:
        """Truncate the newest snapshot or flip a bit in it, then kill the engine."""
        engine = self.running.pids()["matching_engine"]
        os.kill(engine, signal.SIGSTOP)
        newest = max((self.running.data / "engine").glob("snapshot-*.bin"), default=None)
        if newest is not None:
            content = bytearray(newest.read_bytes())
            if self.rng.random() < 0.5:
                content = content[: self.rng.randrange(len(content))]
            else:
                content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
            newest.write_bytes(bytes(content))
        os.kill(engine, signal.SIGKILL)
        eventually(lambda: self.running.pids().get("matching_engine", engine) != engine, 30, "the engine is started again")

    def set_the_clock_back(self) -> None:
        """Restart the gateway with a clock that is an hour behind, then with the right clock."""
        for offset_seconds in ("-3600", "0"):
            self._clock.write_text(offset_seconds)
            self.running.kill("order_entry_gateway")
            self._until_ready()

    def deliver_twice(self) -> None:
        """From now on repeat every record, in batches of random size."""
        if self._doubler is None:
            running = self.running
            server = running.server
            self._doubler = Doubler(running.log or server, self._namespace, self.rng.randrange(1 << 30))


def can_stop_the_broker() -> bool:
    """Return whether `rabbitmqctl` can control a RabbitMQ on this machine."""
    if shutil.which("rabbitmqctl") is None:
        return False
    return subprocess.run(["rabbitmqctl", "-q", "status"], capture_output=True, check=False).returncode == 0


def faults_of(ordeal: Ordeal) -> list[Callable[[], None]]:
    """Return the faults of a long run. A fault that is in the list several times is more frequent."""
    common = [ordeal.kill_a_service] * 6
    common += [ordeal.damage_the_snapshot, ordeal.set_the_clock_back, ordeal.stop_and_start, ordeal.kill_all_at_once]
    if ordeal.is_embedded:
        return [*common, ordeal.kill_postgres, ordeal.suspend_postgres]
    network_faults = [ordeal.cut_the_broker, ordeal.cut_the_database, ordeal.make_the_database_unreachable]
    return [
        *common,
        *network_faults,
        *([ordeal.stop_the_broker, ordeal.kill_the_broker] if ordeal.is_local and can_stop_the_broker() else []),
    ]


def main() -> int:
    """Run an ordeal and print its result."""
    parser = argparse.ArgumentParser(prog="mx faults", description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--kills", type=int, default=0, help="only kill services, this number of times")
    parser.add_argument("--log", choices=("embedded", "rabbitmq"), default="embedded")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    embedded = options.log == "embedded"
    servers = () if embedded else ("amqp://guest:guest@127.0.0.1:5672/%2f", "postgresql://postgres@127.0.0.1:5432")
    sys.stdout.write(f"seed {options.seed}, {options.log} log\n")
    ordeal = Ordeal(options.seed, *servers)
    try:
        ordeal.start()
        end = time.monotonic() + options.minutes * 60
        if options.kills:
            for _ in range(options.kills):
                ordeal.inject(ordeal.kill_a_service)
        else:
            ordeal.inject(ordeal.deliver_twice)
            while time.monotonic() < end:
                ordeal.inject(ordeal.rng.choice(faults_of(ordeal)))
        outcome = ordeal.finish()
    except BaseException:
        sys.stdout.write(f"{ordeal.recent_output()}\n")
        raise
    finally:
        ordeal.close()
    sys.stdout.write(f"{outcome}\n")
    return 0 if outcome.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
