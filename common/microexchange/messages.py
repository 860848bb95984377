"""Every record that travels on the log, and the batch that carries them.

Three topics, three families:

- a **command** on `order_entry` asks the matching engine for something;
- an **instruction** on `order_execution` tells the clearinghouse what to settle;
- a **report** on `data_feed` tells everybody what happened.

Records are arrays in msgpack, their class name first (the *tag*). Fields are only ever added at the end, with a default,
so that an older record still reads. Units: prices in ticks, quantities in lots, cash in 1e-8, times in nanoseconds of Unix
time. `timestamp` is the gateway's stamp on the command that caused the record: the engine knows no other clock.
"""

from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec

VERSION = 1
"""Version of the batch envelope. Raised when an old reader could not make sense of a new batch."""

ORDER_ENTRY = "order_entry"
ORDER_EXECUTION = "order_execution"
DATA_FEED = "data_feed"
TOPICS = (ORDER_ENTRY, ORDER_EXECUTION, DATA_FEED)


class Side(StrEnum):
    """Side of an order (FIX tag 54)."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """Type of an order (FIX tag 40). What each asks for and allows is in `kinds.ORDER_KINDS`."""

    LIMIT = "limit"
    MARKET = "market"
    STOP_MARKET = "stop_market"
    """Becomes a market order when the last price has moved against it as far as its trigger."""
    STOP_LIMIT = "stop_limit"
    TAKE_PROFIT = "take_profit"
    """Becomes a market order when the last price has moved in its favour as far as its trigger."""
    TAKE_PROFIT_LIMIT = "take_profit_limit"


class TimeInForce(StrEnum):
    """How long an order lives (FIX tag 59)."""

    GTC = "gtc"
    """Until it is cancelled."""
    DAY = "day"
    """Until the session ends: until its security is closed."""
    GTD = "gtd"
    """Until a time."""
    IOC = "ioc"
    """What does not trade at once is cancelled."""
    FOK = "fok"
    """All of it trades at once, or none."""


class SelfTradePrevention(StrEnum):
    """What happens where a client's order would trade with its own."""

    CANCEL_NEWEST = "cancel_newest"
    CANCEL_OLDEST = "cancel_oldest"
    CANCEL_BOTH = "cancel_both"
    DECREMENT = "decrement"
    """Both lose the smaller one's quantity, without a trade."""
    NONE = "none"
    """They trade."""


class PricingRule(StrEnum):
    """At what price two orders trade."""

    RESTING = "resting"
    """At the resting order's price."""
    MIDPOINT = "midpoint"
    """At the mean of both limits, rounded half-even to the tick."""
    SPREAD_CAPTURE = "spread_capture"
    """Each side at its own limit; the exchange keeps the difference."""


class TradingState(StrEnum):
    """What a security's market does (FIX tag 340)."""

    PRE_OPEN = "pre_open"
    """Collects orders."""
    OPENING_AUCTION = "opening_auction"
    """Collects orders, and ends in an uncrossing."""
    CONTINUOUS = "continuous"
    HALTED = "halted"
    """Takes cancels alone."""
    VOLATILITY_AUCTION = "volatility_auction"
    """The pause after a trade would have left the price band: an auction that ends by itself."""
    CLOSING_AUCTION = "closing_auction"
    """Collects orders, and ends in an uncrossing."""
    CLOSED = "closed"
    """Takes cancels alone; day orders have expired."""
    DELISTED = "delisted"
    """It is over: all orders were cancelled, and no other state follows. Holdings stay."""


class OrderStatus(StrEnum):
    """State of an order (FIX tag 39)."""

    PENDING_NEW = "PENDING_NEW"
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"

    @property
    def is_final(self) -> bool:
        """Whether an order in this state can never change again."""
        return _IS_FINAL[self]


_IS_FINAL = {  # every status: one that is missing is a KeyError, and a test names it
    OrderStatus.PENDING_NEW: False,
    OrderStatus.NEW: False,
    OrderStatus.PARTIALLY_FILLED: False,
    OrderStatus.FILLED: True,
    OrderStatus.CANCELED: True,
    OrderStatus.REJECTED: True,
    OrderStatus.EXPIRED: True,
}


class ExecType(StrEnum):
    """What an order report tells (FIX tag 150)."""

    PENDING_NEW = "PENDING_NEW"
    NEW = "NEW"
    TRADE = "TRADE"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    REPLACED = "REPLACED"
    EXPIRED = "EXPIRED"
    TRIGGERED = "TRIGGERED"
    """A stop or take-profit order has become active."""
    RESTATED = "RESTATED"
    """Its quantity changed without a trade: self-trade prevention took some."""


class Liquidity(StrEnum):
    """Whether a fill added liquidity or removed it (FIX tag 851)."""

    NONE = ""
    MAKER = "maker"
    TAKER = "taker"


class SettlementStatus(StrEnum):
    """Outcome of a settlement."""

    SETTLED = "SETTLED"
    REJECTED = "REJECTED"


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=True):
    """Base of all records."""


# --- commands: clients and gateways to the engine, on order_entry -------------------------------------------


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
    shares: dict[str, int] = {}
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
    shares: dict[str, int] = {}
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
    epoch: int
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


