"""What the feed's loop and its interfaces share."""

from dataclasses import asdict, dataclass
from typing import Any

from psycopg_pool import AsyncConnectionPool

from market_data_feed.hub import Hub
from market_data_feed.market import Market
from market_data_feed.operations import Operations


@dataclass(slots=True)
class FeedState:
    """The market as it is now, those who listen, and connections for questions about the past."""

    market: Market
    hub: Hub
    pool: AsyncConnectionPool
    """To `market_data`."""
    ledger: AsyncConnectionPool
    """To `clearing_data`, to read."""
    operations: Operations
    """How all services do."""

    def totals(self) -> dict[str, Any]:
        """Counts since the market began."""
        return asdict(self.market.totals)
