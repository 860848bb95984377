"""`ListSecurity`: the listing of a security with its terms."""

from matching_engine.context import Outcome
from matching_engine.exchange import Exchange
from matching_engine.limits import BPS, MAX_AUCTION_SECONDS
from matching_engine.market import SecurityMarket
from matching_engine.reports import rejected
from microexchange.commands import ListSecurity
from microexchange.enum_terms import STATES
from microexchange.numbers import MAX_CASH, MAX_LOTS, MAX_TICKS, NotExactError, tick_value
from microexchange.refusals import Code
from microexchange.reports import SecurityListed


def list_security(exchange: Exchange, command: ListSecurity, outcome: Outcome) -> None:
    """Apply a `ListSecurity`."""
    if command.symbol in exchange.markets:
        text = f"{command.symbol} is already listed"
        outcome.reports.append(rejected(command, "", Code.SECURITY_EXISTS, text))
        return
    try:
        value = tick_value(command.tick_size, command.lot_size)
    except NotExactError as error:
        outcome.reports.append(rejected(command, "", Code.INVALID_FIELD, str(error)))
        return
    if not _terms_are_in_range(command):
        text = (
            f"the reference price must be between 1 and {MAX_TICKS} ticks, each fee between {-BPS} and {BPS} bps, their sum "
            f"not negative, the band below {BPS} bps, limits and times in range, and the state one to begin in"
        )
        outcome.reports.append(rejected(command, "", Code.INVALID_FIELD, text))
        return
    listing = SecurityListed(
        command.command_id,
        command.timestamp,
        command.symbol,
        command.name,
        command.tick_size,
        command.lot_size,
        value,
        command.reference_price,
        command.maker_fee_bps,
        command.taker_fee_bps,
        command.pricing_rule,
        command.band_bps,
        command.auction_seconds,
        command.max_order_quantity,
        command.max_order_value,
        command.short_limit,
        command.position_limit,
        command.state,
    )
    exchange.markets[command.symbol] = SecurityMarket(listing)
    outcome.reports.append(listing)


def _terms_are_in_range(command: ListSecurity) -> bool:
    fees = (command.maker_fee_bps, command.taker_fee_bps)
    lots = (command.max_order_quantity, command.short_limit, command.position_limit)
    return (
        1 <= command.reference_price <= MAX_TICKS
        and all(-BPS <= fee <= BPS for fee in fees)
        and sum(fees) >= 0
        and 0 <= command.band_bps < BPS
        and all(0 <= limit <= MAX_LOTS for limit in lots)
        and 0 <= command.max_order_value <= MAX_CASH
        and 0 <= command.auction_seconds <= MAX_AUCTION_SECONDS
        and STATES[command.state].can_begin
    )
