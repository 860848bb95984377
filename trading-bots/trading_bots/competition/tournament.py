"""A season over many seeds: how sure is the ranking?"""

import itertools
import math
import os
import signal
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import msgspec

from trading_bots.competition.loading import is_shipped
from trading_bots.competition.results import RoundResult, Standing
from trading_bots.competition.season import Contestant, Season
from trading_bots.simulation.rounds import play
from trading_bots.simulation.watchdog import PATIENCE, StuckError

SURE = 0.95
"""The part of all cases in which an interval has the true mean in it."""
_MANY = 200
"""Degrees of freedom from which on an expansion of the t distribution is exact enough."""


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
    fills: int = 0
    """In all rounds together."""


class Difference(msgspec.Struct, frozen=True):
    """How far one contestant is ahead of another: a t test of the differences, round by round. Both played the same rounds,
    so what moved the market for both is not in it."""

    ahead: str
    behind: str
    mean: float
    low: float | None
    """The 95 % confidence interval of the mean difference; null after a single round."""
    high: float | None
    significant: bool
    """Whether the interval is above zero."""


class Tournament(msgspec.Struct, frozen=True):
    """The JSON of record of a tournament."""

    season: str
    seed: int
    rounds: int
    places: list[Place]
    differences: list[Difference] = []
    """Of every two contestants."""


class Played(msgspec.Struct, frozen=True):
    """A round of a tournament."""

    result: RoundResult
    output: dict[str, list[str]]
    """What bots have printed, by name."""


def play_round(season: Season, number: int, folder: Path, patience: float = PATIENCE) -> Played:
    """A round of a tournament. A function of its own, so that other processes can be told to call it. Raises what `play`
    raises."""
    output: defaultdict[str, list[str]] = defaultdict(list)
    result = play(season, number, folder, patience=patience, said=lambda who, line: output[who].append(line)).result
    return Played(result, dict(output))


def results(
    season: Season,
    folder: Path,
    rounds: int,
    workers: int | None = None,
    done: Callable[[], None] = lambda: None,
    patience: float = PATIENCE,
) -> list[Played]:
    """Rounds 1 to `rounds`, in order, played on all processors. `done` is called after each. Raises what `play` raises, and
    `StuckError` where a process had to be ended."""
    count = min(workers or os.cpu_count() or 1, rounds)
    if count == 1:
        return list(_one_by_one(season, folder, rounds, done, patience))
    with ProcessPoolExecutor(count, get_context("spawn"), _leave_interrupts) as pool:
        waiting = [pool.submit(play_round, season, number, folder, patience) for number in range(1, rounds + 1)]
        try:
            for one in as_completed(waiting):
                one.result()
                done()
        except BrokenProcessPool as error:
            raise StuckError("a process that played a round has ended: see what it wrote above") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [one.result() for one in waiting]


