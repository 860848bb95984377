"""Tests of a live bot after a lost connection: its requests to the gateway, and its state after them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from microexchange.refusals import Code
from microexchange.web import HTTP_STATUS
from trading_bots import tender_answers
from trading_bots.bot import Bot, Order, Security, Tender
from trading_bots.client_requests import ExchangeError, amend_request, decode_answer
from trading_bots.connections import Endpoint
from trading_bots.live import LiveVenue
from trading_bots.runner import KeyFile


class Gateway:
    """A gateway whose answers and disconnections are set by the test."""

    def __init__(self) -> None:
        self.views: dict[str, dict[str, Any]] = {}
        """Orders by client order id, as the gateway reports them."""
        self.entered: list[str] = []
        """The client order ids of the received orders."""
        self.logins: list[dict[str, Any]] = []
        self.refusals: list[dict[str, Any]] = []
        """The errors with which the next resuming logins are refused."""
        self.before_login: list[dict[str, Any]] = []
        """The messages that are sent before the answer to a resuming login."""
        self.missed: list[dict[str, Any]] = []
        """The messages that are sent after the answer to a resuming login."""
        self.order_refusals: list[dict[str, Any]] = []
        """The errors with which the next orders are refused."""
        self.ignores_orders = False
        """True if the gateway ignores orders."""
        self.sequence = 0
        self.sockets: list[ServerConnection] = []

    async def serve(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        async for text in socket:
            request = json.loads(text)
            if request["op"] == "login":
                await self._login(socket, request)
            elif request["op"] == "order":
                self.entered.append(request["client_order_id"])
                if not self.ignores_orders:
                    await self.enter(socket, request)
            else:
                (view,) = (view for view in self.views.values() if view["order_id"] == request["order_id"])
                await _send(socket, {"id": request["id"], "ok": True, "order": view})

    async def _login(self, socket: ServerConnection, request: dict[str, Any]) -> None:
        self.logins.append(request)
        is_resumed = "resume_from" in request
        for message in self.before_login if is_resumed else ():
            await _send(socket, message)
        if is_resumed and self.refusals:
            error = self.refusals.pop(0)
            await _send(socket, {"id": "login", "op": "login", "ok": False, "error": error})
            return
        await _send(socket, {"id": "login", "op": "login", "ok": True, "client_id": "me", "sequence": self.sequence})
        for message in self.missed if is_resumed else ():
            await _send(socket, message)

    async def enter(self, socket: ServerConnection, request: dict[str, Any]) -> None:
        """Accept an order, and send its report and the answer. A repeated order is answered with the first one."""
        name = request["client_order_id"]
        if self.order_refusals:
            await _send(socket, {"id": request["id"], "ok": False, "error": self.order_refusals.pop(0)})
            return
        if name in self.views:
            rejected = order_view(name, "999", "REJECTED") | {"code": "DUPLICATE_CLIENT_ORDER_ID"}
            await _send(socket, report(self.sequence, rejected, "REJECTED"))
            await _send(socket, {"id": request["id"], "ok": True, "order": self.views[name] | {"duplicate": True}})
            return
        self.sequence += 1
        self.views[name] = order_view(name, str(len(self.views) + 1))
        await _send(socket, report(self.sequence, self.views[name], "NEW"))
        await _send(socket, {"id": request["id"], "ok": True, "order": self.views[name]})


async def _send(socket: ServerConnection, message: dict[str, Any]) -> None:
    await socket.send(json.dumps(message))


def order_view(name: str, order_id: str, status: str = "NEW", filled: str = "0") -> dict[str, Any]:
    """Return the view of an order."""
    terms = {"symbol": "X", "side": "buy", "quantity": "5", "price": "10.00", "filled_quantity": filled}
    return {"order_id": order_id, "client_order_id": name, "status": status, "code": "", "text": "", **terms}


def report(sequence: int, view: dict[str, Any], exec_type: str, quantity: str = "0") -> dict[str, Any]:
    """Return a report of an order."""
    last = {"exec_type": exec_type, "last_quantity": quantity, "last_price": "10.00", "fee": "0", "liquidity": "maker"}
    return {"op": "report", "sequence": sequence, "report": {**view, **last}}


class RecordingBot(Bot):
    """A bot that records the statuses of its orders and counts its fills."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses: list[str] = []
        self.fills = 0
        self.cash = Decimal(1000)
        self.securities["X"] = self._listed["X"] = Security("X", Decimal("0.01"), Decimal(1), Decimal(10))

    def on_order(self, order: Order) -> None:
        self.statuses.append(order.status)

    def on_fill(self, fill: object) -> None:
        self.fills += 1


TOO_MANY_MISSED = {"code": "TOO_LARGE", "message": "more than 10000 reports were missed", "field": "resume_from"}


