"""The command line."""

import asyncio
import contextlib
import dataclasses
import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import psycopg
import typer
from rich.table import Table

from exchange_launcher import competitions
from exchange_launcher.admin import Admin, RefusedError, check_symbol
from exchange_launcher.audit import AuditError, Check, Places, audit
from exchange_launcher.running import running_place, target
from exchange_launcher.terminal import (
    CommandError,
    Commands,
    DatabaseUrl,
    Host,
    LogUrl,
    Namespace,
    Port,
    bad_use,
    console,
    errors,
    place_settings,
)
from exchange_launcher.up import UpOptions, running_postgres, up
from microexchange import __version__
from microexchange.auth import read_or_make_secret, write_private
from microexchange.commands import ListSecurity
from microexchange.databases import without_secrets
from microexchange.enums import PricingRule
from microexchange.refusals import Code
from microexchange.securities import ListingError, listing_json, read_listing, unknown_columns
from microexchange.settings import NAMESPACE, default_data_dir

app = typer.Typer(
    cls=Commands,
    name="microexchange",
    help="A complete stock exchange.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST = 365 * 24 * 3600.0
"""Seconds that `--for` takes, at most."""
MAX_REFUSALS_SHOWN = 20
_LOGS, _DATABASES = ("amqp://", "amqps://", "postgresql://", "postgres://"), ("postgresql://", "postgres://")


def _folder(text: str) -> Path:
    """The folder that a flag names. Raises `typer.BadParameter` where it is empty, as an unset variable of a shell is."""
    if not text.strip():
        raise typer.BadParameter("it is empty: it names a folder")
    return Path(text)


Data = Annotated[
    Path | None,
    typer.Option(
        parser=_folder,
        metavar="DIRECTORY",
        help="Data folder of the exchange. Default: MX_DATA_DIR, or that of the exchange that runs.",
    ),
]


def _seconds(text: str | None) -> float | None:
    """A length of time in seconds. Raises `CommandError`."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)([smh]?)", text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= LONGEST:
        raise bad_use(
            f"--for cannot be {text[:32]!r}: it is no length of time, or longer than a year", "Write 30s, 5m or 1h"
        )
    return seconds


def _check_url(flag: str, url: str | None, schemes: tuple[str, ...]) -> None:
    """Raises `CommandError` unless the URL, if there is one, has one of the schemes and is well formed."""
    if url is None:
        return
    example = " or ".join(f"{scheme}user:password@host" for scheme in schemes[::2])
    try:
        parts = urlsplit(url)
        well_formed = url.startswith(schemes) and (parts.port is None or parts.port > 0) and url.isprintable()
    except ValueError:
        well_formed = False
    if not well_formed:
        raise bad_use(
            f"{flag} cannot be used: it is no URL that begins with {' or '.join(schemes[::2])}", f"Write {example}"
        )


def _check_namespace(namespace: str) -> None:
    """Raises `CommandError` unless a market may have this namespace."""
    if not re.fullmatch(NAMESPACE, namespace):
        raise bad_use(
            f"--namespace cannot be {namespace[:40]!r}: it must be at most 32 of a-z 0-9 _", "Write it like class1_"
        )


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(__version__)
        raise typer.Exit


@app.command(name="up")
def up_command(
    data: Annotated[
        Path | None,
        typer.Option(parser=_folder, metavar="DIRECTORY", help="Folder of the market. Default: in your user's data folder."),
    ] = None,
    log: LogUrl = None,
    database: DatabaseUrl = None,
    namespace: Namespace = "",
    host: Host = "127.0.0.1",
    gateway_port: Port = 8000,
    feed_port: Port = 8001,
    engine_port: Port = 8002,
    clearing_port: Port = 8003,
    bots: Annotated[int, typer.Option(min=0, max=500, help="How many house bots.")] = 12,
    securities: Annotated[
        int | None,
        typer.Option(
            min=1, help="List so many, the most traded first, with house bots in all. Default: all, bots in eight."
        ),
    ] = None,
    listing: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="CSV of the securities to list. Default: the listing that ships."),
    ] = None,
    classroom: Annotated[
        bool,
        typer.Option("--classroom", help="A market for a class: clients by name alone, no credit check, the quick routes."),
    ] = False,
    pricing: Annotated[
        PricingRule | None,
        typer.Option(
            help="Pricing rule of every security, in place of the listing's. Default: MX_PRICING, or the listing's."
        ),
    ] = None,
    for_: Annotated[
        str | None, typer.Option("--for", help="Run for so long (30s, 5m, 1h), print the results, and end.")
    ] = None,
) -> None:
    """Start an exchange with bots in it."""
    _check_namespace(namespace)
    _check_url("--log", log, _LOGS)
    _check_url("--database", database, _DATABASES)
    if not host.strip():
        raise bad_use(
            "--host cannot be empty: it names the address to listen on", "Write --host 127.0.0.1 or --host 0.0.0.0"
        )
    default = default_data_dir()
    if classroom:
        default = default.with_name(f"{default.name}-classroom")
    options = UpOptions(
        (data or default).absolute(),
        log,
        database,
        namespace,
        host,
        gateway_port,
        feed_port,
        engine_port,
        clearing_port,
        bots,
        classroom,
        pricing or _pricing_of_environment(),
        _seconds(for_),
        listing=listing,
        securities=securities or 0,
    )
    asyncio.run(up(options, console))


def _pricing_of_environment() -> PricingRule | None:
    """The value of `MX_PRICING`. Raises `CommandError`."""
    text = os.environ.get("MX_PRICING", "")
    try:
        return PricingRule(text) if text else None
    except ValueError as error:
        rules = ", ".join(PricingRule)
        raise bad_use(f"MX_PRICING cannot be {text[:32]!r}: it must be one of {rules}", "Correct it, or unset it") from error


@app.command()
def migrate(
    database: Annotated[str | None, typer.Option(help="The Postgres server. Default: MX_DATABASE_URL.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Prefix of all names. Default: MX_NAMESPACE.")] = None,
) -> None:
    """Make the databases, or bring them to this version. It may be run again at any time."""
    from exchange_db import migrate as databases  # alembic is slow to load, and most commands do without

    settings = place_settings()
    database = database or (settings.database_url.get_secret_value() if settings.database_url else None)
    if database is None:
        raise bad_use("there is nothing to migrate: no database server is named", "Name one: --database postgresql://…")
    _check_url("--database", database, _DATABASES)
    namespace = settings.namespace if namespace is None else namespace
    _check_namespace(namespace)
    try:
        made = databases.migrate(database, namespace)
    except psycopg.Error as error:
        raise CommandError(
            f"the database at {without_secrets(database)} is not usable: {str(error).strip()}",
            "Start that server, or correct --database",
        ) from error
    for name, (revision, _) in databases.check(database, namespace).items():
        console.print(f"{name}: revision {revision}{' (new)' if name in made else ''}")


@app.command(name="audit")
def audit_command(
    data: Data = None,
    log: Annotated[
        str | None,
        typer.Option(help="The log. Default: MX_LOG_URL, that of the exchange that runs, or the database's server."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="Default: MX_DATABASE_URL, that of the exchange that runs, or the folder's own Postgres."),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Prefix of all names. Default: MX_NAMESPACE, or that of the exchange that runs.")
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Decide everything again, from the first command on.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Prove that every cent and every share is where it must be. Safe while the exchange runs. Exit status 1 if not."""
    _check_url("--log", log, _LOGS)
    _check_url("--database", database, _DATABASES)
    _check_namespace(namespace or "")
    try:
        with contextlib.ExitStack() as stack:
            checks = asyncio.run(audit(_places(stack, data, log, database, namespace, whole)))
    except AuditError as error:
        fix = "Name the exchange with --data, or with --database, --log and --namespace; start its servers"
        raise CommandError(f"the audit cannot be made: {error}", fix) from error
    differences = sum(check.count for check in checks)
    if as_json:
        console.print_json(data={"differences": differences, "checks": [dataclasses.asdict(check) for check in checks]})
    else:
        _print_checks(checks)
    if differences:
        raise typer.Exit(1)


def _places(
    stack: contextlib.ExitStack,
    data: Path | None,
    log: str | None,
    database: str | None,
    namespace: str | None,
    whole: bool,
) -> Places:
    """Where the exchange keeps its data: a flag goes before the environment, and that before what runs on this machine.

    Starts the folder's own Postgres where it is needed, until `stack` is closed. Raises `CommandError`.
    """
    settings = place_settings()
    given = settings.model_fields_set
    if data is None and "data_dir" in given:
        data = settings.data_dir
    log = log or (settings.log_url.get_secret_value() if settings.log_url else None)
    server = database or (settings.database_url.get_secret_value() if settings.database_url else None)
    if namespace is None and "namespace" in given:
        namespace = settings.namespace
    # Whoever names the servers means these, and not what else runs here.
    place = running_place(data, None) if server is None else None
    if place is not None:
        data, server, log = Path(place.data), place.database_url, log or place.log_url
        namespace = place.namespace if namespace is None else namespace
    folder = (data or settings.data_dir).absolute()
    if server is None:
        server = stack.enter_context(running_postgres(folder))
    return Places(server, log or server, namespace or "", folder, whole)


def _print_checks(checks: list[Check]) -> None:
    table = Table(title="Audit", title_justify="left")
    for heading in ("", "as of", "compared", ""):
        table.add_column(heading, justify="right" if heading == "compared" else "left")
    for check in checks:
        result = f"[red]{check.count:,} differ[/]" if check.count else "[green]ok[/]"
        table.add_row(check.name, check.as_of, f"{check.compared:,}", result)
    console.print(table)
    for check in checks:
        for difference in check.differences:
            console.print(f"{check.name}: {difference}", style="red", markup=False, highlight=False, soft_wrap=True)


Gateway = Annotated[
    str | None,
    typer.Option(envvar="MX_GATEWAY_URL", help="Address of the gateway. Default: that of the exchange that runs."),
]
Symbol = Annotated[str, typer.Argument(help="The security, in capital or small letters.")]


def _listing_of(file: Path) -> list[ListSecurity]:
    """The securities of a CSV file. Names the columns that are not read. Raises `CommandError`."""
    fix = "Write a CSV with the columns symbol and name; docs/running.md has the others"
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        wanted, unknown = read_listing(lines), unknown_columns(lines)
    except UnicodeError as error:
        raise bad_use(f"the listing {file} cannot be read: it is not UTF-8 text", fix) from error
    except ListingError as error:
        raise bad_use(f"the listing {file} cannot be used: {error}", fix) from error
    if unknown:
        text = f"microexchange: these columns of {file} are no terms and were not read: {', '.join(unknown)}"
        errors.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return wanted


@app.command(name="list")
def list_command(
    file: Annotated[Path, typer.Argument(help="A CSV with the columns symbol and name; others are optional.")],
    data: Data = None,
    gateway: Gateway = None,
) -> None:
    """List the securities of a CSV file on the exchange that runs. Those that are listed already keep their terms."""
    wanted = _listing_of(file)
    admin, listed, refused = Admin(target(data, gateway)), 0, []
    present = 0
    for security in wanted:
        try:
            admin.ask("POST", "/admin/securities", listing_json(security))
            listed += 1
        except RefusedError as error:
            if error.code in (Code.UNAUTHENTICATED, Code.FORBIDDEN):
                raise
            if error.code == Code.SECURITY_EXISTS:
                present += 1
            else:
                refused.append(f"{security.symbol}: {error.problem}")
    console.print(f"listed {listed} of {len(wanted)}" + (f"; {present} were listed already" if present else ""))
    for reason in refused[:MAX_REFUSALS_SHOWN]:
        errors.print(reason, markup=False, highlight=False)
    if refused:
        raise CommandError(f"{len(refused)} securities are not listed: the exchange refuses them", f"Correct them in {file}")


def _set_state(symbol: str, state: str, data: Path | None, gateway: str | None) -> None:
    check_symbol(symbol)
    listed = Admin(target(data, gateway)).ask_about("PUT", symbol, "/state", {"state": state})
    console.print(f"{listed}: {state}")


@app.command()
def delist(symbol: Symbol, data: Data = None, gateway: Gateway = None) -> None:
    """Delist a security for good: its orders are cancelled, and holdings stay."""
    check_symbol(symbol)
    listed = Admin(target(data, gateway)).ask_about("DELETE", symbol, "")
    console.print(f"{listed}: delisted")


@app.command()
def halt(symbol: Symbol, data: Data = None, gateway: Gateway = None) -> None:
    """Halt trading in a security."""
    _set_state(symbol, "halted", data, gateway)


@app.command()
def resume(symbol: Symbol, data: Data = None, gateway: Gateway = None) -> None:
    """Resume continuous trading. Where an auction collects orders, they trade first."""
    _set_state(symbol, "continuous", data, gateway)


@app.command()
def auction(symbol: Symbol, data: Data = None, gateway: Gateway = None) -> None:
    """Begin an auction in a security. `resume` ends it, and the orders that it collected trade at one price."""
    _set_state(symbol, "opening_auction", data, gateway)


def _check_server(flag: str, text: str) -> None:
    """Raises `CommandError` unless the text is an address HOST:PORT."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}:[0-9]{1,5}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}", text):
        raise bad_use(f"{flag} cannot be {text[:100]!r}: it is not HOST:PORT", f"Write it like {flag} localhost:5432")


@app.command()
def secrets(
    folder: Annotated[Path, typer.Argument(help="Folder to write the secrets into, for MX_SECRETS_DIR.")],
    postgres: Annotated[str, typer.Option(help="HOST:PORT of Postgres.")] = "postgres:5432",
    rabbitmq: Annotated[str, typer.Option(help="HOST:PORT of RabbitMQ.")] = "rabbitmq:5672",
) -> None:
    """Make the passwords of a deployment's database and broker, and the addresses that carry them. Existing ones stay."""
    for flag, text in (("--postgres", postgres), ("--rabbitmq", rabbitmq)):
        _check_server(flag, text)
    passwords = {name: read_or_make_secret(folder / f"{name}-password") for name in ("postgres", "rabbitmq")}
    addresses = {
        "mx_database_url": f"postgresql://exchange:{passwords['postgres']}@{postgres}",
        "mx_log_url": f"amqp://exchange:{passwords['rabbitmq']}@{rabbitmq}/%2f",
    }
    for name, address in addresses.items():
        write_private(folder / name, address)
    console.print(f"secrets are in {folder}")


competitions.register(app)


def main() -> None:
    """Entry point of the console command."""
    # For every Python that a command starts, the workers of a process pool too: no module comes from the folder that the
    # command was run in.
    os.environ["PYTHONSAFEPATH"] = "1"
    app()


if __name__ == "__main__":
    main()
