"""The engine's state as plain data: what a snapshot holds. Taking it and restoring it are each other's inverse."""

import msgspec

from matching_engine.book import Order
from matching_engine.credit import Account, hold_per_lot
from matching_engine.engine import Engine, Market
from microexchange.messages import OrderType, SecurityListed, Side

_BUY = Side.BUY


class OrderState(msgspec.Struct, array_like=True, gc=False):
    """An open order."""

    order_id: int
    client_id: str
    client_order_id: str
    symbol: str
    side: Side
    quantity: int
    price: int
    leaves: int
    notional: int


class AccountState(msgspec.Struct, array_like=True):
    """An account. What its orders hold follows from the orders."""

    client_id: str
    cash: int
    suspended: bool
    holdings: dict[str, int]


class MarketState(msgspec.Struct, array_like=True):
    """A listed security."""

    listing: SecurityListed
    book_sequence: int
    last_price: int


class EngineState(msgspec.Struct, array_like=True):
    """All that the engine knows."""

    last_command_ids: dict[int, int]
    next_trade_id: int
    issued_cash: int
    markets: list[MarketState]
    accounts: list[AccountState]
    orders: list[OrderState]
    """In order of priority within each side of each book."""


def take(engine: Engine) -> EngineState:
    """The state of `engine`. Shares nothing with it that can change."""
    return EngineState(
        dict(engine.last_command_ids),
        engine.next_trade_id,
        engine.issued_cash,
        [MarketState(market.listing, market.book_sequence, market.last_price) for market in engine.markets.values()],
        [
            AccountState(
                account.client_id,
                account.cash,
                account.suspended,
                {symbol: holding.quantity for symbol, holding in account.holdings.items()},
            )
            for account in engine.accounts.values()
        ],
        [
            OrderState(
                order.order_id,
                order.client_id,
                order.client_order_id,
                order.symbol,
                order.side,
                order.quantity,
                level.price,
                order.leaves,
                order.notional,
            )
            for market in engine.markets.values()
            for side in (market.book.bids, market.book.asks)
            for level in side.in_priority()
            for order in level
        ],
    )


def restore(state: EngineState) -> Engine:
    """An engine in that state."""
    engine = Engine()
    engine.last_command_ids = dict(state.last_command_ids)
    engine.next_trade_id = state.next_trade_id
    engine.issued_cash = state.issued_cash
    for listed in state.markets:
        market = engine.markets[listed.listing.symbol] = Market(listed.listing)
        market.book_sequence = listed.book_sequence
        market.last_price = listed.last_price
    for opened in state.accounts:
        account = engine.accounts[opened.client_id] = Account(opened.client_id, opened.cash)
        account.suspended = opened.suspended
        for symbol, quantity in opened.holdings.items():
            account.holding(symbol).quantity = quantity
    for open_order in state.orders:
        _rest(engine, open_order)
    return engine


def _rest(engine: Engine, state: OrderState) -> None:
    market, account = engine.markets[state.symbol], engine.accounts[state.client_id]
    order = Order(
        state.order_id,
        state.client_id,
        state.client_order_id,
        state.symbol,
        state.side,
        OrderType.LIMIT,
        state.quantity,
        state.price,
        0,
    )
    order.leaves = state.leaves
    order.notional = state.notional
    if state.side is _BUY:
        order.hold_per_lot = hold_per_lot(state.price, market.listing.tick_value, market.highest_fee_bps)
        account.held += order.leaves * order.hold_per_lot
    else:
        account.holding(state.symbol).offered += order.leaves
    account.orders[order.order_id] = order
    if order.client_order_id:
        account.by_client_order_id[order.client_order_id] = order.order_id
    market.book.side(order.side).add(order, state.price)
