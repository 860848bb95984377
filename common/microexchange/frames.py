"""WebSocket frames past uvicorn's queues: written to many once encoded, and read without a task that has to wake for each.

The server below is uvicorn's. A session finds its connection in the ASGI scope, as the extension `microexchange.frames`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import apply_mask  # type: ignore[attr-defined]  # the compiled one, where there is one
from websockets.protocol import State

EXTENSION = "microexchange.frames"
MAX_TOGETHER = 1 << 16
"""Bytes that may wait to be written together."""
MAX_IN_TURN = 16
"""Messages of one connection that are heard one after the other, before others have a turn."""
_TEXT, _BINARY = b"\x81", b"\x82"
"""A whole message in one frame (RFC 6455, section 5.2)."""
_WHOLE = (_TEXT[0], _BINARY[0])
_FIN, _OPCODE, _MASKED, _LENGTH, _CONTROL = 0x80, 0x0F, 0x80, 0x7F, 0x8


def frame(content: bytes, *, binary: bool = False) -> bytes:
    """A server's frame with a whole message: text, or binary.

    >>> frame(b"hi")
    b'\\x81\\x02hi'
    """
    length = len(content)
    if length < 126:
        size = length.to_bytes(1, "big")
    elif length < 1 << 16:
        size = b"\x7e" + length.to_bytes(2, "big")
    else:
        size = b"\x7f" + length.to_bytes(8, "big")
    return (_BINARY if binary else _TEXT) + size + content


class Connection(WebSocketsSansIOProtocol):
    """uvicorn's end of a WebSocket, with a way in and a way out of its own.

    Out: it takes frames, and writes them at once, or with others that come at about the same time, since a write costs more
    than all else that there is to do for a message. In: whole messages go to who listens as they are read. All else of the
    protocol, the opening and the closing, pings, messages in pieces, faults, is uvicorn's, which is given whole frames.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._frames: list[bytes] = []
        """What goes out with the next write."""
        self._length = 0
        self._on_message: Callable[[bytes], None] | None = None
        self._unread = b""
        """What has come and was not heard: the beginning of a frame, or what comes after the connection was held."""
        self._in_pieces = False
        self._holds = 0
        self._is_theirs = False
        """Whether uvicorn cuts the stream: where frames came before the connection was accepted, or where one was none that
        may come, which ends the connection."""

    def handle_connect(self, event: Any) -> None:
        """Begins a session, which finds this connection in its scope."""
        super().handle_connect(event)
        if not self.close_sent:
            extensions: Any = self.scope["extensions"]
            extensions[EXTENSION] = self

    # --- in -----------------------------------------------------------------------------------------------------

    def listen(self, on_message: Callable[[bytes], None]) -> None:
        """From now on `on_message` hears each message, and the ASGI queue tells of the end alone. It must not fail. To be
        called when the connection was just accepted."""
        self._on_message = on_message
        self._is_theirs = bool(self.conn.reader.buffer)
        for _ in range(self.queue.qsize()):
            message = self.queue.get_nowait()
            if message["type"] == "websocket.receive":
                self._is_theirs = True
                text = message.get("text")
                self.loop.call_soon(on_message, text.encode() if text is not None else message.get("bytes") or b"")
            else:
                self.queue.put_nowait(message)
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def hold(self) -> None:
        """Stops listening, after the message that is being heard, until `release` was called as often as this."""
        self._holds += 1
        if self._holds == 1 and not self.transport.is_closing():
            self.transport.pause_reading()

    def release(self) -> None:
        """Goes on listening."""
        if self._holds:
            self._holds -= 1
            if not self._holds and not self.transport.is_closing():
                self.transport.resume_reading()
                self.loop.call_soon(self._hear)

    def data_received(self, data: bytes) -> None:
        """Takes what was read."""
        if self._on_message is None or self._is_theirs:
            super().data_received(data)
            if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.close_sent:
                # Uvicorn would keep the connection without an answer, and would fail when the service stops.
                self.close_sent = True
                self.transport.write(b"".join(self.conn.data_to_send()))
                self.transport.close()
        else:
            self._unread = self._unread + data if self._unread else data
            self._hear()

    def _hear(self) -> None:
        data, at, heard = self._unread, 0, 0
        end = len(data)
        while not self._holds and end - at >= 2:
            first, length = data[at], data[at + 1] & _LENGTH
            mask = at + 2
            if length > 125:
                mask += 2 if length == 126 else 8
                if mask > end:
                    break
                length = int.from_bytes(data[at + 2 : mask], "big")
            start = mask + 4
            stop = start + length
            if not data[at + 1] & _MASKED or length > self.config.ws_max_size:
                self._is_theirs, self._unread = True, b""
                super().data_received(data[at:])
                return
            if stop > end:
                break
            if first in _WHOLE and not self._in_pieces:
                self._message(apply_mask(data[start:stop], data[mask:start]), is_text=first == _TEXT[0])
            else:
                if not first & _CONTROL:
                    self._in_pieces = not first & _FIN
                super().data_received(data[at:stop])
            at = stop
            heard += 1
            if heard == MAX_IN_TURN and at < end:
                self.hold()
                self.loop.call_soon(self.release)
        self._unread = data[at:]

    def _message(self, data: bytes, *, is_text: bool) -> None:
        if self.close_sent or self._on_message is None or self.transport.is_closing():
            return
        if is_text and not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError:
                self._is_theirs = True
                self.conn.fail(1007, "invalid UTF-8")
                self.handle_parser_exception()
                return
        self._on_message(data)

    def send_receive_event_to_app(self) -> None:
        """Takes a message that came in pieces."""
        if self._on_message is None:
            super().send_receive_event_to_app()
        else:
            pieces, self.frames = self.frames, []
            self._message(b"".join(pieces), is_text=self.curr_msg_data_type == "text")

    # --- out ----------------------------------------------------------------------------------------------------

    def put(self, frame: bytes) -> bool:
        """Writes a frame now. Returns whether it did: not to a reader who is behind, or gone."""
        if not self._takes():
            return False
        self._write()
        self.transport.write(frame)
        return True

    def put_soon(self, frame: bytes) -> bool:
        """Writes a frame as soon as everything else that is due now was done, with all that comes meanwhile. Returns as
        `put` does."""
        if not self._takes():
            return False
        if not self._frames:
            self.loop.call_soon(self._soon)
        self._frames.append(frame)
        self._length += len(frame)
        if self._length > MAX_TOGETHER:
            self._write()
        return True

    def _takes(self) -> bool:
        gone = self.disconnected or self.close_sent or not self.handshake_complete
        return self.writable.is_set() and not gone and not self.transport.is_closing()

    def _soon(self) -> None:
        # What this turn of the loop wakes, an answer behind its report, has its turn first.
        self.loop.call_soon(self._write)

    def _write(self) -> None:
        if self._frames:
            together = b"".join(self._frames)
            self._frames.clear()
            self._length = 0
            if not (self.close_sent or self.disconnected or self.transport.is_closing()):
                self.transport.write(together)

    async def send(self, message: Any) -> None:
        """Sends what uvicorn has to send, behind the frames."""
        self._write()
        await super().send(message)
        if self.close_sent:
            # A refused handshake is complete too: uvicorn does not note that, and would log an error of the application.
            self.handshake_complete = True
            # The peer's answer to the closing is to be heard.
            self._holds = min(self._holds, 1)
            self.release()

    def shutdown(self) -> None:
        """Ends the connection, for the server stops. One that is closing already, and whose reader has not taken all, is
        aborted: uvicorn would fail there, and the service with it."""
        if self.handshake_complete and self.conn.state is not State.OPEN and not self.close_sent:
            self.stop_keepalive()
            self.transport.abort()
            return
        super().shutdown()

    async def send_frame(self, frame: bytes) -> bool:
        """Writes a frame as soon as the reader has taken enough of what came before. Returns False if he is gone."""
        await self.writable.wait()
        return self.put(frame)


