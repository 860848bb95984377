"""The answers of the gateway and the feed as typed structures. JSON, OpenAPI and the bots share them.

Decimal numbers are text, so that no client rounds them to floats. Ids are text, since a number in JavaScript has 53 bits.
Times are ISO 8601 in UTC.

The docstrings of the classes are in the API reference. Each is one paragraph: Markdown would render the indentation
of a second one as code.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from microexchange.enums import Liquidity, OrderStatus, OrderType, PricingRule, Seat, Side, TimeInForce, TradingState
from microexchange.numbers import average_price, cash_to_text
from microexchange.reports import OrderReport, Trade
from microexchange.securities import Security

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def unix_ns(at: datetime) -> int:
    """Return a time with an offset as nanoseconds of Unix time, exact to the microsecond."""
    return (at - _UNIX_EPOCH) // timedelta(microseconds=1) * 1000


@lru_cache(1024)
def time_text(nanoseconds: int) -> str:
    """Return nanoseconds of Unix time as ISO 8601 with microseconds.

    >>> time_text(1_700_000_000_123_456_789)
    '2023-11-14T22:13:20.123456Z'
    """
    seconds, microseconds = divmod(nanoseconds // 1000, 1_000_000)
    return f"{_second_text(seconds)}{microseconds:06d}Z"


@lru_cache(256)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.")


class Answer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The base class of all answers."""


class TradeView(Answer, frozen=True):
    """A trade as public market data. `maker_fee` and `taker_fee` are in cash; a negative fee is a rebate."""

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
    """Return the answer for a trade."""
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
    """The current state of an order."""

    order_id: str
    client_id: str
    client_order_id: str
    timestamp: str
    """The time of the last change."""
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
    """The mean price of the fills, without fees; null before the first fill."""
    resting: bool
    """Whether the order is open: it rests in the book, or waits for its trigger."""
    resting_order_id: str | None
    resting_qty: str
    code: str
    """The reason why the order was rejected, or cancelled by the exchange; empty otherwise."""
    text: str
    trades: list[TradeView]
    """The trades of the order on entry. Only the answer to the request that entered the order has them."""
    duplicate: bool
    """Whether an earlier request has entered this order. It is true only in the answer to a request that repeats it."""


def order_view(
    report: OrderReport, security: Security, trades: Sequence[Trade] = (), is_duplicate: bool = False
) -> OrderView:
    """Return the answer for the order of `report`. Only its client may receive it."""
    return OrderView(*_fields_of_order(report, security, trades, is_duplicate))


def _fields_of_order(
    report: OrderReport, security: Security, trades: Sequence[Trade] = (), is_duplicate: bool = False
) -> tuple[Any, ...]:
    """Return the fields of `OrderView` in their order. By name, thirty fields would take three times as long."""
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
        is_duplicate,
    )


class ReportView(OrderView, frozen=True, kw_only=False):
    """An execution report: the state of an order after a change, and the change.
    `last_quantity`, `last_price`, `fee`, `trade_id` and `liquidity` describe a fill.
    """

    exec_type: str
    last_quantity: str
    last_price: str | None
    fee: str
    trade_id: str | None
    liquidity: str


def report_view(report: OrderReport, security: Security) -> ReportView:
    """Return the answer for an execution report. Only the client of the order may receive it."""
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
    """The value of `before` for the next page; null on the last page."""


class FillView(Answer, frozen=True):
    """A fill of one of your orders."""

    fill_id: str
    """A number that increases from fill to fill. Send it as `before` to get older fills."""
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
    """The value of `before` for the next page; null on the last page."""


def fill_view(fill_id: int, report: OrderReport, security: Security) -> FillView:
    """Return the answer for the fill of `report`. Only the client of the order may receive it."""
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
    """A new account, with its API key. No other answer has the key."""

    client_id: str
    api_key: str
    key_id: str
    cash: str
    shares: dict[str, str]


class KeyView(Answer, frozen=True, omit_defaults=True):
    """An API key of yours. Only the answer that issues it has the key itself, in `api_key`."""

    key_id: str
    issued_at: str
    revoked_at: str | None = None
    api_key: str | None = None


class ParticipantView(Answer, frozen=True):
    """A person in a classroom."""

    client_id: str
    nickname: str
    team: str
    seat: Seat
    """`invited`: the next person with this nickname gets the seat. `joined`. `removed`."""


class LobbyView(Answer, frozen=True):
    """The people in a classroom."""

    participants: list[ParticipantView]


class SeatsView(Answer, frozen=True):
    """The PIN and the link of a classroom, and the people in it."""

    pin: str
    join_url: str
    participants: list[ParticipantView]


class JoinView(Answer, frozen=True):
    """A seat in a classroom. Store `api_key`: the exchange does not return it again."""

    client_id: str
    nickname: str
    team: str
    api_key: str


class TransferView(Answer, frozen=True):
    """A deposit, or a withdrawal with negative amounts."""

    transfer_id: str
    client_id: str
    cash: str
    shares: dict[str, str]
    memo: str


class BalanceView(Answer, frozen=True):
    """The settled cash and the equity of a client."""

    client_id: str
    cash: str
    equity: str
    """Cash and all holdings at the last price. Before the first trade of a security, its reference price counts."""
    suspended: bool


