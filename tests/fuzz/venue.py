"""The services of a small exchange in one process, for targets: the gateway's commands go to an engine, and on to a feed."""

import itertools
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote_from_bytes

from fastapi import FastAPI

from market_data_feed import rest as feed_rest
from market_data_feed.hub import Hub
from market_data_feed.market import MarketData
from market_data_feed.operations import Operations
from market_data_feed.state import FeedState
from matching_engine.engine import Engine
from microexchange.access import Access
from microexchange.auth import Keys
from microexchange.batches import ENGINE, Batch, decode_batch, encode_batch
from microexchange.commands import Command, ListSecurity, OpenAccount
from microexchange.health import Health
from microexchange.ids import MAX_ID
from microexchange.latency import LatencyWindow
from microexchange.limits import RateLimiter
from microexchange.numbers import CASH_SCALE
from microexchange.participants import Participants
from microexchange.records import DATA_FEED, ORDER_ENTRY, ORDER_EXECUTION
from microexchange.reports import KeyIssued, KeyRevoked, ParticipantChanged
from microexchange.web import make_app
from order_entry_gateway import rest as gateway_rest
from order_entry_gateway.account_routes import Registration
from order_entry_gateway.gateway_state import GatewayState
from order_entry_gateway.market_policy import ClassroomPolicy, MarketPolicy
from order_entry_gateway.order_history import OrderHistory
from order_entry_gateway.order_service import Limits, OrderService
from order_entry_gateway.pending_commands import OnResult, PendingCommands
from order_entry_gateway.quick_routes import add_classroom_routes
from order_entry_gateway.requests import Endowment
from order_entry_gateway.subscriptions import Subscriptions

NOW = 1_800_000_000_000_000_000
"""Nanoseconds of Unix time."""
ADMIN_TOKEN = "the-admin-token-of-a-test-of-parsers"
LISTINGS = (("X", "0.01", "1", 10_000), ("BTC-USDT", "0.01", "0.0001", 6_000_000))


@cache
def keys() -> Keys:
    """Return the API keys. Their secrets are the same in every run, so that an input with a key replays."""
    with tempfile.TemporaryDirectory(prefix="mx-fuzz-") as folder:
        secrets = Path(folder) / "secrets"
        secrets.mkdir()
        (secrets / "signing-secret").write_text("the signing secret of a test of parsers")
        (secrets / "admin-token").write_text(ADMIN_TOKEN)
        return Keys(Path(folder))


def check_values(values: Mapping[str, object] | Sequence[object]) -> None:
    """Check that Postgres can take the values of a query."""
    for value in values.values() if isinstance(values, Mapping) else values:
        assert not isinstance(value, int) or abs(value) <= MAX_ID, f"{value} does not fit a column"
        assert not isinstance(value, str) or "\0" not in value, f"Postgres cannot store {value!r}"
        if isinstance(value, str):
            value.encode()


class EmptyDatabase:
    """A pool of connections to a database without rows, which checks the values of queries."""

    @asynccontextmanager
    async def connection(self, timeout: float = 0) -> AsyncIterator["EmptyDatabase"]:
        yield self

    def cursor(self, **_: Any) -> "EmptyDatabase":
        return self

    async def execute(self, _: bytes, values: Mapping[str, object] | Sequence[object]) -> "EmptyDatabase":
        check_values(values)
        return self

    async def fetchall(self) -> list[Any]:
        return []


class EmptyHistory(OrderHistory):
    """A history without orders."""

    def __init__(self) -> None:
        pass

    async def _ask(self, name: str, query: str, values: Mapping[str, object] | Sequence[object]) -> list[Any]:
        check_values(values)
        return []


class NoKeys:
    """A registry that takes every key."""

    async def exists(self, client_id: str, key_id: str) -> bool:
        check_values((client_id, key_id))
        return False

    async def publish(self, report: KeyIssued | KeyRevoked | ParticipantChanged) -> None:
        pass

    def apply(self, report: KeyIssued | KeyRevoked) -> None:
        pass

    async def valid_ids(self, client_id: str) -> list[str]:
        return []


