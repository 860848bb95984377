"""A bot on a live exchange: its connections, and what it is told, as news for its session."""

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
from urllib.parse import urlsplit, urlunsplit

import httpx
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from trading_bots.bot import Bot, Levels, Order, Security, Trade
from trading_bots.faults import Complaints, Say
from trading_bots.session import MAX_WAITING, TOO_MANY, News, Session, amend_fields, change_book, order_fields, order_of

LOST = (OSError, WebSocketException, httpx.HTTPError)
_logger = structlog.get_logger(__name__)

SILENCE = 1.0
"""Seconds after which an order of which nothing is known is sent again."""
REST_SECONDS = 2.0
"""Seconds without a fill after which what is settled is what the bot has."""
BOOKS_SECONDS = 10.0
"""How long `on_start` waits for the books."""
LAST_SECONDS = 2.0
"""How long the requests of `on_stop` may take."""
_TWICE = "DUPLICATE_CLIENT_ORDER_ID"
"""An order was sent twice, and came twice: the reports tell of the first."""
_AGAIN = ("UNAVAILABLE", "RATE_LIMITED")
"""Refusals that say that nothing was done: the request is sent again."""
_NOT_LET_IN = ("UNAUTHENTICATED", "FORBIDDEN")
"""Refusals of a login that no second try changes."""
_OF_THE_MARKET = ("on_book", "on_bbo", "on_trade", "on_state")
"""Callbacks that a bot gets only after `on_start`. What they tell is in its state already."""


class AccountError(RuntimeError):
    """The exchange does not let the bot in."""


class Contact:
    """An address that the bot needs. Logs once that it does not answer, and once that it answers again."""

    def __init__(self, say: Say, what: str, url: str, hint: str = "") -> None:
        self._say, self._name, self._hint = say, f"{what} at {url}", hint
        self._failures = 0

    def lost(self, cause: object) -> None:
        """A try has failed. The first failure is not logged: a connection that is back at once needs no line."""
        self._failures += 1
        if self._failures == 2:
            self._say(f"{self._name} does not answer ({cause}). Waiting for it.{self._hint}")

    def found(self) -> None:
        """It answers."""
        if self._failures >= 2:
            self._say(f"Connected to {self._name}.")
        self._failures = 0


def _log(text: str) -> None:
    _logger.warning(text)


