"""Numbers, ids, cursors, keys: the small shared parts."""

import itertools
import stat
import subprocess
import sys
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection

from microexchange.access import GUEST, Access
from microexchange.auth import ADMIN, Keys
from microexchange.batches import Batch
from microexchange.databases import database_url, without_secrets
from microexchange.enums import PricingRule
from microexchange.health import Health
from microexchange.ids import COUNTER_BITS, EPOCH_MS, IdSequence, gateway_of
from microexchange.numbers import (
    NotExactError,
    average_price,
    cash_to_text,
    cash_to_units,
    divide_half_even,
    from_steps,
    tick_value,
    to_steps,
)
from microexchange.producer_cursors import ProducerCursor, ProducerCursors, SequenceGapError
from microexchange.refusals import MEANING, Code, Refusal
from microexchange.schemas import time_text
from microexchange.securities import LIQUID, ListingError, listing_json, most_traded, read_listing, unknown_columns
from microexchange.web import HTTP_STATUS, make_app
from order_entry_gateway.requests import ListingRequest, list_security

# --- numbers ------------------------------------------------------------------------------------------------------------


@given(st.integers(-(10**18), 10**18))
def test_cash_goes_to_text_and_back_unchanged(units: int) -> None:
    assert cash_to_units(Decimal(cash_to_text(units))) == units


@given(st.integers(0, 10**12), st.sampled_from(["0.01", "1", "0.0001", "5", "0.25"]))
def test_steps_go_to_text_and_back_unchanged(steps: int, step: str) -> None:
    assert to_steps(Decimal(from_steps(steps, Decimal(step))), Decimal(step)) == steps


@pytest.mark.parametrize("value", ["0.015", "NaN", "Infinity", "-Infinity", "1e40", "1e-40", "sNaN"])
def test_what_is_no_whole_number_of_steps_is_refused(value: str) -> None:
    with pytest.raises(NotExactError):
        to_steps(Decimal(value), Decimal("0.01"))


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**12))
def test_division_rounds_half_to_even_as_decimals_do(numerator: int, denominator: int) -> None:
    exact, rest = divmod(numerator, denominator)
    nearest = divide_half_even(numerator, denominator)
    assert nearest in (exact, exact + 1)
    assert abs(nearest * denominator - numerator) * 2 <= denominator
    if rest * 2 == denominator:
        assert nearest % 2 == 0


def test_the_average_price_is_the_mean_per_share() -> None:
    assert average_price(30_00000000, 3, Decimal(1)) == "10"
    assert average_price(10_00000000, 3, Decimal(1)) == "3.33333333"
    assert average_price(0, 0, Decimal(1)) is None
    assert average_price(1_00000000, 20_000, Decimal("0.0001")) == "0.5"


def test_a_tick_of_a_lot_is_worth_whole_units() -> None:
    assert tick_value("0.01", "0.0001") == 100
    with pytest.raises(NotExactError):
        tick_value("0.00001", "0.0001")


def test_time_is_told_in_utc_with_microseconds() -> None:
    assert time_text(0) == "1970-01-01T00:00:00.000000Z"
    assert time_text(1_700_000_000_999_999_999) == "2023-11-14T22:13:20.999999Z"


# --- ids ----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3 * 10**18), min_size=2, max_size=50), st.integers(0, 1023))
def test_ids_only_grow_whatever_the_clock_does(times: list[int], gateway: int) -> None:
    ids = IdSequence(gateway)
    given_out = [ids.next(now) for now in times]
    assert all(earlier < later for earlier, later in itertools.pairwise(given_out))
    assert {gateway_of(one) for one in given_out} == {gateway}
    assert all(0 < one < 1 << 63 for one in given_out)


def test_more_ids_in_a_millisecond_than_the_counter_holds_carry_into_the_next() -> None:
    ids = IdSequence(5)
    now = EPOCH_MS * 1_000_000
    given_out = [ids.next(now) for _ in range((1 << COUNTER_BITS) + 10)]
    assert given_out == sorted(set(given_out))
    assert {gateway_of(one) for one in given_out} == {5}


def test_ids_begin_above_the_floor_even_if_the_clock_was_set_back() -> None:
    used = IdSequence(3).next(2 * 10**18)
    assert IdSequence(3, floor=used).next(1_800_000_000_000_000_000) > used


def test_gateways_at_the_same_time_give_different_ids() -> None:
    assert IdSequence(1).next(2 * 10**18) != IdSequence(2).next(2 * 10**18)


# --- cursors ----------------------------------------------------------------------------------------------------------


def batch(producer: str, fencing_token: int, sequence: int, *records: str) -> Batch[str]:
    return Batch(1, producer, fencing_token, sequence, 0, list(records))


