"""Run bots on a live exchange: find or open their accounts, and store their keys."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import jwt
import msgspec
import structlog

from microexchange.auth import write_private
from microexchange.plain_text import plain
from trading_bots.bot import Bot
from trading_bots.client_requests import MARKET_DATA, key_headers
from trading_bots.connections import AccountError, Contact, refusal_in
from trading_bots.guard import Guard
from trading_bots.live import LiveVenue

GATEWAY_URL = os.environ.get("MX_GATEWAY_URL", "http://127.0.0.1:8000")
FEED_URL = os.environ.get("MX_FEED_URL", "")

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Funding:
    """The cash, shares and limits with which the admin opens an account."""

    cash: Decimal = Decimal(0)
    shares: Mapping[str, Decimal] = field(default_factory=dict)
    """Quantities by symbol. `*` stands for every other listed security."""
    credit: Decimal = Decimal(0)
    """The amount by which cash may be below zero."""
    short_limit: Decimal = Decimal(0)
    """The greatest value of all short positions together, in cash at the reference prices."""
    house: bool = True
    """Whether the account belongs to the house. A leaderboard can leave such accounts out."""

    def as_json(self) -> dict[str, Any]:
        """Return the body of `PUT /admin/clients/{client_id}`."""
        return {
            "cash": f"{self.cash:f}",
            "shares": {symbol: f"{quantity:f}" for symbol, quantity in self.shares.items()},
            "credit": f"{self.credit:f}",
            "short_limit": f"{self.short_limit:f}",
            "house": self.house,
        }


class KeyFile:
    """A file of API keys by client id. Only its owner can read it.

    Raises:
        ValueError: The file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else {}

    def get(self, client_id: str) -> str | None:
        """Return the key of a client. None if the file does not have it."""
        return self._keys.get(client_id)

    def put(self, client_id: str, key: str) -> None:
        """Store the key of a client."""
        self._keys[client_id] = key
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self._path, json.dumps(self._keys))


async def account(
    http: httpx.AsyncClient,
    gateway_url: str,
    client_id: str,
    keys: KeyFile,
    admin_token: str = "",
    funding: Funding | None = None,
) -> tuple[str, str]:
    """Return the client id and the key of a bot's account: from the key file, or of a new account.

    If another client has the name, the account is `client_id-2`, and so on.

    Args:
        http: The client that sends the requests.
        gateway_url: The address of the gateway.
        client_id: The preferred client id.
        keys: The key file. The key of a new account is added to it.
        admin_token: Opens an account if only the admin may.
        funding: If given, the admin opens the account with it. An existing account is not funded again.

    Raises:
        AccountError: The exchange refuses to open the account.
        httpx.HTTPError: There is no usable answer. A later attempt may succeed.
    """
    headers = key_headers(admin_token)
    for number in range(1, 1000):
        name = client_id if number == 1 else f"{client_id}-{number}"
        key = keys.get(name)
        if key is not None:
            return name, key
        if funding is None:
            answer = await http.post(f"{gateway_url}/clients", json={"client_id": name}, headers=headers)
        else:
            answer = await http.put(f"{gateway_url}/admin/clients/{name}", json=funding.as_json(), headers=headers)
        if answer.is_success:
            key = str(answer.json()["api_key"])
            keys.put(name, key)
            return name, key
        if answer.status_code in (429, 503):
            raise httpx.ConnectError(refusal_in(answer))
        if _code_in(answer) != "CLIENT_EXISTS":
            raise AccountError(refusal_in(answer))
    raise AccountError(f"the names {client_id} to {client_id}-999 are all taken")


