"""What a client may ask for, and the command it becomes. Pure: text in, a command or a refusal out."""

import re
from decimal import Decimal
from typing import Annotated

import msgspec

from microexchange.auth import ADMIN
from microexchange.messages import NewOrder, OpenAccount, OrderType, Side
from microexchange.numbers import MAX_CASH, MAX_LOTS, NotExactError, cash_to_units, to_steps
from microexchange.refusals import Code, Refusal
from microexchange.securities import Security

CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
"""What a client id looks like. So no client is called like one of the exchange's own accounts, which begin with $."""

ClientOrderId = Annotated[str, msgspec.Meta(max_length=64, description="Your own name for the order.")]


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Enter an order. Numbers as text or as JSON numbers; either way they are read as exact decimals."""

    symbol: str
    side: Side
    quantity: Decimal
    order_type: OrderType = OrderType.LIMIT
    price: Decimal | None = None
    """The limit; none for a market order."""
    client_order_id: ClientOrderId = ""


class ClientRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Open an account."""

    client_id: str


def find_security(securities: dict[str, Security], symbol: str) -> Security:
    """The listed security. Raises `Refusal` (`UNKNOWN_SYMBOL`)."""
    security = securities.get(symbol)
    if security is None:
        raise Refusal(
            Code.UNKNOWN_SYMBOL, f"{symbol[:32]!r} is not listed; GET /securities of the feed lists what is", "symbol"
        )
    return security


def new_order(
    request: OrderRequest, securities: dict[str, Security], client_id: str, command_id: int, timestamp: int
) -> NewOrder:
    """The command that enters the order. Raises `Refusal`."""
    security = find_security(securities, request.symbol)
    price = request.price
    if request.order_type is OrderType.LIMIT:
        if price is None:
            raise Refusal(Code.INVALID_FIELD, "a limit order needs a price", "price")
    elif price is not None:
        raise Refusal(Code.INVALID_FIELD, "a market order has no price: leave it out", "price")
    return NewOrder(
        command_id,
        timestamp,
        client_id,
        request.symbol,
        request.side,
        request.order_type,
        security.lots(request.quantity),
        None if price is None else security.ticks(price),
        request.client_order_id,
    )


class Endowment(msgspec.Struct, frozen=True):
    """What a new account begins with."""

    cash: int
    """Units of 1e-8."""
    shares: dict[str, Decimal]
    """Quantity by symbol; `*` stands for every other listed security."""

    @classmethod
    def of(cls, cash: Decimal, shares: dict[str, Decimal]) -> "Endowment":
        """Checks the operator's settings. Raises `ValueError`."""
        units = cash_to_units(cash)
        if not 0 <= units <= MAX_CASH:
            raise ValueError(f"the endowment's cash must be between 0 and {MAX_CASH // 10**8}")
        if any(not quantity.is_finite() or quantity < 0 for quantity in shares.values()):
            raise ValueError("the endowment's shares must not be negative")
        return cls(units, shares)

    def lots(self, securities: dict[str, Security]) -> dict[str, int]:
        """The endowment in lots of what is listed: securities of which a whole number of lots goes into it."""
        lots: dict[str, int] = {}
        for symbol, security in securities.items():
            quantity = self.shares.get(symbol, self.shares.get("*", Decimal(0)))
            try:
                count = to_steps(quantity, security.lot_size)
            except NotExactError:
                count = int(quantity // security.lot_size)
            if 0 < count <= MAX_LOTS:
                lots[symbol] = count
        return lots


def open_account(
    request: ClientRequest, securities: dict[str, Security], endowment: Endowment, command_id: int, timestamp: int
) -> OpenAccount:
    """The command that opens the account. Raises `Refusal`."""
    client_id = request.client_id
    if not CLIENT_ID.fullmatch(client_id) or client_id.lower() == ADMIN:
        raise Refusal(
            Code.INVALID_FIELD,
            "client_id must be 1 to 32 of A-Z a-z 0-9 _ . - beginning with a letter or digit, and not 'admin'",
            "client_id",
        )
    return OpenAccount(command_id, timestamp, client_id, endowment.cash, endowment.lots(securities))


def order_id(text: str) -> int:
    """An order id from its text. Raises `Refusal` (`UNKNOWN_ORDER`) for what can be none."""
    if text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) < 1 << 63:
        return int(text)
    raise Refusal(Code.UNKNOWN_ORDER, f"{text[:32]!r} is no order id", "order_id")
