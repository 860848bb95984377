"""The whole exchange in one thread: all four cores on a log in memory, with simulated time and injected faults.

A seed determines everything: which node runs next, which append arrives, is lost, arrives twice or late, which node crashes
and what it keeps, when a replaced engine still writes beside its successor, and when the clock of a gateway is an hour
wrong. At the end all faults stop. Then the state is compared with that of an engine that reads the same commands without
faults. The same seed gives the same schedule and the same bytes.

    python -m tests.faults.simulation --schedules 1000 --seed 1
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from matching_engine import state
from matching_engine.engine import Engine
from microexchange.batches import decode_batch
from microexchange.commands import CancelOrder, Command
from microexchange.enums import OrderStatus, SettlementStatus
from microexchange.records import DATA_FEED, ORDER_ENTRY, ORDER_EXECUTION, TOPICS
from microexchange.reports import OrderReport, SettlementReport
from tests.faults.nodes import ClearingNode, EngineNode, FeedNode, GatewayNode

STEPS = 500


class World:
    """The log, its network, the simulated time and all nodes."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 1_800_000_000 * 10**9
        self.log: dict[str, list[bytes]] = {topic: [] for topic in TOPICS}
        self.late: list[tuple[str, bytes]] = []
        """Topics and bodies that were sent and may still arrive."""
        self.healed = False
        self.faults = 0
        self.gateways = [GatewayNode(self, 0), GatewayNode(self, 1)]
        self.engine = EngineNode(self)
        self.stale: list[EngineNode] = []
        """Engines that were replaced and still run."""
        self.clearing = ClearingNode(self)
        self.feed = FeedNode(self)
        self.acknowledged: dict[int, Command] = {}
        self.refused: dict[int, Command] = {}

    def chance(self, probability: float) -> bool:
        """Return whether a fault with that probability happens now."""
        if self.healed or self.rng.random() >= probability:
            return False
        self.faults += 1
        return True

    def run(self) -> None:
        """Run a schedule of faults, then all nodes without faults until they are idle.

        Raises:
            AssertionError: A record was lost, doubled or invented.
        """
        for _ in range(STEPS):
            self.now += self.rng.randrange(2_000_000)
            self.rng.choice(self.choices())()
        self.healed = True
        self.late.clear()
        self.stale.clear()
        before: tuple[int, ...] = ()
        while (after := tuple(len(bodies) for bodies in self.log.values())) != before or self.is_busy():
            before = after
            for gateway in self.gateways:
                gateway.read()
                gateway.flush()
            self.engine.read()
            self.engine.flush()
            self.clearing.settle()
            self.clearing.flush()
            self.feed.read()
            self.feed.store()
        check(self)

    def choices(self) -> list[Callable[[], None]]:
        """Return the possible next steps. A step that is in the list several times is more frequent."""
        engine, clearing, feed = self.engine, self.clearing, self.feed
        steps: list[Callable[[], None]] = [engine.read, engine.flush, clearing.settle, clearing.flush, feed.read, feed.store]
        for gateway in self.gateways:
            steps += [gateway.enter_command, gateway.enter_command, gateway.flush, gateway.read]
        steps += [engine.begin_snapshot, engine.finish_snapshot]
        for stale in self.stale:
            steps += [stale.read, stale.flush, stale.flush]
        nodes = (*self.gateways, engine, clearing, feed)
        return [*steps * 8, self.arrive, self.replace_engine, *(node.crash for node in nodes)]

    def arrive(self) -> None:
        """Append a late body to the log."""
        if self.late:
            topic, body = self.late.pop(self.rng.randrange(len(self.late)))
            self.log[topic].append(body)

    def replace_engine(self) -> None:
        """Start a second engine while the first still runs, or stop a replaced one."""
        if self.stale:
            self.stale.pop()
        elif self.chance(0.5):
            old = self.engine
            self.engine = EngineNode(self, old.fencing_token + 1, old.snapshots)
            self.stale.append(old)

    def is_busy(self) -> bool:
        """Return whether a node has records to read or to send."""
        outboxes = [self.engine.instructions, self.engine.reports, *(gateway.commands for gateway in self.gateways)]
        readers = ((self.engine, ORDER_ENTRY), (self.clearing, ORDER_EXECUTION), (self.feed, DATA_FEED))
        return any(outbox.waiting for outbox in outboxes) or any(
            node.offset < len(self.log[topic]) for node, topic in readers
        )


def check(world: World) -> None:
    """Assert that the idle nodes have the state of an engine without faults, and that no answer was wrong."""
    core = Engine()
    instructions: list[Any] = []
    reports: list[Any] = []
    applied: dict[int, Command] = {}
    for body in world.log[ORDER_ENTRY]:
        for command in core.fresh(decode_batch(ORDER_ENTRY, body)):
            outcome = core.apply(command)
            instructions += outcome.instructions
            reports += outcome.reports
            if outcome.reports:
                applied[command.command_id] = command
    stored_reports = [report for report in world.feed.stored if not isinstance(report, SettlementReport)]

    assert state.take(world.engine.core) == state.take(core), "the engine has the state of an engine without faults"
    assert [instruction for instruction, _ in world.clearing.settled] == instructions, (
        "each instruction is settled once, in order"
    )
    assert all(report.status is SettlementStatus.SETTLED for _, report in world.clearing.settled)
    assert stored_reports == reports, "the feed has each report of the engine once, in order"
    settlements = [report for report in world.feed.stored if isinstance(report, SettlementReport)]
    assert settlements == [report for _, report in world.clearing.settled], (
        "the feed has each report of the clearinghouse once, in order"
    )
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
    reported_ids = {getattr(report, "command_id", 0) for report in reports}
    for command_id, command in world.acknowledged.items():
        assert applied[command_id] == command, "each acknowledged command is applied unchanged"
        assert command_id in reported_ids
        if not isinstance(command, CancelOrder):
            assert answered.get(command_id, 0) == 1, f"{command} was acknowledged and takes effect once"
    # The id was not sent to the client. If the clock was set back, another command may have it.
    for command_id, command in world.refused.items():
        assert applied.get(command_id) != command, f"{command} was refused and has no effect"


def simulate(seed: int) -> World:
    """Run the schedule of a seed.

    Raises:
        AssertionError: A check failed. The notes of the error have the seed.
    """
    world = World(seed)
    try:
        world.run()
    except BaseException as error:
        error.add_note(f"seed {seed}: python -m tests.faults.simulation --schedules 1 --seed {seed}")
        raise
    return world


def main() -> None:
    """Run schedules and print the totals."""
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
        f"settled. None was lost or doubled. {rate:,.0f} schedules a minute.\n"
    )


if __name__ == "__main__":
    main()
