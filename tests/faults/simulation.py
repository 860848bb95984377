"""The whole exchange in one thread, without a clock: all four cores on a log in memory, and a scheduler that means them ill.

A seed decides everything: who goes on next, which append arrives, is lost, arrives twice, arrives late; who crashes, and
what is left of it; when a stale engine still writes beside its successor; when a gateway's clock is set back an hour. At the
end all heal, and the books are compared with those of an engine that read the same commands undisturbed. The same seed gives
the same schedule, to the byte.

    python -m tests.faults.simulation --schedules 1000 --seed 1
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import msgspec

from clearinghouse.ledger import Ledger
from market_data_feed.market import Market
from matching_engine import state
from matching_engine.engine import Engine
from matching_engine.snapshots import Snapshot
from microexchange.batches import CLEARING, ENGINE, VERSION, Batch, decode_batch, encode_batch, gateway_name
from microexchange.commands import CancelOrder, Command, GatewayLogon, ListSecurity, NewOrder, OpenAccount, TransferAssets
from microexchange.enums import OrderStatus, OrderType, SettlementStatus, Side
from microexchange.ids import IdSequence
from microexchange.instructions import Execution, Transfer
from microexchange.producer_cursors import ProducerCursor, ProducerCursors, SequenceGapError
from microexchange.records import DATA_FEED, ORDER_ENTRY, ORDER_EXECUTION, TOPICS, Record
from microexchange.reports import GatewayLoggedOn, OrderReport, SettlementReport

HOUR = 3600 * 10**9
CLIENTS = ("a", "b", "c", "d")
STEPS = 500


class World:
    """The log, the network in front of it, the time, and all that runs."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 1_800_000_000 * 10**9
        self.log: dict[str, list[bytes]] = {topic: [] for topic in TOPICS}
        self.late: list[tuple[str, bytes]] = []
        """Bodies that were sent, and may still arrive."""
        self.healed = False
        self.faults = 0
        self.gateways = [GatewayNode(self, 0), GatewayNode(self, 1)]
        self.engine = EngineNode(self)
        self.stale: list[EngineNode] = []
        """Engines that were replaced, and have not noticed yet."""
        self.clearing = ClearingNode(self)
        self.feed = FeedNode(self)
        self.acknowledged: dict[int, Command] = {}
        self.refused: dict[int, Command] = {}

    def chance(self, probability: float) -> bool:
        """Whether a fault happens now."""
        if self.healed or self.rng.random() >= probability:
            return False
        self.faults += 1
        return True

    def run(self) -> None:
        """A schedule, and the peace after it. Raises `AssertionError` where something was lost, doubled or made up."""
        for _ in range(STEPS):
            self.now += self.rng.randrange(2_000_000)
            self.rng.choice(self.choices())()
        self.healed = True
        self.late.clear()
        self.stale.clear()
        before: tuple[int, ...] = ()
        while (after := tuple(len(bodies) for bodies in self.log.values())) != before or self.busy():
            before = after
            for gateway in self.gateways:
                gateway.listen()
                gateway.flush()
            self.engine.read()
            self.engine.flush()
            self.clearing.settle()
            self.clearing.flush()
            self.feed.read()
            self.feed.store()
        check(self)

    def choices(self) -> list[Callable[[], None]]:
        """What may happen next; what stands here twice happens twice as often."""
        engine, clearing, feed = self.engine, self.clearing, self.feed
        usual: list[Callable[[], None]] = [engine.read, engine.flush, clearing.settle, clearing.flush, feed.read, feed.store]
        for gateway in self.gateways:
            usual += [gateway.ask, gateway.ask, gateway.flush, gateway.listen]
        usual += [engine.begin_snapshot, engine.finish_snapshot]
        for stale in self.stale:
            usual += [stale.read, stale.flush, stale.flush]
        nodes = (*self.gateways, engine, clearing, feed)
        return [*usual * 8, self.arrive, self.replace_engine, *(node.crash for node in nodes)]

    def arrive(self) -> None:
        """Something late arrives."""
        if self.late:
            topic, body = self.late.pop(self.rng.randrange(len(self.late)))
            self.log[topic].append(body)

    def replace_engine(self) -> None:
        """A second engine starts, while the first is alive and does not know of it; or one that was replaced stops."""
        if self.stale:
            self.stale.pop()
        elif self.chance(0.5):
            old = self.engine
            self.engine = EngineNode(self, old.fencing_token + 1, old.snapshots)
            self.stale.append(old)

    def busy(self) -> bool:
        """Whether anybody has something to do."""
        pipes = [self.engine.instructions, self.engine.reports, *(gateway.commands for gateway in self.gateways)]
        readers = ((self.engine, ORDER_ENTRY), (self.clearing, ORDER_EXECUTION), (self.feed, DATA_FEED))
        return any(pipe.waiting for pipe in pipes) or any(node.offset < len(self.log[topic]) for node, topic in readers)


