"""The market data of a live bot: the connection to the feed, whose messages update the state of the bot."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from websockets.exceptions import WebSocketException

from microexchange.session_views import SessionView
from trading_bots.bot import Levels, News, Tender, Trade
from trading_bots.bot_state import BotState, change_book
from trading_bots.client_requests import key_headers
from trading_bots.connections import Contact, Endpoint, get_json, websocket_url


class MarketDataConnection:
    """The connection of one bot to the market-data feed."""

    def __init__(
        self,
        state: BotState,
        key: str,
        url: str,
        contact: Contact,
        after_message: Callable[[], Awaitable[None]],
        endpoint: Endpoint,
    ) -> None:
        """Prepare the connection. `run` opens it.

        Args:
            state: The state of the bot.
            key: The API key of the bot's account.
            url: The address of the feed.
            contact: Is notified when the feed answers.
            after_message: Called after each message. It calls the bot's callbacks.
            endpoint: Opens the connection.
        """
        self._endpoint = endpoint
        self._state, self._key, self._url, self._contact = state, key, url, contact
        self._after_message = after_message
        self._missing_books: set[str] = set()
        """Securities whose books have not arrived yet."""
        self.books_complete = asyncio.Event()
        """Set when all books have arrived."""
        self._notified: set[tuple[str, str]] = set()
        """The types and ids of the news and tenders that the bot has received."""
        self._has_connected = False
        self.settled: Mapping[str, Any] | None = None
        """The newest settled balance and holdings from the feed. The reader sets it to None."""

    def expect_books(self) -> None:
        """Expect a book of each security that the bot follows."""
        self._missing_books = set(self._state.bot.securities)
        if not self._missing_books:
            self.books_complete.set()

    async def run(self) -> None:
        """Read market data and settled balances from the feed."""
        symbols = sorted(self._state.bot.securities)
        async with self._endpoint.websocket(websocket_url(self._url, "/ws")) as socket:
            if self._key:
                await socket.send(json.dumps({"op": "login", "key": self._key}))
            await socket.send(json.dumps({"op": "subscribe", "channel": "balances"}))
            await socket.send(
                json.dumps({"op": "subscribe", "channel": "trades", "symbols": sorted(self._state.bot._listed)})
            )
            for channel in ("session", "tenders", "news"):
                await socket.send(json.dumps({"op": "subscribe", "channel": channel}))
            for channel in ("status", "book"):
                await socket.send(json.dumps({"op": "subscribe", "channel": channel, "symbols": symbols}))
            self._contact.found()
            async for text in socket:
                message = json.loads(text)
                self._on_market(message)
                if message.get("op") == "subscribed" and message["channel"] == "news":
                    # The feed has the subscription to tenders too. So nothing is published in between.
                    await self._catch_up()
                await self._after_message()

    async def _catch_up(self) -> None:
        """Read the news and tenders that the bot has missed. A bot that starts gets open tenders, and no old news."""
        headers = key_headers(self._key)
        async with self._endpoint.http() as http:
            news, tenders = [await get_json(http, f"{self._url}/{path}", headers) for path in ("news", "tenders")]
        if not self._has_connected:
            self._has_connected = True
            self._notified.update(("news", fields["news_id"]) for fields in news)
        for fields in reversed(news):
            self._on_news(fields)
        for fields in reversed(tenders):
            self._on_tender(fields)

    def _is_new(self, message_type: str, message_id: str) -> bool:
        known = len(self._notified)
        self._notified.add((message_type, message_id))
        return len(self._notified) > known

    def _on_news(self, fields: Mapping[str, Any]) -> None:
        if self._is_new("news", fields["news_id"]):
            self._state.notify_news(msgspec.convert(fields, News))

    def _on_tender(self, fields: Mapping[str, Any]) -> None:
        if self._is_new("tender", fields["tender_id"]):
            self._state.notify_tender(msgspec.convert(fields, Tender))

    def _on_market(self, message: Mapping[str, Any]) -> None:
        message_type, securities = message.get("type"), self._state.bot.securities
        if message_type == "trade":
            trade = message["trade"]
            price = self._state.bot._listed[trade["symbol"]].last = Decimal(trade["price"])
            if trade["symbol"] in securities:
                self._state.notify_trade(Trade(trade["symbol"], price, Decimal(trade["quantity"]), trade["aggressor_side"]))
        elif message_type == "snapshot":
            snapshot = message["book"]
            book = securities[snapshot["symbol"]].book
            book.bids, book.asks = (
                Levels(side == "bids", {Decimal(price): Decimal(quantity) for price, quantity, _ in snapshot[side]})
                for side in ("bids", "asks")
            )
            book.sequence = snapshot["sequence"]
            self._missing_books.discard(snapshot["symbol"])
            if not self._missing_books:
                self.books_complete.set()
            self._state.notify_book(snapshot["symbol"], True)
        elif message_type == "update":
            security = securities[message["symbol"]]
            if message["previous_sequence"] != security.book.sequence:
                raise WebSocketException(f"a change of the book of {message['symbol']} is missing")
            security.book.sequence = message["sequence"]
            changes = ((side, Decimal(price), Decimal(quantity)) for side, (price, quantity, _) in message["changes"])
            self._state.notify_book(message["symbol"], change_book(security, changes))
        elif message_type == "status":
            security = securities[message["symbol"]]
            if security.state != message["state"]:
                security.state = message["state"]
                self._state.notify_state(security.symbol, security.state)
        elif message_type == "session":
            if message["session"] is not None:
                self._state.notify_session(msgspec.convert(message["session"], SessionView))
        elif message_type == "news":
            self._on_news(message["news"])
        elif message_type == "tender":
            self._on_tender(message["tender"])
        elif message_type == "balance":
            self.settled = message