@asynccontextmanager
async def trading() -> AsyncIterator[tuple[Gateway, RecordingBot, LiveVenue]]:
    """Run a bot that trades at a gateway."""
    gateway, bot = Gateway(), RecordingBot()
    server: Server
    async with serve(gateway.serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        venue = LiveVenue(bot, "me", "key", url, url)
        venue._has_begun = True
        loaded = asyncio.Event()
        loaded.set()
        task = asyncio.create_task(venue._reconnect(venue._run_orders, venue._gateway, loaded))
        try:
            await until(lambda: venue._is_connected)
            yield gateway, bot, venue
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(check: Callable[[], Any]) -> None:
    """Wait until `check` returns true, for at most 20 seconds."""
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.01)


async def reconnect(gateway: Gateway, venue: LiveVenue) -> None:
    """Close the connection, and wait for the next one."""
    before = len(gateway.sockets)
    await gateway.sockets[-1].close()
    await until(lambda: len(gateway.sockets) > before and venue._is_connected)


async def test_after_a_refused_resume_the_orders_of_a_bot_have_their_current_status() -> None:
    async with trading() as (gateway, bot, venue):
        filled, cancelled, resting = (bot.buy("X", 5, "10.00") for _ in range(3))
        await until(lambda: resting.order_id and not venue._open_requests)
        ended = ((filled, "FILLED", "5"), (cancelled, "CANCELED", "0"))
        for order, status, quantity in ended:
            assert order.order_id is not None
            gateway.views[order.client_order_id] = order_view(order.client_order_id, order.order_id, status, quantity)
        gateway.refusals.append(TOO_MANY_MISSED)
        await reconnect(gateway, venue)
        await until(lambda: not venue._open_requests)
        assert list(bot.open_orders) == [resting]
        assert [order.status for order in (filled, cancelled, resting)] == ["FILLED", "CANCELED", "NEW"]
        assert ["resume_from" in login for login in gateway.logins] == [False, True, False]


async def test_after_a_refused_resume_an_order_that_has_ended_gets_its_state_from_the_answer_to_the_second_one() -> None:
    async with trading() as (gateway, bot, venue):
        gateway.ignores_orders = True
        order = bot.buy("X", 5, "10.00")
        await until(lambda: gateway.entered)
        gateway.views[order.client_order_id] = order_view(order.client_order_id, "77", "FILLED", "5")
        gateway.ignores_orders = False
        gateway.refusals.append(TOO_MANY_MISSED)
        await reconnect(gateway, venue)
        await until(lambda: not venue._open_requests)
        assert (order.status, order.order_id) == ("FILLED", "77")
        assert gateway.entered == [order.client_order_id] * 2


async def test_an_order_whose_outcome_is_unknown_is_sent_again_under_its_id() -> None:
    async with trading() as (gateway, bot, _venue):
        gateway.order_refusals.append({"code": "OUTCOME_UNKNOWN", "message": "the market has not answered"})
        order = bot.buy("X", 5, "10.00")
        gateway.views[order.client_order_id] = order_view(order.client_order_id, "77", "FILLED", "5")
        await until(lambda: order.order_id)
        assert (order.status, order.order_id) == ("FILLED", "77")
        assert gateway.entered == [order.client_order_id] * 2


DISK_FULL = {"code": "DISK_FULL", "message": "the disk is full"}


async def test_a_full_disk_does_not_reject_an_order_of_which_an_earlier_attempt_may_have_arrived() -> None:
    async with trading() as (gateway, bot, venue):
        gateway.order_refusals += [{"code": "OUTCOME_UNKNOWN", "message": "the market has not answered"}, DISK_FULL]
        order = bot.buy("X", 5, "10.00")
        gateway.views[order.client_order_id] = order_view(order.client_order_id, "77", "FILLED", "5")
        await until(lambda: order.order_id)
        assert (order.status, order.order_id) == ("FILLED", "77")
        assert gateway.entered == [order.client_order_id] * 3
        assert not venue._uncertain_ids


async def test_a_full_disk_does_not_reject_an_order_that_a_lost_connection_may_have_delivered() -> None:
    async with trading() as (gateway, bot, venue):
        gateway.ignores_orders = True
        order = bot.buy("X", 5, "10.00")
        await until(lambda: gateway.entered)
        gateway.ignores_orders = False
        gateway.order_refusals.append(DISK_FULL)
        await reconnect(gateway, venue)
        await until(lambda: order.order_id)
        assert gateway.entered == [order.client_order_id] * 3


async def test_a_full_disk_rejects_an_order_at_its_first_attempt() -> None:
    async with trading() as (gateway, bot, _venue):
        gateway.order_refusals.append(DISK_FULL)
        order = bot.buy("X", 5, "10.00")
        await until(lambda: order.status == "REJECTED")
        assert gateway.entered == [order.client_order_id]


async def test_a_cancel_whose_outcome_is_unknown_is_not_sent_again() -> None:
    async with trading() as (_gateway, bot, venue):
        order = bot.buy("X", 5, "10.00")
        await until(lambda: order.order_id and not venue._open_requests)
        order.cancelling = True
        request = {"id": f"c:{order.client_order_id}", "op": "cancel"}
        venue._on_answer(request, {"error": {"code": "OUTCOME_UNKNOWN", "message": ""}})
        assert not venue._open_requests
        assert not order.cancelling, "the bot may cancel it again"


