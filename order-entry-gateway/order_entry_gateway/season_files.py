"""The session of a season's file: its rounds, with their length and start terms. Without I/O."""

import tomllib
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from microexchange.durations import SeasonError, nanoseconds
from microexchange.numbers import NS_PER_SECOND, NotPlainError, plain_decimal
from microexchange.refusals import Code, Refusal
from microexchange.session_commands import MAX_ROUND_SECONDS, MAX_ROUNDS

USED = ("name", "length", "rounds", "account")
"""The fields of a season that a session has. The listing has its securities."""


class _Account(msgspec.Struct, frozen=True):
    cash: str = "10000"
    shares: dict[str, str] = msgspec.field(default_factory=lambda: {"*": "100"})


class _Security(msgspec.Struct, frozen=True):
    symbol: str


class _Season(msgspec.Struct, frozen=True):
    """The part of a season that a session has. `trading_bots.competition.season` has all of it."""

    security: Annotated[list[_Security], msgspec.Meta(min_length=1)]
    name: str = "season"
    length: str = "5m"
    rounds: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROUNDS)] = 1
    account: _Account = _Account()


def session_of(text: str) -> tuple[dict[str, Any], list[str]]:
    """Return the session of a season in TOML, as `POST /admin/session` takes it, and the names of the tables left out.

    Raises:
        Refusal: `INVALID_FIELD`. The message names the field of the season.
    """
    try:
        content = tomllib.loads(text)
        season = msgspec.convert(content, _Season)
        seconds = nanoseconds(season.length, "length") // NS_PER_SECOND
        account = season.account
        shares = {
            one.symbol: amount
            for one in season.security
            if _is_positive(amount := account.shares.get(one.symbol, account.shares.get("*", "0")))
        }
        cash = f"{plain_decimal(account.cash):f}"
    except (SeasonError, NotPlainError, msgspec.ValidationError, ValueError, RecursionError) as error:
        raise Refusal(Code.INVALID_FIELD, f"the season is not valid: {str(error).replace('`', '')[:300]}", "toml") from error
    if not 1 <= seconds <= MAX_ROUND_SECONDS:
        text = f"length must be between one second and {MAX_ROUND_SECONDS // 3600} hours"
        raise Refusal(Code.INVALID_FIELD, f"the season is not valid: {text}", "toml")
    terms = {"seconds": seconds, "cash": cash, "shares": shares}
    rounds = [{"name": f"Round {number}", **terms} for number in range(1, season.rounds + 1)]
    return {"name": season.name, "rounds": rounds}, sorted(set(content) - {*USED})


def _is_positive(amount: str) -> bool:
    return plain_decimal(amount) > Decimal(0)
