"""Tests of requests: every field, every refusal, and the order of requests of one connection."""

import asyncio
import gc
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import httpx
import msgspec
import pytest
from websockets.frames import Opcode

from microexchange.commands import Command, NewOrder, OpenAccount
from microexchange.enums import ExecType, OrderStatus, OrderType, SettlementStatus, Side
from microexchange.frames import EXTENSION
from microexchange.health import Health
from microexchange.limits import RateLimiter
from microexchange.number_fields import json_decoder
from microexchange.numbers import CASH_SCALE
from microexchange.records import Record
from microexchange.refusals import Code, Refusal
from microexchange.reports import AccountOpened, CommandRejected, OrderReport, SecurityListed, SettlementReport
from microexchange.securities import Security
from microexchange.web import decode_json, make_app
from order_entry_gateway.account_routes import Registration
from order_entry_gateway.classroom import classroom_terms
from order_entry_gateway.client_session import ClientSession, changed_order
from order_entry_gateway.gateway_state import GatewayState, clients_of_failed_settlement
from order_entry_gateway.market_policy import ClassroomPolicy, MarketPolicy
from order_entry_gateway.order_service import Limits, OrderService
from order_entry_gateway.pending_commands import OnResult, PendingCommands
from order_entry_gateway.requests import (
    ClientRequest,
    Endowment,
    FundingRequest,
    ListingRequest,
    OrderRequest,
    list_security,
    new_order,
    open_account,
    open_funded,
    order_id,
)
from order_entry_gateway.rest import add_routes
from order_entry_gateway.simple_dialect import SimpleSession
from order_entry_gateway.subscriptions import Subscriptions
from order_entry_gateway.websocket import WebSocketSession
from tests.unit.market import Floor, of
from tests.unit.test_frames import masked, open_connection

LISTED = SecurityListed(1, 1, "X", "X Inc.", "0.01", "1", 10**6, 10_000, 10, 20)
COIN = SecurityListed(1, 1, "BTC-USDT", "Bitcoin", "0.01", "0.0001", 100, 6_000_000, 10, 20)
SECURITIES = {listed.symbol: Security(listed) for listed in (LISTED, COIN)}
GOOD = {"symbol": "X", "side": "buy", "quantity": "5", "price": "10.25"}
_decoder = json_decoder(OrderRequest)


def parse(body: Any) -> NewOrder:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return new_order(decode_json(_decoder, text), SECURITIES, "alice", 77, 99)


def test_an_order_request_is_converted_to_ticks_and_lots() -> None:
    assert parse(GOOD) == NewOrder(77, 99, "alice", "X", Side.BUY, OrderType.LIMIT, 5, 1025)


def test_a_number_may_be_a_string_or_a_json_number_and_is_exact() -> None:
    assert parse(b'{"symbol":"X","side":"buy","quantity":5,"price":10.25}') == parse(GOOD)
    assert parse(b'{"symbol":"BTC-USDT","side":"sell","quantity":0.0003,"price":60000.01}').quantity == 3
    with pytest.raises(Refusal, match=r"multiple of the tick size 0\.01"):
        parse(b'{"symbol":"X","side":"buy","quantity":5,"price":10.250000000000000000001}')