class Pipe:
    """What an outbox does: numbered records in bodies, one append at a time, sent again until it is confirmed."""

    def __init__(self, world: World, topic: str, producer: str, fencing_token: int, sequence: int = 1) -> None:
        self._world = world
        self._topic = topic
        self._producer = producer
        self._fencing_token = fencing_token
        self.confirmed = sequence
        """The number of the first record that is not confirmed yet."""
        self.waiting: list[Sequence[Record]] = []
        self._sent: int = 0
        """How many of `waiting` are in the body that may be on the log already."""

    @property
    def next_sequence(self) -> int:
        """The number of the next record."""
        return self.confirmed + sum(map(len, self.waiting))

    def announce(self) -> None:
        """Tells readers of the fencing_token."""
        self._world.log[self._topic].append(self._body([]))

    def _body(self, records: list[Record]) -> bytes:
        return encode_batch(Batch(VERSION, self._producer, self._fencing_token, self.confirmed, 0, records))

    def flush(self) -> list[Sequence[Record]]:
        """Appends; what is confirmed by it."""
        world = self._world
        if not self.waiting:
            return []
        count = self._sent or world.rng.randint(1, len(self.waiting))
        puts = self.waiting[:count]
        body = self._body([record for put in puts for record in put])
        if world.chance(0.12):
            # The body may be on the log, and nobody says so.
            self._sent = count
            if world.rng.random() < 0.5:
                world.log[self._topic].append(body)
            elif world.rng.random() < 0.7:
                world.late.append((self._topic, body))
            return []
        world.log[self._topic].append(body)
        if world.chance(0.05):
            world.log[self._topic].append(body)
        self.confirmed += sum(map(len, puts))
        self.waiting, self._sent = self.waiting[count:], 0
        return puts

    def withdraw(self) -> list[Sequence[Record]]:
        """Gives back what was certainly not sent."""
        kept, given_back = self.waiting[: self._sent], self.waiting[self._sent :]
        self.waiting = kept
        return given_back


