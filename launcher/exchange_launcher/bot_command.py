"""The `bot` command."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from exchange_launcher.competition_inputs import command_errors
from exchange_launcher.new_bot import write_new_bot
from exchange_launcher.running import DEFAULT_GATEWAY
from exchange_launcher.terminal import CommandError, bad_use
from trading_bots.competition.loading import find_bot, make_bot
from trading_bots.connections import AccountError
from trading_bots.runner import run


def bot_command(
    bot: Annotated[
        str,
        typer.Argument(
            help="Bot to run: my_bot.py, my_bot.py:MyBot, or a strategy such as MarketMaker. The word new writes a bot file."
        ),
    ],
    name: Annotated[str | None, typer.Argument(help="After new: name of the file to write, for example my_bot.")] = None,
    url: Annotated[str, typer.Option(metavar="URL", help="Address of the gateway.")] = DEFAULT_GATEWAY,
    feed_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Address of the market data. Default: the gateway.")
    ] = None,
    key: Annotated[
        str,
        typer.Option(
            envvar="MX_KEY", help="API key of the account. Default: the key in the file of --keys, or that of a new account."
        ),
    ] = "",
    client_id: Annotated[
        str | None, typer.Option(help="Name of the account, for example alice. Default: the name of the class.")
    ] = None,
    keys: Annotated[Path, typer.Option(help="File for the API keys of new accounts.")] = Path("keys.json"),
) -> None:
    """Run a bot on an exchange until Ctrl-C. `bot new my_bot` writes a first bot.

    The bot waits if the exchange does not answer."""
    if bot == "new":
        write_new_bot("my_bot" if name is None else name)
        return
    _check_address("--url", url)
    _check_address("--feed-url", feed_url or url)
    with command_errors():
        bot_class = find_bot(bot)
        instance = make_bot(bot_class, bot_class.__name__)
    try:
        run(instance, client_id=client_id, gateway_url=url, feed_url=feed_url or "", keys=keys, key=key)
    except AccountError as error:
        raise CommandError(f"the exchange rejects the bot: {error}", "Correct --key, --client-id or --keys") from error
    except ValueError as error:
        raise bad_use(f"the keys in {keys} cannot be read: {error}", "Name another file with --keys") from error


def _check_address(flag: str, address: str) -> None:
    """Check that an address is an HTTP URL.

    Raises:
        CommandError: It is not.
    """
    try:
        parts = urlsplit(address)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well_formed = False
    if not well_formed:
        raise bad_use(
            f"{flag} cannot be {address[:100]!r}: it is not an address", f"Write for example {flag} http://127.0.0.1:8000"
        )
