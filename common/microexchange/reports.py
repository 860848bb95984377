"""The reports on `data_feed`, from the engine, the gateways and the clearinghouse. `records` states the units."""

from microexchange.commands import ListSecurity, NewOrder
from microexchange.enums import (
    ExecType,
    Liquidity,
    OrderStatus,
    OrderType,
    PricingRule,
    Seat,
    SettlementStatus,
    Side,
    TimeInForce,
    TradingState,
)
from microexchange.instructions import Instruction
from microexchange.records import Record, shared_fields
from microexchange.session_reports import SessionReport


class OrderReport(Record, frozen=True):
    """An execution report (FIX 35=8): a change of an order, and the order after it."""

    order_id: int
    command_id: int
    """The command that caused the report. It may be of another order or client, for example if it trades with this order."""
    timestamp: int
    client_id: str
    client_order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    quantity: int
    price: int | None
    exec_type: ExecType
    status: OrderStatus
    leaves_quantity: int
    """Lots that are still open."""
    cumulative_quantity: int
    """Lots that have traded."""
    notional: int
    """Price times quantity of all fills in cash units, without fees."""
    last_quantity: int = 0
    """Lots of this fill. Only reports with exec type `TRADE` have a fill."""
    last_price: int = 0
    """The price of this fill in ticks."""
    fee: int = 0
    """The fee of this fill in cash units; negative for a rebate."""
    trade_id: int = 0
    liquidity: Liquidity = Liquidity.NONE
    code: str = ""
    """The reason why the order was rejected, or cancelled by the exchange: a `refusals.Code`."""
    text: str = ""
    time_in_force: TimeInForce = TimeInForce.GTC
    expire_at: int = 0
    trigger_price: int | None = None
    post_only: bool = False
    display_quantity: int = 0

    @classmethod
    def pending(cls, order: NewOrder) -> "OrderReport":
        """Return the gateway's own report: the order is on the log, and the engine will read it."""
        return cls(
            order_id=order.command_id,
            command_id=order.command_id,
            timestamp=order.timestamp,
            exec_type=ExecType.PENDING_NEW,
            status=OrderStatus.PENDING_NEW,
            leaves_quantity=order.quantity,
            cumulative_quantity=0,
            notional=0,
            **{name: getattr(order, name) for name in ORDER_TERMS},
        )


ORDER_TERMS = shared_fields(NewOrder, OrderReport)
"""The names of an order's terms: the fields of `NewOrder` that its reports repeat."""


class OrderRepeated(Record, frozen=True):
    """A rejected order that has the client order id and the terms of an earlier order. That one is its answer."""

    command_id: int
    timestamp: int
    client_id: str
    client_order_id: str
    order_id: int
    """The earlier order."""


class CommandRejected(Record, frozen=True):
    """The refusal of a command that is not a new order (FIX 35=9, 35=3)."""

    command_id: int
    timestamp: int
    client_id: str
    code: str
    text: str
    order_id: int = 0
    """The order of the command, or 0."""


class CommandAccepted(Record, frozen=True):
    """The acceptance of a command that may cause no other report, such as `CancelAll` or `SetTradingState`."""

    command_id: int
    timestamp: int


class AccountOpened(Record, frozen=True):
    """A new account."""

    command_id: int
    timestamp: int
    client_id: str
    cash: int
    shares: dict[str, int]
    house: bool = False
    """Whether it is an account of the exchange's own bots."""


class AssetsTransferred(Record, frozen=True):
    """A transfer from the issuer to a client. Negative amounts go to the issuer. Fields as in `TransferAssets`."""

    command_id: int
    timestamp: int
    client_id: str
    cash: int
    shares: dict[str, int]
    memo: str = ""


class ClientSuspended(Record, frozen=True):
    """The suspension of a client: it can enter no orders."""

    command_id: int
    timestamp: int
    client_id: str
    text: str


class ClientResumed(Record, frozen=True):
    """The end of the suspension of a client."""

    command_id: int
    timestamp: int
    client_id: str


class KeyIssued(Record, frozen=True):
    """A new API key of a client. The exchange does not store the key itself."""

    client_id: str
    key_id: str
    timestamp: int


class KeyRevoked(Record, frozen=True):
    """The end of the validity of an API key."""

    client_id: str
    key_id: str
    timestamp: int


