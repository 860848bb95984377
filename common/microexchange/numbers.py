"""Exact numbers: integers inside, decimal strings at the edges, never a float.

Inside the exchange a price is a count of **ticks**, a quantity a count of **lots**, and cash a count of **units** of 1e-8.
These functions are the only way in and out.
"""

from decimal import Decimal, InvalidOperation

CASH_DIGITS = 8
CASH_SCALE = 10**CASH_DIGITS
"""Units in one unit of currency: cash is counted in 1e-8."""

MAX_CASH = 10**9 * CASH_SCALE
"""The most cash that one account or one order's value may have: a billion, in units. Sums of these fit 64 bits."""

MAX_LOTS = 10**12
"""The most lots that one order or one holding may have."""

MAX_TICKS = 10**12
"""The highest price, in ticks."""


class NotExactError(ValueError):
    """A decimal is not a whole number of the step it must be a multiple of."""


def to_steps(value: Decimal, step: Decimal) -> int:
    """How many times `step` goes into `value`, exactly.

    >>> to_steps(Decimal("10.25"), Decimal("0.01"))
    1025

    Raises `NotExactError` where it does not go in exactly, or where `value` is not a finite number of sensible size.
    """
    if not value.is_finite() or abs(value.adjusted()) > 30:
        raise NotExactError(f"{value} is not a number in range")
    try:
        steps, rest = divmod(value, step)
    except InvalidOperation as error:
        raise NotExactError(f"{value} is out of range") from error
    if rest:
        raise NotExactError(f"{value} is not a multiple of {step:f}")
    return int(steps)


def from_steps(steps: int, step: Decimal) -> str:
    """The decimal text of `steps` times `step`, with as many places as `step` has.

    >>> from_steps(1025, Decimal("0.01"))
    '10.25'
    """
    return format(steps * step, "f")


def cash_to_units(value: Decimal) -> int:
    """An amount of currency as units of 1e-8. Raises `NotExactError` for more than eight places."""
    return to_steps(value, Decimal(1).scaleb(-CASH_DIGITS))


def cash_to_text(units: int) -> str:
    """Units of 1e-8 as decimal text with at least two places and no idle zeros after them.

    >>> cash_to_text(1_000_000_000_000), cash_to_text(-150_000_001)
    ('10000.00', '-1.50000001')
    """
    if not units:
        return "0.00"
    whole, rest = divmod(abs(units), CASH_SCALE)
    places = f"{rest:0{CASH_DIGITS}d}".rstrip("0").ljust(2, "0")
    return f"{'-' if units < 0 else ''}{whole}.{places}"


def tick_value(tick_size: str, lot_size: str) -> int:
    """Cash units that one lot is worth at one tick.

    >>> tick_value("0.01", "1"), tick_value("0.01", "0.0001")
    (1000000, 100)

    Raises `NotExactError` where a size is no positive number, or the value no whole number of units of sensible size.
    """
    try:
        value = cash_to_units(Decimal(tick_size) * Decimal(lot_size))
        positive = Decimal(tick_size) > 0 and Decimal(lot_size) > 0
    except (InvalidOperation, ValueError) as error:
        raise NotExactError(
            f"tick size {tick_size!r} times lot size {lot_size!r} must be a multiple of 0.00000001"
        ) from error
    if not positive or not 1 <= value <= MAX_CASH:
        raise NotExactError(f"tick size {tick_size!r} and lot size {lot_size!r} must be positive, their product in range")
    return value


def average_price(notional: int, lots: int, lot_size: Decimal) -> str | None:
    """The mean price of `lots` that traded for `notional` units, as decimal text of at most eight places; None for none."""
    if not lots:
        return None
    quantity = lots * lot_size
    price = (Decimal(notional) / CASH_SCALE / quantity).quantize(Decimal(1).scaleb(-CASH_DIGITS))
    return format(price.normalize(), "f")


def divide_half_even(numerator: int, denominator: int) -> int:
    """`numerator / denominator` rounded to the nearest integer, a tie to the even one (IEEE 754's default rule).

    `denominator` is positive.
    """
    quotient, rest = divmod(numerator, denominator)
    if rest:
        rest *= 2
        if rest > denominator or (rest == denominator and quotient & 1):
            return quotient + 1
    return quotient
