"""A bot on a live exchange: the connections to the gateway and the feed. Their messages update the state of the bot."""

import asyncio
import contextlib
import inspect
import itertools
import json
import secrets
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import httpx
import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from trading_bots.bot import Bot, Order, Security, Tender
from trading_bots.bot_state import (
    MAX_OPEN_REQUESTS,
    TOO_MANY_REQUESTS,
    BotState,
    OrderUpdate,
    amend_fields,
    order_fields,
    order_from_json,
)
from trading_bots.client_requests import key_headers
from trading_bots.connections import LOST, AccountError, Contact, Endpoint, get_json, websocket_url
from trading_bots.faults import ErrorLog, Print
from trading_bots.live_market import MarketDataConnection
from trading_bots.tender_answers import send_tender_answer

_logger = structlog.get_logger(__name__)

RESEND_DELAY_SECONDS = 1.0
"""The time after a new connection after which a request without an answer is sent again."""
SETTLE_SECONDS = 2.0
"""The time without a fill after which the settled balance replaces the computed one."""
BOOKS_TIMEOUT_SECONDS = 10.0
"""The longest time that `on_start` waits for the books."""
STOP_TIMEOUT_SECONDS = 2.0
"""The longest time to wait for the answers to requests of `on_stop`."""
_DUPLICATE = "DUPLICATE_CLIENT_ORDER_ID"
"""The code of the report of an order that was received again. The reports of the first one have its state."""
_RETRIED = ("UNAVAILABLE", "RATE_LIMITED")
"""Refusals of requests that had no effect. The request is sent again."""
_DISK_FULL = "DISK_FULL"
"""A refusal that states nothing about an earlier attempt under the same `client_order_id`."""
_OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
"""An order without an answer is sent again too: the exchange enters it once, and answers with the first one."""
_FINAL_LOGIN_REFUSALS = ("UNAUTHENTICATED", "FORBIDDEN")
"""Refusals of a login that a second attempt does not change."""
_MARKET_CALLBACKS = ("on_book", "on_bbo", "on_trade", "on_state", "on_session")
"""Callbacks that a bot gets only after `on_start`. Before, the state of the bot already includes them."""


def _log(text: str) -> None:
    _logger.warning(text)


