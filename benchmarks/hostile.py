"""`./mx bench hostile`: the memory of the gateway and of the feed after thousands of peers that never end a connection.

In each round, peers of all kinds connect to both services at once, from several addresses of this machine. They stay until
the services have ended every one of their connections. Then the memory is measured. The limits of an address are the default
ones.
"""

import asyncio
import contextlib
import os
import socket
import struct
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import psutil
import uvloop

from benchmarks import harness, servers
from microexchange.frames import MAX_FRAGMENTS

ROUNDS = 10
ADDRESSES = [f"127.0.0.{number}" for number in range(2, 12)]
RECEIVE_BUFFER_BYTES = 4096
SETTINGS = {"MX_ADDRESS_CONNECTIONS": "1000", "MX_CONNECTIONS": "0"}
COLLECT_SECONDS = 3.0
"""The time for the services to release the memory of ended connections."""
END_SECONDS = 120.0
"""The time in which a service must end all connections of a round."""


def masked(first: int, payload: bytes = b"") -> bytes:
    """Return a client's frame of up to 64 KiB. The mask is zero, so the payload stays as it is."""
    length = len(payload)
    size = bytes([0x80 | length]) if length < 126 else bytes([0x80 | 126]) + struct.pack("!H", length)
    return bytes([first]) + size + bytes(4) + payload


class Peer:
    """One hostile connection."""

    def __init__(self, port: int, path: str, key: str, requests: bytes) -> None:
        """`path` is that of the WebSocket, `key` an API key for it, and `requests` are frames that cause many answers."""
        self.port = port
        self.path = path
        self.key = key
        self.requests = requests
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    async def connect(self, address: str) -> None:
        """Connect from a local address."""
        self.socket.bind((address, 0))
        await asyncio.get_running_loop().sock_connect(self.socket, ("127.0.0.1", self.port))

    async def send(self, data: bytes) -> None:
        """Send bytes. Return if the service ends the connection."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def send_without_end(self, data: bytes) -> None:
        """Send the same bytes until the service ends the connection."""
        with contextlib.suppress(OSError):
            while True:
                await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def open_websocket(self) -> None:
        """Open the WebSocket, and read the answer to its opening."""
        await self.send(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Authorization: Bearer {self.key}\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_recv(self.socket, 1024)

    def reset(self) -> None:
        """End the connection with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()


