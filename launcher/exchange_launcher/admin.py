"""The admin's requests to a running exchange."""

import difflib
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from exchange_launcher.running import Target
from exchange_launcher.terminal import BAD_USE, CommandError, bad_use
from microexchange.refusals import Code
from microexchange.securities import SYMBOL

TIMEOUT_SECONDS = 30
"""The timeout of a request."""
PAGE_SIZE = 1000
"""The number of securities in one request of `GET /securities`."""


def check_symbol(symbol: str) -> None:
    """Check that a security can have this symbol.

    Raises:
        CommandError: It cannot.
    """
    if not SYMBOL.fullmatch(symbol):
        raise bad_use(
            f"{symbol[:32]!r} is not a symbol: a symbol is 1 to 16 of A-Z a-z 0-9 . -",
            "Name a listed security, for example AAPL",
        )


class RefusedError(CommandError):
    """A refusal of the exchange. `code` is one of the codes in docs/refusals.md."""

    def __init__(self, code: str, problem: str, fix: str, status: int) -> None:
        super().__init__(problem, fix, status)
        self.code = code


class AdminClient:
    """A client that sends the admin's requests to one exchange."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._headers = {"Authorization": f"Bearer {_token(target.admin_token)}"}

    def send(self, method: str, path: str, body: object = None) -> Any:
        """Send a request. Return the answer as JSON.

        Raises:
            RefusedError: The exchange refuses the request.
            CommandError: There is no answer, or it is not an answer of a gateway.
        """
        answer = _request(method, f"{self._target.gateway_url}{path}", json=body, headers=self._headers)
        try:
            if answer.is_success:
                return answer.json()
            refusal = answer.json()["error"]
            code, message = str(refusal["code"]), str(refusal["message"])
        except (ValueError, KeyError, TypeError) as error:
            raise _not_a_gateway(self._target.gateway_url) from error
        status = BAD_USE if answer.status_code in (404, 422) else 1
        raise RefusedError(code, f"the exchange refuses: {message}", self._fix(code), status)

    def _fix(self, code: str) -> str:
        """Return what the user can do after a refusal with this code."""
        if code in (Code.UNAUTHENTICATED, Code.FORBIDDEN):
            return (
                f"{self._target.admin_token} is not the token of this exchange: name another exchange with --data or "
                "--gateway"
            )
        if code in (Code.UNAVAILABLE, Code.OUTCOME_UNKNOWN):
            return "Try again in a few seconds, or read the exchange's logs"
        return "Correct the value that the message names; docs/refusals.md explains every code"

    def send_for_symbol(self, method: str, symbol: str, subpath: str, body: object = None) -> str:
        """Send a request about a security, and return its symbol as listed.

        `symbol` may be in capital or small letters. `subpath` follows the symbol in the path.

        Raises:
            CommandError: The request is refused, or the symbol is not listed.
        """
        try:
            self.send(method, f"/admin/securities/{quote(symbol)}{subpath}", body)
        except RefusedError as error:
            listed = self._listed_symbol(symbol) if error.code == Code.UNKNOWN_SYMBOL else symbol
            if listed == symbol:
                raise
            self.send(method, f"/admin/securities/{quote(listed)}{subpath}", body)
            return listed
        return symbol

    def _listed_symbol(self, symbol: str) -> str:
        """Return the listed symbol that differs from `symbol` only in capital and small letters.

        Raises:
            CommandError: There is no such symbol, or more than one.
        """
        symbols = [str(security["symbol"]) for security in listed_securities(self._target.securities_url)]
        same = [listed for listed in symbols if listed.lower() == symbol.lower()]
        if len(same) == 1:
            return same[0]
        if same:
            raise bad_use(
                f"{symbol!r} is ambiguous: {' and '.join(same)} are listed",
                "Write the capital and small letters of the symbol as listed",
            )
        similar = difflib.get_close_matches(symbol.upper(), symbols, 3)
        if similar:
            fix = f"Did you mean {' or '.join(similar)}?"
        else:
            fix = f"GET {self._target.gateway_url}/securities shows all listed securities"
        raise bad_use(f"{symbol!r} is not traded: it is not listed", fix)


def listed_securities(url: str) -> list[dict[str, Any]]:
    """Return all listed securities in the form of `GET /securities` at the base URL `url`.

    Raises:
        CommandError: There is no answer, or it is not an answer of a gateway.
    """
    found: list[dict[str, Any]] = []
    while True:
        params = {"limit": PAGE_SIZE, "after": found[-1]["symbol"] if found else ""}
        answer = _request("GET", f"{url}/securities", params=params)
        try:
            page = [{**security, "symbol": str(security["symbol"])} for security in answer.raise_for_status().json()]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise _not_a_gateway(url) from error
        found += page
        if len(page) < PAGE_SIZE:
            return found


def _request(method: str, url: str, **arguments: Any) -> httpx.Response:
    """Send a request over HTTP.

    Raises:
        CommandError: There is no answer, or the URL cannot be used.
    """
    try:
        return httpx.request(method, url, timeout=TIMEOUT_SECONDS, **arguments)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError) as error:
        raise CommandError(
            f"the gateway at {url[:200]} does not answer: {error or type(error).__name__}",
            "Start the exchange, or name its address with --gateway, for example http://127.0.0.1:8000",
            1 if isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol) else BAD_USE,
        ) from error


def _not_a_gateway(url: str) -> CommandError:
    """Return the error for an answer that no gateway sends."""
    return bad_use(
        f"{url[:200]} is not the gateway of an exchange: its answer has another format",
        "Name the gateway's address with --gateway",
    )


def _token(path: Path) -> str:
    """Return the admin's token.

    Raises:
        CommandError: The file cannot be read, or contains no token.
    """
    try:
        token = path.read_text().strip()
        reason = "" if re.fullmatch(r"[!-~]+", token) else "it contains no token"
    except (OSError, ValueError) as error:
        reason = ((error.strerror if isinstance(error, OSError) else None) or "it is not text").lower()
    if reason:
        raise bad_use(
            f"the admin token {str(path)[:300]} cannot be read: {reason}", "Name the exchange's data folder with --data"
        )
    return token