class MovementView(Answer, frozen=True):
    """One line of a statement: the changes of an account by a trade or a transfer, and the balances after it."""

    movement_id: str
    """A number that increases from line to line. Send it as `after` to get newer lines."""
    timestamp: str
    kind: str
    """`buy`, `sell` or `transfer`."""
    cash: str
    """The change of cash, with the fee; negative if cash was paid."""
    shares: dict[str, str]
    """The changes of holdings by symbol; negative if shares were delivered."""
    fee: str
    price: str | None
    cash_after: str
    shares_after: dict[str, str]
    """The holdings of the securities in `shares`, after the change."""
    trade_id: str | None
    order_id: str | None
    transfer_id: str | None
    memo: str


class StatementView(Answer, frozen=True):
    """A page of a statement, oldest line first."""

    movements: list[MovementView]
    next_after: str | None
    """The value of `after` for the next page; null on the last page."""


class HoldingView(Answer, frozen=True):
    """The settled quantity of one security that a client holds."""

    client_id: str
    symbol: str
    quantity: str


class PositionView(Answer, frozen=True):
    """A client's position by the average-cost method. A transfer of shares counts as a trade at the last price."""

    symbol: str
    quantity: str
    """Fills count at once, before they are settled. Negative if the position is short."""
    average_cost: str | None
    """The mean price of the open quantity, without fees; null if it is zero."""
    cost: str
    """The average cost times the quantity."""
    last: str
    """The last price or, before the first trade, the reference price."""
    value: str
    unrealised: str
    """`value` less `cost`."""
    realised: str
    """The profit of what was closed, without fees."""
    fees: str
    """The fees of all fills, less rebates."""
    today: str
    """The change of the realised and unrealised profit less fees since midnight UTC."""
    trades: int
    """Fills. A position that only transfers have changed has none."""


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
    """The greatest distance of a trade from the moving reference, in basis points; 0 means no limit."""
    reference_price: str
    last_price: str | None
    """Null before the first trade."""
    quiet: bool
    """Whether the market has house bots, and none had an order in the security in the last ten seconds."""


class LevelView(Answer, frozen=True, array_like=True):
    """A price level as an array: `[price, quantity, orders]`. `orders` is the number of orders at the price."""

    price: str
    quantity: str
    orders: int


class BookView(Answer, frozen=True):
    """The price levels of a book, the best price of each side first."""

    symbol: str
    sequence: int
    """The number of the last change of the book. It increases by one with each change."""
    bids: list[LevelView]
    asks: list[LevelView]


class RestingOrderView(Answer, frozen=True, array_like=True, kw_only=False):
    """A resting order as an array: `[order_id, side, price, quantity]`.
    Of an iceberg, `quantity` is the displayed part. In an update, a quantity of 0 means that the order has left the book.
    """

    order_id: str
    side: Side
    price: str
    quantity: str


class FullBookView(Answer, frozen=True):
    """All resting orders of a book, without their clients.
    The best price of each side is first, and the oldest order first at each price.
    """

    symbol: str
    sequence: int
    bids: list[RestingOrderView]
    asks: list[RestingOrderView]


class BboView(Answer, frozen=True):
    """The best bid and offer of a book. The fields of an empty side are null.
    The spread is null if a side is empty, or if the sides cross: during an auction, orders do not trade.
    """

    symbol: str
    sequence: int
    bid: str | None
    bid_quantity: str | None
    ask: str | None
    ask_quantity: str | None
    spread: str | None


class CandleView(Answer, frozen=True):
    """The trades of one interval: prices, volume and number of trades."""

    start: str
    open: str
    high: str
    low: str
    close: str
    volume: str
    trades: int


class TickerView(Answer, frozen=True):
    """The trades of a security in the last 24 hours. Prices are null without a trade.
    The resolution is one minute.
    """

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
    """Whether the market has house bots, and none had an order in the security in the last ten seconds."""


class EquityView(Answer, frozen=True):
    """The equity of a client at a time."""

    timestamp: str
    equity: str


class CurveView(Answer, frozen=True):
    """The equity of a client over time."""

    client_id: str
    points: list[EquityView]


class TradesView(Answer, frozen=True):
    """A page of trades, newest first."""

    trades: list[TradeView]
    next_before: str | None
    """The value of `before` for the next page; null on the last page."""


class LeaderView(Answer, frozen=True):
    """A row of the leaderboard."""

    rank: int
    client_id: str
    nickname: str
    """The name of the participant in a classroom; otherwise the client id."""
    house: bool
    """Whether the client is one of the exchange's own bots."""
    equity: str
    cash: str
    given: str
    """The opening balance and all deposits, less all withdrawals. Shares count at their prices at that time."""
    profit: str
    """Equity less `given`."""
    return_percent: str | None
    """Profit as a percentage of `given`; null if `given` is zero."""
    drawdown: str
    """The greatest fall of the profit from an earlier peak, from samples every five seconds."""
    sharpe: str | None
    """The mean change of the profit between samples, divided by its standard deviation.

    There is a sample every five seconds. Null in the first twelve samples, and before the first trade of the client."""
    trades: int


class ErrorDetail(Answer, frozen=True, omit_defaults=True):
    """The reason for a refusal."""

    code: str
    message: str
    field: str | None = None
    retry_after: float | None = None
    """Seconds after which you can send the request again."""


class BatchAnswer(Answer, frozen=True, omit_defaults=True):
    """The result of one order of a batch: `order` if `ok` is true, `error` otherwise."""

    ok: bool
    order: OrderView | None = None
    error: ErrorDetail | None = None


class ErrorView(Answer, frozen=True):
    """An error. All refusals have this form."""

    error: ErrorDetail
