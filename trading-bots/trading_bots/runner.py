"""Runs bots on a live exchange: finds their accounts and keeps their keys."""

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
import structlog

from microexchange.auth import write_private
from trading_bots.bot import Bot
from trading_bots.client import MARKET_DATA
from trading_bots.faults import plain
from trading_bots.guard import Guard
from trading_bots.live import AccountError, Contact, LiveVenue, refusal_in

GATEWAY_URL = os.environ.get("MX_GATEWAY_URL", "http://127.0.0.1:8000")
FEED_URL = os.environ.get("MX_FEED_URL", "")

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Funding:
    """What the admin gives an account when it opens it."""

    cash: Decimal = Decimal(0)
    shares: Mapping[str, Decimal] = field(default_factory=dict)
    """Quantity by symbol; `*` is every other listed security."""
    credit: Decimal = Decimal(0)
    """Cash that the account may owe."""
    short_limit: Decimal = Decimal(0)
    """What all its short positions together may come to, in cash at the reference prices of the listings."""
    house: bool = True
    """Whether the account is the exchange's own: a leaderboard can leave those out."""

    def as_json(self) -> dict[str, Any]:
        """The body of `PUT /admin/clients/{client_id}`."""
        return {
            "cash": f"{self.cash:f}",
            "shares": {symbol: f"{quantity:f}" for symbol, quantity in self.shares.items()},
            "credit": f"{self.credit:f}",
            "short_limit": f"{self.short_limit:f}",
            "house": self.house,
        }


class KeyFile:
    """API keys by client id, in a file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, client_id: str) -> str | None:
        """The key of a client, if it is there."""
        return self._keys.get(client_id)

    def put(self, client_id: str, key: str) -> None:
        """Keeps a key."""
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
    """An account for a bot that wants to be called `client_id`: (client id, key), from the key file or newly opened.

    Where somebody else has the name, the bot is called `client_id-2`, and so on. `admin_token` opens accounts where not
    everybody may. With `funding`, the admin opens the account with exactly that; an account that it has opened before is
    found again, and not funded a second time. Raises `AccountError`, or `httpx.HTTPError` where it is of use to ask again.
    """
    headers = {"Authorization": f"Bearer {admin_token}"} if admin_token else {}
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
    raise AccountError(f"a thousand clients are called {client_id}")


def _code_in(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def client_of(key: str) -> str:
    """Whose key that is, as it says itself: the exchange checks it. Raises `AccountError`."""
    try:
        return str(jwt.decode(key, options={"verify_signature": False})["sub"])
    except (jwt.InvalidTokenError, KeyError) as error:
        raise AccountError("that is no API key of this exchange's: it has three parts with a dot between") from error


async def run_bots(
    bots: Mapping[str, Bot],
    gateway_url: str,
    feed_url: str,
    keys: KeyFile,
    stop: asyncio.Event,
    admin_token: str = "",
    funding: Mapping[str, Funding] | None = None,
) -> None:
    """Runs bots, by the names they would like, until `stop`. Opens accounts for those who have none, as the admin where it
    must. `funding`, by name, is what the admin opens a bot's account with; a bot that is not in it gets what every new
    account gets. A bot that is not let in is tried again; one whose key is refused later ends, and the others go on."""
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
        _log(f"a bot has ended: {error}")


def _log(text: str) -> None:
    _logger.warning(text)


def _say(text: str) -> None:
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
    """Runs one bot until Ctrl-C. Without a `feed_url`, market data comes from the gateway. Without
    `key`, its account is opened on first use, and the key kept in the file `keys`.
    Waits for an exchange that does not answer. Raises `AccountError` where the exchange does not let it in."""
    instance = bot if isinstance(bot, Bot) else bot()
    name = client_id or type(instance).__name__

    async def main() -> None:
        stop = asyncio.Event()
        guard = Guard(instance, stop, _say)
        with guard.installed():
            own = (client_of(key), key) if key else await _let_in(name, gateway_url, KeyFile(keys), stop)
            if own is None:
                return
            try:
                await LiveVenue(instance, *own, gateway_url, feed_url or f"{gateway_url}{MARKET_DATA}", say=_say).run(stop)
            except AccountError as error:
                raise AccountError(f"{own[0]} is not let in at {gateway_url}: {error}. {_advice(key, keys)}") from None

    asyncio.run(main())


def _advice(key: str, keys: Path) -> str:
    if key:
        return "Is the key one of this exchange's? MX_KEY or --key names it"
    return f"Its key is in {keys}: if that is of another exchange, name another file with --keys"


async def _let_in(name: str, gateway_url: str, keys: KeyFile, stop: asyncio.Event) -> tuple[str, str] | None:
    """The bot's account; None where `stop` comes first. Raises `AccountError`."""
    hint = " `./mx up` starts an exchange here; --url names another."
    contact = Contact(_say, "The exchange", gateway_url, hint)
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
