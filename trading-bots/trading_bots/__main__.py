"""`python -m trading_bots`: the house bots, which make a market from the first second."""

import asyncio
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from microexchange.service import run_main
from microexchange.settings import default_data_dir
from trading_bots.bot import Bot
from trading_bots.runner import KeyFile, run_bots
from trading_bots.strategies import MarketMaker, Momentum, NoiseTrader


class BotSettings(BaseSettings):
    """What the house bots are told."""

    model_config = SettingsConfigDict(env_prefix="MX_", extra="ignore")

    gateway_url: str = Field(default="http://127.0.0.1:8000", description="Address of the gateway.")
    feed_url: str = Field(default="http://127.0.0.1:8001", description="Address of the market-data feed.")
    house_bots: int = Field(default=12, ge=0, le=500, description="How many bots.")
    data_dir: Path = Field(default_factory=default_data_dir, description="Folder in which the bots' keys are kept.")
    log_level: str = Field(default="info", description="debug, info, warning or error.")
    parent_pipe: bool = Field(default=False, description="Stop when standard input closes.")


HOUSE_SYMBOLS = ("AAPL", "AMZN", "GOOG", "INTC", "META", "MSFT", "NVDA", "TSLA")
"""What the house bots trade; where none of it is listed, the first eight that are."""


def house_bots(count: int) -> dict[str, Bot]:
    """`count` bots by name: of every three one makes a market, one trades at random, one follows the trend."""
    bots: dict[str, Bot] = {}
    kinds = (MarketMaker, NoiseTrader, Momentum)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        bot = kind(seed=number)
        bot.symbols = HOUSE_SYMBOLS
        bots[f"{kind.__name__}-{number // len(kinds) + 1}"] = bot
    return bots


def main() -> None:
    """Runs the house bots until told to stop."""
    settings = BotSettings()

    async def run(stop: asyncio.Event) -> None:
        keys = KeyFile(settings.data_dir / "bots" / "keys.json")
        token = settings.data_dir / "secrets" / "admin-token"
        admin = token.read_text().strip() if token.exists() else ""
        await run_bots(house_bots(settings.house_bots), settings.gateway_url, settings.feed_url, keys, stop, admin)

    run_main("trading-bots", settings.log_level, settings.parent_pipe, run)


if __name__ == "__main__":
    main()