class LiveVenue:
    """One bot on the live exchange."""

    def __init__(
        self,
        bot: Bot,
        client_id: str,
        key: str,
        gateway_url: str,
        feed_url: str,
        cancel_on_disconnect: bool = False,
        say: Say = _log,
    ) -> None:
        """With `cancel_on_disconnect`, the exchange cancels the bot's orders when its connection ends. `say` gets the
        messages for the person who runs the bot."""
        self._bot = bot
        self._key = key
        self._gateway_url = gateway_url
        self._feed_url = feed_url
        self._say = say
        self._gateway = Contact(say, "The gateway", gateway_url)
        self._feed = Contact(say, "The market-data feed", feed_url, " Another address is named with --feed-url.")
        self._complaints = Complaints(bot)
        self._calls: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._session = Session(bot, self._plan)
        self._cancel_on_disconnect = cancel_on_disconnect
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._not_before = 0.0
        """When the exchange takes the next request, by the loop's clock."""
        self._asked: dict[str, dict[str, Any]] = {}
        """Requests that are not answered yet, by their ids."""
        self._sent: set[str] = set()
        """Which of them were sent."""
        self._numbers = itertools.count(1)
        self._sequence: int | None = None
        """The number of the last report that was read."""
        self._is_resuming = False
        """Whether a login that asks for missed reports waits for its answer. Reports before it come again behind it."""
        self._has_missed = False
        """Whether the gateway could not give the reports that were missed, so that orders have to be asked for."""
        self._filled_at = 0.0
        self._settled: Mapping[str, Any] | None = None
        """The newest balance that the feed has told, and holdings."""
        self._timers: set[asyncio.Task[None]] = set()
        self._is_connected = False
        """Whether requests can be sent."""
        self._has_begun = False
        """Whether `on_start` was called."""
        self._no_book: set[str] = set()
        """Securities whose books are not known yet."""
        self._books = asyncio.Event()
        """All books are known."""
        self._exited = asyncio.Event()
        """The bot has asked to end."""
        bot.client_id, bot._venue, bot._life = client_id, self, secrets.token_hex(4)

    # --- what the bot asks for ------------------------------------------------------------------------------

    def send_order(self, order: Order) -> None:
        """See `Venue`."""
        if len(self._asked) >= MAX_WAITING:
            asyncio.get_running_loop().call_later(0.01, self._begin, self._refuse(order, TOO_MANY))
            return
        self._send(f"o:{order.client_order_id}", {"op": "order", **order_fields(order)})

    def send_cancel(self, order: Order) -> None:
        """See `Venue`. An order that the exchange has not answered yet is cancelled when it has."""
        if order.order_id is not None:
            self._send(f"c:{order.client_order_id}", {"op": "cancel", "order_id": order.order_id})

    def send_amend(self, order: Order, quantity: Decimal | None, price: Decimal | None) -> None:
        """See `Venue`. An order that the exchange has not answered yet stays as it is."""
        if order.order_id is not None:
            # Each change has a name of its own: a later one does not replace one that waits.
            name = f"a{next(self._numbers)}:{order.client_order_id}"
            self._send(name, {"op": "amend", "order_id": order.order_id, **amend_fields(quantity, price)})

    def start_timer(self, seconds: float, function: Callable[[], Any]) -> None:
        """See `Venue`."""

        async def tick() -> None:
            while True:
                await asyncio.sleep(seconds)
                await self._call(function)

        self._begin(tick())

    def now(self) -> float:
        """See `Venue`."""
        return time.time()

    def _send(self, name: str, request: dict[str, Any]) -> None:
        request["id"] = name
        self._asked[name] = request
        self._outgoing.put_nowait(request)

    async def _refuse(self, order: Order, reason: str) -> None:
        self._session.refused(order, reason)
        await self._call_all()

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._timers.add(task)
        task.add_done_callback(self._timers.discard)

    def _plan(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Notes a call into the bot. `_call_all` makes it."""
        if self._has_begun or callback.__name__ not in _OF_THE_MARKET:
            self._calls.append((callback, arguments))

    async def _call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Calls into the bot. A bot's error is shown with the bot's own lines, and does not stop it. `exit()` does."""
        try:
            result = callback(*arguments)
            if inspect.isawaitable(result):
                await result
        except SystemExit:
            self._say(f"{type(self._bot).__name__} has ended itself with exit().")
            self._exited.set()
        except Exception as error:
            if text := self._complaints.add(error):
                print(text, file=sys.stderr)

    async def _call_all(self) -> None:
        while self._has_begun and self._calls:
            callback, arguments = self._calls.popleft()
            await self._call(callback, *arguments)

    # --- the connections ------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Runs the bot until `stop`. A lost connection is made again. Raises `AccountError`."""
        loaded = asyncio.Event()
        tasks = [
            asyncio.create_task(self._keep(self._trade, self._gateway, loaded)),
            asyncio.create_task(self._keep(self._watch, self._feed, loaded)),
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
        for result in await asyncio.gather(*tasks, *self._timers, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _stop(self) -> None:
        """Calls `on_stop`, and lets the requests that it makes arrive."""
        if not self._has_begun:
            return
        await self._call(self._bot.on_stop)
        self._has_begun = False  # nothing is called after it
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LAST_SECONDS
        while self._asked and self._is_connected and loop.time() < deadline:
            await asyncio.sleep(0.02)

    async def _start(self, loaded: asyncio.Event) -> None:
        async with httpx.AsyncClient(timeout=10) as http:
            while True:
                try:
                    await self._load(http)
                    break
                except LOST as error:
                    self._feed.lost(error)
                    await asyncio.sleep(0.5)
        self._feed.found()
        self._no_book = set(self._bot.securities)
        if not self._no_book:
            self._books.set()
        loaded.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._books.wait(), BOOKS_SECONDS)
        before = list(self._calls)
        self._calls.clear()
        self._has_begun = True
        self._session.start()
        self._calls.extend(before)
        await self._call_all()
        await asyncio.Event().wait()

    async def _load(self, http: httpx.AsyncClient) -> None:
        """Asks the feed for what the bot begins with."""
        bot, headers = self._bot, {"Authorization": f"Bearer {self._key}"}
        listed = await _get(http, f"{self._feed_url}/securities?limit=1000", {})
        if note := self._session.choose([one["symbol"] for one in listed]):
            self._say(note)
        for wanted in listed:
            symbol = wanted["symbol"]
            last = Decimal(wanted["last_price"] or wanted["reference_price"])
            tick, lot = Decimal(wanted["tick_size"]), Decimal(wanted["lot_size"])
            security = bot._listed[symbol] = Security(symbol, tick, lot, last, wanted["state"])
            if not bot.symbols or symbol in bot.symbols:
                bot.securities[symbol] = security
        bot.cash = Decimal((await _get(http, f"{self._feed_url}/balance/{bot.client_id}", headers))["cash"])
        for holding in await _get(http, f"{self._feed_url}/holdings/{bot.client_id}", headers):
            bot._positions[holding["symbol"]] = Decimal(holding["quantity"])
        for told in await _get(http, f"{self._feed_url}/orders/{bot.client_id}", headers):
            self._session.adopt(order_of(told))

    async def _keep(self, work: Callable[[], Any], contact: Contact, loaded: asyncio.Event) -> None:
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

    async def _trade(self) -> None:
        """Orders out, answers and reports in."""
        headers = {"Authorization": f"Bearer {self._key}"}
        url = _websocket_url(self._gateway_url, "/ws/orders")
        async with connect(url, additional_headers=headers, max_size=None) as socket:
            await self._login(socket)
            sending = asyncio.create_task(self._send_all(socket))
            resending = asyncio.create_task(self._send_again(set(self._sent)))
            try:
                async for text in socket:
                    message = json.loads(text)
                    if message.get("op") == "login":
                        await self._on_login(socket, message)
                    else:
                        self._on_message(message)
                    await self._call_all()
            finally:
                self._is_connected = False
                sending.cancel()
                resending.cancel()

    async def _login(self, socket: ClientConnection) -> None:
        login: dict[str, Any] = {"op": "login", "id": "login", "cancel_on_disconnect": self._cancel_on_disconnect}
        self._is_resuming = self._sequence is not None
        if self._is_resuming:
            # What happened while the connection was away comes first.
            login["resume_from"] = self._sequence
        await socket.send(json.dumps(login))

    async def _on_login(self, socket: ClientConnection, message: Mapping[str, Any]) -> None:
        """The gateway has answered a login. Raises `AccountError`, or one of `LOST` where it is of use to try again."""
        if message["ok"]:
            self._is_resuming = False
            self._sequence = max(self._sequence or 0, message["sequence"])
            if self._has_missed:
                await self._catch_up()
                self._has_missed = False
            self._is_connected = True
            self._gateway.found()
            return
        error = message["error"]
        if error["code"] == "TOO_LARGE" and self._sequence is not None:
            self._sequence, self._has_missed = None, True
            await self._login(socket)
        elif error["code"] in _NOT_LET_IN:
            raise AccountError(error["message"])
        else:
            raise WebSocketException(error["message"])

    async def _catch_up(self) -> None:
        """Asks for the state of each open order, after too many reports were missed. The settled balances cover the missed
        trades. Raises one of `LOST`."""
        headers = {"Authorization": f"Bearer {self._key}"}
        async with httpx.AsyncClient(timeout=10) as http:
            for name, order in list(self._bot._orders.items()):
                if order.order_id is not None:
                    self._send(f"g:{name}", {"op": "get", "order_id": order.order_id})
                elif f"o:{name}" in self._sent:
                    # An order that has ended since would be entered a second time if it were sent again.
                    url = httpx.URL(f"{self._gateway_url}/orders", params={"client_order_id": name})
                    page = await _get(http, str(url), headers)
                    for view in [one for one in page["orders"] if one["code"] != _TWICE][:1]:
                        self._state_is(view)
        await self._call_all()

    async def _send_all(self, socket: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            request = await self._outgoing.get()
            while (pause := self._not_before - loop.time()) > 0:
                await asyncio.sleep(pause)
            if self._asked.get(request["id"]) is request:
                self._sent.add(request["id"])
                await socket.send(json.dumps(request))

    async def _send_again(self, names: set[str]) -> None:
        """Sends what an earlier connection may have swallowed, unless a report tells of it: the exchange knows an order by
        its name as long as it is open."""
        await asyncio.sleep(SILENCE)
        while not self._is_connected:
            await asyncio.sleep(0.05)
        for name in names:
            request, order = self._asked.get(name), self._bot._orders.get(_order_in(name))
            if request is None:
                continue
            if order is None or (request["op"] == "order" and order.order_id is not None):
                # It has come, and a report has told so; to send it again would be to order twice.
                del self._asked[name]
                self._sent.discard(name)
            else:
                self._send(name, request)

    def _on_message(self, message: Mapping[str, Any]) -> None:
        if message.get("op") == "report":
            if self._is_resuming:
                return
            self._sequence = max(self._sequence or 0, message["sequence"])
            self._on_report(message["report"])
        elif (request := self._asked.pop(message.get("id") or "", None)) is not None:
            self._sent.discard(request["id"])
            self._on_answer(request, message)

    def _on_answer(self, request: dict[str, Any], message: Mapping[str, Any]) -> None:
        order = self._bot._orders.get(_order_in(request["id"]))
        error = message.get("error")
        if order is None:
            return
        if error is None:
            # A report has the same content, unless it was missed. The report of a later change may have arrived already.
            if order.order_id is None or request["op"] == "get":
                self._state_is(message["order"])
        elif error["code"] in _AGAIN:
            pause = float(error.get("retry_after") or 0.5)
            self._not_before = max(self._not_before, asyncio.get_running_loop().time() + pause)
            self._send(request["id"], request)
        elif error["code"] == _TWICE:
            pass
        elif request["op"] == "order":
            # OUTCOME_UNKNOWN too: it is gone for the bot, and what is settled will tell if it traded.
            self._session.refused(order, error["message"])
        elif request["op"] == "cancel":
            order.cancelling = False

    def _on_report(self, report: Mapping[str, Any]) -> None:
        if report["code"] == _TWICE:
            return
        if report["exec_type"] == "TRADE":
            self._filled_at = asyncio.get_running_loop().time()
        last = report["last_quantity"], report["last_price"] or "0", report["fee"]
        self._heard(report, report["exec_type"], *last, report["liquidity"])

    def _state_is(self, view: Mapping[str, Any]) -> None:
        """An order as it stands, without what led to it."""
        self._heard(view, "", "0", "0", "0", "")

    def _heard(self, said: Mapping[str, Any], kind: str, quantity: str, price: str, fee: str, liquidity: str) -> None:
        self._session.heard(
            News(
                said["order_id"],
                said["client_order_id"],
                said["symbol"],
                said["side"],
                kind,
                said["status"],
                Decimal(said["quantity"]),
                None if said["price"] is None else Decimal(said["price"]),
                Decimal(said["filled_quantity"]),
                Decimal(quantity),
                Decimal(price),
                Decimal(fee),
                liquidity,
                said["text"],
            )
        )

    # --- the market -----------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """The market in, and what is settled."""
        symbols = sorted(self._bot.securities)
        async with connect(_websocket_url(self._feed_url, "/ws"), max_size=None) as socket:
            await socket.send(json.dumps({"op": "login", "key": self._key}))
            await socket.send(json.dumps({"op": "subscribe", "channel": "balances"}))
            await socket.send(json.dumps({"op": "subscribe", "channel": "trades", "symbols": sorted(self._bot._listed)}))
            for channel in ("status", "book"):
                await socket.send(json.dumps({"op": "subscribe", "channel": channel, "symbols": symbols}))
            self._feed.found()
            async for text in socket:
                self._on_market(json.loads(text))
                await self._call_all()

    def _on_market(self, message: Mapping[str, Any]) -> None:
        kind, securities = message.get("type"), self._bot.securities
        if kind == "trade":
            trade = message["trade"]
            price = self._bot._listed[trade["symbol"]].last = Decimal(trade["price"])
            if trade["symbol"] in securities:
                seen = Trade(trade["symbol"], price, Decimal(trade["quantity"]), trade["aggressor_side"])
                self._session.traded(seen)
        elif kind == "snapshot":
            told = message["book"]
            book = securities[told["symbol"]].book
            book.bids, book.asks = (
                Levels(side == "bids", {Decimal(price): Decimal(quantity) for price, quantity, _ in told[side]})
                for side in ("bids", "asks")
            )
            book.sequence = told["sequence"]
            self._no_book.discard(told["symbol"])
            if not self._no_book:
                self._books.set()
            self._session.told(told["symbol"], True)
        elif kind == "update":
            security = securities[message["symbol"]]
            if message["previous_sequence"] != security.book.sequence:
                raise WebSocketException(f"a change of {message['symbol']} is missing")
            security.book.sequence = message["sequence"]
            changes = ((side, Decimal(price), Decimal(quantity)) for side, (price, quantity, _) in message["changes"])
            self._session.told(message["symbol"], change_book(security, changes))
        elif kind == "status":
            security = securities[message["symbol"]]
            if security.state != message["state"]:
                security.state = message["state"]
                self._session.state_changed(security.symbol, security.state)
        elif kind == "balance":
            self._settled = message

    async def _reconcile(self) -> None:
        """What the bot has is what it was told of its fills: at once, before they are settled. Once they must be, it is what
        is settled, deposits and withdrawals with it."""
        while True:
            await asyncio.sleep(REST_SECONDS / 4)
            if self._settled is not None and asyncio.get_running_loop().time() - self._filled_at > REST_SECONDS:
                self._bot.cash = Decimal(self._settled["balance"]["cash"])
                held = {one["symbol"]: Decimal(one["quantity"]) for one in self._settled["holdings"]}
                self._bot._positions.clear()
                self._bot._positions.update(held)
                self._settled = None


def _order_in(name: str) -> str:
    """The client_order_id in the id of a request."""
    return name.partition(":")[2]


async def _get(http: httpx.AsyncClient, url: str, headers: Mapping[str, str]) -> Any:
    """What the feed answers. Raises `AccountError`, or `httpx.HTTPError` where it is of use to ask again."""
    answer = await http.get(url, headers=headers)
    if answer.status_code in (401, 403):
        raise AccountError(refusal_in(answer))
    if not answer.is_success:
        # The feed does not know of it yet, or has too much to do.
        raise httpx.ConnectError(refusal_in(answer))
    try:
        return answer.json()
    except ValueError as error:
        raise httpx.ConnectError(f"{answer.url} is no exchange: its answer is no JSON") from error


def refusal_in(answer: httpx.Response) -> str:
    """Why an exchange refuses, in its words; for what is no exchange, its status."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code} from {answer.url}"


def _websocket_url(url: str, path: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(("wss" if parts.scheme == "https" else "ws", parts.netloc, parts.path.rstrip("/") + path, "", ""))
