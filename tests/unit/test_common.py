"""Tests of the shared modules: numbers, ids, cursors, keys, refusals, addresses and listings."""

import itertools
import json
import stat
import subprocess
import sys
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import httpx
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
from microexchange.number_fields import json_decoder
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
from microexchange.securities import (
    MOST_TRADED_SYMBOLS,
    ListingError,
    listing_json,
    most_traded,
    read_listing,
    unknown_columns,
)
from microexchange.web import HTTP_STATUS, make_app
from order_entry_gateway.requests import ListingRequest, list_security

# --- numbers ------------------------------------------------------------------------------------------------------------


@given(st.integers(-(10**18), 10**18))
def test_cash_is_unchanged_after_a_conversion_to_text_and_back(units: int) -> None:
    assert cash_to_units(Decimal(cash_to_text(units))) == units


@given(st.integers(0, 10**12), st.sampled_from(["0.01", "1", "0.0001", "5", "0.25"]))
def test_steps_are_unchanged_after_a_conversion_to_text_and_back(steps: int, step: str) -> None:
    assert to_steps(Decimal(from_steps(steps, Decimal(step))), Decimal(step)) == steps


@pytest.mark.parametrize("value", ["0.015", "NaN", "Infinity", "-Infinity", "1e40", "1e-40", "sNaN"])
def test_a_value_that_is_not_a_whole_number_of_steps_is_refused(value: str) -> None:
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


def test_a_time_is_formatted_in_utc_with_microseconds() -> None:
    assert time_text(0) == "1970-01-01T00:00:00.000000Z"
    assert time_text(1_700_000_000_999_999_999) == "2023-11-14T22:13:20.999999Z"


# --- ids ----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3 * 10**18), min_size=2, max_size=50), st.integers(0, 1023))
def test_ids_always_increase_even_if_the_clock_is_set_back(times: list[int], gateway: int) -> None:
    ids = IdSequence(gateway)
    issued = [ids.next(now) for now in times]
    assert all(earlier < later for earlier, later in itertools.pairwise(issued))
    assert {gateway_of(command_id) for command_id in issued} == {gateway}
    assert all(0 < command_id < 1 << 63 for command_id in issued)


def test_a_full_counter_of_ids_continues_in_the_next_millisecond() -> None:
    ids = IdSequence(5)
    now = EPOCH_MS * 1_000_000
    issued = [ids.next(now) for _ in range((1 << COUNTER_BITS) + 10)]
    assert issued == sorted(set(issued))
    assert {gateway_of(command_id) for command_id in issued} == {5}


def test_ids_begin_above_the_highest_used_id_even_if_the_clock_was_set_back() -> None:
    used = IdSequence(3).next(2 * 10**18)
    assert IdSequence(3, floor=used).next(1_800_000_000_000_000_000) > used


def test_gateways_at_the_same_time_give_different_ids() -> None:
    assert IdSequence(1).next(2 * 10**18) != IdSequence(2).next(2 * 10**18)


# --- cursors ----------------------------------------------------------------------------------------------------------


def batch(producer: str, fencing_token: int, sequence: int, *records: str) -> Batch[str]:
    return Batch(1, producer, fencing_token, sequence, 0, list(records))


def test_new_records_are_accepted_and_repeated_records_are_not() -> None:
    cursors = ProducerCursors()
    assert cursors.take(batch("engine", 1, 1, "a", "b")) == ["a", "b"]
    assert cursors.take(batch("engine", 1, 1, "a", "b")) == []
    assert cursors.take(batch("engine", 1, 2, "b", "c")) == ["c"]


def test_a_gap_in_the_sequence_is_an_error_and_accepts_no_record() -> None:
    cursors = ProducerCursors()
    cursors.take(batch("engine", 1, 1, "a"))
    with pytest.raises(SequenceGapError):
        cursors.take(batch("engine", 1, 3, "c"))
    assert cursors.take(batch("engine", 1, 2, "b", "c")) == ["b", "c"]


def test_a_restarted_engine_continues_its_sequence() -> None:
    cursors = ProducerCursors()
    cursors.take(batch("engine", 1, 1, "a", "b"))
    assert cursors.take(batch("engine", 2, 2, "b", "c")) == ["c"]


def test_records_of_a_replaced_process_are_ignored() -> None:
    cursors = ProducerCursors()
    cursors.take(batch("engine", 1, 1, "a"))
    cursors.take(batch("engine", 2, 2))
    assert cursors.take(batch("engine", 1, 2, "stale")) == []
    assert cursors.take(batch("engine", 2, 2, "b")) == ["b"]


