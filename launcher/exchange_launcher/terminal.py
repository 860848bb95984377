"""What the commands share: how they speak, and the options that several have."""

from typing import Annotated

import typer
from rich.console import Console

from trading_bots.faults import plain

console = Console()
errors = Console(stderr=True)

LogUrl = Annotated[str | None, typer.Option("--log", help="The log: amqp://… Default: the database's server.")]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database", help="A Postgres server: postgresql://… Default: an embedded one.")
]
Namespace = Annotated[str, typer.Option("--namespace", help="Put before all names on shared servers: a-z 0-9 _")]
Host = Annotated[str, typer.Option("--host", help="Address that the gateway and the feed listen on.")]
Port = Annotated[int, typer.Option(min=1, max=65535)]


def fail(message: object) -> typer.Exit:
    """Says what is wrong, in red; raise what it returns."""
    errors.print(plain(f"microexchange: {message}"), style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(1)
