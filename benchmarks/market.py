"""`./mx bench market`: does a simulated market look like a market?

Ten-minute days with makers, noise traders, informed traders, trend followers and contrarians, over several seeds; what the
literature says of real markets, measured, and written into docs/market-quality.md with pictures.
"""

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks import harness
from benchmarks.charts import Chart, Series, write
from market_data_feed.market import Market
from microexchange.messages import DATA_FEED, Trade, decode_batch
from trading_bots.competition.record import Record
from trading_bots.competition.season import Season, parse_season
from trading_bots.simulation.rounds import START, play

PAGE = Path(__file__).parents[1] / "docs" / "market-quality.md"
PICTURE = PAGE.parent / "images" / "market-quality.svg"
SEASON = """
name = "a day"
length = "10m"
security = [
    { symbol = "ACME", price = "100.00", value = { process = "jumps", volatility = 0.3, per_minute = 0.5, size = 0.6 } },
]
house = [
    { bot = "MarketMaker", count = 3, settings = { size = 6, target = 300 } },
    { bot = "NoiseTrader", count = 12, settings = { market = 0.25, width = 0.001, patience = 40 } },
    { bot = "InformedTrader", count = 4, settings = { pause = 0.6, edge = "0.0005" } },
    { bot = "Momentum", count = 4 },
    { bot = "MeanReversion", count = 3 },
    { bot = "RandomWalk", count = 2 },
]
[account]
cash = "100000"
shares = { "*" = "300" }
"""
SECOND = 10**9
LAGS = 30
DISTANCES = 60
"""Ticks from the best price."""


@dataclass
class Days:
    """What was measured over all days."""

    returns: list[list[float]] = field(default_factory=list)
    """By day: relative changes of the middle from second to second."""
    depth: list[float] = field(default_factory=lambda: [0.0] * DISTANCES)
    """Mean lots at so many ticks from the best price of their side."""
    impact: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Changes of the middle in ticks that an order that took so many lots caused, in its direction."""
    later: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """The same, ten seconds after."""
    trades: int = 0
    orders: int = 0


def day(season: Season, number: int, days: Days) -> None:
    """Plays a day, and adds what was seen."""
    played = play(season, number, Path(), keep=True)
    market = Market()
    record, due, samples = Record(market), START + SECOND, 0
    depth, waiting = [0.0] * DISTANCES, []
    for body in played.reports:
        batch = decode_batch(DATA_FEED, body)
        while batch.stamp >= due:
            record.sample(due)
            due += SECOND
            tape = record.tapes["ACME"]
            middle = record.tapes["ACME"].middles[-1]
            if middle is not None:
                samples += 1
                for best, levels, sign in ((max(tape.bids), tape.bids, -1), (min(tape.asks), tape.asks, 1)):
                    for distance in range(DISTANCES):
                        depth[distance] += levels.get(best + sign * distance, 0) / 2
                for at, size, direction, before in list(waiting):
                    if due - at > 10 * SECOND:
                        waiting.remove((at, size, direction, before))
                        days.later[size].append(direction * (middle - before))
        tape = record.tapes["ACME"]
        before = tape.twice_middle(0) / 2 if tape.bids and tape.asks else None
        for report in batch.records:
            market.apply(report)
        record.hear(batch.stamp, batch.records)
        trades = [report for report in batch.records if isinstance(report, Trade)]
        if trades and before is not None and tape.bids and tape.asks:
            direction = 1 if trades[0].aggressor_side.value == "buy" else -1
            size = sum(trade.quantity for trade in trades)
            days.impact[size].append(direction * (tape.twice_middle(0) / 2 - before))
            waiting.append((batch.stamp, size, direction, before))
    middles = [middle for middle in record.tapes["ACME"].middles[30:] if middle]
    days.returns.append([after / before - 1 for before, after in itertools.pairwise(middles)])
    days.depth = [total + one / samples for total, one in zip(days.depth, depth, strict=True)]
    days.trades += market.totals.trades
    days.orders += market.totals.orders


def autocorrelation(days: Sequence[Sequence[float]], lag: int) -> float:
    """The mean over the days of the correlation of a series with itself, `lag` steps later."""
    found = []
    for series in days:
        mean = statistics.fmean(series)
        off = [value - mean for value in series]
        variance = sum(value * value for value in off)
        found.append(sum(a * b for a, b in zip(off, off[lag:], strict=False)) / variance)
    return statistics.fmean(found)


def kurtosis(values: Sequence[float]) -> float:
    """In excess of the normal distribution's."""
    mean = statistics.fmean(values)
    variance = statistics.fmean((value - mean) ** 2 for value in values)
    return statistics.fmean((value - mean) ** 4 for value in values) / variance**2 - 3


def tail_exponent(values: Sequence[float], part: float = 0.02) -> float:
    """Hill's estimate from the largest of the absolute values."""
    ordered = sorted(map(abs, values), reverse=True)
    count = max(int(len(ordered) * part), 10)
    return count / sum(math.log(value / ordered[count]) for value in ordered[:count])


@dataclass(frozen=True)
class Fact:
    """Something that real markets show."""

    name: str
    source: str
    measured: str
    holds: bool


