"""What each value of an enum means to the exchange: one table for each enum, one row for each value.

Whoever needs a set of values makes it from the rows, and never by a list of its own or by taking some away from all: a new
value without a row fails when this module is imported, and a new row is everywhere at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TypeVar

from microexchange.enums import OrderType, SelfTradePrevention, Side, TimeInForce, TradingState
from microexchange.refusals import Code

K = TypeVar("K", bound=Enum)
R = TypeVar("R")


def complete(kind: type[K], rows: Mapping[K, R]) -> Mapping[K, R]:
    """The rows. Raises `LookupError` where a value of `kind` has none."""
    missing = [value.name for value in kind if value not in rows]
    if missing:
        raise LookupError(f"microexchange.kinds: {kind.__name__} has values without a row: {', '.join(missing)}")
    return rows


# --- times in force -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Life:
    """What a time in force means for an order."""

    rests: bool = True
    """Whether what does not trade at once may stay; otherwise it is cancelled."""
    is_whole: bool = False
    """Whether all of it must trade at once."""
    has_end: bool = False
    """Whether the order carries the time at which it expires."""
    is_session: bool = False
    """Whether it ends when its security is closed."""


TIMES_IN_FORCE = complete(
    TimeInForce,
    {
        TimeInForce.GTC: Life(),
        TimeInForce.DAY: Life(is_session=True),
        TimeInForce.GTD: Life(has_end=True),
        TimeInForce.IOC: Life(rests=False),
        TimeInForce.FOK: Life(rests=False, is_whole=True),
    },
)
AT_ONCE = frozenset(life for life, row in TIMES_IN_FORCE.items() if not row.rests)
"""Times in force of which nothing ever rests."""
WHOLE = frozenset(life for life, row in TIMES_IN_FORCE.items() if row.is_whole)
"""Times in force under which an order trades whole or not at all."""


# --- order types --------------------------------------------------------------------------------------------


class Trigger(StrEnum):
    """What an order waits for: that the last price comes to its trigger price, and from where."""

    STOP = "stop"
    """The price moves against the order: up for a buy, down for a sell."""
    TAKE_PROFIT = "take_profit"
    """The price moves in the order's favour: down for a buy, up for a sell."""

    def rises(self, side: Side) -> bool:
        """Whether the trigger of an order of `side` is touched from below."""
        return RISES[self, side]


RISES = {
    (Trigger.STOP, Side.BUY): True,
    (Trigger.STOP, Side.SELL): False,
    (Trigger.TAKE_PROFIT, Side.BUY): False,
    (Trigger.TAKE_PROFIT, Side.SELL): True,
}
"""Whether a trigger is touched from below, by trigger and side."""


@dataclass(frozen=True, slots=True)
class OrderKind:
    """What an order type asks for and allows."""

    has_price: bool
    """Whether it has a limit."""
    trigger: Trigger | None
    """What it waits for; None for one that enters at once."""
    becomes: OrderType
    """The type as which it enters, once its trigger is touched: its own for one without."""
    times_in_force: frozenset[TimeInForce]
    """The times in force that it may have."""
    post_only: bool
    """Whether it may be `post_only`."""
    display: bool
    """Whether it may show a part of itself."""


_ANY_TIME_IN_FORCE = frozenset(TIMES_IN_FORCE)
_NOT_WHOLE = frozenset(life for life, row in TIMES_IN_FORCE.items() if not row.is_whole)
_STOP, _TAKE = Trigger.STOP, Trigger.TAKE_PROFIT
_L, _M = OrderType.LIMIT, OrderType.MARKET

# What waits for a trigger cannot trade whole at once, and cannot know today whether it will take on entry.
ORDER_KINDS = complete(
    OrderType,
    {
        OrderType.LIMIT: OrderKind(True, None, _L, _ANY_TIME_IN_FORCE, post_only=True, display=True),
        OrderType.MARKET: OrderKind(False, None, _M, _ANY_TIME_IN_FORCE, post_only=False, display=False),
        OrderType.STOP_MARKET: OrderKind(False, _STOP, _M, _NOT_WHOLE, post_only=False, display=False),
        OrderType.STOP_LIMIT: OrderKind(True, _STOP, _L, _NOT_WHOLE, post_only=False, display=True),
        OrderType.TAKE_PROFIT: OrderKind(False, _TAKE, _M, _NOT_WHOLE, post_only=False, display=False),
        OrderType.TAKE_PROFIT_LIMIT: OrderKind(True, _TAKE, _L, _NOT_WHOLE, post_only=False, display=True),
    },
)
WITH_PRICE = frozenset(kind for kind, row in ORDER_KINDS.items() if row.has_price)
"""Order types that have a limit."""
WITH_TRIGGER = frozenset(kind for kind, row in ORDER_KINDS.items() if row.trigger is not None)
"""Order types that wait for the last price to come to their trigger."""


def order_type_of(has_price: bool, trigger: Trigger | None = None) -> OrderType:
    """The first order type of the table with or without a limit, and with that trigger."""
    return next(kind for kind, row in ORDER_KINDS.items() if (row.has_price, row.trigger) == (has_price, trigger))


# --- self-trade prevention ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prevention:
    """What happens where an entering order would trade with one of its own client."""

    trades: bool = False
    """They trade: nothing is prevented."""
    decrements: bool = False
    """Both lose the smaller one's quantity."""
    cancels_resting: bool = False
    cancels_entering: bool = False


PREVENTIONS = complete(
    SelfTradePrevention,
    {
        SelfTradePrevention.CANCEL_NEWEST: Prevention(cancels_entering=True),
        SelfTradePrevention.CANCEL_OLDEST: Prevention(cancels_resting=True),
        SelfTradePrevention.CANCEL_BOTH: Prevention(cancels_resting=True, cancels_entering=True),
        SelfTradePrevention.DECREMENT: Prevention(decrements=True),
        SelfTradePrevention.NONE: Prevention(trades=True),
    },
)
SELF_TRADING = frozenset(policy for policy, row in PREVENTIONS.items() if row.trades)
"""Policies under which a client trades with itself."""
PASSING = frozenset(policy for policy, row in PREVENTIONS.items() if row.cancels_resting and not row.cancels_entering)
"""Policies under which an entering order goes on past its client's own orders, as if they were not there."""


# --- trading states -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateKind:
    """What a market does in a trading state."""

    collects: bool = False
    """Whether orders come to rest without trading."""
    refusal: tuple[Code, str] | None = None
    """Why no order can enter or change, with `{symbol}` in the text; None where orders can."""
    can_begin: bool = True
    """Whether a security may be listed in it."""


STATES = complete(
    TradingState,
    {
        TradingState.PRE_OPEN: StateKind(collects=True),
        TradingState.OPENING_AUCTION: StateKind(collects=True),
        TradingState.CONTINUOUS: StateKind(),
        TradingState.HALTED: StateKind(refusal=(Code.MARKET_HALTED, "{symbol} is halted")),
        TradingState.VOLATILITY_AUCTION: StateKind(collects=True, can_begin=False),
        TradingState.CLOSING_AUCTION: StateKind(collects=True),
        TradingState.CLOSED: StateKind(refusal=(Code.MARKET_CLOSED, "{symbol} is closed")),
        TradingState.DELISTED: StateKind(refusal=(Code.DELISTED, "{symbol} is listed no more"), can_begin=False),
    },
)
COLLECTING = frozenset(state for state, row in STATES.items() if row.collects)
"""States in which orders come to rest without trading."""
