"""A season: all settings of a competition, from a TOML file."""

import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from matching_engine.engine import Engine
from microexchange.commands import ListSecurity
from microexchange.durations import SeasonError, nanoseconds
from microexchange.enums import TradingState
from microexchange.numbers import (
    CASH_SCALE,
    MAX_CASH,
    MAX_LOTS,
    NotExactError,
    NotPlainError,
    cash_to_units,
    plain_decimal,
    to_steps,
)
from microexchange.reports import CommandRejected
from trading_bots.competition.values import Constant, Value

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,47}$")]
"""The name of a contestant: its client id, and the name of its files."""
SEASON_NAME = re.compile(r"\w(?:[\w .-]{0,62}[\w-])?")
"""The name of a season, which is the name of the folder of its results."""
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class SecurityTerms(_Part, frozen=True):
    """A `[[security]]`: its terms and its fundamental value."""

    symbol: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.-]{1,16}$")]
    price: str
    """The price before the first trade, and the start of its value."""
    name: str = ""
    tick_size: str = "0.01"
    lot_size: str = "1"
    maker_fee_bps: int = 0
    taker_fee_bps: int = 10
    band_bps: int = 0
    position_limit: int = 0
    """The most lots that a client may hold. 0 for no limit."""
    short_limit: int = 0
    """The lots that a client may be short."""
    value: Value = Constant()
    """The process of its fundamental value, which informed traders receive."""


class Account(_Part, frozen=True):
    """`[account]`: the opening balance of each client."""

    cash: str = "10000"
    shares: dict[str, str] = msgspec.field(default_factory=lambda: {"*": "100"})
    """Quantities by symbol. `*` stands for every security that is not named."""
    credit: str = "0"
    """The amount by which cash may be below zero."""


class House(_Part, frozen=True):
    """A `[[house]]`: house bots of one class."""

    bot: str
    """The name of a class in `trading_bots.strategies`."""
    count: Annotated[int, msgspec.Meta(ge=1, le=500)] = 1
    latency: str = "1ms"
    settings: dict[str, Any] = {}
    """Arguments of the class."""


class Contestant(_Part, frozen=True):
    """A `[[contestant]]`: a bot in a file, a strategy, or an external client with a key."""

    name: Name
    file: str = ""
    """`my_bot.py:MyBot`, relative to the folder of the season's file."""
    strategy: str = ""
    """The name of a class in `trading_bots.strategies`, instead of a file."""
    external: bool = False
    """Whether it connects from outside. `compete` writes its key to `keys/`. It does not take part in a simulation."""
    latency: str = "2ms"


class Auctions(_Part, frozen=True):
    """`[auctions]`: the lengths of the auctions."""

    opening: str = "0s"
    """The length of the opening auction, which collects orders before continuous trading begins."""
    closing: str = "0s"
    """The length of the closing auction before the end. Its prices value all holdings."""


class Limits(_Part, frozen=True):
    """`[limits]`: the rate limit of each client, and the resources of a contestant's process."""

    requests_per_second: Annotated[float, msgspec.Meta(ge=0)] = 0
    memory_megabytes: Annotated[int, msgspec.Meta(ge=64)] = 512
    processor_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """The part of one processor, over the whole round."""
    answer_seconds: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    """The longest time of one callback."""


class Scoring(_Part, frozen=True):
    """`[scoring]`: the score by which clients are ranked."""

    by: Literal["equity", "profit"] = "equity"
    """The equity at the end, or the profit. The penalties are subtracted."""
    drawdown_penalty: NotNegative = 0.0
    """Multiplied by the deepest fall of the equity from a peak."""
    inventory_penalty: NotNegative = 0.0
    """Multiplied by the mean value of the difference from the initial holdings."""


class Season(_Part, frozen=True):
    """All settings of a competition: the whole file."""

    security: Annotated[list[SecurityTerms], msgspec.Meta(min_length=1, max_length=1000)]
    name: str = "season"
    seed: int = 0
    length: str = "5m"
    """The length of a round."""
    rounds: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    account: Account = Account()
    house: list[House] = []
    contestant: list[Contestant] = []
    auctions: Auctions = Auctions()
    limits: Limits = Limits()
    scoring: Scoring = Scoring()


def steps(text: str, step: str, field: str) -> int:
    """Return an amount in steps: a price in ticks, or a quantity in lots.

    Raises:
        SeasonError: The amount is not a plain decimal, or not a multiple of the step.
    """
    amount = _decimal(text, field)
    try:
        return to_steps(amount, Decimal(step))
    except (NotExactError, ArithmeticError) as error:
        raise SeasonError(f"{field}: {text!r} is not a multiple of {step}") from error


def cash(text: str, field: str) -> int:
    """Return an amount of cash in cash units.

    Raises:
        SeasonError: The text is not an amount of cash.
    """
    amount = _decimal(text, field)
    try:
        return cash_to_units(amount)
    except NotExactError as error:
        raise SeasonError(f"{field}: {text!r} is not an amount of cash with at most 8 decimals") from error


def _decimal(text: str, field: str) -> Decimal:
    """Return an amount in text.

    Raises:
        SeasonError: It is not a plain decimal.
    """
    try:
        return plain_decimal(text)
    except NotPlainError as error:
        raise SeasonError(f"{field}: {error}") from error


