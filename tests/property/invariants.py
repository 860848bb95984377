"""Invariants of the engine. Each function asserts one of them."""

from matching_engine.engine import Engine
from microexchange.enums import ExecType, OrderStatus, Side, TradingState
from microexchange.instructions import Execution, Transfer
from microexchange.reports import Event, OrderReport


def cash_and_shares_are_conserved(engine: Engine, events: list[Event]) -> None:
    """Assert that all cash and shares from the issuer are in accounts or were paid as fees and spread.

    `events` are all events of the engine.
    """
    fees = sum(e.buyer_fee + e.seller_fee + e.buyer_pays - e.seller_receives for e in events if isinstance(e, Execution))
    given = [event for event in events if isinstance(event, Transfer)]
    assert sum(account.cash for account in engine.accounts.values()) + fees == sum(transfer.cash for transfer in given)
    assert engine.issued_cash == sum(transfer.cash for transfer in given)
    for symbol in engine.markets:
        issued = sum(transfer.shares.get(symbol, 0) for transfer in given)
        assert sum(account.holding(symbol).quantity for account in engine.accounts.values()) == issued


def no_account_exceeds_its_limits(engine: Engine) -> None:
    """Assert that no account has negative buying power or exceeds its short limit."""
    for account in engine.accounts.values():
        assert account.buying_power >= 0
        short = 0
        for symbol, holding in account.holdings.items():
            listing = engine.markets[symbol].listing
            lots = max(holding.offered - holding.quantity - listing.short_limit, 0)
            short += lots * listing.reference_price * listing.tick_value
        assert short <= account.short_limit


def reserves_are_the_sum_over_open_orders(engine: Engine) -> None:
    """Assert that reserved cash and shares are the sum over the open orders."""
    for account in engine.accounts.values():
        orders = account.orders.values()
        assert account.held == sum(order.leaves * order.hold_per_lot for order in orders)
        for symbol, holding in account.holdings.items():
            for side, held in ((Side.SELL, holding.offered), (Side.BUY, holding.bid)):
                assert held == sum(o.leaves for o in orders if o.entry.symbol == symbol and o.entry.side is side)
        assert {o.entry.client_order_id for o in orders if o.entry.client_order_id} == set(account.by_client_order_id)


def no_book_is_crossed(engine: Engine) -> None:
    """Assert that in continuous trading the best bid is below the best offer."""
    for market in engine.markets.values():
        assert market.state is not TradingState.CONTINUOUS or not market.book.is_crossed


def levels_are_the_sum_of_their_orders(engine: Engine) -> None:
    """Assert that a level has the quantity and the number of its orders, in order of arrival."""
    for market in engine.markets.values():
        for side in (market.book.bids, market.book.asks):
            for level in side.best_first():
                orders = list(level)
                assert level.quantity == sum(order.visible for order in orders) > 0
                assert level.count == len(orders)
                plain = [order.arrival for order in orders if not order.entry.display_quantity]
                assert plain == sorted(plain), "orders at one price are in order of arrival"
                for order in orders:
                    assert 0 < order.visible <= min(order.leaves, order.entry.display_quantity or order.leaves)


def every_order_ends_once_and_adds_up(engine: Engine, events: list[Event]) -> None:
    """Assert that each reported order is open or has ended exactly once, and that its quantities match its fills."""
    reports: dict[int, list[OrderReport]] = {}
    for event in events:
        if isinstance(event, OrderReport):
            reports.setdefault(event.order_id, []).append(event)
    still_open = {order_id for account in engine.accounts.values() for order_id in account.orders}
    for order_id, history in reports.items():
        finals = [report for report in history if report.status.is_final]
        assert len(finals) == (0 if order_id in still_open else 1)
        assert not finals or history[-1] is finals[0], "there is no report of an order after its end"
        filled = sum(report.last_quantity for report in history if report.exec_type is ExecType.TRADE)
        assert filled == history[-1].cumulative_quantity
        if history[-1].status is OrderStatus.FILLED:
            assert filled == history[-1].quantity, "quantity that self-trade prevention has taken is not part of the order"
        elif not finals:
            assert filled + history[-1].leaves_quantity == history[-1].quantity
