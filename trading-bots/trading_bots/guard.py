"""Watches a live bot in a process of its own: prints where it is stuck, and lets Ctrl-C end it."""

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
from trading_bots.faults import Say, files_of, place_in

PATIENCE = 10.0
"""Seconds without a sign of life of the event loop after which the bot is stuck."""
LOOK = 0.5
"""Seconds between two signs of life, and between two looks."""


class Guard:
    """The guard of one bot. All of it works while the bot keeps the event loop from running."""

    def __init__(self, bot: Bot, stop: asyncio.Event, say: Say, patience: float = PATIENCE) -> None:
        self._bot, self._stop, self._say, self._patience = bot, stop, say, patience
        self._files = files_of(type(bot))
        self._alive_at = time.monotonic()
        self._presses = 0
        self._ends = threading.Event()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Guards meanwhile. Call it in the main thread, on the running event loop."""
        loop, main = asyncio.get_running_loop(), threading.get_ident()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def on_signal(number: int, frame: FrameType | None) -> None:
            # A handler of the event loop would wait for the bot to return.
            self._presses += 1
            loop.call_soon_threadsafe(self._stop.set)
            if self._presses > 1:
                self._end(number)
            where = place_in(frame, self._files)
            if where:
                self._say(f"{self._name()} is at {where}. It ends when that returns; Ctrl-C again ends it at once.")

        for number in before:
            signal.signal(number, on_signal)
        beating = loop.create_task(self._beat())
        threading.Thread(target=self._watch, args=(main,), daemon=True).start()
        try:
            yield
        finally:
            self._ends.set()
            beating.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _name(self) -> str:
        return f"{self._bot.client_id or 'The bot'} ({type(self._bot).__name__})"

    def _end(self, number: int) -> None:
        with contextlib.suppress(OSError):
            os.write(2, b"\nmicroexchange: the bot was ended. Its open orders stay in the market.\n")
        os._exit(128 + number)

    async def _beat(self) -> None:
        while True:
            self._alive_at = time.monotonic()
            await asyncio.sleep(LOOK)

    def _watch(self, main: int) -> None:
        """Prints where the bot is stuck, once each time."""
        said_of = 0.0
        while not self._ends.wait(LOOK):
            if time.monotonic() - self._alive_at < self._patience or self._alive_at == said_of:
                continue
            said_of = self._alive_at
            where = place_in(sys._current_frames().get(main), self._files) or "not in its own file"
            self._say(
                f"{self._name()} has not returned for {self._patience:g} s: {where}. "
                "While it does not return, it gets no news and sends no orders. Ctrl-C twice ends it."
            )
