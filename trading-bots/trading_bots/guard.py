"""The guard of a live bot: it prints where the bot is stuck, and lets Ctrl-C end it."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from trading_bots.bot import Bot
from trading_bots.faults import Print, files_of, position_in

CALLBACK_TIMEOUT_SECONDS = 10.0
"""The time after which a callback that has not returned is reported."""
CHECK_INTERVAL_SECONDS = 0.5
"""The time between two heartbeats of the event loop, and between two checks."""


class Guard:
    """The guard of one bot. It works while a callback blocks the event loop: with signal handlers and a thread."""

    def __init__(
        self, bot: Bot, stop: asyncio.Event, print_message: Print, timeout_seconds: float = CALLBACK_TIMEOUT_SECONDS
    ) -> None:
        self._bot, self._stop, self._print, self._timeout_seconds = bot, stop, print_message, timeout_seconds
        self._files = files_of(type(bot))
        self._last_beat = time.monotonic()
        self._interrupts = 0
        self._done = threading.Event()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Guard the bot within the context. Call it in the main thread, on the running event loop."""
        loop, main = asyncio.get_running_loop(), threading.get_ident()
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def on_signal(number: int, frame: FrameType | None) -> None:
            # A signal handler of asyncio would run only after the callback has returned.
            self._interrupts += 1
            loop.call_soon_threadsafe(self._stop.set)
            if self._interrupts > 1:
                self._end(number)
            where = position_in(frame, self._files)
            if where:
                self._print(
                    f"{self._name()} is at {where}. It ends when the callback returns. Press Ctrl-C again to end it at once."
                )

        for number in previous:
            signal.signal(number, on_signal)
        beating = loop.create_task(self._beat())
        threading.Thread(target=self._watch, args=(main,), daemon=True).start()
        try:
            yield
        finally:
            self._done.set()
            beating.cancel()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _name(self) -> str:
        return f"{self._bot.client_id or 'The bot'} ({type(self._bot).__name__})"

    def _end(self, number: int) -> None:
        with contextlib.suppress(OSError):
            os.write(2, b"\nmicroexchange: the bot has ended. Its open orders stay in the market.\n")
        os._exit(128 + number)

    async def _beat(self) -> None:
        while True:
            self._last_beat = time.monotonic()
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)

    def _watch(self, main: int) -> None:
        """Print where the bot is stuck, once each time."""
        reported = 0.0
        while not self._done.wait(CHECK_INTERVAL_SECONDS):
            if time.monotonic() - self._last_beat < self._timeout_seconds or self._last_beat == reported:
                continue
            reported = self._last_beat
            where = position_in(sys._current_frames().get(main), self._files) or "not in its own file"
            self._print(
                f"{self._name()} has not returned for {self._timeout_seconds:g} s: {where}. "
                "Until it returns, the bot receives nothing and sends no orders. Press Ctrl-C twice to end it."
            )
