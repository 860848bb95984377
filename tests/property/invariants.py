"""What must be true of an engine at any moment: each function asserts one thing."""

from matching_engine.engine import Engine
from microexchange.enums import ExecType, OrderStatus, Side, TradingState
from microexchange.instructions import Execution, Transfer
from microexchange.reports import Event, OrderReport


def cash_and_shares_are_conserved(engine: Engine, events: list[Event]) -> None:
    """Of all that the issuer gave nothing is lost or made, the exchange's take counted; `events` are all there were."""
    fees = sum(e.buyer_fee + e.seller_fee + e.buyer_pays - e.seller_receives for e in events if isinstance(e, Execution))
    given = [event for event in events if isinstance(event, Transfer)]
    assert sum(account.cash for account in engine.accounts.values()) + fees == sum(transfer.cash for transfer in given)
    assert engine.issued_cash == sum(transfer.cash for transfer in given)
    for symbol in engine.markets:
        issued = sum(transfer.shares.get(symbol, 0) for transfer in given)
        assert sum(account.holding(symbol).quantity for account in engine.accounts.values()) == issued


def nobody_owes(engine: Engine) -> None:
    """No client has spent more than it has, or sold more than it may."""
    for account in engine.accounts.values():
        assert account.buying_power >= 0
        short = 0
        for symbol, holding in account.holdings.items():
            listing = engine.markets[symbol].listing
            lots = max(holding.offered - holding.quantity - listing.short_limit, 0)
            short += lots * listing.reference_price * listing.tick_value
        assert short <= account.short_limit


def holds_are_the_sum_over_open_orders(engine: Engine) -> None:
    """What is held is held for orders that live."""
    for account in engine.accounts.values():
        orders = account.orders.values()
        assert account.held == sum(order.leaves * order.hold_per_lot for order in orders)
        for symbol, holding in account.holdings.items():
            for side, held in ((Side.SELL, holding.offered), (Side.BUY, holding.bid)):
                assert held == sum(o.leaves for o in orders if o.entry.symbol == symbol and o.entry.side is side)
        assert {o.entry.client_order_id for o in orders if o.entry.client_order_id} == set(account.by_client_order_id)


def no_book_is_crossed(engine: Engine) -> None:
    """In continuous trading no bid is at an offer or above."""
    for market in engine.markets.values():
        assert market.state is not TradingState.CONTINUOUS or not market.book.is_crossed


def levels_are_the_sum_of_their_orders(engine: Engine) -> None:
    """A level tells the quantity and the number of its orders, which stand in the order of their arrival."""
    for market in engine.markets.values():
        for side in (market.book.bids, market.book.asks):
            for level in side.best_first():
                orders = list(level)
                assert level.quantity == sum(order.visible for order in orders) > 0
                assert level.count == len(orders)
                plain = [order.arrival for order in orders if not order.entry.display_quantity]
                assert plain == sorted(plain), "first come, first served"
                for order in orders:
                    assert 0 < order.visible <= min(order.leaves, order.entry.display_quantity or order.leaves)


def every_order_ends_once_and_adds_up(engine: Engine, events: list[Event]) -> None:
    """Each order that was told of lives, or has ended exactly once, and its quantities fit its fills."""
    reports: dict[int, list[OrderReport]] = {}
    for event in events:
        if isinstance(event, OrderReport):
            reports.setdefault(event.order_id, []).append(event)
    still_open = {order_id for account in engine.accounts.values() for order_id in account.orders}
    for order_id, history in reports.items():
        finals = [report for report in history if report.status.is_final]
        assert len(finals) == (0 if order_id in still_open else 1)
        assert not finals or history[-1] is finals[0], "nothing is told of an order after its end"
        filled = sum(report.last_quantity for report in history if report.exec_type is ExecType.TRADE)
        assert filled == history[-1].cumulative_quantity
        if history[-1].status is OrderStatus.FILLED:
            assert filled == history[-1].quantity, "what prevention took is no longer part of it"
        elif not finals:
            assert filled + history[-1].leaves_quantity == history[-1].quantity
