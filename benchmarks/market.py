"""`./mx bench market`: whether the market of the default house has the known properties of real markets.

It simulates days of one hour of the default house, each with its own seed, and measures properties that the literature
describes. With `--write`, it writes the result and a plot into docs/market-quality.md.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import facts
from benchmarks.charts import Chart, Series, write
from benchmarks.harness import put_between
from microexchange.enums import ExecType, Side
from microexchange.reports import Event, OrderReport, PriceUpdate, Trade
from trading_bots.simulation.client import SECOND
from trading_bots.simulation.house import LISTED, open_house
from trading_bots.simulation.rounds import START
from trading_bots.strategies.trader import unit_of

PAGE = Path(__file__).parents[1] / "docs" / "market-quality.md"
PICTURE = PAGE.parent / "images" / "market-quality.svg"
WARM_UP_SECONDS = 120
"""Simulated seconds before the measurement begins."""
MAX_LAG_SECONDS = 30
MAX_DISTANCE_TICKS = 60
"""The number of measured price levels, counted in ticks from the best price."""
UNITS = {listed.symbol: int(unit_of(listed.price, listed.lot) / listed.lot) for listed in LISTED}
"""The number of lots in a unit, by security."""


@dataclass
class SecurityDay:
    """The measurements of one security on one day."""

    mid_prices: list[float] = field(default_factory=list)
    """The mid price in each second, in ticks."""
    signs: list[float] = field(default_factory=list)
    """The sign of each order that traded on entry: 1 for a buy, -1 for a sell."""
    depth: list[float] = field(default_factory=lambda: [0.0] * MAX_DISTANCE_TICKS)
    """The mean units by distance in ticks from the best price of the side."""
    impact: facts.Observations = field(default_factory=list)
    """Of each order: its size in units, and its effect on the mid price in basis points."""
    metaorders: facts.Observations = field(default_factory=list)


@dataclass
class Metaorder:
    """A sequence of one trader's orders on one side."""

    sign: int
    before: float
    """The mid price before the first trade, relative to the fundamental value."""
    after: float = 0.0
    units: float = 0.0


class Observer:
    """Measures a day from the reports of the exchange."""

    def __init__(self) -> None:
        self.days: dict[str, SecurityDay] = defaultdict(SecurityDay)
        self.mid_prices: dict[str, float] = {}
        self.metaorders: dict[tuple[str, str], Metaorder] = {}
        self.mid_price_of: Callable[[str], float | None] = lambda symbol: None
        self.value_of: Callable[[str], float] = lambda symbol: 1.0

    def observe(self, _: int, reports: Sequence[Event]) -> None:
        """Add the reports of one command."""
        symbol = next((report.symbol for report in reports if isinstance(report, PriceUpdate)), None)
        if symbol is None:
            return
        before, after = self.mid_prices.get(symbol), self.mid_price_of(symbol)
        if after is not None:
            self.mid_prices[symbol] = after
        trades = [report for report in reports if isinstance(report, Trade)]
        if not trades or before is None or after is None:
            return
        sign = 1 if trades[0].aggressor_side is Side.BUY else -1
        units = sum(trade.quantity for trade in trades) / UNITS[symbol]
        day = self.days[symbol]
        day.signs.append(sign)
        day.impact.append((units, sign * (after / before - 1) * 1e4))
        taker = next((report for report in reports if isinstance(report, OrderReport) and report.exec_type is ExecType.TRADE
                      and report.liquidity == "taker"), None)  # fmt: skip
        if taker is not None and taker.client_id.startswith("OrderSplitter"):
            value = self.value_of(symbol)
            self.follow(taker.client_id, symbol, sign, units, before / value, after / value)

    def follow(self, client_id: str, symbol: str, sign: int, units: float, before: float, after: float) -> None:
        """Add an order to the trader's metaorder. A metaorder ends when the trader changes sides."""
        running = self.metaorders.get((client_id, symbol))
        if running is None or running.sign != sign:
            if running is not None and running.units:
                self.days[symbol].metaorders.append(
                    (running.units, running.sign * (running.after / running.before - 1) * 1e4)
                )
            running = self.metaorders[client_id, symbol] = Metaorder(sign, before)
        running.units += units
        running.after = after


