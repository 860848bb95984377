"""The instructions that the engine appends to `order_execution`. `records` states the units."""

from microexchange.enums import Side
from microexchange.records import Record


class Execution(Record, frozen=True):
    """A trade to settle: shares go from seller to buyer, cash from buyer to seller, and fees from both to the exchange."""

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
    """Cash units, without the fee. The difference from `buyer_pays` goes to the exchange."""
    buyer_fee: int
    """The fee of the buyer in cash units; negative for a rebate."""
    seller_fee: int
    short_limit: int = 0
    """Lots that the seller may be short after the trade."""


class Transfer(Record, frozen=True):
    """Cash and shares that go from the issuer to a client. Negative amounts go from the client to the issuer."""

    transfer_id: int
    """The id of the command that caused it."""
    timestamp: int
    client_id: str
    cash: int
    shares: dict[str, int]
    """Lots by symbol."""
    opens: bool = True
    """Whether the transfer opens the account."""
    memo: str = ""
    credit_limit: int = 0
    """If the transfer opens an account: the amount in cash units by which its cash may be below zero."""


Instruction = Execution | Transfer
