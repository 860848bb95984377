"""Risk: the cash and shares that orders reserve, and the settlement of trades. Only this module changes reservations.

Buying power is cash and credit, less the amount that open buys hold. A buy holds, for each open lot, the lot's price and the
highest fee, **rounded up for each lot**. Each fill rounds its own fee, so an order never costs more than it held, however
it is filled.

A client can sell its holding and the lots that it may be short, less the lots that its open sells offer. A security's own
short limit comes first. The account's short limit counts the rest, over all securities, each lot at the reference price of
its listing. Only the client's own orders and trades change this sum.

No function here reads a book, so that credit depends on accounts alone. `refuse` and the other checks change nothing.
`reserve`, `release` and `settle` do.
"""

from collections.abc import Mapping

from matching_engine.account import Account, Holding
from matching_engine.book import Order
from matching_engine.context import Reason
from matching_engine.limits import BPS
from matching_engine.market import FeeRate, SecurityMarket
from microexchange.enums import Side
from microexchange.instructions import Execution
from microexchange.numbers import MAX_LOTS, cash_to_text, from_steps
from microexchange.refusals import Code

_SELL = Side.SELL


def hold_per_lot(order: Order, price: int | None, market: SecurityMarket) -> int:
    """Return the cash units that one lot of an order at `price` ticks holds: its value and the fee, rounded up.

    A sell holds no cash. Neither does a buy without a price: it trades at once or is cancelled.
    """
    if price is None or order.entry.side is _SELL:
        return 0
    return price * market.cost_per_tick or cost_per_lot(price, market)


def cost_per_lot(price: int, market: SecurityMarket) -> int:
    """Return the cash units that one lot bought at `price` ticks can cost: its value and the highest fee, rounded up."""
    value = price * market.tick_value
    return value - (-value * market.held_fee_bps) // BPS


# --- changes ------------------------------------------------------------------------------------------------------


def reserve(order: Order, hold: int) -> None:
    """Reserve what the open lots of an order need: shares for a sell, `hold` cash units a lot for a buy."""
    lots, holding = order.leaves, order.holding
    if order.entry.side is _SELL:
        holding.offered += lots
    else:
        order.hold_per_lot = hold
        holding.bid += lots
        order.account.held += lots * hold


def release(order: Order, lots: int) -> None:
    """Release what `lots` of an order reserve."""
    holding = order.holding
    if order.entry.side is _SELL:
        holding.offered -= lots
    else:
        holding.bid -= lots
        order.account.held -= lots * order.hold_per_lot


def settle(
    market: SecurityMarket,
    trade_id: int,
    timestamp: int,
    quantity: int,
    price: int,
    aggressor_side: Side,
    buy: Order,
    buy_price: int,
    buy_fee: FeeRate,
    sell: Order,
    sell_price: int,
    sell_fee: FeeRate,
) -> Execution:
    """Move cash and shares of a trade, release its lots, and return the instruction for the clearinghouse.

    Each side pays or receives its own price.
    """
    ticks = buy_price * quantity
    buyer_pays = ticks * market.tick_value
    per_tick = buy_fee.per_tick
    buyer_fee = ticks * per_tick if per_tick is not None else buy_fee.rounded_fee(buyer_pays)
    ticks = sell_price * quantity
    seller_receives = ticks * market.tick_value
    per_tick = sell_fee.per_tick
    seller_fee = ticks * per_tick if per_tick is not None else sell_fee.rounded_fee(seller_receives)
    buyer, bought, seller, sold = buy.account, buy.holding, sell.account, sell.holding
    buy.notional += buyer_pays
    buyer.held -= quantity * buy.hold_per_lot
    buyer.cash -= buyer_pays + buyer_fee
    bought.quantity += quantity
    bought.bid -= quantity
    sell.notional += seller_receives
    seller.cash += seller_receives - seller_fee
    sold.quantity -= quantity
    sold.offered -= quantity
    short_limit = market.short_limit
    if sold.quantity < 0:
        short_limit += seller.short_limit // market.short_value
    return Execution(
        trade_id,
        timestamp,
        market.symbol,
        quantity,
        price,
        aggressor_side,
        buy.entry.command_id,
        buyer.client_id,
        sell.entry.command_id,
        seller.client_id,
        buyer_pays,
        seller_receives,
        buyer_fee,
        seller_fee,
        short_limit,
    )


