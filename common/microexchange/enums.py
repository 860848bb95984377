"""The enumerations of orders, securities and reports, with their FIX tags. `enum_terms` has the terms of each value."""

from enum import StrEnum


class Side(StrEnum):
    """Side of an order (FIX tag 54)."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """Type of an order (FIX tag 40). `enum_terms.ORDER_TYPES` has the terms of each."""

    LIMIT = "limit"
    MARKET = "market"
    STOP_MARKET = "stop_market"
    """Becomes a market order when the last price reaches its trigger: rises to it for a buy, falls to it for a sell."""
    STOP_LIMIT = "stop_limit"
    TAKE_PROFIT = "take_profit"
    """Becomes a market order when the last price reaches its trigger: falls to it for a buy, rises to it for a sell."""
    TAKE_PROFIT_LIMIT = "take_profit_limit"


class TimeInForce(StrEnum):
    """The time for which an order stays open (FIX tag 59)."""

    GTC = "gtc"
    """Until it is cancelled."""
    DAY = "day"
    """Until the trading state of its security is `closed`."""
    GTD = "gtd"
    """Until its `expire_at`."""
    IOC = "ioc"
    """It trades on entry, and the rest of it is cancelled."""
    FOK = "fok"
    """The whole order trades on entry, or nothing of it."""


class SelfTradePrevention(StrEnum):
    """The rule for two orders of one client that would trade with each other (FIX tag 2964)."""

    CANCEL_NEWEST = "cancel_newest"
    CANCEL_OLDEST = "cancel_oldest"
    CANCEL_BOTH = "cancel_both"
    DECREMENT = "decrement"
    """The quantity of the smaller order is taken from both, without a trade."""
    NONE = "none"
    """The orders trade."""


class PricingRule(StrEnum):
    """The price at which two orders trade."""

    RESTING = "resting"
    """The price of the resting order."""
    MIDPOINT = "midpoint"
    """The mean of both limits, rounded half-even to the tick."""
    SPREAD_CAPTURE = "spread_capture"
    """Each side trades at its own limit. The difference is income of the exchange."""


class TradingState(StrEnum):
    """The state of the market of a security (FIX tag 340)."""

    PRE_OPEN = "pre_open"
    """Collects orders without trading."""
    OPENING_AUCTION = "opening_auction"
    """Collects orders, and ends in an uncrossing."""
    CONTINUOUS = "continuous"
    HALTED = "halted"
    """Orders can be cancelled, and not entered or amended."""
    VOLATILITY_AUCTION = "volatility_auction"
    """An auction that starts if a trade would be outside the price band, and ends by itself."""
    CLOSING_AUCTION = "closing_auction"
    """Collects orders, and ends in an uncrossing."""
    CLOSED = "closed"
    """Orders can be cancelled, and not entered or amended. `day` orders have expired."""
    DELISTED = "delisted"
    """All orders were cancelled, and no other state follows. Clients still have their holdings."""


class OrderStatus(StrEnum):
    """State of an order (FIX tag 39)."""

    PENDING_NEW = "PENDING_NEW"
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"

    @property
    def is_final(self) -> bool:
        """Return whether an order in this state can no longer change."""
        return _IS_FINAL[self]


_IS_FINAL = {
    OrderStatus.PENDING_NEW: False,
    OrderStatus.NEW: False,
    OrderStatus.PARTIALLY_FILLED: False,
    OrderStatus.FILLED: True,
    OrderStatus.CANCELED: True,
    OrderStatus.REJECTED: True,
    OrderStatus.EXPIRED: True,
}


class ExecType(StrEnum):
    """The reason for an order report (FIX tag 150)."""

    PENDING_NEW = "PENDING_NEW"
    NEW = "NEW"
    TRADE = "TRADE"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    REPLACED = "REPLACED"
    EXPIRED = "EXPIRED"
    TRIGGERED = "TRIGGERED"
    """A stop or take-profit order became active."""
    RESTATED = "RESTATED"
    """Self-trade prevention reduced the quantity of the order."""


class Liquidity(StrEnum):
    """Whether an order was the maker or the taker of a fill (FIX tag 851). Empty in other reports."""

    NONE = ""
    MAKER = "maker"
    TAKER = "taker"


class Seat(StrEnum):
    """The state of a participant's seat in a classroom."""

    INVITED = "invited"
    """The next person that joins under this nickname gets the seat."""
    JOINED = "joined"
    REMOVED = "removed"


class SettlementStatus(StrEnum):
    """Outcome of a settlement."""

    SETTLED = "SETTLED"
    REJECTED = "REJECTED"
