"""`./mx bench feed`: the market-data feed alone, as a process, over a log that this program fills with an engine's reports.

It measures how fast the feed stores a full log, how far it is behind at 10,000 orders a second, how soon a hundred
subscribers receive a trade, and whether the queues of a thousand subscribers grow at 1,000 changes of a book a second.
"""

import asyncio
import base64
import contextlib
import multiprocessing
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import harness, servers
from benchmarks.engine import commands_of
from matching_engine.engine import Engine
from microexchange.batches import ENGINE, VERSION, Batch, encode_batch
from microexchange.enums import Side
from microexchange.log import Log, open_log
from microexchange.records import DATA_FEED, Record
from microexchange.reports import PriceUpdate, Trade

COMMANDS_PER_SECOND = 10_000
"""Commands a second while the feed follows the log."""
COMMANDS_PER_BODY = 50
"""Commands whose reports share a body. A busy engine puts about as many into one."""
CHANGES_PER_SECOND = 1_000
"""Changes of a book a second."""


class Source:
    """The producer of `data_feed`, in place of the engine."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.sequence = 1
        self.bodies = 0

    async def put(self, groups: Sequence[Sequence[Record]]) -> None:
        """Append each group of records as one body."""
        bodies = []
        for records in groups:
            bodies.append(encode_batch(Batch(VERSION, ENGINE, 1, self.sequence, time.time_ns(), list(records))))
            self.sequence += len(records)
        self.bodies += len(bodies)
        await self._log.append(DATA_FEED, bodies)


def reports_of(count: int) -> tuple[list[Record], list[list[Record]]]:
    """Return the reports of the opening, and those of `count` commands by body."""
    engine = Engine()
    start, commands = commands_of(count)

    def reports_for(command: Any) -> list[Record]:
        return list(engine.apply(command).reports)

    opening = [report for command in start for report in reports_for(command)]
    bodies = [
        [report for command in commands[first : first + COMMANDS_PER_BODY] for report in reports_for(command)]
        for first in range(0, len(commands), COMMANDS_PER_BODY)
    ]
    return opening, bodies


async def stored(service: servers.Service, bodies: int) -> tuple[float, int]:
    """Wait until the feed has stored `bodies` bodies or more. Return the time and the number of stored bodies."""
    while (done := int(service.status().get("stored_offset", 0))) < bodies:
        await asyncio.sleep(0.1)
    return time.perf_counter(), done


async def from_a_full_log(service: servers.Service, bodies: Sequence[Sequence[Record]]) -> tuple[float, float]:
    """Return the reports and the commands that the feed stores a second. The first tenth is left out with the start."""
    first, begun = await stored(service, 1 + len(bodies) // 10)
    last, _ = await stored(service, 1 + len(bodies))
    rest = bodies[begun - 1 :]
    if not rest:
        sys.exit(f"mx: {len(bodies) * COMMANDS_PER_BODY:,} commands are too few to measure a rate. Give more --events.")
    return sum(map(len, rest)) / (last - first), len(rest) * COMMANDS_PER_BODY / (last - first)


async def live(source: Source, service: servers.Service, bodies: Sequence[Sequence[Record]]) -> tuple[float, float]:
    """Return the longest delays of the feed's publishing and storage at `COMMANDS_PER_SECOND`, in seconds."""
    per_second = COMMANDS_PER_SECOND / COMMANDS_PER_BODY
    worst_published = worst_stored = 0.0
    began, due = time.perf_counter(), 0
    while due < len(bodies):
        await asyncio.sleep(0.02)
        now = min(int((time.perf_counter() - began) * per_second), len(bodies))
        if now > due:
            await source.put(bodies[due:now])
            due = now
        if due % 20 < 5:
            status = await asyncio.to_thread(service.status)
            sent = source.bodies
            worst_published = max(worst_published, (sent - status["offset"]) / per_second)
            worst_stored = max(worst_stored, (sent - status["stored_offset"]) / per_second)
    await stored(service, source.bodies)
    return worst_published, worst_stored


def frame_of(message: Any) -> bytes:
    """Return a message as a masked WebSocket frame, as clients send it."""
    text = msgspec.json.encode(message)
    mask = os.urandom(4)
    return bytes([0x81, 0x80 | len(text)]) + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(text))


def listen(pipe: Connection, port: int, channel: str, subscribers: int) -> None:
    """Run all subscribers in this process. It does not decode frames, and only records when bytes arrive.

    After each message on the pipe it answers with the times of the first bytes at each subscriber since the last answer, and
    the number of all received bytes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the benchmark handles Ctrl-C and ends this process
    poll, connections = select.epoll(), {}
    lines = ("GET /ws HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade")
    for _ in range(subscribers):
        connection = socket.create_connection(("127.0.0.1", port))
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall("\r\n".join((*lines, f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", "")).encode())
        assert b" 101 " in connection.recv(1 << 16)
        connection.sendall(frame_of({"op": "subscribe", "channel": channel, "symbols": ["X"]}))
        assert connection.recv(1 << 16)
        connection.setblocking(False)
        poll.register(connection, select.EPOLLIN)
        connections[connection.fileno()] = connection
    poll.register(pipe, select.EPOLLIN)
    pipe.send("ready")
    first: dict[int, float] = {}
    total = 0
    while True:
        for number, _ in poll.poll():
            if number == pipe.fileno():
                if pipe.recv() == "end":
                    return
                pipe.send((list(first.values()), total))
                first.clear()
                continue
            total += len(connections[number].recv(1 << 18))
            if number not in first:
                first[number] = time.perf_counter()


@contextlib.contextmanager
def listening(port: int, channel: str, subscribers: int) -> Iterator[Connection]:
    """Run subscribers in a separate process. Yield our end of the pipe to `listen`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=listen, args=(theirs, port, channel, subscribers), daemon=True)
    process.start()
    assert ours.recv() == "ready"
    try:
        yield ours
    finally:
        ours.send("end")
        process.join()