class Venue(OrderService):
    """An order service whose commands an engine applies at once. A feed applies the reports.

    Two securities are listed. The clients `alice` and `bob` have accounts, and one order rests on each side.
    """

    def __init__(self, classroom: bool = False) -> None:
        self.policy = ClassroomPolicy() if classroom else MarketPolicy()
        self.reset()

    def reset(self) -> None:
        """Begin again. An application for this service takes most of a second to make, so one serves many inputs."""
        if isinstance(self.policy, ClassroomPolicy):
            self.policy.classroom_state.__init__()  # type: ignore[misc]  # the application has this object
        self.state, self.subscriptions, self.latency = GatewayState(), Subscriptions(), LatencyWindow()
        self.limits = Limits(RateLimiter(0, 1))
        self.endowment = Endowment.of(Decimal(10_000), {"*": Decimal(100)}, Decimal(0), Decimal(10_000))
        self.history, self.keys = EmptyHistory(), cast(Any, NoKeys())
        self.participants = Participants()
        self.recent_reports = cast(Any, [])
        self.report_id = self.last_command_id = 0
        self.engine, self.feed = Engine(), MarketData()
        self._pending, self._planned_cancels, self._numbers = PendingCommands(1), {}, itertools.count(1)
        for symbol, tick, lot, price in LISTINGS:
            self.send_unanswered(ListSecurity(*self.next_command(), symbol, f"{symbol} Inc.", tick, lot, price))
        for client in ("alice", "bob"):
            shares = {symbol: 1_000 for symbol, *_ in LISTINGS}
            self.send_unanswered(OpenAccount(*self.next_command(), client, 10_000 * CASH_SCALE, shares))

    def next_command(self, even_if_full: bool = False) -> tuple[int, int]:
        self.last_command_id = next(self._numbers)
        return self.last_command_id, NOW

    def send(self, command: Command, on_result: OnResult) -> None:
        command = self.policy.adapt(command)
        self._pending.add(command, on_result)
        self._apply(command)

    def send_unanswered(self, command: Command) -> None:
        self._apply(self.policy.adapt(command))

    def _apply(self, command: Command) -> None:
        sent = Batch(1, "gateway-0", 1, 1, NOW, [command])
        assert decode_batch(ORDER_ENTRY, encode_batch(sent)) == sent, "a command stays the same on the log"
        outcome = self.engine.apply(command)
        for topic, records in ((ORDER_EXECUTION, outcome.instructions), (DATA_FEED, outcome.reports)):
            batch: Batch[Any] = Batch(1, ENGINE, 1, 1, NOW, list(records))
            assert decode_batch(topic, encode_batch(batch)) == batch, "a record stays the same on the log"
        for report in outcome.reports:
            self.feed.apply(report)
        first, self.report_id = self.report_id + 1, self.report_id + len(outcome.reports)
        self._on_engine_reports(outcome.reports, first)


def gateway_app(venue: Venue, classroom: bool) -> FastAPI:
    """Return the gateway's application."""
    access, health = Access(keys(), classroom), Health()
    app = make_app("gateway", "", health, dict)
    gateway_rest.add_routes(app, venue, access, Registration("open"))
    if classroom:
        add_classroom_routes(
            app, venue, access, cast(ClassroomPolicy, venue.policy), cast(Any, None), "123456", "http://venue"
        )
    return app


def feed_state(venue: Venue) -> FeedState:
    """Return the state of the feed."""
    database: Any = EmptyDatabase()
    return FeedState(venue.feed, Hub(), database, database, Operations({}, dict))


def feed_app(venue: Venue, classroom: bool) -> FastAPI:
    """Return the feed's application."""
    app = make_app("feed", "", Health(), dict)
    feed_rest.add_routes(app, feed_state(venue), Access(keys(), classroom))
    return app


async def status_of(
    app: FastAPI, method: str, path: bytes, query: bytes, body: bytes, headers: Mapping[bytes, bytes]
) -> tuple[int, bytes]:
    """Return the status and the body of the answer to a request."""
    sent: list[Any] = []
    requests = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return requests.pop() if requests else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path.decode("latin-1"),
        "raw_path": quote_from_bytes(path).encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"x"), *headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], content