# --- checks of orders -----------------------------------------------------------------------------------------------


def refuse(
    markets: Mapping[str, SecurityMarket],
    order: Order,
    market: SecurityMarket,
    lots: int,
    cost: int,
    released_lots: int = 0,
    grows: bool = True,
) -> Reason | None:
    """Return why the client cannot afford `lots` of an order, which can cost `cost` cash units, or None.

    Args:
        released_lots: The lots that the order has reserved already. It gives them back first.
        grows: Whether the order can add to the client's position. The position limit does not apply to others.
    """
    account, holding = order.account, order.holding
    if order.entry.side is _SELL:
        sellable = holding.quantity - holding.offered + market.short_limit + released_lots
        if lots > sellable and account.short_limit:
            sellable += _short_room(markets, account, market)
        return None if lots <= sellable else _too_few_shares(market, lots, sellable)
    if market.position_limit and grows:
        exposure = lots - released_lots + holding.quantity + holding.bid
        if exposure > market.position_limit:
            return _beyond_position_limit(market, exposure)
    power = account.cash - account.held + account.credit_limit  # as Account.buying_power, without a call
    if released_lots:
        power += released_lots * order.hold_per_lot
    return None if cost <= power else _too_little_cash(cost, power)


def _short_room(markets: Mapping[str, SecurityMarket], account: Account, market: SecurityMarket) -> int:
    """Return the lots of a security that the account may be short beyond the security's own limit.

    The account's short limit covers them, less what its positions in other securities use.
    """
    used = 0
    for symbol, holding in account.holdings.items():
        if holding.offered > holding.quantity and symbol != market.symbol:
            other = markets[symbol]
            used += max(holding.offered - holding.quantity - other.short_limit, 0) * other.short_value
    return min(max(account.short_limit - used, 0) // market.short_value, MAX_LOTS)


def _too_few_shares(market: SecurityMarket, lots: int, sellable: int) -> Reason:
    needed, has, short = (from_steps(n, market.lot_size) for n in (lots, sellable, lots - sellable))
    return Code.INSUFFICIENT_SHARES, f"the order sells {needed}, but {has} can be sold: {short} too few"


def _beyond_position_limit(market: SecurityMarket, exposure: int) -> Reason:
    position, limit = from_steps(exposure, market.lot_size), from_steps(market.position_limit, market.lot_size)
    return Code.POSITION_LIMIT, f"the position could reach {position}, but the limit is {limit}"


def _too_little_cash(cost: int, power: int) -> Reason:
    return (
        Code.INSUFFICIENT_CASH,
        f"the order can cost {cash_to_text(cost)}, but the buying power is {cash_to_text(power)}: "
        f"{cash_to_text(cost - power)} too little",
    )


# --- checks of accounts ---------------------------------------------------------------------------------------------


def refuse_withdrawal(account: Account, cash: int) -> Reason | None:
    """Return why the account cannot pay out `cash` units, or None. Credit is for trading only."""
    free = max(account.cash - account.held, 0)
    if cash <= free:
        return None
    return Code.INSUFFICIENT_CASH, f"{cash_to_text(cash)} cannot be withdrawn: {cash_to_text(free)} is free"


def refuse_delivery(account: Account, market: SecurityMarket, lots: int) -> Reason | None:
    """Return why the account cannot take in `lots` of a security, or deliver them if negative. None if it can."""
    holding = account.holdings.get(market.symbol, _NO_HOLDING)
    if not -MAX_LOTS <= holding.quantity + lots <= MAX_LOTS:
        return Code.LIMIT_EXCEEDED, f"an account cannot hold that much of {market.symbol}"
    free = holding.quantity - holding.offered
    if lots < 0 and -lots > free:
        wanted, has = from_steps(-lots, market.lot_size), from_steps(max(free, 0), market.lot_size)
        return Code.INSUFFICIENT_SHARES, f"{wanted} {market.symbol} cannot be withdrawn: {has} are free"
    return None


_NO_HOLDING = Holding()
