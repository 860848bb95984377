"""`python -m trading_bots`: the house bots, which trade from the first second of a market."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import structlog
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from microexchange.auth import write_private
from microexchange.numbers import NotPlainError, whole_number
from microexchange.securities import MOST_TRADED_SYMBOLS
from microexchange.service import ConfigurationError, run_main
from microexchange.settings import PlainSettings, default_data_dir
from trading_bots.connections import AccountError
from trading_bots.house import HOUSE_SYMBOLS, HouseValues, Listed, borrowable_of, house_bots, prepare_bot, value_of
from trading_bots.runner import Funding, KeyFile, account, run_bots

LISTING_TIMEOUT_SECONDS = 10.0
"""The longest time to wait for the listing to be complete."""
SAVE_INTERVAL_SECONDS = 5.0
"""The interval at which the values are saved."""
TOP_UP_INTERVAL_SECONDS = 600.0
"""The interval at which the accounts of the house are checked."""
LOW_CASH_SHARE = Decimal("0.1")
"""An account with less than this part of its initial cash is topped up."""

_logger = structlog.get_logger(__name__)


class BotSettings(PlainSettings):
    """The settings of the house bots."""

    model_config = SettingsConfigDict(env_prefix="MX_", extra="ignore")

    gateway_url: str = Field(default="http://127.0.0.1:8000", description="Address of the gateway.")
    feed_url: str = Field(default="http://127.0.0.1:8001", description="Address of the market-data feed.")
    house_bots: int = Field(default=12, ge=0, le=500, description="Number of bots.")
    house_symbols: str = Field(
        default="",
        description="Securities that the house trades: a number for the most liquid ones, or a JSON list of symbols. "
        "Default: eight large stocks.",
    )
    data_dir: Path = Field(default_factory=default_data_dir, description="Folder of the bots' keys and values.")
    log_level: str = Field(default="info", description="debug, info, warning or error.")
    parent_pipe: bool = Field(default=False, description="Stop when standard input closes.")


def choose_symbols(setting: str, listed: Sequence[str]) -> list[str]:
    """Return the listed symbols that the house trades.

    Raises:
        ConfigurationError: The setting is not a number and not a JSON list of symbols.
    """
    ranked = sorted(
        listed,
        key=lambda symbol: MOST_TRADED_SYMBOLS.index(symbol) if symbol in MOST_TRADED_SYMBOLS else len(MOST_TRADED_SYMBOLS),
    )
    if not setting:
        return [symbol for symbol in HOUSE_SYMBOLS if symbol in listed] or ranked[: len(HOUSE_SYMBOLS)]
    with contextlib.suppress(NotPlainError):
        return ranked[: whole_number(setting)]
    try:
        symbols = json.loads(setting)
    except ValueError:
        symbols = None
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise ConfigurationError(f'MX_HOUSE_SYMBOLS must be a number or a JSON list such as ["AAPL"], not {setting!r}')
    return [symbol for symbol in symbols if symbol in listed]


class House:
    """The house bots on a live exchange: their accounts, values and connections."""

    def __init__(self, settings: BotSettings) -> None:
        self._settings = settings
        folder = settings.data_dir / "bots"
        self._keys, self._values_file = KeyFile(folder / "keys.json"), folder / "values.json"
        token = settings.data_dir / "secrets" / "admin-token"
        self._admin_token = token.read_text().strip() if token.exists() else ""
        self._admin = {"Authorization": f"Bearer {self._admin_token}"}

    async def run(self, stop: asyncio.Event) -> None:
        """Run the house bots until `stop` is set."""
        async with httpx.AsyncClient(timeout=30) as http:
            listed = await self._listed(http, stop)
            if not listed:
                return
            values = HouseValues(listed, time.time(), secrets.token_hex(8), self._saved_values())
            bots = house_bots(self._settings.house_bots, [security.symbol for security in listed], secrets.token_hex(8))
            funding = {}
            for name, bot in bots.items():
                borrowable = borrowable_of(name, listed)
                prepare_bot(bot, values, borrowable)
                value = value_of(borrowable, listed)
                funding[name] = Funding(cash=value, short_limit=value)
            tasks = [
                asyncio.create_task(self._save(values)),
                asyncio.create_task(self._keep_funded(http, funding)),
            ]
            try:
                await run_bots(
                    bots,
                    self._settings.gateway_url,
                    self._settings.feed_url,
                    self._keys,
                    stop,
                    self._admin_token,
                    funding if self._admin_token else None,
                )
            finally:
                for task in tasks:
                    task.cancel()
                self._write(values)

    async def _listed(self, http: httpx.AsyncClient, stop: asyncio.Event) -> list[Listed]:
        """Wait for the listing, and return the securities that the house trades. Empty if `stop` is set first."""
        deadline, before = None, -1
        while not stop.is_set():
            found = await self._securities(http)
            now = asyncio.get_running_loop().time()
            if found and deadline is None:
                deadline = now + LISTING_TIMEOUT_SECONDS
            by_symbol = {security["symbol"]: security for security in found}
            symbols = choose_symbols(self._settings.house_symbols, list(by_symbol))
            is_complete = not self._settings.house_symbols and set(HOUSE_SYMBOLS) <= by_symbol.keys()
            is_late = deadline is not None and now > deadline
            if symbols and (is_complete or is_late or (self._settings.house_symbols and len(found) == before)):
                return [_listed(by_symbol[symbol]) for symbol in symbols]
            before = len(found)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.5)
        return []

    async def _securities(self, http: httpx.AsyncClient) -> list[dict[str, Any]]:
        try:
            answer = await http.get(f"{self._settings.feed_url}/securities?limit=1000")
            return list(answer.json()) if answer.is_success else []
        except (httpx.HTTPError, ValueError):
            return []

    # --- values ---------------------------------------------------------------------------------------------

    def _saved_values(self) -> dict[str, float]:
        """Return the values at the end of the previous run. Empty on the first run, or if the file is damaged."""
        try:
            saved = json.loads(self._values_file.read_text())
            return {str(symbol): float(value) for symbol, value in saved.items() if float(value) > 0}
        except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError):
            return {}

    def _write(self, values: HouseValues) -> None:
        """Save the values. An error, for example a full disk, is logged and does not end the house."""
        try:
            self._values_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(self._values_file, json.dumps(self._saved_values() | values.now()))
        except OSError as error:
            _logger.warning("values of the house not saved", file=str(self._values_file), cause=str(error))

    async def _save(self, values: HouseValues) -> None:
        while True:
            await asyncio.sleep(SAVE_INTERVAL_SECONDS)
            self._write(values)

    # --- accounts -------------------------------------------------------------------------------------------

    async def _keep_funded(self, http: httpx.AsyncClient, funding: Mapping[str, Funding]) -> None:
        """Top up accounts at regular intervals."""
        while True:
            await asyncio.sleep(TOP_UP_INTERVAL_SECONDS)
            for name, initial in funding.items():
                with contextlib.suppress(httpx.HTTPError, ValueError, KeyError, AccountError):
                    await self._top_up(http, name, initial)

    async def _top_up(self, http: httpx.AsyncClient, name: str, initial: Funding) -> None:
        """Deposit cash if an account has less than `LOW_CASH_SHARE` of its initial cash."""
        if not self._admin_token:
            return
        settings = self._settings
        client_id, key = await account(http, settings.gateway_url, name, self._keys, self._admin_token, initial)
        own = {"Authorization": f"Bearer {key}"}
        balance = (await http.get(f"{settings.feed_url}/balance/{client_id}", headers=own)).raise_for_status().json()
        cash = Decimal(balance["cash"])
        if cash >= LOW_CASH_SHARE * initial.cash:
            return
        deposit = {"cash": f"{initial.cash - cash:f}", "memo": "funding of the house"}
        url = f"{settings.gateway_url}/admin/clients/{client_id}/deposits"
        (await http.post(url, json=deposit, headers=self._admin)).raise_for_status()
        _logger.info("house account topped up", bot=name, cash=deposit["cash"])


def _listed(security: Mapping[str, Any]) -> Listed:
    return Listed(
        security["symbol"],
        Decimal(security["reference_price"]),
        Decimal(security["tick_size"]),
        Decimal(security["lot_size"]),
    )


def main() -> None:
    """Run the house bots until SIGTERM."""
    settings = BotSettings()
    run_main("trading-bots", settings.log_level, settings.parent_pipe, House(settings).run)


if __name__ == "__main__":
    main()
