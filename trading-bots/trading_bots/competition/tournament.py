"""A tournament: a season with many seeds, and the statistical certainty of its ranking."""

import itertools
import math
import os
import signal
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue

import msgspec

from trading_bots.competition.confinement import Confinement
from trading_bots.competition.loading import is_shipped
from trading_bots.competition.results import RankedClient, RoundResult
from trading_bots.competition.season import Contestant, Season
from trading_bots.simulation.confined import Worker, worker_for
from trading_bots.simulation.rounds import play
from trading_bots.simulation.watchdog import CALLBACK_TIMEOUT_SECONDS, StuckError

CONFIDENCE = 0.95
"""The probability that a confidence interval includes the true mean."""
_MAX_EXACT_DEGREES = 200
"""Above this many degrees of freedom, an expansion of the t distribution is exact enough."""


class Place(msgspec.Struct, frozen=True):
    """The result of one contestant over all rounds."""

    rank: int
    client_id: str
    rounds: int
    mean_score: float
    margin: float
    """Half of the 95 % confidence interval of the mean score."""
    mean_rank: float
    """The mean rank among the contestants."""
    wins: int
    worst: float
    best: float
    beats: dict[str, float]
    """By other contestant, the part of the rounds in which its own score was higher."""
    fills: int = 0
    """In all rounds together."""


class Difference(msgspec.Struct, frozen=True):
    """The mean lead of one contestant over another: a paired t test over the rounds.

    Both played the same rounds, so market moves that affect both cancel out.
    """

    ahead: str
    behind: str
    mean: float
    low: float | None
    """The 95 % confidence interval of the mean difference. Null after a single round."""
    high: float | None
    significant: bool
    """Whether the interval is above zero."""


class Tournament(msgspec.Struct, frozen=True):
    """The result of a tournament. It is stored as JSON."""

    season: str
    seed: int
    rounds: int
    places: list[Place]
    differences: list[Difference] = []
    """One for each pair of contestants."""


class Played(msgspec.Struct, frozen=True):
    """A round of a tournament, with what bots printed."""

    result: RoundResult
    output: dict[str, list[str]]
    """The lines that bots have printed, by name of the bot."""


def play_round(season: Season, number: int, folder: Path, timeout_seconds: float = CALLBACK_TIMEOUT_SECONDS) -> Played:
    """Play one round of a tournament. It is a module-level function, so that other processes can call it.

    Raises what `simulation.rounds.play` raises.
    """
    output: defaultdict[str, list[str]] = defaultdict(list)
    result = play(
        season, number, folder, timeout_seconds=timeout_seconds, on_line=lambda writer, line: output[writer].append(line)
    ).result
    return Played(result, dict(output))


def results(
    season: Season,
    folder: Path,
    rounds: int,
    workers: int | None = None,
    on_round_end: Callable[[], None] = lambda: None,
    timeout_seconds: float = CALLBACK_TIMEOUT_SECONDS,
    confinement: Confinement | None = None,
) -> list[Played]:
    """Play rounds 1 to `rounds`, on all processors. Return them in order.

    Args:
        season: The season.
        folder: The folder of the season's file.
        rounds: The number of rounds.
        workers: The number of processes. By default, the number of processors.
        on_round_end: Called after each round.
        timeout_seconds: The longest real time of one call into a bot. 0 for no limit.
        confinement: How the processes are confined. By default, they are not.

    Raises:
        StuckError: A bot did not return in time, or a process ended.
        WorkerError: A confined process has failed.
    """
    count = min(workers or os.cpu_count() or 1, rounds)
    if confinement is not None:
        return _play_confined(season, folder, rounds, count, on_round_end, timeout_seconds, confinement)
    if count == 1:
        return list(_play_in_this_process(season, folder, rounds, on_round_end, timeout_seconds))
    with ProcessPoolExecutor(count, get_context("spawn"), _restore_interrupts) as pool:
        futures = [pool.submit(play_round, season, number, folder, timeout_seconds) for number in range(1, rounds + 1)]
        try:
            return _results_of(futures, on_round_end)
        except BrokenProcessPool as error:
            raise StuckError("a process that played a round has ended. Its output above states why") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _results_of(futures: Sequence[Future[Played]], on_round_end: Callable[[], None]) -> list[Played]:
    for future in as_completed(futures):
        future.result()
        on_round_end()
    return [future.result() for future in futures]


