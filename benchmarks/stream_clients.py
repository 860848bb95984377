"""Compare two clients of a RabbitMQ stream: pika over AMQP, which the log uses, and rstream over the stream protocol.

It starts a broker of its own with the plugin `rabbitmq_stream`, and runs both clients in turns. An append waits for the
confirmation of all its bodies. docs/decisions/0021 has the result. It needs the wheel `rstream`, which the project does not
install otherwise.

Usage: `python -m benchmarks.stream_clients [--bodies N] [--rounds N]`.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import psutil
from tests.servers import started_broker

from microexchange.log import open_log

BODY_BYTES = 1_000
BODIES_PER_APPEND = (1, 10, 100)

Append = Callable[[list[bytes]], Awaitable[None]]


class Pika:
    """The log of the exchange."""

    name = "pika"

    def __init__(self, url: str, _stream_port: int, stream: str) -> None:
        self._log, self._stream = open_log(url, "", 10.0), stream

    async def start(self) -> None:
        """Create the stream."""
        await self._log.append(self._stream, [b"first"])

    async def append(self, bodies: list[bytes]) -> None:
        """Append bodies and wait for their confirmation."""
        await self._log.append(self._stream, bodies)

    async def read(self, count: int) -> None:
        """Read `count` bodies from the start."""
        seen = 0
        async with contextlib.aclosing(self._log.read(self._stream, 0)) as batches:
            async for entries in batches:
                seen += len(entries)
                if seen >= count:
                    return

    async def stop(self) -> None:
        """Close the connections."""
        await self._log.close()


class Rstream:
    """rstream, with a producer and a consumer of its own."""

    name = "rstream"

    def __init__(self, url: str, stream_port: int, stream: str) -> None:
        import rstream

        self._rstream: Any = rstream
        self._stream = stream
        host = urlsplit(url).hostname
        self._options: dict[str, Any] = {"host": host, "port": stream_port, "username": "guest", "password": "guest"}
        self._producer = rstream.Producer(**self._options)
        self._waiting = 0
        self._confirmed = asyncio.Event()

    async def start(self) -> None:
        """Create the stream."""
        await self._producer.start()
        await self._producer.create_stream(self._stream, exists_ok=True)
        await self.append([b"first"])

    async def append(self, bodies: list[bytes]) -> None:
        """Append bodies and wait for their confirmation."""
        self._waiting = len(bodies)
        self._confirmed.clear()
        await self._producer.send_batch(self._stream, bodies, on_publish_confirm=self._on_confirm)
        await self._confirmed.wait()

    def _on_confirm(self, confirmation: Any) -> None:
        assert confirmation.is_confirmed
        self._waiting -= 1
        if not self._waiting:
            self._confirmed.set()

    async def read(self, count: int) -> None:
        """Read `count` bodies from the start."""
        consumer, seen, done = self._rstream.Consumer(**self._options), 0, asyncio.Event()
        await consumer.start()

        def on_message(_body: bytes, _context: Any) -> None:
            nonlocal seen
            seen += 1
            if seen >= count:
                done.set()

        first = self._rstream.ConsumerOffsetSpecification(self._rstream.OffsetType.FIRST, None)
        await consumer.subscribe(self._stream, on_message, decoder=bytes, offset_specification=first)
        await done.wait()
        await consumer.close()

    async def stop(self) -> None:
        """Close the connections."""
        await self._producer.close()


async def appends(client: Any, bodies: int, per_append: int) -> list[float]:
    """Append `bodies` bodies. Return the seconds of each append."""
    body, times = os.urandom(BODY_BYTES), []
    for _ in range(bodies // per_append):
        began = time.perf_counter()
        await client.append([body] * per_append)
        times.append(time.perf_counter() - began)
    return times


def processor_seconds() -> tuple[float, float]:
    """Return the processor time of this process, and of the broker."""
    broker = sum(sum(process.cpu_times()[:2]) for process in psutil.process_iter(["name"]) if _is_own_broker(process))
    return time.process_time(), broker


def _is_own_broker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        name = process.info["name"] or ""
        return name.startswith("beam") and process.environ().get("RABBITMQ_NODENAME", "").startswith("test")
    return False


async def measure(url: str, stream_port: int, bodies: int, rounds: int) -> None:
    """Run both clients in turns, and print one line for each measurement."""
    print(f"{'':8} {'bodies/append':>13} {'p50 ms':>8} {'bodies/s':>10} {'client µs/body':>15} {'broker µs/body':>15}")
    for per_append in BODIES_PER_APPEND:
        found: dict[str, list[tuple[float, float, float, float]]] = {}
        for number in range(rounds):
            for kind in (Pika, Rstream) if number % 2 else (Rstream, Pika):
                client: Any = kind(url, stream_port, f"{kind.name}-{per_append}-{number}")
                await client.start()
                count = bodies if per_append > 1 else bodies // 10
                before, began = processor_seconds(), time.perf_counter()
                times = await appends(client, count, per_append)
                seconds, after = time.perf_counter() - began, processor_seconds()
                cost = [(b - a) / count * 1e6 for a, b in zip(before, after, strict=True)]
                found.setdefault(kind.name, []).append((statistics.median(times) * 1e3, count / seconds, *cost))
                await client.stop()
        for name, rows in found.items():
            p50, rate, own, broker = (statistics.median(column) for column in zip(*rows, strict=True))
            print(f"{name:8} {per_append:13} {p50:8.2f} {rate:10,.0f} {own:15.1f} {broker:15.1f}")
    found = {}
    for number in range(rounds):
        for kind in (Pika, Rstream) if number % 2 else (Rstream, Pika):
            client = kind(url, stream_port, f"{kind.name}-100-0")
            before, began = processor_seconds(), time.perf_counter()
            await client.read(bodies)
            seconds, after = time.perf_counter() - began, processor_seconds()
            cost = [(b - a) / bodies * 1e6 for a, b in zip(before, after, strict=True)]
            found.setdefault(kind.name, []).append((0.0, bodies / seconds, *cost))
            if kind is Pika:
                await client.stop()
    for name, rows in found.items():
        _, rate, own, broker = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:8} {'read':>13} {'':8} {rate:10,.0f} {own:15.1f} {broker:15.1f}")


def main() -> None:
    """Parse the options, start the broker and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bodies", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        stream_port = probe.getsockname()[1]
    with started_broker(stream_port) as url:
        asyncio.run(measure(url, stream_port, options.bodies, options.rounds))


if __name__ == "__main__":
    main()
