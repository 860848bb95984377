"""What clients see: the answers of the gateway and the feed as typed structures. JSON, OpenAPI and the bots share them.

Decimal numbers are text, so that no client's float spoils them; ids are text, since JavaScript cannot hold 63 bits.
Times are ISO 8601 in UTC.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from microexchange.enums import Liquidity, OrderStatus, OrderType, PricingRule, Side, TimeInForce, TradingState
from microexchange.numbers import average_price, cash_to_text
from microexchange.reports import OrderReport, Trade
from microexchange.securities import Security


@lru_cache(1024)
def time_text(nanoseconds: int) -> str:
    """Nanoseconds of Unix time as ISO 8601 with microseconds.

    >>> time_text(1_700_000_000_123_456_789)
    '2023-11-14T22:13:20.123456Z'
    """
    seconds, microseconds = divmod(nanoseconds // 1000, 1_000_000)
    return f"{_second_text(seconds)}{microseconds:06d}Z"


@lru_cache(256)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.")


class Answer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all answers."""


class TradeView(Answer, frozen=True):
    """A trade, as everybody may see it."""

    trade_id: str
    timestamp: str
    symbol: str
    price: str
    quantity: str
    aggressor_side: Side
    maker_order_id: str
    taker_order_id: str
    maker_fee: str
    taker_fee: str


def trade_view(trade: Trade, security: Security) -> TradeView:
    """`trade` for clients."""
    return TradeView(
        trade_id=str(trade.trade_id),
        timestamp=time_text(trade.timestamp),
        symbol=trade.symbol,
        price=security.price_text(trade.price),
        quantity=security.quantity_text(trade.quantity),
        aggressor_side=trade.aggressor_side,
        maker_order_id=str(trade.maker_order_id),
        taker_order_id=str(trade.taker_order_id),
        maker_fee=cash_to_text(trade.maker_fee),
        taker_fee=cash_to_text(trade.taker_fee),
    )


class OrderView(Answer, frozen=True, kw_only=False):
    """An order and how it stands."""

    order_id: str
    client_id: str
    client_order_id: str
    timestamp: str
    """When it last changed."""
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    expire_at: str | None
    quantity: str
    display_quantity: str | None
    price: str | None
    trigger_price: str | None
    post_only: bool
    status: OrderStatus
    filled_quantity: str
    leaves_quantity: str
    average_price: str | None
    """Mean price of what is filled, before fees; null while nothing is."""
    resting: bool
    """Whether the order is open: it stands in the book, or waits for its trigger."""
    resting_order_id: str | None
    resting_qty: str
    code: str
    """Why the order was rejected, or cancelled by the exchange; empty otherwise."""
    text: str
    trades: list[TradeView]
    """The trades that the order made when it entered: filled in the answer to the request that entered it."""


def order_view(report: OrderReport, security: Security, trades: Sequence[Trade] = ()) -> OrderView:
    """The order that `report` is about, for its client."""
    return OrderView(*_fields_of_order(report, security, trades))


def _fields_of_order(report: OrderReport, security: Security, trades: Sequence[Trade] = ()) -> tuple[Any, ...]:
    """The fields of `OrderView`, in its order: by position, since thirty of them by name take three times as long."""
    order_id, quantity_text, average = str(report.order_id), security.quantity_text, None
    if report.cumulative_quantity:
        average = average_price(report.notional, report.cumulative_quantity, security.lot_size)
    status = report.status
    resting = status is OrderStatus.NEW or status is OrderStatus.PARTIALLY_FILLED
    leaves = quantity_text(report.leaves_quantity)
    return (
        order_id,
        report.client_id,
        report.client_order_id,
        time_text(report.timestamp),
        report.symbol,
        report.side,
        report.order_type,
        report.time_in_force,
        time_text(report.expire_at) if report.expire_at else None,
        quantity_text(report.quantity),
        quantity_text(report.display_quantity) if report.display_quantity else None,
        None if report.price is None else security.price_text(report.price),
        None if report.trigger_price is None else security.price_text(report.trigger_price),
        report.post_only,
        status,
        quantity_text(report.cumulative_quantity),
        leaves,
        average,
        resting,
        order_id if resting else None,
        leaves if resting else quantity_text(0),
        report.code,
        report.text,
        [trade_view(trade, security) for trade in trades] if trades else [],
    )


