"""What only the admin may do, asked of an exchange that runs."""

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

TIMEOUT = 30
MAX_LISTED = 1000
"""Securities on a page of `GET /securities`, at most."""


def check_symbol(symbol: str) -> None:
    """Raises `CommandError` unless a security can have this symbol."""
    if not SYMBOL.fullmatch(symbol):
        raise bad_use(
            f"{symbol[:32]!r} is no symbol: a symbol is 1 to 16 of A-Z a-z 0-9 . -", "Name a listed security, like AAPL"
        )


class RefusedError(CommandError):
    """The exchange refuses. `code` is one of docs/refusals.md."""

    def __init__(self, code: str, problem: str, fix: str, status: int) -> None:
        super().__init__(problem, fix, status)
        self.code = code


class Admin:
    """Asks one exchange as its admin."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._headers = {"Authorization": f"Bearer {_token(target.admin_token)}"}

    def ask(self, method: str, path: str, body: object = None) -> None:
        """Sends a request. Raises `RefusedError` where it is refused, and `CommandError` if there is no answer."""
        answer = _request(method, f"{self._target.gateway_url}{path}", json=body, headers=self._headers)
        if answer.is_success:
            return
        try:
            refused = answer.json()["error"]
            code, message = str(refused["code"]), str(refused["message"])
        except (ValueError, KeyError, TypeError) as error:
            raise _no_exchange(self._target.gateway_url) from error
        status = BAD_USE if answer.status_code in (404, 422) else 1
        raise RefusedError(code, f"the exchange refuses: {message}", self._fix(code), status)

    def _fix(self, code: str) -> str:
        if code in (Code.UNAUTHENTICATED, Code.FORBIDDEN):
            return f"{self._target.admin_token} is not the token of this exchange: name another with --data or --gateway"
        if code in (Code.UNAVAILABLE, Code.OUTCOME_UNKNOWN):
            return "Try again shortly, or read the exchange's logs"
        return "Correct what it names; docs/refusals.md has every code"

    def ask_about(self, method: str, symbol: str, rest: str, body: object = None) -> str:
        """Sends a request about a security, whose symbol may be written in any case; the symbol as it is listed."""
        try:
            self.ask(method, f"/admin/securities/{quote(symbol)}{rest}", body)
        except RefusedError as error:
            listed = self._listed_as(symbol) if error.code == Code.UNKNOWN_SYMBOL else symbol
            if listed == symbol:
                raise
            self.ask(method, f"/admin/securities/{quote(listed)}{rest}", body)
            return listed
        return symbol

    def _listed_as(self, symbol: str) -> str:
        """The listed symbol that is this one but for the case of its letters. Raises `CommandError` unless there is one."""
        symbols = [str(one["symbol"]) for one in listed_securities(self._target.securities_url)]
        same = [one for one in symbols if one.lower() == symbol.lower()]
        if len(same) == 1:
            return same[0]
        if same:
            raise bad_use(f"{symbol!r} is not clear: {' and '.join(same)} are listed", "Write the symbol as it is listed")
        near = difflib.get_close_matches(symbol.upper(), symbols, 3)
        fix = f"Did you mean {' or '.join(near)}?" if near else f"GET {self._target.gateway_url}/securities lists what is"
        raise bad_use(f"{symbol!r} is not traded: it is not listed", fix)


def listed_securities(url: str) -> list[dict[str, Any]]:
    """All listed securities, as `GET /securities` at that address shows them. Raises `CommandError`."""
    found: list[dict[str, Any]] = []
    while True:
        params = {"limit": MAX_LISTED, "after": found[-1]["symbol"] if found else ""}
        answer = _request("GET", f"{url}/securities", params=params)
        try:
            page = [{**one, "symbol": str(one["symbol"])} for one in answer.raise_for_status().json()]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise _no_exchange(url) from error
        found += page
        if len(page) < MAX_LISTED:
            return found


def _request(method: str, url: str, **arguments: Any) -> httpx.Response:
    try:
        return httpx.request(method, url, timeout=TIMEOUT, **arguments)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError) as error:
        raise CommandError(
            f"the gateway at {url[:200]} cannot be asked: {error or type(error).__name__}",
            "Start the exchange, or name its address with --gateway, like http://127.0.0.1:8000",
            1 if isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol) else BAD_USE,
        ) from error


def _no_exchange(url: str) -> CommandError:
    return bad_use(
        f"{url[:200]} is no gateway of an exchange: its answer is not in the form of one",
        "Name the gateway's address with --gateway",
    )


def _token(path: Path) -> str:
    """The admin's token. Raises `CommandError`."""
    try:
        token = path.read_text().strip()
        reason = "" if re.fullmatch(r"[!-~]+", token) else "it is no token"
    except (OSError, ValueError) as error:
        reason = ((error.strerror if isinstance(error, OSError) else None) or "it is no text").lower()
    if reason:
        raise bad_use(
            f"the admin token {str(path)[:300]} cannot be read: {reason}", "Name the exchange's data folder with --data"
        )
    return token
