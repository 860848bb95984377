"""Every way in takes the same numbers in text: plain decimals, and whole numbers."""

import asyncio
import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_settings import BaseSettings
from reference import rest
from reference.settings import SETTINGS
from typer.main import get_command
from typer.testing import CliRunner

from exchange_launcher.cli import app as command_line
from exchange_launcher.competition_inputs import parse_speed
from exchange_launcher.terminal import CommandError
from exchange_launcher.up_command import _seconds
from microexchange import web
from microexchange.durations import SeasonError, nanoseconds
from microexchange.number_fields import Amount, SignedAmount, json_decoder, msgpack_decoder
from microexchange.numbers import MAX_PLACES, NotPlainError, plain_decimal, whole_number
from microexchange.refusals import Code, Refusal
from microexchange.securities import ListingError, read_listing
from microexchange.web import decode_json
from order_entry_gateway import admin_routes, order_routes, quick_routes, websocket
from order_entry_gateway.requests import OrderRequest, order_id
from order_entry_gateway.simple_dialect import SimpleSession
from trading_bots.__main__ import choose_symbols
from trading_bots.bot import as_decimal, rounded_price
from trading_bots.client_requests import amend_request, new_order_request
from trading_bots.competition.season import parse_season

BAD_NUMBERS = (
    "", " ", " 10", "10 ", "10\n", "\t10", "1 000", "1\u00a0000", "1_000", "+10", "--10", "-", "1e5", "1E5", "1e-5", "10e",
    ".5", "10.", ".", "1.2.3", "1..2", "1,5", "0x10", "10f", "NaN", "nan", "-nan", "Infinity", "-Infinity", "inf", "sNaN",
    "ten", "\uff11\uff10", "\u0661\u0660", "\u0967\u0966", "\u00b2", "1" * (MAX_PLACES + 1), "0." + "1" * (MAX_PLACES + 1),
)  # fmt: skip
"""Texts that are no numbers at any way in. `Decimal`, `int` or `float` takes many of them."""
BAD_DECIMALS = (*BAD_NUMBERS, "-10", "-0.5")
BAD_WHOLE_NUMBERS = (*BAD_NUMBERS, "10.0", "1.5", "9" * 20)
GOOD_DECIMALS = ("10", "12.50", "100000", "007", "10.0", "0.25", "1.0000")
GOOD_WHOLE_NUMBERS = ("1", "10", "007", "19")
DECIMAL_EXAMPLE, WHOLE_EXAMPLE = "write for example 100000 or 12.50", "write for example 100"

ORDER = {"symbol": "X", "side": "buy", "quantity": "1"}
REFUSALS = (Refusal, ListingError, SeasonError, ValueError, CommandError)


@dataclass(frozen=True)
class Way:
    """A way in of a decimal: the field, and a function that reads a text and returns its value, if the way shows it."""

    name: str
    field: str
    read: Callable[[str], Decimal | float | None]
    strips: bool = False
    """Whether spaces around the number are not a part of it."""
    example: str = DECIMAL_EXAMPLE


def body(decoder: Any, field: str, others: dict[str, Any], binary: bool = False) -> Callable[[str], Decimal]:
    def read(text: str) -> Decimal:
        encode = msgspec.msgpack.encode if binary else msgspec.json.encode
        value: Decimal = getattr(decode_json(decoder, encode({**others, field: text})), field)
        return value

    return read


def shares(decoder: Any) -> Callable[[str], Decimal]:
    def read(text: str) -> Decimal:
        value: Decimal = decode_json(decoder, json.dumps({"shares": {"X": text}}).encode()).shares["X"]
        return value

    return read


def in_simple_dialect(field: str) -> Callable[[str], Decimal]:
    def read(text: str) -> Decimal:
        orders: list[OrderRequest] = []

        async def enter(order: OrderRequest) -> tuple[Any, list[Any], bool]:
            orders.append(order)
            return SimpleNamespace(order_id=1), [], False

        nothing: Any = None
        client: Any = SimpleNamespace(admit=lambda entering: None, enter=enter)
        session = SimpleSession(nothing, nothing, nothing, nothing)
        message = json.dumps({"type": "buy", "symbol": "X", "price": "1", "quantity": "1", field: text})
        answer = asyncio.run(session._answer(client, message.encode()))
        if answer["status"] == "rejected":
            raise ValueError(answer["message"])
        value: Decimal = getattr(orders[0], field)
        return value

    return read


