"""The command `console`: a one-time link that opens the teacher's page."""

import typer

from exchange_launcher.admin import AdminClient
from exchange_launcher.options import Data, Gateway
from exchange_launcher.running import Target, target
from exchange_launcher.terminal import console


def console_link(found: Target) -> str:
    """Return the address of a new one-time link to the console.

    Raises:
        CommandError: There is no answer, or the request is refused.
    """
    return f"{found.gateway_url}{AdminClient(found).send('POST', '/admin/console-links')['path']}"


def console_command(data: Data = None, gateway: Gateway = None) -> None:
    """Print a link that opens the console. It works once, for a day."""
    console.print(console_link(target(data, gateway)), markup=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(name="console")(console_command)
