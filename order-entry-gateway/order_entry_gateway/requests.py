"""The requests of clients and of the admin, and the commands that they become. Without I/O."""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated

import msgspec

from microexchange.access import checked_client_id
from microexchange.commands import ListSecurity, NewOrder, OpenAccount, ReplaceOrder, TransferAssets
from microexchange.enum_terms import AT_ONCE, TIMES_IN_FORCE, WITH_PRICE, WITH_TRIGGER
from microexchange.enums import OrderType, PricingRule, SelfTradePrevention, Side, TimeInForce, TradingState
from microexchange.ids import MAX_ID
from microexchange.number_fields import Amount
from microexchange.numbers import (
    MAX_CASH,
    MAX_LOTS,
    NotExactError,
    NotPlainError,
    cash_to_units,
    tick_value,
    to_steps,
    whole_number,
)
from microexchange.refusals import Code, Refusal
from microexchange.schemas import unix_ns
from microexchange.securities import MAX_NAME_CHARACTERS, SYMBOL, Security

PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"
"""The pattern of text from clients: no control characters, and no marks that change the direction of text. Terminals and
pages show the text to others. Postgres cannot store U+0000."""
MAX_LOT_DIGITS = len(str(MAX_LOTS)) + 1
"""A quotient with more digits is more than `MAX_LOTS`, and may have more digits than a decimal can."""
ClientOrderId = Annotated[str, msgspec.Meta(max_length=64, pattern=PRINTABLE, description="Your own name for the order.")]


class EntryType(StrEnum):
    """The order types of requests: those of the engine, and limit orders named by their time in force, `ioc` and `fok`."""

    _ignore_ = "_value"
    for _value in (*OrderType, *(time_in_force for time_in_force in TimeInForce if time_in_force in AT_ONCE)):
        vars()[_value.name] = _value.value


_ORDER_TYPES: dict[EntryType, tuple[OrderType, TimeInForce | None]] = {
    **{EntryType(order_type.value): (order_type, None) for order_type in OrderType},
    **{EntryType(time_in_force.value): (OrderType.LIMIT, time_in_force) for time_in_force in AT_ONCE},
}
"""The engine's order type by that of a request, with the time in force if the name includes it."""


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Enter an order. Numbers are plain decimal text such as `12.50`, or JSON numbers, and are read exactly."""

    symbol: str
    side: Side
    quantity: Amount
    order_type: EntryType = EntryType(OrderType.LIMIT)
    price: Amount | None = None
    """The limit. Required for order types with a limit."""
    trigger_price: Amount | None = None
    """Required for order types with a trigger."""
    time_in_force: TimeInForce | None = None
    """The default is `gtc`."""
    expire_at: datetime | None = None
    """End of a `gtd` order: ISO 8601 with an offset."""
    post_only: bool = False
    display_quantity: Amount | None = None
    """The quantity that the book shows (iceberg)."""
    client_order_id: ClientOrderId = ""


class AmendRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change an open order. Fields that are left out stay as they are. Only a lower quantity keeps the order's place in the
    book; any other change loses it."""

    quantity: Amount | None = None
    """The whole quantity, with what has traded."""
    price: Amount | None = None
    trigger_price: Amount | None = None


class ClientRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Open an account."""

    client_id: str
    self_trade_prevention: SelfTradePrevention = SelfTradePrevention.CANCEL_NEWEST
    invitation_code: str = ""
    """Required if accounts are opened by invitation."""


class FundingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Open an account on the admin's terms. A field that is left out has the value of the endowment."""

    cash: Amount | None = None
    shares: dict[str, Amount] | None = None
    """Quantity by symbol; `*` is every other listed security."""
    credit: Amount | None = None
    """Cash by which the account may be below zero."""
    short_limit: Amount | None = None
    """The greatest value of all its short positions together, in cash at the reference prices of the listings."""
    house: bool = False
    """Whether the account belongs to the exchange's own bots. A leaderboard can leave those out."""
    self_trade_prevention: SelfTradePrevention = SelfTradePrevention.CANCEL_NEWEST


class TransferRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deposit or withdraw cash, shares, or both."""

    cash: Amount = Decimal(0)
    shares: dict[str, Amount] = {}
    """Quantity by symbol."""
    memo: Annotated[str, msgspec.Meta(max_length=256, pattern=PRINTABLE, description="The purpose, for the statement.")] = ""


class StateRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Move a security's market to another state."""

    state: TradingState


class ListingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """List a security."""

    symbol: str
    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARACTERS, pattern=PRINTABLE)]
    tick_size: Amount = Decimal("0.01")
    lot_size: Amount = Decimal(1)
    reference_price: Amount = Decimal(100)
    pricing_rule: PricingRule = PricingRule.RESTING
    maker_fee_bps: int = 10
    taker_fee_bps: int = 20
    band_bps: int = 0
    auction_seconds: int = 30
    max_order_quantity: Amount = Decimal(0)
    max_order_value: Amount = Decimal(0)
    short_limit: Amount = Decimal(0)
    position_limit: Amount = Decimal(0)
    state: TradingState = TradingState.CONTINUOUS


def list_security(request: ListingRequest, command_id: int, timestamp: int) -> ListSecurity:
    """Return the command that lists the security.

    Raises:
        Refusal: `INVALID_FIELD`, with the field.
    """
    if not SYMBOL.fullmatch(request.symbol):
        raise Refusal(Code.INVALID_FIELD, "symbol must be 1 to 16 characters of A-Z a-z 0-9 . -", "symbol")
    field = "tick_size"
    try:
        for field in ("tick_size", "lot_size"):
            if not getattr(request, field):
                raise NotExactError("it must be above 0, such as 0.01")
        field = "tick_size"
        tick_value(f"{request.tick_size:f}", f"{request.lot_size:f}")
        field = "reference_price"
        reference = to_steps(request.reference_price, request.tick_size)
        limits = {}
        for field in ("max_order_quantity", "short_limit", "position_limit"):
            limits[field] = to_steps(getattr(request, field), request.lot_size)
        field = "max_order_value"
        value = cash_to_units(request.max_order_value)
        numbers = {"reference_price": reference, **limits, "max_order_value": value}
        for field in ("maker_fee_bps", "taker_fee_bps", "band_bps", "auction_seconds"):
            numbers[field] = getattr(request, field)
        for field in numbers:
            if abs(numbers[field]) > MAX_ID:  # the log has 64 bits for a number
                raise NotExactError("it is out of range")
    except (ValueError, InvalidOperation) as error:
        raise Refusal(Code.INVALID_FIELD, f"{field}: {error}", field) from error
    return ListSecurity(
        command_id,
        timestamp,
        request.symbol,
        request.name,
        f"{request.tick_size:f}",
        f"{request.lot_size:f}",
        reference,
        request.maker_fee_bps,
        request.taker_fee_bps,
        request.pricing_rule,
        request.band_bps,
        request.auction_seconds,
        max_order_value=value,
        state=request.state,
        **limits,
    )


def find_security(securities: dict[str, Security], symbol: str) -> Security:
    """Return the listed security.

    Raises:
        Refusal: `UNKNOWN_SYMBOL`.
    """
    security = securities.get(symbol)
    if security is None:
        raise Refusal(Code.UNKNOWN_SYMBOL, f"{symbol[:32]!r} is not listed: GET /securities has all securities", "symbol")
    return security


def new_order(
    request: OrderRequest, securities: dict[str, Security], client_id: str, command_id: int, timestamp: int
) -> NewOrder:
    """Return the command that enters the order. `timestamp` is the time now, in nanoseconds of Unix time.

    Raises:
        Refusal: `UNKNOWN_SYMBOL`, or `INVALID_FIELD` with the field.
    """
    security = find_security(securities, request.symbol)
    order_type, time_in_force = _order_type_and_time_in_force(request)
    if (request.price is not None) is not (order_type in WITH_PRICE):
        raise _wrong_field(order_type, "price", request.price)
    if (request.trigger_price is not None) is not (order_type in WITH_TRIGGER):
        raise _wrong_field(order_type, "trigger_price", request.trigger_price)
    lots = security.lots(request.quantity)
    return NewOrder(
        command_id,
        timestamp,
        client_id,
        request.symbol,
        request.side,
        order_type,
        lots,
        None if request.price is None else security.ticks(request.price),
        request.client_order_id,
        time_in_force,
        _expiry(request, time_in_force, timestamp),
        None if request.trigger_price is None else security.ticks(request.trigger_price, "trigger_price"),
        request.post_only,
        _display(request, security, lots),
    )


