"""`python -m trading_bots.competition.house`: the house bots of a live round, with the fundamental values of the season."""

import asyncio
import signal
import sys
from pathlib import Path

import msgspec

from trading_bots.competition.contestant import exit_if_orphaned
from trading_bots.competition.season import read_season
from trading_bots.live import LiveVenue
from trading_bots.simulation.rounds import entrants, give_values, values_of


class HouseTask(msgspec.Struct):
    """The task that the process reads from standard input, as JSON."""

    season: str
    """The path of the season's file."""
    round: int
    start: float
    """The start of the round in seconds of Unix time."""
    keys: dict[str, str]
    """API keys by name of the bot."""
    gateway_url: str
    feed_url: str
    seed: int
    """The seed of the season, or the one that replaces it."""


async def play(task: HouseTask) -> None:
    """Run the bots until SIGTERM."""
    path = Path(task.season)
    season = msgspec.structs.replace(read_season(path), seed=task.seed, contestant=[])
    values = values_of(season, task.round, task.start)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(0, exit_if_orphaned)
    async with asyncio.TaskGroup() as group:
        for name, bot, _, _ in entrants(season, task.round, path.parent):
            give_values(bot, values)
            venue = LiveVenue(bot, name, task.keys[name], task.gateway_url, task.feed_url)
            group.create_task(venue.run(stop))


def main() -> None:
    """Run the bots that standard input describes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(play(msgspec.json.decode(sys.stdin.buffer.readline(), type=HouseTask)))


if __name__ == "__main__":
    main()