def test_a_market_order_needs_no_price() -> None:
    order = parse({"symbol": "X", "side": "sell", "quantity": 1, "order_type": "market"})
    assert (order.order_type, order.price) == (OrderType.MARKET, None)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"symbol": None}, Code.INVALID_FIELD, "symbol"),
        ({"symbol": 5}, Code.INVALID_FIELD, "symbol"),
        ({"symbol": "NONE"}, Code.UNKNOWN_SYMBOL, "symbol"),
        ({"side": "hold"}, Code.INVALID_FIELD, "side"),
        ({"side": ...}, Code.INVALID_FIELD, "side"),
        ({"quantity": ...}, Code.INVALID_FIELD, "quantity"),
        ({"quantity": "0"}, Code.INVALID_FIELD, "quantity"),
        ({"quantity": "-1"}, Code.INVALID_FIELD, "quantity"),
        ({"quantity": "1.5"}, Code.INVALID_FIELD, "quantity"),
        ({"quantity": "1e50"}, Code.INVALID_FIELD, "quantity"),
        ({"quantity": "1000000000001"}, Code.INVALID_FIELD, "quantity"),
        ({"quantity": "NaN"}, Code.INVALID_FIELD, "quantity"),
        ({"quantity": "Infinity"}, Code.INVALID_FIELD, "quantity"),
        ({"quantity": "five"}, Code.INVALID_FIELD, "quantity"),
        ({"quantity": True}, Code.INVALID_FIELD, "quantity"),
        ({"quantity": [1]}, Code.INVALID_FIELD, "quantity"),
        ({"price": ...}, Code.INVALID_FIELD, "price"),
        ({"price": None}, Code.INVALID_FIELD, "price"),
        ({"price": "0"}, Code.INVALID_FIELD, "price"),
        ({"price": "10.255"}, Code.INVALID_FIELD, "price"),
        ({"order_type": "market"}, Code.INVALID_FIELD, "price"),
        ({"order_type": "maybe"}, Code.INVALID_FIELD, "order_type"),
        ({"client_order_id": "x" * 65}, Code.INVALID_FIELD, "client_order_id"),
        ({"client_order_id": "a\x00b"}, Code.INVALID_FIELD, "client_order_id"),
        ({"client_order_id": "a\nb"}, Code.INVALID_FIELD, "client_order_id"),
        ({"client_order_id": "a\x7f"}, Code.INVALID_FIELD, "client_order_id"),
        ({"client_order_id": "a\x9b2J"}, Code.INVALID_FIELD, "client_order_id"),
        ({"client_order_id": "a\u202eb"}, Code.INVALID_FIELD, "client_order_id"),
        ({"surprise": 1}, Code.INVALID_FIELD, "surprise"),
    ],
)
def test_a_refusal_names_the_invalid_field(change: dict[str, Any], code: Code, field: str) -> None:
    body = {key: value for key, value in {**GOOD, **change}.items() if value is not ...}
    with pytest.raises(Refusal) as refusal:
        parse(body)
    assert (refusal.value.code, refusal.value.field) == (code, field)
    assert len(refusal.value.message) > 10


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_not_a_json_object_is_malformed(body: bytes) -> None:
    with pytest.raises(Refusal) as refusal:
        parse(body)
    assert refusal.value.code is Code.MALFORMED


@pytest.mark.parametrize("client_id", ["", "a b", "$issuer", "-x", "admin", "Admin", "x" * 33, "ünïcode", "a\n"])
def test_an_invalid_client_id_is_refused(client_id: str) -> None:
    endowment = Endowment.of(Decimal(1), {})
    with pytest.raises(Refusal) as refusal:
        open_account(ClientRequest(client_id=client_id), SECURITIES, endowment, 1, 1)
    assert refusal.value.field == "client_id"


def test_an_account_of_the_admin_has_the_requested_assets_and_otherwise_the_endowment() -> None:
    endowment = Endowment.of(Decimal(10_000), {"*": Decimal(1)}, Decimal(7), Decimal(500))
    request = FundingRequest(cash=Decimal(250), shares={"BTC-USDT": Decimal("0.5"), "*": Decimal(3)}, house=True)
    command = open_funded(request, "maker", SECURITIES, endowment, 1, 1)
    assert (command.cash, command.credit_limit, command.short_limit) == (250 * CASH_SCALE, 7 * CASH_SCALE, 500 * CASH_SCALE)
    expected = {symbol: security.lots(Decimal(3)) for symbol, security in SECURITIES.items()}
    assert command.shares == {**expected, "BTC-USDT": SECURITIES["BTC-USDT"].lots(Decimal("0.5"))}
    assert command.house
    default = open_funded(FundingRequest(), "maker", SECURITIES, endowment, 1, 1)
    assert (default.cash, default.shares, default.house) == (endowment.cash, endowment.lots(SECURITIES), False)


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        ({"cash": Decimal(-1)}, "cash"),
        ({"credit": Decimal("1e-9")}, "credit"),
        ({"short_limit": Decimal("Infinity")}, "short_limit"),
        ({"shares": {"*": Decimal(-1)}}, "shares"),
        ({"shares": {"X": Decimal("0.5")}}, "shares"),
        ({"shares": {"NONE": Decimal(1)}}, "symbol"),
    ],
)
def test_the_refusal_of_an_invalid_funding_names_the_field(request_fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Refusal) as refused:
        open_funded(FundingRequest(**request_fields), "maker", SECURITIES, Endowment.of(Decimal(1), {}), 1, 1)
    assert refused.value.field == field


