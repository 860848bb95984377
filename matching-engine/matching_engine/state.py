"""The engine's state as plain data, for snapshots. `restore` is the inverse of `take`."""

import msgspec

from matching_engine.account import Account
from matching_engine.auction import Uncrossing
from matching_engine.book import Order
from matching_engine.client_order_ids import TakenIds
from matching_engine.engine import Engine
from matching_engine.market import SecurityMarket
from matching_engine.risk import hold_per_lot, reserve
from matching_engine.session import Session
from microexchange.commands import NewOrder
from microexchange.enums import SelfTradePrevention, TradingState
from microexchange.reports import SecurityListed


class StateError(ValueError):
    """A state that no engine can have."""


class OrderState(msgspec.Struct, array_like=True, gc=False):
    """An order that rests or waits for its trigger."""

    entry: NewOrder
    """The command that entered it."""
    quantity: int
    price: int | None
    trigger_price: int | None
    leaves: int
    visible: int
    notional: int
    arrival: int
    rests: bool
    """Whether it rests in the book. Otherwise it waits for its trigger."""


class AccountState(msgspec.Struct, array_like=True):
    """An account. `restore` computes what it holds from its orders."""

    client_id: str
    cash: int
    suspended: bool
    self_trade_prevention: SelfTradePrevention
    holdings: dict[str, int]
    credit_limit: int = 0
    short_limit: int = 0
    opened_with: tuple[int, dict[str, int]] | None = None


class MarketState(msgspec.Struct, array_like=True):
    """The market of a listed security."""

    listing: SecurityListed
    state: TradingState
    ends_at: int
    book_sequence: int
    last_price: int
    reference_price: int
    indicative: tuple[int, int, int]
    """Price, quantity and imbalance of the last auction report."""


class TakenIdsState(msgspec.Struct, array_like=True, frozen=True):
    """The client order ids that one client has taken."""

    newer: dict[str, bytes]
    older: dict[str, bytes]
    began_at: int


class ClientOrderIdsState(msgspec.Struct, array_like=True, frozen=True):
    """The client order ids that are taken, by client. A snapshot of an older version has none."""

    current: dict[str, TakenIdsState] = {}
    previous: dict[str, TakenIdsState] = {}


class EngineState(msgspec.Struct, array_like=True):
    """The whole state of the engine."""

    now: int
    last_command_ids: dict[int, int]
    next_trade_id: int
    next_arrival: int
    issued_cash: int
    markets: list[MarketState]
    accounts: list[AccountState]
    orders: list[OrderState]
    """Resting orders in priority within each side of each book, then waiting orders."""
    saved_books: list[tuple[str, str, list[NewOrder]]]
    """(symbol, name, orders)."""
    gateway_tokens: dict[str, int] = {}
    client_order_ids: ClientOrderIdsState = ClientOrderIdsState()
    session: Session | None = None


def take(engine: Engine) -> EngineState:
    """Return the state of `engine`. They share nothing that can change."""
    ids = engine.client_order_ids
    return EngineState(
        engine.now,
        dict(engine.last_command_ids),
        engine.next_trade_id,
        engine.next_arrival,
        engine.issued_cash,
        [
            MarketState(
                market.listing,
                market.state,
                market.ends_at,
                market.book_sequence,
                market.last_price,
                market.reference_price,
                (market.auction.price, market.auction.quantity, market.auction.imbalance),
            )
            for market in engine.markets.values()
        ],
        [
            AccountState(
                account.client_id,
                account.cash,
                account.suspended,
                account.self_trade_prevention,
                {symbol: holding.quantity for symbol, holding in account.holdings.items() if holding.quantity},
                account.credit_limit,
                account.short_limit,
                account.opened_with,
            )
            for account in engine.accounts.values()
        ],
        [
            _order_state(order)
            for market in engine.markets.values()
            for orders in (
                market.book.bids,
                market.book.asks,
                market.stops,
            )
            for order in orders
        ],
        [(symbol, name, list(orders)) for (symbol, name), orders in engine.saved_books.items()],
        dict(engine.gateway_tokens),
        ClientOrderIdsState(_taken_states(ids.current), _taken_states(ids.previous)),
        None if engine.session is None else engine.session.copy(),
    )


