"""The instructions that the engine appends to `order_execution`. `records` states the units."""

from microexchange.enums import Side
from microexchange.records import Record


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
