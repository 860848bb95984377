"""`./mx bench simulation`: how much faster than real time a simulated market goes, with twenty bots at three rates of
orders; and how much of it the cores take, of engine, clearinghouse and feed."""

import itertools
import statistics
import time

from benchmarks import harness
from clearinghouse.ledger import Ledger
from market_data_feed.market import Market
from matching_engine.engine import Engine
from microexchange.messages import ORDER_ENTRY, Execution, Transfer, decode_batch
from trading_bots.simulation.exchange import SECOND, SimulatedExchange
from trading_bots.simulation.rounds import START
from trading_bots.strategies import MarketMaker, MeanReversion, Momentum, NoiseTrader

PAUSES = {"30 orders/s": 0.6, "200 orders/s": 0.06, "1,000 orders/s": 0.0105}
"""Seconds between two orders of a noise trader, for about that rate in all."""
SECONDS = {"30 orders/s": 60, "200 orders/s": 20, "1,000 orders/s": 5}
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
    engine, ledger, market, instruction = Engine(), Ledger(), Market(), itertools.count(1)
    began = 0.0
    for number, command in enumerate(commands):
        if number == before:
            began = time.perf_counter()
        for event in engine.apply(command):
            settles = isinstance(event, (Execution, Transfer))
            market.apply(ledger.settle(next(instruction), event) if settles else event)
    return time.perf_counter() - began


def main() -> None:
    """Measures in turns, and prints a table."""
    options = harness.arguments(__doc__ or "", events=0)
    speeds: dict[str, list[float]] = {name: [] for name in PAUSES}
    cores: dict[str, list[float]] = {name: [] for name in PAUSES}
    rates: dict[str, float] = {}
    for _ in range(options.rounds):
        for name, pause in PAUSES.items():
            exchange, seconds = market(pause), SECONDS[name]
            exchange.run_until(START + SECOND)
            before, began = len(exchange.commands), time.perf_counter()
            exchange.run_until(START + (1 + seconds) * SECOND)
            elapsed = time.perf_counter() - began
            speeds[name].append(seconds / elapsed)
            cores[name].append(seconds / cores_alone(exchange, before))
            rates[name] = (len(exchange.commands) - before) / seconds
    rows = []
    for name, found in speeds.items():
        middle, noise = statistics.median(found), (max(found) - min(found)) / statistics.median(found)
        alone = statistics.median(cores[name])
        rows.append(f"| {rates[name]:,.0f} | {middle:,.0f} | {alone:,.0f} | {middle * rates[name]:,.0f} | {noise:.0%} |")
    heads = (
        "commands a second, simulated",
        "times faster than real time",
        "the cores alone",
        "commands a second of ours",
        "noise",
    )
    head = f"| {' | '.join(heads)} |"
    text = "\n".join([head, "| ---: | ---: | ---: | ---: | ---: |", *rows])
    print(text)
    if options.write:
        harness.write_section("simulation", text)
    harness.finish(options, "simulation", {"speeds": speeds, "cores_alone": cores})


if __name__ == "__main__":
    main()