def in_listing(column: str) -> Callable[[str], None]:
    def read(text: str) -> None:
        lines = io.StringIO()
        row = {"symbol": "X", "name": "x", "lot_size": "0.0001", column: text}
        writer = csv.DictWriter(lines, row)
        writer.writeheader()
        writer.writerow(row)
        read_listing(lines.getvalue().splitlines(keepends=True))

    return read


def in_season(field: str) -> Callable[[str], None]:
    def read(text: str) -> None:
        terms = {"symbol": "X", "price": "10", "lot_size": "0.01"}
        account = {"cash": "10000", "credit": "0"}
        lots = text if field == "shares" else "0"
        if field == "tick_size":
            terms |= {"tick_size": text, "price": text}
        for table in (terms, account):
            if field in table:
                table[field] = text
        lines = [f"{key} = {json.dumps(value)}" for key, value in account.items()]
        lines = ["[account]", *lines, f'shares = {{"X" = {json.dumps(lots)}}}', "[[security]]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in terms.items()]
        parse_season("\n".join(lines))

    return read


def in_bot(field: str) -> Callable[[str], Decimal]:
    return lambda text: as_decimal(text, field)


WAYS = (
    *(
        Way(f"POST /orders {field}", field, body(order_routes._order_decoder, field, ORDER))
        for field in ("quantity", "price", "trigger_price", "display_quantity")
    ),
    Way("PATCH /orders", "price", body(order_routes._amend_decoder, "price", {})),
    *(
        Way(
            f"WebSocket {name}",
            "price",
            body(websocket._request_decoders[binary], "price", {"op": "order", **ORDER}, binary),
        )
        for name, binary in (("JSON", False), ("msgpack", True))
    ),
    *(
        Way(f"PUT /admin/clients {field}", field, body(admin_routes._funding_decoder, field, {}))
        for field in ("cash", "credit", "short_limit")
    ),
    Way("PUT /admin/clients shares", "shares", shares(admin_routes._funding_decoder)),
    Way("POST deposits cash", "cash", body(admin_routes._transfer_decoder, "cash", {})),
    Way("POST deposits shares", "shares", shares(admin_routes._transfer_decoder)),
    *(
        Way(
            f"POST /admin/securities {field}",
            field,
            body(admin_routes._listing_decoder, field, {"symbol": "X", "name": "x"}),
        )
        for field in ("tick_size", "lot_size", "reference_price", "max_order_value", "position_limit")
    ),
    *(
        Way(f"quick route {field}", field, body(quick_routes._decoder, field, {"stock": "X", "price": 1, "quantity": 1}))
        for field in ("price", "quantity")
    ),
    *(Way(f"simple dialect {field}", field, in_simple_dialect(field)) for field in ("price", "quantity")),
    *(
        Way(f"listing {column}", column, in_listing(column), strips=True)
        for column in ("tick_size", "lot_size", "reference_price", "max_order_value", "max_order_quantity", "short_limit")
    ),
    *(Way(f"season {field}", field, in_season(field)) for field in ("price", "tick_size", "cash", "credit", "shares")),
    Way(
        "season length",
        "length",
        lambda text: Decimal(nanoseconds(f"{text}s", "length")) / 10**9,
        example="write 250us, 2ms, 30s, 5m or 1h",
    ),
    Way("--for", "--for", lambda text: _seconds(f"{text}m") and _seconds(f"{text}s"), example="Write 30s, 5m or 1h"),
    Way("--speed", "--speed", parse_speed),
    Way("bot", "quantity", in_bot("quantity")),
)
BY_NAME = {way.name: way for way in WAYS}


def is_of(way: Way, text: str) -> bool:
    """Return whether a bad text is bad at this way in too: a listing removes spaces, and an empty cell is the default."""
    return not way.strips or (text == text.strip() and text != "")


def message_of(error: BaseException) -> str:
    return f"{error} {getattr(error, 'fix', '')}"


# --- decimals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", BAD_DECIMALS, ids=ascii)
@pytest.mark.parametrize("name", BY_NAME)
def test_a_text_that_is_not_a_plain_decimal_is_refused_at_every_way_in(name: str, text: str) -> None:
    way = BY_NAME[name]
    if is_of(way, text):
        with pytest.raises(REFUSALS):
            way.read(text)


@pytest.mark.parametrize("text", GOOD_DECIMALS)
@pytest.mark.parametrize("name", BY_NAME)
def test_a_plain_decimal_is_taken_at_every_way_in_with_its_value(name: str, text: str) -> None:
    value = BY_NAME[name].read(text)
    assert value is None or Decimal(str(value)) == Decimal(text)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_refusal_of_every_way_in_names_the_field_and_an_example(name: str) -> None:
    way = BY_NAME[name]
    with pytest.raises(REFUSALS) as refused:
        way.read("1e5")
    message = message_of(refused.value)
    assert way.field in message
    assert "1e5" in message
    assert way.example in message
    if isinstance(refused.value, Refusal):
        assert refused.value.code is Code.INVALID_FIELD
        assert str(refused.value.field).startswith(way.field)


def is_decimal_of_the_grammar(text: str) -> bool:
    whole, point, part = text.partition(".")
    places = [whole, part] if point else [whole]
    return all(1 <= len(digits) <= MAX_PLACES and set(digits) <= set("0123456789") for digits in places)


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), float("nan"), float("-inf")])
def test_a_number_of_a_bot_that_is_not_finite_is_refused_with_its_field(value: Decimal | float) -> None:
    with pytest.raises(ValueError, match=r"^quantity: .* is not a number in range"):
        as_decimal(value, "quantity")


