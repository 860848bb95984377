"""The checks of orders before they enter or change. Each returns the reason of a refusal, or None. They change nothing."""

import msgspec

from matching_engine import risk
from matching_engine.book import Order
from matching_engine.context import Reason
from matching_engine.exchange import HOUSE_CLOSED, Exchange
from matching_engine.limits import MAX_INT
from matching_engine.liquidity import is_fillable, market_cost, would_trade
from matching_engine.market import SecurityMarket
from microexchange.commands import ReplaceOrder
from microexchange.enum_terms import AT_ONCE, ORDER_TYPES, STATES, TIMES_IN_FORCE, WHOLE, WITH_PRICE
from microexchange.enums import OrderType, Side, TimeInForce, TradingState
from microexchange.numbers import MAX_TICKS, cash_to_text, from_steps
from microexchange.refusals import Code

_SELL = Side.SELL
_LIMIT, _GTC, _CONTINUOUS = OrderType.LIMIT, TimeInForce.GTC, TradingState.CONTINUOUS


# --- new orders -----------------------------------------------------------------------------------------------------


def refuse_order(exchange: Exchange, order: Order, market: SecurityMarket, hold: int) -> Reason | None:
    """Return why an order that holds `hold` cash units a lot cannot enter, or None."""
    entry, account = order.entry, order.account
    if account.suspended:
        return Code.CLIENT_SUSPENDED, f"{account.client_id} is suspended"
    if account.opened_with is not None and not exchange.house_may_trade:
        return Code.HOUSE_CLOSED, HOUSE_CLOSED
    quantity, price, order_type, time_in_force = entry.quantity, entry.price, entry.order_type, entry.time_in_force
    if not 1 <= quantity <= market.max_quantity:
        greatest = from_steps(market.max_quantity, market.lot_size)
        return Code.LIMIT_EXCEEDED, f"the quantity must be at least one lot and at most {greatest}"
    if order_type is _LIMIT or order_type in WITH_PRICE:
        if price is None or not 1 <= price <= MAX_TICKS:
            return Code.INVALID_FIELD, f"a {order_type} order needs a price between 1 and {MAX_TICKS} ticks"
        if price * quantity > market.max_ticks:
            return Code.LIMIT_EXCEEDED, f"the value of the order is more than {cash_to_text(market.max_value)}"
    elif price is not None:
        return Code.INVALID_FIELD, f"a {order_type} order has no price"
    refusal = None
    if (
        order_type is not _LIMIT
        or time_in_force is not _GTC
        or entry.post_only
        or entry.display_quantity
        or entry.trigger_price is not None
        or entry.expire_at
    ):
        refusal = _refuse_terms(exchange.now, order, market)
    if refusal is None and market.state is not _CONTINUOUS:
        refusal = _refuse_in_state(order, market)
    if refusal is not None:
        return refusal
    if price is not None or entry.side is _SELL:
        refusal = risk.refuse(exchange.markets, order, market, quantity, quantity * hold)
    elif entry.trigger_price is None:
        cost = market_cost(account, market, quantity)
        refusal = risk.refuse(exchange.markets, order, market, quantity, cost)
    if refusal is None and time_in_force is not _GTC and time_in_force in WHOLE and not is_fillable(order, market):
        return Code.NOT_FILLABLE, "the whole quantity cannot trade at once"
    return refusal


