"""The `microexchange` command line: its entry point, and the commands `migrate` and `secrets`."""

import os
import re
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from exchange_launcher import competitions, console_command, security_commands
from exchange_launcher.audit_command import audit_command
from exchange_launcher.options import DATABASE_SCHEMES, check_namespace, check_url
from exchange_launcher.terminal import CommandError, Commands, bad_use, console, given_or_secret, place_settings
from exchange_launcher.up_command import up_command
from microexchange import __version__
from microexchange.auth import read_or_make_secret, write_private
from microexchange.databases import without_secrets
from microexchange.service import PRIVATE_UMASK

app = typer.Typer(
    cls=Commands,
    name="microexchange",
    help="Run a complete stock exchange, and bots and competitions on it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(__version__)
        raise typer.Exit


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
    database = given_or_secret(database, settings.database_url)
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


app.command(name="up")(up_command)
app.command()(migrate)
app.command(name="audit")(audit_command)
security_commands.register(app)
console_command.register(app)
app.command()(secrets)
competitions.register(app)


def main() -> None:
    """Run the command line. This is the entry point of the console script."""
    # All Python processes that a command starts inherit this variable, also the workers of a process pool. With it, a file
    # in the current folder cannot replace a module.
    os.environ["PYTHONSAFEPATH"] = "1"
    # Logs, records, keys and results have the names and orders of clients. Other users of the machine cannot read them.
    os.umask(PRIVATE_UMASK)
    app()


if __name__ == "__main__":
    main()
