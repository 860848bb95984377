"""A live bot whose connection was lost: what it asks the gateway, and what it knows after that."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from trading_bots.bot import Bot, Order, Security
from trading_bots.live import LiveVenue


class Gateway:
    """A gateway on a port of its own. The test says how it answers, and when its connections end."""

    def __init__(self) -> None:
        self.views: dict[str, dict[str, Any]] = {}
        """Orders by their names, as the gateway tells them."""
        self.entered: list[str] = []
        """The names of the orders that came."""
        self.logins: list[dict[str, Any]] = []
        self.refusals: list[dict[str, Any]] = []
        """How the next logins that resume are refused."""
        self.before_login: list[dict[str, Any]] = []
        """What is sent before a login that resumes is answered."""
        self.missed: list[dict[str, Any]] = []
        """What is sent behind the answer."""
        self.is_deaf = False
        """Whether orders get lost."""
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
                if not self.is_deaf:
                    await self.enter(socket, request)
            else:
                (view,) = (one for one in self.views.values() if one["order_id"] == request["order_id"])
                await _say(socket, {"id": request["id"], "ok": True, "order": view})

    async def _login(self, socket: ServerConnection, request: dict[str, Any]) -> None:
        self.logins.append(request)
        is_resumed = "resume_from" in request
        for message in self.before_login if is_resumed else ():
            await _say(socket, message)
        if is_resumed and self.refusals:
            error = self.refusals.pop(0)
            await _say(socket, {"id": "login", "op": "login", "ok": False, "error": error})
            return
        await _say(socket, {"id": "login", "op": "login", "ok": True, "client_id": "me", "sequence": self.sequence})
        for message in self.missed if is_resumed else ():
            await _say(socket, message)

    async def enter(self, socket: ServerConnection, request: dict[str, Any]) -> None:
        """Takes an order, and says so."""
        name = request["client_order_id"]
        self.sequence += 1
        self.views[name] = order_view(name, str(len(self.views) + 1))
        await _say(socket, report(self.sequence, self.views[name], "NEW"))
        await _say(socket, {"id": request["id"], "ok": True, "order": self.views[name]})

    def http(self, _socket: ServerConnection, request: Request) -> Response | None:
        """Answers `GET /orders?client_order_id=`; leaves a WebSocket to `serve`."""
        parts = urlsplit(request.path)
        if parts.path != "/orders":
            return None
        (name,) = parse_qs(parts.query)["client_order_id"]
        body = json.dumps({"orders": [self.views[name]] if name in self.views else []}).encode()
        return Response(HTTPStatus.OK, "OK", Headers({"Content-Length": str(len(body))}), body)


async def _say(socket: ServerConnection, message: dict[str, Any]) -> None:
    await socket.send(json.dumps(message))


def order_view(name: str, order_id: str, status: str = "NEW", filled: str = "0") -> dict[str, Any]:
    """An order as the gateway tells it."""
    terms = {"symbol": "X", "side": "buy", "quantity": "5", "price": "10.00", "filled_quantity": filled}
    return {"order_id": order_id, "client_order_id": name, "status": status, "code": "", "text": "", **terms}


def report(sequence: int, view: dict[str, Any], kind: str, quantity: str = "0") -> dict[str, Any]:
    """A report of an order."""
    last = {"exec_type": kind, "last_quantity": quantity, "last_price": "10.00", "fee": "0", "liquidity": "maker"}
    return {"op": "report", "sequence": sequence, "report": {**view, **last}}


class Noter(Bot):
    """Notes what becomes of its orders."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.fills = 0
        self.cash = Decimal(1000)
        self.securities["X"] = self._listed["X"] = Security("X", Decimal("0.01"), Decimal(1), Decimal(10))

    def on_order(self, order: Order) -> None:
        self.seen.append(order.status)

    def on_fill(self, fill: object) -> None:
        self.fills += 1


TOO_MUCH = {"code": "TOO_LARGE", "message": "more than 10000 reports were missed", "field": "resume_from"}


