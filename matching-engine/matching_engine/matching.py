"""Matching: an entering order against the book by price and time, and a book against itself in an uncrossing."""

from typing import assert_never

from matching_engine.auction import uncrossing
from matching_engine.book import BookSide, Level, Order
from matching_engine.context import Matching, Reason
from matching_engine.exchange import Exchange
from matching_engine.market import SecurityMarket
from matching_engine.reports import price_update, trade_reports
from matching_engine.risk import settle
from matching_engine.self_trade import prevent
from microexchange.enum_terms import SELF_TRADING
from microexchange.enums import PricingRule, Side
from microexchange.numbers import divide_half_even
from microexchange.refusals import Code
from microexchange.reports import Trade

_BUY, _SELL = Side.BUY, Side.SELL


def match(matching: Matching, taker: Order, best: Level, opposite: BookSide) -> Reason | None:
    """Trade `taker` with the other side, best price and oldest order first, within its limit and the band.

    Returns:
        The reason why the rest of the order must end now, or None.
    """
    market, exchange = matching.market, matching.exchange
    limit, is_buy, account = taker.price, taker.entry.side is _BUY, taker.account
    changed: list[Level] = []
    ended_by: Reason | None = None
    first_trade = exchange.next_trade_id
    level: Level | None = best
    while level is not None:
        price = level.price
        if limit is not None and (price > limit if is_buy else price < limit):
            break
        if market.has_band and not market.low <= price <= market.high:
            if limit is None:
                ended_by = Code.PRICE_BAND, "the rest would have traded outside the price band"
            break
        changed.append(level)
        while taker.leaves and (maker := level.head) is not None:
            if maker.account is account and account.self_trade_prevention not in SELF_TRADING:
                ended_by = prevent(matching, taker, maker)
                if ended_by is not None:
                    break
            elif market.trades_at_resting_price:
                _trade(matching, taker, maker, level, price, price)
            else:
                traded_at, taker_price = _prices_by_rule(market, price, limit)
                _trade(matching, taker, maker, level, traded_at, taker_price)
        if not taker.leaves or ended_by is not None:
            break
        level = opposite.best()
    for level in changed:
        matching.reports.append(price_update(market, opposite, level, matching.command.timestamp))
    if not market.has_band:
        market.reference_price = market.last_price or market.reference_price
    elif exchange.next_trade_id != first_trade:
        market.set_reference(market.last_price)
    return ended_by


def uncross(matching: Matching) -> None:
    """Trade what crosses in the book, all at one price. The older order of each trade is its maker."""
    market = matching.market
    book, result = market.book, uncrossing(market.book, market.reference_price)
    if not result.quantity:
        return
    changed: dict[tuple[Side, int], Level] = {}
    """The levels by side and price, in the order of their first trades."""
    lots, price = result.quantity, result.price
    while lots:
        bids, asks = book.bids.best(), book.asks.best()
        assert bids is not None and asks is not None, "both sides have the lots of the uncrossing"  # noqa: S101, PT018
        changed[_BUY, bids.price], changed[_SELL, asks.price] = bids, asks
        buy, sell = bids.head, asks.head
        assert buy is not None and sell is not None, "a level of the best price has orders"  # noqa: S101, PT018
        before = buy.leaves
        if buy.arrival < sell.arrival:
            _trade(matching, sell, buy, bids, price, price, asks)
        else:
            _trade(matching, buy, sell, asks, price, price, bids)
        lots -= before - buy.leaves
    market.set_reference(price)
    for (side, _), level in changed.items():
        matching.reports.append(price_update(market, book.side(side), level, matching.command.timestamp))


def _prices_by_rule(market: SecurityMarket, resting_price: int, limit: int | None) -> tuple[int, int]:
    """Return the price of a trade and the price that the taker pays or receives, both in ticks."""
    if limit is None:
        return resting_price, resting_price
    match market.listing.pricing_rule:
        case PricingRule.RESTING:
            return resting_price, resting_price
        case PricingRule.MIDPOINT:
            middle = divide_half_even(resting_price + limit, 2)
            return middle, middle
        case PricingRule.SPREAD_CAPTURE:
            return resting_price, limit
        case unknown:
            assert_never(unknown)


def _trade(
    matching: Matching,
    taker: Order,
    maker: Order,
    level: Level,
    price: int,
    taker_price: int,
    taker_level: Level | None = None,
) -> None:
    """Make one trade at `price` ticks, which the maker pays or receives. The taker has its own price.

    Args:
        level: The level at which the maker rests.
        taker_level: The level at which the taker rests in an uncrossing. Both orders trade the part that they show, and pay
            the maker's fee.
    """
    market, exchange, command = matching.market, matching.exchange, matching.command
    maker_rate = market.maker_fee
    if taker_level is None:
        quantity, taker_rate = taker.leaves, market.taker_fee
    else:
        quantity, taker_rate = taker.visible, maker_rate
    if maker.visible < quantity:
        quantity = maker.visible
    trade_id, timestamp, side = exchange.next_trade_id, command.timestamp, taker.entry.side
    exchange.next_trade_id = trade_id + 1
    market.last_price = price
    maker.leaves -= quantity
    taker.leaves -= quantity
    if side is _BUY:
        execution = settle(
            market, trade_id, timestamp, quantity, price, side, taker, taker_price, taker_rate, maker, price, maker_rate
        )
        maker_fee, taker_fee = execution.seller_fee, execution.buyer_fee
    else:
        execution = settle(
            market, trade_id, timestamp, quantity, price, side, maker, price, maker_rate, taker, taker_price, taker_rate
        )
        maker_fee, taker_fee = execution.buyer_fee, execution.seller_fee

    maker.visible -= quantity
    level.quantity -= quantity
    if not maker.visible:
        _show_next(exchange, maker, level, market)
    if taker_level is not None:
        taker.visible -= quantity
        taker_level.quantity -= quantity
        if not taker.visible:
            _show_next(exchange, taker, taker_level, market)
    else:
        shown = taker.entry.display_quantity
        taker.visible = min(shown, taker.leaves) if shown else taker.leaves

    matching.instructions.append(execution)
    maker_id, taker_id = maker.entry.command_id, taker.entry.command_id
    trade = Trade(trade_id, timestamp, market.symbol, price, quantity, side, maker_id, taker_id, maker_fee, taker_fee)
    trade_reports(matching.reports, trade, command.command_id, maker, taker, taker_price)


def _show_next(exchange: Exchange, order: Order, level: Level, market: SecurityMarket) -> None:
    """Replace the shown part of a resting order after it has traded.

    An iceberg shows its next part, behind the other orders of the level. An order without open lots leaves the book.
    """
    if order.leaves:
        order.visible = min(order.entry.display_quantity, order.leaves)
        level.quantity += order.visible
        level.move_back(order)
    else:
        (market.book.bids if order.entry.side is _BUY else market.book.asks).remove(order)
        exchange.drop_order(order)
