"""The feed's WebSockets: `/ws`, where a client subscribes to channels, and two that send one channel of one security."""

import asyncio
from typing import Annotated, Literal

import msgspec
from fastapi import FastAPI
from starlette.websockets import WebSocket

from market_data_feed.hub import (
    CANDLES,
    FOR_AN_AUDIENCE,
    LEADERBOARD,
    MARKETDATA,
    ORDERS,
    PRIVATE,
    SESSION,
    TAPE,
    TRADES,
    Key,
    Subscriber,
    candles_of,
    conflated_message,
    state_message,
)
from market_data_feed.state import FeedState
from microexchange.access import Access, as_client
from microexchange.connection_limits import place_of
from microexchange.frames import connection_of
from microexchange.participants import name_key
from microexchange.refusals import Code, Refusal
from microexchange.web import decode_json, json_frame, json_text, refuse

POLICY, TOO_SLOW = 1008, 1013
CLOSE_TIMEOUT_SECONDS = 5.0
"""The time in which a slow reader may read the reason for its disconnection."""
MAX_SUBSCRIPTIONS = 20_000
"""The subscriptions of one connection. A channel of a security counts as one."""
MAX_SNAPSHOTS_AT_ONCE = 50
"""The snapshots in the queue at which a subscription to many securities waits for the reader."""

Channel = Literal[
    "book", "book.full", "bbo", "trades", "candles", "ticker", "status", "auction", "orders", "balances", "positions",
    "leaderboard", "session", "news", "tenders",
]  # fmt: skip
Interval = Literal["1s", "1m", "5m", "1h", "1d"]
Symbols = Annotated[list[str], msgspec.Meta(max_length=MAX_SUBSCRIPTIONS)]


class Login(msgspec.Struct, frozen=True, tag_field="op", tag="login", forbid_unknown_fields=True):
    """Log in, for the private channels."""

    key: str = ""
    client_id: str = ""
    """Your name. A classroom takes it instead of a key."""


class Subscribe(msgspec.Struct, frozen=True, tag_field="op", tag="subscribe", forbid_unknown_fields=True):
    """Subscribe to a channel of some securities, or of all listed securities."""

    channel: Channel
    symbols: Symbols | None = None
    interval: Interval = "1m"
    """The interval of the channel `candles`."""


class Unsubscribe(msgspec.Struct, frozen=True, tag_field="op", tag="unsubscribe", forbid_unknown_fields=True):
    """End a subscription."""

    channel: Channel
    symbols: Symbols | None = None
    interval: Interval = "1m"


class Ping(msgspec.Struct, frozen=True, tag_field="op", tag="ping"):
    """Check the connection."""


_decoder = msgspec.json.Decoder(Login | Subscribe | Unsubscribe | Ping)


