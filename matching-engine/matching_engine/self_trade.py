"""Self-trade prevention: what happens when an order would trade with another order of its client."""

from matching_engine import risk
from matching_engine.book import Order
from matching_engine.context import Matching, Reason
from matching_engine.reports import canceled, open_status, order_report
from microexchange.enum_terms import PREVENTIONS
from microexchange.enums import ExecType
from microexchange.refusals import Code

_RESTATED = ExecType.RESTATED


def prevent(matching: Matching, taker: Order, maker: Order) -> Reason | None:
    """Apply the client's prevention to two of its orders that would trade. Return why the taker ends, or None."""
    prevention = PREVENTIONS[taker.account.self_trade_prevention]
    if prevention.decrements:
        return _decrement(matching, taker, maker)
    if prevention.cancels_resting:
        matching.market.book.side(maker.entry.side).remove(maker)
        risk.release(maker, maker.leaves)
        matching.exchange.drop_order(maker)
        matching.reports.append(canceled(maker, matching.command, *_reason(taker)))
    return _reason(maker) if prevention.cancels_entering else None


def _reason(other: Order) -> Reason:
    return Code.SELF_TRADE, f"the order would have traded with this client's order {other.entry.command_id}"


def _decrement(matching: Matching, taker: Order, maker: Order) -> Reason | None:
    """Take the smaller quantity from both orders. Return why the taker ends, or None."""
    command, reports = matching.command, matching.reports
    smaller = min(taker.leaves, maker.leaves)
    for order in (maker, taker):
        risk.release(order, smaller)
        order.quantity -= smaller
        order.leaves -= smaller
    taker.visible = min(taker.entry.display_quantity or taker.leaves, taker.leaves)
    if taker.leaves:
        reports.append(order_report(taker, command, _RESTATED, open_status(taker), taker.leaves, Code.SELF_TRADE))
    _shrink(matching, maker, _reason(taker))
    if taker.leaves:
        return None
    reason = _reason(maker)
    reports.append(canceled(taker, command, *reason))
    return reason


def _shrink(matching: Matching, maker: Order, reason: Reason) -> None:
    """Correct the book after a resting order has lost lots without a trade. Remove the order if it has none left."""
    level, command, reports = maker.level, matching.command, matching.reports
    assert level is not None, "the maker rests"  # noqa: S101
    if not maker.leaves:
        matching.market.book.side(maker.entry.side).remove(maker)
        matching.exchange.drop_order(maker)
        reports.append(canceled(maker, command, *reason))
    else:
        level.quantity -= maker.visible
        maker.visible = min(maker.visible, maker.leaves)
        level.quantity += maker.visible
        reports.append(order_report(maker, command, _RESTATED, open_status(maker), maker.leaves, *reason))