async def test_a_bot_with_too_many_open_requests_sends_no_amendment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading_bots.live.MAX_OPEN_REQUESTS", 3)
    async with trading() as (_gateway, bot, venue):
        order = bot.buy("X", 5, "10.00")
        await until(lambda: order.order_id and not venue._open_requests)
        venue._is_connected = False
        for price in range(1, 10):
            venue.send_amend(order, None, Decimal(price))
        assert len(venue._open_requests) == 3


async def test_after_a_refused_resume_an_order_that_was_not_received_is_sent_again() -> None:
    async with trading() as (gateway, bot, venue):
        gateway.ignores_orders = True
        order = bot.buy("X", 5, "10.00")
        await until(lambda: gateway.entered)
        gateway.ignores_orders = False
        gateway.refusals.append(TOO_MANY_MISSED)
        await reconnect(gateway, venue)
        await until(lambda: order.order_id)
        assert gateway.entered == [order.client_order_id] * 2


async def test_a_temporarily_refused_resume_is_repeated_and_loses_no_report() -> None:
    async with trading() as (gateway, bot, venue):
        order = bot.buy("X", 5, "10.00")
        await until(lambda: order.order_id)
        assert order.order_id is not None
        fill = report(2, order_view(order.client_order_id, order.order_id, "FILLED", "5"), "TRADE", "5")
        gateway.refusals.append({"code": "UNAVAILABLE", "message": "the database of reports is not available"})
        gateway.missed.append(fill)
        await reconnect(gateway, venue)
        await until(lambda: bot.fills)
        assert [login.get("resume_from") for login in gateway.logins] == [None, 1, 1]
        assert (order.status, bot.position("X"), bot.cash) == ("FILLED", 5, 950)


async def test_a_report_before_and_after_the_answer_to_a_resume_counts_once() -> None:
    async with trading() as (gateway, bot, venue):
        order = bot.buy("X", 5, "10.00")
        await until(lambda: order.order_id)
        assert order.order_id is not None
        view = order_view(order.client_order_id, order.order_id, "PARTIALLY_FILLED", "3")
        fills = [report(2, {**view, "filled_quantity": "1"}, "TRADE", "1"), report(3, view, "TRADE", "2")]
        gateway.before_login.append(fills[1])
        gateway.missed.extend(fills)
        await reconnect(gateway, venue)
        await until(lambda: order.filled_quantity == 3)
        assert (bot.fills, bot.position("X"), bot.cash) == (2, 3, 970)


TENDER = Tender("7", "X", "buy", Decimal(3), Decimal(2), False, datetime(2026, 1, 1, tzinfo=UTC), False)
LOST_ANSWER = httpx.ReadError("the connection ended")


def refused(code: Code, message: str) -> httpx.Response:
    return httpx.Response(HTTP_STATUS[code], json={"error": {"code": code, "message": message}})


@pytest.mark.parametrize(
    ("answers", "refusal"),
    [
        ([httpx.Response(200, json={"ok": True})], ""),
        ([refused(Code.TENDER_CLOSED, "the tender has expired")], "the tender has expired"),
        ([refused(Code.UNAVAILABLE, "busy"), httpx.Response(200, json={"ok": True})], ""),
        ([LOST_ANSWER, httpx.Response(200, json={"ok": True})], ""),
        ([LOST_ANSWER, refused(Code.TENDER_CLOSED, "the client has answered already")], ""),
        ([refused(Code.OUTCOME_UNKNOWN, "unknown"), refused(Code.TENDER_CLOSED, "the client has answered already")], ""),
        ([httpx.ConnectError("refused"), refused(Code.TENDER_CLOSED, "the tender has expired")], "the tender has expired"),
        ([refused(Code.RATE_LIMITED, "too many requests")] * 4, "too many requests"),
    ],
)
async def test_an_answer_to_a_tender_is_sent_until_the_gateway_has_it(
    answers: list[httpx.Response | Exception], refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tender_answers, "RESEND_PAUSES_SECONDS", (0.0, 0.0, 0.0))
    left, bodies = list(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append((request.url.path, json.loads(request.content)))
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    class TestEndpoint(Endpoint):
        def http(self) -> httpx.AsyncClient:
            return httpx.AsyncClient(transport=httpx.MockTransport(answer))

    found = await tender_answers.send_tender_answer(TestEndpoint(), "http://gateway", {}, TENDER, True, Decimal("2.50"))
    assert found == refusal
    assert not left
    assert set(map(str, bodies)) == {str(("/tenders/7/answer", {"accept": True, "price": "2.50"}))}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"a": 1}', b"[" * 2000])
def test_a_damaged_file_of_keys_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"\w"):
        KeyFile(path)


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'"a"', b"\xff", b'{"error": 5}', b"[" * 2000])
def test_an_answer_that_no_exchange_sends_is_an_exchange_error(status: int, content: bytes) -> None:
    answer = httpx.Response(status, content=content, request=httpx.Request("GET", "http://x/"))
    with pytest.raises(ExchangeError) as refused:
        decode_answer(amend_request("1", None, None, None), answer)
    assert refused.value.code == "HTTP"
