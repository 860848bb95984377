"""Options that several commands share, and the checks of their values."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from exchange_launcher.number_options import port_option
from exchange_launcher.terminal import bad_use
from microexchange.settings import NAMESPACE

LOG_SCHEMES = ("amqp://", "amqps://", "postgresql://", "postgres://")
DATABASE_SCHEMES = ("postgresql://", "postgres://")


def parse_folder(text: str) -> Path:
    """Return the folder that an option names.

    Raises:
        typer.BadParameter: The name is empty, for example because a variable of the shell is not set.
    """
    if not text.strip():
        raise typer.BadParameter("the name of the folder is empty")
    return Path(text)


Data = Annotated[
    Path | None,
    typer.Option(
        parser=parse_folder,
        metavar="DIRECTORY",
        help="Data folder of the exchange. Default: MX_DATA_DIR, or the folder of the exchange that runs.",
    ),
]
Gateway = Annotated[
    str | None,
    typer.Option(
        envvar="MX_GATEWAY_URL",
        metavar="URL",
        help="Address of the gateway, for example http://127.0.0.1:8000. Default: the gateway of the exchange that runs.",
    ),
]
LogUrl = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="URL",
        help="URL of the log's server, amqp://user:password@host or postgresql://user:password@host. "
        "Default: the Postgres server of the databases.",
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="URL of a Postgres server, postgresql://user:password@host. Default: an embedded server in the data folder.",
    ),
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace",
        metavar="PREFIX",
        help="Prefix of the exchange's names on shared servers, at most 32 of a-z 0-9 _, for example class1_.",
    ),
]
Host = Annotated[
    str,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="Address on which the gateway and the feed listen. With 0.0.0.0, other machines can connect.",
    ),
]
GatewayPort = Annotated[int, port_option("--gateway-port", help="Port of the order-entry gateway.")]
FeedPort = Annotated[int, port_option("--feed-port", help="Port of the market-data feed.")]
EnginePort = Annotated[int, port_option("--engine-port", help="Port of the matching engine's status.")]
ClearingPort = Annotated[int, port_option("--clearing-port", help="Port of the clearinghouse's status.")]


def check_url(flag: str, url: str | None, schemes: tuple[str, ...]) -> None:
    """Check that a URL, if there is one, is well formed and has one of the schemes.

    Raises:
        CommandError: It is not, or it has another scheme.
    """
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
            f"{flag} cannot be used: it is not a URL that begins with {' or '.join(schemes[::2])}", f"Write {example}"
        )


def check_namespace(namespace: str) -> None:
    """Check that an exchange can have this namespace.

    Raises:
        CommandError: It cannot.
    """
    if not re.fullmatch(NAMESPACE, namespace):
        raise bad_use(
            f"--namespace cannot be {namespace[:40]!r}: it must be at most 32 of a-z 0-9 _", "Write for example class1_"
        )
