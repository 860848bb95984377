"""The terms of each value of an enum: one table for each enum, one row for each value.

Make a set of values from the rows. Do not list values elsewhere. A new value without a row fails when this module is
imported, and a new row takes effect everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TypeVar

from microexchange.enums import OrderType, SelfTradePrevention, Side, TimeInForce, TradingState
from microexchange.refusals import Code

K = TypeVar("K", bound=Enum)
R = TypeVar("R")


def complete(enum: type[K], rows: Mapping[K, R]) -> Mapping[K, R]:
    """Return the rows.

    Raises:
        LookupError: A value of `enum` has no row.
    """
    missing = [value.name for value in enum if value not in rows]
    if missing:
        raise LookupError(f"microexchange.enum_terms: {enum.__name__} has values without a row: {', '.join(missing)}")
    return rows


# --- times in force -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TimeInForceTerms:
    """The terms of an order with a time in force."""

    rests: bool = True
    """Whether the quantity that does not trade on entry may rest. Otherwise it is cancelled."""
    is_whole: bool = False
    """Whether the whole quantity must trade on entry."""
    has_end: bool = False
    """Whether the order carries the time at which it expires."""
    is_session: bool = False
    """Whether the order expires when its security is closed."""


TIMES_IN_FORCE = complete(
    TimeInForce,
    {
        TimeInForce.GTC: TimeInForceTerms(),
        TimeInForce.DAY: TimeInForceTerms(is_session=True),
        TimeInForce.GTD: TimeInForceTerms(has_end=True),
        TimeInForce.IOC: TimeInForceTerms(rests=False),
        TimeInForce.FOK: TimeInForceTerms(rests=False, is_whole=True),
    },
)
AT_ONCE = frozenset(time_in_force for time_in_force, terms in TIMES_IN_FORCE.items() if not terms.rests)
"""The times in force of orders that never rest."""
WHOLE = frozenset(time_in_force for time_in_force, terms in TIMES_IN_FORCE.items() if terms.is_whole)
"""The times in force of orders that trade whole or not at all."""


# --- order types --------------------------------------------------------------------------------------------


class Trigger(StrEnum):
    """The direction in which the last price must reach an order's trigger price."""

    STOP = "stop"
    """The price moves against the order: up for a buy, down for a sell."""
    TAKE_PROFIT = "take_profit"
    """The price moves in the order's favour: down for a buy, up for a sell."""

    def rises(self, side: Side) -> bool:
        """Return whether the price must rise to trigger an order of `side`."""
        return RISES[self, side]


RISES = {
    (Trigger.STOP, Side.BUY): True,
    (Trigger.STOP, Side.SELL): False,
    (Trigger.TAKE_PROFIT, Side.BUY): False,
    (Trigger.TAKE_PROFIT, Side.SELL): True,
}
"""Whether the price must rise to trigger an order, by trigger and side."""


@dataclass(frozen=True, slots=True)
class OrderTypeTerms:
    """The fields that an order type needs and allows."""

    has_price: bool
    """Whether it has a limit."""
    trigger: Trigger | None
    """Its trigger. None if it enters at once."""
    becomes: OrderType
    """The order type that it becomes when it is triggered. Its own type if it has no trigger."""
    times_in_force: frozenset[TimeInForce]
    """The times in force that it can have."""
    post_only: bool
    """Whether it can be `post_only`."""
    display: bool
    """Whether it can have a display quantity."""


_ANY_TIME_IN_FORCE = frozenset(TIMES_IN_FORCE)
_STOP, _TAKE = Trigger.STOP, Trigger.TAKE_PROFIT
_L, _M = OrderType.LIMIT, OrderType.MARKET

# An order that waits for a trigger cannot trade whole on entry, and cannot be checked for `post_only` in advance.
_NOT_WHOLE = _ANY_TIME_IN_FORCE - WHOLE

ORDER_TYPES = complete(
    OrderType,
    {
        OrderType.LIMIT: OrderTypeTerms(True, None, _L, _ANY_TIME_IN_FORCE, post_only=True, display=True),
        OrderType.MARKET: OrderTypeTerms(False, None, _M, _ANY_TIME_IN_FORCE, post_only=False, display=False),
        OrderType.STOP_MARKET: OrderTypeTerms(False, _STOP, _M, _NOT_WHOLE, post_only=False, display=False),
        OrderType.STOP_LIMIT: OrderTypeTerms(True, _STOP, _L, _NOT_WHOLE, post_only=False, display=True),
        OrderType.TAKE_PROFIT: OrderTypeTerms(False, _TAKE, _M, _NOT_WHOLE, post_only=False, display=False),
        OrderType.TAKE_PROFIT_LIMIT: OrderTypeTerms(True, _TAKE, _L, _NOT_WHOLE, post_only=False, display=True),
    },
)
WITH_PRICE = frozenset(order_type for order_type, terms in ORDER_TYPES.items() if terms.has_price)
"""The order types that have a limit."""
WITH_TRIGGER = frozenset(order_type for order_type, terms in ORDER_TYPES.items() if terms.trigger is not None)
"""The order types that have a trigger price."""


def order_type_of(has_price: bool, trigger: Trigger | None = None) -> OrderType:
    """Return the first order type of the table with that trigger, with or without a limit."""
    wanted = has_price, trigger
    return next(order_type for order_type, terms in ORDER_TYPES.items() if (terms.has_price, terms.trigger) == wanted)


# --- self-trade prevention ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prevention:
    """The effect of a prevention on an entering order and a resting order of the same client."""

    trades: bool = False
    """The orders trade: nothing is prevented."""
    decrements: bool = False
    """Both orders lose the smaller quantity of the two."""
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
SELF_TRADING = frozenset(prevention for prevention, effect in PREVENTIONS.items() if effect.trades)
"""The preventions under which a client trades with itself."""
PASSING = frozenset(
    prevention for prevention, effect in PREVENTIONS.items() if effect.cancels_resting and not effect.cancels_entering
)
"""The preventions under which an entering order cancels its client's own orders and then continues."""


# --- trading states -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TradingStateTerms:
    """The effect of a trading state on orders."""

    collects: bool = False
    """Whether orders rest without trading."""
    refusal: tuple[Code, str] | None = None
    """Why no order can enter or change, with `{symbol}` in the text. None if orders can."""
    can_begin: bool = True
    """Whether a security can be listed in this state."""


STATES = complete(
    TradingState,
    {
        TradingState.PRE_OPEN: TradingStateTerms(collects=True),
        TradingState.OPENING_AUCTION: TradingStateTerms(collects=True),
        TradingState.CONTINUOUS: TradingStateTerms(),
        TradingState.HALTED: TradingStateTerms(refusal=(Code.MARKET_HALTED, "{symbol} is halted")),
        TradingState.VOLATILITY_AUCTION: TradingStateTerms(collects=True, can_begin=False),
        TradingState.CLOSING_AUCTION: TradingStateTerms(collects=True),
        TradingState.CLOSED: TradingStateTerms(refusal=(Code.MARKET_CLOSED, "{symbol} is closed")),
        TradingState.DELISTED: TradingStateTerms(refusal=(Code.DELISTED, "{symbol} is delisted"), can_begin=False),
    },
)
COLLECTING = frozenset(state for state, terms in STATES.items() if terms.collects)
"""The states in which orders rest without trading."""
