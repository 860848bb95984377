"""The simple dialect of a classroom: JSON over a WebSocket on `/`. Each message is an order, answered before the next.

Numbers are JSON numbers. The answer to a malformed message is `{"error": …}`. The answer to a refused order has the status
`rejected` and the reason.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from microexchange.access import Access
from microexchange.connection_limits import place_of
from microexchange.enums import Side
from microexchange.number_fields import Amount, json_decoder
from microexchange.numbers import average_price
from microexchange.refusals import Refusal
from microexchange.reports import OrderReport, Trade
from microexchange.schemas import time_text
from microexchange.web import decode_json, number_json
from order_entry_gateway.classroom import ClassroomState, NamedTrade
from order_entry_gateway.client_session import ClientSession
from order_entry_gateway.order_service import OrderService
from order_entry_gateway.requests import OrderRequest

TRADES = "trades"
MAX_QUEUED_MESSAGES = 10_000
"""Messages in the queue for a slow reader. Beyond it, the gateway disconnects the reader."""
CLOSE_TIMEOUT_SECONDS = 1.0
TOO_SLOW, POLICY = 1013, 1008
NOT_JSON = {"error": "Invalid JSON format"}
_REQUIRED_KEYS = ("symbol", "price", "quantity")


class SimpleOrder(msgspec.Struct, frozen=True):
    """An order in the simple dialect. Other fields of a message are ignored."""

    symbol: str
    price: Amount
    quantity: Amount


_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text_decoder = msgspec.json.Decoder(str)
_order_decoder = json_decoder(SimpleOrder)


class SimpleSession:
    """One connection."""

    def __init__(
        self, socket: WebSocket, order_service: OrderService, access: Access, classroom_state: ClassroomState
    ) -> None:
        self._socket = socket
        self._order_service = order_service
        self._access = access
        self._classroom_state = classroom_state
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED_MESSAGES)
        self._overflowed = asyncio.Event()

    async def run(self) -> None:
        """Serve the connection until it ends."""
        await self._socket.accept()
        try:
            client_id, key_id = self._access.identify(self._socket)
            client = ClientSession(self._order_service, client_id, key_id, self._access.counted_address(self._socket))
            place_of(self._socket.scope).give_to(client.client_id)
        except Refusal as refusal:
            await self._socket.send_text(number_json({"error": refusal.message}).decode())
            await self._socket.close(POLICY, "refused: the message before has the reason")
            return
        tasks = [asyncio.create_task(work) for work in (self._read(client), self._write(), self._overflowed.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._order_service.subscriptions.unsubscribe_from_trades(self._on_trades)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._overflowed.is_set():
            with contextlib.suppress(RuntimeError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await self._socket.close(TOO_SLOW, "too many updates wait to be read")

    async def _read(self, client: ClientSession) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            self._send(await self._answer(client, text.encode() if text is not None else message.get("bytes") or b""))

    async def _write(self) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await self._socket.send_text((await self._outgoing.get()).decode())

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._outgoing.put_nowait(number_json(message))
        except asyncio.QueueFull:
            self._overflowed.set()

    async def _answer(self, client: ClientSession, text: bytes) -> dict[str, Any]:
        try:
            message = _decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return NOT_JSON
        message_type = _text_of(message.get("type"))
        if message_type == "subscribe":
            return self._subscribe(_text_of(message.get("channel")))
        if message_type is None:
            return {"error": "Missing key in order data: 'type'"}
        if message_type not in ("buy", "sell"):
            return {"error": f"Unknown message type: {message_type[:32]!r}"}
        for key in _REQUIRED_KEYS:
            if key not in message:
                return {"error": f"Missing key in order data: {key!r}"}
        return await self._enter(client, Side(message_type), text)

    def _subscribe(self, channel: str | None) -> dict[str, Any]:
        if channel != TRADES:
            return {"error": f"Unknown channel: {(channel or '')[:32]!r}; there is 'trades'"}
        self._order_service.subscriptions.subscribe_to_trades(self._on_trades)
        return {"status": "subscribed", "channel": TRADES}

    async def _enter(self, client: ClientSession, side: Side, text: bytes) -> dict[str, Any]:
        try:
            order = decode_json(_order_decoder, text)
            client.admit(entering=True)
            request = OrderRequest(symbol=order.symbol, side=side, quantity=order.quantity, price=order.price)
            report, trades, _ = await client.enter(request)
        except Refusal as refusal:
            return {"status": "rejected", "message": refusal.message, "order_id": None}
        if not trades:
            return {"status": "open", "message": "The order waits in the book", "order_id": str(report.order_id)}
        message = "The order is filled" if not report.leaves_quantity else "Some of the order is filled, the rest waits"
        return {
            "status": "matched",
            "message": message,
            "order_id": str(report.order_id),
            "trade": self._trade_summary(report, trades),
        }

    def _trade_summary(self, report: OrderReport, trades: Sequence[Trade]) -> dict[str, Any]:
        """Return the trades of a new order as one, at their volume-weighted average price."""
        lot = self._order_service.security(report.symbol).lot_size
        price = average_price(report.notional, report.cumulative_quantity, lot)
        return {
            "trade_id": str(trades[0].trade_id),
            "symbol": report.symbol,
            "side": report.side,
            "price": None if price is None else Decimal(price),
            "quantity": report.cumulative_quantity * lot,
        }

    def _on_trades(self, trades: Sequence[NamedTrade]) -> None:
        now = time.time_ns()
        throughput = self._classroom_state.throughput(now)
        for named in trades:
            self._send({"type": "order_update", "data": self._update(named, now, throughput)})

    def _update(self, named: NamedTrade, now: int, throughput: int) -> dict[str, Any]:
        """Return a trade, the seconds since the taker's order arrived, and the number of orders in the last second."""
        trade = named.trade
        security = self._order_service.security(trade.symbol)
        return {
            "trade_id": str(trade.trade_id),
            "timestamp": time_text(trade.timestamp),
            "symbol": trade.symbol,
            "side": trade.aggressor_side,
            "price": trade.price * security.tick_size,
            "quantity": trade.quantity * security.lot_size,
            "buyer": named.buyer,
            "seller": named.seller,
            "order_id": str(trade.taker_order_id),
            "maker_order_id": str(trade.maker_order_id),
            "taker_order_id": str(trade.taker_order_id),
            "latency": max(now - trade.timestamp, 0) / 1e9,
            "throughput": throughput,
        }


def _text_of(value: msgspec.Raw | None) -> str | None:
    """Return the text of a JSON string, or the JSON of another value. None stays None."""
    if value is None:
        return None
    try:
        return _text_decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return str(bytes(value), errors="replace")
