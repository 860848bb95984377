"""Securities and their terms: conversion between decimals and ticks or lots, and listing files."""

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any

from microexchange.commands import ListSecurity
from microexchange.enums import PricingRule, TradingState
from microexchange.numbers import (
    MAX_LOTS,
    MAX_TICKS,
    NotExactError,
    cash_to_text,
    cash_to_units,
    from_steps,
    plain_decimal,
    tick_value,
    to_steps,
    whole_number,
)
from microexchange.refusals import Code, Refusal
from microexchange.reports import SECURITY_TERMS, SecurityListed

MOST_TRADED_SYMBOLS = (
    "AAPL", "MSFT", "NVDA", "AMZN", "GOOG", "META", "TSLA", "INTC", "AMD", "AVGO", "NFLX", "COST", "ADBE", "CSCO",
    "PEP", "TMUS", "QCOM", "TXN", "INTU", "AMAT", "HON", "SBUX", "BTC-USDT", "ETH-USDT", "MU", "PYPL", "CMCSA", "AMGN",
    "BKNG", "GILD",
)  # fmt: skip
"""Securities of the default listing, the most traded first."""
TEXT_CACHE_SIZE = 4096
"""The number of prices and of quantities of a security whose text is cached."""
SYMBOL = re.compile(r"[A-Za-z0-9.-]{1,16}")
"""The pattern of a symbol."""
_THOUSANDS = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")
MAX_NAME_CHARACTERS = 200
"""The longest name of a security."""


class Security:
    """One security: its terms, and the conversion between decimals and ticks or lots."""

    __slots__ = ("listing", "lot_size", "price_text", "quantity_text", "symbol", "tick_size")

    def __init__(self, listing: SecurityListed) -> None:
        self.listing = listing
        self.symbol = listing.symbol
        self.tick_size = Decimal(listing.tick_size)
        self.lot_size = Decimal(listing.lot_size)
        self.price_text: Callable[[int], str] = lru_cache(TEXT_CACHE_SIZE)(partial(from_steps, step=self.tick_size))
        """Return a price in ticks as decimal text."""
        self.quantity_text: Callable[[int], str] = lru_cache(TEXT_CACHE_SIZE)(partial(from_steps, step=self.lot_size))
        """Return a quantity in lots as decimal text."""

    def ticks(self, price: Decimal, field: str = "price") -> int:
        """Return a price in ticks.

        Raises:
            Refusal: `INVALID_FIELD` with that field, if it is not a whole number of ticks in range.
        """
        return checked_steps(field, price, self.tick_size, "tick size", MAX_TICKS)

    def lots(self, quantity: Decimal, field: str = "quantity") -> int:
        """Return a quantity in lots.

        Raises:
            Refusal: `INVALID_FIELD` with that field, if it is not a whole number of lots in range.
        """
        return checked_steps(field, quantity, self.lot_size, "lot size", MAX_LOTS)


def checked_steps(field: str, value: Decimal, step: Decimal, name: str, maximum: int) -> int:
    """Return `value` divided by `step`, a whole number. `name` is the name of the step for clients.

    Raises:
        Refusal: `INVALID_FIELD` with `field`, if it is not a whole number from 1 to `maximum`.
    """
    try:
        steps = to_steps(value, step)
    except NotExactError as error:
        raise Refusal(Code.INVALID_FIELD, f"{field} must be a multiple of the {name} {step:f}: {error}", field) from error
    if not 1 <= steps <= maximum:
        raise Refusal(
            Code.INVALID_FIELD,
            f"{field} must be between {from_steps(1, step)} and {from_steps(maximum, step)}",
            field,
        )
    return steps


class ListingError(ValueError):
    """An error in a listing file. The message names the line and the column."""


def read_listing(lines: Iterable[str]) -> list[ListSecurity]:
    """Return the securities of a listing file: a CSV file with the columns `symbol` and `name`.

    The other columns that are read are terms. Their names may have any case, and spaces in place of underscores:

    - `tick_size` or `tick`, 0.01 by default; `lot_size` or `lot`, 1 by default
    - `reference_price`, `price` or `last sale`, 100 by default; a currency sign before it and commas between thousands are
      left out, and it is rounded to the tick
    - `pricing_rule` or `pricing`, `maker_fee_bps`, `taker_fee_bps`, `band_bps`, `auction_seconds` and `state`
    - as decimals: `max_order_quantity`, `max_order_value`, `short_limit` and `position_limit`

    An empty cell means the default. Spaces around a cell do not count. `unknown_columns` returns the columns that are not
    read. The commands have no id and no time: the gateway sets them when it sends the commands.

    Raises:
        ListingError: The file cannot be used.
    """
    reader = csv.DictReader(lines)
    listed: dict[str, ListSecurity] = {}
    try:
        names = _terms(reader.fieldnames or ())
        if missing := {"symbol", "name"} - names.keys():
            raise ListingError(f"the listing has no column {', '.join(sorted(missing))}")
        for row in reader:
            cells = {column: (row[name] or "").strip() for column, name in names.items()}
            security = _security(cells, f"line {reader.line_num}")
            if security.symbol in listed:
                raise ListingError(f"line {reader.line_num}: {security.symbol} is listed twice")
            listed[security.symbol] = security
    except csv.Error as error:  # in the line after the last that was read
        raise ListingError(f"line {reader.line_num + 1}: {error}") from error
    return list(listed.values())