def facts_of(days: Days) -> list[Fact]:
    """What holds, and what does not."""
    returns = [value for one in days.returns for value in one]
    bound = 1.96 / math.sqrt(len(returns))
    raw = [autocorrelation(days.returns, lag) for lag in range(1, LAGS + 1)]
    size = [autocorrelation([[abs(value) for value in one] for one in days.returns], lag) for lag in range(1, LAGS + 1)]
    outside = sum(abs(value) > 2 * bound for value in raw[4:])
    fat, hill = kurtosis(returns), tail_exponent(returns)
    peak = max(range(DISTANCES), key=lambda distance: days.depth[distance])
    sizes = sorted(one for one in days.impact if len(days.impact[one]) >= 30)
    means = {one: statistics.fmean(days.impact[one]) for one in sizes}
    small, large = sizes[0], sizes[-1]
    slope = math.log(means[large] / means[small]) / math.log(large / small) if min(means[small], means[large]) > 0 else 0.0
    return [
        Fact(
            "Returns are not correlated with earlier returns, but at the shortest lags",
            'Cont, "Empirical properties of asset returns: stylized facts and statistical issues" (2001)',
            f"lag 1 s: {raw[0]:+.2f}; from 5 s on {outside} of {LAGS - 4} outside of ±{2 * bound:.3f}",
            outside <= 3,
        ),
        Fact(
            "Volatility comes in clusters: the size of returns is correlated with itself for long",
            'Mandelbrot, "The variation of certain speculative prices" (1963); Cont (2001)',
            f"of absolute returns: {size[0]:+.2f} at 1 s, {size[9]:+.2f} at 10 s, {size[29]:+.2f} at 30 s "
            f"(noise: ±{bound:.3f})",
            size[9] > 2 * bound and size[29] > bound,
        ),
        Fact(
            "Returns have fat tails",
            'Gopikrishnan, Meyer, Amaral and Stanley, "Inverse cubic law for the distribution of stock price variations" '
            "(1998)",
            f"excess kurtosis {fat:.1f} (normal: 0); tail exponent {hill:.1f} (stocks: about 3)",
            fat > 1 and 2 < hill < 6,
        ),
        Fact(
            "The book is deepest away from the best price, and thins out behind",
            'Bouchaud, Mézard and Potters, "Statistical properties of stock order books" (2002)',
            f"deepest {peak} ticks from the best, {days.depth[peak] / max(days.depth[0], 1e-9):.1f} times the best's depth",
            peak > 0 and days.depth[peak] > 1.1 * days.depth[0] and days.depth[-1] < days.depth[peak] / 2,
        ),
        Fact(
            "Larger orders move the price more, but less than in proportion",
            'Lillo, Farmer and Mantegna, "Master curve for price-impact function" (2003)',
            f"{means[small]:.2f} ticks for {small} lots, {means[large]:.2f} for {large}: a power of {slope:.2f} "
            "(stocks: 0.2 to 0.5)",
            0.1 < slope < 1,
        ),
    ]


def draw(days: Days) -> None:
    """Draws what was measured."""
    lags = list(range(1, LAGS + 1))
    absolute = [[abs(value) for value in one] for one in days.returns]
    returns = sorted(value for one in days.returns for value in one)
    spread = statistics.pstdev(returns)
    ranks = [(place + 0.5) / len(returns) for place in range(len(returns))]
    normal = statistics.NormalDist()
    every = max(len(returns) // 300, 1)
    quantiles = [(normal.inv_cdf(rank), value / spread) for rank, value in zip(ranks, returns, strict=True)]
    shown = quantiles[:20] + quantiles[20:-20:every] + quantiles[-20:]
    sizes = sorted(one for one in days.impact if len(days.impact[one]) >= 30)
    count = len(days.returns)
    write(
        PICTURE,
        [
            Chart("Autocorrelation", "seconds", "correlation", [
                Series("returns", lags, [autocorrelation(days.returns, lag) for lag in lags]),
                Series("their sizes", lags, [autocorrelation(absolute, lag) for lag in lags])]),
            Chart("Returns against the normal distribution", "normal quantile", "standard deviations", [
                Series("returns", [x for x, _ in shown], [y for _, y in shown], dots=True),
                Series("normal", [-4, 4], [-4, 4])]),
            Chart("Shape of the book", "ticks from the best price", "mean lots", [
                Series("one side", list(range(DISTANCES)), [lots / count for lots in days.depth])]),
            Chart("Impact", "lots taken", "ticks", [
                Series("at once", sizes, [statistics.fmean(days.impact[one]) for one in sizes], dots=True),
                Series("10 s later", sizes, [statistics.fmean(days.later[one]) for one in sizes], dots=True)]),
        ],
    )  # fmt: skip


def main() -> None:
    """Measures, prints a table, and with --write the page."""
    options = harness.arguments(__doc__ or "", events=8)
    season, days = parse_season(SEASON), Days()
    for number in range(1, options.events + 1):
        day(msgspec.structs.replace(season, seed=11), number, days)
    facts = facts_of(days)
    rows = [
        f"| {one.name} | {'holds' if one.holds else 'does **not** hold'} | {one.measured} | {one.source} |" for one in facts
    ]
    text = "\n".join(["| of real markets | here | measured | source |", "| --- | --- | --- | --- |", *rows])
    counts = f"{days.orders:,} orders, {days.trades:,} trades"
    about = f"{options.events} days of ten minutes, {counts}; the middle, second by second."
    print(f"{about}\n\n{text}")
    if options.write:
        draw(days)
        page = PAGE.read_text()
        before, _, rest = page.partition("<!-- facts -->\n")
        _, _, after = rest.partition("<!-- end -->")
        PAGE.write_text(f"{before}<!-- facts -->\n\n{about}\n\n{text}\n\n<!-- end -->{after}")
    harness.finish(options, "market", {"facts": {one.name: one.holds for one in facts}})


if __name__ == "__main__":
    main()
