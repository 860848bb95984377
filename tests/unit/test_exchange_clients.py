"""`ExchangeClient` and `AsyncExchangeClient` without an exchange."""

import json
import socket
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from tests.unit.test_schemas import ORDER
from trading_bots import AsyncExchangeClient, ExchangeClient, ExchangeError


@pytest.fixture
def unused_url() -> str:
    """Return an address of this machine at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def _check(error: ExchangeError, url: str) -> None:
    assert error.code == "UNREACHABLE"
    assert error.message == f"no exchange answers at {url}: start it with ./mx up, or pass its address as gateway_url"


def test_a_client_without_an_exchange_names_the_address_and_the_fix(unused_url: str) -> None:
    with ExchangeClient(unused_url) as exchange:
        with pytest.raises(ExchangeError) as opened:
            exchange.open_account("ada")
        with pytest.raises(ExchangeError) as read:
            exchange.securities()
    _check(opened.value, unused_url)
    _check(read.value, unused_url)


async def test_an_async_client_without_an_exchange_names_the_address_and_the_fix(unused_url: str) -> None:
    async with AsyncExchangeClient(unused_url) as exchange:
        with pytest.raises(ExchangeError) as opened:
            await exchange.open_account("ada")
        with pytest.raises(ExchangeError) as read:
            await exchange.securities()
    _check(opened.value, unused_url)
    _check(read.value, unused_url)


# --- orders without an answer -------------------------------------------------------------------------------------------

Answer = tuple[int, Any] | type[httpx.TransportError]


def _refused(status: int, code: str) -> Answer:
    return status, {"error": {"code": code, "message": "a reason"}}


UNKNOWN, UNAVAILABLE = _refused(504, "OUTCOME_UNKNOWN"), _refused(503, "UNAVAILABLE")
REJECTED, FIRST = _refused(409, "INSUFFICIENT_CASH"), (200, {**ORDER, "duplicate": True})
DISK_FULL, NO_EXCHANGE = _refused(503, "DISK_FULL"), (502, "a proxy")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading_bots.client_requests.RESEND_PAUSES_SECONDS", (0, 0, 0))


def _exchange(answers: Sequence[Answer]) -> tuple[list[dict[str, Any]], Callable[[httpx.Request], httpx.Response]]:
    """Return the list of the orders that arrive, and an exchange that gives these answers."""
    bodies: list[dict[str, Any]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        answer = answers[len(bodies)]
        bodies.append(json.loads(request.content))
        if isinstance(answer, type):
            raise answer("no answer")
        return httpx.Response(answer[0], json=answer[1])

    return bodies, handle


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([FIRST], ""),
        ([UNKNOWN, FIRST], ""),
        ([httpx.ReadTimeout, UNKNOWN, FIRST], ""),
        ([httpx.RemoteProtocolError, UNAVAILABLE, httpx.ConnectError, FIRST], ""),
        ([UNKNOWN, REJECTED], "INSUFFICIENT_CASH"),
        ([UNKNOWN, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE], "OUTCOME_UNKNOWN"),
        ([UNKNOWN, DISK_FULL, NO_EXCHANGE, FIRST], ""),
        ([UNKNOWN, NO_EXCHANGE, DISK_FULL, DISK_FULL], "OUTCOME_UNKNOWN"),
        ([DISK_FULL], "DISK_FULL"),
        ([NO_EXCHANGE], "HTTP"),
        ([UNAVAILABLE], "UNAVAILABLE"),
        ([REJECTED], "INSUFFICIENT_CASH"),
        ([httpx.ConnectError], "UNREACHABLE"),
    ],
)
async def test_an_order_that_may_have_arrived_is_sent_again_under_the_same_id(answers: list[Answer], code: str) -> None:
    bodies, handle = _exchange(answers)
    outcomes: list[Any] = []
    with ExchangeClient("http://x", transport=httpx.MockTransport(handle)) as exchange:
        try:
            outcomes.append(exchange.buy("X", 1, "10.00").duplicate)
        except ExchangeError as error:
            outcomes.append(error.code)
    others, handle = _exchange(answers)
    async with AsyncExchangeClient("http://x", transport=httpx.MockTransport(handle)) as client:
        try:
            outcomes.append((await client.sell("X", 1, "10.00")).duplicate)
        except ExchangeError as error:
            outcomes.append(error.code)
    assert outcomes == [code or True] * 2
    for sent in (bodies, others):
        assert len(sent) == len(answers)
        assert len({body["client_order_id"] for body in sent}) == 1
    assert bodies[0]["client_order_id"] != others[0]["client_order_id"]


def test_an_order_keeps_the_id_that_its_client_chose() -> None:
    bodies, handle = _exchange([FIRST])
    with ExchangeClient("http://x", transport=httpx.MockTransport(handle)) as exchange:
        exchange.buy("X", 1, "10.00", client_order_id="mine")
    assert bodies[0]["client_order_id"] == "mine"
