"""A listed security as the edges see it: decimal text to ticks and lots, and back."""

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
    tick_value,
    to_steps,
)
from microexchange.refusals import Code, Refusal
from microexchange.reports import SECURITY_TERMS, SecurityListed

MOST_TRADED_SYMBOLS = (
    "AAPL", "MSFT", "NVDA", "AMZN", "GOOG", "META", "TSLA", "INTC", "AMD", "AVGO", "NFLX", "COST", "ADBE", "CSCO",
    "PEP", "TMUS", "QCOM", "TXN", "INTU", "AMAT", "HON", "SBUX", "BTC-USDT", "ETH-USDT", "MU", "PYPL", "CMCSA", "AMGN",
    "BKNG", "GILD",
)  # fmt: skip
"""The securities of the listing that ships which trade most, the first the most."""
TEXT_CACHE_SIZE = 4096
"""Prices, and quantities, of a security whose texts are remembered."""
SYMBOL = re.compile(r"[A-Za-z0-9.-]{1,16}")
"""What a symbol looks like."""


class Security:
    """The terms of one security, with what turns decimals into ticks and lots."""

    __slots__ = ("listing", "lot_size", "price_text", "quantity_text", "symbol", "tick_size")

    def __init__(self, listing: SecurityListed) -> None:
        self.listing = listing
        self.symbol = listing.symbol
        self.tick_size = Decimal(listing.tick_size)
        self.lot_size = Decimal(listing.lot_size)
        self.price_text: Callable[[int], str] = lru_cache(TEXT_CACHE_SIZE)(partial(from_steps, step=self.tick_size))
        """A price in ticks as decimal text."""
        self.quantity_text: Callable[[int], str] = lru_cache(TEXT_CACHE_SIZE)(partial(from_steps, step=self.lot_size))
        """A quantity in lots as decimal text."""

    def ticks(self, price: Decimal, field: str = "price") -> int:
        """A price in ticks. Raises `Refusal` (`INVALID_FIELD`, that field)."""
        return checked_steps(field, price, self.tick_size, "tick size", MAX_TICKS)

    def lots(self, quantity: Decimal, field: str = "quantity") -> int:
        """A quantity in lots. Raises `Refusal` (`INVALID_FIELD`, that field)."""
        return checked_steps(field, quantity, self.lot_size, "lot size", MAX_LOTS)


def checked_steps(field: str, value: Decimal, step: Decimal, name: str, most: int) -> int:
    """How often `step`, called `name`, goes into `value`: 1 to `most` times. Raises `Refusal` (`INVALID_FIELD`, `field`)."""
    try:
        steps = to_steps(value, step)
    except NotExactError as error:
        raise Refusal(Code.INVALID_FIELD, f"{field} must be a multiple of the {name} {step:f}: {error}", field) from error
    if not 1 <= steps <= most:
        raise Refusal(
            Code.INVALID_FIELD,
            f"{field} must be between {from_steps(1, step)} and {from_steps(most, step)}",
            field,
        )
    return steps


class ListingError(ValueError):
    """A listing file is not usable; the message names the line and the column."""


def read_listing(lines: Iterable[str]) -> list[ListSecurity]:
    """The securities of a listing file: any CSV with a column `symbol` and a column `name`.

    Columns that are terms, in whatever case and with spaces or underscores: tick_size or tick (0.01 without it), lot_size or
    lot (1), reference_price, price or last sale (100; a sign of a currency is passed over, and it is rounded to the tick),
    pricing_rule or pricing, maker_fee_bps, taker_fee_bps, band_bps, auction_seconds, state, and, as decimals,
    max_order_quantity, max_order_value, short_limit and position_limit. An empty cell is the default. Other columns are not
    read: `unknown_columns` names them. Returns commands without id and time: the gateway gives them when it sends them.
    Raises `ListingError`.
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
    except csv.Error as error:  # of the line after the last that was read
        raise ListingError(f"line {reader.line_num + 1}: {error}") from error
    return list(listed.values())


def most_traded(listing: list[ListSecurity], count: int) -> list[ListSecurity]:
    """The first `count` of a listing: those of `MOST_TRADED_SYMBOLS` before the others, which keep their order."""
    rank = {symbol: place for place, symbol in enumerate(MOST_TRADED_SYMBOLS)}
    return sorted(listing, key=lambda one: rank.get(one.symbol, len(rank)))[:count]


def unknown_columns(lines: Iterable[str]) -> list[str]:
    """The columns of a listing file that `read_listing` does not read, as the file writes them. Raises `ListingError`."""
    try:
        columns = csv.DictReader(lines).fieldnames or ()
    except csv.Error as error:
        raise ListingError(f"line 1: {error}") from error
    read = set(_terms(columns).values())
    return [name for name in columns if name not in read and name.strip()]


def _security(cells: Mapping[str, str], place: str) -> ListSecurity:
    """The security in a line of a listing file. Raises `ListingError`."""
    symbol = cells["symbol"]
    if not SYMBOL.fullmatch(symbol):
        raise ListingError(f"{place}: symbol {symbol[:40]!r} is not 1 to 16 of A-Z a-z 0-9 . -")
    if not cells["name"].isprintable():
        raise ListingError(f"{place}: the name {cells['name']!r} has control characters")
    tick, lot = cells.get("tick_size") or "0.01", cells.get("lot_size") or "1"
    column = "tick_size or lot_size"
    try:
        tick_value(tick, lot)
        column = "reference_price"
        price = Decimal(cells.get(column, "").lstrip("$€£").replace(",", "") or 100)
        reference = max(1, round(price / Decimal(tick)))
        terms = {}
        for column, read in _OPTIONAL.items():
            if cells.get(column):
                terms[column] = read(cells[column], Decimal(lot))
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ListingError(f"{place}: {symbol}: {column} cannot be used: {_reason(error)}") from error
    return ListSecurity(0, 0, symbol, cells["name"], tick, lot, reference, **terms)


def _reason(error: Exception) -> str:
    """Why a cell cannot be used. Errors of decimals have no text of their own."""
    return "it is no number" if isinstance(error, ArithmeticError) or not str(error) else str(error)


def listing_json(listing: ListSecurity) -> dict[str, object]:
    """The body of `POST /admin/securities` for it."""
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
    """The columns that are read, by the term that each is. Where several are the same term, its own name goes first, and
    then the order of the aliases."""
    plain: dict[str, str] = {}
    for name in columns:
        plain.setdefault(name.strip().lower().replace(" ", "_"), name)
    terms = {name: plain[name] for name in ("symbol", "name", "tick_size", "lot_size", "reference_price", *_OPTIONAL)
             if name in plain}  # fmt: skip
    for alias, term in _ALIASES.items():
        if alias in plain:
            terms.setdefault(term, plain[alias])
    return terms


def _whole(text: str, _lot_size: Decimal) -> int:
    return int(text)


def _in_lots(text: str, lot_size: Decimal) -> int:
    return to_steps(Decimal(text), lot_size)


_OPTIONAL: dict[str, Callable[[str, Decimal], Any]] = {
    "maker_fee_bps": _whole,
    "taker_fee_bps": _whole,
    "pricing_rule": lambda text, _: PricingRule(text),
    "band_bps": _whole,
    "auction_seconds": _whole,
    "max_order_quantity": _in_lots,
    "max_order_value": lambda text, _: cash_to_units(Decimal(text)),
    "short_limit": _in_lots,
    "position_limit": _in_lots,
    "state": lambda text, _: TradingState(text),
}