@asynccontextmanager
async def trading() -> AsyncIterator[tuple[Gateway, Noter, LiveVenue]]:
    """A bot that trades at a gateway."""
    gateway, bot = Gateway(), Noter()
    server: Server
    async with serve(gateway.serve, "127.0.0.1", 0, process_request=gateway.http) as server:
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
    """Waits for it."""
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.01)


async def lose(gateway: Gateway, venue: LiveVenue) -> None:
    """Ends the connection, and waits for the next one."""
    before = len(gateway.sockets)
    await gateway.sockets[-1].close()
    await until(lambda: len(gateway.sockets) > before and venue._is_connected)


async def test_after_a_refused_resume_a_bot_knows_which_of_its_orders_have_ended() -> None:
    async with trading() as (gateway, bot, venue):
        filled, cancelled, rests = (bot.buy("X", 5, "10.00") for _ in range(3))
        await until(lambda: rests.order_id and not venue._open_requests)
        ended = ((filled, "FILLED", "5"), (cancelled, "CANCELED", "0"))
        for order, status, quantity in ended:
            assert order.order_id is not None
            gateway.views[order.client_order_id] = order_view(order.client_order_id, order.order_id, status, quantity)
        gateway.refusals.append(TOO_MUCH)
        await lose(gateway, venue)
        await until(lambda: not venue._open_requests)
        assert list(bot.open_orders) == [rests]
        assert [order.status for order in (filled, cancelled, rests)] == ["FILLED", "CANCELED", "NEW"]
        assert ["resume_from" in login for login in gateway.logins] == [False, True, False]


async def test_after_a_refused_resume_an_order_that_came_and_has_ended_is_not_sent_again() -> None:
    async with trading() as (gateway, bot, venue):
        gateway.is_deaf = True
        order = bot.buy("X", 5, "10.00")
        await until(lambda: gateway.entered)
        gateway.views[order.client_order_id] = order_view(order.client_order_id, "77", "FILLED", "5")
        gateway.refusals.append(TOO_MUCH)
        await lose(gateway, venue)
        assert (order.status, order.order_id) == ("FILLED", "77")
        await until(lambda: not venue._open_requests)
        assert gateway.entered == [order.client_order_id]


async def test_after_a_refused_resume_an_order_that_never_came_is_sent_again() -> None:
    async with trading() as (gateway, bot, venue):
        gateway.is_deaf = True
        order = bot.buy("X", 5, "10.00")
        await until(lambda: gateway.entered)
        gateway.is_deaf = False
        gateway.refusals.append(TOO_MUCH)
        await lose(gateway, venue)
        await until(lambda: order.order_id)
        assert gateway.entered == [order.client_order_id] * 2


async def test_a_resume_that_is_refused_for_now_is_tried_again_and_loses_no_report() -> None:
    async with trading() as (gateway, bot, venue):
        order = bot.buy("X", 5, "10.00")
        await until(lambda: order.order_id)
        assert order.order_id is not None
        fill = report(2, order_view(order.client_order_id, order.order_id, "FILLED", "5"), "TRADE", "5")
        gateway.refusals.append({"code": "UNAVAILABLE", "message": "the database of reports is not available"})
        gateway.missed.append(fill)
        await lose(gateway, venue)
        await until(lambda: bot.fills)
        assert [login.get("resume_from") for login in gateway.logins] == [None, 1, 1]
        assert (order.status, bot.position("X"), bot.cash) == ("FILLED", 5, 950)


async def test_a_report_that_comes_before_a_resume_is_answered_and_again_behind_it_counts_once() -> None:
    async with trading() as (gateway, bot, venue):
        order = bot.buy("X", 5, "10.00")
        await until(lambda: order.order_id)
        assert order.order_id is not None
        view = order_view(order.client_order_id, order.order_id, "PARTIALLY_FILLED", "3")
        fills = [report(2, {**view, "filled_quantity": "1"}, "TRADE", "1"), report(3, view, "TRADE", "2")]
        gateway.before_login.append(fills[1])
        gateway.missed.extend(fills)
        await lose(gateway, venue)
        await until(lambda: order.filled_quantity == 3)
        assert (bot.fills, bot.position("X"), bot.cash) == (2, 3, 970)
