"""The nodes of the simulation: the cores of the services with their inputs and outboxes, on the log of a `World`."""

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import msgspec

from clearinghouse.ledger import Ledger
from market_data_feed.market import MarketData
from matching_engine import state
from matching_engine.engine import Engine
from matching_engine.snapshots import Snapshot
from microexchange.batches import CLEARING, ENGINE, VERSION, Batch, decode_batch, encode_batch, gateway_name
from microexchange.commands import CancelOrder, Command, GatewayLogon, ListSecurity, NewOrder, OpenAccount, TransferAssets
from microexchange.enums import OrderType, Side
from microexchange.ids import IdSequence
from microexchange.producer_cursors import ProducerCursor, ProducerCursors, SequenceGapError
from microexchange.records import DATA_FEED, ORDER_ENTRY, ORDER_EXECUTION, Record
from microexchange.reports import GatewayLoggedOn, SettlementReport

if TYPE_CHECKING:
    from tests.faults.simulation import World

HOUR_NS = 3600 * 10**9
CLIENTS = ("a", "b", "c", "d")


class Outbox:
    """An outbox: it appends numbered records in bodies, one append at a time, and repeats each until it is confirmed."""

    def __init__(self, world: "World", topic: str, producer: str, fencing_token: int, sequence: int = 1) -> None:
        self._world = world
        self._topic = topic
        self._producer = producer
        self._fencing_token = fencing_token
        self.confirmed = sequence
        """The number of the first record that is not confirmed yet."""
        self.waiting: list[Sequence[Record]] = []
        self._sent: int = 0
        """The number of entries of `waiting` in the body that may be on the log already."""

    @property
    def next_sequence(self) -> int:
        """The number of the next record."""
        return self.confirmed + sum(map(len, self.waiting))

    def announce(self) -> None:
        """Append an empty batch, so that readers get the fencing token."""
        self._world.log[self._topic].append(self._body([]))

    def _body(self, records: list[Record]) -> bytes:
        return encode_batch(Batch(VERSION, self._producer, self._fencing_token, self.confirmed, 0, records))

    def flush(self) -> list[Sequence[Record]]:
        """Append a body. Return the entries that the append confirms."""
        world = self._world
        if not self.waiting:
            return []
        count = self._sent or world.rng.randint(1, len(self.waiting))
        entries = self.waiting[:count]
        body = self._body([record for entry in entries for record in entry])
        if world.chance(0.12):
            # The body may be on the log, but the append is not confirmed.
            self._sent = count
            if world.rng.random() < 0.5:
                world.log[self._topic].append(body)
            elif world.rng.random() < 0.7:
                world.late.append((self._topic, body))
            return []
        world.log[self._topic].append(body)
        if world.chance(0.05):
            world.log[self._topic].append(body)
        self.confirmed += sum(map(len, entries))
        self.waiting, self._sent = self.waiting[count:], 0
        return entries

    def withdraw(self) -> list[Sequence[Record]]:
        """Remove and return the entries that were certainly not sent."""
        kept, unsent = self.waiting[: self._sent], self.waiting[self._sent :]
        self.waiting = kept
        return unsent


class GatewayNode:
    """A gateway and its clients."""

    def __init__(self, world: "World", number: int) -> None:
        self.world, self.number, self.fencing_token = world, number, 0
        self._clock_error_ns = 0
        self.start()

    def start(self) -> None:
        world = self.world
        self.fencing_token += 1  # it survives a crash, since it is in the folder
        self.commands = Outbox(world, ORDER_ENTRY, gateway_name(self.number), self.fencing_token)
        self._ids = IdSequence(self.number)
        self._offset = 0
        self._cursors = ProducerCursors()
        self.logged_on = False
        self._open: list[tuple[str, int]] = []
        self.commands.waiting.append([GatewayLogon(0, self._now(), self.number, self.fencing_token)])

    def crash(self) -> None:
        """Kill and start the gateway. Only its fencing token survives. Its clock may be wrong afterwards."""
        if self.world.chance(0.5):
            self._clock_error_ns = self.world.rng.choice((0, 0, -HOUR_NS, HOUR_NS))
            self.start()

    def _now(self) -> int:
        return self.world.now + self._clock_error_ns

    def enter_command(self) -> None:
        """Enter a command of a client."""
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
        """Append commands. If the log cannot be reached, refuse the commands that were not sent."""
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

    def read(self) -> None:
        """Read the engine's answer to the logon."""
        for offset, batch in bodies(self.world, DATA_FEED, self._offset):
            self._offset = offset + 1
            for report in fresh(self._cursors, batch):
                if isinstance(report, GatewayLoggedOn) and report.gateway == self.number:
                    assert report.fencing_token <= self.fencing_token, "only one gateway has this number"
                    if report.fencing_token == self.fencing_token:
                        self._ids.raise_floor(report.last_command_id)
                        self.logged_on = True


