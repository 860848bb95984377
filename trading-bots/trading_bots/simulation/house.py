"""The default house on a simulated exchange: what `./mx bench house` and the tests play."""

from collections.abc import Sequence
from decimal import Decimal

from microexchange.numbers import cash_to_units, to_steps
from trading_bots.house import HouseValues, Listed, cash_of, house_bots, prepare, shares_of
from trading_bots.simulation.exchange import SECOND, SimulatedExchange

LATENCY = SECOND // 500
LISTED = tuple(
    Listed(symbol, Decimal(price), Decimal("0.01"), Decimal(1))
    for symbol, price in {
        "AAPL": 190, "AMZN": 150, "GOOG": 140, "INTC": 45, "META": 350, "MSFT": 370, "NVDA": 480, "TSLA": 240,
    }.items()
)  # fmt: skip
"""The eight securities of the default house, as the shipped listing has them."""


def open_house(
    start: int, seed: str, listed: Sequence[Listed] = LISTED, count: int = 12
) -> tuple[SimulatedExchange, HouseValues]:
    """A simulated exchange with the house's bots on it, at a time in nanoseconds of Unix time."""
    exchange = SimulatedExchange(start, keep_commands=False)
    for one in listed:
        exchange.list_security(
            symbol=one.symbol,
            name=one.symbol,
            tick_size=str(one.tick),
            lot_size=str(one.lot),
            reference_price=to_steps(one.price, one.tick),
        )
    values = HouseValues(listed, start / SECOND, seed)
    for name, bot in house_bots(count, [one.symbol for one in listed], seed).items():
        shares = shares_of(name, listed)
        prepare(bot, values, shares)
        lots = {one.symbol: to_steps(shares[one.symbol], one.lot) for one in listed}
        exchange.join(bot, name, cash_to_units(cash_of(shares, listed)), lots, LATENCY)
    return exchange, values
