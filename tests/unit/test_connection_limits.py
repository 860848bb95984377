"""Connections are counted for their address and their client, and refused beyond a limit."""

import asyncio
import contextlib
import resource
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.websockets import WebSocket

from microexchange import connection_limits, http_connection
from microexchange.connection_limits import (
    ADDRESS_RESERVE,
    LOCAL_RESERVE,
    ConnectionLimits,
    Place,
    available_connections,
    place_of,
)
from microexchange.health import Health
from microexchange.refusals import Code, Refusal
from microexchange.web import make_app
from tests.unit.served import served
from tests.unit.test_hostile_frames import OPENING

FAR = "10.0.0.1"


def code(call: Callable[[], Any]) -> Code | None:
    try:
        call()
    except Refusal as refusal:
        return refusal.code
    return None


def test_an_address_has_a_limit_and_a_place_that_is_left_is_free_again() -> None:
    limits = ConnectionLimits(per_address=2)
    first, second, third = (limits.take(FAR) for _ in range(3))
    with pytest.raises(Refusal, match=r"10\.0\.0\.1 has 2 connections, which is the limit: close some"):
        third.confirm()
    limits.take("10.0.0.2").confirm()
    first.leave()
    for place in (second, third):
        place.confirm()
    assert (limits.open, limits.by_address(FAR)) == (3, 2)


def test_the_reserve_of_an_address_has_an_end() -> None:
    limits = ConnectionLimits(per_address=2)
    for _ in range(2 + ADDRESS_RESERVE):
        limits.take(FAR)
    assert code(lambda: limits.take(FAR)) is Code.RATE_LIMITED
    assert limits.open == 2 + ADDRESS_RESERVE


def test_a_client_has_a_limit_over_all_its_addresses() -> None:
    limits = ConnectionLimits(per_client=1)
    first, second = limits.take(FAR), limits.take("10.0.0.2")
    first.give_to("ada")
    first.give_to("ada")
    with pytest.raises(Refusal, match="ada has 1 connections, which is the limit: close some"):
        second.give_to("ada")
    first.leave()
    second.give_to("ada")
    assert limits.by_client("ada") == 1


def test_beyond_the_total_only_this_machine_has_a_reserve() -> None:
    limits = ConnectionLimits(total=3)
    for _ in range(3):
        limits.take(FAR)
    assert code(lambda: limits.take(FAR)) is Code.UNAVAILABLE
    for _ in range(LOCAL_RESERVE):
        limits.take("127.0.0.1")
    assert code(lambda: limits.take("127.0.0.1")) is Code.UNAVAILABLE


def test_a_trusted_proxy_has_no_limit_of_its_own_and_no_reserve() -> None:
    limits = ConnectionLimits(total=3, per_address=1, trusted_proxies=["127.0.0.0/8"])
    places = [limits.take("127.0.0.1") for _ in range(3)]
    assert code(lambda: limits.take("127.0.0.1")) is Code.UNAVAILABLE
    places[0].move_to(FAR)
    assert code(lambda: places[1].move_to(FAR)) is Code.RATE_LIMITED


def test_a_place_that_is_left_counts_no_more() -> None:
    limits = ConnectionLimits()
    place = limits.take(FAR)
    place.leave()
    place.leave()
    place.move_to(FAR)
    place.give_to("ada")
    assert (limits.open, limits.by_address(FAR), limits.by_client("ada")) == (0, 0, 0)


_STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "move", "give", "leave"]), st.integers(0, 9), st.sampled_from(["", "a", "b", "c"]))
)


@given(_STEPS)
def test_the_counts_are_those_of_the_open_places_and_within_the_limits(steps: list[tuple[str, int, str]]) -> None:
    limits = ConnectionLimits(total=5, per_address=2, per_client=2)
    open_: list[Place] = []
    owners: dict[Place, str] = {}
    for step, index, name in steps:
        place = open_[index % len(open_)] if open_ else None
        with contextlib.suppress(Refusal):
            if step == "take":
                taken = limits.take(name)
                try:
                    taken.confirm()
                    open_.append(taken)
                except Refusal:
                    taken.leave()
            elif place is not None and step == "move":
                place.move_to(name)
            elif place is not None and step == "give" and name:
                place.give_to(name)
                owners[place] = name
            elif place is not None and step == "leave":
                place.leave()
                open_.remove(place)
                owners.pop(place, None)
        assert limits.open == len(open_) <= 5
        for counted, names in (
            (limits.by_address, Counter(place.address for place in open_)),
            (limits.by_client, Counter(owners.values())),
        ):
            for name in "abc":
                assert counted(name) == names[name] <= 2


