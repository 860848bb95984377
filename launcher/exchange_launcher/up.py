"""`microexchange up`: a whole exchange on this machine."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable

from rich.console import Console

from exchange_launcher.data_folder import UpError, check_mode, lock_folder
from exchange_launcher.exchange import DRAIN_TIMEOUT_SECONDS, Exchange
from exchange_launcher.services import UpOptions
from exchange_launcher.up_output import (
    address_lines,
    classroom_lines,
    console_line,
    count_orders,
    details_table,
    pricing_rules,
    print_results,
    status_line,
)

STATUS_INTERVAL_SECONDS = 1.0
"""The time between two status lines on a terminal. Each line replaces the one before."""
PRINT_INTERVAL_SECONDS = 10.0
"""The time between two status lines in a file or pipe."""
FIRST_PRINT_SECONDS = 9
"""The age of the exchange before which no status line goes to a file or pipe."""


async def up(options: UpOptions, console: Console) -> None:
    """Run an exchange until a signal, or until the duration in the options is over.

    Raises:
        UpError: The exchange cannot start, or has failed.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    with lock_folder(options.data):
        check_mode(options.data, options.classroom)
        exchange = Exchange(options, console)
        try:
            if not await _finished_before(stop, exchange.start):
                return
            pricing, warning = await pricing_rules(exchange)
            link = await asyncio.to_thread(console_line, exchange)
            for line in [*address_lines(options), *classroom_lines(options, exchange.gateway_url), link]:
                console.print(line, markup=False, soft_wrap=True)
            console.print(details_table(exchange, pricing))
            if warning:
                console.print(warning, style="yellow", markup=False, soft_wrap=True)
            console.print("Ctrl-C stops the exchange. No data is lost.")
            orders_before = await count_orders(exchange)
            started_at = loop.time()
            await _show_status(exchange, console, stop)
            if options.seconds is not None:
                drained = await exchange.quiesce()
                exchange.raise_failure()
                await print_results(exchange, console, loop.time() - started_at, orders_before)
                if not drained:
                    raise UpError(
                        f"the market did not become idle: some orders were still in progress after "
                        f"{DRAIN_TIMEOUT_SECONDS:g} s",
                        "No data is lost: start the exchange again in the same folder, and it continues",
                    )
        finally:
            console.print("Stopping …")
            await exchange.stop()
        console.print("Stopped.")


async def _show_status(exchange: Exchange, console: Console, stop: asyncio.Event) -> None:
    """Show a status line until `stop`, the end of the duration, or a permanent failure of a service.

    Raises:
        UpError: A service has failed permanently.
    """
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    end = None if exchange.options.seconds is None else started_at + exchange.options.seconds
    live = console.is_terminal
    orders, counted_at = await count_orders(exchange), loop.time()
    with console.status("…") if live else contextlib.nullcontext() as status:
        while not stop.is_set() and not exchange.failed.is_set():
            pause = STATUS_INTERVAL_SECONDS if live else PRINT_INTERVAL_SECONDS
            if end is not None:
                pause = min(pause, end - loop.time())
                if pause <= 0:
                    break
            await _wait_for_any(pause, stop, exchange.failed)
            new_orders, now = await count_orders(exchange), loop.time()
            orders_per_second = (new_orders - orders) / (now - counted_at) if now > counted_at else 0.0
            orders, counted_at = new_orders, now
            line = await status_line(exchange, orders_per_second, loop.time() - started_at)
            if status is not None:
                status.update(line)
            elif now - started_at >= FIRST_PRINT_SECONDS:
                console.print(line)
    exchange.raise_failure()


async def _wait_for_any(seconds: float, *events: asyncio.Event) -> None:
    """Wait until one of the events is set, at most `seconds`."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _finished_before(stop: asyncio.Event, work: Callable[[], Awaitable[None]]) -> bool:
    """Do `work`, but cancel it if `stop` is set first. Return whether it was finished."""
    working, stopping = asyncio.ensure_future(work()), asyncio.ensure_future(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        return False
    working.result()
    return True
