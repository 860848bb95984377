"""The simple dialect of a classroom: JSON over a WebSocket on `/`, an order a message, an answer to each in turn.

Numbers are JSON numbers. An error of form is `{"error": …}`; an order that is refused is answered `rejected`, and why.
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
from microexchange.enums import Side
from microexchange.numbers import average_price
from microexchange.refusals import Refusal
from microexchange.reports import OrderReport, Trade
from microexchange.schemas import time_text
from microexchange.web import number_json
from order_entry_gateway.classroom import Blackboard, Deal
from order_entry_gateway.desk import OrderDesk
from order_entry_gateway.requests import OrderRequest

TRADES = "trades"
MAX_QUEUED = 10_000
"""Updates that may wait for a slow reader; then it is disconnected."""
TOO_SLOW, POLICY = 1013, 1008
NOT_JSON = {"error": "Invalid JSON format"}
_KEYS = ("symbol", "price", "quantity")


class SimpleOrder(msgspec.Struct, frozen=True):
    """An order in the simple dialect; what else a message says is not looked at."""

    symbol: str
    price: Decimal
    quantity: Decimal


_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text_decoder = msgspec.json.Decoder(str)
_order_decoder = msgspec.json.Decoder(SimpleOrder)


class SimpleSession:
    """One connection."""

    def __init__(self, socket: WebSocket, desk: OrderDesk, access: Access, board: Blackboard) -> None:
        self._socket = socket
        self._desk = desk
        self._access = access
        self._board = board
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED)
        self._too_slow = asyncio.Event()

    async def run(self) -> None:
        """Serves the connection to its end."""
        await self._socket.accept()
        try:
            client_id = self._access.client(self._socket)
        except Refusal as refusal:
            await self._socket.send_text(number_json({"error": refusal.message}).decode())
            await self._socket.close(POLICY, "the Client-ID is not valid")
            return
        tasks = [asyncio.create_task(work) for work in (self._read(client_id), self._write(), self._too_slow.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._desk.on_deals.discard(self._on_deals)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._too_slow.is_set():
            with contextlib.suppress(RuntimeError, TimeoutError):
                async with asyncio.timeout(1):
                    await self._socket.close(TOO_SLOW, "too many updates wait to be read")

    async def _read(self, client_id: str) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            self._send(await self._answer(client_id, text.encode() if text is not None else message.get("bytes") or b""))

    async def _write(self) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await self._socket.send_text((await self._outgoing.get()).decode())

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._outgoing.put_nowait(number_json(message))
        except asyncio.QueueFull:
            self._too_slow.set()

    async def _answer(self, client_id: str, text: bytes) -> dict[str, Any]:
        try:
            message = _decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return NOT_JSON
        kind = _text_of(message.get("type"))
        if kind == "subscribe":
            return self._subscribe(_text_of(message.get("channel")))
        if kind not in ("buy", "sell"):
            return {"error": "Missing key in order data: 'type'" if kind is None else f"Unknown message type: {kind[:32]!r}"}
        for key in _KEYS:
            if key not in message:
                return {"error": f"Missing key in order data: {key!r}"}
        return await self._enter(client_id, Side(kind), text)

    def _subscribe(self, channel: str | None) -> dict[str, Any]:
        if channel != TRADES:
            return {"error": f"Unknown channel: {(channel or '')[:32]!r}; there is 'trades'"}
        self._desk.on_deals.add(self._on_deals)
        return {"status": "subscribed", "channel": TRADES}

    async def _enter(self, client_id: str, side: Side, text: bytes) -> dict[str, Any]:
        try:
            order = _order_decoder.decode(text)
            self._desk.admit(client_id, entering=True)
            request = OrderRequest(symbol=order.symbol, side=side, quantity=order.quantity, price=order.price)
            report, trades = await self._desk.enter(client_id, request)
        except msgspec.MsgspecError as error:
            return {"status": "rejected", "message": str(error).replace("`", "'"), "order_id": None}
        except Refusal as refusal:
            return {"status": "rejected", "message": refusal.message, "order_id": None}
        if not trades:
            return {"status": "open", "message": "The order waits in the book", "order_id": str(report.order_id)}
        message = "The order is filled" if not report.leaves_quantity else "Some of the order is filled, the rest waits"
        return {
            "status": "matched",
            "message": message,
            "order_id": str(report.order_id),
            "trade": self._traded(report, trades),
        }

    def _traded(self, report: OrderReport, trades: Sequence[Trade]) -> dict[str, Any]:
        """What an order traded when it entered, at the mean of its own prices."""
        lot = self._desk.security(report.symbol).lot_size
        price = average_price(report.notional, report.cumulative_quantity, lot)
        return {
            "trade_id": str(trades[0].trade_id),
            "symbol": report.symbol,
            "side": report.side,
            "price": None if price is None else Decimal(price),
            "quantity": report.cumulative_quantity * lot,
        }

    def _on_deals(self, deals: Sequence[Deal]) -> None:
        now = time.time_ns()
        throughput = self._board.throughput(now)
        for deal in deals:
            self._send({"type": "order_update", "data": self._update(deal, now, throughput)})

    def _update(self, deal: Deal, now: int, throughput: int) -> dict[str, Any]:
        """A trade, with the seconds since the order that made it came in, and the orders of the last second."""
        trade = deal.trade
        security = self._desk.security(trade.symbol)
        return {
            "trade_id": str(trade.trade_id),
            "timestamp": time_text(trade.timestamp),
            "symbol": trade.symbol,
            "side": trade.aggressor_side,
            "price": trade.price * security.tick_size,
            "quantity": trade.quantity * security.lot_size,
            "buyer": deal.buyer,
            "seller": deal.seller,
            "order_id": str(trade.taker_order_id),
            "maker_order_id": str(trade.maker_order_id),
            "taker_order_id": str(trade.taker_order_id),
            "latency": max(now - trade.timestamp, 0) / 1e9,
            "throughput": throughput,
        }


def _text_of(value: msgspec.Raw | None) -> str | None:
    """A JSON string; None for what is none."""
    if value is None:
        return None
    try:
        return _text_decoder.decode(value)
    except msgspec.MsgspecError:
        return str(bytes(value), errors="replace")
