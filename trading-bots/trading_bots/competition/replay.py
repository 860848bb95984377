"""Replays of a recorded round: its commands in a new engine, or its market with another bot in it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matching_engine.engine import Engine
from microexchange.batches import ENGINE, decode_batch
from microexchange.commands import Command, OpenAccount
from microexchange.records import DATA_FEED, ORDER_ENTRY, Record
from trading_bots.bot import Bot
from trading_bots.competition.record import Record as RoundRecord
from trading_bots.competition.recording import DATA_FEED_FILE, ORDER_ENTRY_FILE, read_bodies
from trading_bots.simulation.client import SECOND, Client
from trading_bots.simulation.exchange import SimulatedExchange

MAX_DIFFERENCES = 10
BOT_GATEWAY = 1
"""The gateway of the added bot, so that its ids differ from those of the recording."""


@dataclass
class Comparison:
    """The result of a replay."""

    commands: int = 0
    events: int = 0
    """Engine reports that were compared."""
    differences: list[str] = field(default_factory=list)
    """Descriptions of the first differences."""


def commands_of(folder: Path) -> Iterator[tuple[Any, Command]]:
    """Iterate over the commands of a recording, each with its batch."""
    for body in read_bodies(folder / ORDER_ENTRY_FILE):
        batch = decode_batch(ORDER_ENTRY, body)
        for command in batch.records:
            yield batch, command


def recorded_events(folder: Path) -> Iterator[Record]:
    """Iterate over the engine's reports of a recording, without repeated ones."""
    last = 0
    for body in read_bodies(folder / DATA_FEED_FILE):
        batch = decode_batch(DATA_FEED, body)
        if batch.producer == ENGINE:
            yield from batch.records[max(last + 1 - batch.sequence, 0) :]
            last = max(last, batch.sequence + len(batch.records) - 1)


def compare(folder: Path) -> Comparison:
    """Apply the recorded commands to a new engine, and compare each report with the recorded one.

    Raises:
        RecordingError: A file ends in the middle of a body.
        OSError: A file cannot be read.
        Exception: A body cannot be decoded.
    """
    engine, result, recorded = Engine(), Comparison(), recorded_events(folder)
    for batch, command in commands_of(folder):
        if not engine.fresh(batch):
            continue
        result.commands += 1
        for report in engine.apply(command).reports:
            recorded_report = next(recorded, None)
            result.events += 1
            if recorded_report != report and len(result.differences) < MAX_DIFFERENCES:
                result.differences.append(f"command {command.command_id}: recorded {recorded_report}, replayed {report}")
    left = sum(1 for _ in recorded)
    if left:
        result.differences.append(f"{left} recorded reports did not occur in the replay")
    return result


def play_along(folder: Path, bot: Bot, name: str, latency: int) -> tuple[Client, RoundRecord]:
    """Play the recorded market with `bot` in it, whose orders match against the recorded flow.

    The other clients act as they did, although the bot takes quantity from them. The bot begins with the cash and shares of
    the first recorded account. `latency` is in nanoseconds, one way. Raises what `compare` raises.
    """
    commands = [command for _, command in commands_of(folder)]
    start = commands[0].timestamp
    exchange = SimulatedExchange(start, gateway=BOT_GATEWAY, ticks=False)
    record = RoundRecord(exchange.market)
    exchange.listeners.append(record.apply)
    for command in commands:
        exchange.at(max(command.timestamp, start), exchange.apply, command)
    opening = next(command for command in commands if isinstance(command, OpenAccount))
    # A recording lists its securities and opens its accounts before the first order.
    exchange.run_until(opening.timestamp)
    client = exchange.join(bot, name, opening.cash, dict(opening.shares), latency, credit_limit=opening.credit_limit)
    record.set_initial_holdings(name, dict(opening.shares))
    end = commands[-1].timestamp
    for now in range(opening.timestamp, end, SECOND):
        exchange.run_until(now)
        record.sample(now)
    exchange.run_until(end)
    client.stop()
    record.sample(end)
    return client, record
