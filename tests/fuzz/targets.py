"""The targets: one for each parser. The docstring of a target states its invariant."""

import asyncio
import contextlib
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httptools
import httpx
import msgspec
from pydantic import ValidationError
from pydantic_settings import SettingsError

from clearinghouse.service import ClearingSettings
from market_data_feed.service import FeedSettings
from market_data_feed.websocket import SubscriberSession
from matching_engine import state as engine_state
from matching_engine.engine import Engine
from matching_engine.service import EngineSettings
from matching_engine.snapshots import Snapshot, SnapshotStore, encode_snapshot
from microexchange.access import Access, checked_client_id
from microexchange.auth import bearer_key
from microexchange.batches import UndecodableError, decode_batch, encode_batch
from microexchange.durations import SeasonError
from microexchange.frames import EXTENSION
from microexchange.number_fields import json_decoder
from microexchange.numbers import MAX_LOTS
from microexchange.participants import clean_name, client_id_of
from microexchange.plain_text import plain
from microexchange.records import ORDER_ENTRY, TOPICS
from microexchange.refusals import Code, Refusal
from microexchange.securities import ListingError, listing_json, read_listing, unknown_columns
from order_entry_gateway.classroom import ClassroomState
from order_entry_gateway.client_session import ClientSession
from order_entry_gateway.participant_routes import read_roster
from order_entry_gateway.requests import ListingRequest, list_security
from order_entry_gateway.service import GatewaySettings
from order_entry_gateway.simple_dialect import SimpleSession
from order_entry_gateway.websocket import MSGPACK, WebSocketSession
from tests.fuzz import connections  # noqa: F401 - it fills the list, too
from tests.fuzz.mutation import Format
from tests.fuzz.registry import choose, run_async, target
from tests.fuzz.venue import ADMIN_TOKEN, NOW, Venue, feed_app, feed_state, gateway_app, keys, status_of
from tests.integration.running import environment
from trading_bots.client_requests import ExchangeError, amend_request, decode_answer
from trading_bots.competition import replay
from trading_bots.competition.recording import DATA_FEED_FILE, ORDER_ENTRY_FILE, RecordingError, read_bodies, write_bodies
from trading_bots.competition.results import RankedClient, as_json
from trading_bots.competition.season import house_of, parse_season, shares_of
from trading_bots.competition.venue_proxy import VenueProxy
from trading_bots.runner import KeyFile

CLIENT_KEY = keys().issue("alice").key


_temporary = tempfile.TemporaryDirectory(prefix="mx-fuzz-")  # the end of the process removes it
FOLDER = Path(_temporary.name)
"""A folder for the files of targets."""


def lines_of(data: bytes) -> list[bytes]:
    """Return the first lines of an input."""
    return data.split(b"\n")[:20]


# --- requests -----------------------------------------------------------------------------------------------------------

GATEWAY_ROUTES = (
    (b"POST", b"/orders"), (b"POST", b"/orders/batch"), (b"PATCH", b"/orders/3"), (b"PATCH", b"/orders/5"),
    (b"DELETE", b"/orders/5"), (b"POST", b"/clients"), (b"POST", b"/admin/securities"),
    (b"PUT", b"/admin/securities/X/state"), (b"PUT", b"/admin/clients/carol"), (b"POST", b"/admin/clients/alice/deposits"),
    (b"POST", b"/admin/clients/alice/withdrawals"), (b"POST", b"/buy"), (b"POST", b"/sell"), (b"POST", b"/add_buy"),
    (b"POST", b"/add_sell"),
)  # fmt: skip


@cache
def gateway(is_class: bool) -> tuple[Venue, Any]:
    """Return a gateway and its application."""
    venue = Venue(is_class)
    return venue, gateway_app(venue, is_class)


@target(Format.LINES)
def gateway_bodies(data: bytes) -> None:
    """Each body gets an answer below 500. The engine applies its command, which stays the same on the log."""
    is_class, data = choose(data, (False, True))
    venue, app = gateway(is_class)
    venue.reset()
    admin = {b"authorization": b"Bearer " + ADMIN_TOKEN.encode()}
    client = {b"authorization": b"Bearer " + CLIENT_KEY.encode()}

    async def send() -> None:
        for line in lines_of(data):
            (method, path), body = choose(line, GATEWAY_ROUTES)
            headers = admin if path.startswith(b"/admin") else client
            await check_answer(app, method, path, b"", body, headers)

    run_async(send())


