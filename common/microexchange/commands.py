"""The commands that gateways append to `order_entry`. `records` states the units."""

from microexchange.enums import OrderType, PricingRule, SelfTradePrevention, Side, TimeInForce, TradingState
from microexchange.records import Record


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
    """Limit in ticks; None for a market order."""
    client_order_id: str = ""
    """The client's own name for the order, unique among its open orders; empty for none."""
    time_in_force: TimeInForce = TimeInForce.GTC
    expire_at: int = 0
    """When a `gtd` order ends; 0 for the others."""
    trigger_price: int | None = None
    """Ticks at which a stop or take-profit order becomes active; None for the others."""
    post_only: bool = False
    """Rather be rejected than trade on entry."""
    display_quantity: int = 0
    """Lots that the book shows at a time (an iceberg); 0 for all."""


class ReplaceOrder(Record, frozen=True):
    """Change an open order (FIX 35=G). None leaves a field as it is."""

    command_id: int
    timestamp: int
    client_id: str
    order_id: int
    quantity: int | None = None
    """Lots in all, with what has traded."""
    price: int | None = None
    trigger_price: int | None = None


class CancelAll(Record, frozen=True):
    """Cancel all open orders of a client (FIX 35=q), or those of one security, one side, or both."""

    command_id: int
    timestamp: int
    client_id: str
    symbol: str = ""
    """Empty for all."""
    side: Side | None = None


class CancelOrder(Record, frozen=True):
    """Cancel what is left of an open order of this client."""

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
    """Cash units that the client may owe."""
    short_limit: int = 0
    """Cash units, at the reference prices of the listings: the most that all its short positions together may come to."""
    house: bool = False
    """Whether it is an account of the exchange's own bots."""


class TransferAssets(Record, frozen=True):
    """Move cash and shares between the issuer and a client: a deposit, an endowment of shares; negative, a withdrawal."""

    command_id: int
    timestamp: int
    client_id: str
    cash: int
    shares: dict[str, int] = {}  # noqa: RUF012 - msgspec copies an empty default
    """Lots by symbol."""
    memo: str = ""
    """What it is for."""


class ResumeClient(Record, frozen=True):
    """Let a suspended client trade again."""

    command_id: int
    timestamp: int
    client_id: str


class SetTradingState(Record, frozen=True):
    """Move a security's market to another state."""

    command_id: int
    timestamp: int
    symbol: str
    state: TradingState


class SaveBook(Record, frozen=True):
    """Remember the orders that rest in a security's book, under a name."""

    command_id: int
    timestamp: int
    symbol: str
    name: str


class LoadBook(Record, frozen=True):
    """Put a book back to what was saved: cancel what rests now, and enter what rested then against today's credit."""

    command_id: int
    timestamp: int
    symbol: str
    name: str


class TimeTick(Record, frozen=True):
    """Nothing but the time: lets orders expire and auctions end in a quiet market."""

    command_id: int
    timestamp: int


class SuspendClient(Record, frozen=True):
    """Stop trading for a client: cancel its open orders and refuse new ones."""

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
    """Decimal text: currency per tick."""
    lot_size: str
    """Decimal text: shares per lot."""
    reference_price: int
    """Ticks: the price that the security is marked at before its first trade."""
    maker_fee_bps: int = 10
    """Of the notional; negative for a rebate."""
    taker_fee_bps: int = 20
    pricing_rule: PricingRule = PricingRule.RESTING
    band_bps: int = 0
    """How far from the reference price, either way, a trade may be; 0 for any."""
    auction_seconds: int = 30
    """How long the auction lasts that follows a trade outside the band."""
    max_order_quantity: int = 0
    """Most lots of one order; 0 for the exchange's own limit."""
    max_order_value: int = 0
    """Most cash units of one order; 0 for the exchange's own limit."""
    short_limit: int = 0
    """Lots that each client may be short."""
    position_limit: int = 0
    """Most lots that each client may come to hold; 0 for any."""
    state: TradingState = TradingState.CONTINUOUS
    """The state it begins in."""


class GatewayLogon(Record, frozen=True):
    """A gateway begins to send. The engine answers with `GatewayLoggedOn`, so the gateway knows which ids are used."""

    command_id: int
    """0: a logon comes before the gateway knows which ids are free, and it changes no state that ids guard."""
    timestamp: int
    gateway: int
    fencing_token: int
    """Grows with each start of the gateway."""


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
)
