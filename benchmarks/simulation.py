"""`./mx bench simulation`: the speed of a simulated market with twenty bots at three rates of orders.

It measures how many times faster than real time the simulation runs, with the bots, and with the cores of engine,
clearinghouse and feed alone.
"""

import itertools
import statistics
import time

from benchmarks import harness
from clearinghouse.ledger import Ledger
from market_data_feed.market import MarketData
from matching_engine.engine import Engine
from microexchange.batches import decode_batch
from microexchange.records import ORDER_ENTRY
from trading_bots.simulation.client import SECOND
from trading_bots.simulation.exchange import SimulatedExchange
from trading_bots.simulation.rounds import START
from trading_bots.strategies import MarketMaker, MeanReversion, Momentum, NoiseTrader

PAUSE_SECONDS = {30: 0.6, 200: 0.06, 1_000: 0.0105}
"""Seconds between two orders of a noise trader, by the approximate number of orders a second of all bots."""
MAX_SECONDS = {30: 60, 200: 20, 1_000: 5}
"""The most simulated seconds, by the number of orders a second."""
NOISE_TRADERS = 10
"""The number of noise traders among the bots."""


def market(pause: float) -> SimulatedExchange:
    """Make an exchange with two securities and twenty bots with three latencies."""
    exchange = SimulatedExchange(START)
    for symbol in ("X", "Y"):
        exchange.list_security(symbol=symbol, name=symbol, tick_size="0.01", lot_size="1", reference_price=10_000)
    bot_classes = [NoiseTrader] * NOISE_TRADERS + [MarketMaker] * 4 + [Momentum] * 3 + [MeanReversion] * 3
    for number, bot_class in enumerate(bot_classes):
        settings = {"pause": pause, "market": 0.2} if bot_class is NoiseTrader else {}
        bot = bot_class(seed=number, **settings)
        exchange.join(bot, f"{bot_class.__name__}-{number}", 10**14, {"X": 1000, "Y": 1000}, (1 + number % 3) * 1_000_000)
    return exchange


def cores_alone(exchange: SimulatedExchange, before: int) -> float:
    """Return the seconds that the cores take for the commands of an exchange, from number `before` on.

    Nothing sends the commands and nothing receives the reports.
    """
    commands = [command for body in exchange.commands for command in decode_batch(ORDER_ENTRY, body).records]
    engine, ledger, market, numbers = Engine(), Ledger(), MarketData(), itertools.count(1)
    began = 0.0
    for number, command in enumerate(commands):
        if number == before:
            began = time.perf_counter()
        outcome = engine.apply(command)
        for report in outcome.reports:
            market.apply(report)
        for instruction in outcome.instructions:
            market.apply(ledger.settle(next(numbers), instruction))
    return time.perf_counter() - began


def measure(orders: int, seconds: float) -> tuple[float, float, float]:
    """Return the speeds of the exchange and of the cores alone, relative to real time, and simulated commands a second."""
    exchange = market(PAUSE_SECONDS[orders])
    exchange.run_until(START + SECOND)
    before, began = len(exchange.commands), time.perf_counter()
    exchange.run_until(START + SECOND + int(seconds * SECOND))
    elapsed = time.perf_counter() - began
    rate = (len(exchange.commands) - before) / seconds
    return seconds / elapsed, seconds / cores_alone(exchange, before), rate


def main() -> None:
    """Run the benchmark and print its table."""
    options = harness.arguments(
        __doc__ or "", rounds=harness.ROUNDS, seconds=max(MAX_SECONDS.values()), rates=list(PAUSE_SECONDS)
    )
    measurements: dict[int, list[tuple[float, float, float]]] = {}
    with harness.Report("simulation", options) as report, report.interruptible():
        for number in range(1, options.rounds + 1):
            for orders in options.rates:
                measured = measure(orders, min(MAX_SECONDS[orders], options.seconds))
                measurements.setdefault(orders, []).append(measured)
                speed = f"{measured[0]:,.0f} times faster than real time"
                report.progress(f"round {number} of {options.rounds}, {orders:,} orders/s: {speed}")
    report.progress("")
    table = report.table(
        "commands a second, simulated:",
        "times faster than real time:",
        "the cores alone:",
        "commands processed a second:",
        "noise:",
    )
    for rounds in measurements.values():
        speeds, cores, rates = zip(*rounds, strict=True)
        median, rate = statistics.median(speeds), rates[-1]
        noise = (max(speeds) - min(speeds)) / median
        table.add(
            f"{rate:,.0f}", f"{median:,.0f}", f"{statistics.median(cores):,.0f}", f"{median * rate:,.0f}", f"{noise:.0%}"
        )
    figures = {
        what: {str(orders): [measured[index] for measured in rounds] for orders, rounds in measurements.items()}
        for index, what in enumerate(("speeds", "cores_alone"))
    }
    report.finish(figures)


if __name__ == "__main__":
    main()