class GatewayNode:
    """A gateway and its clients."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number, self.fencing_token = world, number, 0
        self._clock_is_off = 0
        self.start()

    def start(self) -> None:
        world = self.world
        self.fencing_token += 1  # kept in its folder
        self.commands = Pipe(world, ORDER_ENTRY, gateway_name(self.number), self.fencing_token)
        self._ids = IdSequence(self.number)
        self._offset = 0
        self._cursors = ProducerCursors()
        self.logged_on = False
        self._open: list[tuple[str, int]] = []
        self.commands.waiting.append([GatewayLogon(0, self._now(), self.number, self.fencing_token)])

    def crash(self) -> None:
        """It is killed: nothing of it is left. Its clock may be another one afterwards."""
        if self.world.chance(0.5):
            self._clock_is_off = self.world.rng.choice((0, 0, -HOUR, HOUR))
            self.start()

    def _now(self) -> int:
        return self.world.now + self._clock_is_off

    def ask(self) -> None:
        """A client asks for something."""
        if not self.logged_on:
            return
        rng, now = self.world.rng, self._now()
        command_id, client = self._ids.next(now), rng.choice(CLIENTS)
        draw = rng.random()
        command: Command
        if self.number == 0 and command_id and not self._has_listed():
            command = ListSecurity(command_id, now, "X", "X", "0.01", "1", 100, band_bps=rng.choice((0, 300)))
        elif draw < 0.15:
            command = OpenAccount(command_id, now, client, 10**9 * 5, {"X": 20})
        elif draw < 0.2:
            command = TransferAssets(command_id, now, client, rng.randint(-(10**9), 10**9), {"X": rng.randint(-5, 5)})
        elif draw < 0.35 and self._open:
            command = CancelOrder(command_id, now, *rng.choice(self._open))
        else:
            side, price = rng.choice(list(Side)), rng.randint(97, 103)
            command = NewOrder(command_id, now, client, "X", side, OrderType.LIMIT, rng.randint(1, 9), price)
            self._open.append((client, command_id))
        self.commands.waiting.append([command])

    def _has_listed(self) -> bool:
        return len(self.world.log[ORDER_ENTRY]) > 2 and self.world.rng.random() < 0.98

    def flush(self) -> None:
        """Sends; or finds that the log is away, and tells its clients that nothing was sent."""
        world = self.world
        if world.chance(0.05):
            for (command,) in self.commands.withdraw():
                if isinstance(command, GatewayLogon):
                    self.commands.waiting.append([command])
                else:
                    world.refused[command.command_id] = command  # type: ignore[attr-defined]
            return
        for (command,) in self.commands.flush():
            if not isinstance(command, GatewayLogon):
                world.acknowledged[command.command_id] = command  # type: ignore[attr-defined]

    def listen(self) -> None:
        """Hears what the engine says."""
        for offset, batch in bodies(self.world, DATA_FEED, self._offset):
            self._offset = offset + 1
            for report in fresh(self._cursors, batch):
                if isinstance(report, GatewayLoggedOn) and report.gateway == self.number:
                    assert report.fencing_token <= self.fencing_token, "there is one gateway of this number"
                    if report.fencing_token == self.fencing_token:
                        self._ids.raise_floor(report.last_command_id)
                        self.logged_on = True


class EngineNode:
    """The matching engine. What outlives it: its fencing token and its snapshots."""

    def __init__(self, world: World, fencing_token: int = 1, snapshots: list[bytes] | None = None) -> None:
        self.world, self.fencing_token = world, fencing_token
        self.snapshots: list[bytes] = snapshots or []
        self.start()

    def start(self) -> None:
        snapshot = Snapshot(0, 1, 1, state.take(Engine()))
        if self.snapshots:
            if self.world.chance(0.1):
                self.snapshots.pop()  # it was damaged: the one before is used
            if self.snapshots:
                snapshot = msgspec.msgpack.decode(self.snapshots[-1], type=Snapshot)
        self.core = state.restore(snapshot.state)
        self.offset = snapshot.offset
        self.instructions = Pipe(self.world, ORDER_EXECUTION, ENGINE, self.fencing_token, snapshot.instruction_sequence)
        self.reports = Pipe(self.world, DATA_FEED, ENGINE, self.fencing_token, snapshot.report_sequence)
        self.instructions.announce()
        self.reports.announce()
        self._begun: Snapshot | None = None

    def crash(self) -> None:
        """It is killed, and started again."""
        if self.world.chance(0.5):
            self.fencing_token += 1
            self.start()

    def read(self) -> None:
        """Applies some of what is on the log."""
        for offset, batch in bodies(self.world, ORDER_ENTRY, self.offset):
            self.offset = offset + 1
            for command in self.core.fresh(batch):
                events = self.core.apply(command)
                settle = [event for event in events if isinstance(event, (Execution, Transfer))]
                tell = [event for event in events if not isinstance(event, (Execution, Transfer))]
                for pipe, records in ((self.instructions, settle), (self.reports, tell)):
                    if records:
                        pipe.waiting.append(records)

    def flush(self) -> None:
        """Appends some of what it has to say, to one topic or to both."""
        for pipe in self.world.rng.sample((self.instructions, self.reports), 2):
            pipe.flush()
            if self.world.chance(0.3):
                return

    def begin_snapshot(self) -> None:
        """Takes the state of this moment."""
        sequences = self.instructions.next_sequence, self.reports.next_sequence
        encoded = msgspec.msgpack.encode(Snapshot(self.offset, *sequences, state.take(self.core)))
        self._begun = msgspec.msgpack.decode(encoded, type=Snapshot)

    def finish_snapshot(self) -> None:
        """Keeps it, once all that was said until then is confirmed."""
        begun = self._begun
        if (
            begun is not None
            and self.instructions.confirmed >= begun.instruction_sequence
            and self.reports.confirmed >= begun.report_sequence
            and self not in self.world.stale
        ):
            self.snapshots.append(msgspec.msgpack.encode(begun))
            self._begun = None


class ClearingNode:
    """The clearinghouse. What outlives it is what it committed."""

    def __init__(self, world: World) -> None:
        self.world, self.fencing_token = world, 0
        self._committed: tuple[int, dict[str, ProducerCursor], dict[str, int], dict[tuple[str, str], int], int] = (
            0,
            {},
            {},
            {},
            0,
        )
        self.settled: list[tuple[Record, SettlementReport]] = []
        """The rows of its database."""
        self.start()

    def start(self) -> None:
        self.fencing_token += 1
        offset, producers, cash, holdings, reported = self._committed
        self.offset = offset
        self._cursors = ProducerCursors({name: copy(cursor) for name, cursor in producers.items()})
        self.ledger = Ledger()
        self.ledger.cash.update(cash)
        self.ledger.holdings.update(holdings)
        self.reports = Pipe(self.world, DATA_FEED, CLEARING, self.fencing_token, reported + 1)
        self.reports.announce()
        # What may not have been reported is reported again.
        for _, report in self.settled[reported:]:
            self.reports.waiting.append([report])

    def crash(self) -> None:
        """It is killed, and started again."""
        if self.world.chance(0.5):
            self.start()

    def settle(self) -> None:
        """Settles some of what is on the log, commits, and reports."""
        settled: list[tuple[Record, SettlementReport]] = []
        for offset, batch in bodies(self.world, ORDER_EXECUTION, self.offset):
            self.offset = offset + 1
            taken = fresh(self._cursors, batch)
            first = self._cursors.by_producer[batch.producer].sequence - len(taken) + 1
            settled += [(one, self.ledger.settle(number, one)) for number, one in enumerate(taken, first)]
        if self.world.chance(0.05):
            self.start()  # killed before the commit
            return
        producers = {name: copy(cursor) for name, cursor in self._cursors.by_producer.items()}
        reported = self.reports.confirmed - 1
        self._committed = self.offset, producers, dict(self.ledger.cash), dict(self.ledger.holdings), reported
        self.settled += settled
        self.ledger.moves_taken()
        if self.world.chance(0.05):
            self.start()  # killed after it
            return
        self.reports.waiting += [[report] for _, report in settled]

    def flush(self) -> None:
        """Appends reports."""
        self.reports.flush()


class FeedNode:
    """The market-data feed. What outlives it are the reports that it stored."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stored: list[Record] = []
        self._committed: tuple[int, dict[str, ProducerCursor]] = (0, {})
        self.start()

    def start(self) -> None:
        self.offset, producers = self._committed
        self._cursors = ProducerCursors({name: copy(cursor) for name, cursor in producers.items()})
        self._pending: list[Record] = []
        self.market = Market()
        for report in self.stored:
            self.market.apply(report)

    def crash(self) -> None:
        """It is killed, and started again."""
        if self.world.chance(0.5):
            self.start()

    def read(self) -> None:
        """Takes in some of what is on the log."""
        for offset, batch in bodies(self.world, DATA_FEED, self.offset):
            self.offset = offset + 1
            for report in fresh(self._cursors, batch):
                self.market.apply(report)
                self._pending.append(report)

    def store(self) -> None:
        """Commits what it has read."""
        self.stored += self._pending
        self._pending = []
        producers = {name: copy(cursor) for name, cursor in self._cursors.by_producer.items()}
        self._committed = self.offset, producers


