"""`python -m market_data_feed`: the market-data feed as a process."""

import asyncio

from market_data_feed.service import FeedService, FeedSettings
from microexchange.service import run_service


def main() -> None:
    """Runs the market-data feed until it is told to stop."""
    settings = FeedSettings()

    async def run(stop: asyncio.Event) -> None:
        await FeedService(settings).run(stop)

    run_service("market-data-feed", settings, run)


if __name__ == "__main__":
    main()