NEAR_NUMBERS = st.one_of(
    st.text("0123456789.", max_size=40), st.text("019.-+eE_ \n\uff11\u0661", max_size=6), st.text(max_size=4)
)
"""Texts of which many are numbers, and many are close to one."""


@given(NEAR_NUMBERS)
@example("1_0")
@example("10\n")
@example("1" * MAX_PLACES)
@example("1" * (MAX_PLACES + 1))
def test_a_text_is_a_plain_decimal_if_and_only_if_it_matches_the_grammar(text: str) -> None:
    for signed in (False, True):
        rest = text[1:] if signed and text.startswith("-") else text
        if is_decimal_of_the_grammar(rest):
            assert plain_decimal(text, signed) == Decimal(text)
        else:
            with pytest.raises(NotPlainError):
                plain_decimal(text, signed)


@given(NEAR_NUMBERS)
def test_a_field_of_a_request_takes_the_same_texts_as_the_parser(text: str) -> None:
    message = msgspec.json.encode({**ORDER, "price": text})
    if is_decimal_of_the_grammar(text):
        assert decode_json(order_routes._order_decoder, message).price == Decimal(text)
    else:
        with pytest.raises(Refusal) as refused:
            decode_json(order_routes._order_decoder, message)
        assert (refused.value.code, refused.value.field) == (Code.INVALID_FIELD, "price")


def test_a_long_text_is_cut_in_the_message() -> None:
    with pytest.raises(NotPlainError, match=r'^"x{40}…" is not a plain decimal'):
        plain_decimal("x" * 10_000)


def test_digits_of_other_scripts_are_escaped_in_the_message() -> None:
    with pytest.raises(NotPlainError, match=r'^"\\uff11" is not a plain decimal'):
        plain_decimal("\uff11")


