"""A whole exchange with bots trading, and faults injected for real: processes killed, servers stopped, records doubled.

Witnesses enter orders all the while, each under a name of its own, and remember what they were told. After each fault the
exchange must come back by itself, and `audit` must be clean. At the end each witness asks for every order: what was accepted
lives on, once; what was refused is nowhere.

    ./mx faults --minutes 10 --log rabbitmq
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from exchange_launcher.audit import AuditError
from microexchange.batches import Batch, decode_batch, encode_batch
from microexchange.log import LogUnavailableError, open_log
from microexchange.records import TOPICS
from tests.conftest import Proxy, delete_streams, drop_databases, new_namespace
from tests.integration.running import SERVICES, Running, eventually

CLOCK = Path(__file__).parent / "clock"


class Witness:
    """A client that remembers what it was told of each of its orders."""

    def __init__(self, running: Running, name: str) -> None:
        self._running = running
        self.name = name
        self.headers = running.open_account(name)
        self.told: dict[str, str] = {}
        """`accepted`, `refused` or `unknown`, by the order's name."""
        self.codes: Counter[str] = Counter()
        """How often each refusal was heard."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._trade, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _trade(self) -> None:
        rng = random.Random(self.name)
        with httpx.Client(timeout=20) as http:
            for number in itertools.count(1):
                if self._stop.is_set():
                    return
                name = f"{self.name}-{number}"
                side, price = rng.choice((("buy", "1.00"), ("buy", "900.00"), ("sell", "1.00"), ("sell", "900.00")))
                order = {"symbol": "AAPL", "side": side, "quantity": 1, "price": price, "client_order_id": name}
                if (side, price) in (("buy", "900.00"), ("sell", "1.00")):
                    order["order_type"] = "ioc"
                self.told[name] = self._enter(http, order)
                if number % 40 == 0:
                    with contextlib.suppress(httpx.HTTPError):
                        http.delete(f"{self._running.gateway}/orders", headers=self.headers)
                time.sleep(0.01)

    def _enter(self, http: httpx.Client, order: dict[str, Any]) -> str:
        try:
            answer = http.post(f"{self._running.gateway}/orders", json=order, headers=self.headers)
            if answer.status_code == 201:
                return "accepted"
            code = answer.json()["error"]["code"]
        except httpx.ConnectError:
            time.sleep(0.1)
            return "refused"  # nobody was there to take it
        except (httpx.HTTPError, ValueError, KeyError):
            return "unknown"  # the connection broke: who knows
        self.codes[code] += 1
        if answer.status_code == 503:
            assert answer.headers["Retry-After"]
            time.sleep(0.1)
            return "refused"
        # The engine's refusals leave a report; an answer that did not come in time says nothing.
        return "unknown" if code == "OUTCOME_UNKNOWN" else "rejected"

    def faults(self) -> tuple[list[str], list[str]]:
        """Asks for all orders. What was lost or is there though it was refused, and what is there twice."""
        found: Counter[str] = Counter()
        statuses: dict[str, str] = {}
        before = ""
        while before is not None:
            query = f"limit=1000&before={before}" if before else "limit=1000"
            page = self._running.http.get(f"{self._running.gateway}/orders?{query}", headers=self.headers).json()
            for order in page["orders"]:
                found[order["client_order_id"]] += 1
                statuses[order["client_order_id"]] = order["status"]
            before = page["next_before"]
        wrong = [
            f"{name} was {told}, and is {statuses.get(name, 'nowhere')}"
            for name, told in self.told.items()
            if (told == "accepted" and statuses.get(name) in (None, "REJECTED", "PENDING_NEW"))
            or (told == "refused" and name in statuses)
            or (told == "rejected" and statuses.get(name) != "REJECTED")
        ]
        return wrong, [name for name, count in found.items() if count > 1]


class ProxyThread:
    """A `Proxy` for those who have no event loop."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._proxy = Proxy(target)
        self.mend()

    @property
    def port(self) -> int:
        return self._proxy.port

    def mend(self) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.mend(), self._loop).result(10)

    def cut(self) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.cut(), self._loop).result(10)


LOCAL_BROKER_PORT = 5672


