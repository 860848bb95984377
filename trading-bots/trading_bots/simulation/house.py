"""The default house on a simulated exchange, for `./mx bench house` and the tests."""

from collections.abc import Sequence
from decimal import Decimal
from importlib.resources import files

from microexchange.numbers import cash_to_units, to_steps
from microexchange.securities import read_listing
from trading_bots.house import HOUSE_SYMBOLS, HouseValues, Listed, borrowable_of, house_bots, prepare_bot, value_of
from trading_bots.simulation.client import SECOND
from trading_bots.simulation.exchange import SimulatedExchange

LATENCY = SECOND // 500
_FILE = files("order_entry_gateway").joinpath("listing.csv")
_LISTING = {security.symbol: security for security in read_listing(_FILE.read_text().splitlines())}
"""The default listing, by symbol."""
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
    """Return a simulated exchange with the house bots, and their values. `start` is in nanoseconds of Unix time."""
    exchange = SimulatedExchange(start, keep_commands=False)
    for security in listed:
        exchange.list_security(
            symbol=security.symbol,
            name=security.symbol,
            tick_size=str(security.tick),
            lot_size=str(security.lot),
            reference_price=to_steps(security.price, security.tick),
            maker_fee_bps=_LISTING[security.symbol].maker_fee_bps if security.symbol in _LISTING else 0,
            taker_fee_bps=_LISTING[security.symbol].taker_fee_bps if security.symbol in _LISTING else 1,
        )
    values = HouseValues(listed, start / SECOND, seed)
    for name, bot in house_bots(count, [security.symbol for security in listed], seed).items():
        borrowable = borrowable_of(name, listed)
        prepare_bot(bot, values, borrowable)
        value = cash_to_units(value_of(borrowable, listed))
        exchange.join(bot, name, value, {}, LATENCY, short_limit=value)
    return exchange, values
