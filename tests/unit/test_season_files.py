"""A season's file as a session."""

from pathlib import Path

import msgspec
import pytest

from microexchange.number_fields import json_decoder
from microexchange.refusals import Code, Refusal
from order_entry_gateway.season_files import session_of
from order_entry_gateway.session_requests import SessionRequest

EXAMPLE = Path(__file__).parents[2] / "examples" / "season" / "season.toml"
SEASON = """
name = "Autumn"
length = "90s"
rounds = 2
[[security]]
symbol = "AAA"
price = "10.00"
[[security]]
symbol = "BBB"
price = "20.00"
[account]
cash = "5000"
shares = { AAA = "7", "*" = "3" }
[scoring]
by = "profit"
"""


def test_a_session_has_the_rounds_and_the_start_terms_of_the_season() -> None:
    session, ignored = session_of(SEASON)
    terms = {"seconds": 90, "cash": "5000", "shares": {"AAA": "7", "BBB": "3"}}
    assert session == {"name": "Autumn", "rounds": [{"name": "Round 1", **terms}, {"name": "Round 2", **terms}]}
    assert ignored == ["scoring", "security"]


def test_the_example_becomes_a_session_that_the_route_takes() -> None:
    session, _ = session_of(EXAMPLE.read_text())
    assert json_decoder(SessionRequest).decode(msgspec.json.encode(session)).rounds


def test_a_security_without_shares_at_the_start_is_left_out() -> None:
    session, _ = session_of(SEASON.replace('"*" = "3"', '"*" = "0"'))
    assert session["rounds"][0]["shares"] == {"AAA": "7"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("length", "size"), ""),
        (('"90s"', '"soon"'), "length"),
        (('"90s"', '"1ms"'), "length"),
        (('"90s"', '"30h"'), "length"),
        (("rounds = 2", "rounds = 101"), "rounds"),
        (('"5000"', '"1_000"'), "1_000"),
        (("rounds = 2", "rounds ="), "not valid"),
    ],
)
def test_a_season_that_is_not_valid_is_refused_with_its_field(change: tuple[str, str], named: str) -> None:
    text = SEASON.replace(*change)
    if not named:
        assert session_of(text)[0]["rounds"][0]["seconds"] == 300, "the default length"
        return
    with pytest.raises(Refusal, match=named) as refused:
        session_of(text)
    assert (refused.value.code, refused.value.field) == (Code.INVALID_FIELD, "toml")
