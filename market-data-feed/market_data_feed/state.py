"""What the feed's loop and its interfaces share."""

from dataclasses import asdict, dataclass
from typing import Any

from psycopg_pool import AsyncConnectionPool

from market_data_feed.hub import Hub
from market_data_feed.market import Market


@dataclass(slots=True)
class FeedState:
    """The market as it is now, those who listen, and connections for questions about the past."""

    market: Market
    hub: Hub
    pool: AsyncConnectionPool
    """To `market_data`."""
    ledger: AsyncConnectionPool
    """To `clearing_data`, to read."""

    def totals(self) -> dict[str, Any]:
        """Counts since the market began."""
        return asdict(self.market.totals)