class ParticipantChanged(Record, frozen=True):
    """A participant of a classroom, after a change."""

    client_id: str
    timestamp: int
    nickname: str
    team: str
    """Empty if there are no teams."""
    seat: Seat


class TradingStateChanged(Record, frozen=True):
    """A new trading state of a security."""

    symbol: str
    timestamp: int
    state: TradingState
    ends_at: int = 0
    """The time at which the state ends by itself; 0 if it does not."""
    reason: str = ""


class BookSaved(Record, frozen=True):
    """A saved book."""

    command_id: int
    timestamp: int
    symbol: str
    name: str
    orders: int


class BookLoaded(Record, frozen=True):
    """A restored book. Reports of the orders that could not enter again come before it."""

    command_id: int
    timestamp: int
    symbol: str
    name: str
    orders: int
    """The number of orders that rest again."""
    refused: int


class AuctionUpdate(Record, frozen=True):
    """The result of an auction if it ended now."""

    symbol: str
    timestamp: int
    price: int
    """The price in ticks; 0 if nothing would trade."""
    quantity: int
    """Lots that would trade."""
    imbalance: int
    """Lots that would be left over at the price: positive for buys, negative for sells."""


class SecurityListed(Record, frozen=True):
    """A listed security. Fields as in `ListSecurity`."""

    command_id: int
    timestamp: int
    symbol: str
    name: str
    tick_size: str
    lot_size: str
    tick_value: int
    """The value of one lot at a price of one tick, in cash units: `tick_size` times `lot_size`."""
    reference_price: int
    maker_fee_bps: int
    taker_fee_bps: int
    pricing_rule: PricingRule = PricingRule.RESTING
    band_bps: int = 0
    auction_seconds: int = 30
    max_order_quantity: int = 0
    max_order_value: int = 0
    short_limit: int = 0
    position_limit: int = 0
    state: TradingState = TradingState.CONTINUOUS

    @classmethod
    def of(cls, command: ListSecurity, tick_value: int) -> "SecurityListed":
        """Return the report of a listing. `tick_value` is in cash units: `numbers.tick_value` computes it."""
        terms = {name: getattr(command, name) for name in SECURITY_TERMS}
        return cls(command_id=command.command_id, timestamp=command.timestamp, tick_value=tick_value, **terms)


SECURITY_TERMS = shared_fields(ListSecurity, SecurityListed)
"""The names of a security's terms: the fields of `ListSecurity` that its report repeats."""


class GatewayLoggedOn(Record, frozen=True):
    """The engine's reply to the logon of a gateway."""

    gateway: int
    fencing_token: int
    timestamp: int
    last_command_id: int
    """The greatest command id that the engine has read from the gateway. It ignores commands up to this id."""


class Trade(Record, frozen=True):
    """A trade as market data, without its clients."""

    trade_id: int
    timestamp: int
    symbol: str
    price: int
    quantity: int
    aggressor_side: Side
    maker_order_id: int
    taker_order_id: int
    maker_fee: int
    taker_fee: int


class PriceUpdate(Record, frozen=True):
    """The new state of one price level (a market-by-price update)."""

    symbol: str
    book_sequence: int
    """The number of this update of the book, without a gap."""
    timestamp: int
    side: Side
    price: int
    quantity: int
    """Lots at this price; 0 if the level has no orders."""
    order_count: int


class SettlementReport(Record, frozen=True):
    """The result of an instruction: settled or rejected."""

    instruction: int
    """The sequence number of the instruction on `order_execution`."""
    timestamp: int
    status: SettlementStatus
    trade_id: int
    """The trade, or 0 for a transfer."""
    transfer_id: int
    """The transfer, or 0 for a trade."""
    cash: list[tuple[str, int]]
    """Cash after it: (client id, cash units)."""
    holdings: list[tuple[str, str, int]]
    """Holdings after it: (client id, symbol, lots)."""
    text: str = ""


Report = (
    OrderReport
    | OrderRepeated
    | CommandRejected
    | CommandAccepted
    | AccountOpened
    | AssetsTransferred
    | ClientSuspended
    | ClientResumed
    | KeyIssued
    | KeyRevoked
    | ParticipantChanged
    | SecurityListed
    | TradingStateChanged
    | BookSaved
    | BookLoaded
    | AuctionUpdate
    | GatewayLoggedOn
    | Trade
    | PriceUpdate
    | SettlementReport
    | SessionReport
)

Event = Instruction | Report
"""A record that the matching engine emits."""