def test_an_account_begins_with_the_endowment_in_whole_lots() -> None:
    endowment = Endowment.of(Decimal("10000.00"), {"*": Decimal("100.5"), "BTC-USDT": Decimal("0.25")})
    command = open_account(ClientRequest(client_id="alice"), SECURITIES, endowment, 1, 1)
    assert command.cash == 10_000 * 10**8
    assert command.shares == {"X": 100, "BTC-USDT": 2500}


@pytest.mark.parametrize(("cash", "shares"), [("-1", {}), ("1e20", {}), ("NaN", {}), ("1", {"*": Decimal(-1)})])
def test_an_invalid_endowment_raises_an_error(cash: str, shares: dict[str, Decimal]) -> None:
    with pytest.raises(ValueError, match=r"must|range"):
        Endowment.of(Decimal(cash), shares)


def test_an_order_whose_end_does_not_fit_the_log_is_refused() -> None:
    body = {**GOOD, "time_in_force": "gtd", "expire_at": "5397-01-01T00:00:00Z"}
    with pytest.raises(Refusal, match="before the year 2262") as refused:
        parse(body)
    assert refused.value.field == "expire_at"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("maker_fee_bps", 1 << 64),
        ("taker_fee_bps", -(1 << 64)),
        ("band_bps", 1 << 64),
        ("auction_seconds", 1 << 64),
        ("tick_size", "1e999999999"),
        ("lot_size", "1e-999999999"),
        ("reference_price", "1e25"),
        ("short_limit", "1e20"),
        ("position_limit", "1e20"),
        ("max_order_value", "1e20"),
        ("reference_price", f"1{25 * '0'}"),
        ("short_limit", f"1{20 * '0'}"),
        ("position_limit", f"1{20 * '0'}"),
        ("max_order_value", f"1{20 * '0'}"),
    ],
)
def test_a_listing_whose_number_does_not_fit_the_log_is_refused(field: str, value: Any) -> None:
    body = json.dumps({"symbol": "X", "name": "X Inc.", field: value}).encode()
    with pytest.raises(Refusal) as refused:
        list_security(decode_json(json_decoder(ListingRequest), body), 1, 1)
    assert refused.value.field == field


@pytest.mark.parametrize("quantity", ["1e40", "1e999999", "0.5"])
def test_an_account_has_no_shares_of_a_quantity_that_no_holding_can_have(quantity: str) -> None:
    assert Endowment(0, {"X": Decimal(quantity)}).lots({"X": SECURITIES["X"]}) == {}


@pytest.mark.parametrize(
    ("message", "answered"),
    [
        (b'{"type": "\x8c"}', ("error", "Unknown message type: '\"\ufffd\"'")),
        (b'{"type": "buy", "symbol": "\xa2", "price": 1, "quantity": 1}', ("status", "rejected")),
    ],
)
async def test_the_simple_dialect_answers_a_text_that_is_not_utf_8(message: bytes, answered: tuple[str, str]) -> None:
    session = SimpleSession(cast(Any, None), cast(Any, None), cast(Any, None), cast(Any, None))
    answer = await session._answer(cast(Any, None), message)
    assert answer[answered[0]] == answered[1]


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "1.5", "9" * 19, "9" * 25, "٣", "1 "])
def test_an_invalid_order_id_is_refused_as_unknown(text: str) -> None:
    with pytest.raises(Refusal) as refusal:
        order_id(text)
    assert refusal.value.code is Code.UNKNOWN_ORDER


def test_the_gateway_state_keeps_the_newest_report_of_an_order() -> None:
    floor, state = Floor(), GatewayState()
    order, events = floor.buy("a", 5, 1000)
    _, more = floor.sell("b", 2, 1000)
    for report in of(OrderReport, events + more):
        state.apply(report)
    assert state.orders[order].cumulative_quantity == 2
    state.add_pending(events[0])
    assert state.orders[order].cumulative_quantity == 2, "a report of the engine takes precedence over a pending order"


def test_the_gateway_state_removes_the_oldest_orders_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GatewayState, "MAX_ORDERS", 2)
    floor, state = Floor(), GatewayState()
    orders = []
    for _ in range(3):
        order, events = floor.buy("a", 1, 1000)
        orders.append(order)
        state.apply(events[0])
    assert list(state.orders) == orders[1:]


@pytest.mark.parametrize(("stored_after", "left"), [(1, [3, 4, 5]), (0, [0, 1, 2, 3, 4, 5])])
def test_the_gateway_state_removes_stored_orders_that_have_not_changed_for_long(stored_after: int, left: list[int]) -> None:
    floor, state = Floor(), GatewayState()
    _, events = floor.buy("a", 1, 1000)
    state.stored_until = events[0].timestamp + stored_after
    for number in range(6):
        age = 0 if number < 3 else GatewayState.MAX_AGE_NS + 1
        state.apply(msgspec.structs.replace(events[0], order_id=number, timestamp=events[0].timestamp + age))
    assert list(state.orders) == left
    assert state.order_ids["a"] == set(left)