@pytest.mark.parametrize("text", ["x` - at `$.symbol", "Object missing required field `y"])
def test_the_text_of_a_client_does_not_change_the_field_of_the_refusal(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        decode_json(order_routes._order_decoder, msgspec.json.encode({**ORDER, "price": text}))
    assert refused.value.field == "price"


# --- numbers of JSON, msgpack and TOML ----------------------------------------------------------------------------------


class Priced(msgspec.Struct):
    """A body with one number."""

    price: Amount


@pytest.mark.parametrize(
    "number", ["5", "12.50", "1e5", "1E-7", "123456789012345678.000000000000000001", "1e29", "1e-30", "0", "1" * 20]
)
def test_a_json_number_is_read_exactly_in_every_notation(number: str) -> None:
    assert decode_json(json_decoder(Priced), f'{{"price":{number}}}'.encode()).price == Decimal(number)


@pytest.mark.parametrize(
    "number",
    [
        "1e30",
        "1e-31",
        "0e999999",
        "1e999999999999999999999",
        "1e-999999",
        "1" * 31,
        "1" * 5000,
        "0." + "1" * 31,
        "-5",
        "true",
    ],
)
def test_a_json_number_beyond_the_bounds_of_a_plain_decimal_is_refused(number: str) -> None:
    with pytest.raises(Refusal) as refused:
        decode_json(json_decoder(Priced), f'{{"price":{number}}}'.encode())
    assert (refused.value.code, refused.value.field) == (Code.INVALID_FIELD, "price")


@pytest.mark.parametrize("number", [5, 12.5, 1e-7, 2**63])
def test_a_number_of_msgpack_is_read_as_the_shortest_decimal(number: float) -> None:
    message = msgspec.msgpack.encode({"price": number})
    assert decode_json(msgpack_decoder(Priced), message).price == Decimal(str(number))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e300, -5, -0.5, True, b"5"])
def test_a_number_of_msgpack_beyond_the_bounds_is_refused(number: float) -> None:
    with pytest.raises(Refusal) as refused:
        decode_json(msgpack_decoder(Priced), msgspec.msgpack.encode({"price": number}))
    assert (refused.value.code, refused.value.field) == (Code.INVALID_FIELD, "price")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "+nan"])
def test_a_number_of_toml_in_a_season_is_finite(number: str) -> None:
    table = '[[security]]\nsymbol = "X"\nprice = "10"\n'
    with pytest.raises(
        SeasonError, match=r"scoring\.drawdown_penalty: .* is not a number in range: write for example 12\.50"
    ):
        parse_season(f"{table}[scoring]\ndrawdown_penalty = {number}\n")
    with pytest.raises(SeasonError, match=r"house\.0\.settings\.size: .* is not a number in range"):
        parse_season(f'{table}[[house]]\nbot = "NoiseTrader"\n[house.settings]\nsize = {number}\n')


def test_a_number_of_toml_may_have_any_notation_of_toml() -> None:
    table = '[[security]]\nsymbol = "X"\nprice = "10"\n'
    season = parse_season(f"seed = 1_000\n{table}[scoring]\ndrawdown_penalty = 1e-1\n")
    assert (season.seed, season.scoring.drawdown_penalty) == (1000, 0.1)


# --- whole numbers ------------------------------------------------------------------------------------------------------


@given(NEAR_NUMBERS)
def test_a_text_is_a_whole_number_if_and_only_if_it_matches_the_grammar(text: str) -> None:
    for signed in (False, True):
        rest = text[1:] if signed and text.startswith("-") else text
        if 1 <= len(rest) <= 19 and set(rest) <= set("0123456789"):
            assert whole_number(text, signed) == int(text)
        else:
            with pytest.raises(NotPlainError, match=WHOLE_EXAMPLE):
                whole_number(text, signed)


def queries() -> Iterator[tuple[Any, str, str]]:
    """Yield the app, the path and the name of every whole number in a query of the gateway and the feed."""
    for app in (rest.gateway(), rest.feed()):
        for path, operations in app.openapi()["paths"].items():
            for parameter in operations.get("get", {}).get("parameters", ()):
                if parameter["in"] == "query" and parameter["schema"].get("type") == "integer":
                    yield app, path, parameter["name"]


QUERIES = {f"{path}?{name}": (app, path, name) for app, path, name in queries()}


async def answer_to(name: str, text: str) -> httpx.Response:
    app, path, parameter = QUERIES[name]
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, params={parameter: text})


def test_queries_of_both_services_are_found() -> None:
    assert {"/fills?before", "/orders?limit", "/trades/{security_id}?before", "/leaderboard?limit"} <= QUERIES.keys()


