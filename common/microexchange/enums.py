"""The enumerations of orders, securities and reports, with the FIX tags that they stand for."""

from enum import StrEnum


class Side(StrEnum):
    """Side of an order (FIX tag 54)."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """Type of an order (FIX tag 40). What each asks for and allows is in `enum_terms.ORDER_TYPES`."""

    LIMIT = "limit"
    MARKET = "market"
    STOP_MARKET = "stop_market"
    """Becomes a market order when the last price has moved against it as far as its trigger."""
    STOP_LIMIT = "stop_limit"
    TAKE_PROFIT = "take_profit"
    """Becomes a market order when the last price has moved in its favour as far as its trigger."""
    TAKE_PROFIT_LIMIT = "take_profit_limit"


class TimeInForce(StrEnum):
    """How long an order lives (FIX tag 59)."""

    GTC = "gtc"
    """Until it is cancelled."""
    DAY = "day"
    """Until the session ends: until its security is closed."""
    GTD = "gtd"
    """Until a time."""
    IOC = "ioc"
    """What does not trade at once is cancelled."""
    FOK = "fok"
    """All of it trades at once, or none."""


class SelfTradePrevention(StrEnum):
    """What happens where a client's order would trade with its own."""

    CANCEL_NEWEST = "cancel_newest"
    CANCEL_OLDEST = "cancel_oldest"
    CANCEL_BOTH = "cancel_both"
    DECREMENT = "decrement"
    """Both lose the smaller one's quantity, without a trade."""
    NONE = "none"
    """They trade."""


class PricingRule(StrEnum):
    """At what price two orders trade."""

    RESTING = "resting"
    """At the resting order's price."""
    MIDPOINT = "midpoint"
    """At the mean of both limits, rounded half-even to the tick."""
    SPREAD_CAPTURE = "spread_capture"
    """Each side at its own limit; the exchange keeps the difference."""


class TradingState(StrEnum):
    """What a security's market does (FIX tag 340)."""

    PRE_OPEN = "pre_open"
    """Collects orders."""
    OPENING_AUCTION = "opening_auction"
    """Collects orders, and ends in an uncrossing."""
    CONTINUOUS = "continuous"
    HALTED = "halted"
    """Takes cancels alone."""
    VOLATILITY_AUCTION = "volatility_auction"
    """The pause after a trade would have left the price band: an auction that ends by itself."""
    CLOSING_AUCTION = "closing_auction"
    """Collects orders, and ends in an uncrossing."""
    CLOSED = "closed"
    """Takes cancels alone; day orders have expired."""
    DELISTED = "delisted"
    """It is over: all orders were cancelled, and no other state follows. Holdings stay."""


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
        """Whether an order in this state can never change again."""
        return _IS_FINAL[self]


_IS_FINAL = {  # every status: one that is missing is a KeyError, and a test names it
    OrderStatus.PENDING_NEW: False,
    OrderStatus.NEW: False,
    OrderStatus.PARTIALLY_FILLED: False,
    OrderStatus.FILLED: True,
    OrderStatus.CANCELED: True,
    OrderStatus.REJECTED: True,
    OrderStatus.EXPIRED: True,
}


class ExecType(StrEnum):
    """What an order report tells (FIX tag 150)."""

    PENDING_NEW = "PENDING_NEW"
    NEW = "NEW"
    TRADE = "TRADE"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    REPLACED = "REPLACED"
    EXPIRED = "EXPIRED"
    TRIGGERED = "TRIGGERED"
    """A stop or take-profit order has become active."""
    RESTATED = "RESTATED"
    """Its quantity changed without a trade: self-trade prevention took some."""


class Liquidity(StrEnum):
    """Whether a fill added liquidity or removed it (FIX tag 851)."""

    NONE = ""
    MAKER = "maker"
    TAKER = "taker"


class SettlementStatus(StrEnum):
    """Outcome of a settlement."""

    SETTLED = "SETTLED"
    REJECTED = "REJECTED"
