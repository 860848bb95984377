"""The state of the exchange as data: markets, accounts, counters, timers and saved books."""

from heapq import heappush

from matching_engine.account import Account
from matching_engine.auction import NOTHING
from matching_engine.book import Order
from matching_engine.client_order_ids import ClientOrderIds
from matching_engine.market import SecurityMarket
from matching_engine.session import Session
from microexchange.commands import NewOrder
from microexchange.enums import TradingState
from microexchange.ids import MAX_GATEWAY, IdSequence
from microexchange.numbers import NS_PER_SECOND
from microexchange.session_commands import SessionState

Timer = tuple[int, str, int]
"""(time, client id, order id) for an order that expires, (time, symbol, 0) for a state that ends, or (time, "",
`SESSION_TIMER`) for the next event of a session."""
MAX_ENDED_TIMERS = 64
"""A heap with at most this many timers keeps those without effect. No record depends on them."""
HOUSE_CLOSED = "the accounts of the house do not trade in this round"
"""The text of the refusal."""
SESSION_TIMER = -1
"""The place of an order id in the timers of a session."""


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
        self.client_order_ids = ClientOrderIds()
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
        self.timers: list[Timer] = []
        """A heap. A timer without effect stays until it is at the top of the heap, or until `_sweep_timers` removes it."""
        self.expiring_orders = 0
        """The number of open orders that expire."""
        self.session: Session | None = None
        """The session that was planned last."""

    def new_id(self) -> int:
        """Return a new id for an order, a transfer, news or a tender that the engine makes itself."""
        ids = IdSequence(MAX_GATEWAY, self.last_command_ids.get(MAX_GATEWAY, 0))
        new = self.last_command_ids[MAX_GATEWAY] = ids.next(self.now)
        return new

    def add_order(self, order: Order) -> None:
        """Register an order that rests or waits: under its ids, and with the time at which it expires.

        A triggered order that rests is registered already.
        """
        account, entry = order.account, order.entry
        is_new = entry.command_id not in account.orders
        account.orders[entry.command_id] = order
        if entry.client_order_id:
            account.by_client_order_id[entry.client_order_id] = entry.command_id
        if entry.expire_at and is_new:
            self.expiring_orders += 1
            heappush(self.timers, (entry.expire_at, entry.client_id, entry.command_id))

    def drop_order(self, order: Order) -> None:
        """Remove an order that has ended or is placed again. Do nothing if it never rested or waited."""
        account, entry = order.account, order.entry
        if account.orders.pop(entry.command_id, None) is None:
            return
        if entry.client_order_id:
            del account.by_client_order_id[entry.client_order_id]
        if entry.expire_at:
            self.expiring_orders -= 1
            self._sweep_timers()

    def plan_end(self, market: SecurityMarket, ends_at: int) -> None:
        """Set the time at which the state of `market` ends by itself; 0 for never."""
        market.ends_at = ends_at
        if ends_at:
            heappush(self.timers, (ends_at, market.symbol, 0))
            self._sweep_timers()

    def has_effect(self, timer: Timer) -> bool:
        """Return whether the order of a timer is open, or its market or session still has an end or event at this time."""
        time, name, order_id = timer
        if order_id == SESSION_TIMER:
            return self.session is not None and self.session.next_due() == time
        return order_id in self.accounts[name].orders if order_id else self.markets[name].ends_at == time

    def _sweep_timers(self) -> None:
        """Drop the timers without effect if there are more than four for each open order that expires and each market.

        So memory grows with the open orders and not with the history.
        """
        timers = self.timers
        if len(timers) > MAX_ENDED_TIMERS and len(timers) > 4 * (self.expiring_orders + len(self.markets)):
            timers[:] = sorted({timer for timer in timers if self.has_effect(timer)})  # a sorted list is a heap

    def plan_session_timer(self) -> None:
        """Set the time of the session's next event, or of the end of its round, if a round is running."""
        due = self.session.next_due() if self.session is not None else 0
        if due:
            heappush(self.timers, (due, "", SESSION_TIMER))

    @property
    def house_may_trade(self) -> bool:
        """True if the accounts of the house may enter orders. The plan of a round decides."""
        session = self.session
        return session is None or session.state is SessionState.CLOSED or session.round.house_bots

    def keep_state(self, symbol: str, state: TradingState) -> None:
        """Set the state that a market gets after a pause. Do nothing outside of a pause."""
        session = self.session
        if session is not None and session.state is SessionState.PAUSED:
            session.states_before_pause[symbol] = state

    def set_state(self, market: SecurityMarket, state: TradingState) -> None:
        """Set the trading state of `market`. A volatility auction ends after the time of the listing."""
        market.state = state
        market.auction = NOTHING
        ends = state is TradingState.VOLATILITY_AUCTION
        self.plan_end(market, self.now + market.listing.auction_seconds * NS_PER_SECOND if ends else 0)