class LiveVenue:
    """The connections of one bot to a live exchange."""

    def __init__(
        self,
        bot: Bot,
        client_id: str,
        key: str,
        gateway_url: str,
        feed_url: str,
        cancel_on_disconnect: bool = False,
        print_message: Print = _log,
        endpoint: Endpoint | None = None,
    ) -> None:
        """Prepare the connections. `run` opens them.

        Args:
            bot: The bot.
            client_id: The client id of its account.
            key: The API key of its account.
            gateway_url: The address of the gateway.
            feed_url: The address of the market-data feed.
            cancel_on_disconnect: Whether the exchange cancels the bot's orders when its connection ends.
            print_message: Receives the messages for the person who runs the bot.
            endpoint: Opens connections. With a proxy that logs the bot in, `key` is empty.
        """
        self._endpoint = endpoint or Endpoint()
        self._bot = bot
        self._headers = key_headers(key)
        self._gateway_url = gateway_url
        self._feed_url = feed_url
        self._print = print_message
        self._gateway = Contact(print_message, "The gateway", gateway_url)
        self._feed = Contact(print_message, "The market-data feed", feed_url, " Use --feed-url to name another address.")
        self._errors = ErrorLog(bot)
        self._queued_calls: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._state = BotState(bot, self._queue_call)
        self._market = MarketDataConnection(self._state, key, feed_url, self._feed, self._make_queued_calls, self._endpoint)
        self._cancel_on_disconnect = cancel_on_disconnect
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._not_before = 0.0
        """The earliest time of the next request, by the clock of the event loop. A rate limit sets it."""
        self._open_requests: dict[str, dict[str, Any]] = {}
        """Requests without an answer, by id."""
        self._sent_ids: set[str] = set()
        """The ids of the open requests that were sent."""
        self._uncertain_ids: set[str] = set()
        """The ids of the open requests of which an earlier attempt may have arrived."""
        self._numbers = itertools.count(1)
        self._sequence: int | None = None
        """The number of the last report that was read."""
        self._is_resuming = False
        """Whether a login that asks for missed reports has no answer yet. Reports before the answer come again after it."""
        self._has_missed = False
        """Whether the gateway no longer had the missed reports. Then the state of each open order is requested."""
        self._last_fill_at = 0.0
        self._timers: set[asyncio.Task[None]] = set()
        self._tender_answers: set[asyncio.Task[None]] = set()
        """Answers to tenders that the gateway has not received yet. The end of the bot waits for them."""
        self._is_connected = False
        """Whether requests can be sent."""
        self._has_begun = False
        """Whether `on_start` was called."""
        self._exited = asyncio.Event()
        """Set when the bot calls `exit()`."""
        bot.client_id, bot._venue, bot._order_prefix = client_id, self, secrets.token_hex(4)

    # --- requests of the bot --------------------------------------------------------------------------------

    def send_order(self, order: Order) -> None:
        """See `Venue`. If too many requests are open, the order is rejected."""
        if len(self._open_requests) >= MAX_OPEN_REQUESTS:
            asyncio.get_running_loop().call_later(
                0.01, self._start_task, self._refuse(order, TOO_MANY_REQUESTS), self._timers
            )
            return
        self._send(f"o:{order.client_order_id}", {"op": "order", **order_fields(order)})

    def send_cancel(self, order: Order) -> None:
        """See `Venue`. An order without an answer is cancelled when its answer arrives."""
        if order.order_id is not None:
            self._send(f"c:{order.client_order_id}", {"op": "cancel", "order_id": order.order_id})

    def send_amend(self, order: Order, quantity: Decimal | None, price: Decimal | None) -> None:
        """See `Venue`. An order without an answer is not changed. If too many requests are open, nothing is sent."""
        if order.order_id is not None and len(self._open_requests) < MAX_OPEN_REQUESTS:
            # Each amend request has its own id: a later one does not replace one that waits.
            name = f"a{next(self._numbers)}:{order.client_order_id}"
            self._send(name, {"op": "amend", "order_id": order.order_id, **amend_fields(quantity, price)})

    def send_tender_answer(self, tender: Tender, accept: bool, price: Decimal | None) -> None:
        """See `Venue`. A refusal is printed."""
        self._start_task(self._answer_tender(tender, accept, price), self._tender_answers)

    async def _answer_tender(self, tender: Tender, accept: bool, price: Decimal | None) -> None:
        refusal = await send_tender_answer(self._endpoint, self._gateway_url, self._headers, tender, accept, price)
        if refusal:
            self._print(f"The answer to tender {tender.tender_id} was refused: {refusal}")

    def start_timer(self, seconds: float, function: Callable[[], Any]) -> None:
        """See `Venue`."""

        async def tick() -> None:
            while True:
                await asyncio.sleep(seconds)
                await self._call(function)

        self._start_task(tick(), self._timers)

    def now(self) -> float:
        """See `Venue`."""
        return time.time()

    def _send(self, name: str, request: dict[str, Any]) -> None:
        request["id"] = name
        self._open_requests[name] = request
        self._outgoing.put_nowait(request)

    async def _refuse(self, order: Order, reason: str) -> None:
        self._state.reject_order(order, reason)
        await self._make_queued_calls()

    def _start_task(self, work: Any, tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _queue_call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Queue a call of a callback. `_make_queued_calls` makes it."""
        if self._has_begun or callback.__name__ not in _MARKET_CALLBACKS:
            self._queued_calls.append((callback, arguments))

    async def _call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Call a callback. An error is printed with the bot's own lines, and does not end the bot. `exit()` ends it."""
        try:
            result = callback(*arguments)
            if inspect.isawaitable(result):
                await result
        except SystemExit:
            self._print(f"{type(self._bot).__name__} called exit(). It ends.")
            self._exited.set()
        except Exception as error:
            if text := self._errors.add(error):
                print(text, file=sys.stderr)

    async def _make_queued_calls(self) -> None:
        while self._has_begun and self._queued_calls:
            callback, arguments = self._queued_calls.popleft()
            await self._call(callback, *arguments)

    # --- the connections ------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Run the bot until `stop` is set. Lost connections are opened again.

        Raises:
            AccountError: The exchange rejects the key of the bot.
        """
        loaded = asyncio.Event()
        tasks = [
            asyncio.create_task(self._reconnect(self._run_orders, self._gateway, loaded)),
            asyncio.create_task(self._reconnect(self._market.run, self._feed, loaded)),
            asyncio.create_task(self._start(loaded)),
            asyncio.create_task(self._reconcile()),
            asyncio.create_task(self._exited.wait()),
            asyncio.create_task(stop.wait()),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for timer in list(self._timers):
            timer.cancel()
        await self._stop()
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, *self._timers, *self._tender_answers, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _stop(self) -> None:
        """Call `on_stop`, and wait until its requests are answered."""
        if not self._has_begun:
            return
        await self._call(self._bot.on_stop)
        self._has_begun = False  # no callback after on_stop
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STOP_TIMEOUT_SECONDS
        while self._open_requests and self._is_connected and loop.time() < deadline:
            await asyncio.sleep(0.02)

    async def _start(self, loaded: asyncio.Event) -> None:
        async with self._endpoint.http() as http:
            while True:
                try:
                    await self._load(http)
                    break
                except LOST as error:
                    self._feed.lost(error)
                    await asyncio.sleep(0.5)
        self._feed.found()
        self._market.expect_books()
        loaded.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._market.books_complete.wait(), BOOKS_TIMEOUT_SECONDS)
        queued = list(self._queued_calls)
        self._queued_calls.clear()
        self._has_begun = True
        self._state.start()
        self._queued_calls.extend(queued)
        await self._make_queued_calls()
        await asyncio.Event().wait()

    async def _load(self, http: httpx.AsyncClient) -> None:
        """Load the initial state of the bot from the feed."""
        bot, headers = self._bot, self._headers
        listed = await get_json(http, f"{self._feed_url}/securities?limit=1000", {})
        if note := self._state.choose_symbols([terms["symbol"] for terms in listed]):
            self._print(note)
        for terms in listed:
            symbol = terms["symbol"]
            last = Decimal(terms["last_price"] or terms["reference_price"])
            tick, lot = Decimal(terms["tick_size"]), Decimal(terms["lot_size"])
            security = bot._listed[symbol] = Security(symbol, tick, lot, last, terms["state"])
            if not bot.symbols or symbol in bot.symbols:
                bot.securities[symbol] = security
        bot.cash = Decimal((await get_json(http, f"{self._feed_url}/balance/{bot.client_id}", headers))["cash"])
        for holding in await get_json(http, f"{self._feed_url}/holdings/{bot.client_id}", headers):
            bot._positions[holding["symbol"]] = Decimal(holding["quantity"])
        for fields in await get_json(http, f"{self._feed_url}/orders/{bot.client_id}", headers):
            self._state.add_open_order(order_from_json(fields))

    async def _reconnect(self, work: Callable[[], Any], contact: Contact, loaded: asyncio.Event) -> None:
        await loaded.wait()
        delay = 0.1
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await work()
            except LOST as error:
                contact.lost(error)
            delay = 0.1 if asyncio.get_running_loop().time() - began > 5 else min(delay * 2, 5.0)
            await asyncio.sleep(delay)

    # --- orders ---------------------------------------------------------------------------------------------

    async def _run_orders(self) -> None:
        """Send requests to the gateway, and read answers and reports."""
        headers = self._headers
        url = websocket_url(self._gateway_url, "/ws/orders")
        async with self._endpoint.websocket(url, headers) as socket:
            await self._login(socket)
            sending = asyncio.create_task(self._send_queued(socket))
            resending = asyncio.create_task(self._resend(set(self._sent_ids)))
            try:
                async for text in socket:
                    message = json.loads(text)
                    if message.get("op") == "login":
                        await self._on_login(socket, message)
                    else:
                        self._on_message(message)
                    await self._make_queued_calls()
            finally:
                self._is_connected = False
                sending.cancel()
                resending.cancel()

    async def _login(self, socket: ClientConnection) -> None:
        login: dict[str, Any] = {"op": "login", "id": "login", "cancel_on_disconnect": self._cancel_on_disconnect}
        self._is_resuming = self._sequence is not None
        if self._is_resuming:
            # The gateway first sends the reports that were missed.
            login["resume_from"] = self._sequence
        await socket.send(json.dumps(login))

    async def _on_login(self, socket: ClientConnection, message: Mapping[str, Any]) -> None:
        """Handle the answer to a login.

        Raises:
            AccountError: The gateway rejects the key.
            WebSocketException: The login failed for another reason. A later attempt may succeed.
        """
        if message["ok"]:
            self._is_resuming = False
            self._sequence = max(self._sequence or 0, message["sequence"])
            if self._has_missed:
                self._catch_up()
                self._has_missed = False
            self._is_connected = True
            self._gateway.found()
            return
        error = message["error"]
        if error["code"] == "TOO_LARGE" and self._sequence is not None:
            self._sequence, self._has_missed = None, True
            await self._login(socket)
        elif error["code"] in _FINAL_LOGIN_REFUSALS:
            raise AccountError(error["message"])
        else:
            raise WebSocketException(error["message"])

    def _catch_up(self) -> None:
        """Request the state of each open order, after too many reports were missed.

        The settled balance has the missed trades. An order without an answer is sent again, and its answer has its state.
        """
        for name, order in list(self._bot._orders.items()):
            if order.order_id is not None:
                self._send(f"g:{name}", {"op": "get", "order_id": order.order_id})

    async def _send_queued(self, socket: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            request = await self._outgoing.get()
            while (pause := self._not_before - loop.time()) > 0:
                await asyncio.sleep(pause)
            if self._open_requests.get(request["id"]) is request:
                self._sent_ids.add(request["id"])
                await socket.send(json.dumps(request))

    async def _resend(self, names: set[str]) -> None:
        """Send requests again that a lost connection may not have delivered.

        An order is not sent again if a report has its id. Otherwise the exchange enters it once, however often it is sent.
        """
        await asyncio.sleep(RESEND_DELAY_SECONDS)
        while not self._is_connected:
            await asyncio.sleep(0.05)
        for name in names:
            request, order = self._open_requests.get(name), self._bot._orders.get(_client_order_id_in(name))
            if request is None:
                continue
            if order is None or (request["op"] == "order" and order.order_id is not None):
                # A report shows that the order arrived.
                del self._open_requests[name]
                self._sent_ids.discard(name)
                self._uncertain_ids.discard(name)
            else:
                self._uncertain_ids.add(name)
                self._send(name, request)

    def _on_message(self, message: Mapping[str, Any]) -> None:
        if message.get("op") == "report":
            if self._is_resuming:
                return
            self._sequence = max(self._sequence or 0, message["sequence"])
            self._on_report(message["report"])
        elif (request := self._open_requests.pop(message.get("id") or "", None)) is not None:
            self._sent_ids.discard(request["id"])
            self._on_answer(request, message)

    def _on_answer(self, request: dict[str, Any], message: Mapping[str, Any]) -> None:
        name, error = request["id"], message.get("error")
        order = self._bot._orders.get(_client_order_id_in(name))
        if order is not None and error is not None and self._is_sent_again(request, order, error["code"]):
            pause = float(error.get("retry_after") or 0.5)
            self._not_before = max(self._not_before, asyncio.get_running_loop().time() + pause)
            self._send(name, request)
            return
        self._uncertain_ids.discard(name)
        if order is None:
            return
        if error is None:
            # A report has the same content, unless it was missed. A report of a later change may have arrived before.
            if order.order_id is None or request["op"] == "get":
                self._apply_order_view(message["order"])
        elif request["op"] == "order":
            self._state.reject_order(order, error["message"])
        elif request["op"] == "cancel":
            order.cancelling = False

    def _is_sent_again(self, request: Mapping[str, Any], order: Order, code: str) -> bool:
        if code in _RETRIED or request["op"] != "order":
            return code in _RETRIED
        if code == _OUTCOME_UNKNOWN:
            self._uncertain_ids.add(request["id"])
            return True
        return code == _DISK_FULL and request["id"] in self._uncertain_ids

    def _on_report(self, report: Mapping[str, Any]) -> None:
        if report["code"] == _DUPLICATE:
            return
        if report["exec_type"] == "TRADE":
            self._last_fill_at = asyncio.get_running_loop().time()
        last = report["last_quantity"], report["last_price"] or "0", report["fee"]
        self._apply_order(report, report["exec_type"], *last, report["liquidity"])

    def _apply_order_view(self, view: Mapping[str, Any]) -> None:
        """Apply the current state of an order, without the reports that led to it."""
        self._apply_order(view, "", "0", "0", "0", "")

    def _apply_order(
        self, fields: Mapping[str, Any], exec_type: str, quantity: str, price: str, fee: str, liquidity: str
    ) -> None:
        self._state.apply_update(
            OrderUpdate(
                fields["order_id"],
                fields["client_order_id"],
                fields["symbol"],
                fields["side"],
                exec_type,
                fields["status"],
                Decimal(fields["quantity"]),
                None if fields["price"] is None else Decimal(fields["price"]),
                Decimal(fields["filled_quantity"]),
                Decimal(quantity),
                Decimal(price),
                Decimal(fee),
                liquidity,
                fields["text"],
            )
        )

    # --- settled amounts ------------------------------------------------------------------------------------

    async def _reconcile(self) -> None:
        """Replace cash and positions by the settled ones, once no fill is outstanding.

        Between settlements, each fill changes cash and positions at once. The settled ones include deposits and withdrawals.
        """
        while True:
            await asyncio.sleep(SETTLE_SECONDS / 4)
            if self._market.settled is not None and asyncio.get_running_loop().time() - self._last_fill_at > SETTLE_SECONDS:
                self._bot.cash = Decimal(self._market.settled["balance"]["cash"])
                positions = {row["symbol"]: Decimal(row["quantity"]) for row in self._market.settled["holdings"]}
                self._bot._positions.clear()
                self._bot._positions.update(positions)
                self._market.settled = None


def _client_order_id_in(name: str) -> str:
    """Return the `client_order_id` in the id of a request."""
    return name.partition(":")[2]
