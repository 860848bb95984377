"""`python -m trading_bots.competition.house`: the bots of the house of a live round, which know what securities are
worth."""

import asyncio
import signal
import sys
from pathlib import Path

import msgspec

from trading_bots.competition.contestant import until_orphaned
from trading_bots.competition.season import read_season
from trading_bots.live import LiveVenue
from trading_bots.simulation.rounds import entrants, inform, values_of


class Orders(msgspec.Struct):
    """What the process is told, as JSON on standard input."""

    season: str
    """The file."""
    round: int
    start: float
    """When the round begins, in seconds of Unix time."""
    keys: dict[str, str]
    """By name."""
    gateway_url: str
    feed_url: str
    seed: int
    """The season's, or what was given in its place."""


async def play(orders: Orders) -> None:
    """Runs the bots until SIGTERM."""
    path = Path(orders.season)
    season = msgspec.structs.replace(read_season(path), seed=orders.seed, contestant=[])
    values = values_of(season, orders.round, orders.start)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(0, until_orphaned)
    async with asyncio.TaskGroup() as group:
        for name, bot, _, _ in entrants(season, orders.round, path.parent):
            inform(bot, values)
            venue = LiveVenue(bot, name, orders.keys[name], orders.gateway_url, orders.feed_url)
            group.create_task(venue.run(stop))


def main() -> None:
    """Runs the bots that standard input describes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(play(msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)))


if __name__ == "__main__":
    main()