def _leave_interrupts() -> None:
    """Ctrl-C ends the processes at once, without a traceback of each."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _one_by_one(season: Season, folder: Path, rounds: int, done: Callable[[], None], patience: float) -> Iterator[Played]:
    for number in range(1, rounds + 1):
        yield play_round(season, number, folder, patience)
        done()


def output_of(played: Sequence[Played]) -> dict[str, list[str]]:
    """What each bot has printed, each line with its round."""
    output: defaultdict[str, list[str]] = defaultdict(list)
    for number, one in enumerate(played, 1):
        for who, lines in one.output.items():
            output[who] += [f"round {number}: {line}" for line in lines]
    return dict(output)


def tournament_of(season: Season, played: Sequence[RoundResult]) -> Tournament:
    """The ranking by mean score, with how sure it is."""
    scores: defaultdict[str, list[float]] = defaultdict(list)
    ranks: defaultdict[str, list[int]] = defaultdict(list)
    fills: Counter[str] = Counter()
    for result in played:
        contestants = [one for one in result.ranking if not one.house]
        for rank, standing in enumerate(contestants, 1):
            scores[standing.client_id].append(_score(standing))
            ranks[standing.client_id].append(rank)
            fills[standing.client_id] += standing.fills
    order = sorted(scores, key=lambda name: (-statistics.fmean(scores[name]), name))
    places = [
        Place(
            rank=rank,
            client_id=name,
            rounds=len(scores[name]),
            mean_score=round(statistics.fmean(scores[name]), 4),
            margin=round(_margin(scores[name]) or 0.0, 4),
            mean_rank=round(statistics.fmean(ranks[name]), 4),
            wins=ranks[name].count(1),
            worst=round(min(scores[name]), 4),
            best=round(max(scores[name]), 4),
            beats={other: _part(scores[name], scores[other]) for other in order if other != name},
            fills=fills[name],
        )
        for rank, name in enumerate(order, 1)
    ]
    differences = [_difference(a, b, scores[a], scores[b]) for a, b in itertools.combinations(order, 2)]
    return Tournament(season.name, season.seed, len(played), places, differences)


def _difference(ahead: str, behind: str, more: Sequence[float], less: Sequence[float]) -> Difference:
    apart = [a - b for a, b in zip(more, less, strict=True)]
    mean, margin = statistics.fmean(apart), _margin(apart)
    if margin is None:
        return Difference(ahead, behind, round(mean, 4), None, None, False)
    return Difference(
        ahead, behind, round(mean, 4), round(mean - margin, 4), round(mean + margin, 4), significant=mean - margin > 0
    )


def _margin(values: Sequence[float]) -> float | None:
    """Half of the confidence interval of the mean; None for a single value, of which nothing is known."""
    if len(values) < 2:
        return None
    return t_quantile(SURE, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def t_quantile(part: float, freedom: int) -> float:
    """How many standard errors on either side of a mean hold that part of Student's t distribution. Abramowitz and Stegun
    1964, 26.7.3, 26.7.4 and 26.7.5.

    >>> round(t_quantile(0.95, 1), 3), round(t_quantile(0.95, 99), 4), round(t_quantile(0.95, 10**6), 3)
    (12.706, 1.9842, 1.96)
    """
    if freedom > _MANY:
        z = statistics.NormalDist().inv_cdf((1 + part) / 2)
        return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_part(middle, freedom) < part else (low, middle)
    return high


def _t_part(t: float, freedom: int) -> float:
    """The part of the t distribution between -t and t."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, is_odd = math.cos(angle), freedom % 2
    term = total = cosine if is_odd else 1.0
    for k in range(2 + is_odd, freedom - 1, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    if not is_odd:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0.0))


def _score(standing: Standing) -> float:
    return float(standing.score)


def _part(mine: Sequence[float], others: Sequence[float]) -> float:
    return round(sum(a > b for a, b in zip(mine, others, strict=True)) / len(mine), 4)


def with_contestants(season: Season, bots: Sequence[str], also: bool = False) -> Season:
    """The season with these bots in place of its contestants, or with `also` beside them: `my_bot.py`, `my_bot.py:MyBot`, or
    the class of a strategy that ships."""
    contestants = list(season.contestant) if also else []
    names = {one.name for one in contestants}
    for bot in bots:
        numbers = itertools.count(2)
        stem = name = bot if is_shipped(bot) else Path(bot.partition(":")[0]).stem
        while name in names:
            name = f"{stem}-{next(numbers)}"
        names.add(name)
        contestants.append(
            Contestant(name=name, strategy=bot) if is_shipped(bot) else Contestant(name=name, file=_absolute(bot))
        )
    return msgspec.structs.replace(season, contestant=contestants)


def _absolute(file: str) -> str:
    path, colon, name = file.partition(":")
    return f"{Path(path).absolute()}{colon}{name}"


DEFAULT = """
name = "built-in"
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
"""The season that is played where none is given."""
