"""The state of the exchange as data: markets, accounts, counters, timers and saved books."""

from heapq import heappush

from matching_engine.account import Account
from matching_engine.auction import NOTHING
from matching_engine.book import Order
from matching_engine.market import SecurityMarket
from microexchange.commands import NewOrder
from microexchange.enums import TradingState

NANOSECONDS = 1_000_000_000


class Exchange:
    """All that commands change."""

    def __init__(self) -> None:
        self.markets: dict[str, SecurityMarket] = {}
        """By symbol."""
        self.accounts: dict[str, Account] = {}
        """By client id."""
        self.last_command_ids: dict[int, int] = {}
        """The highest command id so far, by gateway number."""
        self.gateway_tokens: dict[str, int] = {}
        """The fencing token of each gateway's last logon, by producer name."""
        self.next_trade_id = 1
        self.next_arrival = 1
        self.issued_cash = 0
        """Cash units that all accounts together were given."""
        self.granted_credit = 0
        """Cash units that all clients together may owe."""
        self.now = 0
        """The latest time stamp of a command, in nanoseconds."""
        self.saved_books: dict[tuple[str, str], list[NewOrder]] = {}
        """The orders of each saved book in priority, by symbol and name."""
        self.timers: list[tuple[int, str, int]] = []
        """A heap of (time, client id, order id) for orders that expire and (time, symbol, 0) for states that end. An entry
        stays when its order or state ends early. It has no effect then."""

    def add_order(self, order: Order) -> None:
        """Register an order that rests or waits: under its ids, and with the time at which it expires."""
        account, entry = order.account, order.entry
        account.orders[entry.command_id] = order
        if entry.client_order_id:
            account.by_client_order_id[entry.client_order_id] = entry.command_id
        if entry.expire_at:
            heappush(self.timers, (entry.expire_at, entry.client_id, entry.command_id))

    def plan_end(self, market: SecurityMarket, ends_at: int) -> None:
        """Set the time at which the state of `market` ends by itself; 0 for never."""
        market.ends_at = ends_at
        if ends_at:
            heappush(self.timers, (ends_at, market.symbol, 0))

    def set_state(self, market: SecurityMarket, state: TradingState) -> None:
        """Set the trading state of `market`. A volatility auction ends after the time of the listing."""
        market.state = state
        market.auction = NOTHING
        ends = state is TradingState.VOLATILITY_AUCTION
        self.plan_end(market, self.now + market.listing.auction_seconds * NANOSECONDS if ends else 0)