class SubscriberSession:
    """The session of one subscriber: its connection, its login and its subscriptions."""

    def __init__(self, socket: WebSocket, state: FeedState, access: Access, fixed: Key | None = None) -> None:
        self._socket = socket
        self._state = state
        self._access = access
        self._fixed = fixed
        """The only channel of a connection that cannot subscribe."""
        self._client_id = ""
        self._connection = connection_of(socket)
        self._subscriber = Subscriber(self._connection.put)

    async def run(self) -> None:
        """Serve the connection until it ends."""
        await self._socket.accept()
        if self._fixed is not None:
            self._begin(self._fixed)
        elif "authorization" in self._socket.headers:
            try:
                self._login(*self._access.identify(self._socket))
            except Refusal as refusal:
                await self._socket.send_text(json_text({"op": "error", **refusal.as_json()}))
                await self._socket.close(POLICY, refusal.message)
                return
        writing = asyncio.create_task(self._write())
        reading = asyncio.create_task(self._read())
        overflowing = asyncio.create_task(self._subscriber.overflowed.wait())
        revoking = asyncio.create_task(self._subscriber.revoked.wait())
        tasks = (writing, reading, overflowing, revoking)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if revoking.done():
                self._state.hub.leave(self._subscriber)
                await self._socket.close(POLICY, "the API key was revoked")
            elif overflowing.done():
                # The writer sends the reason if the client reads again.
                self._state.hub.leave(self._subscriber)
                await asyncio.wait((writing, reading), timeout=CLOSE_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._state.hub.leave(self._subscriber)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _login(self, sender: str, key_id: str) -> None:
        """Make this the connection of a client.

        Raises:
            Refusal: The sender is the admin, the connection is another client's, or the client has too many.
        """
        client_id = as_client(sender)
        if self._client_id not in ("", client_id):
            raise Refusal(Code.FORBIDDEN, f"this connection is logged in as {self._client_id}: open another one")
        place_of(self._socket.scope).give_to(client_id)
        self._client_id = client_id
        for channel in FOR_AN_AUDIENCE:
            if (channel, "") in self._subscriber.keys:
                self._begin((channel, client_id))
        self._state.hub.use_key(self._subscriber, key_id or name_key(client_id))

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._fixed is not None:
                continue
            text = message.get("text")
            try:
                await self._on_request(text.encode() if text is not None else message.get("bytes") or b"")
            except Refusal as refusal:
                self._subscriber.send(json_frame({"op": "error", **refusal.as_json()}))

    async def _on_request(self, text: bytes) -> None:
        request = decode_json(_decoder, text)
        subscriber = self._subscriber
        if isinstance(request, Ping):
            subscriber.send(json_frame({"op": "pong"}))
        elif isinstance(request, Login):
            self._login(*self._access.login(request.key, request.client_id))
            subscriber.send(json_frame({"op": "login", "ok": True, "client_id": self._client_id}))
        elif isinstance(request, Unsubscribe):
            keys, symbols = self._keys_of(request)
            for key in keys:
                self._state.hub.unsubscribe(subscriber, key)
            subscriber.send(json_frame({"op": "unsubscribed", "channel": request.channel, "symbols": symbols}))
        else:
            keys, symbols = self._keys_of(request)
            if len(subscriber.keys | set(keys)) > MAX_SUBSCRIPTIONS:
                problem = f"a connection may have {MAX_SUBSCRIPTIONS} subscriptions: a channel of a security counts as one"
                raise Refusal(Code.TOO_LARGE, problem, "symbols")
            subscriber.send(json_frame({"op": "subscribed", "channel": request.channel, "symbols": symbols}))
            for number, key in enumerate(keys, 1):
                self._begin(key)
                while number % MAX_SNAPSHOTS_AT_ONCE == 0 and len(subscriber) > MAX_SNAPSHOTS_AT_ONCE:
                    await asyncio.sleep(0.001)

    def _keys_of(self, request: Subscribe | Unsubscribe) -> tuple[list[Key], list[str]]:
        """Return the channels and the symbols of a request.

        Raises:
            Refusal: A symbol is not listed, or a private channel is requested without a login.
        """
        market, channel = self._state.market, request.channel
        if channel in (LEADERBOARD, SESSION):
            return [(channel, "")], []
        if channel in FOR_AN_AUDIENCE:
            return [(channel, subject) for subject in dict.fromkeys(("", self._client_id))], []
        if channel in PRIVATE:
            if not self._client_id and self._access.classroom:
                self._login(*self._access.identify(self._socket))
            if not self._client_id:
                raise Refusal(
                    Code.UNAUTHENTICATED, f'{channel} is a private channel: log in with {{"op": "login", "key": "…"}}'
                )
            return [(channel, self._client_id)], []
        symbols = sorted(market.securities) if request.symbols is None else request.symbols
        for symbol in symbols:
            if symbol not in market.securities:
                raise Refusal(Code.UNKNOWN_SYMBOL, f"{symbol[:32]!r} is not listed", "symbols")
        name = candles_of(request.interval) if channel == CANDLES else channel
        return [(name, symbol) for symbol in symbols], symbols

    def _begin(self, key: Key) -> None:
        """Send the current state of a channel, and subscribe to it. No other task runs in between, so no change is lost."""
        market, subscriber = self._state.market, self._subscriber
        has_state = key[0] not in (TRADES, TAPE, ORDERS, *FOR_AN_AUDIENCE)
        if has_state and not (key[0] in PRIVATE and key[1] not in market.clients):
            subscriber.send(json_frame(state_message(market, key)))
        self._state.hub.subscribe(subscriber, key)

    async def _write(self) -> None:
        while (item := await self._subscriber.next()) is not None:
            frame = item if isinstance(item, bytes) else json_frame(conflated_message(self._state.market, *item))
            if not await self._connection.send_frame(frame):
                return
        await self._socket.close(TOO_SLOW, "too many unread messages: connect and subscribe again")


def add_websocket(app: FastAPI, state: FeedState, access: Access) -> None:
    """Add `/ws`, `/ws/marketdata` and `/ws/trades` to `app`."""

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await SubscriberSession(socket, state, access).run()

    async def serve_channel(socket: WebSocket, channel: str, symbol: str) -> None:
        if symbol in state.market.securities:
            await SubscriberSession(socket, state, access, (channel, symbol)).run()
            return
        text = f"{symbol[:32]!r} is not listed: add the symbol of a security, as in ?symbol=AAPL"
        await socket.send_denial_response(refuse(Refusal(Code.UNKNOWN_SYMBOL, text, "symbol")))

    @app.websocket("/ws/marketdata")
    async def ws_marketdata(socket: WebSocket, symbol: str = "") -> None:
        await serve_channel(socket, MARKETDATA, symbol)

    @app.websocket("/ws/trades")
    async def ws_trades(socket: WebSocket, symbol: str = "") -> None:
        await serve_channel(socket, TAPE, symbol)