def test_a_trade_that_is_not_settled_names_both_clients_for_suspension() -> None:
    report = SettlementReport(1, 1, SettlementStatus.REJECTED, 5, 0, [("a", 1), ("b", 2)], [])
    assert clients_of_failed_settlement(report) == ["a", "b"]
    assert clients_of_failed_settlement(msgspec.structs.replace(report, status=SettlementStatus.SETTLED)) == []
    assert clients_of_failed_settlement(msgspec.structs.replace(report, trade_id=0, transfer_id=9)) == []


async def test_the_openapi_page_has_the_request_schemas_and_loads_only_local_files() -> None:
    health = Health()
    app = make_app("t", "d", health, dict)
    add_routes(app, None, None, Registration("open"))  # type: ignore[arg-type]
    page = app.openapi()
    assert page["paths"]["/orders"]["post"]["security"] == [{"key": []}]
    body = page["paths"]["/orders"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    name = body.rsplit("/", 1)[1]
    assert set(page["components"]["schemas"][name]["required"]) == {"symbol", "side", "quantity"}
    assert "HTTPValidationError" not in json.dumps(page)
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(page)))
    assert references <= set(page["components"]["schemas"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        html = (await client.get("/docs")).text
    assert re.findall(r'(?:src|href)="([^"]+)"', html)
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', html)


def test_a_classroom_can_have_eight_hundred_accounts() -> None:
    floor = Floor()
    for number in range(800):
        events = floor.apply(classroom_terms(OpenAccount(floor.id(), 1, f"pupil-{number}", 10**12, {"X": 100})))
        assert isinstance(events[-1], AccountOpened), events


@pytest.mark.parametrize("message", [b'{"id":1,"op":"cancel","order_id":"7"}', b'{"id":1,"op":"dance"}', b"{"])
def test_a_refused_request_leaves_no_garbage_for_the_cycle_collector(message: bytes) -> None:
    wire = SimpleNamespace(put_soon=lambda _: False)
    socket: Any = SimpleNamespace(scope={"extensions": {EXTENSION: wire}})
    order_service: Any = SimpleNamespace(classroom=False)
    session = WebSocketSession(socket, order_service, order_service)
    gc.collect()
    gc.disable()
    try:
        session._on_message(message)
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert b'"ok":false' in session._outgoing.take()


def test_a_late_cancel_leaves_no_garbage_for_the_cycle_collector() -> None:
    wire = SimpleNamespace(put_soon=lambda _: False)
    socket: Any = SimpleNamespace(scope={"extensions": {EXTENSION: wire}})
    order_service: Any = SimpleNamespace(known_report=lambda _: "its last report")
    session = WebSocketSession(socket, order_service, order_service)
    gc.collect()
    gc.disable()
    try:
        session._on_order_result(1, changed_order, 7, [CommandRejected(8, 1, "a", Code.UNKNOWN_ORDER, "", 7)])
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert b"ORDER_CLOSED" in session._outgoing.take()


# --- the order of requests ----------------------------------------------------------------------------------------


class StoredReports:
    """A database of orders that answers after a delay."""

    def __init__(self, stored: Mapping[int, OrderReport]) -> None:
        self._stored = stored

    async def newest_report(self, client_id: str, order_id: int) -> OrderReport | None:
        for _ in range(20):
            await asyncio.sleep(0)
        return self._stored.get(order_id)


class RecordingService(OrderService):
    """An order service that records its commands. Only the opening of an account is answered, after a delay."""

    def __init__(self, stored: Mapping[int, OrderReport], is_class: bool = False) -> None:
        self.state = GatewayState()
        self.state.securities.update(SECURITIES)
        self.policy = ClassroomPolicy() if is_class else MarketPolicy()
        self.limits = Limits(RateLimiter(0, 1))
        self.endowment = Endowment(0, {})
        self.subscriptions = Subscriptions()
        self.history = cast(Any, StoredReports(stored))
        self.report_id = 0
        self.commands: list[Command] = []
        self._pending, self._planned_cancels = PendingCommands(1), {}
        self._numbers = itertools.count(1000)

    def next_command(self, even_if_full: bool = False) -> tuple[int, int]:
        return next(self._numbers), 1

    def send(self, command: Command, on_result: OnResult) -> None:
        self.commands.append(command)

    async def request(self, command: Command) -> list[Record]:
        assert isinstance(command, OpenAccount)
        for _ in range(20):
            await asyncio.sleep(0)
        self.state.clients.add(command.client_id)
        return [AccountOpened(command.command_id, command.timestamp, command.client_id, command.cash, command.shares)]


def resting(number: int, client_id: str = "alice") -> OrderReport:
    """Return a report of an open order."""
    terms = (
        number,
        number,
        1,
        client_id,
        "",
        "X",
        Side.BUY,
        OrderType.LIMIT,
        5,
        1000,
        ExecType.NEW,
        OrderStatus.NEW,
        5,
        0,
        0,
    )
    return OrderReport(*terms)


async def commands_of(order_service: RecordingService, requests: Sequence[dict[str, Any]]) -> list[str]:
    """Send all requests at once on one connection. Return the names of the commands that they cause."""
    access: Any = SimpleNamespace(classroom=False)
    sessions: list[WebSocketSession] = []
    peer = await open_connection(lambda text: sessions[0]._on_message(text))
    session = WebSocketSession(
        cast(Any, SimpleNamespace(scope={"extensions": {EXTENSION: peer.connection}})), order_service, access
    )
    session._client = ClientSession(order_service, "alice")
    sessions.append(session)
    await peer.feed(b"".join(masked(Opcode.TEXT, json.dumps(request).encode()) for request in requests), 1 << 16)
    return [type(command).__name__ for command in order_service.commands]


ORDER = {"op": "order", **GOOD}
CANCEL, AMEND = {"op": "cancel", "order_id": "7"}, {"op": "amend", "order_id": "7", "quantity": 3}
CANCEL_ALL = {"op": "cancel_all"}
COMMANDS = {"order": "NewOrder", "cancel": "CancelOrder", "amend": "ReplaceOrder", "cancel_all": "CancelAll"}


@pytest.mark.parametrize("is_in_memory", [True, False])
@pytest.mark.parametrize("requests", list(itertools.permutations([ORDER, CANCEL, AMEND, CANCEL_ALL])))
async def test_requests_of_one_connection_are_processed_in_their_order_of_arrival(
    requests: Sequence[dict[str, Any]], is_in_memory: bool
) -> None:
    order_service = RecordingService({7: resting(7)})
    if is_in_memory:
        order_service.state.apply(resting(7))
    assert await commands_of(order_service, requests) == [COMMANDS[request["op"]] for request in requests]


async def test_later_requests_wait_for_the_first_order_of_a_classroom_client() -> None:
    requests = [ORDER, CANCEL_ALL, ORDER]
    assert await commands_of(RecordingService({}, is_class=True), requests) == ["NewOrder", "CancelAll", "NewOrder"]


async def test_requests_continue_after_a_request_that_is_refused_late() -> None:
    order_service = RecordingService({7: resting(7, "bob")})
    assert await commands_of(order_service, [AMEND, ORDER]) == ["NewOrder"]


async def test_an_amend_and_a_cancel_of_another_clients_order_are_refused() -> None:
    order_service = RecordingService({})
    order_service.state.apply(resting(7, "bob"))
    assert await commands_of(order_service, [AMEND, CANCEL]) == []


async def test_a_connection_has_one_query_of_the_database_at_a_time() -> None:
    """A thousand requests that wait for the database would take megabytes for each connection."""
    held: list[bool] = []
    wire = SimpleNamespace(put_soon=lambda _: False, hold=lambda: held.append(True), release=held.pop)
    socket: Any = SimpleNamespace(scope={"extensions": {EXTENSION: wire}})
    order_service: Any = SimpleNamespace(classroom=False)
    session = WebSocketSession(socket, order_service, order_service)
    asked = asyncio.Event()

    async def find(_: int) -> None:
        asked.set()
        await asyncio.sleep(0)
        raise Refusal(Code.UNKNOWN_ORDER, "there is no order 7")

    client: Any = SimpleNamespace(admit=lambda entering: None, known_report=lambda _: None, find=find)
    session._client = client
    session._on_message(b'{"id":1,"op":"get","order_id":"7"}')
    assert held, "no request is read until the answer"
    await asyncio.wait_for(asked.wait(), 5)
    await asyncio.sleep(0.01)
    assert not held
    assert b"UNKNOWN_ORDER" in session._outgoing.take()