def _wrong_field(order_type: OrderType, field: str, value: Decimal | None) -> Refusal:
    if value is None:
        return Refusal(Code.INVALID_FIELD, f"a {order_type} order needs a {field}: add it", field)
    return Refusal(Code.INVALID_FIELD, f"a {order_type} order has no {field}: leave it out", field)


def _order_type_and_time_in_force(request: OrderRequest) -> tuple[OrderType, TimeInForce]:
    order_type, time_in_force = _ORDER_TYPES[request.order_type]
    if time_in_force is None:
        return order_type, request.time_in_force or TimeInForce.GTC
    if request.time_in_force not in (None, time_in_force):
        text = f"the order type {time_in_force} includes the time in force: leave time_in_force out"
        raise Refusal(Code.INVALID_FIELD, text, "time_in_force")
    return order_type, time_in_force


def _expiry(request: OrderRequest, time_in_force: TimeInForce, now: int) -> int:
    """Return when the order ends, in nanoseconds of Unix time; 0 for an order that is not `gtd`."""
    end = request.expire_at
    if not TIMES_IN_FORCE[time_in_force].has_end:
        if end is not None:
            raise Refusal(Code.INVALID_FIELD, "only a gtd order has an expire_at: leave it out", "expire_at")
        return 0
    if end is None or end.tzinfo is None:
        raise Refusal(
            Code.INVALID_FIELD, "a gtd order needs expire_at, as ISO 8601 with an offset: 2030-01-31T12:00:00Z", "expire_at"
        )
    nanoseconds = unix_ns(end)
    if nanoseconds <= now:
        raise Refusal(Code.INVALID_FIELD, "expire_at must be in the future", "expire_at")
    if nanoseconds > MAX_ID:
        raise Refusal(Code.INVALID_FIELD, "expire_at must be before the year 2262", "expire_at")
    return nanoseconds


def _display(request: OrderRequest, security: Security, lots: int) -> int:
    if request.display_quantity is None:
        return 0
    shown = security.lots(request.display_quantity, "display_quantity")
    if shown > lots:
        raise Refusal(Code.INVALID_FIELD, "display_quantity must not be more than quantity", "display_quantity")
    return shown


def replace_order(
    request: AmendRequest, security: Security, client_id: str, order_id: int, command_id: int, timestamp: int
) -> ReplaceOrder:
    """Return the command that changes the order.

    Raises:
        Refusal: `INVALID_FIELD`, with the field.
    """
    if request.quantity is request.price is request.trigger_price is None:
        raise Refusal(Code.INVALID_FIELD, "nothing to change: give a quantity, price or trigger_price", "quantity")
    return ReplaceOrder(
        command_id,
        timestamp,
        client_id,
        order_id,
        None if request.quantity is None else security.lots(request.quantity),
        None if request.price is None else security.ticks(request.price),
        None if request.trigger_price is None else security.ticks(request.trigger_price, "trigger_price"),
    )


