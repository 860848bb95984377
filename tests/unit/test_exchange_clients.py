"""`ExchangeClient` and `AsyncExchangeClient` without an exchange."""

import socket

import pytest

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