def play_day(seed: str, seconds: int) -> dict[str, SecurityDay]:
    """Simulate and measure one day of the default house."""
    exchange, values = open_house(START, seed)
    observer = Observer()
    books = {symbol: exchange.market.books[symbol] for symbol in exchange.market.securities}

    def mid_price_of(symbol: str) -> float | None:
        book = books[symbol]
        return (max(book.bids) + min(book.asks)) / 2 if book.bids and book.asks else None

    observer.mid_price_of = mid_price_of
    observer.value_of = lambda symbol: values.by_symbol[symbol].value * 100
    exchange.run_until(START + WARM_UP_SECONDS * SECOND)
    exchange.listeners.append(observer.observe)
    for second in range(WARM_UP_SECONDS + 1, WARM_UP_SECONDS + seconds + 1):
        exchange.run_until(START + second * SECOND)
        for symbol, book in books.items():
            mid_price = mid_price_of(symbol)
            day = observer.days[symbol]
            if mid_price is None:
                continue
            day.mid_prices.append(mid_price)
            for best, levels, sign in ((max(book.bids), book.bids, -1), (min(book.asks), book.asks, 1)):
                for distance in range(MAX_DISTANCE_TICKS):
                    level = levels.get(best + sign * distance)
                    if level:
                        day.depth[distance] += level[0] / UNITS[symbol] / 2 / seconds
    return dict(observer.days)


@dataclass(frozen=True)
class Fact:
    """A property of real markets."""

    name: str
    source: str
    measured: str
    holds: bool


def facts_of(days: Sequence[SecurityDay]) -> list[Fact]:
    """Return the measured properties, and whether each holds."""
    returns = [facts.returns_of(day.mid_prices) for day in days]
    sizes = [[abs(value) for value in day] for day in returns]
    raw = [facts.estimate(facts.autocorrelation(day, lag) for day in returns) for lag in range(1, MAX_LAG_SECONDS + 1)]
    clusters = {lag: facts.estimate(facts.autocorrelation(day, lag) for day in sizes) for lag in (1, 10, 30, 120)}
    largest = max(abs(correlation.mean) for correlation in raw[4:])
    fat = facts.estimate(facts.kurtosis(day) for day in returns)
    hill = facts.estimate(facts.tail_exponent(day) for day in returns)
    depth = depth_of(days)
    peak = max(range(MAX_DISTANCE_TICKS), key=lambda distance: depth[distance])
    impact = facts.by_group([day.impact for day in days], facts.impact_power)
    hurst = facts.estimate(facts.hurst_exponent(day.signs) for day in days)
    large = facts.by_group([day.metaorders for day in days], facts.impact_power)
    return [
        Fact(
            "Returns are not correlated with earlier returns, except at the shortest lags",
            'Cont, "Empirical properties of asset returns: stylized facts and statistical issues" (2001)',
            f"{raw[0].text(sign=True)} at 1 s; from 5 s to {MAX_LAG_SECONDS} s never more than {largest:.3f} from 0",
            largest < 0.03,
        ),
        Fact(
            "Volatility comes in clusters: absolute returns are correlated with earlier ones for a long time",
            'Mandelbrot, "The variation of certain speculative prices" (1963); Cont (2001)',
            "; ".join(f"{correlation.text(sign=True)} at {lag} s" for lag, correlation in clusters.items()),
            clusters[10].low > 0.02 and clusters[30].low > 0.02,
        ),
        Fact(
            "Returns have fat tails",
            'Gopikrishnan, Meyer, Amaral and Stanley, "Inverse cubic law for the distribution of stock price variations" '
            "(1998)",
            f"excess kurtosis {fat.text(1)} (normal: 0); tail exponent {hill.text(1)} (stocks: about 3)",
            fat.low > 1 and hill.low > 2 and hill.high < 4.5,
        ),
        Fact(
            "The book is deepest at some distance from the best price, and thinner beyond",
            'Bouchaud, Mézard and Potters, "Statistical properties of stock order books" (2002)',
            f"deepest {peak} ticks from the best, {depth[peak] / depth[0]:.1f} times the best's depth; "
            f"{depth[-1] / depth[peak]:.2f} of it at {MAX_DISTANCE_TICKS - 1} ticks",
            peak > 0 and depth[peak] > 1.1 * depth[0] and depth[-1] < depth[peak] / 2,
        ),
        Fact(
            "Larger orders move the price more, but less than in proportion",
            'Lillo, Farmer and Mantegna, "Master curve for price-impact function" (2003)',
            f"the impact of an order grows with a power of {impact.text()} of its size (stocks: 0.2 to 0.5)",
            impact.low > 0 and impact.high < 1,
        ),
        Fact(
            "The signs of orders have a long memory",
            'Lillo and Farmer, "The long memory of the efficient market" (2004)',
            f"Hurst exponent {hurst.text()} (stocks: about 0.7; no memory: 0.5)",
            hurst.low > 0.6 and hurst.high < 0.85,
        ),
        Fact(
            "The impact of a metaorder grows about with the square root of its size",
            'Almgren, Thum, Hauptmann and Li, "Direct estimation of equity market impact" (2005); Tóth and others (2011)',
            f"a power of {large.text()}, relative to the fundamental value (stocks: 0.4 to 0.7)",
            large.low > 0.35 and large.high < 0.75,
        ),
    ]


