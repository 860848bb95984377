"""`./mx bench simulation`: how much faster than real time a simulated market goes, with twenty bots at three rates of
orders; and how much of it the cores take, of engine, clearinghouse and feed."""

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

PAUSES = {30: 0.6, 200: 0.06, 1_000: 0.0105}
"""Seconds between two orders of a noise trader, by about how many orders a second that makes in all."""
SECONDS = {30: 60, 200: 20, 1_000: 5}
"""Simulated seconds, at most."""
MOST = 10
"""Noise traders among the bots."""


def market(pause: float) -> SimulatedExchange:
    """Two securities, twenty bots at three distances."""
    exchange = SimulatedExchange(START)
    for symbol in ("X", "Y"):
        exchange.list_security(symbol=symbol, name=symbol, tick_size="0.01", lot_size="1", reference_price=10_000)
    kinds = [NoiseTrader] * MOST + [MarketMaker] * 4 + [Momentum] * 3 + [MeanReversion] * 3
    for number, kind in enumerate(kinds):
        settings = {"pause": pause, "market": 0.2} if kind is NoiseTrader else {}
        bot = kind(seed=number, **settings)
        exchange.join(bot, f"{kind.__name__}-{number}", 10**14, {"X": 1000, "Y": 1000}, (1 + number % 3) * 1_000_000)
    return exchange


def cores_alone(exchange: SimulatedExchange, before: int) -> float:
    """Seconds that the cores take for the same commands from number `before` on: nobody sends them, and nobody is told."""
    commands = [command for body in exchange.commands for command in decode_batch(ORDER_ENTRY, body).records]
    engine, ledger, market, instruction = Engine(), Ledger(), MarketData(), itertools.count(1)
    began = 0.0
    for number, command in enumerate(commands):
        if number == before:
            began = time.perf_counter()
        outcome = engine.apply(command)
        for report in outcome.reports:
            market.apply(report)
        for one in outcome.instructions:
            market.apply(ledger.settle(next(instruction), one))
    return time.perf_counter() - began


def measure(orders: int, seconds: float) -> tuple[float, float, float]:
    """How many times faster than real time, the same for the cores alone, and commands a second of the market's."""
    exchange = market(PAUSES[orders])
    exchange.run_until(START + SECOND)
    before, began = len(exchange.commands), time.perf_counter()
    exchange.run_until(START + SECOND + int(seconds * SECOND))
    elapsed = time.perf_counter() - began
    rate = (len(exchange.commands) - before) / seconds
    return seconds / elapsed, seconds / cores_alone(exchange, before), rate


def main() -> None:
    """Measures in turns, and prints a table."""
    options = harness.arguments(__doc__ or "", rounds=harness.ROUNDS, seconds=max(SECONDS.values()), rates=list(PAUSES))
    found: dict[int, list[tuple[float, float, float]]] = {}
    with harness.Report("simulation", options) as report, report.interruptible():
        for number in range(1, options.rounds + 1):
            for orders in options.rates:
                one = measure(orders, min(SECONDS[orders], options.seconds))
                found.setdefault(orders, []).append(one)
                speed = f"{one[0]:,.0f} times faster than real time"
                report.say(f"round {number} of {options.rounds}, {orders:,} orders/s: {speed}")
    report.say("")
    table = report.table(
        "commands a second, simulated:",
        "times faster than real time:",
        "the cores alone:",
        "commands a second of ours:",
        "noise:",
    )
    for rounds in found.values():
        speeds, cores, rates = zip(*rounds, strict=True)
        middle, rate = statistics.median(speeds), rates[-1]
        noise = (max(speeds) - min(speeds)) / middle
        table.add(
            f"{rate:,.0f}", f"{middle:,.0f}", f"{statistics.median(cores):,.0f}", f"{middle * rate:,.0f}", f"{noise:.0%}"
        )
    figures = {
        what: {str(orders): [one[place] for one in rounds] for orders, rounds in found.items()}
        for place, what in enumerate(("speeds", "cores_alone"))
    }
    report.finish(figures)


if __name__ == "__main__":
    main()
