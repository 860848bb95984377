"""The reports on `data_feed`, from the engine, the gateways and the clearinghouse. `records` states the units."""

from microexchange.commands import ListSecurity, NewOrder
from microexchange.enums import (
    ExecType,
    Liquidity,
    OrderStatus,
    OrderType,
    PricingRule,
    SettlementStatus,
    Side,
    TimeInForce,
    TradingState,
)
from microexchange.instructions import Instruction
from microexchange.records import Record, shared_fields


class OrderReport(Record, frozen=True):
    """An execution report (FIX 35=8): what happened to an order, and how it stands now."""

    order_id: int
    command_id: int
    """The command that caused this report: the order's own, or another's that traded with it or cancelled it."""
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
    """Lots that can still trade."""
    cumulative_quantity: int
    """Lots that have traded."""
    notional: int
    """Cash units for which they traded, without fees."""
    last_quantity: int = 0
    """Lots of this fill, for exec type TRADE."""
    last_price: int = 0
    """Ticks of this fill."""
    fee: int = 0
    """Cash units that this fill cost; negative for a rebate."""
    trade_id: int = 0
    liquidity: Liquidity = Liquidity.NONE
    code: str = ""
    """Why the order was rejected, or cancelled by the exchange: a `refusals.Code`."""
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


class CommandRejected(Record, frozen=True):
    """The engine refused a command that is not a new order (FIX 35=9, 35=3)."""

    command_id: int
    timestamp: int
    client_id: str
    code: str
    text: str
    order_id: int = 0
    """The order that the command was about, or 0."""


class CommandAccepted(Record, frozen=True):
    """The engine has taken a command that need not cause anything else: to cancel all, to change a state."""

    command_id: int
    timestamp: int


class AccountOpened(Record, frozen=True):
    """A client's account is open."""

    command_id: int
    timestamp: int
    client_id: str
    cash: int
    shares: dict[str, int]
    house: bool = False
    """Whether it is an account of the exchange's own bots."""


class AssetsTransferred(Record, frozen=True):
    """The issuer gave a client cash and shares; negative, took them back. Fields as in `TransferAssets`."""

    command_id: int
    timestamp: int
    client_id: str
    cash: int
    shares: dict[str, int]
    memo: str = ""


class ClientSuspended(Record, frozen=True):
    """Trading has stopped for a client."""

    command_id: int
    timestamp: int
    client_id: str
    text: str


class ClientResumed(Record, frozen=True):
    """A suspended client may trade again."""

    command_id: int
    timestamp: int
    client_id: str


class KeyIssued(Record, frozen=True):
    """A gateway has given a client an API key; the key itself nobody keeps."""

    client_id: str
    key_id: str
    timestamp: int


class KeyRevoked(Record, frozen=True):
    """A client's API key is no longer valid."""

    client_id: str
    key_id: str
    timestamp: int


class TradingStateChanged(Record, frozen=True):
    """A security's market is in another state now."""

    symbol: str
    timestamp: int
    state: TradingState
    ends_at: int = 0
    """When the state ends by itself; 0 if it does not."""
    reason: str = ""


class BookSaved(Record, frozen=True):
    """The orders of a book are remembered."""

    command_id: int
    timestamp: int
    symbol: str
    name: str
    orders: int


class BookLoaded(Record, frozen=True):
    """A book is back to what was saved, but for the orders that were refused: their reports come before this."""

    command_id: int
    timestamp: int
    symbol: str
    name: str
    orders: int
    """How many rest again."""
    refused: int


class AuctionUpdate(Record, frozen=True):
    """Where an auction would uncross if it ended now."""

    symbol: str
    timestamp: int
    price: int
    """Ticks; 0 where nothing would trade."""
    quantity: int
    """Lots that would trade."""
    imbalance: int
    """Lots that would not, at that price: positive where buys are left over."""


class SecurityListed(Record, frozen=True):
    """A security is listed; fields as in `ListSecurity`."""

    command_id: int
    timestamp: int
    symbol: str
    name: str
    tick_size: str
    lot_size: str
    tick_value: int
    """Cash units that one lot is worth at one tick: tick_size x lot_size / 1e-8."""
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
    """The engine has heard a gateway's logon."""

    gateway: int
    fencing_token: int
    timestamp: int
    last_command_id: int
    """The highest id the engine has seen from that gateway; it ignores all up to it."""


class Trade(Record, frozen=True):
    """A trade as the market sees it: nobody's name on it."""

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
    """One price level of a book as it stands now (a market-by-price update)."""

    symbol: str
    book_sequence: int
    """Counts the updates of this book, without a gap."""
    timestamp: int
    side: Side
    price: int
    quantity: int
    """Lots at this price now; 0 when the level is gone."""
    order_count: int


class SettlementReport(Record, frozen=True):
    """The clearinghouse has settled an instruction, or could not."""

    instruction: int
    """The sequence number of the instruction on `order_execution`."""
    timestamp: int
    status: SettlementStatus
    trade_id: int
    """The trade, or 0 for a transfer."""
    transfer_id: int
    """The transfer, or 0 for a trade."""
    cash: list[tuple[str, int]]
    """Balances after it: (client id, units)."""
    holdings: list[tuple[str, str, int]]
    """Holdings after it: (client id, symbol, lots)."""
    text: str = ""


Report = (
    OrderReport
    | CommandRejected
    | CommandAccepted
    | AccountOpened
    | AssetsTransferred
    | ClientSuspended
    | ClientResumed
    | KeyIssued
    | KeyRevoked
    | SecurityListed
    | TradingStateChanged
    | BookSaved
    | BookLoaded
    | AuctionUpdate
    | GatewayLoggedOn
    | Trade
    | PriceUpdate
    | SettlementReport
)

Event = Instruction | Report
"""What the matching engine emits."""