async def check_answer(app: Any, method: bytes, path: bytes, query: bytes, body: bytes, headers: dict[bytes, bytes]) -> None:
    """Send a request, and check that it is answered without a fault."""
    status, content = await status_of(app, method.decode(), path, query, body, headers)
    assert 200 <= status < 500, (status, content)
    if status >= 400:
        error = msgspec.json.decode(content)["error"]
        assert Code(error["code"]) is not Code.INTERNAL
        assert error["message"]


GATEWAY_PATHS = (b"/orders/", b"/orders", b"/fills", b"/clients/", b"/", b"/quotes", b"/orderbook", b"/lobby")
FEED_PATHS = (
    b"/securities", b"/securities/", b"/ticker/24h", b"/book/X", b"/bbo/", b"/trades/X", b"/candles/X", b"/leaderboard",
    b"/leaderboard/equity", b"/balance/alice", b"/holdings/alice", b"/holdings/X/", b"/equity/alice", b"/orders/alice",
    b"/accounts/alice/statement", b"/accounts/alice/statement.csv", b"/export/trades.csv", b"/export/trades.parquet",
    b"/export/orders.csv", b"/export/", b"/stats", b"/",
)  # fmt: skip


@cache
def query_apps() -> tuple[Any, Any]:
    """Return a gateway and a feed for requests that change nothing."""
    venue = Venue(classroom=True)
    return gateway_app(venue, classroom=True), feed_app(venue, classroom=True)


def check_query(app: Any, paths: tuple[bytes, ...], data: bytes) -> None:
    """Send a GET request: one byte chooses the path, the rest is the end of the path, a tab and the query."""
    path, rest = choose(data, paths)
    if not rest.isascii():
        return  # the connection refuses such an address
    end, _, query = rest.partition(b"\t")
    path = path + end if path.endswith(b"/") else path
    run_async(check_answer(app, b"GET", path, query, b"", {b"client-id": b"alice"}))


@target()
def gateway_queries(data: bytes) -> None:
    """Each query gets an answer below 500. Postgres can take the values of the queries that it causes."""
    check_query(query_apps()[0], GATEWAY_PATHS, data)


@target()
def feed_queries(data: bytes) -> None:
    """Each query gets an answer below 500. Postgres can take the values of the queries that it causes."""
    check_query(query_apps()[1], FEED_PATHS, data)


def socket_with(**scope: Any) -> Any:
    """Return a socket whose connection takes every frame."""
    connection = SimpleNamespace(put=lambda _: True, put_soon=lambda _: False, hold=lambda: None, release=lambda: None)
    return SimpleNamespace(scope={"extensions": {EXTENSION: connection}, **scope}, headers={}, client=None)


def check_gateway_messages(messages: list[bytes], **scope: Any) -> None:
    """Check that each message of a client is answered, and that no answer reports a fault."""

    async def send() -> None:
        venue = Venue()
        session = WebSocketSession(socket_with(**scope), venue, Access(keys()))
        session._client = ClientSession(venue, "alice")
        for message in messages:
            session._on_message(message)
            while session._tasks:
                await asyncio.gather(*session._tasks)
            assert len(session._outgoing) or session._closing is not None
            while (answer := session._outgoing.take()) is not None:
                assert b"INTERNAL" not in answer, answer
        if session._heartbeat is not None:
            session._heartbeat.cancel()
        for client_id in list(venue._planned_cancels):
            venue.drop_planned_cancel(client_id)

    run_async(send())


@target(Format.LINES)
def gateway_messages(data: bytes) -> None:
    """Each message in JSON is answered, and no answer reports a fault."""
    check_gateway_messages([line[1:] for line in lines_of(data)])


@target(Format.MSGPACK)
def gateway_msgpack(data: bytes) -> None:
    """Each message in msgpack is answered, and no answer reports a fault."""
    check_gateway_messages([data[1:]], subprotocols=[MSGPACK])


@target(Format.LINES)
def simple_dialect(data: bytes) -> None:
    """Each message of a classroom gets one answer, with a status or an error."""

    async def send() -> None:
        venue = Venue(classroom=True)
        session = SimpleSession(socket_with(), venue, Access(keys(), classroom=True), ClassroomState())
        for line in lines_of(data):
            answer = await session._answer(ClientSession(venue, "alice"), line[1:])
            assert ("error" in answer) is not ("status" in answer)
            session._send(answer)

    run_async(send())


