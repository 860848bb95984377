"""Any bytes over the WebSockets: each message is answered or closes the connection, and the services continue.

`MX_FUZZ_MESSAGES` is the number of messages.
"""

import contextlib
import os
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.integration.running import Running, environment

pytestmark = pytest.mark.slow
MESSAGES = int(os.environ.get("MX_FUZZ_MESSAGES", "6000"))
BURST_MESSAGES = 50
MAX_GROWTH_BYTES = 150 << 20
"""The bytes by which the memory of a service may grow, since it keeps the accepted orders."""

ORDER = {"id": 1, "op": "order", "symbol": "AAPL", "side": "buy", "quantity": "1", "price": "1.00", "client_order_id": ""}
TO_GATEWAY: list[dict[str, Any]] = [
    ORDER,
    {**ORDER, "order_type": "stop_limit", "trigger_price": 5, "time_in_force": "gtd", "expire_at": "2030-01-01T00:00:00Z"},
    {"id": "x", "op": "cancel", "order_id": "12345678901234567"},
    {"id": 2, "op": "amend", "order_id": "1", "quantity": 3},
    {"op": "cancel_all", "side": "sell", "symbol": "AAPL"},
    {"op": "get", "order_id": "7"},
    {"op": "ping", "id": None},
    {"op": "login", "key": "a.b.c", "resume_from": 5, "grace_seconds": 1.5, "heartbeat_seconds": 100},
]
TO_FEED: list[dict[str, Any]] = [
    {"op": "subscribe", "channel": "book", "symbols": ["AAPL", "MSFT"]},
    {"op": "unsubscribe", "channel": "trades", "symbols": ["AAPL"]},
    {"op": "subscribe", "channel": "trades"},
    {"op": "ping"},
]
UNUSUAL_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1 << 63,
    1 << 80,
    1e308,
    "",
    "\u0000",
    "é" * 300,
    [],
    {},
    [[[[]]]],
    "NaN",
    "1e999",
    "-0",
]


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """An exchange without rate limits, so that limits do not stop a message early."""
    exchange = Running(None, postgres_url, module_namespace)
    with environment(MX_REQUESTS_PER_SECOND="0", MX_OPEN_ORDERS="1000"):
        exchange.start("--bots", "0")
    yield exchange
    assert exchange.stop() == 0
    exchange.close()


def mutated(rng: random.Random, messages: list[dict[str, Any]], encode: Any) -> bytes:
    """Return a valid message with random changes to its fields and bytes."""
    message = dict(rng.choice(messages))
    for _ in range(rng.randint(0, 2)):
        if message and rng.random() < 0.5:
            message[rng.choice(list(message))] = rng.choice(UNUSUAL_VALUES)
        elif message and rng.random() < 0.5:
            del message[rng.choice(list(message))]
        else:
            message[rng.choice(("odd", "op", "id", "symbol", "price"))] = rng.choice(UNUSUAL_VALUES)
    try:
        body = bytearray(encode(message))
    except (OverflowError, msgspec.MsgspecError, TypeError):
        body = bytearray(msgspec.json.encode(message))
    for _ in range(rng.choice((0, 0, 0, 1, 1, 3, 10))):
        place = rng.randrange(len(body) + 1)
        match rng.randrange(4):
            case 0:
                body[place:place] = bytes([rng.randrange(256)])
            case 1:
                del body[place : place + rng.randint(1, 5)]
            case 2 if place < len(body):
                body[place] ^= 1 << rng.randrange(8)
            case _:
                body[place:place] = b"[" * rng.choice((1, 10, 2000))
    return bytes(body)


def fuzz(running: Running, url: str, messages: list[dict[str, Any]], count: int, seed: int, **options: Any) -> int:
    """Send `count` mutated messages in bursts. Return the number of answers."""
    rng, answers = random.Random(seed), 0
    encode = msgspec.msgpack.encode if "subprotocols" in options else msgspec.json.encode
    remaining = count
    while remaining > 0:
        with contextlib.suppress(ConnectionClosed), connect(url, max_size=None, **options) as socket:
            while remaining > 0:
                remaining -= BURST_MESSAGES
                for body in [mutated(rng, messages, encode) for _ in range(BURST_MESSAGES)]:
                    is_text = rng.random() < 0.7 and "subprotocols" not in options
                    socket.send(body.decode("utf-8", errors="replace") if is_text else body)
                # The service reads all earlier messages before it answers this one.
                ping = encode({"op": "ping", "id": 987654})
                socket.send(ping if "subprotocols" in options else ping.decode())
                answer: str | bytes = b""
                while b"pong" not in (answer if isinstance(answer, bytes) else answer.encode()):
                    answer = socket.recv(30)
                    answers += 1
    return answers


TO_CLASSROOM: list[dict[str, Any]] = [
    {"type": "buy", "symbol": "AAPL", "price": 1.5, "quantity": 2},
    {"type": "sell", "symbol": "AAPL", "price": "1.00", "quantity": 1},
    {"type": "subscribe", "channel": "trades"},
]


def test_the_simple_dialect_answers_every_mutated_message(postgres_url: str, module_namespace: str) -> None:
    classroom = Running(None, postgres_url, f"{module_namespace}_c")
    rng = random.Random(4)
    try:
        with environment(MX_REQUESTS_PER_SECOND="0", MX_OPEN_ORDERS="1000"):
            classroom.start("--classroom", "--bots", "0")
        pids, answers = classroom.pids(), 0
        with connect(classroom.gateway.replace("http", "ws") + "/", max_size=None) as socket:
            for _ in range(MESSAGES // 12):
                socket.send(mutated(rng, TO_CLASSROOM, msgspec.json.encode).decode("utf-8", errors="replace"))
                while "order_update" in (answer := str(socket.recv(30))):
                    pass
                answers += "status" in answer or "error" in answer
        assert answers == MESSAGES // 12
        assert classroom.pids() == pids
        for log in (classroom.data / "logs").glob("*.log"):
            assert "Traceback" not in log.read_text(), log.read_text()[-3000:]
    finally:
        classroom.close()


def test_mutated_messages_stop_no_service(running: Running) -> None:
    headers = running.open_account("fuzz")
    pids = running.pids()
    before = {module: psutil.Process(pid).memory_info().rss for module, pid in pids.items()}
    gateway, feed = (base.replace("http", "ws") for base in (running.gateway, running.feed))
    part = MESSAGES // 4
    answers = fuzz(running, f"{gateway}/ws/orders", TO_GATEWAY, 2 * part, 1, additional_headers=headers)
    msgpack: list[Any] = [Subprotocol("msgpack")]
    answers += fuzz(running, f"{gateway}/ws/orders", TO_GATEWAY, part, 2, additional_headers=headers, subprotocols=msgpack)
    answers += fuzz(running, f"{feed}/ws", TO_FEED, part, 3)
    assert answers > MESSAGES // 4, "most messages are answered"
    assert running.pids() == pids, "no process ends"
    for module, pid in pids.items():
        assert psutil.Process(pid).memory_info().rss - before[module] < MAX_GROWTH_BYTES, module
    for base in (running.gateway, running.feed, running.engine, running.clearing):
        assert running.http.get(f"{base}/health/ready").status_code == 200
    for log in (running.data / "logs").glob("*.log"):
        text = log.read_text()
        assert "fault in a request" not in text, text[-3000:]
        assert "Traceback" not in text, text[-3000:]
    order = running.order(headers, symbol="AAPL", side="buy", quantity=1, price="1.00")
    assert order.status_code in (201, 409), order.text
    running.until_at_rest()
    assert running.audit() == []