def bodies(world: World, topic: str, offset: int) -> list[tuple[int, Batch[Any]]]:
    """Some of the next bodies of a topic; all of them once all is well."""
    most = len(world.log[topic]) if world.healed else world.rng.randint(0, 6)
    return [(at, decode_batch(topic, body)) for at, body in enumerate(world.log[topic][offset : offset + most], offset)]


def fresh(cursors: ProducerCursors, batch: Batch[Any]) -> list[Any]:
    """The records that are new; none where some are missing before them."""
    try:
        return cursors.take(batch)
    except SequenceGapError:
        return []


def check(world: World) -> None:
    """All that must be true when everything is at rest."""
    core = Engine()
    events: list[Any] = []
    applied: dict[int, Command] = {}
    for body in world.log[ORDER_ENTRY]:
        for command in core.fresh(decode_batch(ORDER_ENTRY, body)):
            caused = core.apply(command)
            events += caused
            if caused:
                applied[command.command_id] = command
    instructions = [event for event in events if isinstance(event, (Execution, Transfer))]
    reports = [event for event in events if not isinstance(event, (Execution, Transfer))]
    told = [report for report in world.feed.stored if not isinstance(report, SettlementReport)]

    assert state.take(world.engine.core) == state.take(core), "the engine is where an undisturbed one is"
    assert [instruction for instruction, _ in world.clearing.settled] == instructions, "each is settled once, in order"
    assert all(report.status is SettlementStatus.SETTLED for _, report in world.clearing.settled)
    assert told == reports, "the feed has each report of the engine once, in order"
    settlements = [report for report in world.feed.stored if isinstance(report, SettlementReport)]
    assert settlements == [report for _, report in world.clearing.settled], "and each of the clearinghouse"
    ledger = world.clearing.ledger
    assert sum(ledger.cash.values()) == 0, "cash is conserved"
    for name, account in core.accounts.items():
        assert ledger.cash[name] == account.cash == world.feed.market.clients[name].cash
        assert ledger.holdings.get((name, "X"), 0) == account.holding("X").quantity
    answered: dict[int, int] = {}
    for report in reports:
        command_id = getattr(report, "command_id", None)
        if isinstance(report, OrderReport) and report.status not in (OrderStatus.NEW, OrderStatus.REJECTED):
            continue
        if isinstance(report, OrderReport) and report.order_id != command_id:
            continue
        if command_id:
            answered[command_id] = answered.get(command_id, 0) + 1
    told_of = {getattr(report, "command_id", 0) for report in reports}
    for command_id, command in world.acknowledged.items():
        assert applied[command_id] == command, "what was acknowledged lives"
        assert command_id in told_of
        if not isinstance(command, CancelOrder):
            assert answered.get(command_id, 0) == 1, f"{command} was acknowledged, and took effect once"
    # Its id, which nobody was told, may be another command's by now, if the clock went back.
    for command_id, command in world.refused.items():
        assert applied.get(command_id) != command, f"{command} was refused, and had no effect"


def simulate(seed: int) -> World:
    """The schedule of that seed. Raises `AssertionError`, with the seed in its notes."""
    world = World(seed)
    try:
        world.run()
    except BaseException as error:
        error.add_note(f"seed {seed}: python -m tests.faults.simulation --schedules 1 --seed {seed}")
        raise
    return world


def main() -> None:
    """Runs schedules, and prints what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began, faults, acknowledged, settled = time.perf_counter(), 0, 0, 0
    for seed in range(options.seed, options.seed + options.schedules):
        world = simulate(seed)
        faults += world.faults
        acknowledged += len(world.acknowledged)
        settled += len(world.clearing.settled)
    seconds = time.perf_counter() - began
    rate = options.schedules / seconds * 60
    sys.stdout.write(
        f"{options.schedules} schedules, {faults} faults, {acknowledged} commands acknowledged, {settled} instructions "
        f"settled; none lost, none twice. {rate:,.0f} schedules a minute.\n"
    )


if __name__ == "__main__":
    main()
