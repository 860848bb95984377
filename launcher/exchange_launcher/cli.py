"""The `microexchange` command line: its entry point, and the commands `up`, `migrate` and `secrets`."""

import asyncio
import os
import re
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from exchange_launcher import competitions, security_commands
from exchange_launcher.audit_command import audit_command
from exchange_launcher.options import (
    DATABASE_SCHEMES,
    LOG_SCHEMES,
    ClearingPort,
    DatabaseUrl,
    EnginePort,
    FeedPort,
    GatewayPort,
    Host,
    LogUrl,
    Namespace,
    check_namespace,
    check_url,
    parse_folder,
)
from exchange_launcher.services import UpOptions
from exchange_launcher.terminal import CommandError, Commands, bad_use, console, place_settings
from exchange_launcher.up import up
from microexchange import __version__
from microexchange.auth import read_or_make_secret, write_private
from microexchange.databases import without_secrets
from microexchange.enums import PricingRule
from microexchange.settings import default_data_dir

app = typer.Typer(
    cls=Commands,
    name="microexchange",
    help="Run a complete stock exchange, and bots and competitions on it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_SECONDS_PER_UNIT = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
MAX_RUN_SECONDS = 365 * 24 * 3600.0
"""The longest duration that `--for` accepts."""


def _seconds(text: str | None) -> float | None:
    """Return the duration in `--for` in seconds, or None without one.

    Raises:
        CommandError: `text` is not a duration, or the duration is longer than `MAX_RUN_SECONDS`.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)([smh]?)", text)
    seconds = float(match[1]) * _SECONDS_PER_UNIT[match[2]] if match else 0.0
    if not 0 < seconds <= MAX_RUN_SECONDS:
        raise bad_use(
            f"--for cannot be {text[:32]!r}: it is not a duration, or it is longer than a year", "Write 30s, 5m or 1h"
        )
    return seconds


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(__version__)
        raise typer.Exit


@app.command(name="up")
def up_command(
    data: Annotated[
        Path | None,
        typer.Option(
            parser=parse_folder,
            metavar="DIRECTORY",
            help="Folder for the data of the exchange. Default: a folder in your user's data folder.",
        ),
    ] = None,
    log: LogUrl = None,
    database: DatabaseUrl = None,
    namespace: Namespace = "",
    host: Host = "127.0.0.1",
    gateway_port: GatewayPort = 8000,
    feed_port: FeedPort = 8001,
    engine_port: EnginePort = 8002,
    clearing_port: ClearingPort = 8003,
    bots: Annotated[int, typer.Option(min=0, max=500, help="Number of house bots. 0 starts none.")] = 12,
    securities: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of securities to list, the most traded first. House bots then trade all of them. "
            "Default: the whole listing, with house bots in eight securities.",
        ),
    ] = None,
    listing: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="CSV file of the securities to list. Default: the listing that is included."
        ),
    ] = None,
    classroom: Annotated[
        bool,
        typer.Option(
            "--classroom",
            help="Classroom mode: clients need only a name and no key, credit is not checked, and the quick routes exist.",
        ),
    ] = False,
    pricing: Annotated[
        PricingRule | None,
        typer.Option(help="Pricing rule of all securities. Default: MX_PRICING, or the rules in the listing."),
    ] = None,
    for_: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="DURATION",
            help="Duration after which the exchange prints its results and stops, for example 30s, 5m or 1h. "
            "Default: until Ctrl-C.",
        ),
    ] = None,
) -> None:
    """Start an exchange with house bots on this machine."""
    check_namespace(namespace)
    check_url("--log", log, LOG_SCHEMES)
    check_url("--database", database, DATABASE_SCHEMES)
    if not host.strip():
        raise bad_use("--host cannot be empty: it is the address to listen on", "Write --host 127.0.0.1 or --host 0.0.0.0")
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
    """Return the value of `MX_PRICING`, or None if it is not set.

    Raises:
        CommandError: It is not a pricing rule.
    """
    text = os.environ.get("MX_PRICING", "")
    try:
        return PricingRule(text) if text else None
    except ValueError as error:
        rules = ", ".join(PricingRule)
        raise bad_use(f"MX_PRICING cannot be {text[:32]!r}: it must be one of {rules}", "Correct it, or unset it") from error


@app.command()
def migrate(
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="URL of the Postgres server, postgresql://user:password@host. Default: MX_DATABASE_URL."
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(metavar="PREFIX", help="Prefix of the exchange's names on the server. Default: MX_NAMESPACE."),
    ] = None,
) -> None:
    """Create the databases, or upgrade them to this version. You can run it again at any time."""
    from exchange_db import migrate as databases  # alembic is slow to load, and most commands do not need it

    settings = place_settings()
    database = database or (settings.database_url.get_secret_value() if settings.database_url else None)
    if database is None:
        raise bad_use(
            "there is nothing to migrate: no database server is named",
            "Name one with --database postgresql://user:password@host",
        )
    check_url("--database", database, DATABASE_SCHEMES)
    namespace = settings.namespace if namespace is None else namespace
    check_namespace(namespace)
    try:
        created = databases.migrate(database, namespace)
    except psycopg.Error as error:
        raise CommandError(
            f"the database at {without_secrets(database)} cannot be used: {str(error).strip()}",
            "Start that server, or correct --database",
        ) from error
    for name, (revision, _) in databases.check(database, namespace).items():
        console.print(f"{name}: revision {revision}{' (new)' if name in created else ''}")


def _check_server(flag: str, text: str) -> None:
    """Check that a text is an address in the form HOST:PORT.

    Raises:
        CommandError: It is not.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,253}:[0-9]{1,5}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}", text):
        raise bad_use(f"{flag} cannot be {text[:100]!r}: it is not HOST:PORT", f"Write for example {flag} localhost:5432")


def secrets(
    folder: Annotated[Path, typer.Argument(help="Folder for the secrets. Set MX_SECRETS_DIR to it.")],
    postgres: Annotated[str, typer.Option(metavar="HOST:PORT", help="Address of the Postgres server.")] = "postgres:5432",
    rabbitmq: Annotated[str, typer.Option(metavar="HOST:PORT", help="Address of the RabbitMQ server.")] = "rabbitmq:5672",
) -> None:
    """Create the passwords and URLs of a deployment's Postgres and RabbitMQ servers.

    Existing passwords stay as they are."""
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


app.command(name="audit")(audit_command)
security_commands.register(app)
app.command()(secrets)
competitions.register(app)


def main() -> None:
    """Run the command line. This is the entry point of the console script."""
    # All Python processes that a command starts inherit this variable, also the workers of a process pool. With it, a file
    # in the current folder cannot replace a module.
    os.environ["PYTHONSAFEPATH"] = "1"
    app()


if __name__ == "__main__":
    main()
