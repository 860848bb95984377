"""The `audit` command."""

import asyncio
import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from exchange_launcher.data_folder import running_postgres
from exchange_launcher.options import DATABASE_SCHEMES, LOG_SCHEMES, Data, check_namespace, check_url
from exchange_launcher.running import running_place
from exchange_launcher.terminal import CommandError, console, given_or_secret, place_settings

if TYPE_CHECKING:
    from exchange_launcher.audit import Check, Places


def audit_command(
    data: Data = None,
    log: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="URL of the log's server. Default: MX_LOG_URL, the log of the exchange that runs, or the Postgres server.",
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="URL of the Postgres server. Default: MX_DATABASE_URL, the server of the exchange that runs, or the "
            "embedded server in the data folder.",
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            metavar="PREFIX",
            help="Prefix of the exchange's names on the servers. Default: MX_NAMESPACE, or the prefix of the exchange that "
            "runs.",
        ),
    ] = None,
    whole: Annotated[
        bool,
        typer.Option("--whole", help="Replay the log from its first command instead of from a snapshot."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check that all cash and all shares are accounted for, also while the exchange runs.

    The audit compares engine, ledger and feed. It changes nothing. The exit status is 1 if it finds a difference."""
    from exchange_launcher.audit import AuditError, audit  # it needs SQLAlchemy, which takes most of a second to import

    check_url("--log", log, LOG_SCHEMES)
    check_url("--database", database, DATABASE_SCHEMES)
    check_namespace(namespace or "")
    try:
        with contextlib.ExitStack() as stack:
            checks = asyncio.run(audit(_places(stack, data, log, database, namespace, whole)))
    except AuditError as error:
        fix = "Start its servers, and name the exchange with --data, or with --database, --log and --namespace"
        raise CommandError(f"the audit cannot run: {error}", fix) from error
    differences = sum(check.count for check in checks)
    if as_json:
        content = {"differences": differences, "checks": [dataclasses.asdict(check) for check in checks]}
        console.print_json(data=content, ensure_ascii=True)
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
) -> "Places":
    """Return where the exchange stores its data.

    A flag has priority over the environment, and the environment over the exchanges that run on this machine. If the data is
    in the embedded Postgres and no exchange runs, the function starts that server until `stack` is closed.

    Raises:
        CommandError: There is no such exchange, or several run.
    """
    from exchange_launcher.audit import Places

    settings = place_settings()
    given = settings.model_fields_set
    if data is None and "data_dir" in given:
        data = settings.data_dir
    log = given_or_secret(log, settings.log_url)
    server = given_or_secret(database, settings.database_url)
    if namespace is None and "namespace" in given:
        namespace = settings.namespace
    # If the user names a database server, a running exchange is not taken into account.
    place = running_place(data, None) if server is None else None
    if place is not None:
        data, server, log = Path(place.data), place.database_url, log or place.log_url
        namespace = place.namespace if namespace is None else namespace
    folder = (data or settings.data_dir).absolute()
    if server is None:
        server = stack.enter_context(running_postgres(folder))
    return Places(server, log or server, namespace or "", folder, whole)


def _print_checks(checks: "list[Check]") -> None:
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