def most_traded(listing: list[ListSecurity], count: int) -> list[ListSecurity]:
    """Return the first `count` securities: those of `MOST_TRADED_SYMBOLS`, then the others in the order of the listing."""
    rank = {symbol: index for index, symbol in enumerate(MOST_TRADED_SYMBOLS)}
    return sorted(listing, key=lambda security: rank.get(security.symbol, len(rank)))[:count]


def unknown_columns(lines: Iterable[str]) -> list[str]:
    """Return the columns of a listing file that `read_listing` does not read, as they are in the file.

    Raises:
        ListingError: The file is not CSV.
    """
    try:
        columns = csv.DictReader(lines).fieldnames or ()
    except csv.Error as error:
        raise ListingError(f"line 1: {error}") from error
    read = set(_terms(columns).values())
    return [name for name in columns if name not in read and name.strip()]


def _security(cells: Mapping[str, str], place: str) -> ListSecurity:
    """Return the security of a line of a listing file.

    Raises:
        ListingError: A cell cannot be used.
    """
    symbol = cells["symbol"]
    if not SYMBOL.fullmatch(symbol):
        raise ListingError(f"{place}: symbol {symbol[:40]!r} is not 1 to 16 characters of A-Z a-z 0-9 . -")
    if not cells["name"].isprintable():
        raise ListingError(f"{place}: the name {cells['name']!r} has control characters")
    if len(cells["name"]) > MAX_NAME_CHARACTERS:
        raise ListingError(f"{place}: the name of {symbol} has more than {MAX_NAME_CHARACTERS} characters: shorten it")
    tick, lot = cells.get("tick_size") or "0.01", cells.get("lot_size") or "1"
    column = "tick_size"
    try:
        tick_size = plain_decimal(tick)
        column = "lot_size"
        lot_size = plain_decimal(lot)
        column = "tick_size or lot_size"
        tick_value(tick, lot)
        column = "reference_price"
        reference = max(1, round(_price(cells.get(column) or "100") / tick_size))
        terms = {}
        for column, read in _OPTIONAL.items():
            if cells.get(column):
                terms[column] = read(cells[column], lot_size)
    except ValueError as error:
        raise ListingError(f"{place}: {symbol}: {column} cannot be used: {error}") from error
    return ListSecurity(0, 0, symbol, cells["name"], tick, lot, reference, **terms)


def listing_json(listing: ListSecurity) -> dict[str, object]:
    """Return the body of `POST /admin/securities` for a security."""
    tick, lot = Decimal(listing.tick_size), Decimal(listing.lot_size)
    body: dict[str, object] = {name: getattr(listing, name) for name in SECURITY_TERMS}
    body["reference_price"] = from_steps(listing.reference_price, tick)
    for name in ("max_order_quantity", "short_limit", "position_limit"):
        body[name] = from_steps(getattr(listing, name), lot)
    body["max_order_value"] = cash_to_text(listing.max_order_value)
    return body


_ALIASES = {
    "tick": "tick_size",
    "lot": "lot_size",
    "price": "reference_price",
    "last_sale": "reference_price",
    "pricing": "pricing_rule",
}


def _terms(columns: Sequence[str]) -> dict[str, str]:
    """Return the columns that are read, by term.

    If several columns are the same term, the one with the name of the term is read, or else the first of the aliases.
    """
    plain: dict[str, str] = {}
    for name in columns:
        plain.setdefault(name.strip().lower().replace(" ", "_"), name)
    terms = {name: plain[name] for name in ("symbol", "name", "tick_size", "lot_size", "reference_price", *_OPTIONAL)
             if name in plain}  # fmt: skip
    for alias, term in _ALIASES.items():
        if alias in plain:
            terms.setdefault(term, plain[alias])
    return terms


def _price(text: str) -> Decimal:
    """Return a price that may have a currency sign, and commas between thousands.

    Raises:
        NotPlainError: The rest is not a plain decimal.
    """
    number = text[1:] if text.startswith(("$", "€", "£")) else text
    return plain_decimal(number.replace(",", "") if _THOUSANDS.fullmatch(number) else number)


def _whole(text: str, _lot_size: Decimal) -> int:
    return whole_number(text, signed=True)


def _in_lots(text: str, lot_size: Decimal) -> int:
    return to_steps(plain_decimal(text), lot_size)


_OPTIONAL: dict[str, Callable[[str, Decimal], Any]] = {
    "maker_fee_bps": _whole,
    "taker_fee_bps": _whole,
    "pricing_rule": lambda text, _: PricingRule(text),
    "band_bps": _whole,
    "auction_seconds": _whole,
    "max_order_quantity": _in_lots,
    "max_order_value": lambda text, _: cash_to_units(plain_decimal(text)),
    "short_limit": _in_lots,
    "position_limit": _in_lots,
    "state": lambda text, _: TradingState(text),
}


def shares_text(securities: Mapping[str, Security], shares: Mapping[str, int]) -> dict[str, str]:
    """Return quantities by symbol as decimal text. `shares` are lots by symbol."""
    return {symbol: securities[symbol].quantity_text(lots) for symbol, lots in shares.items()}
