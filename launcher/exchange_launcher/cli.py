"""The command line."""

import asyncio
import contextlib
import dataclasses
import re
from pathlib import Path
from typing import Annotated

import httpx
import psycopg
import typer
from rich.table import Table

from exchange_launcher import competitions
from exchange_launcher.audit import AuditError, Check, Places, audit
from exchange_launcher.terminal import DatabaseUrl, Host, LogUrl, Namespace, Port, console, errors, fail
from exchange_launcher.up import UpError, UpOptions, running_postgres, up
from microexchange import __version__
from microexchange.auth import read_or_make_secret, write_private
from microexchange.databases import without_secrets
from microexchange.securities import listing_json, read_listing
from microexchange.settings import NAMESPACE, DatabaseSettings, PlaceSettings, default_data_dir

app = typer.Typer(
    name="microexchange", help="A complete stock exchange.", no_args_is_help=True, pretty_exceptions_enable=False
)

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None or not float(match[1]):
        raise typer.BadParameter(f"{text!r} is no length of time: say 30s, 5m or 1h")
    return float(match[1]) * _UNITS[match[2]]


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(__version__)
        raise typer.Exit


@app.command(name="up")
def up_command(
    data: Annotated[Path | None, typer.Option(help="Folder of the market. Default: in your user's data folder.")] = None,
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
        bool, typer.Option("--classroom", help="Know clients by name alone, check no credit, open the quick routes.")
    ] = False,
    for_: Annotated[
        str | None, typer.Option("--for", help="Run that long (30s, 5m, 1h), print the results, and end.")
    ] = None,
) -> None:
    """Start an exchange with bots in it."""
    if not re.fullmatch(NAMESPACE, namespace):
        raise typer.BadParameter("at most 32 of a-z 0-9 _", param_hint="--namespace")
    if log is not None and not log.startswith(("amqp://", "amqps://", "postgresql://", "postgres://")):
        raise typer.BadParameter("use amqp://… or postgresql://…", param_hint="--log")
    if database is not None and not database.startswith(("postgresql://", "postgres://")):
        raise typer.BadParameter("use postgresql://…", param_hint="--database")
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
        _seconds(for_),
        listing=listing,
        securities=securities or 0,
    )
    try:
        asyncio.run(up(options, console))
    except UpError as error:
        raise fail(error) from None


@app.command()
def migrate(
    database: Annotated[str | None, typer.Option(help="The Postgres server. Default: MX_DATABASE_URL.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Before all names. Default: MX_NAMESPACE.")] = None,
) -> None:
    """Make the databases, or bring them to this version. Safe to run twice."""
    from exchange_db import migrate as databases  # alembic is slow to load, and most commands do without

    settings = DatabaseSettings()
    database = database or (settings.database_url.get_secret_value() if settings.database_url else None)
    if database is None:
        raise typer.BadParameter("name a server: postgresql://…", param_hint="--database")
    namespace = settings.namespace if namespace is None else namespace
    try:
        made = databases.migrate(database, namespace)
    except psycopg.Error as error:
        raise fail(f"the database at {without_secrets(database)} is not usable: {str(error).strip()}") from None
    for name, (revision, _) in databases.check(database, namespace).items():
        console.print(f"{name}: revision {revision}{' (new)' if name in made else ''}")


