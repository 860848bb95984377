"""The state that the feed's loop and its interfaces share."""

from dataclasses import asdict, dataclass
from typing import Any

from psycopg_pool import AsyncConnectionPool

from market_data_feed.hub import Hub
from market_data_feed.market import MarketData
from market_data_feed.operations import Operations


@dataclass(slots=True)
class FeedState:
    """The market data, the subscribers, and connections for queries of the history."""

    market: MarketData
    hub: Hub
    pool: AsyncConnectionPool
    """To `market_data`."""
    ledger: AsyncConnectionPool
    """To `clearing_data`, read-only."""
    operations: Operations
    """Rates, latencies and the state of all services."""

    def totals(self) -> dict[str, Any]:
        """Return the counts since the market began."""
        return asdict(self.market.totals)