def test_new_records_are_taken_and_repeated_ones_are_not() -> None:
    cursors = ProducerCursors()
    assert cursors.take(batch("engine", 1, 1, "a", "b")) == ["a", "b"]
    assert cursors.take(batch("engine", 1, 1, "a", "b")) == []
    assert cursors.take(batch("engine", 1, 2, "b", "c")) == ["c"]


def test_a_gap_is_an_error_and_takes_nothing() -> None:
    cursors = ProducerCursors()
    cursors.take(batch("engine", 1, 1, "a"))
    with pytest.raises(SequenceGapError):
        cursors.take(batch("engine", 1, 3, "c"))
    assert cursors.take(batch("engine", 1, 2, "b", "c")) == ["b", "c"]


def test_an_engine_that_starts_again_goes_on_with_its_numbers() -> None:
    cursors = ProducerCursors()
    cursors.take(batch("engine", 1, 1, "a", "b"))
    assert cursors.take(batch("engine", 2, 2, "b", "c")) == ["c"]


def test_a_replaced_process_is_not_heard_any_more() -> None:
    cursors = ProducerCursors()
    cursors.take(batch("engine", 1, 1, "a"))
    cursors.take(batch("engine", 2, 2))
    assert cursors.take(batch("engine", 1, 2, "stale")) == []
    assert cursors.take(batch("engine", 2, 2, "b")) == ["b"]


def test_a_gateway_begins_each_epoch_at_1() -> None:
    cursors = ProducerCursors()
    cursors.take(batch("gateway-0", 1, 1, "a", "b"))
    assert cursors.take(batch("gateway-0", 2, 1, "c")) == ["c"]
    assert cursors.by_producer["gateway-0"] == ProducerCursor(2, 1)