@app.command(name="audit")
def audit_command(
    data: Annotated[Path | None, typer.Option(help="Folder of the market. Default: MX_DATA_DIR, or as for up.")] = None,
    log: Annotated[str | None, typer.Option(help="The log. Default: MX_LOG_URL, or the database's server.")] = None,
    database: Annotated[str | None, typer.Option(help="Default: MX_DATABASE_URL, or the folder's own Postgres.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Before all names. Default: MX_NAMESPACE.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Decide everything again, from the first command on.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Prove that every cent and every share is where it must be. Safe while the exchange runs. Exit status 1 if not."""
    settings = PlaceSettings()
    folder = (data or settings.data_dir).absolute()
    server = database or (settings.database_url.get_secret_value() if settings.database_url else None)
    log = log or (settings.log_url.get_secret_value() if settings.log_url else None)
    try:
        with contextlib.ExitStack() as stack:
            if server is None:
                server = stack.enter_context(running_postgres(folder))
            within = settings.namespace if namespace is None else namespace
            places = Places(server, log or server, within, folder, whole)
            checks = asyncio.run(audit(places))
    except (AuditError, UpError) as error:
        raise fail(error) from None
    differences = sum(check.count for check in checks)
    if as_json:
        console.print_json(data={"differences": differences, "checks": [dataclasses.asdict(check) for check in checks]})
    else:
        _print_checks(checks)
    if differences:
        raise typer.Exit(1)


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


Data = Annotated[Path | None, typer.Option(help="Folder of the market, for its admin token. Default: MX_DATA_DIR.")]
Gateway = Annotated[str, typer.Option(help="Address of the gateway.")]
GATEWAY = "http://127.0.0.1:8000"


def _admin(data: Path | None, gateway: str, method: str, path: str, body: object = None) -> str | None:
    """Asks the gateway as the admin; what it refused, or None."""
    token = (data or PlaceSettings().data_dir) / "secrets" / "admin-token"
    try:
        headers = {"Authorization": f"Bearer {token.read_text().strip()}"}
        answer = httpx.request(method, f"{gateway}{path}", json=body, headers=headers, timeout=30)
    except OSError as error:
        raise fail(f"cannot read the admin token: {error}") from None
    except httpx.HTTPError as error:
        raise fail(f"the gateway at {gateway} does not answer: {error}") from None
    return None if answer.is_success else str(answer.json()["error"]["message"])


@app.command(name="list")
def list_command(
    file: Annotated[Path, typer.Argument(help="A CSV with the columns symbol and name; others are optional.")],
    data: Data = None,
    gateway: Gateway = GATEWAY,
) -> None:
    """List the securities of a CSV file on the exchange that runs. Those that are listed already stay as they are."""
    try:
        wanted = read_listing(file.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, ValueError) as error:
        raise fail(error) from None
    listed, refused = 0, []
    for security in wanted:
        answer = _admin(data, gateway, "POST", "/admin/securities", listing_json(security))
        listed += answer is None
        if answer is not None:
            refused.append(f"{security.symbol}: {answer}")
    console.print(f"listed {listed} of {len(wanted)}")
    for reason in refused[:20]:
        errors.print(reason, markup=False, highlight=False)


def _set_state(symbol: str, state: str, data: Path | None, gateway: str) -> None:
    if refused := _admin(data, gateway, "PUT", f"/admin/securities/{symbol}/state", {"state": state}):
        raise fail(refused)
    console.print(f"{symbol}: {state}")


@app.command()
def delist(symbol: str, data: Data = None, gateway: Gateway = GATEWAY) -> None:
    """Delist a security, for good: its orders are cancelled, holdings stay."""
    if refused := _admin(data, gateway, "DELETE", f"/admin/securities/{symbol}"):
        raise fail(refused)
    console.print(f"{symbol}: delisted")


@app.command()
def halt(symbol: str, data: Data = None, gateway: Gateway = GATEWAY) -> None:
    """Halt trading in a security."""
    _set_state(symbol, "halted", data, gateway)


@app.command()
def resume(symbol: str, data: Data = None, gateway: Gateway = GATEWAY) -> None:
    """Resume continuous trading; an auction that collects orders uncrosses first."""
    _set_state(symbol, "continuous", data, gateway)


@app.command()
def auction(symbol: str, data: Data = None, gateway: Gateway = GATEWAY) -> None:
    """Begin an auction in a security; `resume` uncrosses it."""
    _set_state(symbol, "opening_auction", data, gateway)


@app.command()
def secrets(
    folder: Annotated[Path, typer.Argument(help="Folder to write the secrets into, for MX_SECRETS_DIR.")],
    postgres: Annotated[str, typer.Option(help="HOST:PORT of Postgres.")] = "postgres:5432",
    rabbitmq: Annotated[str, typer.Option(help="HOST:PORT of RabbitMQ.")] = "rabbitmq:5672",
) -> None:
    """Make the passwords of a deployment's database and broker, unless they are there, and the addresses with them."""
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
    app()


if __name__ == "__main__":
    main()