def _taken_states(generation: dict[str, TakenIds]) -> dict[str, TakenIdsState]:
    return {
        client_id: TakenIdsState(dict(taken.newer), dict(taken.older), taken.began_at)
        for client_id, taken in generation.items()
    }


def _taken_ids(generation: dict[str, TakenIdsState]) -> dict[str, TakenIds]:
    restored = {}
    for client_id, kept in generation.items():
        taken = restored[client_id] = TakenIds(kept.began_at)
        taken.newer, taken.older = dict(kept.newer), dict(kept.older)
    return restored


def _order_state(order: Order) -> OrderState:
    return OrderState(
        order.entry,
        order.quantity,
        order.price,
        order.trigger_price,
        order.leaves,
        order.visible,
        order.notional,
        order.arrival,
        order.level is not None,
    )


def restore(state: EngineState) -> Engine:
    """Return an engine in that state.

    Raises:
        StateError: No engine can have that state: an order has no account, no security or no price.
    """
    try:
        return _restored(state)
    except (LookupError, ValueError, ArithmeticError, AssertionError) as error:
        raise StateError(f"no engine can have this state: {type(error).__name__}: {error}") from error


def _restored(state: EngineState) -> Engine:
    engine = Engine()
    engine.now = state.now
    engine.last_command_ids = dict(state.last_command_ids)
    engine.gateway_tokens = dict(state.gateway_tokens)
    engine.next_trade_id = state.next_trade_id
    engine.next_arrival = state.next_arrival
    engine.issued_cash = state.issued_cash
    ids = engine.client_order_ids
    ids.current, ids.previous = (
        _taken_ids(kept) for kept in (state.client_order_ids.current, state.client_order_ids.previous)
    )
    ids.count = sum(len(taken.newer) + len(taken.older) for taken in ids.current.values())
    if state.session is not None:
        engine.session = state.session.copy()
        engine.plan_session_timer()
    engine.saved_books = {(symbol, name): list(orders) for symbol, name, orders in state.saved_books}
    for listed in state.markets:
        market = engine.markets[listed.listing.symbol] = SecurityMarket(listed.listing)
        market.state = listed.state
        market.book_sequence = listed.book_sequence
        market.last_price = listed.last_price
        market.set_reference(listed.reference_price)
        market.auction = Uncrossing(*listed.indicative)
        engine.plan_end(market, listed.ends_at)
    for opened in state.accounts:
        terms = opened.self_trade_prevention, opened.credit_limit, opened.short_limit
        account = Account(opened.client_id, opened.cash, *terms)
        engine.granted_credit += opened.credit_limit
        engine.accounts[opened.client_id] = account
        account.suspended = opened.suspended
        account.opened_with = opened.opened_with
        for symbol, quantity in opened.holdings.items():
            account.holding(symbol).quantity = quantity
    for kept in state.orders:
        order = Order(kept.entry, engine.accounts[kept.entry.client_id])
        order.quantity = kept.quantity
        order.price = kept.price
        order.trigger_price = kept.trigger_price
        order.leaves = kept.leaves
        order.visible = kept.visible
        order.notional = kept.notional
        order.arrival = kept.arrival
        _add(engine, order, kept.rests)
    return engine


def _add(engine: Engine, order: Order, rests: bool) -> None:
    """Add a restored order behind those that were added before it."""
    market = engine.markets[order.entry.symbol]
    reserve(order, hold_per_lot(order, order.price, market))
    if rests:
        assert order.price is not None, "only an order with a price can rest"  # noqa: S101
        market.book.side(order.entry.side).add(order, order.price)
    else:
        market.stops.add(order)
    engine.add_order(order)
