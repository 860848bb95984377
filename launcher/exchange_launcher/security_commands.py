"""The admin's commands for securities: `list`, `delist`, `halt`, `resume` and `auction`."""

from pathlib import Path
from typing import Annotated

import typer

from exchange_launcher.admin import AdminClient, RefusedError, check_symbol
from exchange_launcher.options import Data, Gateway
from exchange_launcher.running import target
from exchange_launcher.terminal import CommandError, bad_use, console, errors
from microexchange.commands import ListSecurity
from microexchange.refusals import Code
from microexchange.securities import ListingError, listing_json, read_listing, unknown_columns

MAX_REFUSALS_SHOWN = 20
"""The number of refusals that `list` prints at most."""


Symbol = Annotated[str, typer.Argument(help="Symbol of the security, in capital or small letters, for example AAPL.")]


def _listing_of(file: Path) -> list[ListSecurity]:
    """Return the securities in a CSV file. Print the columns that are not read.

    Raises:
        CommandError: The file is not a listing.
    """
    fix = "Write a CSV file with the columns symbol and name; docs/running.md describes the others"
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        wanted, unknown = read_listing(lines), unknown_columns(lines)
    except UnicodeError as error:
        raise bad_use(f"the listing {file} cannot be read: it is not UTF-8 text", fix) from error
    except ListingError as error:
        raise bad_use(f"the listing {file} cannot be used: {error}", fix) from error
    if unknown:
        text = f"microexchange: these columns of {file} are unknown and were not read: {', '.join(unknown)}"
        errors.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return wanted


def list_command(
    file: Annotated[Path, typer.Argument(help="CSV file with the columns symbol and name. The other columns are optional.")],
    data: Data = None,
    gateway: Gateway = None,
) -> None:
    """List the securities of a CSV file on a running exchange.

    A security that is already listed keeps its terms."""
    securities = _listing_of(file)
    admin, listed, refusals = AdminClient(target(data, gateway)), 0, []
    already_listed = 0
    for security in securities:
        try:
            admin.send("POST", "/admin/securities", listing_json(security))
            listed += 1
        except RefusedError as error:
            if error.code in (Code.UNAUTHENTICATED, Code.FORBIDDEN):
                raise
            if error.code == Code.SECURITY_EXISTS:
                already_listed += 1
            else:
                refusals.append(f"{security.symbol}: {error.problem}")
    suffix = f"; {already_listed} were listed already" if already_listed else ""
    console.print(f"listed {listed} of {len(securities)}{suffix}")
    for refusal in refusals[:MAX_REFUSALS_SHOWN]:
        errors.print(refusal, markup=False, highlight=False)
    if refusals:
        raise CommandError(
            f"{len(refusals)} securities are not listed: the exchange refuses them", f"Correct them in {file}"
        )


def _set_state(symbol: str, state: str, data: Path | None, gateway: str | None) -> None:
    """Set the trading state of a security, and print it.

    Raises:
        CommandError: The request is refused, or the symbol is not listed.
    """
    check_symbol(symbol)
    listed = AdminClient(target(data, gateway)).send_for_symbol("PUT", symbol, "/state", {"state": state})
    console.print(f"{listed}: {state}")


def delist(symbol: Symbol, data: Data = None, gateway: Gateway = None) -> None:
    """Remove a security from trading permanently.

    Its open orders are cancelled. Clients keep their holdings."""
    check_symbol(symbol)
    listed = AdminClient(target(data, gateway)).send_for_symbol("DELETE", symbol, "")
    console.print(f"{listed}: delisted")


def halt(symbol: Symbol, data: Data = None, gateway: Gateway = None) -> None:
    """Halt trading in a security. `resume` ends the halt."""
    _set_state(symbol, "halted", data, gateway)


def resume(symbol: Symbol, data: Data = None, gateway: Gateway = None) -> None:
    """Resume continuous trading in a security.

    If an auction is open, its orders trade first, at one price."""
    _set_state(symbol, "continuous", data, gateway)


def auction(symbol: Symbol, data: Data = None, gateway: Gateway = None) -> None:
    """Start an auction in a security. `resume` ends it.

    The auction collects orders. At its end they trade at one price."""
    _set_state(symbol, "opening_auction", data, gateway)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(name="list")(list_command)
    app.command()(delist)
    app.command()(halt)
    app.command()(resume)
    app.command()(auction)