async def fan_out(source: Source, log: Log, service: servers.Service, subscribers: int, trades: int) -> list[float]:
    """Return the sorted seconds from when this process reads a trade from the log until each subscriber receives it."""
    times: list[float] = []
    arrived = asyncio.Event()
    at = 0.0

    async def follow() -> None:
        nonlocal at
        async with contextlib.aclosing(log.read(DATA_FEED, source.bodies)) as reader:
            async for _ in reader:
                at = time.perf_counter()
                arrived.set()

    with listening(service.port, "trades", subscribers) as pipe:
        following = asyncio.create_task(follow())
        await asyncio.sleep(0.5)
        for number in range(trades):
            pipe.send("")
            pipe.recv()
            arrived.clear()
            await source.put([[Trade(10**9 + number, time.time_ns(), "X", 100_000, 1, Side.BUY, 1, 2, 0, 0)]])
            await arrived.wait()
            await asyncio.sleep(0.05)
            pipe.send("")
            received_at, _ = pipe.recv()
            assert len(received_at) == subscribers, "every subscriber receives the trade within 50 ms"
            times += [max(received - at, 0) for received in received_at]
        following.cancel()
    return sorted(times)


async def longest_queues(source: Source, service: servers.Service, readers: int, seconds: float) -> tuple[int, int, float]:
    """Return the longest queue in the first and in the second half of the time, and the bytes a second of all readers."""
    longest = [0, 0]
    with listening(service.port, "book", readers) as pipe:
        began, due, number = time.perf_counter(), 0, 0
        sequence = 10**9
        while (elapsed := time.perf_counter() - began) < seconds:
            now = int(elapsed * CHANGES_PER_SECOND)
            groups = []
            for number in range(due, now):
                sequence += 1
                groups.append([PriceUpdate("X", sequence, 1, Side.BUY, 90_000 + number % 50, 1 + number % 9, 1)])
            due = now
            if groups:
                await source.put(groups)
            if number % 100 < 20:
                half = int(elapsed > seconds / 2)
                longest[half] = max(longest[half], (await asyncio.to_thread(service.status))["longest_queue"])
            await asyncio.sleep(0.01)
        pipe.send("")
        _, total = pipe.recv()
    return longest[0], longest[1], total / (time.perf_counter() - began)


Row = tuple[str, str, dict[str, float]]
"""The name of a measurement, its text for the table, and its figures."""


async def measure(database: str, url: str, namespace: str, count: int, seconds: float) -> AsyncIterator[Row]:
    """Run all measurements on fresh databases and a fresh log. Yield each row as it is measured."""
    log = open_log(url, namespace)
    opening, bodies = reports_of(count + int(COMMANDS_PER_SECOND * seconds))
    full, rest = bodies[: count // COMMANDS_PER_BODY], bodies[count // COMMANDS_PER_BODY :]
    with servers.fresh(database, url, namespace), tempfile.TemporaryDirectory() as folder:
        source = Source(log)
        await source.put([opening])
        for first in range(0, len(full), 50):
            await source.put(full[first : first + 50])
        service = servers.Service("market_data_feed", database, url, namespace, Path(folder))
        try:
            reports, orders = await from_a_full_log(service, full)
            figures = {"reports_per_second": reports, "orders_per_second": orders}
            yield "stored from a full log", f"{reports:,.0f} reports/s ({orders:,.0f} commands/s)", figures
            published_lag, stored_lag = await live(source, service, rest)
            at = f"at {COMMANDS_PER_SECOND:,} commands/s"
            yield f"longest delay of publishing {at}", f"{published_lag:.2f} s", {"told_lag": published_lag}
            yield f"longest delay of storage {at}", f"{stored_lag:.2f} s", {"stored_lag": stored_lag}
            times = await fan_out(source, log, service, 100, 100)
            p50, p95 = (times[len(times) * part // 100] * 1000 for part in (50, 95))
            yield "a trade from the log to 100 subscribers, p50", f"{p50:.1f} ms", {"fan_out_p50_ms": p50}
            yield "the same, p95", f"{p95:.1f} ms", {"fan_out_p95_ms": p95}
            halves = f"longest queue of 1,000 subscribers at {CHANGES_PER_SECOND:,} changes/s"
            first_half, second_half, rate = await longest_queues(source, service, 1_000, seconds)
            yield f"{halves}: first half of the time", f"{first_half}", {"longest_queue_first_half": first_half}
            yield "the same, second half", f"{second_half}", {"longest_queue_second_half": second_half}
            yield "data that they read together", f"{rate / 1e6:.1f} MB/s", {"megabytes_per_second": rate / 1e6}
        finally:
            service.stop()
    await log.close()


def main() -> None:
    """Run the benchmark and print its table."""
    options = harness.arguments(__doc__ or "", events=100_000, seconds=10, log=True, counted="commands in the full log")
    figures: dict[str, dict[str, float]] = {}

    async def run(name: str, database: str, url: str, index: int) -> None:
        rows = measure(database, url, f"fd{os.getpid()}_{index}_", options.events, options.seconds)
        async with contextlib.aclosing(rows) as measured:  # type: ignore[type-var]
            async for what, text, values in measured:
                table.add(name, what, text)
                figures.setdefault(name, {}).update(values)

    with harness.Report("feed", options) as report, servers.postgres() as database:
        table = report.table("log", "", "measured:")
        for index, (name, url) in enumerate(servers.logs(database, options.log).items()):
            asyncio.run(run(name, database, url, index))
    report.finish({"figures": figures})


if __name__ == "__main__":
    main()
