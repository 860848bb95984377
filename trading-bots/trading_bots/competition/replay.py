"""A recorded round again: the same commands into a new engine, to see that it decides the same; or the same market, with
another bot in it."""

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
from trading_bots.simulation.exchange import SECOND, Client, SimulatedExchange

MAX_SHOWN = 10
BOTS_GATEWAY = 1
"""The gateway of the bot that plays along: its ids are not those of the recording."""


@dataclass
class Comparison:
    """What came of a replay."""

    commands: int = 0
    events: int = 0
    """Reports of the engine's that were compared."""
    differences: list[str] = field(default_factory=list)
    """The first of them, in words."""


def commands_of(folder: Path) -> Iterator[tuple[Any, Command]]:
    """The batches and commands of a recording."""
    for body in read_bodies(folder / ORDER_ENTRY_FILE):
        batch = decode_batch(ORDER_ENTRY, body)
        for command in batch.records:
            yield batch, command


def recorded_events(folder: Path) -> Iterator[Record]:
    """The engine's reports of a recording, once each."""
    last = 0
    for body in read_bodies(folder / DATA_FEED_FILE):
        batch = decode_batch(DATA_FEED, body)
        if batch.producer == ENGINE:
            yield from batch.records[max(last + 1 - batch.sequence, 0) :]
            last = max(last, batch.sequence + len(batch.records) - 1)


def compare(folder: Path) -> Comparison:
    """Runs the recorded commands into a new engine, and compares every report with the recorded one. Raises `OSError`,
    `RecordingError`, or what a body that cannot be decoded raises."""
    engine, result, recorded = Engine(), Comparison(), recorded_events(folder)
    for batch, command in commands_of(folder):
        if not engine.fresh(batch):
            continue
        result.commands += 1
        for report in engine.apply(command).reports:
            told = next(recorded, None)
            result.events += 1
            if told != report and len(result.differences) < MAX_SHOWN:
                result.differences.append(f"command {command.command_id}: recorded {told}, decided {report}")
    left = sum(1 for _ in recorded)
    if left:
        result.differences.append(f"{left} recorded reports were not decided again")
    return result


def play_along(folder: Path, bot: Bot, name: str, latency: int) -> tuple[Client, RoundRecord]:
    """Plays the recorded market with `bot` in it: its orders match against the recorded flow. It begins with what the first
    recorded account began with. What it trades is missing to others, who act as they did. Raises as `compare` does."""
    commands = [command for _, command in commands_of(folder)]
    start = commands[0].timestamp
    exchange = SimulatedExchange(start, gateway=BOTS_GATEWAY, ticks=False)
    record = RoundRecord(exchange.market)
    exchange.listeners.append(record.hear)
    for command in commands:
        exchange.at(max(command.timestamp, start), exchange.apply, command)
    opening = next(one for one in commands if isinstance(one, OpenAccount))
    # Everything is listed, and everybody has an account, before the first account trades.
    exchange.run_until(opening.timestamp)
    client = exchange.join(bot, name, opening.cash, dict(opening.shares), latency, credit_limit=opening.credit_limit)
    record.began_with(name, dict(opening.shares))
    end = commands[-1].timestamp
    for now in range(opening.timestamp, end, SECOND):
        exchange.run_until(now)
        record.sample(now)
    exchange.run_until(end)
    client.die()
    record.sample(end)
    return client, record