def _play_confined(
    season: Season,
    folder: Path,
    rounds: int,
    count: int,
    on_round_end: Callable[[], None],
    timeout_seconds: float,
    confinement: Confinement,
) -> list[Played]:
    """Play the rounds in `count` confined workers. A thread waits for each of them."""
    idle: SimpleQueue[Worker] = SimpleQueue()

    def play_one(number: int) -> Played:
        worker = idle.get()
        output: defaultdict[str, list[str]] = defaultdict(list)
        try:
            finished = worker.play(
                season,
                number,
                folder,
                timeout_seconds=timeout_seconds,
                on_line=lambda writer, line: output[writer].append(line),
            )
        finally:
            idle.put(worker)
        return Played(finished.result, dict(output))

    with ExitStack() as stack, ThreadPoolExecutor(count) as pool:
        workers = [stack.enter_context(worker_for(confinement, season, folder, count)) for _ in range(count)]
        for worker in workers:
            idle.put(worker)
        futures = [pool.submit(play_one, number) for number in range(1, rounds + 1)]
        try:
            return _results_of(futures, on_round_end)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.kill()
            raise


def _restore_interrupts() -> None:
    """Let Ctrl-C end the process at once, without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _play_in_this_process(
    season: Season, folder: Path, rounds: int, on_round_end: Callable[[], None], timeout_seconds: float
) -> Iterator[Played]:
    for number in range(1, rounds + 1):
        yield play_round(season, number, folder, timeout_seconds)
        on_round_end()


def output_of(played: Sequence[Played]) -> dict[str, list[str]]:
    """Return the lines that each bot has printed, each with its round."""
    output: defaultdict[str, list[str]] = defaultdict(list)
    for number, played_round in enumerate(played, 1):
        for writer, lines in played_round.output.items():
            output[writer] += [f"round {number}: {line}" for line in lines]
    return dict(output)


def tournament_of(season: Season, played: Sequence[RoundResult]) -> Tournament:
    """Return the ranking by mean score, with confidence intervals."""
    scores: defaultdict[str, list[float]] = defaultdict(list)
    ranks: defaultdict[str, list[int]] = defaultdict(list)
    fills: Counter[str] = Counter()
    for result in played:
        contestants = [client for client in result.ranking if not client.house]
        for rank, client in enumerate(contestants, 1):
            scores[client.client_id].append(_score(client))
            ranks[client.client_id].append(rank)
            fills[client.client_id] += client.fills
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
            beats={other: _share_of_wins(scores[name], scores[other]) for other in order if other != name},
            fills=fills[name],
        )
        for rank, name in enumerate(order, 1)
    ]
    differences = [_difference(a, b, scores[a], scores[b]) for a, b in itertools.combinations(order, 2)]
    return Tournament(season.name, season.seed, len(played), places, differences)


def _difference(ahead: str, behind: str, more: Sequence[float], less: Sequence[float]) -> Difference:
    differences = [a - b for a, b in zip(more, less, strict=True)]
    mean, margin = statistics.fmean(differences), _margin(differences)
    if margin is None:
        return Difference(ahead, behind, round(mean, 4), None, None, False)
    return Difference(
        ahead, behind, round(mean, 4), round(mean - margin, 4), round(mean + margin, 4), significant=mean - margin > 0
    )


def _margin(values: Sequence[float]) -> float | None:
    """Return half of the confidence interval of the mean. None for a single value."""
    if len(values) < 2:
        return None
    return t_quantile(CONFIDENCE, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def t_quantile(part: float, degrees: int) -> float:
    """Return the multiple of the standard error within which that part of Student's t distribution is.

    Abramowitz and Stegun, "Handbook of mathematical functions" (1964), 26.7.3, 26.7.4 and 26.7.5.

    >>> round(t_quantile(0.95, 1), 3), round(t_quantile(0.95, 99), 4), round(t_quantile(0.95, 10**6), 3)
    (12.706, 1.9842, 1.96)
    """
    if degrees > _MAX_EXACT_DEGREES:
        z = statistics.NormalDist().inv_cdf((1 + part) / 2)
        return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_probability(middle, degrees) < part else (low, middle)
    return high


def _t_probability(t: float, degrees: int) -> float:
    """Return the probability of a value between -t and t."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine, is_odd = math.cos(angle), degrees % 2
    term = total = cosine if is_odd else 1.0
    for k in range(2 + is_odd, degrees - 1, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    if not is_odd:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + (math.sin(angle) * total if degrees > 1 else 0.0))


def _score(client: RankedClient) -> float:
    return float(client.score)


def _share_of_wins(mine: Sequence[float], others: Sequence[float]) -> float:
    return round(sum(a > b for a, b in zip(mine, others, strict=True)) / len(mine), 4)


def with_contestants(season: Season, bots: Sequence[str], also: bool = False) -> Season:
    """Return the season with these bots instead of its contestants, or with `also` in addition to them.

    A bot is `my_bot.py`, `my_bot.py:MyBot`, or the class of a strategy.
    """
    contestants = list(season.contestant) if also else []
    names = {contestant.name for contestant in contestants}
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
"""The season of a command that names none."""
