"""Plain numbers as types of fields: of messages in JSON and msgpack, of queries, and of settings.

All of them use `plain_decimal` and `whole_number`, so that every interface takes the same numbers.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from microexchange.numbers import (
    MAX_PLACES,
    PLAIN_DECIMAL,
    NotPlainError,
    is_plain_decimal,
    not_plain,
    plain_decimal,
    whole_number,
)

if TYPE_CHECKING:
    Amount = Decimal
    SignedAmount = Decimal
else:

    class Amount(Decimal):
        """The type of a decimal in a request. `json_decoder` and `msgpack_decoder` decode it.

        It is a class of its own, since msgspec decodes `Decimal` without a check of the text.
        """

        __slots__ = ()

    class SignedAmount(Decimal):
        """The type of a decimal that may be negative in a request, such as a change of a value."""

        __slots__ = ()


class _JsonNumber(str):
    """The text of a JSON number that is not an integer. In JSON, `1e5` is such a number."""

    __slots__ = ()


def json_decoder(type_: Any) -> "msgspec.json.Decoder[Any]":
    """Return a decoder of JSON in which an `Amount` is plain decimal text or a JSON number."""
    return msgspec.json.Decoder(type_, dec_hook=_decode_amount, float_hook=_JsonNumber)


def msgpack_decoder(type_: Any) -> "msgspec.msgpack.Decoder[Any]":
    """Return a decoder of msgpack in which an `Amount` is plain decimal text or a number."""
    return msgspec.msgpack.Decoder(type_, dec_hook=_decode_amount)


def schema_components(types: Iterable[Any]) -> dict[str, Any]:
    """Return the JSON schemas of types by name, for a page of OpenAPI or AsyncAPI."""
    _, components = msgspec.json.schema_components(
        types, schema_hook=_schema_of_amount, ref_template="#/components/schemas/{name}"
    )
    return components


def _decode_amount(type_: type[Decimal], value: Any) -> Decimal:
    """Return the value of an `Amount` or a `SignedAmount`. msgspec adds the field to the message of a `ValueError`."""
    if type(value) is str:
        if type_ is not Amount:
            return SignedAmount(plain_decimal(value, signed=True))
        if is_plain_decimal(value) is None:
            raise not_plain(value)
        return Amount(value)
    if isinstance(value, bool) or not isinstance(value, (_JsonNumber, int, float)):
        raise NotPlainError("this is not a number: write for example 12.50")
    return type_(_number(value, signed=type_ is not Amount))


def _number(number: int | float | str, signed: bool) -> Decimal:
    """Return a number of JSON or msgpack, in any notation, within the bounds of a plain decimal.

    Raises:
        NotPlainError: It is beyond the bounds, not a number, or negative although it must not be.
    """
    if isinstance(number, int) and number.bit_length() > 4 * MAX_PLACES:
        raise NotPlainError("the number has too many digits: write for example 12.50")
    text = str(number)
    try:
        value = Amount(text)
    except InvalidOperation as error:
        raise not_plain(text) from error
    exponent = value.as_tuple().exponent  # text for NaN and infinities
    if isinstance(exponent, str) or exponent < -MAX_PLACES or value.adjusted() >= MAX_PLACES or (value < 0 and not signed):
        raise not_plain(text)
    return value


def _schema_of_amount(type_: type) -> dict[str, str]:
    if type_ not in (Amount, SignedAmount):
        raise NotImplementedError(f"{type_} has no schema")
    sign = "" if type_ is Amount else "-?"
    return {"type": "string", "format": "decimal", "pattern": f"^{sign}{PLAIN_DECIMAL}$"}


def _checked(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Return a check of pydantic that parses text, and leaves other values as they are."""

    def check(value: Any) -> Any:
        try:
            return parse(value) if isinstance(value, str) else value
        except NotPlainError as error:
            raise as_pydantic_error(error) from error

    return check


def as_pydantic_error(error: NotPlainError) -> PydanticCustomError:
    """Return an error that pydantic reports with its field, and without words of its own."""
    return PydanticCustomError("not_plain", "{problem}", {"problem": str(error)})


Whole = Annotated[int, BeforeValidator(_checked(whole_number))]
"""A whole number in a query."""


def plain_setting(annotation: Any, value: Any) -> Any:
    """Return the value of a setting. Text becomes a number if the setting's type is one, also within a mapping.

    Raises:
        NotPlainError: The text is not a plain number.
    """
    kinds = {annotation, *get_args(annotation)}
    if isinstance(value, str):
        if int in kinds:
            return whole_number(value, signed=True)
        return plain_decimal(value, signed=True) if kinds & {Decimal, float} else value
    if isinstance(value, Mapping) and Decimal in kinds:
        return {key: plain_setting(Decimal, amount) for key, amount in value.items()}
    return value