# --- instructions: engine to clearinghouse, on order_execution ----------------------------------------------


class Execution(Record, frozen=True):
    """A trade to settle: shares from seller to buyer, cash the other way, a fee from each to the exchange."""

    trade_id: int
    timestamp: int
    symbol: str
    quantity: int
    price: int
    aggressor_side: Side
    buy_order_id: int
    buyer: str
    sell_order_id: int
    seller: str
    buyer_pays: int
    """Cash units, without the fee."""
    seller_receives: int
    """Cash units, without the fee. What `buyer_pays` is more goes to the exchange."""
    buyer_fee: int
    """Cash units that the buyer pays on top; negative for a rebate."""
    seller_fee: int
    short_limit: int = 0
    """Lots that the seller may be short after it."""


class Transfer(Record, frozen=True):
    """Cash and shares to book from the issuer to a client; negative, from the client to the issuer."""

    transfer_id: int
    """The id of the command that caused it."""
    timestamp: int
    client_id: str
    cash: int
    shares: dict[str, int]
    """Lots by symbol."""
    opens: bool = True
    """Whether it is the account's first, which opens it."""
    memo: str = ""
    credit_limit: int = 0
    """Cash units that an account which it opens may owe."""


Instruction = Execution | Transfer


# --- reports: everybody to everybody, on data_feed ----------------------------------------------------------


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


class GatewayLoggedOn(Record, frozen=True):
    """The engine has heard a gateway's logon."""

    gateway: int
    epoch: int
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


# --- the batch ----------------------------------------------------------------------------------------------

R = TypeVar("R")


class Batch(msgspec.Struct, Generic[R], frozen=True, array_like=True, gc=False):
    """The body of one message on the log: records of one producer, in order."""

    version: int
    producer: str
    """Who wrote it: `engine`, `clearing`, `gateway-3`."""
    epoch: int
    """Grows with each start of the producer: an older process that still writes is told from the newer one by it."""
    sequence: int
    """Number of the first record; the others count up by one."""
    stamp: int
    """When it was appended. Not part of the record: a replay carries another."""
    records: list[R]
    cause: tuple[int, int] = (0, 0)
    """Of the batch of commands that the newest of these records answer: when it was appended, and when the engine read it; 0
    where there is none. As with `stamp`, a replay carries others."""


ENGINE = "engine"
CLEARING = "clearing"


def gateway_name(number: int) -> str:
    """The producer name of a gateway."""
    return f"gateway-{number}"


class UndecodableError(ValueError):
    """A body on the log that this version cannot read."""


class UnknownVersionError(UndecodableError):
    """The batch is of a version that this program does not know: a newer program wrote it."""


class UnknownRecordError(UndecodableError):
    """The batch holds a record whose tag this program does not know: a newer program wrote it."""

    def __init__(self, tag: object) -> None:
        super().__init__(f"unknown record {tag!r}: a newer version wrote it; upgrade this service")
        self.tag = tag


class MalformedBatchError(UndecodableError):
    """The body is no batch at all, or a record in it breaks its own type: no version wrote this."""


_encoder = msgspec.msgpack.Encoder()
_decoders: dict[str, msgspec.msgpack.Decoder[Any]] = {
    ORDER_ENTRY: msgspec.msgpack.Decoder(Batch[Command]),
    ORDER_EXECUTION: msgspec.msgpack.Decoder(Batch[Instruction]),
    DATA_FEED: msgspec.msgpack.Decoder(Batch[Report]),
}
RECORD_TYPES: dict[str, tuple[type[Record], ...]] = {
    ORDER_ENTRY: Command.__args__,
    ORDER_EXECUTION: Instruction.__args__,
    DATA_FEED: Report.__args__,
}
"""The record types of each topic."""


def encode_batch(batch: Batch[Any]) -> bytes:
    """The body of `batch`."""
    return _encoder.encode(batch)


def decode_batch(topic: str, body: bytes) -> Batch[Any]:
    """Reads a body of `topic`.

    Raises `UnknownVersionError`, `UnknownRecordError` (it names the tag) or `MalformedBatchError`.
    """
    try:
        batch: Batch[Any] = _decoders[topic].decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _explain(topic, body, error) from error
    if batch.version != VERSION:
        raise UnknownVersionError(f"batch version {batch.version}: this program reads version {VERSION}; upgrade it")
    return batch


def _explain(topic: str, body: bytes, error: Exception) -> UndecodableError:
    """Finds out why a body did not decode; off the hot path."""
    try:
        raw = msgspec.msgpack.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return MalformedBatchError(f"not msgpack: {error}")
    if not isinstance(raw, list) or not raw or not isinstance(raw[0], int):
        return MalformedBatchError(f"not a batch: {error}")
    if raw[0] != VERSION:
        return UnknownVersionError(f"batch version {raw[0]}: this program reads version {VERSION}; upgrade it")
    known = {record_type.__name__ for record_type in RECORD_TYPES[topic]}
    records = raw[5] if len(raw) > 5 and isinstance(raw[5], list) else []
    for record in records:
        if isinstance(record, list) and record and isinstance(record[0], str) and record[0] not in known:
            return UnknownRecordError(record[0])
    return MalformedBatchError(str(error))
