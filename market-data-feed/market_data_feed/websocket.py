"""The feed's WebSockets: `/ws`, on which a client subscribes to channels, and two of one security each."""

import asyncio
from typing import Annotated, Literal

import msgspec
from fastapi import FastAPI
from starlette.websockets import WebSocket

from market_data_feed.hub import (
    CANDLES,
    LEADERBOARD,
    MARKETDATA,
    ORDERS,
    PRIVATE,
    TAPE,
    TRADES,
    Key,
    Subscriber,
    candles_of,
    message_for,
    state_message,
)
from market_data_feed.state import FeedState
from microexchange.access import Access, as_client
from microexchange.frames import connection_of
from microexchange.refusals import Code, Refusal
from microexchange.web import decode_json, json_frame, json_text, refuse

GOING_AWAY, POLICY, TOO_SLOW = 1001, 1008, 1013
CLOSING_SECONDS = 5.0
"""How long a slow reader has to hear why it is disconnected."""
MAX_SUBSCRIPTIONS = 20_000
"""Of one connection: a channel of a security counts as one."""
MAX_AT_ONCE = 50
"""Subscriptions that are answered before the reader must have taken some of it."""

Channel = Literal[
    "book", "book.full", "bbo", "trades", "candles", "ticker", "status", "auction", "orders", "balances", "leaderboard"
]  # fmt: skip
Interval = Literal["1s", "1m", "5m", "1h", "1d"]
Symbols = Annotated[list[str], msgspec.Meta(max_length=MAX_SUBSCRIPTIONS)]


class Login(msgspec.Struct, frozen=True, tag_field="op", tag="login", forbid_unknown_fields=True):
    """Say who you are, for the channels of your own."""

    key: str = ""
    client_id: str = ""
    """In a classroom, your name in place of a key."""


class Subscribe(msgspec.Struct, frozen=True, tag_field="op", tag="subscribe", forbid_unknown_fields=True):
    """Hear a channel, of some securities or of all that are listed."""

    channel: Channel
    symbols: Symbols | None = None
    interval: Interval = "1m"
    """Of the channel `candles`."""


class Unsubscribe(msgspec.Struct, frozen=True, tag_field="op", tag="unsubscribe", forbid_unknown_fields=True):
    """No longer hear it."""

    channel: Channel
    symbols: Symbols | None = None
    interval: Interval = "1m"


class Ping(msgspec.Struct, frozen=True, tag_field="op", tag="ping"):
    """Ask whether the feed hears."""


_decoder = msgspec.json.Decoder(Login | Subscribe | Unsubscribe | Ping)


