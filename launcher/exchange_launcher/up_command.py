"""The `up` command."""

import asyncio
import os
import re
from pathlib import Path
from typing import Annotated

import typer

from exchange_launcher.number_options import whole_option
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
from exchange_launcher.terminal import bad_use, console
from exchange_launcher.up import up
from microexchange.enums import PricingRule
from microexchange.numbers import PLAIN_DECIMAL
from microexchange.settings import default_data_dir

NewData = Annotated[
    Path | None,
    typer.Option(
        parser=parse_folder,
        metavar="DIRECTORY",
        help="Folder for the data of the exchange. Default: a folder in your user's data folder.",
    ),
]
HouseBots = Annotated[int, whole_option(minimum=0, maximum=500, help="Number of house bots. 0 starts none.")]
SecurityCount = Annotated[
    int | None,
    whole_option(
        minimum=1,
        help="Number of securities to list, the most traded first. House bots then trade all of them. "
        "Default: the whole listing, with house bots in eight securities.",
    ),
]
ListingFile = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, help="CSV file of the securities to list. Default: the listing that is included."
    ),
]
Classroom = Annotated[
    bool,
    typer.Option(
        "--classroom",
        help="Classroom mode: clients need only a name and no key, credit is not checked, and the quick routes exist.",
    ),
]
Pricing = Annotated[
    PricingRule | None,
    typer.Option(help="Pricing rule of all securities. Default: MX_PRICING, or the rules in the listing."),
]
Duration = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="DURATION",
        help="Duration after which the exchange prints its results and stops, for example 30s, 5m or 1h. "
        "Default: until Ctrl-C.",
    ),
]

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
    match = re.fullmatch(rf"({PLAIN_DECIMAL})([smh]?)", text)
    seconds = float(match[1]) * _SECONDS_PER_UNIT[match[2]] if match else 0.0
    if not 0 < seconds <= MAX_RUN_SECONDS:
        raise bad_use(
            f"--for cannot be {text[:32]!r}: it is not a duration, or it is longer than a year", "Write 30s, 5m or 1h"
        )
    return seconds


def up_command(
    data: NewData = None,
    log: LogUrl = None,
    database: DatabaseUrl = None,
    namespace: Namespace = "",
    host: Host = "127.0.0.1",
    gateway_port: GatewayPort = 8000,
    feed_port: FeedPort = 8001,
    engine_port: EnginePort = 8002,
    clearing_port: ClearingPort = 8003,
    bots: HouseBots = 12,
    securities: SecurityCount = None,
    listing: ListingFile = None,
    classroom: Classroom = False,
    pricing: Pricing = None,
    for_: Duration = None,
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
        data=(data or default).absolute(),
        log=log,
        database=database,
        namespace=namespace,
        host=host,
        gateway_port=gateway_port,
        feed_port=feed_port,
        engine_port=engine_port,
        clearing_port=clearing_port,
        bots=bots,
        classroom=classroom,
        pricing=pricing or _pricing_of_environment(),
        seconds=_seconds(for_),
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
