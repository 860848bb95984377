"""The default house on a simulated exchange: what `./mx bench house` and the tests play."""

from collections.abc import Sequence
from decimal import Decimal
from importlib.resources import files

from microexchange.numbers import cash_to_units, to_steps
from microexchange.securities import read_listing
from trading_bots.house import HOUSE_SYMBOLS, HouseValues, Listed, borrowable_of, house_bots, prepare, value_of
from trading_bots.simulation.exchange import SECOND, SimulatedExchange

LATENCY = SECOND // 500
_FILE = files("order_entry_gateway").joinpath("listing.csv")
_LISTING = {one.symbol: one for one in read_listing(_FILE.read_text().splitlines())}
"""The listing that ships, by symbol."""
LISTED = tuple(
    Listed(
        symbol,
        _LISTING[symbol].reference_price * Decimal(_LISTING[symbol].tick_size),
        Decimal(_LISTING[symbol].tick_size),
        Decimal(_LISTING[symbol].lot_size),
    )
    for symbol in HOUSE_SYMBOLS
)
"""The securities of the default house."""


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
            maker_fee_bps=_LISTING[one.symbol].maker_fee_bps if one.symbol in _LISTING else 0,
            taker_fee_bps=_LISTING[one.symbol].taker_fee_bps if one.symbol in _LISTING else 1,
        )
    values = HouseValues(listed, start / SECOND, seed)
    for name, bot in house_bots(count, [one.symbol for one in listed], seed).items():
        borrowable = borrowable_of(name, listed)
        prepare(bot, values, borrowable)
        means = cash_to_units(value_of(borrowable, listed))
        exchange.join(bot, name, means, {}, LATENCY, short_limit=means)
    return exchange, values