def depth_of(days: Sequence[SecurityDay]) -> list[float]:
    """Return the mean depth in units by distance in ticks."""
    return [statistics.fmean(day.depth[distance] for day in days) for distance in range(MAX_DISTANCE_TICKS)]


def draw(days: Sequence[SecurityDay]) -> None:
    """Draw the measurements."""
    lags = list(range(1, MAX_LAG_SECONDS + 1))
    by_day = [facts.returns_of(day.mid_prices) for day in days]
    sizes = [[abs(value) for value in day] for day in by_day]

    def mean_at(series: Sequence[Sequence[float]], lag: int) -> float:
        return statistics.fmean(facts.autocorrelation(day, lag) for day in series)

    returns = sorted(value / statistics.pstdev(day) for day in by_day for value in day)
    normal = statistics.NormalDist()
    quantiles = [(normal.inv_cdf((index + 0.5) / len(returns)), value) for index, value in enumerate(returns)]
    every = max(len(returns) // 300, 1)
    shown = quantiles[:20] + quantiles[20:-20:every] + quantiles[-20:]
    orders = facts.binned(pair for day in days for pair in day.impact)
    large = facts.binned(pair for day in days for pair in day.metaorders)
    write(
        PICTURE,
        [
            Chart("Autocorrelation", "seconds", "correlation", [
                Series("returns", lags, [mean_at(by_day, lag) for lag in lags]),
                Series("absolute returns", lags, [mean_at(sizes, lag) for lag in lags])]),
            Chart("Returns against the normal distribution", "normal quantile", "standard deviations", [
                Series("returns", [x for x, _ in shown], [y for _, y in shown], dots=True),
                Series("normal", [-4, 4], [-4, 4])]),
            Chart("Shape of the book", "ticks from the best price", "mean units", [
                Series("one side", list(range(MAX_DISTANCE_TICKS)), depth_of(days))]),
            Chart("Impact", "units", "basis points", [
                Series("one order", [x for x, _, _ in orders], [y for _, y, _ in orders], dots=True),
                Series("a metaorder", [x for x, _, _ in large], [y for _, y, _ in large], dots=True)]),
        ],
    )  # fmt: skip


def main() -> None:
    """Run the benchmark, print its table, and write the page with `--write`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=3600, help="length of a day (3600)")
    parser.add_argument("--seed", default="market", help="the seed of the days (market)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="print the means behind the figures")
    parser.add_argument("--write", action="store_true", help="write docs/market-quality.md")
    options = parser.parse_args()
    days: list[SecurityDay] = []
    with ProcessPoolExecutor(options.processes) as pool:
        seeds = [f"{options.seed}/{number}" for number in range(options.days)]
        for number, day in enumerate(pool.map(play_day, seeds, [options.seconds] * options.days), 1):
            days += day.values()
            print(f"day {number}: {sum(len(security.signs) for security in day.values()):,} orders traded", flush=True)
    properties = facts_of(days)
    if options.verbose:
        print(facts.binned(pair for day in days for pair in day.impact))
        print(facts.binned(pair for day in days for pair in day.metaorders))
        print([round(units, 2) for units in depth_of(days)])
    rows = [
        f"| {fact.name} | {'holds' if fact.holds else 'does **not** hold'} | {fact.measured} | {fact.source} |"
        for fact in properties
    ]
    table = "\n".join(["| property of real markets | here | measured | source |", "| --- | --- | --- | --- |", *rows])
    about = (
        f"{options.days} days of {options.seconds // 60} minutes, {len(LISTED)} securities, "
        f"{sum(len(day.signs) for day in days):,} orders that traded. Prices are mid prices at each second. "
        "In brackets: 95 per cent intervals over the days of all securities."
    )
    print(f"\n{about}\n\n{table}")
    if options.write:
        draw(days)
        put_between(PAGE, "<!-- facts -->", "<!-- end -->", f"{about}\n\n{table}")


if __name__ == "__main__":
    main()