def _refuse_terms(now: int, order: Order, market: SecurityMarket) -> Reason | None:
    """Return what is wrong with the time in force, trigger, display quantity or `post_only` of an order, or None."""
    entry = order.entry
    order_type, time_in_force = entry.order_type, entry.time_in_force
    order_terms, time_terms = ORDER_TYPES[order_type], TIMES_IN_FORCE[time_in_force]
    if (order_terms.trigger is not None) != (entry.trigger_price is not None):
        need = "has no" if order_terms.trigger is None else "needs a"
        return Code.INVALID_FIELD, f"a {order_type} order {need} trigger price"
    if entry.trigger_price is not None and not 1 <= entry.trigger_price <= MAX_TICKS:
        return Code.INVALID_FIELD, f"the trigger price must be between 1 and {MAX_TICKS} ticks"
    if time_terms.has_end != (entry.expire_at != 0):
        need = "needs expire_at" if time_terms.has_end else "cannot have expire_at: leave it out"
        return Code.INVALID_FIELD, f"a {time_in_force} order {need}"
    if time_terms.has_end and not now < entry.expire_at <= MAX_INT:
        return Code.INVALID_FIELD, f"a {time_in_force} order needs an expire_at in the future"
    if not 0 <= entry.display_quantity <= entry.quantity:
        return Code.INVALID_FIELD, "the display quantity must be between one lot and the quantity"
    if time_in_force not in order_terms.times_in_force:
        return Code.INVALID_FIELD, f"a {order_type} order cannot be {time_in_force}: enter it with another time in force"
    if entry.post_only and not order_terms.post_only:
        return Code.INVALID_FIELD, f"a {order_type} order cannot be post_only: leave it out"
    if entry.display_quantity and not order_terms.display:
        return Code.INVALID_FIELD, f"a {order_type} order cannot have a display_quantity: leave it out"
    if not time_terms.rests and (entry.post_only or entry.display_quantity):
        return Code.INVALID_FIELD, "an order that never rests can have neither post_only nor display_quantity"
    if entry.post_only and market.state is _CONTINUOUS and would_trade(order, entry.price, market):
        return Code.WOULD_TRADE, "the order is post_only and would trade on entry"
    return None


# --- changed orders -------------------------------------------------------------------------------------------------


class NewTerms(msgspec.Struct, gc=False):
    """The terms of an open order after a `ReplaceOrder`."""

    quantity: int
    leaves: int
    price: int | None
    trigger_price: int | None
    hold: int
    """The cash units that one open lot holds."""


def refuse_replace(
    exchange: Exchange, order: Order, market: SecurityMarket, command: ReplaceOrder, new: NewTerms
) -> Reason | None:
    """Return why an open order cannot get new terms, or None."""
    traded = order.quantity - order.leaves
    waits, quantity, leaves, price = order.level is None, new.quantity, new.leaves, new.price
    if order.account.suspended:
        return Code.CLIENT_SUSPENDED, f"{order.account.client_id} is suspended"
    if not traded < quantity <= market.max_quantity:
        return (
            Code.INVALID_FIELD,
            f"the new quantity must be more than {from_steps(traded, market.lot_size)}, which have traded, and at "
            f"most {from_steps(market.max_quantity, market.lot_size)}",
        )
    if command.price is not None and order.price is None:
        return Code.INVALID_FIELD, f"a {order.entry.order_type} order has no price"
    if command.trigger_price is not None and not waits:
        return Code.INVALID_FIELD, "the order does not wait for a trigger: leave trigger_price out"
    if any(ticks is not None and not 1 <= ticks <= MAX_TICKS for ticks in (price, new.trigger_price)):
        return Code.INVALID_FIELD, f"prices must be between 1 and {MAX_TICKS} ticks"
    if price is not None and price * leaves > market.max_ticks:
        return Code.LIMIT_EXCEEDED, f"the value of the open quantity is more than {cash_to_text(market.max_value)}"
    if quantity < order.entry.display_quantity <= order.quantity:
        # The quantity of an order that prevention decremented, or of a saved book, can be below its display quantity
        # already. Such an order may have any quantity.
        return Code.INVALID_FIELD, "the new quantity must not be less than the display quantity"
    refusal = _refuse_all_in_state(market)
    if refusal is not None:
        return refusal
    if order.entry.post_only and market.state is _CONTINUOUS and would_trade(order, price, market):
        return Code.WOULD_TRADE, "the order is post_only and would trade on entry"
    if waits and order.entry.side is not _SELL and price is None:
        return None
    return risk.refuse(exchange.markets, order, market, leaves, leaves * new.hold, order.leaves, grows=leaves > order.leaves)


# --- trading states -------------------------------------------------------------------------------------------------


def _refuse_all_in_state(market: SecurityMarket) -> Reason | None:
    """Return why no order can enter or change in the market's state, or None."""
    refusal = STATES[market.state].refusal
    return None if refusal is None else (refusal[0], refusal[1].format(symbol=market.symbol))


def _refuse_in_state(order: Order, market: SecurityMarket) -> Reason | None:
    """Return why an order cannot enter in the market's state, or None."""
    refusal = _refuse_all_in_state(market)
    if refusal is not None:
        return refusal
    if order.trigger_price is None and (
        order.price is None or order.entry.post_only or order.entry.time_in_force in AT_ONCE
    ):
        return Code.NOT_IN_AUCTION, f"{market.symbol} collects orders for an auction: enter a limit order that can rest"
    return None