class Endowment(msgspec.Struct, frozen=True):
    """The cash, shares and limits of a new account."""

    cash: int
    """Cash units of 1e-8."""
    shares: dict[str, Decimal]
    """Quantity by symbol; `*` is every other listed security."""
    credit_limit: int = 0
    """Cash units by which the account may be below zero."""
    short_limit: int = 0
    """The greatest value of all its short positions together, in cash units at the reference prices of the listings."""

    @classmethod
    def of(
        cls, cash: Decimal, shares: dict[str, Decimal], credit: Decimal = Decimal(0), short_limit: Decimal = Decimal(0)
    ) -> "Endowment":
        """Return the endowment of the operator's settings, in currency.

        Raises:
            ValueError: An amount is negative, too large or not exact.
        """
        units = [cash_to_units(amount) for amount in (cash, credit, short_limit)]
        if not all(0 <= amount <= MAX_CASH for amount in units):
            raise ValueError(f"the endowment's cash, credit and short limit must be between 0 and {MAX_CASH // 10**8}")
        if any(not quantity.is_finite() or quantity < 0 for quantity in shares.values()):
            raise ValueError("the endowment's shares must be finite and not negative")
        return cls(units[0], shares, *units[1:])

    def lots(self, securities: dict[str, Security]) -> dict[str, int]:
        """Return the shares in lots by symbol, rounded down. Securities of which it has less than a lot are left out."""
        lots: dict[str, int] = {}
        for symbol, security in securities.items():
            quantity = self.shares.get(symbol, self.shares.get("*", Decimal(0)))
            try:
                count = to_steps(quantity, security.lot_size)
            except NotExactError:
                digits = quantity.adjusted() - security.lot_size.adjusted()
                count = int(quantity // security.lot_size) if digits < MAX_LOT_DIGITS else MAX_LOTS + 1
            if 0 < count <= MAX_LOTS:
                lots[symbol] = count
        return lots


def open_account(
    request: ClientRequest, securities: dict[str, Security], endowment: Endowment, command_id: int, timestamp: int
) -> OpenAccount:
    """Return the command that opens the account.

    Raises:
        Refusal: `INVALID_FIELD`: the client id is not valid.
    """
    return OpenAccount(
        command_id,
        timestamp,
        checked_client_id(request.client_id),
        endowment.cash,
        endowment.lots(securities),
        request.self_trade_prevention,
        endowment.credit_limit,
        endowment.short_limit,
    )


def open_funded(
    request: FundingRequest,
    client_id: str,
    securities: dict[str, Security],
    endowment: Endowment,
    command_id: int,
    timestamp: int,
) -> OpenAccount:
    """Return the command that opens an account on the admin's terms, with `endowment` for the fields that are left out.

    Raises:
        Refusal: `UNKNOWN_SYMBOL`, or `INVALID_FIELD` with the field.
    """
    units = {"cash": endowment.cash, "credit": endowment.credit_limit, "short_limit": endowment.short_limit}
    for field in units:
        amount = getattr(request, field)
        if amount is not None:
            units[field] = cash_amount(amount, field)
    shares = endowment.lots(securities)
    if request.shares is not None:
        named_shares = {
            symbol: find_security(securities, symbol).lots(quantity, "shares")
            for symbol, quantity in request.shares.items()
            if symbol != "*" and quantity
        }
        others = request.shares.get("*", Decimal(0))
        if not others.is_finite() or others < 0:
            raise Refusal(Code.INVALID_FIELD, 'shares: the quantity of "*" must not be negative', "shares")
        shares = {**Endowment(0, {**request.shares, "*": others}).lots(securities), **named_shares}
    return OpenAccount(
        command_id,
        timestamp,
        checked_client_id(client_id),
        units["cash"],
        shares,
        request.self_trade_prevention,
        units["credit"],
        units["short_limit"],
        request.house,
    )


def cash_amount(amount: Decimal, field: str) -> int:
    """Return an amount of cash in units.

    Raises:
        Refusal: `INVALID_FIELD`: it is negative, too large or not exact.
    """
    try:
        units = cash_to_units(amount)
    except NotExactError as error:
        raise Refusal(Code.INVALID_FIELD, f"{field}: {error}", field) from error
    if not 0 <= units <= MAX_CASH:
        raise Refusal(Code.INVALID_FIELD, f"{field} must be between 0 and {MAX_CASH // 10**8}", field)
    return units


def transfer_assets(
    request: TransferRequest,
    securities: dict[str, Security],
    client_id: str,
    sign: int,
    command_id: int,
    timestamp: int,
) -> TransferAssets:
    """Return the command that deposits, or withdraws if `sign` is -1.

    Raises:
        Refusal: `UNKNOWN_SYMBOL`, or `INVALID_FIELD` with the field.
    """
    units = cash_amount(request.cash, "cash")
    shares = {
        symbol: sign * find_security(securities, symbol).lots(quantity, "shares")
        for symbol, quantity in request.shares.items()
    }
    if not units and not shares:
        raise Refusal(Code.INVALID_FIELD, "nothing to transfer: give cash, shares, or both", "cash")
    return TransferAssets(command_id, timestamp, client_id, sign * units, shares, request.memo)


def order_id(text: str) -> int:
    """Return `text` as an order id.

    Raises:
        Refusal: `UNKNOWN_ORDER`: `text` is not an order id.
    """
    try:
        number = whole_number(text)
    except NotPlainError as error:
        raise Refusal(Code.UNKNOWN_ORDER, f"order_id: {error}", "order_id") from error
    if not 0 < number <= MAX_ID:
        raise Refusal(Code.UNKNOWN_ORDER, f"{number} is not an order id", "order_id")
    return number
