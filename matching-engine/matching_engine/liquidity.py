"""The part of the book that an order would trade with now. These functions change nothing."""

from matching_engine.account import Account
from matching_engine.book import Order
from matching_engine.market import SecurityMarket
from matching_engine.risk import cost_per_lot
from microexchange.enum_terms import PASSING, SELF_TRADING
from microexchange.enums import Side

_BUY = Side.BUY


def would_trade(order: Order, price: int | None, market: SecurityMarket) -> bool:
    """Return whether an order at `price` would trade on entry. An order without a price would not."""
    best = market.book.opposite(order.entry.side).best()
    if best is None or price is None:
        return False
    return best.price <= price if order.entry.side is _BUY else best.price >= price


def market_cost(account: Account, market: SecurityMarket, lots: int) -> int:
    """Return the cash units that a buy of `lots` without a price can cost: the offers within the band, with fees."""
    cost = 0
    passes = account.self_trade_prevention in PASSING
    for level in market.book.asks.best_first():
        if level.price > market.high:
            break
        for resting in level:
            if passes and resting.account is account:
                continue  # it is cancelled, and the buy continues to offers that may cost more
            taken = min(lots, resting.leaves)
            cost += taken * cost_per_lot(level.price, market)
            lots -= taken
            if not lots:
                return cost
    return cost


def is_fillable(order: Order, market: SecurityMarket) -> bool:
    """Return whether all of an order would trade at once.

    Orders within its limit and the band count, hidden quantity too. The client's own orders count according to its
    self-trade prevention.
    """
    wanted, limit, is_buy = order.leaves, order.price, order.entry.side is _BUY
    prevention = order.account.self_trade_prevention
    for level in market.book.opposite(order.entry.side).best_first():
        price = level.price
        if limit is not None and (price > limit if is_buy else price < limit):
            return False
        if not market.low <= price <= market.high:
            return False
        for resting in level:
            if resting.account is order.account and prevention not in SELF_TRADING:
                if prevention in PASSING:
                    continue
                return False
            wanted -= resting.leaves
            if wanted <= 0:
                return True
    return False
