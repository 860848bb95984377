"""Every wait has a deadline, and a refusal after it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import Request, Response
from psycopg_pool import AsyncConnectionPool

from market_data_feed.statement import movements
from microexchange import databases, web
from microexchange.databases import CLEARING_DATA, MARKET_DATA, connect, database_url, query_errors_as_refusals, query_rows
from microexchange.health import Health
from microexchange.limits import RateLimiter
from microexchange.listening import bind
from microexchange.log.memory import MemoryLog
from microexchange.refusals import Code, Refusal
from microexchange.web import json_response, make_app, read_body, serve
from order_entry_gateway.order_service import Limits, OrderService
from order_entry_gateway.requests import Endowment
from tests.integration.running import free_ports


@pytest.fixture
async def pool(postgres_url: str, postgres_namespace: str) -> AsyncIterator[AsyncConnectionPool]:
    url = database_url(postgres_url, postgres_namespace, MARKET_DATA)
    async with AsyncConnectionPool(url, min_size=0, max_size=2, open=False) as opened_pool:
        yield opened_pool


async def test_a_query_that_the_database_does_not_answer_in_time_is_refused(
    pool: AsyncConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "QUERY_TIMEOUT_SECONDS", 0.3)
    async with asyncio.timeout(20):
        with pytest.raises(Refusal) as refused:
            await query_rows(pool, "the database of trades", "SELECT pg_sleep(%s)", (60,))
        assert refused.value.code is Code.UNAVAILABLE
        assert "the database of trades has not answered within 0.3 s" in refused.value.message
        monkeypatch.setattr(databases, "QUERY_TIMEOUT_SECONDS", 20)
        assert await query_rows(pool, "the database of trades", "SELECT %s::int", (7,)) == [(7,)]


async def test_a_statement_of_an_account_that_takes_too_long_is_refused(
    postgres_url: str, postgres_namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("market_data_feed.statement.QUERY_TIMEOUT_SECONDS", 0.3)
    url = database_url(postgres_url, postgres_namespace, CLEARING_DATA)
    async with (
        asyncio.timeout(20),
        AsyncConnectionPool(url, min_size=0, max_size=2, open=False) as ledger,
        await connect(url, "test") as other,
        other.transaction(),
    ):
        await other.execute("LOCK TABLE settlements")
        with pytest.raises(Refusal) as refused, query_errors_as_refusals("the ledger"):
            await movements(ledger, {}, "ada", 0, 10)
    assert refused.value.code is Code.UNAVAILABLE


async def test_a_body_that_does_not_arrive_in_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BODY_TIMEOUT_SECONDS", 0.3)
    app = make_app("a service", "", Health(), dict)

    @app.post("/")
    async def post(request: Request) -> Response:
        return json_response(len(await read_body(request)))

    (port,) = free_ports(1)
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(app, bind("127.0.0.1", port, "--port"), stop))
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            await asyncio.sleep(0.02)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        answer = await reader.readuntil(b"}}")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"the body did not arrive within 0.3 s" in answer
    writer.close()
    stop.set()
    await serving


def order_service(folder: Path, log: MemoryLog) -> OrderService:
    limits = Limits(RateLimiter(0, 0))
    return OrderService(log, 0, "postgresql://x", "", Health(), 0.3, folder / "epoch", limits, Endowment(0, {}, 0))


async def test_revoking_a_key_has_an_unknown_outcome_if_the_gateway_does_not_read_it_in_time(tmp_path: Path) -> None:
    unread = order_service(tmp_path, MemoryLog())
    appending = asyncio.create_task(unread.append())
    async with asyncio.timeout(20):
        with pytest.raises(Refusal) as refused:
            await unread.keys.revoke("ada", "key")
    assert refused.value.code is Code.OUTCOME_UNKNOWN
    assert "this gateway has not read it within 0.3 s" in refused.value.message
    assert "GET /clients/ada/keys" in refused.value.message
    assert unread.subscriptions.revocation_subscribers("key") == 0, "nothing waits for the revocation any more"
    appending.cancel()


async def test_revoking_a_key_has_an_unknown_outcome_if_the_log_does_not_confirm_in_time(tmp_path: Path) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(Refusal) as refused:
            await order_service(tmp_path, MemoryLog()).keys.revoke("ada", "key")  # nothing appends
    assert refused.value.code is Code.OUTCOME_UNKNOWN
    assert "has not confirmed it" in refused.value.message