def test_a_service_raises_its_limit_of_descriptors_as_far_as_it_may() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (600, before[1]))
        assert 100 < available_connections() <= before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 600
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# --- served -------------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def service(limits: ConnectionLimits, *trusted: str) -> AsyncIterator[int]:
    """Serve `/ws`, where each connection is the client that its query names. Yield the port."""
    app = make_app("a service", "", Health(), dict)

    @app.websocket("/ws")
    async def ws(socket: WebSocket, name: str = "") -> None:
        await socket.accept()
        try:
            place_of(socket.scope).give_to(name)
        except Refusal as refusal:
            await socket.close(1008, refusal.message)
            return
        await socket.receive()

    async with served(app, limits, trusted) as port:
        yield port


async def opened(
    port: int, address: str = "127.0.0.1", headers: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket from a local address. Return its streams, before the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    writer.write(OPENING.format(path="/ws").replace("\r\n", f"\r\n{headers}", 1).encode())
    return reader, writer


async def status(reader: asyncio.StreamReader) -> int:
    return int((await asyncio.wait_for(reader.readline(), 10)).split()[1])


async def test_an_address_beyond_its_limit_is_refused_with_429_and_others_are_served() -> None:
    limits = ConnectionLimits(per_address=3)
    async with service(limits) as port:
        held = [await opened(port, "127.0.0.2") for _ in range(3)]
        assert [await status(reader) for reader, _ in held] == [101] * 3
        refused, _ = await opened(port, "127.0.0.2")
        answer = await asyncio.wait_for(refused.read(), 10)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b'"RATE_LIMITED"' in answer
        assert b"127.0.0.2 has 3 connections, which is the limit: close some" in answer
        other, _ = await opened(port, "127.0.0.3")
        assert await status(other) == 101
        held[0][1].close()
        async with asyncio.timeout(10):
            while limits.by_address("127.0.0.2") == 3:
                await asyncio.sleep(0.01)
        again, _ = await opened(port, "127.0.0.2")
        assert await status(again) == 101


async def test_half_open_connections_count_too() -> None:
    limits = ConnectionLimits(per_address=3)
    async with service(limits) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, _ = await opened(port)
        assert await status(reader) == 429
        assert len(held) == limits.open


async def test_a_full_service_answers_503_and_still_serves_this_machine() -> None:
    limits = ConnectionLimits(total=1, trusted_proxies=["127.0.0.2"])
    async with service(limits) as port:
        held, _ = await opened(port, "127.0.0.2")
        assert await status(held) == 101
        refused, _ = await opened(port, "127.0.0.2")
        assert await status(refused) == 503
        own, _ = await opened(port, "127.0.0.1")
        assert await status(own) == 101


async def test_refused_connections_that_stay_open_are_few_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "MAX_REFUSED", 5)
    monkeypatch.setattr(connection_limits, "ADDRESS_RESERVE", 0)
    monkeypatch.setattr(http_connection, "CLOSE_SECONDS", 0.3)
    limits = ConnectionLimits(per_address=1)
    async with service(limits) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        async with asyncio.timeout(10):
            ends = [await reader.read() for reader, _ in held[6:]]
        assert set(ends) == {b""}, "no answer, the connection is aborted"
        assert limits.refused <= 5
        async with asyncio.timeout(10):
            while limits.refused:
                await asyncio.sleep(0.01)
        assert limits.open == 1


async def test_websockets_behind_a_trusted_proxy_count_for_the_address_that_it_names() -> None:
    limits = ConnectionLimits(per_address=1, trusted_proxies=["127.0.0.1"])
    async with service(limits, "127.0.0.1") as port:
        statuses = []
        held = []
        for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1"):
            held.append(await opened(port, headers=f"X-Forwarded-For: {address}\r\n"))
            statuses.append(await status(held[-1][0]))
        assert statuses == [101, 101, 429]


async def test_the_headers_of_a_proxy_that_is_not_trusted_change_no_address() -> None:
    limits = ConnectionLimits(per_address=2)
    async with service(limits) as port:
        held, statuses = [], []
        for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3"):
            held.append(await opened(port, headers=f"X-Forwarded-For: {address}\r\n"))
            statuses.append(await status(held[-1][0]))
        assert statuses == [101, 101, 429]