async def half_a_head(peer: Peer) -> None:
    """Send half of the head of a request."""
    await peer.send(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half")


async def half_a_body(peer: Peer) -> None:
    """Send half of the body of a request."""
    await peer.send(
        b"POST /clients HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )


async def no_answer_read(peer: Peer) -> None:
    """Send requests without limit, and read no answer."""
    await peer.send_without_end(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50)


async def reset_after_a_request(peer: Peer) -> None:
    """Send a request, and end the connection with a reset."""
    await peer.send(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    peer.reset()


async def half_a_frame(peer: Peer) -> None:
    """Send half of a frame."""
    await peer.open_websocket()
    await peer.send(b"\x81\xfe\x04\x00" + bytes(40))


async def endless_fragments(peer: Peer) -> None:
    """Send the fragments of one message without limit."""
    await peer.open_websocket()
    await peer.send(masked(0x01, b"{"))
    await peer.send_without_end(masked(0x00, b" ") * MAX_FRAGMENTS)


async def endless_pings(peer: Peer) -> None:
    """Send pings without limit, and read no pong."""
    await peer.open_websocket()
    await peer.send_without_end(masked(0x89, bytes(100)) * 500)


async def no_message_read(peer: Peer) -> None:
    """Send requests on a WebSocket without limit, and read nothing."""
    await peer.open_websocket()
    await peer.send_without_end(peer.requests)


async def close_and_no_read(peer: Peer) -> None:
    """Send requests and a close frame on a WebSocket, and read nothing more."""
    await peer.open_websocket()
    await peer.send(peer.requests + masked(0x88, b"\x03\xe8"))


async def reset_of_a_websocket(peer: Peer) -> None:
    """Open a WebSocket, send requests, and end the connection with a reset."""
    await peer.open_websocket()
    await peer.send(peer.requests)
    peer.reset()


KINDS: tuple[Callable[[Peer], Awaitable[None]], ...] = (
    half_a_head,
    half_a_body,
    no_answer_read,
    reset_after_a_request,
    half_a_frame,
    endless_fragments,
    endless_pings,
    no_message_read,
    close_and_no_read,
    reset_of_a_websocket,
)
GATEWAY_REQUESTS = masked(0x81, b'{"op":"get","order_id":"1"}') * 100
FEED_REQUESTS = masked(0x81, b'{"op":"subscribe","channel":"book"}') + masked(0x81, b'{"op":"ping"}') * 100


async def attack(
    kinds: tuple[Callable[[Peer], Awaitable[None]], ...],
    count: int,
    make: Callable[[], Peer],
    connections: Callable[[], Awaitable[int]],
) -> int:
    """Run `count` peers of each kind until the service has ended their connections. Return how many it has not ended.

    `make` returns a new peer. `connections` returns how many connections the service has, beside those of the
    caller.
    """

    async def run(number: int) -> None:
        await peers[number].connect(ADDRESSES[number % len(ADDRESSES)])
        await kinds[number % len(kinds)](peers[number])

    peers = [make() for _ in range(count * len(kinds))]
    running = [asyncio.create_task(run(number)) for number in range(len(peers))]
    until = time.monotonic() + END_SECONDS
    await asyncio.sleep(1)
    while (left := await connections()) and time.monotonic() < until:
        await asyncio.sleep(0.2)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for peer in peers:
        peer.socket.close()
    return left


class Target:
    """A service under attack."""

    def __init__(self, name: str, service: servers.Service, path: str, key: str, requests: bytes) -> None:
        """`path`, `key` and `requests` are those of its peers."""
        self.name = name
        self.greatest_mb = 0.0
        """The greatest memory of the round."""
        self._service = service
        self._process = psutil.Process(service.process.pid)
        self._make = lambda: Peer(service.port, path, key, requests)

    @property
    def memory_mb(self) -> float:
        """The resident memory of the service."""
        return float(self._process.memory_info().rss / 1e6)

    async def connections(self) -> int:
        """Return the open connections of peers."""
        self.greatest_mb = max(self.greatest_mb, self.memory_mb)
        status = await asyncio.to_thread(self._service.status)
        return int(status.get("connections", 2)) - 1

    async def attack(self, count: int) -> int:
        """Run a round of `count` peers of each kind. Return how many connections are left."""
        self.greatest_mb = 0.0
        return await attack(KINDS, count, self._make, self.connections)


async def run_round(targets: list[Target], count: int) -> list[int]:
    """Run a round of `count` peers of each kind at each service at once. Return the connections left, by service."""
    left = await asyncio.gather(*(target.attack(count) for target in targets))
    await asyncio.sleep(COLLECT_SECONDS)
    return left


def main() -> None:
    """Run the benchmark and print its table."""
    options = harness.arguments(__doc__ or "", events=10_000, counted="peers at each service")
    count = max(options.events // ROUNDS // len(KINDS), 1)
    figures: dict[str, list[dict[str, float]]] = {"gateway": [], "feed": []}
    with (
        harness.Report("hostile", options) as report,
        servers.postgres() as database,
        tempfile.TemporaryDirectory() as folder,
    ):
        namespace = f"ho{os.getpid()}_"
        with (
            servers.fresh(database, database, namespace),
            servers.exchange(database, database, namespace, Path(folder), **SETTINGS) as services,
        ):
            gateway, feed = services["order_entry_gateway"], services["market_data_feed"]
            key = httpx.post(f"{gateway.url}/clients", json={"client_id": "peer"}, timeout=60).json()["api_key"]
            targets = [
                Target("gateway", gateway, "/ws/orders", key, GATEWAY_REQUESTS),
                Target("feed", feed, "/ws", key, FEED_REQUESTS),
            ]
            headings = [f"{target.name} {what}:" for target in targets for what in ("left", "memory", "greatest")]
            table = report.table("peers at each:", *headings)
            for number in range(ROUNDS + 1):
                left = uvloop.run(run_round(targets, count)) if number else [0 for _ in targets]
                cells: list[object] = []
                for target, open_connections in zip(targets, left, strict=True):
                    memory, greatest = target.memory_mb, max(target.greatest_mb, target.memory_mb)
                    cells += [open_connections, f"{memory:.0f} MB", f"{greatest:.0f} MB"]
                    peers = number * count * len(KINDS)
                    figures[target.name].append({"peers": peers, "left": open_connections, "memory_mb": memory})
                table.add(f"{number * count * len(KINDS):,}", *cells)
    report.finish(figures)


if __name__ == "__main__":
    main()