@target(Format.LINES)
def feed_messages(data: bytes) -> None:
    """Each subscription is answered or refused. A connection has at most one subscription for a channel of a security."""

    async def send() -> None:
        state = feed_state(Venue())
        session = SubscriberSession(socket_with(), state, Access(keys(), classroom=True))
        for line in lines_of(data):
            with contextlib.suppress(Refusal):
                await session._on_request(line[1:])
                assert session._subscriber.take() is not None
        assert len(session._subscriber.keys) < 50
        state.hub.leave(session._subscriber)

    run_async(send())


@target()
def api_keys(data: bytes) -> None:
    """A header names a client, or is refused. Only a key of this exchange names one."""
    with contextlib.suppress(Refusal):
        client_id, _ = keys().identify(bearer_key(data.decode("latin-1")))
        assert client_id in ("alice", "admin")


@target()
def proxy_heads(data: bytes) -> None:
    """A request of a contestant is refused, or becomes one request that its own rules allow, with the proxy's key alone."""
    proxy = VenueProxy("alice", "the-key", "http://127.0.0.1:1/", "http://127.0.0.1:2/market-data")
    found = proxy.request_of(data + b"\r\n\r\n")
    if found is None:
        return
    upstream, sent = found
    headers: list[tuple[bytes, bytes]] = []
    urls: list[bytes] = []
    handler = SimpleNamespace(on_url=urls.append, on_header=lambda name, value: headers.append((name.lower(), value)))
    parser = httptools.HttpRequestParser(handler)
    with contextlib.suppress(httptools.HttpParserUpgrade):
        parser.feed_data(sent)
    url = httptools.parse_url(b"".join(urls))
    path = url.path.decode().removeprefix("/market-data" if upstream.port == 2 else "")
    assert parser.get_method() == b"GET"
    assert ".." not in path.split("/"), path
    assert path in ("/ws", "/ws/orders", "/orders", "/balance/alice", "/holdings/alice", "/orders/alice", "/securities") or (
        path.startswith(("/securities/", "/trades/", "/candles/"))
    ), path
    named = dict(headers)
    assert len(named) == len(headers), headers
    assert named[b"authorization"] == b"Bearer the-key"
    assert sent.count(b"\r\n\r\n") == 1
    assert sent.endswith(b"\r\n\r\n")
    assert not named.keys() & {b"transfer-encoding", b"content-length"}


# --- records and files --------------------------------------------------------------------------------------------------


@target(Format.MSGPACK)
def batches(data: bytes) -> None:
    """A body of the log is a batch that stays the same when it is written again, or is undecodable."""
    topic, body = choose(data, TOPICS)
    with contextlib.suppress(UndecodableError):
        batch = decode_batch(topic, body)
        assert encode_batch(decode_batch(topic, encode_batch(batch))) == encode_batch(batch)


@target(Format.MSGPACK)
def engine_commands(data: bytes) -> None:
    """The engine applies or refuses every command that the log can have, and its state stays one that can be restored."""
    with contextlib.suppress(UndecodableError):
        engine = Venue().engine
        for command in decode_batch(ORDER_ENTRY, data[1:]).records[:20]:
            outcome = engine.apply(command)
            msgspec.msgpack.encode((outcome.instructions, outcome.reports))
        taken = engine_state.take(engine)
        assert engine_state.take(engine_state.restore(taken)) == taken


@cache
def snapshot_store() -> SnapshotStore:
    """Return the store of the only snapshot of a target."""
    return SnapshotStore(FOLDER / "engine")


@target(Format.MSGPACK, max_bytes=16_384)
def snapshots(data: bytes) -> None:
    """A damaged snapshot is skipped, or refused as an impossible state. A good one is restored exactly."""
    is_whole_file, content = choose(data, (False, True))
    path = FOLDER / "engine" / f"snapshot-{0:020d}.bin"
    store = snapshot_store()
    path.write_bytes(content if is_whole_file else encode_snapshot(content))
    found = store.newest()
    if found is None:
        return
    assert isinstance(found, Snapshot)
    with contextlib.suppress(engine_state.StateError):
        restored = engine_state.restore(found.state)
        taken = engine_state.take(restored)
        assert engine_state.take(engine_state.restore(taken)) == taken


@target()
def listings(data: bytes) -> None:
    """A listing file is refused with its line, or each of its securities can be sent to the gateway and to the engine."""
    lines = data.decode(errors="replace").splitlines()
    try:
        found = read_listing(lines)
        unknown_columns(lines)
    except ListingError:
        return
    for security in found[:5]:
        body = msgspec.json.encode(listing_json(security))
        with contextlib.suppress(Refusal):
            list_security(json_decoder(ListingRequest).decode(body), 1, NOW)
        Engine().apply(msgspec.structs.replace(security, command_id=1, timestamp=NOW))