def _check_finite(value: Any, field: str) -> None:
    """Check that TOML's numbers `nan` and `inf` are nowhere in a value.

    Raises:
        SeasonError: One of them is. The message names the field.
    """
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    for name, part in parts:
        _check_finite(part, f"{field}.{name}" if field else name)
    if isinstance(value, float) and not math.isfinite(value):
        raise SeasonError(f"{field}: {value} is not a number in range: write for example 12.50")


def listing_terms(terms: SecurityTerms, state: TradingState) -> dict[str, Any]:
    """Return the fields of `ListSecurity` for a security of a season."""
    return {
        "symbol": terms.symbol,
        "name": terms.name or terms.symbol,
        "tick_size": terms.tick_size,
        "lot_size": terms.lot_size,
        "reference_price": steps(terms.price, terms.tick_size, f"security {terms.symbol}: price"),
        "maker_fee_bps": terms.maker_fee_bps,
        "taker_fee_bps": terms.taker_fee_bps,
        "band_bps": terms.band_bps,
        "position_limit": terms.position_limit,
        "short_limit": terms.short_limit,
        "state": state,
    }


def read_season(path: Path) -> Season:
    """Return the season in a file, after all checks.

    Raises:
        SeasonError: The season is not valid. The message names the field.
        OSError: The file cannot be read.
    """
    return parse_season(path.read_text(encoding="utf-8"), path.name)


def parse_season(text: str, name: str = "season.toml") -> Season:
    """Return the season in a text, after all checks. `name` is the file name in messages.

    Raises:
        SeasonError: The season is not valid. The message names the field.
    """
    try:
        content = tomllib.loads(text)
        _check_finite(content, "")
        season = msgspec.convert(content, Season)
    except SeasonError as error:
        raise SeasonError(f"{name}: {error}") from None
    except (ValueError, RecursionError) as error:  # also for a number or a nesting that Python does not read
        raise SeasonError(f"{name}: {str(error).replace('`', '')}") from error
    try:
        _check(season)
    except SeasonError as error:
        raise SeasonError(f"{name}: {error}") from None
    return season


def _check(season: Season) -> None:
    if not SEASON_NAME.fullmatch(season.name):
        raise SeasonError(
            f"name: {season.name!r} cannot be the name of a folder. Use 1 to 64 letters, digits, spaces, dots, hyphens and "
            "underscores, with no dot or space at either end"
        )
    length = nanoseconds(season.length, "length")
    auctions = [nanoseconds(getattr(season.auctions, name), f"auctions.{name}") for name in ("opening", "closing")]
    if not length or sum(auctions) >= length:
        raise SeasonError("length: the round must be longer than its auctions")
    symbols = [security.symbol for security in season.security]
    if len(set(symbols)) < len(symbols):
        raise SeasonError("security: two securities have the same symbol")
    for security in season.security:
        for field in ("tick_size", "lot_size"):
            _decimal(getattr(security, field), f"security {security.symbol}: {field}")
        # The engine states which terms can be listed.
        command = ListSecurity(1, 0, **listing_terms(security, TradingState.CONTINUOUS))
        for report in Engine().apply(command).reports:
            if isinstance(report, CommandRejected):
                raise SeasonError(f"security {security.symbol}: {report.text}")
        security.value.check(f"security {security.symbol}: value")
    shares_of(season)
    for field in ("cash", "credit"):
        if not 0 <= cash(getattr(season.account, field), f"account.{field}") <= MAX_CASH:
            raise SeasonError(f"account.{field}: it must be between 0 and {MAX_CASH // CASH_SCALE}")
    names = [contestant.name for contestant in season.contestant]
    if len(set(names)) < len(names):
        raise SeasonError("contestant: two contestants have the same name")
    for contestant in season.contestant:
        if [bool(contestant.file), bool(contestant.strategy), contestant.external].count(True) != 1:
            raise SeasonError(f"contestant {contestant.name}: set exactly one of file, strategy and external")
        nanoseconds(contestant.latency, f"contestant {contestant.name}: latency")
    for house in season.house:
        nanoseconds(house.latency, f"house {house.bot}: latency")


def files_of_others(season: Season, contestant: Contestant) -> list[str]:
    """Return the files of the bots of all other contestants. Two contestants may have the same file."""
    return [other.file for other in season.contestant if other.file and other is not contestant]


def house_of(season: Season) -> list[tuple[str, House]]:
    """Return the house bots by name. Each class numbers its bots from 1."""
    numbers: Counter[str] = Counter()
    shares = []
    for house in season.house:
        for _ in range(house.count):
            numbers[house.bot] += 1
            shares.append((f"{house.bot}-{numbers[house.bot]}", house))
    return shares


def shares_of(season: Season) -> dict[str, int]:
    """Return the initial holdings of an account, in lots by symbol.

    Raises:
        SeasonError: A symbol is not a security of the season, or a quantity is not a multiple of the lot size.
    """
    given, shares = season.account.shares, {}
    for symbol in given.keys() - {"*"} - {security.symbol for security in season.security}:
        raise SeasonError(f"account.shares: {symbol} is not a security of this season")
    for security in season.security:
        text = given.get(security.symbol, given.get("*", "0"))
        lots = steps(text, security.lot_size, f"account.shares.{security.symbol}")
        if not 0 <= lots <= MAX_LOTS:
            raise SeasonError(f"account.shares.{security.symbol}: {text} must be between 0 and {MAX_LOTS} lots")
        if lots:
            shares[security.symbol] = lots
    return shares
