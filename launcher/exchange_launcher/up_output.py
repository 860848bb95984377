"""The console output of `up`: addresses, the status line and the results."""

import asyncio
from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exchange_launcher import addresses
from exchange_launcher.admin import listed_securities
from exchange_launcher.console_command import console_link
from exchange_launcher.exchange import Exchange
from exchange_launcher.running import Target
from exchange_launcher.services import CLEARINGHOUSE, ENGINE, FEED, GATEWAY, UpOptions
from exchange_launcher.terminal import CommandError
from microexchange.databases import without_secrets


def address_lines(options: UpOptions) -> list[str]:
    """Return the address that users need, and which machines can connect to it, as lines of text."""
    host, port = options.host, options.gateway_port
    public = addresses.public_host(host)
    shown = addresses.url(addresses.local_host(host) if public is None else public, port)
    lines = [f"microexchange is open: {shown}", "This address has the dashboard, order entry and market data."]
    if public is None:
        return [*lines, "This machine has no address on a network: only this machine can connect."]
    if addresses.is_loopback(host):
        return [*lines, "Only this machine can connect. To let other machines connect, start it with --host 0.0.0.0"]
    return [*lines, "Other machines on the network can connect."]


def classroom_lines(options: UpOptions, gateway_url: str) -> list[str]:
    """Return how the teacher and the class begin, as lines of text. Without a classroom there are none."""
    if not options.classroom:
        return []
    pin = (options.data / "secrets" / "pin").read_text().strip()
    return [
        f"For the wall: {gateway_url}/#lobby shows the link, a QR code, and who is here.",
        f"The class opens the address above and joins with the PIN {pin} and a nickname.",
    ]


def console_line(exchange: Exchange) -> str:
    """Return the line with a one-time link to the console."""
    options = exchange.options
    found = Target(exchange.gateway_url, options.data / "secrets" / "admin-token", exchange.gateway_url)
    try:
        return f"You control the market here (the link works once): {console_link(found)}"
    except CommandError as error:
        return f"There is no link to the console: {error.problem}"


def details_table(exchange: Exchange, pricing: str) -> Table:
    """Return a table of all addresses and modes. `pricing` is the text about the pricing rules."""
    options, table = exchange.options, Table(show_header=False)
    table.add_column("what")
    table.add_column("where", overflow="fold")
    if addresses.local_host(options.host) != options.host:
        table.add_row("Address on this machine", exchange.gateway_url)
    table.add_row("Orders (REST, /ws/orders)", f"{exchange.gateway_url}/docs")
    table.add_row("Market data (REST, /ws)", f"{exchange.gateway_url}/market-data/docs")
    for name in (ENGINE, CLEARINGHOUSE):
        table.add_row(f"{name}: status", f"{exchange.services.url(name)}/status")
    if exchange.has_embedded_postgres:
        database = f"psql -h {options.data / 'postgres'} -U postgres"
    else:
        database = without_secrets(options.database or "")
    table.add_row("Postgres", database)
    log = options.log or options.database
    table.add_row("Log", without_secrets(log) if log else "the same Postgres (exchange_log)")
    table.add_row("House bots", str(options.bots))
    if options.classroom:
        table.add_row(
            "Classroom mode", "clients need only a name and no key, credit is not checked, /docs shows the quick routes"
        )
    table.add_row("Pricing rule", pricing)
    table.add_row("Data, logs, admin token", str(options.data))
    return table


async def pricing_rules(exchange: Exchange) -> tuple[str, str]:
    """Return the pricing rules of the listed securities as text, and a warning.

    A listed security keeps its pricing rule. The warning is empty if all securities have the rule in the options.
    """
    wanted = exchange.options.pricing
    try:
        listed = await asyncio.to_thread(listed_securities, exchange.feed_url)
    except CommandError:
        listed = []
    counts = Counter(str(security["pricing_rule"]) for security in listed)
    rules = ", ".join(f"{rule} ({count} securities)" for rule, count in counts.most_common())
    others = sum(counts.values()) - counts[wanted] if wanted else 0
    warning = (
        f"{others} securities keep the pricing rule that they were listed with: --pricing {wanted} applies to new "
        "securities only. If all securities need that rule, create another exchange in another folder with --data."
    )
    return rules or wanted or "the rules of the listing; the default is resting", warning if others else ""


async def count_orders(exchange: Exchange) -> int:
    """Return the number of orders that the exchange has received, or 0 if the feed does not answer."""
    return int((await exchange.status(FEED)).get("orders", 0))


async def status_line(exchange: Exchange, orders_per_second: float, age_seconds: float) -> str:
    """Return the line of text that `up` shows while the exchange runs."""
    feed, gateway = await exchange.status(FEED), await exchange.status(GATEWAY)
    return (
        f"{int(age_seconds) // 60:02d}:{int(age_seconds) % 60:02d}  "
        f"orders {feed.get('orders', '…')} ({orders_per_second:.0f}/s)  "
        f"trades {feed.get('trades', '…')}  settled {feed.get('settled', '…')}  "
        f"order to report p50 {_milliseconds(gateway.get('latency_p50'))} "
        f"p95 {_milliseconds(gateway.get('latency_p95'))}"
        + (f"  restarts {exchange.restarts}" if exchange.restarts else "")
        + "".join(f"  Warning: {warning}" for warning in gateway.get("warnings", {}).values())
    )


async def print_results(exchange: Exchange, console: Console, seconds: float, orders_before: int) -> None:
    """Print the leaderboard and the totals. The run took `seconds` and began after `orders_before` orders."""
    leaders = (await exchange.http.get(f"{exchange.feed_url}/leaderboard?limit=20")).json()
    table = Table(title="Leaderboard", title_justify="left")
    for heading in ("", "client", "profit", "return", "equity", "cash", "trades"):
        table.add_column(heading, justify="left" if heading == "client" else "right")
    for leader in leaders:
        profit, equity, cash = (f"{float(leader[field]):,.2f}" for field in ("profit", "equity", "cash"))
        returned = "–" if leader["return_percent"] is None else f"{leader['return_percent']} %"
        name = f"{leader['client_id']} (house)" if leader["house"] else leader["client_id"]
        table.add_row(str(leader["rank"]), escape(name), profit, returned, equity, cash, f"{leader['trades']:,}")
    console.print(table)
    feed, gateway = await exchange.status(FEED), await exchange.status(GATEWAY)
    orders_of_run = int(feed["orders"]) - orders_before
    totals = Table(title="Totals", title_justify="left", show_header=False)
    totals.add_column()
    totals.add_column(justify="right")
    totals.add_row("orders", f"{feed['orders']:,}")
    totals.add_row("  rejected", f"{feed['rejected']:,}")
    totals.add_row("  cancelled", f"{feed['canceled']:,}")
    totals.add_row("trades", f"{feed['trades']:,}")
    totals.add_row("settled", f"{feed['settled']:,}")
    totals.add_row("settlement faults", f"{feed['settlement_faults']:,}")
    totals.add_row("orders per second, this run", f"{orders_of_run / seconds:,.1f}")
    totals.add_row("order to report, p50", _milliseconds(gateway.get("latency_p50")))
    totals.add_row("order to report, p95", _milliseconds(gateway.get("latency_p95")))
    console.print(totals)


def _milliseconds(seconds: float | None) -> str:
    """Return a latency as text in milliseconds."""
    return "–" if seconds is None else f"{seconds * 1000:.1f} ms"
