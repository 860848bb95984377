"""Exact numbers: integers in the exchange, decimal text in its interfaces, no floats.

In the exchange, prices are whole **ticks**, quantities are whole **lots**, and cash is in **units** of 1e-8. Only these
functions convert them.

Text from outside becomes a number in `plain_decimal` and `whole_number` alone. `Decimal`, `int` and `float` take more than
plain numbers: `1_000`, `1e5`, ` 10`, digits of other scripts, `NaN`.
"""

import re
from decimal import Decimal, InvalidOperation

CASH_DIGITS = 8
CASH_SCALE = 10**CASH_DIGITS
"""Cash units in one unit of the currency."""

MAX_CASH = 10**9 * CASH_SCALE
"""The greatest cash of an account and notional of an order: a billion, in cash units. Sums of it fit 64 bits."""

MAX_LOTS = 10**12
"""The greatest quantity of an order or a holding, in lots."""

MAX_TICKS = 10**12
"""The greatest price, in ticks."""

NS_PER_SECOND = 1_000_000_000
"""Nanoseconds in a second."""

MAX_PLACES = 30
"""The most digits before the point of a plain decimal, and the most after it."""

PLAIN_DECIMAL = rf"[0-9]{{1,{MAX_PLACES}}}(?:\.[0-9]{{1,{MAX_PLACES}}})?"
"""The pattern of a plain decimal, without a sign."""

WHOLE_NUMBER = r"[0-9]{1,19}"
"""The pattern of a whole number, without a sign. More digits are beyond 64 bits."""

is_plain_decimal = re.compile(PLAIN_DECIMAL).fullmatch
_is_whole_number = re.compile(WHOLE_NUMBER).fullmatch


class NotPlainError(ValueError):
    """A text is not a plain number. The message shows the text and a right example."""


class NotExactError(ValueError):
    """A decimal is not a multiple of its step."""


def plain_decimal(text: str, signed: bool = False) -> Decimal:
    """Return a text as a decimal: digits 0 to 9 with at most one point between them. `signed` allows a minus before them.

    >>> plain_decimal("12.50"), plain_decimal("-3", signed=True)
    (Decimal('12.50'), Decimal('-3'))

    Raises:
        NotPlainError: The text is anything else, or has more than `MAX_PLACES` digits before or after the point.
    """
    if is_plain_decimal(text.removeprefix("-") if signed else text) is None:
        raise not_plain(text, "12.50 or -12.50" if signed else "100000 or 12.50")
    return Decimal(text)


def not_plain(text: str, example: str = "100000 or 12.50") -> NotPlainError:
    """Return the error of a text that is not a plain decimal."""
    return NotPlainError(f"{_shown(text)} is not a plain decimal: write for example {example}")


def whole_number(text: str, signed: bool = False) -> int:
    """Return a text as a whole number: 1 to 19 digits 0 to 9. `signed` allows a minus before them.

    >>> whole_number("100"), whole_number("-7", signed=True)
    (100, -7)

    Raises:
        NotPlainError: The text is anything else.
    """
    if _is_whole_number(text.removeprefix("-") if signed else text) is None:
        raise NotPlainError(f"{_shown(text)} is not a whole number: write for example {'100 or -100' if signed else 100}")
    return int(text)


def _shown(text: str) -> str:
    """Return a text for a message: at most 40 characters, and others than ASCII escaped, since `\uff11` looks like 1."""
    return f'"{ascii(text)[1:-1]}"' if len(text) <= 40 else f'"{ascii(text[:40])[1:-1]}…"'


def to_steps(value: Decimal, step: Decimal) -> int:
    """Return `value` divided by `step`, a whole number.

    >>> to_steps(Decimal("10.25"), Decimal("0.01"))
    1025

    Raises:
        NotExactError: `value` is not a multiple of `step`, is not finite, or is beyond 1e30 or 1e-30.
    """
    if not value.is_finite() or abs(value.adjusted()) > 30:
        raise NotExactError(f"{value} is not a number in range")
    try:
        steps, rest = divmod(value, step)
    except InvalidOperation as error:
        raise NotExactError(f"{value} is out of range") from error
    if rest:
        shown = f"{step:f}" if abs(step.adjusted()) <= 30 else str(step)
        raise NotExactError(f"{value} is not a multiple of {shown}")
    return int(steps)


def from_steps(steps: int, step: Decimal) -> str:
    """Return `steps` times `step` as decimal text, with as many places as `step` has.

    >>> from_steps(1025, Decimal("0.01"))
    '10.25'
    """
    return format(steps * step, "f")


def cash_to_units(value: Decimal) -> int:
    """Return an amount of currency in cash units.

    Raises:
        NotExactError: The amount has more than eight places.
    """
    return to_steps(value, Decimal(1).scaleb(-CASH_DIGITS))


def cash_to_text(units: int) -> str:
    """Return cash units as decimal text with two to eight places.

    >>> cash_to_text(1_000_000_000_000), cash_to_text(-150_000_001)
    ('10000.00', '-1.50000001')
    """
    if not units:
        return "0.00"
    whole, rest = divmod(abs(units), CASH_SCALE)
    places = f"{rest:0{CASH_DIGITS}d}".rstrip("0").ljust(2, "0")
    return f"{'-' if units < 0 else ''}{whole}.{places}"


def tick_value(tick_size: str, lot_size: str) -> int:
    """Return the value of one lot at a price of one tick, in cash units.

    >>> tick_value("0.01", "1"), tick_value("0.01", "0.0001")
    (1000000, 100)

    Raises:
        NotExactError: A size is not a positive number, or the value is not a whole number of cash units up to `MAX_CASH`.
    """
    try:
        value = cash_to_units(Decimal(tick_size) * Decimal(lot_size))
        positive = Decimal(tick_size) > 0 and Decimal(lot_size) > 0
    except (ArithmeticError, ValueError) as error:
        raise NotExactError(
            f"tick size {tick_size[:40]!r} times lot size {lot_size[:40]!r} must be a multiple of 0.00000001"
        ) from error
    if not positive or not 1 <= value <= MAX_CASH:
        raise NotExactError(
            f"tick size {tick_size[:40]!r} and lot size {lot_size[:40]!r} must be positive, their product in range"
        )
    return value


def average_price(notional: int, lots: int, lot_size: Decimal) -> str | None:
    """Return the mean price of `lots` that traded for `notional` cash units, as decimal text with up to eight places.

    Without lots it is None.
    """
    if not lots:
        return None
    quantity = lots * lot_size
    price = (Decimal(notional) / CASH_SCALE / quantity).quantize(Decimal(1).scaleb(-CASH_DIGITS))
    return format(price.normalize(), "f")


def divide_half_even(numerator: int, denominator: int) -> int:
    """Return `numerator / denominator`, rounded to the nearest integer, and a tie to the even one (as in IEEE 754).

    `denominator` is positive.
    """
    quotient, rest = divmod(numerator, denominator)
    if rest:
        rest *= 2
        if rest > denominator or (rest == denominator and quotient & 1):
            return quotient + 1
    return quotient
