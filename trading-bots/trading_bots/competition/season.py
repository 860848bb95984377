"""A season: all settings of a competition, from a TOML file."""

import re
import tomllib
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from microexchange.numbers import NotExactError, cash_to_units, to_steps
from trading_bots.competition.durations import SeasonError, nanoseconds
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
        SeasonError: The amount is not a multiple of the step.
    """
    try:
        return to_steps(Decimal(text), Decimal(step))
    except (NotExactError, ArithmeticError) as error:
        raise SeasonError(f"{field}: {text!r} is not a multiple of {step}") from error


def cash(text: str, field: str) -> int:
    """Return an amount of cash in cash units.

    Raises:
        SeasonError: The text is not an amount of cash.
    """
    try:
        return cash_to_units(Decimal(text))
    except (NotExactError, ArithmeticError) as error:
        raise SeasonError(f"{field}: {text!r} is not an amount of cash with at most 8 decimals") from error


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
        season = msgspec.convert(tomllib.loads(text), Season)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
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
        steps(security.price, security.tick_size, f"security {security.symbol}: price")
        security.value.check(f"security {security.symbol}: value")
    shares_of(season)
    for field in ("cash", "credit"):
        cash(getattr(season.account, field), f"account.{field}")
    names = [contestant.name for contestant in season.contestant]
    if len(set(names)) < len(names):
        raise SeasonError("contestant: two contestants have the same name")
    for contestant in season.contestant:
        if [bool(contestant.file), bool(contestant.strategy), contestant.external].count(True) != 1:
            raise SeasonError(f"contestant {contestant.name}: set exactly one of file, strategy and external")
        nanoseconds(contestant.latency, f"contestant {contestant.name}: latency")
    for house in season.house:
        nanoseconds(house.latency, f"house {house.bot}: latency")


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
        if lots:
            shares[security.symbol] = lots
    return shares