class ReportView(OrderView, frozen=True, kw_only=False):
    """An execution report: an order that changed, and what changed it."""

    exec_type: str
    last_quantity: str
    last_price: str | None
    fee: str
    trade_id: str | None
    liquidity: str


def report_view(report: OrderReport, security: Security) -> ReportView:
    """`report` for its client."""
    fill = report.trade_id != 0
    fields: tuple[Any, ...] = (
        *_fields_of_order(report, security),
        report.exec_type,
        security.quantity_text(report.last_quantity),
        security.price_text(report.last_price) if fill else None,
        cash_to_text(report.fee),
        str(report.trade_id) if fill else None,
        report.liquidity,
    )
    return ReportView(*fields)


class OrdersView(Answer, frozen=True):
    """A page of orders, newest first."""

    orders: list[OrderView]
    next_before: str | None
    """`before=` of the next page; null on the last."""


class FillView(Answer, frozen=True):
    """What one of your orders traded."""

    fill_id: str
    """Grows; `before=` of the next page."""
    trade_id: str
    order_id: str
    client_order_id: str
    timestamp: str
    symbol: str
    side: Side
    quantity: str
    price: str
    fee: str
    liquidity: Liquidity


class FillsView(Answer, frozen=True):
    """A page of fills, newest first."""

    fills: list[FillView]
    next_before: str | None
    """`before=` of the next page; null on the last."""


def fill_view(fill_id: int, report: OrderReport, security: Security) -> FillView:
    """The fill that `report` tells of, for its client."""
    return FillView(
        fill_id=str(fill_id),
        trade_id=str(report.trade_id),
        order_id=str(report.order_id),
        client_order_id=report.client_order_id,
        timestamp=time_text(report.timestamp),
        symbol=report.symbol,
        side=report.side,
        quantity=security.quantity_text(report.last_quantity),
        price=security.price_text(report.last_price),
        fee=cash_to_text(report.fee),
        liquidity=report.liquidity,
    )


class AccountView(Answer, frozen=True):
    """An account that was opened. The key is shown this once."""

    client_id: str
    api_key: str
    key_id: str
    cash: str
    shares: dict[str, str]


class KeyView(Answer, frozen=True, omit_defaults=True):
    """An API key of yours. The key itself is shown once, when it is issued."""

    key_id: str
    issued_at: str
    revoked_at: str | None = None
    api_key: str | None = None


class TransferView(Answer, frozen=True):
    """A deposit, or a withdrawal, whose numbers are negative."""

    transfer_id: str
    client_id: str
    cash: str
    shares: dict[str, str]
    memo: str


class BalanceView(Answer, frozen=True):
    """A client's settled cash, and what all it has is worth."""

    client_id: str
    cash: str
    equity: str
    """Cash, and each holding at its last price (the reference price before the first trade)."""
    suspended: bool


class MovementView(Answer, frozen=True):
    """One line of a statement: what a trade or a transfer moved, and what the account had after it."""

    movement_id: str
    """Grows; `after=` of the next page."""
    timestamp: str
    kind: str
    """`buy`, `sell` or `transfer`."""
    cash: str
    """What came in, fee included; negative for what went out."""
    shares: dict[str, str]
    """The same of shares, by symbol."""
    fee: str
    price: str | None
    cash_after: str
    shares_after: dict[str, str]
    """Of the securities that moved."""
    trade_id: str | None
    order_id: str | None
    transfer_id: str | None
    memo: str


class StatementView(Answer, frozen=True):
    """A page of a statement, oldest first."""

    movements: list[MovementView]
    next_after: str | None
    """`after=` of the next page; null on the last."""


