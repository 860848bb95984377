"""What a client may ask for, and the command it becomes. Pure: text in, a command or a refusal out."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated

import msgspec

from microexchange.access import checked_client_id
from microexchange.commands import ListSecurity, NewOrder, OpenAccount, ReplaceOrder, TransferAssets
from microexchange.enum_terms import AT_ONCE, TIMES_IN_FORCE, WITH_PRICE, WITH_TRIGGER
from microexchange.enums import OrderType, PricingRule, SelfTradePrevention, Side, TimeInForce, TradingState
from microexchange.numbers import MAX_CASH, MAX_LOTS, NotExactError, cash_to_units, tick_value, to_steps
from microexchange.refusals import Code, Refusal
from microexchange.securities import SYMBOL, Security

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
"""What text of a client's may be: no control characters. Postgres, for one, cannot keep U+0000."""
ClientOrderId = Annotated[str, msgspec.Meta(max_length=64, pattern=PRINTABLE, description="Your own name for the order.")]


class EntryType(StrEnum):
    """What a client may ask for as an order type: all of the engine's, and two limits whose life is in their name."""

    _ignore_ = "_value"
    for _value in (*OrderType, *(life for life in TimeInForce if life in AT_ONCE)):
        vars()[_value.name] = _value.value


_KINDS: dict[EntryType, tuple[OrderType, TimeInForce | None]] = {
    **{EntryType(kind.value): (kind, None) for kind in OrderType},
    **{EntryType(life.value): (OrderType.LIMIT, life) for life in AT_ONCE},
}
"""What an order type means: the engine's, and the time in force where the name says it."""


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Enter an order. Numbers as text or as JSON numbers; either way they are read as exact decimals."""

    symbol: str
    side: Side
    quantity: Decimal
    order_type: EntryType = EntryType(OrderType.LIMIT)
    price: Decimal | None = None
    """The limit, for an order type that has one."""
    trigger_price: Decimal | None = None
    """For an order type that waits for a trigger."""
    time_in_force: TimeInForce | None = None
    """Without one, gtc."""
    expire_at: datetime | None = None
    """When a gtd order ends: ISO 8601 with an offset."""
    post_only: bool = False
    display_quantity: Decimal | None = None
    """What the book shows at a time (an iceberg)."""
    client_order_id: ClientOrderId = ""


class AmendRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change an open order: what is given. Less quantity keeps the order's place; all else loses it."""

    quantity: Decimal | None = None
    """In all, with what has traded."""
    price: Decimal | None = None
    trigger_price: Decimal | None = None


class ClientRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Open an account."""

    client_id: str
    self_trade_prevention: SelfTradePrevention = SelfTradePrevention.CANCEL_NEWEST
    invitation_code: str = ""
    """Where accounts are opened by invitation."""


class FundingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Open an account on the admin's terms. A field that is left out has the value of every new account."""

    cash: Decimal | None = None
    shares: dict[str, Decimal] | None = None
    """Quantity by symbol; `*` is every other listed security."""
    credit: Decimal | None = None
    """Cash that the account may owe."""
    short_limit: Decimal | None = None
    """What all its short positions together may come to, at the reference prices of the listings."""
    house: bool = False
    """Whether it is an account of the exchange's own bots: a leaderboard can leave those out."""
    self_trade_prevention: SelfTradePrevention = SelfTradePrevention.CANCEL_NEWEST


class TransferRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deposit or withdraw: cash, shares, or both."""

    cash: Decimal = Decimal(0)
    shares: dict[str, Decimal] = {}
    """Quantity by symbol."""
    memo: Annotated[
        str, msgspec.Meta(max_length=256, pattern=PRINTABLE, description="What it is for; stands in the statement.")
    ] = ""


class StateRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Move a security's market to another state."""

    state: TradingState


class ListingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """List a security."""

    symbol: str
    name: Annotated[str, msgspec.Meta(max_length=200, pattern=PRINTABLE)]
    tick_size: Decimal = Decimal("0.01")
    lot_size: Decimal = Decimal(1)
    reference_price: Decimal = Decimal(100)
    pricing_rule: PricingRule = PricingRule.RESTING
    maker_fee_bps: int = 10
    taker_fee_bps: int = 20
    band_bps: int = 0
    auction_seconds: int = 30
    max_order_quantity: Decimal = Decimal(0)
    max_order_value: Decimal = Decimal(0)
    short_limit: Decimal = Decimal(0)
    position_limit: Decimal = Decimal(0)
    state: TradingState = TradingState.CONTINUOUS


def list_security(request: ListingRequest, command_id: int, timestamp: int) -> ListSecurity:
    """The command that lists the security. Raises `Refusal`."""
    if not SYMBOL.fullmatch(request.symbol):
        raise Refusal(Code.INVALID_FIELD, "symbol must be 1 to 16 of A-Z a-z 0-9 . -", "symbol")
    field = "tick_size"
    try:
        tick_value(f"{request.tick_size:f}", f"{request.lot_size:f}")
        field = "reference_price"
        reference = to_steps(request.reference_price, request.tick_size)
        limits = {}
        for field in ("max_order_quantity", "short_limit", "position_limit"):
            limits[field] = to_steps(getattr(request, field), request.lot_size)
        field = "max_order_value"
        value = cash_to_units(request.max_order_value)
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
    kind, life = _kind_and_life(request)
    if (request.price is not None) is not (kind in WITH_PRICE):
        raise _misplaced(kind, "price", request.price)
    if (request.trigger_price is not None) is not (kind in WITH_TRIGGER):
        raise _misplaced(kind, "trigger_price", request.trigger_price)
    lots = security.lots(request.quantity)
    return NewOrder(
        command_id,
        timestamp,
        client_id,
        request.symbol,
        request.side,
        kind,
        lots,
        None if request.price is None else security.ticks(request.price),
        request.client_order_id,
        life,
        _expiry(request, life, timestamp),
        None if request.trigger_price is None else security.ticks(request.trigger_price, "trigger_price"),
        request.post_only,
        _display(request, security, lots),
    )