class Ordeal:
    """An exchange under faults. `amqp` and `postgres` name servers; without them everything is embedded."""

    def __init__(self, seed: int, amqp: str | None = None, postgres: str | None = None, bots: int = 8) -> None:
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.found: list[str] = []
        """What an audit has found, with the fault before it."""
        self._amqp, self._postgres, self._bots = amqp, postgres, bots
        self._namespace = new_namespace() if postgres else ""
        self._ways: list[ProxyThread] = []
        self.is_local = False
        """Whether the broker is this machine's, which `rabbitmqctl` speaks with."""
        if amqp and postgres:
            # All connections pass here, so that a test can cut them.
            places = [urlsplit(url) for url in (amqp, postgres)]
            self.is_local = places[0].port == LOCAL_BROKER_PORT
            self._ways = [ProxyThread((place.hostname or "", place.port or 0)) for place in places]
            through = [
                url.replace(f":{place.port}", f":{way.port}")
                for url, place, way in zip((amqp, postgres), places, self._ways, strict=True)
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
        """Whether the log and the databases are the embedded ones."""
        return not self._ways

    # --- running ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the exchange, the bots and the witnesses."""
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
        """A fault, and what must follow: the exchange trades again by itself, and every cent is there."""
        fault()
        name = name or fault.__name__
        self.counts[name] += 1
        self._until_trading()
        for attempt in range(3):
            try:
                self.found += [f"after {name}: {difference}" for difference in self.running.audit()]
                return
            except AuditError:
                if attempt == 2:
                    raise
                time.sleep(1)

    def finish(self) -> "Outcome":
        """Lets everything come to rest, and asks for every order."""
        for witness in self._witnesses:
            witness.stop()
        if self._doubler is not None:
            self._doubler.stop()
        running = self.running
        assert running.stop() == 0, running.output_text()
        self._bots = 0
        self._open()
        running.until_at_rest()
        self.found += [f"at the end: {difference}" for difference in running.audit(whole=True)]
        told: Counter[str] = Counter()
        lost: list[str] = []
        twice: list[str] = []
        for witness in self._witnesses:
            told.update(witness.told.values())
            wrong, doubled = witness.faults()
            lost += wrong
            twice += doubled
        assert running.stop() == 0, running.output_text()
        return Outcome(self.counts, told, lost, twice, self.found, sum((w.codes for w in self._witnesses), Counter()))

    def last_words(self) -> str:
        """What the launcher and the services said last."""
        logs = sorted((self.running.data / "logs").glob("*.log"))
        ends = [f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines()[-5:]]
        return "\n".join([self.running.output_text()[-2000:], *ends, f"faults so far: {dict(self.counts)}"])

    def close(self) -> None:
        """Ends everything, and cleans up."""
        for way in self._ways:
            way.mend()
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
        """SIGKILL, at a random moment."""
        time.sleep(self.rng.random())
        self.running.kill(self.rng.choice(SERVICES))

    def kill_all_at_once(self) -> None:
        """Every process of the exchange, its launcher, its bots and its Postgres: as near to a power cut as it goes."""
        others: list[psutil.Process] = []
        postmaster = self.running.data / "postgres" / "postmaster.pid"
        if postmaster.exists():
            server = psutil.Process(int(postmaster.read_text().split()[0]))
            others = [server, *server.children(recursive=True)]
        self._kill_everything(others)
        self._open()

    def _kill_everything(self, others: list[psutil.Process]) -> None:
        """SIGKILL for the launcher, all that it has started, and `others`."""
        assert self.running.process is not None
        launcher = psutil.Process(self.running.process.pid)
        victims = [launcher, *launcher.children(recursive=True), *others]
        for victim in victims:
            with contextlib.suppress(psutil.Error):
                victim.kill()
        self.running.process.wait(30)
        psutil.wait_procs(victims[1:], 30)

    def stop_and_start(self) -> None:
        """SIGTERM under load, and a start."""
        assert self.running.stop() == 0, self.running.output_text()
        self._open()

    def stop_the_broker(self, seconds: float = 20) -> None:
        """The broker goes away in the middle of it all, and comes back."""
        subprocess.run(["rabbitmqctl", "-q", "stop_app"], check=True, capture_output=True)
        time.sleep(seconds)
        subprocess.run(["rabbitmqctl", "-q", "start_app"], check=True, capture_output=True)
        subprocess.run(["rabbitmqctl", "-q", "await_startup"], check=True, capture_output=True)

    def kill_the_broker(self) -> None:
        """SIGKILL for the broker and the whole exchange at once: what was confirmed must be there when both are back."""
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
        """All connections to the broker are cut, some times in a row."""
        self._cut(self._ways[0], 3, 0.7)

    def cut_the_database(self) -> None:
        """All connections to Postgres are cut, some times in a row."""
        self._cut(self._ways[1], 3, 0.7)

    def take_the_database_away(self, seconds: float = 20) -> None:
        """Postgres cannot be reached for a while."""
        self._cut(self._ways[1], 1, seconds)

    def _cut(self, way: ProxyThread, times: int, seconds: float) -> None:
        for _ in range(times):
            way.cut()
            time.sleep(seconds * (1 if times == 1 else self.rng.random()))
            way.mend()
            time.sleep(self.rng.random() * 0.5)

    def kill_postgres(self) -> None:
        """SIGKILL for the embedded server, which the launcher starts again."""
        postmaster = int((self.running.data / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        time.sleep(1)

    def take_postgres_away(self, seconds: float = 20) -> None:
        """The embedded server and all its processes stand still, as under a machine that hangs."""
        server = psutil.Process(int((self.running.data / "postgres" / "postmaster.pid").read_text().split()[0]))
        family = [server, *server.children()]
        for process in family:
            process.suspend()
        time.sleep(seconds)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.resume()

    def damage_the_snapshot(self) -> None:
        """The newest snapshot is cut short, or a bit in it flipped; then the engine is killed."""
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
        """The gateway is killed, and started again with a clock that is an hour behind; later with one that is right."""
        for off in ("-3600", "0"):
            self._clock.write_text(off)
            self.running.kill("order_entry_gateway")
            self._until_ready()

    def deliver_twice(self) -> None:
        """From now on every record comes twice, in batches that are cut at random."""
        if self._doubler is None:
            running = self.running
            server = running.server
            self._doubler = Doubler(running.log or server, self._namespace, self.rng.randrange(1 << 30))


class Doubler:
    """Writes every body on the log once more, or a part of it."""

    def __init__(self, log: str, namespace: str, seed: int) -> None:
        self._arguments = (log, namespace, seed)
        self._stop = threading.Event()
        self.records = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._double(topic)) for topic in TOPICS]
        while not self._stop.is_set():
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _double(self, topic: str) -> None:
        url, namespace, seed = self._arguments
        rng, log = random.Random(seed), open_log(url, namespace)
        mine: set[bytes] = set()
        try:
            while True:
                with contextlib.suppress(LogUnavailableError):
                    offset = await log.tail(topic)
                    break
            async for entries in log.read(topic, offset):
                for _, body in entries:
                    if body in mine:
                        mine.discard(body)
                        continue
                    batch = decode_batch(topic, body)
                    cut = rng.randrange(len(batch.records)) if batch.records and rng.random() < 0.5 else 0
                    rest = batch.records[cut:]
                    part = Batch(
                        batch.version, batch.producer, batch.fencing_token, batch.sequence + cut, batch.stamp + 1, rest
                    )
                    copy = encode_batch(part)
                    mine.add(copy)
                    with contextlib.suppress(LogUnavailableError):
                        await log.append(topic, [copy])
                        self.records += len(batch.records)
        finally:
            await log.close()


class Outcome:
    """What came of it all."""

    def __init__(
        self,
        faults: Counter[str],
        told: Counter[str],
        lost: list[str],
        twice: list[str],
        found: list[str],
        codes: Counter[str],
    ) -> None:
        self.faults, self.told, self.lost, self.twice, self.found, self.codes = faults, told, lost, twice, found, codes

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, doubled or miscounted."""
        return not (self.lost or self.twice or self.found)

    def __str__(self) -> str:
        lines = [
            "faults injected: "
            + f"{self.faults.total()} ("
            + ", ".join(f"{count} x {name.replace('_', ' ')}" for name, count in sorted(self.faults.items()))
            + ")",
            f"orders accepted: {self.told['accepted']}, rejected by the engine: {self.told['rejected']}, "
            f"refused with nothing sent: {self.told['refused']}, without an answer: {self.told['unknown']}",
            f"orders lost, or there though refused: {len(self.lost)}",
            f"orders twice: {len(self.twice)}",
            f"audit: {'clean after each fault' if not self.found else f'{len(self.found)} differences'}",
        ]
        return "\n".join([*lines, *self.lost[:10], *self.twice[:10], *self.found[:10]])


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """These variables, for the processes that are started in the block."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def can_stop_the_broker() -> bool:
    """Whether this machine's RabbitMQ obeys us."""
    if shutil.which("rabbitmqctl") is None:
        return False
    return subprocess.run(["rabbitmqctl", "-q", "status"], capture_output=True, check=False).returncode == 0


def faults_of(ordeal: Ordeal) -> list[Callable[[], None]]:
    """The faults of a long run; those that stand here twice happen twice as often."""
    common = [ordeal.kill_a_service] * 6
    common += [ordeal.damage_the_snapshot, ordeal.set_the_clock_back, ordeal.stop_and_start, ordeal.kill_all_at_once]
    if ordeal.is_embedded:
        return [*common, ordeal.kill_postgres, ordeal.take_postgres_away]
    away = [ordeal.cut_the_broker, ordeal.cut_the_database, ordeal.take_the_database_away]
    return [
        *common,
        *away,
        *([ordeal.stop_the_broker, ordeal.kill_the_broker] if ordeal.is_local and can_stop_the_broker() else []),
    ]


def main() -> int:
    """Runs an ordeal for some minutes, and prints what came of it."""
    parser = argparse.ArgumentParser(prog="mx faults", description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--kills", type=int, default=0, help="kill services this often in a row, and nothing else")
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
        sys.stdout.write(f"{ordeal.last_words()}\n")
        raise
    finally:
        ordeal.close()
    sys.stdout.write(f"{outcome}\n")
    return 0 if outcome.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
