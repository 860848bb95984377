"""A season: everything that decides how a competition goes, from a TOML file."""

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
"""Of a contestant: its client id, and the name of its files."""
SEASON_NAME = re.compile(r"\w(?:[\w .-]{0,62}[\w-])?")
"""Of a season: the name of the folder of its results."""
Share = Annotated[float, msgspec.Meta(ge=0)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class SecurityTerms(_Part, frozen=True):
    """`[[security]]`: what is traded, and what it is worth."""

    symbol: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.-]{1,16}$")]
    price: str
    """The price before the first trade; where the process of its value begins."""
    name: str = ""
    tick_size: str = "0.01"
    lot_size: str = "1"
    maker_fee_bps: int = 0
    taker_fee_bps: int = 10
    band_bps: int = 0
    position_limit: int = 0
    """Most lots that a client may hold; 0 for any."""
    short_limit: int = 0
    """Lots that a client may be short."""
    value: Value = Constant()
    """Its fundamental value over time, which informed traders know."""


class Account(_Part, frozen=True):
    """`[account]`: what everybody begins with."""

    cash: str = "10000"
    shares: dict[str, str] = msgspec.field(default_factory=lambda: {"*": "100"})
    """By symbol; `*` is every security not named."""
    credit: str = "0"
    """Cash that an account may owe."""


class House(_Part, frozen=True):
    """`[[house]]`: bots of a kind that ships."""

    bot: str
    """The name of a class in `trading_bots.strategies`."""
    count: Annotated[int, msgspec.Meta(ge=1, le=500)] = 1
    latency: str = "1ms"
    settings: dict[str, Any] = {}
    """Arguments of the class."""


class Contestant(_Part, frozen=True):
    """`[[contestant]]`: who competes, by a bot in a file, or from outside with a key."""

    name: Name
    file: str = ""
    """`my_bot.py:MyBot`, from the folder of the season's file."""
    strategy: str = ""
    """Or the name of a class in `trading_bots.strategies`."""
    external: bool = False
    """Connects from outside; `compete` writes its key into `keys/`. In a simulation it takes no part."""
    latency: str = "2ms"


class Auctions(_Part, frozen=True):
    """`[auctions]`"""

    opening: str = "0s"
    """How long orders are collected before the market opens."""
    closing: str = "0s"
    """How long before the end a closing auction begins; it makes the prices at which everything is marked."""


class Limits(_Part, frozen=True):
    """`[limits]`: what a client may ask of the exchange, and a contestant's process of the machine."""

    requests_per_second: Annotated[float, msgspec.Meta(ge=0)] = 0
    memory_megabytes: Annotated[int, msgspec.Meta(ge=64)] = 512
    processor_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """Of one processor, over the whole round."""
    answer_seconds: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    """How long one callback may take."""


class Scoring(_Part, frozen=True):
    """`[scoring]`"""

    by: Literal["equity", "profit"] = "equity"
    """The equity at the end, or the profit less the penalties."""
    drawdown_penalty: Share = 0.0
    """Of the deepest fall of the equity from a peak."""
    inventory_penalty: Share = 0.0
    """Of the mean value of what was held more or less than at the beginning."""


class Season(_Part, frozen=True):
    """The whole file."""

    security: Annotated[list[SecurityTerms], msgspec.Meta(min_length=1, max_length=1000)]
    name: str = "season"
    seed: int = 0
    length: str = "5m"
    """Of a round."""
    rounds: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    account: Account = Account()
    house: list[House] = []
    contestant: list[Contestant] = []
    auctions: Auctions = Auctions()
    limits: Limits = Limits()
    scoring: Scoring = Scoring()


def steps(text: str, step: str, field: str) -> int:
    """An amount in steps: a price in ticks, a quantity in lots. Raises `SeasonError`."""
    try:
        return to_steps(Decimal(text), Decimal(step))
    except (NotExactError, ArithmeticError) as error:
        raise SeasonError(f"{field}: {text!r} is no multiple of {step}") from error


def cash(text: str, field: str) -> int:
    """An amount of cash in its units. Raises `SeasonError`."""
    try:
        return cash_to_units(Decimal(text))
    except (NotExactError, ArithmeticError) as error:
        raise SeasonError(f"{field}: {text!r} is no amount of cash") from error


def read_season(path: Path) -> Season:
    """The season in a file, checked. Raises `SeasonError` or `OSError`."""
    return parse_season(path.read_text(encoding="utf-8"), path.name)


def parse_season(text: str, name: str = "season.toml") -> Season:
    """The season in a text, checked. Raises `SeasonError`."""
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
        raise SeasonError("length: a round must be longer than its auctions")
    symbols = [security.symbol for security in season.security]
    if len(set(symbols)) < len(symbols):
        raise SeasonError("security: a symbol is there twice")
    for security in season.security:
        steps(security.price, security.tick_size, f"security {security.symbol}: price")
        security.value.check(f"security {security.symbol}: value")
    shares_of(season)
    for field in ("cash", "credit"):
        cash(getattr(season.account, field), f"account.{field}")
    names = [contestant.name for contestant in season.contestant]
    if len(set(names)) < len(names):
        raise SeasonError("contestant: a name is there twice")
    for contestant in season.contestant:
        if [bool(contestant.file), bool(contestant.strategy), contestant.external].count(True) != 1:
            raise SeasonError(f"contestant {contestant.name}: give it one of file, strategy and external")
        nanoseconds(contestant.latency, f"contestant {contestant.name}: latency")
    for house in season.house:
        nanoseconds(house.latency, f"house {house.bot}: latency")


def house_of(season: Season) -> list[tuple[str, House]]:
    """The bots of the house by name: of each kind numbered from 1."""
    numbers: Counter[str] = Counter()
    found = []
    for house in season.house:
        for _ in range(house.count):
            numbers[house.bot] += 1
            found.append((f"{house.bot}-{numbers[house.bot]}", house))
    return found


def shares_of(season: Season) -> dict[str, int]:
    """Lots of each security that an account begins with. Raises `SeasonError`."""
    given, found = season.account.shares, {}
    for symbol in given.keys() - {"*"} - {security.symbol for security in season.security}:
        raise SeasonError(f"account.shares: {symbol} is no security of this season")
    for security in season.security:
        text = given.get(security.symbol, given.get("*", "0"))
        lots = steps(text, security.lot_size, f"account.shares.{security.symbol}")
        if lots:
            found[security.symbol] = lots
    return found
