"""The commands that gateways append to `order_entry`. `records` states the units."""

from microexchange.enums import OrderType, PricingRule, SelfTradePrevention, Side, TimeInForce, TradingState
from microexchange.records import Record
from microexchange.session_commands import SessionCommand


class NewOrder(Record, frozen=True):
    """Enter an order. Its `command_id` becomes the order's id."""

    command_id: int
    timestamp: int
    client_id: str
    symbol: str
    side: Side
    order_type: OrderType
    quantity: int
    price: int | None = None
    """The limit in ticks; None for a market order."""
    client_order_id: str = ""
    """The client's own name; empty if it has none. It is taken while the order is open, and for at least a day."""
    time_in_force: TimeInForce = TimeInForce.GTC
    expire_at: int = 0
    """The time at which a `gtd` order ends; 0 for other orders."""
    trigger_price: int | None = None
    """The price in ticks at which a stop or take-profit order becomes active; None for other orders."""
    post_only: bool = False
    """Reject the order if it would trade on entry."""
    display_quantity: int = 0
    """Lots of an iceberg that the book shows; 0 shows the whole order."""


class ReplaceOrder(Record, frozen=True):
    """Change an open order (FIX 35=G). None does not change a field."""

    command_id: int
    timestamp: int
    client_id: str
    order_id: int
    quantity: int | None = None
    """The whole quantity in lots, with what has already traded."""
    price: int | None = None
    trigger_price: int | None = None


class CancelAll(Record, frozen=True):
    """Cancel all open orders of a client (FIX 35=q), or those of one security, one side, or both."""

    command_id: int
    timestamp: int
    client_id: str
    symbol: str = ""
    """Empty means all securities."""
    side: Side | None = None


class CancelOrder(Record, frozen=True):
    """Cancel an open order of this client."""

    command_id: int
    timestamp: int
    client_id: str
    order_id: int


class OpenAccount(Record, frozen=True):
    """Open a client's account with cash and shares from the issuer."""

    command_id: int
    timestamp: int
    client_id: str
    cash: int
    shares: dict[str, int] = {}  # noqa: RUF012 - msgspec copies an empty default
    """Lots by symbol."""
    self_trade_prevention: SelfTradePrevention = SelfTradePrevention.CANCEL_NEWEST
    credit_limit: int = 0
    """The amount in cash units by which cash may be below zero."""
    short_limit: int = 0
    """The greatest value of all short positions together, in cash units at the reference prices of the listings."""
    house: bool = False
    """Whether the account is of the exchange's own bots."""


class TransferAssets(Record, frozen=True):
    """Move cash and shares from the issuer to a client (a deposit). Negative amounts are a withdrawal."""

    command_id: int
    timestamp: int
    client_id: str
    cash: int
    shares: dict[str, int] = {}  # noqa: RUF012 - msgspec copies an empty default
    """Lots by symbol."""
    memo: str = ""
    """The purpose of the transfer."""


class ResumeClient(Record, frozen=True):
    """Let a suspended client trade again."""

    command_id: int
    timestamp: int
    client_id: str


class SetTradingState(Record, frozen=True):
    """Change the trading state of a security."""

    command_id: int
    timestamp: int
    symbol: str
    state: TradingState


class SaveBook(Record, frozen=True):
    """Save the resting orders of a security under a name."""

    command_id: int
    timestamp: int
    symbol: str
    name: str


class LoadBook(Record, frozen=True):
    """Restore a saved book: cancel the resting orders, then enter the saved orders. The current credit limits apply."""

    command_id: int
    timestamp: int
    symbol: str
    name: str


class TimeTick(Record, frozen=True):
    """Advance the time of the engine, so that orders expire and auctions end without other commands."""

    command_id: int
    timestamp: int


class SuspendClient(Record, frozen=True):
    """Cancel the open orders of a client, and refuse its new orders."""

    command_id: int
    timestamp: int
    client_id: str
    text: str = ""


class ListSecurity(Record, frozen=True):
    """List a security."""

    command_id: int
    timestamp: int
    symbol: str
    name: str
    tick_size: str
    """Currency per tick, as decimal text."""
    lot_size: str
    """Shares per lot, as decimal text."""
    reference_price: int
    """The price in ticks at which the security is valued before its first trade."""
    maker_fee_bps: int = 10
    """Basis points of the notional; negative for a rebate."""
    taker_fee_bps: int = 20
    pricing_rule: PricingRule = PricingRule.RESTING
    band_bps: int = 0
    """The greatest distance of a trade from the moving reference, up or down, in basis points; 0 means no limit."""
    auction_seconds: int = 30
    """The duration of the auction after a trade would have been outside the band, in seconds."""
    max_order_quantity: int = 0
    """The greatest quantity of an order in lots; 0 means the limit of the exchange."""
    max_order_value: int = 0
    """The greatest notional of an order in cash units; 0 means the limit of the exchange."""
    short_limit: int = 0
    """Lots that each client may be short."""
    position_limit: int = 0
    """The greatest quantity in lots that a client may hold, with open buys; 0 means no limit."""
    state: TradingState = TradingState.CONTINUOUS
    """The trading state after the listing."""


class GatewayLogon(Record, frozen=True):
    """Start the session of a gateway. The engine replies with `GatewayLoggedOn`, which has the last used id."""

    command_id: int
    """0. The gateway sends the logon before it has the last used id."""
    timestamp: int
    gateway: int
    fencing_token: int
    """A number that grows with each start of the gateway."""


Command = (
    NewOrder
    | CancelOrder
    | ReplaceOrder
    | CancelAll
    | OpenAccount
    | TransferAssets
    | SuspendClient
    | ResumeClient
    | ListSecurity
    | SetTradingState
    | SaveBook
    | LoadBook
    | TimeTick
    | GatewayLogon
    | SessionCommand
)
