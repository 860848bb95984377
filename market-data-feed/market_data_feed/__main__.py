"""`python -m market_data_feed`: the market-data feed as a process."""

from market_data_feed.service import FeedService, FeedSettings
from microexchange.service import run_service


def main() -> None:
    """Run the market-data feed until the process receives a signal to stop."""
    run_service("market-data-feed", FeedSettings, FeedService)


if __name__ == "__main__":
    main()