@target()
def rosters(data: bytes) -> None:
    """A roster is refused, or each of its people gets a valid client id or a refusal."""
    try:
        people = read_roster(data.decode(errors="surrogateescape"))
    except Refusal:
        return
    for nickname, _ in people[:50]:
        with contextlib.suppress(Refusal):
            checked_client_id(client_id_of(clean_name(nickname, "nickname")))


@target()
def seasons(data: bytes) -> None:
    """A season is refused with the name of its field, or all of its parts can be used."""
    try:
        season = parse_season(data.decode(errors="replace"))
    except SeasonError:
        return
    assert all(0 < lots <= MAX_LOTS for lots in shares_of(season).values())
    house_of(season)
    msgspec.json.encode(season)


SERVICE_SETTINGS = (GatewaySettings, FeedSettings, ClearingSettings, EngineSettings)


@target()
def settings(data: bytes) -> None:
    """The variables of a service are valid or refused. Each line of the input is a variable."""
    service, data = choose(data, SERVICE_SETTINGS)
    values = {"MX_LOG_URL": "postgresql://x", "MX_DATABASE_URL": "postgresql://x"}
    for line in data.decode(errors="replace").replace("\0", "").split("\n"):
        name, _, value = line.partition("=")
        if name.isidentifier() and name.isascii():
            values[f"MX_{name.upper()}"] = value.encode(errors="replace").decode()
    with environment(**values), contextlib.suppress(ValidationError, SettingsError):
        service()


@target()
def recordings(data: bytes) -> None:
    """A recording has bodies that are the same when they are written again, or ends in the middle of one."""
    path, again = FOLDER / "recording", FOLDER / "again"
    path.write_bytes(data)
    bodies = []
    with contextlib.suppress(RecordingError):
        bodies.extend(read_bodies(path))
        write_bodies(again, bodies)
        assert again.read_bytes() == data
    assert sum(map(len, bodies)) <= len(data)


@target(Format.MSGPACK)
def replays(data: bytes) -> None:
    """A recorded round replays, or its files are refused. The input is a body of one of the two files."""
    name, body = choose(data, (ORDER_ENTRY_FILE, DATA_FEED_FILE))
    write_bodies(FOLDER / ORDER_ENTRY_FILE, [body] if name == ORDER_ENTRY_FILE else [recorded_commands()])
    write_bodies(FOLDER / DATA_FEED_FILE, [body] if name == DATA_FEED_FILE else [])
    with contextlib.suppress(RecordingError, UndecodableError):
        compared = replay.compare(FOLDER)
        assert len(compared.differences) <= replay.MAX_DIFFERENCES + 1


@cache
def recorded_commands() -> bytes:
    """Return a body of commands that the engine accepts."""
    corpus = Path(__file__).parent / "corpus" / "engine_commands"
    return next(iter(sorted(corpus.iterdir()))).read_bytes()[1:]


@target()
def key_files(data: bytes) -> None:
    """A file of a bot's keys has a key for each name, or is refused."""
    path = FOLDER / "keys.json"
    path.write_bytes(data)
    with contextlib.suppress(ValueError):
        key = KeyFile(path).get("alice")
        assert key is None or isinstance(key, str)


@target()
def sdk_answers(data: bytes) -> None:
    """The Python client returns an order or raises `ExchangeError` for any answer of a server."""
    status, body = choose(data, (200, 201, 400, 404, 429, 500, 503))
    request = amend_request("1", None, None, None)
    with contextlib.suppress(ExchangeError):
        found = decode_answer(request, httpx.Response(status, content=body, request=httpx.Request("GET", "http://x/")))
        assert found.order_id is not None


@target()
def results(data: bytes) -> None:
    """A result with any text is the same after it is stored. A text for a terminal has no control characters."""
    text = data.decode(errors="replace")
    texts = {"ended": text, "errors": [text], "reject_codes": {text: 1}, "note": text}
    row = msgspec.convert({**dict.fromkeys(RankedClient.__struct_fields__[3:11], "0"), "rank": 1, "client_id": "a",
        "house": False, "orders": 0, "rejected": 0, "fills": 0, "fill_ratio": 0.0, **texts}, RankedClient)  # fmt: skip
    assert msgspec.json.decode(as_json(row), type=RankedClient) == row
    assert all(character.isprintable() or character in "\n\t" for character in plain(text))
    assert plain(plain(text)) == plain(text)