def asking(host: str = "127.0.0.1", /, **headers: str) -> HTTPConnection:
    """A request with these headers, from that address."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "headers": raw, "client": (host, 1)})


# --- keys ---------------------------------------------------------------------------------------------------------------


def test_a_key_names_its_client(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    issued = keys.issue("alice")
    assert keys.identify(issued.key) == ("alice", issued.key_id)
    assert Access(keys).client(asking(authorization=f"Bearer {issued.key}")) == "alice"


def test_services_on_one_folder_accept_each_others_keys(tmp_path: Path) -> None:
    assert Keys(tmp_path).identify(Keys(tmp_path).issue("alice").key)[0] == "alice"


def test_a_key_of_another_market_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as refusal:
        Keys(tmp_path / "one").identify(Keys(tmp_path / "two").issue("alice").key)
    assert refusal.value.code is Code.UNAUTHENTICATED


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer x.y.z", "Bearer ünïcode"])
def test_a_header_without_a_valid_key_is_refused(tmp_path: Path, header: str | None) -> None:
    with pytest.raises(Refusal) as refusal:
        Access(Keys(tmp_path)).identify(asking(**({} if header is None else {"authorization": header})))
    assert refusal.value.code is Code.UNAUTHENTICATED


def test_secrets_are_their_owners_alone_and_differ_from_market_to_market(tmp_path: Path) -> None:
    one, two = Keys(tmp_path / "one"), Keys(tmp_path / "two")
    assert stat.S_IMODE(one.admin_token_file.stat().st_mode) == 0o600
    assert one.admin_token_file.read_text() != two.admin_token_file.read_text()


def test_the_admin_token_opens_everything_and_a_clients_key_only_its_own(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    access = Access(keys)
    admin = asking(authorization=f"Bearer {keys.admin_token_file.read_text().strip()}")
    alice = asking(authorization=f"Bearer {keys.issue('alice').key}")
    assert access.owner(admin, "alice") == ADMIN
    assert access.owner(alice, "alice") == "alice"
    access.admin(admin)
    for refused in (lambda: access.owner(alice, "bob"), lambda: access.admin(alice), lambda: access.client(admin)):
        with pytest.raises(Refusal) as refusal:
            refused()
        assert refusal.value.code is Code.FORBIDDEN


@pytest.mark.parametrize(
    ("headers", "who"),
    [({}, GUEST), ({"client-id": "ada"}, "ada"), ({"client-id": ""}, GUEST), ({"client-id": "a" * 32}, "a" * 32)],
)
def test_in_a_classroom_a_client_is_known_by_name_alone(tmp_path: Path, headers: dict[str, str], who: str) -> None:
    assert Access(Keys(tmp_path), classroom=True).client(asking(**headers)) == who
    with pytest.raises(Refusal) as refusal:
        Access(Keys(tmp_path)).client(asking(**headers))
    assert refusal.value.code is Code.UNAUTHENTICATED


@pytest.mark.parametrize("name", ["admin", "ADMIN", "$issuer", "a b", "a" * 33, "-a"])
def test_in_a_classroom_too_nobody_is_called_like_the_admin_or_the_exchange(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refusal) as refusal:
        Access(Keys(tmp_path), classroom=True).client(asking(**{"client-id": name}))
    assert (refusal.value.code, refusal.value.field) == (Code.INVALID_FIELD, "Client-ID")


def test_in_a_classroom_a_key_goes_before_a_name(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    request = asking(**{"authorization": f"Bearer {keys.issue('alice').key}", "client-id": "bob"})
    assert Access(keys, classroom=True).client(request) == "alice"


@pytest.mark.parametrize(
    ("host", "origin", "may"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("127.0.0.1", "http://localhost:8001", True),
        ("127.0.0.1", "http://127.0.0.1:8001", True),
        ("127.0.0.1", "https://elsewhere.example", False),
        ("127.0.0.1", "null", False),
        ("192.168.1.5", None, False),
        ("192.168.1.5", "http://localhost", False),
        ("not-an-address", None, False),
    ],
)
def test_in_a_classroom_the_admin_is_who_sits_at_the_machine(
    tmp_path: Path, host: str, origin: str | None, may: bool
) -> None:
    request = asking(host, **({} if origin is None else {"origin": origin}))
    assert Access(Keys(tmp_path), classroom=True).is_admin(request) is may
    with pytest.raises(Refusal):
        Access(Keys(tmp_path)).admin(request)


# --- metrics ------------------------------------------------------------------------------------------------------------


async def test_every_number_of_a_services_status_is_a_metric() -> None:
    health = Health()
    status = {"offset": 7, "name": "x", "p50": None, "sequences": {"engine": 3, "clearing": 4}, "rejects": {}}
    transport = httpx.ASGITransport(make_app("x", "x", health, lambda: status))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        lines = (await http.get("/metrics")).text.splitlines()
        assert {"microexchange_ready 1.0", "microexchange_offset 7.0"} <= set(lines)
        assert 'microexchange_sequences{name="engine"} 3.0' in lines
        assert not any("microexchange_name" in line or "p50" in line or "rejects" in line for line in lines)
        health.wait("log", "it is away")
        assert "microexchange_ready 0.0" in (await http.get("/metrics")).text.splitlines()


# --- refusals, addresses, listings --------------------------------------------------------------------------------------


def test_every_code_has_a_status_and_a_meaning() -> None:
    assert set(HTTP_STATUS) == set(MEANING) == set(Code)


def test_a_refusal_has_one_shape() -> None:
    assert Refusal(Code.INVALID_FIELD, "no", "price").as_json() == {
        "error": {"code": "INVALID_FIELD", "message": "no", "field": "price"}
    }
    assert "field" not in Refusal(Code.NOT_FOUND, "no").as_json()["error"]  # type: ignore[operator]


def test_an_address_in_an_error_shows_no_secret() -> None:
    assert without_secrets("postgresql://me:secret@db:5432/x?password=secret") == "postgresql://db:5432"


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("postgresql://me:pw@db:5432", "postgresql://me:pw@db:5432/n_x"),
        ("postgres://me@db/other?sslmode=require", "postgresql://me@db/n_x?sslmode=require"),
        ("postgresql://postgres@/?host=/tmp/pg", "postgresql://postgres@/n_x?host=/tmp/pg"),
        ("postgresql:///?host=/tmp/pg", "postgresql:///n_x?host=/tmp/pg"),
    ],
)
def test_a_database_is_addressed_on_its_server(server: str, expected: str) -> None:
    assert database_url(server, "n_", "x") == expected


HEADER = "symbol,name,tick_size,lot_size,reference_price"


def test_a_listing_file_becomes_commands() -> None:
    (one,) = read_listing([HEADER, "BTC-USDT,Bitcoin,0.01,0.0001,60000.00"])
    assert (one.symbol, one.tick_size, one.lot_size, one.reference_price) == ("BTC-USDT", "0.01", "0.0001", 6_000_000)


def test_of_the_listing_that_ships_the_most_traded_come_first() -> None:
    listing = read_listing(files("order_entry_gateway").joinpath("listing.csv").read_text().splitlines())
    few = most_traded(listing, 10)
    assert tuple(one.symbol for one in few) == LIQUID[:10]
    assert tuple(one.symbol for one in most_traded(listing, 1000))[: len(LIQUID)] == LIQUID, "all of them are listed"
    own = read_listing([HEADER, "B,x,0.01,1,1", "AAPL,x,0.01,1,1", "A,x,0.01,1,1"])
    assert [one.symbol for one in most_traded(own, 2)] == ["AAPL", "B"], "then as they stand in the file"


def test_a_listing_may_say_all_other_terms() -> None:
    header = HEADER + ",pricing_rule,maker_fee_bps,band_bps,max_order_quantity,max_order_value,short_limit,state"
    one, other = read_listing([header, "A,x,0.01,0.1,1,midpoint,-5,500,10,1000.50,2,pre_open", "B,x,0.01,1,1,,,,,,,"])
    assert (one.pricing_rule, one.maker_fee_bps, one.band_bps, one.state) == ("midpoint", -5, 500, "pre_open")
    assert (one.max_order_quantity, one.max_order_value, one.short_limit) == (100, 100_050_000_000, 20)
    assert (other.pricing_rule, other.maker_fee_bps, other.band_bps) == ("resting", 10, 0)
    with pytest.raises(ListingError, match="line 2: A"):
        read_listing([HEADER + ",pricing_rule", "A,x,0.01,1,1,cheapest"])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("BAD SYMBOL,x,0.01,1,1", "line 2"),
        ("X,x,zero,1,1", "tick size 'zero'"),
        ("X,x,0.01,1,cheap", "line 2: X"),
        ("X,x,0.01,-1,1", "line 2: X"),
        (",x,0.01,1,1", "line 2"),
        ("X,x,0.01,1,1e999999", "reference_price cannot be used: it is no number"),
        ("X,x,0.01,1,NaN", "reference_price"),
        ("X,x,0.01,1,Infinity", "reference_price"),
        (f"X,{'x' * 200_000},0.01,1,1", "line 2"),
    ],
)
def test_a_listing_that_is_not_usable_says_where(line: str, says: str) -> None:
    with pytest.raises(ListingError, match=says):
        read_listing([HEADER, line])


def test_any_file_with_symbols_and_names_is_a_listing() -> None:
    downloaded = ["Symbol,Name,Last Sale,Net Change,Sector", 'ABC,"ABC, Inc.","$1,234.567",-0.1,Technology', "DEF,Def,,,"]
    first, second = read_listing(downloaded)
    assert (first.name, first.reference_price, first.tick_size, first.lot_size) == ("ABC, Inc.", 123457, "0.01", "1")
    assert second.reference_price == 10000
    (coarse,) = read_listing(["symbol,name,tick,lot,pricing", "X,x,0.5,10,midpoint"])
    assert (coarse.tick_size, coarse.lot_size, coarse.pricing_rule) == ("0.5", "10", PricingRule.MIDPOINT)


@pytest.mark.parametrize("column", ["reference_price", "Price", "price", "last sale", "LAST_SALE"])
def test_a_price_has_several_names(column: str) -> None:
    lines = [f"symbol,name,{column}", "X,x,12.50"]
    assert (read_listing(lines)[0].reference_price, unknown_columns(lines)) == (1250, [])


def test_of_two_columns_with_a_price_the_terms_own_name_goes_first_and_the_other_is_named() -> None:
    lines = ["symbol,last sale,name,price,reference_price", "X,3,x,2,1"]
    assert (read_listing(lines)[0].reference_price, unknown_columns(lines)) == (100, ["last sale", "price"])


def test_columns_that_are_no_terms_are_named_as_the_file_writes_them() -> None:
    assert unknown_columns(["Symbol,Name,Net Change,Sector,", "X,x,1,y,"]) == ["Net Change", "Sector"]


def test_what_lists_a_security_again_is_what_the_file_said() -> None:
    header = HEADER + ",max_order_value,short_limit,band_bps"
    (listing,) = read_listing([header, "BTC-USDT,Bitcoin,0.01,0.0001,60000.00,1000.5,0.5,300"])
    request = msgspec.convert(listing_json(listing), ListingRequest)
    assert list_security(request, 0, 0) == listing


def test_a_listing_without_a_column_says_which() -> None:
    with pytest.raises(ListingError, match="name"):
        read_listing(["symbol,tick", "X,1"])


# --- processors ---------------------------------------------------------------------------------------------------------

NICE = """
import os, pathlib, sys
from microexchange.service import leave_to_others
if sys.argv[1] == "led" and os.fork():
    os.wait()
    os._exit(0)
leave_to_others(7)
print(os.nice(0), pathlib.Path("/proc/self/autogroup").read_text())
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this system shares processors out by process alone")
@pytest.mark.parametrize(("place", "of_session"), [("leader", "nice 7"), ("led", "nice 0")])
def test_who_leads_a_session_is_nice_with_the_whole_of_it(place: str, of_session: str) -> None:
    command = [sys.executable, "-c", NICE, place]
    said = subprocess.run(command, check=True, capture_output=True, text=True, start_new_session=True).stdout
    assert said.startswith("7 ")
    assert said.strip().endswith(of_session)
