"""Ends a simulation in which a bot does not return, and reports where the bot is stuck.

A timer of the system interrupts the main thread once a second, whatever it does: a loop, a sleep, the bot's own handling of
errors. Where the same call into a bot has run for too long, or the simulated clock stands still, the interruption raises
`Stuck` in it. A bot that catches that too is ended with the process; so is one that is stuck outside of Python.
"""

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from trading_bots.bot import Bot
from trading_bots.faults import files_of, place_in

PATIENCE = 10.0
"""Real seconds that one call into a bot may take."""
STILL = 3
"""How many times as long the simulated clock may stand still."""
LOOK = 1.0
"""Seconds between two looks."""
TRIES = 3
"""How often `Stuck` is raised before the process is ended."""
EXIT_STUCK = 70


class Stuck(BaseException):
    """A bot does not return. The message names the line. No `Exception`: the bot's own handling of errors must not catch
    it."""


class StuckError(RuntimeError):
    """A bot does not return. The message names the line."""


class Watchdog:
    """Watches the calls into bots. Usable as a context in the main thread only; elsewhere it sees nothing."""

    def __init__(self, patience: float = PATIENCE) -> None:
        """`patience` in real seconds; 0 for no end."""
        self.clock: Callable[[], int] = lambda: 0
        """The simulated clock."""
        self.bot: Bot | None = None
        """The bot that was called last."""
        self.is_in_bot = False
        """Whether that call runs now."""
        self.count = 0
        """Calls so far. Whoever calls a bot sets these three: a method would cost as much as a short call."""
        self.text = ""
        """Why `Stuck` was raised; empty while all is well. A bot may have caught it, so no bot is called after it."""
        self._patience = patience
        self._loads, self._files = "", set[str]()
        self._seen = (0, 0)
        self._call_since = self._clock_since = 0.0
        self._rests = False
        self._raised = 0

    @property
    def who(self) -> str:
        """Whose code runs now; empty for no bot's."""
        return self._loads or (self.bot.client_id if self.is_in_bot and self.bot is not None else "")

    @contextlib.contextmanager
    def loading(self, name: str, files: set[str]) -> Iterator[None]:
        """Code of these files runs meanwhile, outside of a callback: that of the bot of this name."""
        self._loads, self._files = name, files
        self.count += 1
        try:
            yield
        finally:
            self._loads, self._files = "", set()

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """No bot is called meanwhile: the simulation waits, or shows how far it is."""
        self._rests = True
        try:
            yield
        finally:
            self._rests = False
            self._call_since = self._clock_since = time.monotonic()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watches meanwhile. Raises `StuckError` in place of `Stuck`."""
        if not self._patience or threading.current_thread() is not threading.main_thread():
            yield
            return
        alarm, interrupt = signal.signal(signal.SIGALRM, self._look), signal.getsignal(signal.SIGINT)
        if interrupt is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupt)
        self._call_since = self._clock_since = time.monotonic()
        self._arm()
        signal.setitimer(signal.ITIMER_REAL, LOOK, LOOK)
        try:
            yield
            if self.text:
                raise StuckError(self.text)
        except Stuck as stuck:
            raise StuckError(str(stuck)) from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()
            signal.signal(signal.SIGALRM, alarm)
            signal.signal(signal.SIGINT, interrupt)

    # --- the interruptions ----------------------------------------------------------------------------------

    def _look(self, _: int, frame: FrameType | None) -> None:
        self._arm()
        count, clock = self.count, self.clock()
        now = time.monotonic()
        if self._rests or count != self._seen[0]:
            self._call_since = now
        if self._rests or self._loads or clock != self._seen[1]:
            self._clock_since = now
        self._seen = (count, clock)
        if not ((self.is_in_bot or self._loads) and now - self._call_since >= self._patience) and (
            now - self._clock_since < STILL * self._patience
        ):
            self._raised = 0
            return
        self.text = self.text or self._say(frame)
        self._raised += 1
        if self._raised > TRIES:
            _end(f"{self.text}. It catches what should end it, so the process ends.")
        raise Stuck(self.text)

    def _arm(self) -> None:
        """Code that never comes back to Python is not interrupted by anything. Unless this is called again in time, a thread
        outside of Python prints where it is, and ends the process."""
        seconds = self._patience + (TRIES + 2) * LOOK
        with contextlib.suppress(OSError, ValueError, AttributeError):  # standard error may be no file
            faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)  # type: ignore[arg-type]

    def _say(self, frame: FrameType | None) -> str:
        if self._loads:
            where = place_in(frame, self._files) or "not in its own file"
            return f"{self._loads} does not come to an end of its loading, for {self._patience:g} s: {where}"
        bot = self.bot
        if self.is_in_bot and bot is not None:
            where = place_in(frame, files_of(type(bot))) or "not in its own file"
            return f"{bot.client_id} ({type(bot).__name__}) has not returned for {self._patience:g} s: {where}"
        last = "" if bot is None else f"; {bot.client_id} was called last"
        seconds = STILL * self._patience
        return f"the simulated clock stands still for {seconds:g} s: bots answer each other without a pause{last}"

    def _interrupt(self, *_: object) -> None:
        """Ctrl-C: the first raises `KeyboardInterrupt`, and the second ends the process, whatever the bot catches."""
        signal.signal(signal.SIGINT, lambda *_: _end("Interrupted."))
        raise KeyboardInterrupt


def _end(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.write(2, f"\nmicroexchange: {text}\n".encode())
    os._exit(EXIT_STUCK)
