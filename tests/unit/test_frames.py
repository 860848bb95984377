"""A connection decodes the same messages for any split of the received bytes."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from microexchange.frames import MAX_IN_TURN, Connection

OPENING = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MAX_MESSAGE_BYTES = 70_000


class Wire(asyncio.Transport):
    """A transport that records the written bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.paused = self.closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


@dataclass
class OpenConnection:
    """An open connection, the messages that the application received, and the events of its end."""

    wire: Wire
    connection: Connection
    received: list[bytes] = field(default_factory=list)
    ended: list[dict[str, Any]] = field(default_factory=list)

    async def feed(self, data: bytes, piece_size: int) -> None:
        """Deliver `data` in pieces of `piece_size` bytes, and wait while the connection pauses its reads."""
        for at in range(0, len(data), piece_size):
            for _ in range(1000):
                if not self.wire.paused or self.wire.closing:
                    break
                await asyncio.sleep(0)
            if self.wire.closing:
                break
            self.connection.data_received(data[at : at + piece_size])
        for _ in range(50):
            await asyncio.sleep(0)


async def open_connection(on_message: Any = None, opening: bytes = OPENING) -> OpenConnection:
    """Return a connection after the handshake. It passes each message to `on_message`."""
    opened: list[OpenConnection] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        (own,) = opened
        own.connection.listen(on_message or own.received.append)
        own.ended.append(await receive())

    config = uvicorn.Config(
        app, ws_max_size=MAX_MESSAGE_BYTES, ws_per_message_deflate=False, ws_ping_interval=None, log_config=None
    )
    config.load()
    wire, connection = Wire(), Connection(config, ServerState(), {})
    opened.append(OpenConnection(wire, connection))
    connection.connection_made(wire)
    connection.data_received(opening)
    for _ in range(5):
        await asyncio.sleep(0)
    assert wire.written.startswith(b"HTTP/1.1 101")
    wire.written = b""
    return opened[0]


def masked(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
    """Return a frame as a client sends it, with a mask."""
    return Frame(opcode, data, fin).serialize(mask=True)


def in_pieces(message: bytes, pieces: int) -> list[bytes]:
    """Return a text message as several frames."""
    size = max(1, -(-len(message) // pieces))
    parts = [message[at : at + size] for at in range(0, len(message), size)] or [b""]
    last = len(parts) - 1
    return [masked(Opcode.CONT if n else Opcode.TEXT, part, fin=n == last) for n, part in enumerate(parts)]


messages = st.text(max_size=200).map(str.encode) | st.integers(120, 66_000).map(lambda size: b"x" * size)


@given(st.lists(st.tuples(messages, st.integers(1, 3), st.booleans()), max_size=40), st.integers(1, 5000))
def test_every_message_is_received_once_and_in_order_for_any_split_of_the_bytes(
    sent: list[tuple[bytes, int, bool]], piece_size: int
) -> None:
    async def scenario() -> None:
        peer = await open_connection()
        data = b""
        for message, pieces, pings in sent:
            frames = in_pieces(message, pieces) if pieces > 1 else [masked(Opcode.BINARY, message)]
            data += (masked(Opcode.PING, b"?") if pings else b"").join([b"", *frames])
        await peer.feed(data, piece_size * 50)
        assert peer.received == [message for message, *_ in sent]
        assert not peer.ended
        peer.connection.connection_lost(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert peer.ended

    asyncio.run(scenario())


async def test_a_message_sent_together_with_the_handshake_is_received() -> None:
    early, late = masked(Opcode.TEXT, b"early"), masked(Opcode.TEXT, b"late")
    peer = await open_connection(opening=OPENING + early + late[:7])
    await peer.feed(late[7:] + masked(Opcode.TEXT, b"later"), 3)
    assert peer.received == [b"early", b"late", b"later"]
    assert not peer.wire.paused


async def test_a_ping_is_answered() -> None:
    peer = await open_connection()
    await peer.feed(masked(Opcode.PING, b"hello"), 3)
    assert peer.wire.written == Frame(Opcode.PONG, b"hello").serialize(mask=False)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (Frame(Opcode.TEXT, b"no mask").serialize(mask=False), 1002),
        (masked(Opcode.TEXT, b"x" * (MAX_MESSAGE_BYTES + 1))[:20], 1009),
        (masked(Opcode.TEXT, b"\xff\xfe"), 1007),
        (b"".join(in_pieces(b"\xff\xfe\xfd", 2)), 1007),
        (masked(Opcode.CONT, b"of nothing"), 1002),
        (b"".join([in_pieces(b"abc", 2)[0], masked(Opcode.TEXT, b"another")]), 1002),
        (b"\xf1\x80\x00\x00\x00\x00", 1002),
        (masked(Opcode.CLOSE, b"\x03\xe8bye"), 1000),
    ],
)
async def test_a_protocol_error_closes_the_connection_with_its_close_code(data: bytes, code: int) -> None:
    peer = await open_connection()
    await peer.feed(masked(Opcode.TEXT, b"first") + data + masked(Opcode.TEXT, b"afterwards"), len(data) + 100)
    assert peer.received == [b"first"]
    assert peer.wire.closing
    assert peer.ended[0]["code"] == code
    assert int.from_bytes(peer.wire.written[2:4], "big") == code


async def test_other_tasks_run_between_the_messages_of_a_connection_that_sends_many() -> None:
    peer = await open_connection()
    sent = [str(number).encode() for number in range(3 * MAX_IN_TURN)]
    peer.connection.data_received(b"".join(masked(Opcode.TEXT, message) for message in sent))
    assert len(peer.received) == MAX_IN_TURN
    assert peer.wire.paused, "the connection pauses its reads in the meantime"
    for _ in range(20):
        await asyncio.sleep(0)
    assert peer.received == sent
    assert not peer.wire.paused


async def test_a_connection_reads_again_after_as_many_releases_as_holds() -> None:
    received: list[bytes] = []

    def hold_after_first(message: bytes) -> None:
        received.append(message)
        if len(received) == 1:
            peer.connection.hold()
            peer.connection.hold()

    peer = await open_connection(hold_after_first)
    peer.connection.data_received(masked(Opcode.TEXT, b"1") + masked(Opcode.TEXT, b"2"))
    peer.connection.release()
    await asyncio.sleep(0.01)
    assert received == [b"1"]
    peer.connection.release()
    await asyncio.sleep(0.01)
    assert received == [b"1", b"2"]


async def test_a_held_connection_receives_the_answer_to_its_close_frame() -> None:
    peer = await open_connection()
    peer.connection.hold()
    await peer.connection.send({"type": "websocket.close", "code": 1008, "reason": "enough"})
    await asyncio.sleep(0)
    assert not peer.wire.paused
    await peer.feed(masked(Opcode.CLOSE, b"\x03\xf0enough"), 100)
    assert peer.wire.closing