class Session:
    """One connection."""

    def __init__(self, socket: WebSocket, state: FeedState, access: Access, fixed: Key | None = None) -> None:
        self._socket = socket
        self._state = state
        self._access = access
        self._fixed = fixed
        """What a connection of one channel hears from the beginning."""
        self._client_id = ""
        self._connection = connection_of(socket)
        self._subscriber = Subscriber(self._connection.put)

    async def run(self) -> None:
        """Serves the connection to its end."""
        await self._socket.accept()
        if self._fixed is not None:
            self._begin(self._fixed)
        elif "authorization" in self._socket.headers:
            try:
                self._client_id = self._access.client(self._socket)
            except Refusal as refusal:
                await self._socket.send_text(json_text({"op": "error", **refusal.as_json()}))
                await self._socket.close(POLICY, refusal.message)
                return
        writing = asyncio.create_task(self._write())
        reading = asyncio.create_task(self._read())
        overflowing = asyncio.create_task(self._subscriber.overflowed.wait())
        try:
            await asyncio.wait((writing, reading, overflowing), return_when=asyncio.FIRST_COMPLETED)
            if overflowing.done():
                # The writer tells the reason, if the reader takes anything at all.
                self._state.hub.leave(self._subscriber)
                await asyncio.wait((writing, reading), timeout=CLOSING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._state.hub.leave(self._subscriber)
            for task in (writing, reading, overflowing):
                task.cancel()
            await asyncio.gather(writing, reading, overflowing, return_exceptions=True)

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
            self._client_id = as_client(self._access.login(request.key, request.client_id)[0])
            subscriber.send(json_frame({"op": "login", "ok": True, "client_id": self._client_id}))
        elif isinstance(request, Unsubscribe):
            keys, symbols = self._keys_of(request)
            for key in keys:
                self._state.hub.unsubscribe(subscriber, key)
            subscriber.send(json_frame({"op": "unsubscribed", "channel": request.channel, "symbols": symbols}))
        else:
            keys, symbols = self._keys_of(request)
            if len(subscriber.keys | set(keys)) > MAX_SUBSCRIPTIONS:
                text_ = f"a connection has {MAX_SUBSCRIPTIONS} subscriptions at most: a channel of a security counts as one"
                raise Refusal(Code.TOO_LARGE, text_, "symbols")
            subscriber.send(json_frame({"op": "subscribed", "channel": request.channel, "symbols": symbols}))
            for number, key in enumerate(keys, 1):
                self._begin(key)
                while number % MAX_AT_ONCE == 0 and len(subscriber) > MAX_AT_ONCE:
                    await asyncio.sleep(0.001)

    def _keys_of(self, request: Subscribe | Unsubscribe) -> tuple[list[Key], list[str]]:
        """What a request is about. Raises `Refusal`."""
        market, channel = self._state.market, request.channel
        if channel == LEADERBOARD:
            return [(channel, "")], []
        if channel in PRIVATE:
            if not self._client_id and self._access.classroom:
                self._client_id = self._access.client(self._socket)
            if not self._client_id:
                raise Refusal(Code.UNAUTHENTICATED, f'{channel} are yours alone: log in, {{"op": "login", "key": "…"}}')
            return [(channel, self._client_id)], []
        symbols = sorted(market.securities) if request.symbols is None else request.symbols
        for symbol in symbols:
            if symbol not in market.securities:
                raise Refusal(Code.UNKNOWN_SYMBOL, f"{symbol[:32]!r} is not listed", "symbols")
        name = candles_of(request.interval) if channel == CANDLES else channel
        return [(name, symbol) for symbol in symbols], symbols

    def _begin(self, key: Key) -> None:
        """Subscribes, after telling how it stands. In between nothing else runs, so no change falls between them."""
        market, subscriber = self._state.market, self._subscriber
        if key[0] not in (TRADES, TAPE, ORDERS) and not (key[0] in PRIVATE and key[1] not in market.clients):
            subscriber.send(json_frame(state_message(market, key)))
        self._state.hub.subscribe(subscriber, key)

    async def _write(self) -> None:
        while (said := await self._subscriber.next()) is not None:
            frame = said if isinstance(said, bytes) else json_frame(message_for(self._state.market, *said))
            if not await self._connection.send_frame(frame):
                return
        await self._socket.close(TOO_SLOW, "too many messages wait to be read: connect and subscribe again")


def add_websocket(app: FastAPI, state: FeedState, access: Access) -> None:
    """Adds `/ws`, `/ws/marketdata` and `/ws/trades` to `app`."""

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await Session(socket, state, access).run()

    async def of_one(socket: WebSocket, channel: str, symbol: str) -> None:
        if symbol in state.market.securities:
            await Session(socket, state, access, (channel, symbol)).run()
            return
        text = f"{symbol[:32]!r} is not listed: name a security, ?symbol=AAPL"
        await socket.send_denial_response(refuse(Refusal(Code.UNKNOWN_SYMBOL, text, "symbol")))

    @app.websocket("/ws/marketdata")
    async def ws_marketdata(socket: WebSocket, symbol: str = "") -> None:
        await of_one(socket, MARKETDATA, symbol)

    @app.websocket("/ws/trades")
    async def ws_trades(socket: WebSocket, symbol: str = "") -> None:
        await of_one(socket, TAPE, symbol)
