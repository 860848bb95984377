"""Options whose values are plain numbers. typer itself also takes `1_000`, ` 10` and `1e5`."""

from typing import Any

import typer

from microexchange.numbers import NotPlainError, plain_decimal, whole_number


def whole_option(*flags: str, minimum: int | None = None, maximum: int | None = None, help: str) -> Any:
    """Return an option for a whole number. Without a minimum, it may be negative."""

    def parse(value: str | int) -> int:
        return int(_in_range(_plain(whole_number, value, minimum is None), minimum, maximum))

    return typer.Option(*flags, parser=parse, min=minimum, max=maximum, metavar="NUMBER", help=help)


def port_option(flag: str, help: str) -> Any:
    """Return an option for the number of a port."""
    return whole_option(flag, minimum=1, maximum=65535, help=help)


def decimal_option(*flags: str, minimum: int, metavar: str, help: str) -> Any:
    """Return an option for a decimal, which the command receives as a float."""

    def parse(value: str | float) -> float:
        return float(_in_range(_plain(plain_decimal, value, False), minimum, None))

    return typer.Option(*flags, parser=parse, min=minimum, metavar=metavar, help=help)


def _plain(parse: Any, value: Any, signed: bool) -> Any:
    """Return the number that a text is. A default value is a number already.

    Raises:
        typer.BadParameter: The text is not a plain number.
    """
    try:
        return parse(value, signed) if isinstance(value, str) else value
    except NotPlainError as error:
        raise typer.BadParameter(str(error)) from error


def _in_range(number: Any, minimum: int | None, maximum: int | None) -> Any:
    """Return the number.

    Raises:
        typer.BadParameter: It is below the minimum or above the maximum.
    """
    if minimum is not None and number < minimum:
        raise typer.BadParameter(f"{number} is too low: the lowest number is {minimum}")
    if maximum is not None and number > maximum:
        raise typer.BadParameter(f"{number} is too high: the highest number is {maximum}")
    return number
