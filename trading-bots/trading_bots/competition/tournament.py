"""A season over many seeds: how sure is the ranking?"""

import itertools
import math
import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import msgspec

from trading_bots.competition.results import RoundResult, Standing
from trading_bots.competition.season import Contestant, Season
from trading_bots.simulation.rounds import play

Z = 1.96
"""Standard errors on either side of a mean: 95 % of a normal distribution."""


class Place(msgspec.Struct, frozen=True):
    """How a contestant did over all rounds."""

    rank: int
    client_id: str
    rounds: int
    mean_score: float
    margin: float
    """Half of the 95 % confidence interval of the mean score."""
    mean_rank: float
    """Among the contestants."""
    wins: int
    worst: float
    best: float
    beats: dict[str, float]
    """In what part of the rounds its score was higher than another's."""


class Tournament(msgspec.Struct, frozen=True):
    """The JSON of record of a tournament."""

    season: str
    seed: int
    rounds: int
    places: list[Place]


def play_round(season: Season, number: int, folder: Path) -> RoundResult:
    """A round's result. A function of its own, so that other processes can be told to call it."""
    return play(season, number, folder).result


def results(
    season: Season, folder: Path, rounds: int, workers: int | None = None, done: Callable[[], None] = lambda: None
) -> list[RoundResult]:
    """The results of rounds 1 to `rounds`, in order, played on all processors. `done` is called after each."""
    count = workers or os.cpu_count() or 1
    if count == 1:
        return list(_one_by_one(season, folder, rounds, done))
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        waiting = [pool.submit(play_round, season, number, folder) for number in range(1, rounds + 1)]
        for _ in as_completed(waiting):
            done()
        return [one.result() for one in waiting]


def _one_by_one(season: Season, folder: Path, rounds: int, done: Callable[[], None]) -> Iterator[RoundResult]:
    for number in range(1, rounds + 1):
        yield play_round(season, number, folder)
        done()


def tournament_of(season: Season, played: Sequence[RoundResult]) -> Tournament:
    """The ranking by mean score, with how sure it is."""
    scores: defaultdict[str, list[float]] = defaultdict(list)
    ranks: defaultdict[str, list[int]] = defaultdict(list)
    for result in played:
        contestants = [one for one in result.ranking if not one.house]
        for rank, standing in enumerate(contestants, 1):
            scores[standing.client_id].append(_score(standing))
            ranks[standing.client_id].append(rank)
    order = sorted(scores, key=lambda name: (-statistics.fmean(scores[name]), name))
    places = [
        Place(
            rank=rank,
            client_id=name,
            rounds=len(scores[name]),
            mean_score=round(statistics.fmean(scores[name]), 4),
            margin=round(Z * statistics.stdev(scores[name]) / math.sqrt(len(scores[name])), 4) if len(played) > 1 else 0.0,
            mean_rank=round(statistics.fmean(ranks[name]), 4),
            wins=ranks[name].count(1),
            worst=round(min(scores[name]), 4),
            best=round(max(scores[name]), 4),
            beats={other: _part(scores[name], scores[other]) for other in order if other != name},
        )
        for rank, name in enumerate(order, 1)
    ]
    return Tournament(season.name, season.seed, len(played), places)


def _score(standing: Standing) -> float:
    return float(standing.score)


def _part(mine: Sequence[float], others: Sequence[float]) -> float:
    return round(sum(a > b for a, b in zip(mine, others, strict=True)) / len(mine), 4)


def with_contestants(season: Season, files: Sequence[str]) -> Season:
    """The season with these bots in place of its contestants: `my_bot.py` or `my_bot.py:MyBot`."""
    numbers = itertools.count(2)
    names: set[str] = set()
    contestants = []
    for file in files:
        stem = name = Path(file.partition(":")[0]).stem
        while name in names:
            name = f"{stem}-{next(numbers)}"
        names.add(name)
        contestants.append(Contestant(name=name, file=str(_absolute(file))))
    return msgspec.structs.replace(season, contestant=contestants)


def _absolute(file: str) -> str:
    path, colon, name = file.partition(":")
    return f"{Path(path).absolute()}{colon}{name}"


DEFAULT = """
name = "tournament"
length = "5m"
security = [
    { symbol = "ACME", price = "100.00", taker_fee_bps = 5, value = { process = "random_walk", volatility = 0.4 } },
    { symbol = "BETA", price = "50.00", taker_fee_bps = 5, value = { process = "jumps" } },
]
house = [{ bot = "MarketMaker", count = 3 }, { bot = "NoiseTrader", count = 4 }, { bot = "InformedTrader", count = 2 }]
[account]
cash = "20000"
[limits]
requests_per_second = 50
[scoring]
by = "profit"
"""
"""The season that a tournament is played in where none is given."""
