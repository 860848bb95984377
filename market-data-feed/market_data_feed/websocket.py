"""The feed's WebSocket: `/ws`, on which a client subscribes to channels of securities."""

import asyncio
from typing import Literal

import msgspec
from fastapi import FastAPI
from starlette.websockets import WebSocket, WebSocketDisconnect

from market_data_feed.hub import BOOK, Subscriber, snapshot_message
from market_data_feed.state import FeedState
from microexchange.refusals import Code, Refusal
from microexchange.web import decode_json, json_text

GOING_AWAY, TOO_SLOW = 1001, 1013
CLOSING_SECONDS = 5.0
"""How long a slow reader has to hear why it is disconnected."""
DEPTH = 1000
"""Levels of each side in a snapshot."""

Channel = Literal["book", "trades"]


class Subscribe(msgspec.Struct, frozen=True, tag_field="op", tag="subscribe", forbid_unknown_fields=True):
    """Hear a channel, of some securities or of all that are listed."""

    channel: Channel
    symbols: list[str] | None = None


class Unsubscribe(msgspec.Struct, frozen=True, tag_field="op", tag="unsubscribe", forbid_unknown_fields=True):
    """No longer hear it."""

    channel: Channel
    symbols: list[str] | None = None


class Ping(msgspec.Struct, frozen=True, tag_field="op", tag="ping"):
    """Ask whether the feed hears."""


_decoder = msgspec.json.Decoder(Subscribe | Unsubscribe | Ping)


class Session:
    """One connection."""

    def __init__(self, socket: WebSocket, state: FeedState) -> None:
        self._socket = socket
        self._state = state
        self._subscriber = Subscriber()

    async def run(self) -> None:
        """Serves the connection to its end."""
        await self._socket.accept()
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
            text = message.get("text")
            try:
                self._on_request(text.encode() if text is not None else message.get("bytes") or b"")
            except Refusal as refusal:
                self._subscriber.send(json_text({"op": "error", **refusal.as_json()}))

    def _on_request(self, text: bytes) -> None:
        request = decode_json(_decoder, text)
        hub, market, subscriber = self._state.hub, self._state.market, self._subscriber
        if isinstance(request, Ping):
            subscriber.send('{"op":"pong"}')
            return
        symbols = sorted(market.securities) if request.symbols is None else request.symbols
        for symbol in symbols:
            if symbol not in market.securities:
                raise Refusal(Code.UNKNOWN_SYMBOL, f"{symbol[:32]!r} is not listed", "symbols")
        if isinstance(request, Unsubscribe):
            for symbol in symbols:
                hub.unsubscribe(subscriber, request.channel, symbol)
            subscriber.send(json_text({"op": "unsubscribed", "channel": request.channel, "symbols": symbols}))
            return
        subscriber.send(json_text({"op": "subscribed", "channel": request.channel, "symbols": symbols}))
        for symbol in symbols:
            # Between the snapshot and the subscription nothing else runs, so no change falls between them.
            if request.channel == BOOK:
                subscriber.send(json_text(snapshot_message(market, symbol, DEPTH)))
            hub.subscribe(subscriber, request.channel, symbol)

    async def _write(self) -> None:
        queue = self._subscriber.queue
        while (text := await queue.get()) is not None:
            if self._subscriber.overflowed.is_set():
                break
            try:
                await self._socket.send_text(text)
            except (WebSocketDisconnect, RuntimeError):
                return
        await self._socket.close(TOO_SLOW, "too many messages wait to be read: connect and subscribe again")


def add_websocket(app: FastAPI, state: FeedState) -> None:
    """Adds `/ws` to `app`."""

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await Session(socket, state).run()