def _code_in(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def client_of(key: str) -> str:
    """Return the client id in an API key. The exchange checks the key later.

    Raises:
        AccountError: The text is not an API key.
    """
    try:
        return str(jwt.decode(key, options={"verify_signature": False})["sub"])
    except (jwt.InvalidTokenError, KeyError) as error:
        raise AccountError("this is not an API key of an exchange: a key has three parts with dots between them") from error


async def run_bots(
    bots: Mapping[str, Bot],
    gateway_url: str,
    feed_url: str,
    keys: KeyFile,
    stop: asyncio.Event,
    admin_token: str = "",
    funding: Mapping[str, Funding] | None = None,
) -> None:
    """Run bots until `stop` is set. A bot without an account gets one, under its name in `bots`.

    If no account can be opened, the SDK tries again each second. A bot whose key is rejected later ends, without the others.

    Args:
        bots: The bots by preferred client id.
        gateway_url: The address of the gateway.
        feed_url: The address of the market-data feed.
        keys: The key file.
        stop: Ends the bots when it is set.
        admin_token: Opens accounts if only the admin may.
        funding: By name, what the admin opens an account with. Other bots get what every new account gets.
    """
    venues = []
    contact = Contact(_log, "The gateway", gateway_url)
    async with httpx.AsyncClient(timeout=30) as http:
        for name, bot in bots.items():
            while not stop.is_set():
                try:
                    given = (funding or {}).get(name)
                    client_id, key = await account(http, gateway_url, name, keys, admin_token, given)
                    contact.found()
                    venues.append(LiveVenue(bot, client_id, key, gateway_url, feed_url))
                    break
                except (httpx.HTTPError, AccountError) as error:
                    contact.lost(error)
                    await asyncio.sleep(1)
    async with asyncio.TaskGroup() as group:
        for venue in venues:
            group.create_task(_run_alone(venue, stop))


async def _run_alone(venue: LiveVenue, stop: asyncio.Event) -> None:
    try:
        await venue.run(stop)
    except AccountError as error:
        _log(f"a bot has ended, since its key was rejected: {error}")


def _log(text: str) -> None:
    _logger.warning(text)


def _print(text: str) -> None:
    print(plain(text), file=sys.stderr, flush=True)


def run(
    bot: type[Bot] | Bot,
    *,
    client_id: str | None = None,
    gateway_url: str = GATEWAY_URL,
    feed_url: str = FEED_URL,
    keys: Path = Path("keys.json"),
    key: str = "",
) -> None:
    """Run one bot until Ctrl-C. Wait for the exchange if it does not answer.

    Args:
        bot: A bot, or its class.
        client_id: The preferred client id. By default, the name of the class.
        gateway_url: The address of the gateway.
        feed_url: The address of the market-data feed. By default, market data comes through the gateway.
        keys: The key file. Without `key`, the first run opens an account and stores its key there.
        key: The API key of an existing account.

    Raises:
        AccountError: The exchange refuses the account or the key.
    """
    instance = bot if isinstance(bot, Bot) else bot()
    name = client_id or type(instance).__name__

    async def main() -> None:
        stop = asyncio.Event()
        guard = Guard(instance, stop, _print)
        with guard.installed():
            own = (client_of(key), key) if key else await _open_or_find_account(name, gateway_url, KeyFile(keys), stop)
            if own is None:
                return
            try:
                await LiveVenue(
                    instance, *own, gateway_url, feed_url or f"{gateway_url}{MARKET_DATA}", print_message=_print
                ).run(stop)
            except AccountError as error:
                raise AccountError(f"{own[0]} is refused by {gateway_url}: {error}. {_key_hint(key, keys)}") from None

    asyncio.run(main())


def _key_hint(key: str, keys: Path) -> str:
    if key:
        return "Is the key one of this exchange? It comes from MX_KEY or --key"
    return f"Its key is in {keys}. If that key is of another exchange, name another file with --keys"


async def _open_or_find_account(name: str, gateway_url: str, keys: KeyFile, stop: asyncio.Event) -> tuple[str, str] | None:
    """Return the client id and key of the bot's account. None if `stop` is set first.

    Raises:
        AccountError: The exchange refuses to open the account.
    """
    hint = " Start one with `./mx up`, or name another address with --url."
    contact = Contact(_print, "The exchange", gateway_url, hint)
    async with httpx.AsyncClient(timeout=30) as http:
        while not stop.is_set():
            try:
                own = await account(http, gateway_url, name, keys)
                contact.found()
                return own
            except httpx.HTTPError as error:
                contact.lost(error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 1)
    return None
