"""The log in RabbitMQ: durable streams, which are bound by their names to the direct exchange `stock_exchange`.

A stream keeps messages after they were read. Every consumer names the offset at which it begins. A publisher confirm means
that the stream has stored the message. Source: RabbitMQ documentation, "Streams" and "Consumer Acknowledgements and
Publisher Confirms". docs/decisions/0020 and 0021 explain why the client is pika.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pika
import structlog
from pika.adapters.asyncio_connection import AsyncioConnection

from microexchange.log.protocol import Backoff, Entry, LogUnavailableError

EXCHANGE = "stock_exchange"
MAX_BYTES = 20_000_000_000
"""Retention of a stream. RabbitMQ deletes the oldest segments of a larger one."""
MAX_SEGMENT_BYTES = 100_000_000

PREFETCH = 512
"""The number of unacknowledged bodies that the broker sends."""

_PERSISTENT = pika.BasicProperties(delivery_mode=2, content_type="application/msgpack")
_logger = structlog.get_logger(__name__)


class _LinkLostError(ConnectionError):
    """The connection or its channel was closed."""


class _BlockedError(ConnectionError):
    """The broker takes no messages, since its disk or its memory is nearly full. The link stays open."""


class _Connection(AsyncioConnection):  # type: ignore[misc]
    """A connection that sends the frames of a message in one system call.

    pika sends each of the three frames of a message separately, and each one wakes the broker. This overrides a private
    method of pika: see docs/decisions/0020 and `tests/contract/test_private_interfaces.py`.
    """

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        super()._output_marshaled_frames([b"".join(marshaled_frames)])


class _Link:
    """One connection with one channel, as awaitables over pika's callbacks. A lost link is not opened again."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Raises `_LinkLostError` once the link is lost."""
        self.lost.add_done_callback(lambda future: future.exception())  # read it, so that asyncio logs no warning
        self._unconfirmed: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._published = 0
        self.blocked_reason = ""
        """The reason why the broker takes no messages; empty if it takes them."""
        self._connection: Any = None
        self._channel: Any = None

    @classmethod
    async def open(cls, url: str) -> "_Link":
        """Connect and open a channel.

        Raises:
            _LinkLostError: The broker cannot be reached, or refuses.
        """
        link = cls()
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 10
        parameters.socket_timeout = parameters.stack_timeout = 5
        opened: asyncio.Future[None] = link._loop.create_future()
        link._connection = _Connection(
            parameters,
            on_open_callback=lambda _: None if opened.done() else opened.set_result(None),
            on_open_error_callback=lambda _, error: link._lose(error),
            on_close_callback=lambda _, error: link._lose(error),
            custom_ioloop=link._loop,
        )
        link._connection.add_on_connection_blocked_callback(lambda _, frame: link._block(frame.method.reason))
        link._connection.add_on_connection_unblocked_callback(lambda *_: link._unblock())
        await link._until(opened)
        channel: asyncio.Future[Any] = link._loop.create_future()
        link._connection.channel(on_open_callback=lambda c: None if channel.done() else channel.set_result(c))
        link._channel = await link._until(channel)
        link._channel.add_on_close_callback(lambda _, error: link._lose(error))
        link._channel.add_on_cancel_callback(lambda _: link._lose("the stream was deleted"))
        link._channel.add_on_return_callback(lambda *_: link._lose("the stream does not exist: a message was returned"))
        return link

    def _lose(self, cause: object) -> None:
        error = _LinkLostError(_explain(cause))
        if not self.lost.done():
            self.lost.set_exception(error)
        self._fail_unconfirmed(error)
        self.close()

    def _fail_unconfirmed(self, error: ConnectionError) -> None:
        for _, confirmed in self._unconfirmed:
            if not confirmed.done():
                confirmed.set_exception(error)
        self._unconfirmed.clear()

    def _block(self, reason: object) -> None:
        """Fail the appends under way at once. The broker stores their messages later, so the bodies may be there twice."""
        self.blocked_reason = f"the broker takes no messages: {reason or 'no reason given'}"
        _logger.error("the broker takes no messages", cause=str(reason))
        self._fail_unconfirmed(_BlockedError(self.blocked_reason))

    def _unblock(self) -> None:
        self.blocked_reason = ""
        _logger.warning("the broker takes messages again")

    async def _until(self, future: "asyncio.Future[Any]") -> Any:
        """Return the result of `future`.

        Raises:
            _LinkLostError: The link was lost first.
        """
        try:
            await asyncio.wait((future, self.lost), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.close()
            raise
        if future.done():
            return future.result()
        future.cancel()
        return self.lost.result()

    async def _call(self, method: Any, **arguments: Any) -> Any:
        """Call a method of the channel and return the argument of its callback."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        try:
            method(callback=lambda frame: None if answer.done() else answer.set_result(frame), **arguments)
        except pika.exceptions.AMQPError as error:
            raise _LinkLostError(_explain(error)) from error
        return await self._until(answer)

    async def declare(self, exchange: str, stream: str, routing_key: str) -> None:
        """Declare a stream and bind it."""
        arguments = {
            "x-queue-type": "stream",
            "x-max-length-bytes": MAX_BYTES,
            "x-stream-max-segment-size-bytes": MAX_SEGMENT_BYTES,
        }
        await self._call(self._channel.exchange_declare, exchange=exchange, exchange_type="direct", durable=True)
        await self._call(self._channel.queue_declare, queue=stream, durable=True, arguments=arguments)
        await self._call(self._channel.queue_bind, queue=stream, exchange=exchange, routing_key=routing_key)

    async def confirm(self) -> None:
        """Request publisher confirms."""
        await self._call(self._channel.confirm_delivery, ack_nack_callback=self._on_confirm)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        if isinstance(method, pika.spec.Basic.Nack):
            # Later messages may be on the stream already. Readers order and deduplicate records by their numbers.
            self._lose("the broker refused a message")
            return
        waiting = self._unconfirmed
        if method.multiple:
            while waiting and waiting[0][0] <= method.delivery_tag:
                self._confirmed(waiting.popleft()[1])
        elif waiting and waiting[0][0] == method.delivery_tag:
            self._confirmed(waiting.popleft()[1])
        else:
            for entry in waiting:
                if entry[0] == method.delivery_tag:
                    waiting.remove(entry)
                    self._confirmed(entry[1])
                    break

    @staticmethod
    def _confirmed(future: "asyncio.Future[None]") -> None:
        if not future.done():
            future.set_result(None)

    async def publish(self, exchange: str, routing_key: str, bodies: Sequence[bytes]) -> None:
        """Publish `bodies` and wait until all are confirmed."""
        confirms = []
        for body in bodies:
            if self.lost.done():
                self.lost.result()
            self._published += 1
            confirmed = self._loop.create_future()
            self._unconfirmed.append((self._published, confirmed))
            confirms.append(confirmed)
            try:
                self._channel.basic_publish(exchange, routing_key, body, _PERSISTENT, mandatory=True)
            except pika.exceptions.AMQPError as error:
                self._lose(error)
        for result in await asyncio.gather(*confirms, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def consume(self, stream: str, offset: "int | str", prefetch: int, on_message: Any) -> None:
        """Begin to consume at `offset`."""
        await self._call(self._channel.basic_qos, prefetch_count=prefetch)
        await self._call(
            self._channel.basic_consume,
            queue=stream,
            on_message_callback=on_message,
            arguments={"x-stream-offset": offset},
        )

    def acknowledge(self, delivery_tag: int) -> None:
        """Acknowledge all deliveries up to `delivery_tag`. The broker then sends more."""
        if not self.lost.done():
            try:
                self._channel.basic_ack(delivery_tag, multiple=True)
            except pika.exceptions.AMQPError as error:
                self._lose(error)

    def close(self) -> None:
        """Close the connection, if it is open."""
        connection = self._connection
        if connection is not None and not (connection.is_closing or connection.is_closed):
            connection.close()


class RabbitLog:
    """A `Log` in RabbitMQ streams."""

    CONNECT_SECONDS, CONFIRM_SECONDS = 5.0, 15.0
    """Limits for opening a channel, and for the confirmation of an append."""
    FIRST_MESSAGE_SECONDS = 1.0
    """The time after which `tail` assumes that a stream is empty."""
    NEXT_MESSAGE_SECONDS = 0.1
    """The time after which `tail` assumes that there are no more messages."""
    TAIL_SECONDS = 1.0
    """The longest time of `tail`, if others write to the stream without a pause."""

    def __init__(self, url: str, namespace: str = "", retry_seconds: float = 1.0) -> None:
        self._url = url
        self._namespace = namespace
        self._retry_seconds = retry_seconds
        self._exchange = namespace + EXCHANGE
        self._publisher: _Link | None = None
        self._declared: set[str] = set()
        self._connecting = asyncio.Lock()

    def _stream(self, topic: str) -> str:
        return self._namespace + topic

    async def _open(self, topic: str) -> _Link:
        link = await _Link.open(self._url)
        await link.declare(self._exchange, self._stream(topic), self._stream(topic))
        return link

    async def _publishing(self, topic: str) -> _Link:
        async with self._connecting:
            if self._publisher is None or self._publisher.lost.done():
                self._publisher = None
                link = await _Link.open(self._url)
                await link.confirm()
                self._publisher, self._declared = link, set()
            if topic not in self._declared:
                await self._publisher.declare(self._exchange, self._stream(topic), self._stream(topic))
                self._declared.add(topic)
            return self._publisher

    async def append(self, topic: str, bodies: Sequence[bytes]) -> None:
        """See `Log.append`."""
        backoff = Backoff(self._retry_seconds)
        maybe_written = False
        while True:
            try:
                async with asyncio.timeout(self.CONNECT_SECONDS):
                    link = await self._publishing(topic)
                if link.blocked_reason:
                    raise LogUnavailableError(self._url, link.blocked_reason, maybe_written=maybe_written)
                maybe_written = True
                async with asyncio.timeout(self.CONFIRM_SECONDS):
                    await link.publish(self._exchange, self._stream(topic), bodies)
                return
            except _BlockedError as error:
                raise LogUnavailableError(self._url, error, maybe_written=maybe_written) from error
            except (_LinkLostError, TimeoutError) as error:
                cause = str(error) or "no answer in time"
                if isinstance(error, TimeoutError) and self._publisher is not None:
                    self._publisher.close()
                    self._publisher = None
                if backoff.exhausted:
                    raise LogUnavailableError(self._url, cause, maybe_written=maybe_written) from error
            await backoff.wait()

    async def read(self, topic: str, from_offset: int) -> AsyncGenerator[list[Entry], None]:
        """See `Log.read`."""
        offset = from_offset
        backoff = Backoff()
        while True:
            link: _Link | None = None
            try:
                link = await self._open(topic)
                inbox = _Inbox(link, offset)
                await link.consume(self._stream(topic), offset, PREFETCH, inbox.on_message)
                backoff = Backoff()
                while True:
                    entries = await inbox.take()
                    if entries:
                        yield entries
                        offset = entries[-1][0] + 1
                    inbox.acknowledge()
            except _LinkLostError as error:
                if backoff.delay_seconds == Backoff.MIN_SECONDS:
                    _logger.warning("log reader lost its connection", topic=topic, offset=offset, cause=str(error))
            finally:
                if link is not None:
                    link.close()
            await backoff.wait()

    async def tail(self, topic: str) -> int:
        """See `Log.tail`. AMQP has no request for it. This reads the last chunk of the stream until nothing more comes."""
        try:
            async with asyncio.timeout(self.CONNECT_SECONDS):
                link = await self._open(topic)
        except (_LinkLostError, TimeoutError) as error:
            raise LogUnavailableError(self._url, error or "no answer") from error
        try:
            inbox = _Inbox(link, 0)
            await link.consume(self._stream(topic), "last", PREFETCH, inbox.on_message)
            tail, deadline = 0, float("inf")
            while time.monotonic() < deadline:
                try:
                    async with asyncio.timeout(self.NEXT_MESSAGE_SECONDS if tail else self.FIRST_MESSAGE_SECONDS):
                        entries = await inbox.take()
                except TimeoutError:
                    break
                inbox.acknowledge()
                deadline = min(deadline, time.monotonic() + self.TAIL_SECONDS)
                tail = entries[-1][0] + 1 if entries else tail
            return tail
        except _LinkLostError as error:
            raise LogUnavailableError(self._url, error) from error
        finally:
            link.close()

    async def close(self) -> None:
        """See `Log.close`."""
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None


class _Inbox:
    """A buffer of deliveries. The reader takes all of them at once."""

    ACKNOWLEDGE_EVERY = PREFETCH // 4
    """Deliveries between two acknowledgements."""

    def __init__(self, link: _Link, from_offset: int) -> None:
        self._link = link
        self._next = from_offset
        self._entries: list[Entry] = []
        self._arrived = asyncio.Event()
        self._delivered = self._taken = self._acknowledged = 0
        """Delivery tags of the newest message that was delivered, taken and acknowledged."""
        link.lost.add_done_callback(lambda _: self._arrived.set())

    def on_message(self, _channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """Buffer a delivery. The broker may begin at the start of a chunk, before the requested offset."""
        offset = int(properties.headers["x-stream-offset"])
        if offset >= self._next:
            self._entries.append((offset, body))
            self._next = offset + 1
        self._delivered = method.delivery_tag
        self._arrived.set()

    async def take(self) -> list[Entry]:
        """Wait for deliveries and return all since the last call.

        Raises:
            _LinkLostError: The link is lost, and all deliveries were taken.
        """
        await self._arrived.wait()
        self._arrived.clear()
        entries, self._entries = self._entries, []
        self._taken = self._delivered
        if self._link.lost.done():
            self._arrived.set()
            if not entries:
                self._link.lost.result()
        return entries

    def acknowledge(self) -> None:
        """Acknowledge what was taken, in large steps. An acknowledgement only lets the broker send more."""
        if self._taken - self._acknowledged >= self.ACKNOWLEDGE_EVERY:
            self._link.acknowledge(self._taken)
            self._acknowledged = self._taken


def _explain(cause: object) -> str:
    """Return a reason of pika in one line. pika may wrap the cause in several exceptions."""
    while isinstance(cause, BaseException):
        inner = next((part for part in getattr(cause, "args", ()) if isinstance(part, BaseException)), None)
        inner = inner or getattr(cause, "exception", None) or next(iter(getattr(cause, "exceptions", ())), None)
        if inner is None:
            break
        cause = inner
    text = str(cause).strip()
    return text or type(cause).__name__
