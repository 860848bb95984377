"""A minimal server for the same load, of `asyncio` and `websockets`. Usage: `python -m benchmarks.bare_server PORT [BOOK]`.

Without a book it sends each message back. This is the floor: no server of this kind takes less time on this machine. With a
book it is the simplest exchange around that book. It has one process and keeps everything in memory. It does not
authenticate, check or store anything, and loses its state in a crash.
"""

import asyncio
import contextlib
import importlib
import itertools
import sys
from collections.abc import Callable
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


class Request(msgspec.Struct):
    """A request of the load."""

    id: int
    op: str
    symbol: str = ""
    side: str = ""
    order_type: str = "limit"
    quantity: int = 0
    price: str = "0"
    order_id: str = ""


def orderly_chaos(orders: dict[int, Any]) -> Callable[[int, Request], bool]:
    """Return a function that enters a request into `orderly-chaos`, a C++ book called through ctypes."""
    library = importlib.import_module("orderly_chaos")
    books: dict[str, Any] = {}
    leaves: dict[int, int] = {}

    def on_trade(trade: Any) -> None:
        for order in (trade.taker_id, trade.maker_id):
            if order in leaves:
                leaves[order] -= trade.quantity

    def enter_request(number: int, request: Request) -> bool:
        if request.op == "cancel":
            book = orders.pop(int(request.order_id), None)
            if book is not None and leaves.pop(int(request.order_id), 0) > 0:
                book.cancel(int(request.order_id))
            return False
        book = books.get(request.symbol) or books.setdefault(request.symbol, library.LimitOrderBook(on_trade=on_trade))
        leaves[number] = request.quantity
        enter = book.limit_buy if request.side == "buy" else book.limit_sell
        enter(number, request.quantity, round(float(request.price) * 100))
        orders[number] = book
        if request.order_type == "ioc" and leaves[number] > 0:
            book.cancel(number)
            leaves[number] = 0
        return leaves[number] > 0

    return enter_request


def lightmatchingengine(orders: dict[int, Any]) -> Callable[[int, Request], bool]:
    """Return a function that enters a request into `lightmatchingengine`, dictionaries of lists in plain Python."""
    library = importlib.import_module("lightmatchingengine.lightmatchingengine")
    engine = library.LightMatchingEngine()

    def enter_request(number: int, request: Request) -> bool:
        if request.op == "cancel":
            order, symbol = orders.pop(int(request.order_id), (None, ""))
            if order is not None and order.leaves_qty:
                engine.cancel_order(order.order_id, symbol)
            return False
        side = library.Side.BUY if request.side == "buy" else library.Side.SELL
        order, _ = engine.add_order(request.symbol, float(request.price), request.quantity, side)
        orders[number] = (order, request.symbol)
        if request.order_type == "ioc" and order.leaves_qty:
            engine.cancel_order(order.order_id, request.symbol)
        return bool(order.leaves_qty)

    return enter_request


BOOKS = {"orderly-chaos": orderly_chaos, "lightmatchingengine": lightmatchingengine}


async def main(port: int, book: str) -> None:
    """Serve until the process is killed."""
    numbers = itertools.count(1)
    decoder = msgspec.json.Decoder(Request)
    enter_request = BOOKS[book]({}) if book else None

    async def echo(socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in socket:
                await socket.send(message)

    async def trade(socket: ServerConnection) -> None:
        assert enter_request is not None
        with contextlib.suppress(ConnectionClosed):
            async for message in socket:
                request, number = decoder.decode(message), next(numbers)
                order = {"order_id": str(number), "resting": enter_request(number, request)}
                await socket.send(msgspec.json.encode({"id": request.id, "ok": True, "order": order}).decode())

    async with serve(echo if enter_request is None else trade, "127.0.0.1", port, compression=None, max_queue=None):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