class EngineNode:
    """The matching engine. Its fencing token and its snapshots survive a crash."""

    def __init__(self, world: "World", fencing_token: int = 1, snapshots: list[bytes] | None = None) -> None:
        self.world, self.fencing_token = world, fencing_token
        self.snapshots: list[bytes] = snapshots or []
        self.start()

    def start(self) -> None:
        snapshot = Snapshot(0, 1, 1, state.take(Engine()))
        if self.snapshots:
            if self.world.chance(0.1):
                self.snapshots.pop()  # the newest snapshot is damaged, so the one before it is used
            if self.snapshots:
                snapshot = msgspec.msgpack.decode(self.snapshots[-1], type=Snapshot)
        self.core = state.restore(snapshot.state)
        self.offset = snapshot.offset
        self.instructions = Outbox(self.world, ORDER_EXECUTION, ENGINE, self.fencing_token, snapshot.instruction_sequence)
        self.reports = Outbox(self.world, DATA_FEED, ENGINE, self.fencing_token, snapshot.report_sequence)
        self.instructions.announce()
        self.reports.announce()
        self._begun: Snapshot | None = None

    def crash(self) -> None:
        """Kill and start the service."""
        if self.world.chance(0.5):
            self.fencing_token += 1
            self.start()

    def read(self) -> None:
        """Apply some of the next commands on the log."""
        for offset, batch in bodies(self.world, ORDER_ENTRY, self.offset):
            self.offset = offset + 1
            for command in self.core.fresh(batch):
                outcome = self.core.apply(command)
                instructions, reports = outcome.instructions, outcome.reports
                for outbox, records in ((self.instructions, instructions), (self.reports, reports)):
                    if records:
                        outbox.waiting.append(records)

    def flush(self) -> None:
        """Append waiting records to one topic or to both."""
        for outbox in self.world.rng.sample((self.instructions, self.reports), 2):
            outbox.flush()
            if self.world.chance(0.3):
                return

    def begin_snapshot(self) -> None:
        """Copy the state of this moment."""
        sequences = self.instructions.next_sequence, self.reports.next_sequence
        encoded = msgspec.msgpack.encode(Snapshot(self.offset, *sequences, state.take(self.core)))
        self._begun = msgspec.msgpack.decode(encoded, type=Snapshot)

    def finish_snapshot(self) -> None:
        """Keep the copy once all earlier records are confirmed."""
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
    """The clearinghouse. Its committed state survives a crash."""

    def __init__(self, world: "World") -> None:
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
        self.reports = Outbox(self.world, DATA_FEED, CLEARING, self.fencing_token, reported + 1)
        self.reports.announce()
        # Reports that may not have been sent are sent again.
        for _, report in self.settled[reported:]:
            self.reports.waiting.append([report])

    def crash(self) -> None:
        """Kill and start the service."""
        if self.world.chance(0.5):
            self.start()

    def settle(self) -> None:
        """Settle some of the next instructions on the log, commit, and report."""
        settled: list[tuple[Record, SettlementReport]] = []
        for offset, batch in bodies(self.world, ORDER_EXECUTION, self.offset):
            self.offset = offset + 1
            taken = fresh(self._cursors, batch)
            first = self._cursors.by_producer[batch.producer].sequence - len(taken) + 1
            settled += [
                (instruction, self.ledger.settle(number, instruction)) for number, instruction in enumerate(taken, first)
            ]
        if self.world.chance(0.05):
            self.start()  # a crash before the commit
            return
        producers = {name: copy(cursor) for name, cursor in self._cursors.by_producer.items()}
        reported = self.reports.confirmed - 1
        self._committed = self.offset, producers, dict(self.ledger.cash), dict(self.ledger.holdings), reported
        self.settled += settled
        self.ledger.clear_moves()
        if self.world.chance(0.05):
            self.start()  # a crash after the commit
            return
        self.reports.waiting += [[report] for _, report in settled]

    def flush(self) -> None:
        """Append reports."""
        self.reports.flush()


class FeedNode:
    """The market-data feed. Its stored reports survive a crash."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.stored: list[Record] = []
        self._committed: tuple[int, dict[str, ProducerCursor]] = (0, {})
        self.start()

    def start(self) -> None:
        self.offset, producers = self._committed
        self._cursors = ProducerCursors({name: copy(cursor) for name, cursor in producers.items()})
        self._pending: list[Record] = []
        self.market = MarketData()
        for report in self.stored:
            self.market.apply(report)

    def crash(self) -> None:
        """Kill and start the service."""
        if self.world.chance(0.5):
            self.start()

    def read(self) -> None:
        """Apply some of the next reports on the log."""
        for offset, batch in bodies(self.world, DATA_FEED, self.offset):
            self.offset = offset + 1
            for report in fresh(self._cursors, batch):
                self.market.apply(report)
                self._pending.append(report)

    def store(self) -> None:
        """Store the applied reports."""
        self.stored += self._pending
        self._pending = []
        producers = {name: copy(cursor) for name, cursor in self._cursors.by_producer.items()}
        self._committed = self.offset, producers


def bodies(world: "World", topic: str, offset: int) -> list[tuple[int, Batch[Any]]]:
    """Return some of the next bodies of a topic with their offsets, or all of them after the faults."""
    limit = len(world.log[topic]) if world.healed else world.rng.randint(0, 6)
    return [(at, decode_batch(topic, body)) for at, body in enumerate(world.log[topic][offset : offset + limit], offset)]


def fresh(cursors: ProducerCursors, batch: Batch[Any]) -> list[Any]:
    """Return the new records of a batch, or none if records before it are missing."""
    try:
        return cursors.take(batch)
    except SequenceGapError:
        return []
