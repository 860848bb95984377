"""Runs bots on a live exchange: keeps their connections and their state."""

import asyncio
import contextlib
import inspect
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from microexchange.auth import write_private
from trading_bots.bot import Bot, Fill, Order, Security, Trade

GATEWAY_URL = os.environ.get("MX_GATEWAY_URL", "http://127.0.0.1:8000")
FEED_URL = os.environ.get("MX_FEED_URL", "http://127.0.0.1:8001")

_LOST = (OSError, WebSocketException, httpx.HTTPError)
_logger = structlog.get_logger(__name__)


class AccountError(RuntimeError):
    """The exchange does not let the bot in."""


class KeyFile:
    """API keys by client id, in a file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, client_id: str) -> str | None:
        """The key of a client, if it is there."""
        return self._keys.get(client_id)

    def put(self, client_id: str, key: str) -> None:
        """Keeps a key."""
        self._keys[client_id] = key
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self._path, json.dumps(self._keys))


async def account(
    http: httpx.AsyncClient, gateway_url: str, client_id: str, keys: KeyFile, admin_token: str = ""
) -> tuple[str, str]:
    """An account for a bot that wants to be called `client_id`: (client id, key), from the key file or newly opened.

    Where somebody else has the name, the bot is called `client_id-2`, and so on. `admin_token` opens accounts where not
    everybody may. Raises `AccountError`.
    """
    headers = {"Authorization": f"Bearer {admin_token}"} if admin_token else {}
    for number in range(1, 1000):
        name = client_id if number == 1 else f"{client_id}-{number}"
        key = keys.get(name)
        if key is not None:
            return name, key
        answer = await http.post(f"{gateway_url}/clients", json={"client_id": name}, headers=headers)
        body = answer.json()
        if answer.status_code == 201:
            keys.put(name, body["api_key"])
            return name, body["api_key"]
        if body["error"]["code"] != "CLIENT_EXISTS":
            raise AccountError(body["error"]["message"])
    raise AccountError(f"a thousand clients are called {client_id}")


class LiveVenue:
    """One bot on the live exchange."""

    MOST_UNSENT = 1000

    def __init__(self, bot: Bot, client_id: str, key: str, gateway_url: str, feed_url: str) -> None:
        self._bot = bot
        self._key = key
        self._gateway_url = gateway_url
        self._feed_url = feed_url
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue(self.MOST_UNSENT)
        self._timers: set[asyncio.Task[None]] = set()
        self._by_order_id: dict[str, Order] = {}
        self._fault: BaseException | None = None
        bot.client_id = client_id
        bot._venue = self

    # --- what the bot asks for ------------------------------------------------------------------------------

    def send_order(self, order: Order) -> None:
        """See `Venue`."""
        request = {
            "op": "order",
            "id": order.client_order_id,
            "symbol": order.symbol,
            "side": order.side,
            "order_type": "market" if order.price is None else "limit",
            "quantity": f"{order.quantity:f}",
            "client_order_id": order.client_order_id,
        }
        if order.price is not None:
            request["price"] = f"{order.price:f}"
        self._send(request)

    def send_cancel(self, order: Order) -> None:
        """See `Venue`. An order that the exchange has not answered yet is cancelled when it has."""
        if order.order_id is not None:
            self._send({"op": "cancel", "id": order.client_order_id, "order_id": order.order_id})

    def start_timer(self, seconds: float, function: Callable[[], Any]) -> None:
        """See `Venue`."""

        async def tick() -> None:
            while True:
                await asyncio.sleep(seconds)
                await self._call(function)

        task = asyncio.create_task(tick())
        self._timers.add(task)
        task.add_done_callback(self._timers.discard)

    def _send(self, request: dict[str, Any]) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._outgoing.put_nowait(request)

    async def _call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Calls into the bot. A bot's error is shown with the bot's own lines, and does not stop it."""
        try:
            result = callback(*arguments)
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[1:]
            where = "".join(traceback.format_list(frames))
            print(f"{type(self._bot).__name__}: {type(error).__name__}: {error}\n{where}", file=sys.stderr)

    # --- the connections ------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Runs the bot until `stop`. A lost connection is made again."""
        started = asyncio.Event()
        tasks = [
            asyncio.create_task(self._keep(self._trade, started)),
            asyncio.create_task(self._keep(self._watch, started)),
            asyncio.create_task(self._start(started)),
            asyncio.create_task(stop.wait()),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await self._call(self._bot.on_stop)
        for task in (*tasks, *self._timers):
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _start(self, started: asyncio.Event) -> None:
        async with httpx.AsyncClient(timeout=10) as http:
            while True:
                try:
                    await self._load(http)
                    break
                except _LOST:
                    await asyncio.sleep(0.5)
        started.set()
        await self._call(self._bot.on_start)
        await asyncio.Event().wait()

    async def _load(self, http: httpx.AsyncClient) -> None:
        """Asks the feed for what the bot begins with."""
        bot, headers = self._bot, {"Authorization": f"Bearer {self._key}"}
        listed = await _get(http, f"{self._feed_url}/securities?limit=1000", {})
        if bot.symbols and not any(one["symbol"] in bot.symbols for one in listed):
            bot.symbols = tuple(one["symbol"] for one in listed[: len(bot.symbols)])
        for wanted in listed:
            symbol = wanted["symbol"]
            if not bot.symbols or symbol in bot.symbols:
                last = Decimal(wanted["last_price"] or wanted["reference_price"])
                bot.securities[symbol] = Security(symbol, Decimal(wanted["tick_size"]), Decimal(wanted["lot_size"]), last)
        bot.cash = Decimal((await _get(http, f"{self._feed_url}/balance/{bot.client_id}", headers))["cash"])
        for symbol in bot.securities:
            holding = await _get(http, f"{self._feed_url}/holdings/{symbol}/{bot.client_id}", headers)
            bot._positions[symbol] = Decimal(holding["quantity"])
        for told in await _get(http, f"{self._feed_url}/orders/{bot.client_id}", headers):
            self._adopt(told)

    def _adopt(self, told: Mapping[str, Any]) -> None:
        """An order of an earlier life of the bot, which still stands in the book."""
        order = Order(
            told["client_order_id"] or told["order_id"],
            told["symbol"],
            told["side"],
            Decimal(told["quantity"]),
            None if told["price"] is None else Decimal(told["price"]),
            told["order_id"],
            told["status"],
            Decimal(told["filled_quantity"]),
        )
        self._bot._orders[order.client_order_id] = self._by_order_id[told["order_id"]] = order

    async def _keep(self, work: Callable[[], Any], started: asyncio.Event) -> None:
        await started.wait()
        delay = 0.1
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await work()
            except _LOST as error:
                _logger.warning("bot lost its connection", bot=self._bot.client_id, cause=str(error))
            delay = 0.1 if asyncio.get_running_loop().time() - began > 5 else min(delay * 2, 5.0)
            await asyncio.sleep(delay)

    async def _trade(self) -> None:
        """Orders out, answers and reports in."""
        headers = {"Authorization": f"Bearer {self._key}"}
        async with connect(_websocket_url(self._gateway_url, "/ws/orders"), additional_headers=headers) as socket:
            for order in list(self._bot.open_orders):
                # What happened while the connection was away.
                if order.order_id is not None:
                    await socket.send(json.dumps({"op": "get", "id": order.client_order_id, "order_id": order.order_id}))
                else:
                    self.send_order(order)
            sending = asyncio.create_task(self._send_all(socket))
            try:
                async for text in socket:
                    await self._on_message(json.loads(text))
            finally:
                sending.cancel()

    async def _send_all(self, socket: ClientConnection) -> None:
        while True:
            request = await self._outgoing.get()
            try:
                await socket.send(json.dumps(request))
            except WebSocketException:
                self._send(request)
                return

    async def _on_message(self, message: Mapping[str, Any]) -> None:
        if message.get("op") == "report":
            await self._on_report(message["report"])
            return
        order = self._bot._orders.get(message.get("id") or "")
        if order is None:
            return
        if message["ok"]:
            await self._update(order, message["order"])
        elif order.order_id is None and message["error"]["code"] not in ("UNAVAILABLE", "OUTCOME_UNKNOWN"):
            order.status, order.reason = "REJECTED", message["error"]["message"]
            await self._ended(order)
            await self._call(self._bot.on_reject, order)
        elif order.order_id is None:
            # Nothing is known of it: it is gone for the bot, unless a report says otherwise.
            order.status, order.reason = "REJECTED", message["error"]["message"]
            await self._call(self._bot.on_reject, order)
        else:
            order.cancelling = False

    async def _on_report(self, report: Mapping[str, Any]) -> None:
        bot = self._bot
        order = bot._orders.get(report["client_order_id"]) or self._by_order_id.get(report["order_id"])
        if report["exec_type"] == "TRADE":
            symbol, price, quantity = report["symbol"], Decimal(report["last_price"]), Decimal(report["last_quantity"])
            sign = 1 if report["side"] == "buy" else -1
            fee = Decimal(report["fee"])
            bot.cash -= sign * price * quantity + fee
            bot._positions[symbol] = bot.position(symbol) + sign * quantity
            if order is not None:
                await self._update(order, report)
                await self._call(bot.on_fill, Fill(symbol, report["side"], price, quantity, fee, order))
        elif order is not None:
            await self._update(order, report)

    async def _update(self, order: Order, news: Mapping[str, Any]) -> None:
        filled = Decimal(news["filled_quantity"])
        if filled < order.filled_quantity or (not order.is_open and order.order_id is not None):
            return
        changed = (order.status, order.filled_quantity) != (news["status"], filled)
        order.status, order.filled_quantity, order.reason = news["status"], filled, news["text"]
        if order.order_id is None:
            order.order_id = news["order_id"]
            self._by_order_id[order.order_id] = order
            if order.cancelling and order.is_open:
                self.send_cancel(order)
        if changed:
            if not order.is_open:
                await self._ended(order)
            await self._call(self._bot.on_order, order)

    async def _ended(self, order: Order) -> None:
        """An order that has ended is forgotten, so that a bot that runs for days does not grow."""
        self._bot._orders.pop(order.client_order_id, None)
        if order.order_id is not None:
            self._by_order_id.pop(order.order_id, None)

    async def _watch(self) -> None:
        """The market in."""
        symbols = sorted(self._bot.securities)
        async with connect(_websocket_url(self._feed_url, "/ws"), max_size=None) as socket:
            for channel in ("book", "trades"):
                await socket.send(json.dumps({"op": "subscribe", "channel": channel, "symbols": symbols}))
            async for text in socket:
                message = json.loads(text)
                if message.get("type") == "trade":
                    await self._on_trade(message["trade"])
                elif message.get("type") == "snapshot":
                    self._on_snapshot(message["book"])
                    await self._call(self._bot.on_book, message["book"]["symbol"])
                elif message.get("type") == "update":
                    self._on_change(message)
                    await self._call(self._bot.on_book, message["symbol"])

    async def _on_trade(self, trade: Mapping[str, Any]) -> None:
        price = Decimal(trade["price"])
        self._bot.securities[trade["symbol"]].last = price
        seen = Trade(trade["symbol"], price, Decimal(trade["quantity"]), trade["aggressor_side"])
        await self._call(self._bot.on_trade, seen)

    def _on_snapshot(self, book: Mapping[str, Any]) -> None:
        security = self._bot.securities[book["symbol"]]
        security.bids = {Decimal(price): Decimal(quantity) for price, quantity, _ in book["bids"]}
        security.asks = {Decimal(price): Decimal(quantity) for price, quantity, _ in book["asks"]}
        security.sequence = book["sequence"]

    def _on_change(self, message: Mapping[str, Any]) -> None:
        security = self._bot.securities[message["symbol"]]
        if message["previous_sequence"] != security.sequence:
            raise WebSocketException(f"a change of {message['symbol']} is missing")
        security.sequence = message["sequence"]
        for side, (price, quantity, _) in message["changes"]:
            levels = security.bids if side == "buy" else security.asks
            if Decimal(quantity):
                levels[Decimal(price)] = Decimal(quantity)
            else:
                levels.pop(Decimal(price), None)


async def _get(http: httpx.AsyncClient, url: str, headers: Mapping[str, str]) -> Any:
    answer = await http.get(url, headers=headers)
    if answer.status_code in (404, 503):
        # The feed has not heard of it yet.
        raise httpx.ConnectError(answer.text)
    answer.raise_for_status()
    return answer.json()


def _websocket_url(url: str, path: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(("wss" if parts.scheme == "https" else "ws", parts.netloc, path, "", ""))


async def run_bots(
    bots: Mapping[str, Bot],
    gateway_url: str,
    feed_url: str,
    keys: KeyFile,
    stop: asyncio.Event,
    admin_token: str = "",
) -> None:
    """Runs bots, by the names they would like, until `stop`. Opens accounts for those who have none, as the admin where it
    must."""
    venues = []
    async with httpx.AsyncClient(timeout=30) as http:
        for name, bot in bots.items():
            while not stop.is_set():
                try:
                    client_id, key = await account(http, gateway_url, name, keys, admin_token)
                    venues.append(LiveVenue(bot, client_id, key, gateway_url, feed_url))
                    break
                except (httpx.HTTPError, AccountError) as error:
                    _logger.warning("no account yet", bot=name, cause=str(error))
                    await asyncio.sleep(1)
    async with asyncio.TaskGroup() as group:
        for venue in venues:
            group.create_task(venue.run(stop))


def run(
    bot: type[Bot] | Bot,
    *,
    client_id: str | None = None,
    gateway_url: str = GATEWAY_URL,
    feed_url: str = FEED_URL,
    keys: Path = Path("keys.json"),
) -> None:
    """Runs one bot until Ctrl-C. Its account is opened on first use, and its key kept in the file `keys`."""
    instance = bot if isinstance(bot, Bot) else bot()
    name = client_id or type(instance).__name__

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run_bots({name: instance}, gateway_url, feed_url, KeyFile(keys), stop)

    asyncio.run(main())