def test_the_sequence_of_a_gateway_begins_at_1_with_each_fencing_token() -> None:
    cursors = ProducerCursors()
    cursors.take(batch("gateway-0", 1, 1, "a", "b"))
    assert cursors.take(batch("gateway-0", 2, 1, "c")) == ["c"]
    assert cursors.by_producer["gateway-0"] == ProducerCursor(2, 1)


def asking(host: str = "127.0.0.1", /, **headers: str) -> HTTPConnection:
    """Return a connection from `host` with these headers."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "headers": raw, "client": (host, 1)})


# --- keys ---------------------------------------------------------------------------------------------------------------


def test_a_key_identifies_its_client(tmp_path: Path) -> None:
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


def test_only_the_owner_can_read_secrets_and_each_market_has_its_own(tmp_path: Path) -> None:
    first, second = Keys(tmp_path / "first"), Keys(tmp_path / "second")
    assert stat.S_IMODE(first.admin_token_file.stat().st_mode) == 0o600
    assert first.admin_token_file.read_text() != second.admin_token_file.read_text()


def test_the_admin_token_grants_access_to_all_accounts_and_a_key_only_to_its_own(tmp_path: Path) -> None:
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
    ("headers", "client_id"),
    [({}, GUEST), ({"client-id": "ada"}, "ada"), ({"client-id": ""}, GUEST), ({"client-id": "a" * 32}, "a" * 32)],
)
def test_in_a_classroom_a_name_alone_identifies_a_client(tmp_path: Path, headers: dict[str, str], client_id: str) -> None:
    assert Access(Keys(tmp_path), classroom=True).client(asking(**headers)) == client_id
    with pytest.raises(Refusal) as refusal:
        Access(Keys(tmp_path)).client(asking(**headers))
    assert refusal.value.code is Code.UNAUTHENTICATED


@pytest.mark.parametrize("name", ["admin", "ADMIN", "$issuer", "a b", "a" * 33, "-a"])
def test_in_a_classroom_reserved_and_malformed_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refusal) as refusal:
        Access(Keys(tmp_path), classroom=True).client(asking(**{"client-id": name}))
    assert (refusal.value.code, refusal.value.field) == (Code.INVALID_FIELD, "Client-ID")


def test_in_a_classroom_a_key_takes_precedence_over_a_name(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    request = asking(**{"authorization": f"Bearer {keys.issue('alice').key}", "client-id": "bob"})
    assert Access(keys, classroom=True).client(request) == "alice"


@pytest.mark.parametrize(
    ("host", "origin", "is_admin"),
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
def test_in_a_classroom_a_local_request_is_from_the_admin(
    tmp_path: Path, host: str, origin: str | None, is_admin: bool
) -> None:
    request = asking(host, **({} if origin is None else {"origin": origin}))
    assert Access(Keys(tmp_path), classroom=True).is_admin(request) is is_admin
    with pytest.raises(Refusal):
        Access(Keys(tmp_path)).admin(request)


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
def test_in_a_classroom_a_request_that_a_proxy_forwarded_is_not_from_the_admin(tmp_path: Path, header: str) -> None:
    request = asking("127.0.0.1", **{header: "192.0.2.1"})
    assert not Access(Keys(tmp_path), classroom=True).is_admin(request)


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
        health.wait("log", "it is unavailable")
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


def test_a_listing_file_is_read_as_commands() -> None:
    (listed,) = read_listing([HEADER, "BTC-USDT,Bitcoin,0.01,0.0001,60000.00"])
    assert (listed.symbol, listed.tick_size, listed.lot_size) == ("BTC-USDT", "0.01", "0.0001")
    assert listed.reference_price == 6_000_000


def test_the_most_traded_securities_of_the_shipped_listing_come_first() -> None:
    listing = read_listing(files("order_entry_gateway").joinpath("listing.csv").read_text().splitlines())
    few = most_traded(listing, 10)
    assert tuple(listed.symbol for listed in few) == MOST_TRADED_SYMBOLS[:10]
    assert (
        tuple(listed.symbol for listed in most_traded(listing, 1000))[: len(MOST_TRADED_SYMBOLS)] == MOST_TRADED_SYMBOLS
    ), "all are listed"
    own = read_listing([HEADER, "B,x,0.01,1,1", "AAPL,x,0.01,1,1", "A,x,0.01,1,1"])
    assert [listed.symbol for listed in most_traded(own, 2)] == ["AAPL", "B"], "the others follow in the order of the file"


def test_a_listing_may_contain_all_other_terms() -> None:
    header = HEADER + ",pricing_rule,maker_fee_bps,band_bps,max_order_quantity,max_order_value,short_limit,state"
    full, short = read_listing([header, "A,x,0.01,0.1,1,midpoint,-5,500,10,1000.50,2,pre_open", "B,x,0.01,1,1,,,,,,,"])
    assert (full.pricing_rule, full.maker_fee_bps, full.band_bps, full.state) == ("midpoint", -5, 500, "pre_open")
    assert (full.max_order_quantity, full.max_order_value, full.short_limit) == (100, 100_050_000_000, 20)
    assert (short.pricing_rule, short.maker_fee_bps, short.band_bps) == ("resting", 10, 0)
    with pytest.raises(ListingError, match="line 2: A"):
        read_listing([HEADER + ",pricing_rule", "A,x,0.01,1,1,cheapest"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("BAD SYMBOL,x,0.01,1,1", "line 2"),
        ("X,x,0,1,1", "tick size '0'"),
        ("X,x,0.01,1,cheap", "line 2: X"),
        ("X,x,0.01,-1,1", "line 2: X"),
        (",x,0.01,1,1", "line 2"),
        ("X,x,0.01,1,1e999999", "reference_price cannot be used: .* is not a plain decimal"),
        ("X,x,0.01,1,NaN", "reference_price"),
        ("X,x,0.01,1,Infinity", "reference_price"),
        (f"X,{'x' * 200_000},0.01,1,1", "line 2"),
    ],
)
def test_an_unusable_listing_is_refused_with_the_line_or_the_field(line: str, message: str) -> None:
    with pytest.raises(ListingError, match=message):
        read_listing([HEADER, line])


def test_a_file_with_only_symbols_and_names_is_a_listing() -> None:
    downloaded = ["Symbol,Name,Last Sale,Net Change,Sector", 'ABC,"ABC, Inc.","$1,234.567",-0.1,Technology', "DEF,Def,,,"]
    first, second = read_listing(downloaded)
    assert (first.name, first.reference_price, first.tick_size, first.lot_size) == ("ABC, Inc.", 123457, "0.01", "1")
    assert second.reference_price == 10000
    (coarse,) = read_listing(["symbol,name,tick,lot,pricing", "X,x,0.5,10,midpoint"])
    assert (coarse.tick_size, coarse.lot_size, coarse.pricing_rule) == ("0.5", "10", PricingRule.MIDPOINT)


@pytest.mark.parametrize("column", ["reference_price", "Price", "price", "last sale", "LAST_SALE"])
def test_the_column_of_the_price_may_have_several_names(column: str) -> None:
    lines = [f"symbol,name,{column}", "X,x,12.50"]
    assert (read_listing(lines)[0].reference_price, unknown_columns(lines)) == (1250, [])


def test_the_column_reference_price_takes_precedence_and_the_other_price_columns_are_reported() -> None:
    lines = ["symbol,last sale,name,price,reference_price", "X,3,x,2,1"]
    assert (read_listing(lines)[0].reference_price, unknown_columns(lines)) == (100, ["last sale", "price"])


def test_unknown_columns_are_reported_with_the_spelling_of_the_file() -> None:
    assert unknown_columns(["Symbol,Name,Net Change,Sector,", "X,x,1,y,"]) == ["Net Change", "Sector"]


def test_a_listing_request_has_the_same_terms_as_the_file() -> None:
    header = HEADER + ",max_order_value,short_limit,band_bps"
    (listing,) = read_listing([header, "BTC-USDT,Bitcoin,0.01,0.0001,60000.00,1000.5,0.5,300"])
    request = json_decoder(ListingRequest).decode(json.dumps(listing_json(listing)))
    assert list_security(request, 0, 0) == listing


def test_a_missing_column_of_a_listing_is_named() -> None:
    with pytest.raises(ListingError, match="name"):
        read_listing(["symbol,tick", "X,1"])


# --- processors ---------------------------------------------------------------------------------------------------------

PRINT_PRIORITIES = """
import os, pathlib, sys
from microexchange.service import lower_priority
if sys.argv[1] == "follower" and os.fork():
    os.wait()
    os._exit(0)
lower_priority(7)
print(os.nice(0), pathlib.Path("/proc/self/autogroup").read_text())
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this system has no scheduling groups of sessions")
@pytest.mark.parametrize(("place", "of_session"), [("leader", "nice 7"), ("follower", "nice 0")])
def test_only_the_leader_of_a_session_lowers_the_priority_of_the_whole_session(place: str, of_session: str) -> None:
    command = [sys.executable, "-c", PRINT_PRIORITIES, place]
    output = subprocess.run(command, check=True, capture_output=True, text=True, start_new_session=True).stdout
    assert output.startswith("7 ")
    assert output.strip().endswith(of_session)
