"""WebSocket frames beside uvicorn's queues, so that a message needs no task of its own.

A frame is encoded once and written to many connections. Messages are read by a callback. The server is uvicorn's: see
docs/decisions/0016 and 0020. A session finds its connection in the ASGI scope, as the extension `microexchange.frames`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import apply_mask  # type: ignore[attr-defined]  # compiled, if websockets has its extension
from websockets.protocol import State

from microexchange.connection_limits import Place, put_place, uncounted_place
from microexchange.listening import CLOSE_SECONDS

EXTENSION = "microexchange.frames"
MAX_WRITE_BYTES = 1 << 16
"""Bytes of frames that wait for one write. More are written at once."""
MAX_IN_TURN = 16
"""Frames of one connection that are processed before other connections have a turn."""
MAX_FRAGMENTS = 1_000
"""Frames of one message. A peer that sends more is disconnected."""
MAX_EARLY_BYTES = 1 << 16
"""Bytes that a peer may send before its connection is accepted."""
TOO_BIG = 1009
"""The code of a close frame for a message that is too big (RFC 6455, section 7.4.1)."""
_TEXT, _BINARY = b"\x81", b"\x82"
"""A whole message in one frame (RFC 6455, section 5.2)."""
_WHOLE = (_TEXT[0], _BINARY[0])
_FIN, _OPCODE, _MASKED, _LENGTH, _CONTROL = 0x80, 0x0F, 0x80, 0x7F, 0x8


def frame(content: bytes, *, binary: bool = False) -> bytes:
    """Return a server's frame that contains a whole message.

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
    """uvicorn's end of a WebSocket, with its own ways to read and write messages.

    Writing: it writes a frame at once, or together with others of the same turn of the loop. A write costs more than
    everything else about a message. Reading: it passes each whole message to a callback. uvicorn handles the rest of the
    protocol: opening and closing, pings, fragmented messages and protocol errors. It receives whole frames.
    """

    def __init__(self, *arguments: Any, place: Place | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._place = place or uncounted_place()
        self._frames: list[bytes] = []
        """The frames of the next write."""
        self._frames_bytes = 0
        self._on_message: Callable[[bytes], None] | None = None
        self._unread = b""
        """Bytes that were received. Those from `_at` on are not processed."""
        self._at = 0
        """The start of the next frame in `_unread`. The bytes before it are dropped later: a copy for each frame would take
        the time of all bytes that wait."""
        self._fragments = 0
        """Frames of the message that is not complete yet."""
        self._holds = 0
        self._has_more = False
        """Whether `_process` will be called for the rest of `_unread`."""
        self._is_paused = False
        """Whether the transport does not read."""
        self._uvicorn_reads = False
        """Whether uvicorn reads the stream itself: a frame was invalid, which ends the connection."""
        self._abort_timer: asyncio.TimerHandle | None = None

    def handle_connect(self, event: Any) -> None:
        """Begin a session, which finds this connection in its scope."""
        super().handle_connect(event)
        if not self.close_sent:
            extensions: Any = self.scope["extensions"]
            extensions[EXTENSION] = self
            put_place(self.scope, self._place)

    # --- in -----------------------------------------------------------------------------------------------------

    def listen(self, on_message: Callable[[bytes], None]) -> None:
        """Pass each message to `on_message` from now on. The ASGI queue then only reports the end of the connection.

        Call it right after the connection was accepted. `on_message` must not raise.
        """
        self._on_message = on_message
        for _ in range(self.queue.qsize()):
            message = self.queue.get_nowait()
            if message["type"] == "websocket.receive":
                text = message.get("text")
                self.loop.call_soon(on_message, text.encode() if text is not None else message.get("bytes") or b"")
            else:
                self.queue.put_nowait(message)
        self.read_paused = False
        self._process_soon()

    def hold(self) -> None:
        """Stop reading after the current message, until `release` has been called as often as `hold`."""
        self._holds += 1
        self._adjust_reading()

    def release(self) -> None:
        """Continue to read."""
        if self._holds:
            self._holds -= 1
            if not self._holds:
                self._process_soon()

    def data_received(self, data: bytes) -> None:
        """Process received bytes."""
        if self._uvicorn_reads or not self.handshake_initiated:
            if not self._uvicorn_reads:
                # Frames behind the request wait until the connection is accepted.
                head, separator, self._unread = data.partition(b"\r\n\r\n")
                data = head + separator
            super().data_received(data)
            if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.close_sent:
                # uvicorn would keep the connection open without an answer, and would fail when the service stops.
                self.close_sent = True
                self.transport.write(b"".join(self.conn.data_to_send()))
                self.transport.close()
            self._abort_if_closing()
            return
        self._unread = self._unread[self._at :] + data if self._unread else data
        self._at = 0
        if self.handshake_complete and not self._has_more:
            self._process()
        elif len(self._unread) > MAX_EARLY_BYTES and not self.handshake_complete:
            self.transport.abort()
        else:
            self._adjust_reading()

    def _may_process(self) -> bool:
        """Return whether the next frame can be processed.

        Not while uvicorn's queue is full, and not after the end. Not while the peer does not read: each ping that it sends
        adds a pong.
        """
        is_free = not self._holds and not self.read_paused and self.writable.is_set()
        # uvicorn would write the pong of a ping to a closed transport.
        return is_free and not self.transport.is_closing()

    def _process(self) -> None:
        self._has_more = False
        if self.transport.is_closing():
            self._unread, self._at = b"", 0
            return
        data, at, frames = self._unread, self._at, 0
        while self._may_process() and not self._uvicorn_reads:
            start_and_stop = self._next_frame(data, at)
            if start_and_stop is None:
                break
            if frames == MAX_IN_TURN:
                self._has_more = True
                self.loop.call_soon(self._process)
                break
            start, stop = start_and_stop
            self._take_frame(data, at, start, stop)
            at = stop
            frames += 1
        self._unread, self._at = (data, at) if at < len(data) else (b"", 0)
        if self._uvicorn_reads and self._unread:
            rest = self._unread[self._at :]
            self._unread, self._at = b"", 0
            super().data_received(rest)
        self._adjust_reading()
        self._abort_if_closing()

    def _next_frame(self, data: bytes, at: int) -> tuple[int, int] | None:
        """Return where the payload of the frame at `at` begins and ends; None if the frame is not complete.

        A frame that is not masked or too long is left to uvicorn, which ends the connection.
        """
        end = len(data)
        if end - at < 2:
            return None
        length = data[at + 1] & _LENGTH
        mask = at + 2
        if length > 125:
            mask += 2 if length == 126 else 8
            if mask > end:
                return None
            length = int.from_bytes(data[at + 2 : mask], "big")
        if not data[at + 1] & _MASKED or length > self.config.ws_max_size:
            self._uvicorn_reads = True
            return None
        stop = mask + 4 + length
        return None if stop > end else (mask + 4, stop)

    def _take_frame(self, data: bytes, at: int, start: int, stop: int) -> None:
        first = data[at]
        if first in _WHOLE and not self._fragments and self._on_message is not None:
            self._message(apply_mask(data[start:stop], data[start - 4 : start]), is_text=first == _TEXT[0])
            return
        if not first & _CONTROL:
            self._fragments = 0 if first & _FIN else self._fragments + 1
            if self._fragments > MAX_FRAGMENTS:
                self._fail(TOO_BIG, f"a message has at most {MAX_FRAGMENTS} frames")
                return
        super().data_received(data[at:stop])

    def _process_soon(self) -> None:
        if not self._has_more:
            self._has_more = True
            self.loop.call_soon(self._process)

    def _adjust_reading(self) -> None:
        """Let the transport read if the bytes can be processed at once."""
        wants = self._may_process() and not self._has_more
        if wants is self._is_paused and not self.transport.is_closing():
            self._is_paused = not wants
            if wants:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def pause_writing(self) -> None:
        """Stop reading from a peer that does not read."""
        super().pause_writing()
        self._adjust_reading()

    def resume_writing(self) -> None:
        """Read again from a peer that reads again."""
        super().resume_writing()
        self._process_soon()

    async def receive(self) -> Any:
        """Return the next ASGI message."""
        message = await super().receive()
        if self._is_paused and not self.read_paused:
            self._is_paused = False  # uvicorn may have resumed the transport
            if self._unread:
                # Before the next line, which then pauses the transport. Otherwise it would read more for each frame.
                self._process_soon()
            self._adjust_reading()
        return message

    def _message(self, data: bytes, *, is_text: bool) -> None:
        if self.close_sent or self._on_message is None or self.transport.is_closing():
            return
        if is_text and not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError:
                self._fail(1007, "invalid UTF-8")
                return
        self._on_message(data)

    def _fail(self, code: int, reason: str) -> None:
        self._uvicorn_reads = True
        self.conn.fail(code, reason)
        self.handle_parser_exception()

    def send_receive_event_to_app(self) -> None:
        """Pass on a message that is not in one frame, or that nobody listens to."""
        if self._on_message is None:
            super().send_receive_event_to_app()
            self._is_paused = self._is_paused or self.read_paused
        else:
            fragments, self.frames = self.frames, []
            self._message(b"".join(fragments), is_text=self.curr_msg_data_type == "text")

    # --- the end ------------------------------------------------------------------------------------------------

    def _abort_if_closing(self) -> None:
        """Abort a closing connection after `CLOSE_SECONDS`: its peer may read nothing."""
        if self._abort_timer is None and (self.close_sent or self.transport.is_closing()):
            self._abort_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the session."""
        self._place.leave()
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        """Disconnect a peer that does not answer a ping."""
        super().keepalive_timeout()
        self._abort_if_closing()

    async def run_asgi(self) -> None:
        """Run the session."""
        await super().run_asgi()
        self._abort_if_closing()

    # --- out ----------------------------------------------------------------------------------------------------

    def put(self, frame: bytes) -> bool:
        """Write a frame now. Return False, and write nothing, if the reader is behind or disconnected."""
        if not self._is_writable():
            return False
        self._write()
        self.transport.write(frame)
        return True

    def put_soon(self, frame: bytes) -> bool:
        """Write a frame after the callbacks that are due now, together with the frames that they add.

        Return what `put` returns.
        """
        if not self._is_writable():
            return False
        if not self._frames:
            self.loop.call_soon(self._write_next_turn)
        self._frames.append(frame)
        self._frames_bytes += len(frame)
        if self._frames_bytes > MAX_WRITE_BYTES:
            self._write()
        return True

    def _is_writable(self) -> bool:
        is_gone = self.disconnected or self.close_sent or not self.handshake_complete
        return self.writable.is_set() and not is_gone and not self.transport.is_closing()

    def _write_next_turn(self) -> None:
        # Tasks that this turn of the loop wakes add their frames first: the answer to a request follows its report.
        self.loop.call_soon(self._write)

    def _write(self) -> None:
        if self._frames:
            joined = b"".join(self._frames)
            self._frames.clear()
            self._frames_bytes = 0
            if not (self.close_sent or self.disconnected or self.transport.is_closing()):
                self.transport.write(joined)

    async def send(self, message: Any) -> None:
        """Send a message of uvicorn after the waiting frames."""
        self._write()
        if message["type"] == "websocket.close" and not self.writable.is_set():
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.writable.wait()
            except TimeoutError:
                self.transport.abort()
                return
        await super().send(message)
        if self.handshake_complete and self._unread:
            self._process_soon()
        if self.close_sent:
            # A refused handshake is complete, too. uvicorn does not record that, and would log an error of the application.
            self.handshake_complete = True
            # The peer's close frame must be read.
            self._holds = min(self._holds, 1)
            self.release()
            self._abort_if_closing()

    def shutdown(self) -> None:
        """End the connection because the server stops.

        A closing connection whose peer has not read everything is aborted. uvicorn would raise there and stop the service.
        """
        if self.handshake_complete and self.conn.state is not State.OPEN and not self.close_sent:
            self.stop_keepalive()
            self.transport.abort()
            return
        super().shutdown()

    async def send_frame(self, frame: bytes) -> bool:
        """Write a frame once the reader has read enough of the earlier ones. Return False if it is disconnected."""
        await self.writable.wait()
        return self.put(frame)


class Outgoing:
    """The outgoing frames of a session. They are written at once while nothing waits, and queued for a slow reader."""

    def __init__(self, put: Callable[[bytes], bool], max_frames: int) -> None:
        self.overflowed = asyncio.Event()
        """Set if more than `max_frames` frames would wait. Then no frame is queued or sent any more."""
        self._put = put
        """Writes a frame and returns True, or returns False."""
        self._max_frames = max_frames
        self._queue: deque[bytes] = deque()
        self._ended = False
        self._idle = False
        """Whether `next` waits for a frame. Then no earlier frame is being sent, and a new one can be written at once."""
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def send(self, frame: bytes) -> None:
        """Write or queue a frame, unless too many wait."""
        if self._idle and not self._queue and self._put(frame):
            return
        if len(self._queue) >= self._max_frames:
            self.overflowed.set()
        if not self.overflowed.is_set():
            self._queue.append(frame)
        self._wake.set()

    def end(self) -> None:
        """Let `next` return None after the waiting frames."""
        self._ended = True
        self._wake.set()

    def take(self) -> Any:
        """Return the next waiting frame, or None."""
        return self._queue.popleft() if self._queue else None

    async def next(self) -> Any:
        """Wait for the next frame and return it. None is the end."""
        while not self.overflowed.is_set():
            if (waiting := self.take()) is not None:
                self._idle = False
                return waiting
            if self._ended:
                break
            self._wake.clear()
            self._idle = True
            await self._wake.wait()
        return None


def connection_of(socket: WebSocket) -> Connection:
    """Return the connection of a session."""
    found: Connection = socket.scope["extensions"][EXTENSION]
    return found