class HoldingView(Answer, frozen=True):
    """A client's settled shares of one security."""

    client_id: str
    symbol: str
    quantity: str


class SecurityView(Answer, frozen=True):
    """A listed security."""

    symbol: str
    name: str
    state: TradingState
    tick_size: str
    lot_size: str
    maker_fee_bps: int
    taker_fee_bps: int
    pricing_rule: PricingRule
    band_bps: int
    """How far from the reference price a trade may be, in 1/10000; 0 for any."""
    reference_price: str
    last_price: str | None
    """Null before the first trade."""
    quiet: bool
    """Whether the house bots, where there are any, have no orders in it."""


class LevelView(Answer, frozen=True, array_like=True):
    """A price level: [price, quantity, number of orders]."""

    price: str
    quantity: str
    orders: int


class BookView(Answer, frozen=True):
    """A book, best prices first."""

    symbol: str
    sequence: int
    """The book's state after this many changes."""
    bids: list[LevelView]
    asks: list[LevelView]


class RestingOrderView(Answer, frozen=True, array_like=True, kw_only=False):
    """An order in a book: [order id, side, price, quantity shown]; a quantity of 0 for one that is gone."""

    order_id: str
    side: Side
    price: str
    quantity: str


class FullBookView(Answer, frozen=True):
    """Every order of a book, without owners; at a price the oldest first."""

    symbol: str
    sequence: int
    bids: list[RestingOrderView]
    asks: list[RestingOrderView]


class BboView(Answer, frozen=True):
    """The best bid and offer of a book; null where a side is empty. The spread is null too where the two sides cross: an
    auction collects orders, and no trade takes place."""

    symbol: str
    sequence: int
    bid: str | None
    bid_quantity: str | None
    ask: str | None
    ask_quantity: str | None
    spread: str | None


class CandleView(Answer, frozen=True):
    """What the trades of one interval came to."""

    start: str
    open: str
    high: str
    low: str
    close: str
    volume: str
    trades: int


class TickerView(Answer, frozen=True):
    """The last 24 hours of a security, minute by minute; null where nothing traded."""

    symbol: str
    last: str | None
    open: str | None
    high: str | None
    low: str | None
    volume: str
    trades: int
    change: str | None
    change_percent: str | None
    quiet: bool
    """Whether the house bots, where there are any, have no orders in it."""


class EquityView(Answer, frozen=True):
    """What a client was worth at a time."""

    timestamp: str
    equity: str


class CurveView(Answer, frozen=True):
    """A leader's equity over time."""

    client_id: str
    points: list[EquityView]


class TradesView(Answer, frozen=True):
    """A page of trades, newest first."""

    trades: list[TradeView]
    next_before: str | None
    """`before=` of the next page; null on the last."""


class LeaderView(Answer, frozen=True):
    """A place on the leaderboard."""

    rank: int
    client_id: str
    house: bool
    """Whether it is one of the exchange's own bots."""
    equity: str
    cash: str
    given: str
    """What the account was given: its opening and all deposits less all withdrawals, shares at their prices then."""
    profit: str
    """Equity less what was given."""
    return_percent: str | None
    """Profit by what was given; null where nothing was."""
    drawdown: str
    """The deepest fall of the profit from a peak before it, as sampled every five seconds."""
    sharpe: str | None
    """The mean change of the profit from sample to sample by its standard deviation, per sample of five seconds; null in the
    first twelve samples, and for a client that has not traded."""
    trades: int


class ErrorDetail(Answer, frozen=True, omit_defaults=True):
    """Why a request was refused."""

    code: str
    message: str
    field: str | None = None
    retry_after: float | None = None
    """Seconds after which it is of use to ask again."""


class BatchAnswer(Answer, frozen=True, omit_defaults=True):
    """What came of one order of a batch."""

    ok: bool
    order: OrderView | None = None
    error: ErrorDetail | None = None


class ErrorView(Answer, frozen=True):
    """The one shape of an error."""

    error: ErrorDetail