def _misplaced(kind: OrderType, field: str, value: Decimal | None) -> Refusal:
    if value is None:
        return Refusal(Code.INVALID_FIELD, f"a {kind} order needs a {field}", field)
    return Refusal(Code.INVALID_FIELD, f"a {kind} order has no {field}: leave it out", field)


def _kind_and_life(request: OrderRequest) -> tuple[OrderType, TimeInForce]:
    """The engine's order type and time in force. Raises `Refusal`."""
    kind, life = _KINDS[request.order_type]
    if life is None:
        return kind, request.time_in_force or TimeInForce.GTC
    if request.time_in_force not in (None, life):
        raise Refusal(Code.INVALID_FIELD, f"order type {life} says the time in force already", "time_in_force")
    return kind, life


def _expiry(request: OrderRequest, life: TimeInForce, now: int) -> int:
    """When the order ends, in nanoseconds; 0 for one that does not by itself. Raises `Refusal`."""
    end = request.expire_at
    if not TIMES_IN_FORCE[life].has_end:
        if end is not None:
            raise Refusal(Code.INVALID_FIELD, "only a gtd order says when it ends: leave expire_at out", "expire_at")
        return 0
    if end is None or end.tzinfo is None:
        raise Refusal(
            Code.INVALID_FIELD, "a gtd order needs expire_at, as ISO 8601 with an offset: 2030-01-31T12:00:00Z", "expire_at"
        )
    nanoseconds = (end - _UNIX_EPOCH) // timedelta(microseconds=1) * 1000
    if nanoseconds <= now:
        raise Refusal(Code.INVALID_FIELD, "expire_at must be in the future", "expire_at")
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
    """The command that changes the order. Raises `Refusal`."""
    if request.quantity is request.price is request.trigger_price is None:
        raise Refusal(Code.INVALID_FIELD, "say what to change: quantity, price or trigger_price", "quantity")
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
    """What a new account begins with."""

    cash: int
    """Units of 1e-8."""
    shares: dict[str, Decimal]
    """Quantity by symbol; `*` stands for every other listed security."""
    credit_limit: int = 0
    """Units that it may owe."""
    short_limit: int = 0
    """Units that all its short positions together may come to, at the reference prices of the listings."""

    @classmethod
    def of(
        cls, cash: Decimal, shares: dict[str, Decimal], credit: Decimal = Decimal(0), short_limit: Decimal = Decimal(0)
    ) -> "Endowment":
        """Checks the operator's settings. Raises `ValueError`."""
        units = [cash_to_units(amount) for amount in (cash, credit, short_limit)]
        if not all(0 <= amount <= MAX_CASH for amount in units):
            raise ValueError(f"the endowment's cash, credit and short limit must be between 0 and {MAX_CASH // 10**8}")
        if any(not quantity.is_finite() or quantity < 0 for quantity in shares.values()):
            raise ValueError("the endowment's shares must not be negative")
        return cls(units[0], shares, *units[1:])

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
    """The command that opens an account on the admin's terms, and with `endowment` for the fields left out. Raises
    `Refusal`."""
    units = {"cash": endowment.cash, "credit": endowment.credit_limit, "short_limit": endowment.short_limit}
    for field in units:
        amount = getattr(request, field)
        if amount is not None:
            units[field] = _amount(amount, field)
    shares = endowment.lots(securities)
    if request.shares is not None:
        named = {
            symbol: find_security(securities, symbol).lots(quantity, "shares")
            for symbol, quantity in request.shares.items()
            if symbol != "*" and quantity
        }
        others = request.shares.get("*", Decimal(0))
        if not others.is_finite() or others < 0:
            raise Refusal(Code.INVALID_FIELD, 'shares: the quantity of "*" must not be negative', "shares")
        shares = {**Endowment(0, {**request.shares, "*": others}).lots(securities), **named}
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


def _amount(amount: Decimal, field: str) -> int:
    """An amount of cash in units, not negative. Raises `Refusal` (`INVALID_FIELD`, `field`)."""
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
    """The command that deposits, or with a `sign` of -1 withdraws. Raises `Refusal`."""
    units = _amount(request.cash, "cash")
    shares = {
        symbol: sign * find_security(securities, symbol).lots(quantity, "shares")
        for symbol, quantity in request.shares.items()
    }
    if not units and not shares:
        raise Refusal(Code.INVALID_FIELD, "say what: cash, shares, or both", "cash")
    return TransferAssets(command_id, timestamp, client_id, sign * units, shares, request.memo)


def order_id(text: str) -> int:
    """An order id from its text. Raises `Refusal` (`UNKNOWN_ORDER`) for what can be none."""
    if text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) < 1 << 63:
        return int(text)
    raise Refusal(Code.UNKNOWN_ORDER, f"{text[:32]!r} is no order id", "order_id")
