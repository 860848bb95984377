"""All rounds of a live season, one after the other."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from rich.console import Console

from exchange_launcher.data_folder import UpError
from exchange_launcher.live_round import LiveRound
from exchange_launcher.services import UpOptions
from trading_bots.competition.confinement import available
from trading_bots.competition.results import RoundResult
from trading_bots.competition.season import Season


async def compete(
    season: Season, file: Path, out: Path, options: UpOptions, console: Console, trust_bots: bool = False
) -> AsyncIterator[tuple[RoundResult, Path]]:
    """Play all rounds of a season. Yield the result and the folder of each round when it ends.

    With `trust_bots`, contestants run without confinement.

    Raises:
        UpError: The exchange cannot start or has failed, or the folder of a round exists already.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for ending_signal in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(ending_signal, stop.set)
    if not trust_bots:
        await asyncio.to_thread(available)  # its trial run takes a second, which must not be one of the round
    for number in range(1, season.rounds + 1):
        if stop.is_set():
            return
        folder = out / season.name / f"round-{number}"
        if (folder / "exchange").exists():
            raise UpError(f"{folder} already contains a round: choose another folder with --out, or remove it")
        live_round = LiveRound(season, file, number, folder, options, console, trust_bots=trust_bots, stop=stop)
        yield await live_round.play(), folder
