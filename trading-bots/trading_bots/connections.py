"""The addresses that a live bot needs: requests to them, and messages while they do not answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
from websockets.asyncio.client import connect, unix_connect
from websockets.exceptions import WebSocketException

from trading_bots.faults import Print

LOST = (OSError, WebSocketException, httpx.HTTPError)


class AccountError(RuntimeError):
    """The exchange rejects the account or the key of the bot."""


class Contact:
    """An address that the bot needs. It prints one message if the address stops answering, and one when it answers again."""

    def __init__(self, print_message: Print, service: str, url: str, hint: str = "") -> None:
        self._print, self._name, self._hint = print_message, f"{service} at {url}", hint
        self._failures = 0

    def lost(self, cause: object) -> None:
        """Count a failed attempt. The first one is not printed, since most connections are back at once."""
        self._failures += 1
        if self._failures == 2:
            self._print(f"{self._name} does not answer ({cause}). The bot tries again until it does.{self._hint}")

    def found(self) -> None:
        """Record that the address answers."""
        if self._failures >= 2:
            self._print(f"Connected to {self._name}.")
        self._failures = 0


class Endpoint:
    """How connections are opened: by TCP, or through the Unix socket `path` of a proxy that logs the bot in."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def http(self) -> httpx.AsyncClient:
        """Return a client for HTTP requests."""
        transport = httpx.AsyncHTTPTransport(uds=str(self._path)) if self._path is not None else None
        return httpx.AsyncClient(timeout=10, transport=transport)

    def websocket(self, url: str, headers: Mapping[str, str] | None = None) -> connect:
        """Return a WebSocket, to be opened with `async with`."""
        if self._path is not None:
            return unix_connect(str(self._path), url, additional_headers=headers, max_size=None)
        return connect(url, additional_headers=headers, max_size=None)


async def get_json(http: httpx.AsyncClient, url: str, headers: Mapping[str, str]) -> Any:
    """Return the JSON at an address.

    Raises:
        AccountError: The exchange rejects the key.
        httpx.HTTPError: There is no answer, or no usable one. A later attempt may succeed.
    """
    answer = await http.get(url, headers=headers)
    if answer.status_code in (401, 403):
        raise AccountError(refusal_in(answer))
    if not answer.is_success:
        # A new account may not be in the feed yet, or the feed may be overloaded.
        raise httpx.ConnectError(refusal_in(answer))
    try:
        return answer.json()
    except ValueError as error:
        raise httpx.ConnectError(f"{answer.url} is not an exchange: its answer is not JSON") from error


def refusal_in(answer: httpx.Response) -> str:
    """Return the exchange's reason for a refusal. If the answer is not from an exchange, return its status."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code} from {answer.url}"


def websocket_url(url: str, path: str) -> str:
    """Return the address of a WebSocket at a path below an HTTP address."""
    parts = urlsplit(url)
    return urlunsplit(("wss" if parts.scheme == "https" else "ws", parts.netloc, parts.path.rstrip("/") + path, "", ""))