@pytest.mark.parametrize("name", QUERIES)
async def test_a_text_that_is_not_a_whole_number_is_refused_in_every_query(name: str) -> None:
    for text in (*BAD_WHOLE_NUMBERS, "-10"):
        answer = await answer_to(name, text)
        assert answer.status_code == 422, text
        error = answer.json()["error"]
        field = name.partition("?")[2]
        assert (error["code"], error["field"]) == ("INVALID_FIELD", field), text
        assert error["message"].startswith(f"{field}: "), text
        assert WHOLE_EXAMPLE in error["message"], text


@pytest.mark.parametrize("name", QUERIES)
async def test_a_whole_number_is_taken_in_every_query(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    # The routes have no state here, so an answer is a fault. Its log takes long.
    monkeypatch.setattr(web, "_logger", SimpleNamespace(error=lambda *_, **__: None))
    for text in GOOD_WHOLE_NUMBERS:
        assert (await answer_to(name, text)).status_code != 422, text


@pytest.mark.parametrize("text", BAD_WHOLE_NUMBERS, ids=ascii)
def test_an_id_of_an_order_is_a_whole_number(text: str) -> None:
    with pytest.raises(Refusal, match=f"^order_id: .*{WHOLE_EXAMPLE}") as refused:
        order_id(text)
    assert (refused.value.code, refused.value.field) == (Code.UNKNOWN_ORDER, "order_id")


@pytest.mark.parametrize("column", ["maker_fee_bps", "taker_fee_bps", "band_bps", "auction_seconds"])
def test_a_whole_number_in_a_listing_is_plain(column: str) -> None:
    read = in_listing(column)
    for text in BAD_WHOLE_NUMBERS:
        if is_of(BY_NAME["listing tick_size"], text):
            with pytest.raises(ListingError, match=f"line 2: X: {column} .*write for example 100 or -100"):
                read(text)
    for text in (*GOOD_WHOLE_NUMBERS, "-10"):
        read(text)


@pytest.mark.parametrize(("text", "ticks"), [("$1,234.50", 123_450), ("€12", 1200), ("1,234,567", 123_456_700)])
def test_a_price_in_a_listing_may_have_a_currency_sign_and_commas_between_thousands(text: str, ticks: int) -> None:
    (listing,) = read_listing(["symbol,name,price", f'X,x,"{text}"'])
    assert listing.reference_price == ticks


@pytest.mark.parametrize("text", ["$", "$$5", "1,2", "12,34,567", ",123", "1,234,", "5$"])
def test_other_signs_and_commas_in_a_price_of_a_listing_are_refused(text: str) -> None:
    with pytest.raises(ListingError, match=r"reference_price cannot be used: .* is not a plain decimal"):
        read_listing(["symbol,name,price", f'X,x,"{text}"'])


# --- settings -----------------------------------------------------------------------------------------------------------


NUMERIC_SETTINGS = {
    f"{service} {name}": (settings, name, field.annotation)
    for service, settings in SETTINGS.items()
    for name, field in settings.model_fields.items()
    if field.annotation in (int, float, Decimal)
}
ADDRESSES = {"MX_LOG_URL": "amqp://x", "MX_DATABASE_URL": "postgresql://x"}


def read_settings(monkeypatch: pytest.MonkeyPatch, settings: type[BaseSettings], name: str, text: str) -> Any:
    for variable, value in {**ADDRESSES, f"MX_{name.upper()}": text}.items():
        monkeypatch.setenv(variable, value)
    return getattr(settings(), name)


@pytest.mark.parametrize("name", NUMERIC_SETTINGS)
def test_a_number_of_a_setting_is_plain(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    settings, field, kind = NUMERIC_SETTINGS[name]
    is_whole = kind is int
    for text in BAD_WHOLE_NUMBERS if is_whole else BAD_NUMBERS:
        with pytest.raises(ValueError, match=r"write for example (100 or -100|12\.50 or -12\.50)") as refused:
            read_settings(monkeypatch, settings, field, text)
        assert field in str(refused.value)
    greatest = next((part.le for part in settings.model_fields[field].metadata if hasattr(part, "le")), None)
    for text in GOOD_WHOLE_NUMBERS if is_whole else GOOD_DECIMALS:
        if greatest is None or Decimal(text) <= greatest:
            assert read_settings(monkeypatch, settings, field, text) == Decimal(text)


@pytest.mark.parametrize("text", BAD_DECIMALS, ids=ascii)
def test_the_shares_of_the_endowment_are_plain_decimals(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    settings = SETTINGS["gateway"]
    if not text.startswith("-") or text == "-":
        with pytest.raises(ValueError, match="endowment_shares"):
            read_settings(monkeypatch, settings, "endowment_shares", json.dumps({"*": text}))
    assert read_settings(monkeypatch, settings, "endowment_shares", '{"*": "12.50", "X": 3}') == {
        "*": Decimal("12.50"),
        "X": 3,
    }


@pytest.mark.parametrize("text", BAD_WHOLE_NUMBERS, ids=ascii)
def test_the_number_of_securities_of_the_house_is_a_whole_number(text: str) -> None:
    if text:
        with pytest.raises(Exception, match="MX_HOUSE_SYMBOLS must be a number or a JSON list"):
            choose_symbols(text, ["X", "Y"])
    assert choose_symbols("1", ["X", "Y"]) == ["X"]


# --- the command line ---------------------------------------------------------------------------------------------------


def options() -> Iterator[tuple[str, str, type, Any]]:
    """Yield the command, the flag, the type and the parser of every option for a number."""
    for name, command in get_command(command_line).commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            runtime = parameter.get_runtime_param()
            if runtime.annotation in (int, float):
                yield name, parameter.opts[0], runtime.annotation, runtime.parameter_info.parser


OPTIONS = {f"{command} {flag}": (command, flag, kind, parser) for command, flag, kind, parser in options()}


def test_options_of_several_commands_are_found() -> None:
    assert {"up --bots", "compete --feed-port", "simulate --patience", "tournament --rounds"} <= OPTIONS.keys()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_number_of_an_option_is_plain(name: str) -> None:
    command, flag, kind, parse = OPTIONS[name]
    for text in BAD_WHOLE_NUMBERS if kind is int else BAD_DECIMALS:
        result = CliRunner().invoke(command_line, [command, f"{flag}={text}"])
        assert result.exit_code == 2, text
        assert f"Invalid value for '{flag}'" in result.output, text
        assert "write for example" in result.output.replace("\n", " "), text
    for text in GOOD_WHOLE_NUMBERS if kind is int else GOOD_DECIMALS:
        assert parse(text) == Decimal(text)


# --- the SDK ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_float_of_a_bot_is_finite(number: float) -> None:
    with pytest.raises(ValueError, match=r"price: .* is not a number in range"):
        rounded_price(number, Decimal("0.01"), ROUND_FLOOR)


@pytest.mark.parametrize("number", [1e-7, Decimal("1E+5"), 12.5, 3])
def test_the_sdk_writes_numbers_as_plain_decimals(number: Decimal | float) -> None:
    requests = (
        new_order_request("buy", "X", number, number, {"trigger_price": number}),
        amend_request("1", number, number, None),
    )
    for request in requests:
        for field in ("quantity", "price", "trigger_price"):
            text = (request.body or {}).get(field, "0")
            assert plain_decimal(str(text)) in (Decimal(str(number)), 0)


def test_the_sdk_sends_text_as_it_is_for_the_exchange_to_check() -> None:
    assert (new_order_request("buy", "X", "1_000", None, {}).body or {})["quantity"] == "1_000"


@pytest.mark.parametrize(("text", "value"), [('"-1.50"', "-1.50"), ('"2"', "2"), ("-3", "-3"), ("-0.5", "-0.5")])
def test_a_signed_amount_may_be_negative(text: str, value: str) -> None:
    assert json_decoder(SignedAmount).decode(text) == Decimal(value)


@pytest.mark.parametrize("text", ['"+1"', '"--1"', '"-"', '"1e5"', '" -1"', "1e99", "null", "true"])
def test_a_signed_amount_that_is_not_plain_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        json_decoder(SignedAmount).decode(text)
