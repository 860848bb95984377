"""WebSocket frames that are encoded once and written to many: no task has to wake, and nothing is copied, for each reader.

The server below is uvicorn's. A session finds its connection in the ASGI scope, as the extension `microexchange.frames`.
"""

from typing import Any

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

EXTENSION = "microexchange.frames"
MOST_TOGETHER = 1 << 16
"""Bytes that may wait to be written together."""
_TEXT, _BINARY = b"\x81", b"\x82"
"""A whole message in one frame (RFC 6455, section 5.2)."""


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
    """uvicorn's end of a WebSocket, which also takes frames: at once, or with others that come at about the same time, since
    a write costs more than all else that there is to do for a message."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._frames: list[bytes] = []
        """What goes out with the next write."""
        self._length = 0

    def handle_connect(self, event: Any) -> None:
        """Begins a session, which finds this connection in its scope."""
        super().handle_connect(event)
        if not self.close_sent:
            extensions: Any = self.scope["extensions"]
            extensions[EXTENSION] = self

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
        if self._length > MOST_TOGETHER:
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

    async def send_frame(self, frame: bytes) -> bool:
        """Writes a frame as soon as the reader has taken enough of what came before. Returns False if he is gone."""
        await self.writable.wait()
        return self.put(frame)


def connection_of(socket: WebSocket) -> Connection:
    """The connection below a session."""
    found: Connection = socket.scope["extensions"][EXTENSION]
    return found