class Outgoing:
    """What a session has to say: written at once while nothing waits, queued for a reader who is behind."""

    def __init__(self, put: Callable[[bytes], bool], most: int) -> None:
        self.overflowed = asyncio.Event()
        """Set once more than `most` frames would wait: nothing more is queued, and what waits is not sent."""
        self._put = put
        """Writes a frame now, or says no."""
        self._most = most
        self._queue: deque[bytes] = deque()
        self._ended = False
        self._idle = False
        """Whether whoever reads the queue waits for it: then nothing is on its way that must go first."""
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def send(self, frame: bytes) -> None:
        """Writes or queues a frame, unless the reader is too far behind."""
        if self._idle and not self._queue and self._put(frame):
            return
        if len(self._queue) >= self._most:
            self.overflowed.set()
        if not self.overflowed.is_set():
            self._queue.append(frame)
        self._wake.set()

    def end(self) -> None:
        """There is nothing more to come behind what waits."""
        self._ended = True
        self._wake.set()

    def take(self) -> Any:
        """What waits next; None for nothing."""
        return self._queue.popleft() if self._queue else None

    async def next(self) -> Any:
        """As `take`, but waits for something; None is the end."""
        while not self.overflowed.is_set():
            if (said := self.take()) is not None:
                self._idle = False
                return said
            if self._ended:
                break
            self._wake.clear()
            self._idle = True
            await self._wake.wait()
        return None


def connection_of(socket: WebSocket) -> Connection:
    """The connection below a session."""
    found: Connection = socket.scope["extensions"][EXTENSION]
    return found
