"""uvicorn's end of an HTTP connection, with limits for requests that never end, heads without end and pipelines.

uvicorn has no limit for the head of a request, none for the time that it takes, and reads a pipelined request for each
answer that it sends. A client that reads no answers could take all memory. docs/decisions/0020 states the rules for private
parts of uvicorn.
"""

import asyncio
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from microexchange.connection_limits import ConnectionLimits, Place, put_place
from microexchange.listening import CLOSE_SECONDS
from microexchange.refusals import Code, Refusal

MAX_HEAD_BYTES = 64 << 10
MAX_HEADERS = 100
MAX_PIPELINED = 100
"""Requests of a connection that wait for the answers to earlier ones."""
HEAD_SECONDS = 10.0
"""The time for the head of a request."""
_SLICE_BYTES = 4 << 10
"""Bytes that are parsed between two checks of the pipeline."""
MAX_REFUSED = 100
"""Connections beyond a limit that get an answer and time to read it. More are aborted."""


def _refusal(status: str, code: str, message: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
    return f'{head}{{"error":{{"code":"{code}","message":"{message}"}}}}'.encode()


_TOO_LARGE = _refusal(
    "431 Request Header Fields Too Large",
    "TOO_LARGE",
    f"the head of a request has at most {MAX_HEAD_BYTES >> 10} KiB and {MAX_HEADERS} headers",
)
_TOO_SLOW = _refusal(
    "408 Request Timeout",
    "MALFORMED",
    f"the head of the request did not arrive within {HEAD_SECONDS:g} s: send it at once",
)


class HttpConnection(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits
        self._place: Place | None = None
        """None for a connection that is refused."""
        self._is_answered = False
        """Whether the connection is refused, and its peer may still read the answer."""
        self._running: Any = None
        """The request that is being answered."""
        self._unparsed = b""
        """Bytes that were received and wait for room in the pipeline."""
        self._in_head = True
        """Whether the head of a request is incomplete, or none has begun."""
        self._field_bytes = 0
        """Bytes of the head, or outside of it since the last part of the body: chunk extensions and trailers."""
        self._head_since = 0.0
        """The time of the first byte of the head, or of the connection, on the clock of the loop."""
        self._unsent_bytes = 0
        """Bytes that waited to be sent at the last check of a closing connection."""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to count the connection, and the time of the first head."""
        super().connection_made(transport)
        try:
            self._place = self._limits.take(self.client[0] if self.client else "")
        except Refusal as refusal:
            self._refuse(refusal)
            return
        self._head_since = self.loop.time()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._check_time)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the requests that wait, so that they need no garbage collection."""
        super().connection_lost(exc)
        self._stop_timer()
        if self._place is not None:
            self._place.leave()
        elif self._is_answered:
            self._limits.refused -= 1
        self._unparsed = b""
        for cycle, _ in self.pipeline:
            cycle.on_response = _do_nothing
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            # uvicorn notifies the newest request of a pipeline alone. The one that is being answered would write to a closed
            # connection, or wait without end.
            self._running.disconnected = True
            self._running.message_event.set()
            self._running.on_response = _do_nothing
        self._running = None
        if self.cycle is not None and self.cycle.response_complete:
            self.cycle.on_response = _do_nothing

    def _refuse(self, refusal: Refusal) -> None:
        """Send the refusal of a connection that is over a limit. Its request is not read, so it costs little."""
        if self._limits.refused >= MAX_REFUSED:
            self.transport.abort()
            return
        self._is_answered = True
        self._limits.refused += 1
        status = "429 Too Many Requests" if refusal.code is Code.RATE_LIMITED else "503 Service Unavailable"
        self.transport.write(_refusal(status, refusal.code, refusal.message))
        # A connection that is closed with unread bytes is reset, and its peer may lose the answer.
        self.transport.write_eof()
        self._timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def _check_time(self) -> None:
        """End a connection whose head, or the body after its answer, takes too long. Abort one that does not close."""
        self._timer = None
        if self.transport.is_closing():
            self._abort_unless_read()
            return
        waited = self.loop.time() - self._head_since
        if not self._in_head and self.cycle is not None and self.cycle.response_complete and waited >= HEAD_SECONDS:
            self._end()  # the answer was sent, and the body of the request does not arrive
            return
        if not self._in_head or self._is_idle():
            self._timer = self.loop.call_later(HEAD_SECONDS, self._check_time)
        elif waited >= HEAD_SECONDS:
            self._end(_TOO_SLOW)
        else:
            self._timer = self.loop.call_later(HEAD_SECONDS - waited, self._check_time)

    def _abort_unless_read(self) -> None:
        """Abort a closing connection whose peer has read nothing since the last check."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and (self._unsent_bytes == 0 or unsent < self._unsent_bytes):
            self._unsent_bytes = unsent
            self._timer = self.loop.call_later(CLOSE_SECONDS, self._check_time)
        else:
            self.transport.abort()

    def _is_idle(self) -> bool:
        """Return whether the connection waits for the next request. uvicorn's keep-alive timeout ends that."""
        return self.timeout_keep_alive_task is not None or (self.cycle is not None and not self._field_bytes)

    def _end(self, answer: bytes = b"") -> None:
        """Send `answer`, unless an earlier request waits for its own, and close the connection."""
        if answer and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(answer)
        self._unparsed = b""
        self.pipeline.clear()
        self.transport.close()
        self._abort_soon()

    def _abort_soon(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(CLOSE_SECONDS, self._check_time)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- in -----------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, as far as the pipeline has room."""
        if self._place is None:
            return
        data = self._unparsed + data if self._unparsed else data
        at, end = 0, len(data)
        while at < end and len(self.pipeline) < MAX_PIPELINED:
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                break
            part = data[at : at + _SLICE_BYTES]
            at += len(part)
            self._field_bytes += len(part)
            super().data_received(part)
            if self._field_bytes > MAX_HEAD_BYTES or len(self.headers or ()) > MAX_HEADERS:
                self._end(_TOO_LARGE)
                return
        self._unparsed = data[at:]
        if self._unparsed and self.transport.get_protocol() is self:
            self.flow.pause_reading()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        if self._place is not None:
            put_place(self.scope, self._place)
        self._head_since = self.loop.time()
        self._field_bytes = _SLICE_BYTES

    def on_headers_complete(self) -> None:
        """End a head."""
        self._in_head, self._field_bytes = False, 0
        if len(self.headers) > MAX_HEADERS:
            self._in_head = True  # `data_received` refuses it
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._field_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the next head."""
        if len(self.headers) <= MAX_HEADERS:
            super().on_message_complete()
        self._in_head, self._field_bytes = True, 0

    def on_response_complete(self) -> None:
        """Continue with the next request of the pipeline."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_soon()
        elif self.pipeline:
            # uvicorn reads again after each answer. A peer that reads no answers would fill the pipeline.
            self.flow.pause_reading()
        elif self._unparsed:
            rest, self._unparsed = self._unparsed, b""
            self.data_received(rest)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the WebSocket protocol, with its place."""
        self._stop_timer()
        make_protocol: Any = self.ws_protocol_class
        self.ws_protocol_class = partial(make_protocol, place=self._place)  # type: ignore[assignment]  # uvicorn calls it
        super().handle_websocket_upgrade()


def _do_nothing() -> None:
    """Replace a callback that would keep a connection in memory."""
