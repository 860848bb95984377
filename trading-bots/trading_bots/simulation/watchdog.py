"""The watchdog of a simulation: it ends a simulation in which a callback does not return, and names the line.

A timer signal interrupts the main thread once a second, in any Python code: a loop, a sleep, the bot's error handling. If a
call has run for too long, or the simulated clock does not move, the signal handler raises `Stuck`. If the bot catches
`Stuck`, or is stuck in C code, the process ends.
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
from trading_bots.faults import files_of, position_in

CALLBACK_TIMEOUT_SECONDS = 10.0
"""The longest real time of one call into a bot."""
CLOCK_TIMEOUT_FACTOR = 3
"""The simulated clock may stand still for this many times the timeout of a call."""
CHECK_INTERVAL_SECONDS = 1.0
"""The time between two checks."""
MAX_ATTEMPTS = 3
"""The number of times that `Stuck` is raised before the process ends."""
EXIT_STUCK = 70


class Stuck(BaseException):
    """A bot does not return. The message names the line.

    It is not an `Exception`, so that the bot's own error handling does not catch it.
    """


class StuckError(RuntimeError):
    """A bot does not return. The message names the line."""


class Watchdog:
    """The watchdog of all calls into bots. It works only in the main thread."""

    def __init__(self, timeout_seconds: float = CALLBACK_TIMEOUT_SECONDS) -> None:
        """Create a watchdog. `timeout_seconds` is in real seconds. 0 turns it off."""
        self.clock: Callable[[], int] = lambda: 0
        """Returns the simulated time."""
        self.bot: Bot | None = None
        """The bot that was called last."""
        self.is_in_bot = False
        """Whether this call still runs."""
        self.count = 0
        """The number of calls so far. Callers set these three fields: a method would cost as much as a short call."""
        self.text = ""
        """Why `Stuck` was raised, or empty. A bot may have caught it, so no bot is called after it."""
        self._timeout_seconds = timeout_seconds
        self._loading_name, self._files = "", set[str]()
        self._last_check = (0, 0)
        self._call_since = self._clock_since = 0.0
        self._is_paused = False
        self._attempts = 0

    @property
    def running_bot(self) -> str:
        """The name of the bot whose code runs now. Empty if none runs."""
        return self._loading_name or (self.bot.client_id if self.is_in_bot and self.bot is not None else "")

    @contextlib.contextmanager
    def loading(self, name: str, files: set[str]) -> Iterator[None]:
        """Record that the bot of this name is being loaded within the context, from code in these files."""
        self._loading_name, self._files = name, files
        self.count += 1
        try:
            yield
        finally:
            self._loading_name, self._files = "", set()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Record that no bot is called within the context, for example while progress is shown."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False
            self._call_since = self._clock_since = time.monotonic()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch within the context.

        Raises:
            StuckError: A bot did not return in time.
        """
        if not self._timeout_seconds or threading.current_thread() is not threading.main_thread():
            yield
            return
        alarm, interrupt = signal.signal(signal.SIGALRM, self._check), signal.getsignal(signal.SIGINT)
        if interrupt is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupt)
        self._call_since = self._clock_since = time.monotonic()
        self._arm()
        signal.setitimer(signal.ITIMER_REAL, CHECK_INTERVAL_SECONDS, CHECK_INTERVAL_SECONDS)
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

    def _check(self, _: int, frame: FrameType | None) -> None:
        self._arm()
        count, clock = self.count, self.clock()
        now = time.monotonic()
        if self._is_paused or count != self._last_check[0]:
            self._call_since = now
        if self._is_paused or self._loading_name or clock != self._last_check[1]:
            self._clock_since = now
        self._last_check = (count, clock)
        is_call_stuck = bool(self.is_in_bot or self._loading_name) and now - self._call_since >= self._timeout_seconds
        if not is_call_stuck and now - self._clock_since < CLOCK_TIMEOUT_FACTOR * self._timeout_seconds:
            self._attempts = 0
            return
        self.text = self.text or self._message(frame, is_call_stuck)
        self._attempts += 1
        if self._attempts > MAX_ATTEMPTS:
            _end(f"{self.text}. It catches the exception that should end it, so the process ends.")
        raise Stuck(self.text)

    def _arm(self) -> None:
        """Restart the timer that ends the process if the main thread is stuck in C code.

        C code is not interrupted by signal handlers. If `_arm` is not called again in time, `faulthandler` prints where the
        main thread is and ends the process.
        """
        seconds = self._timeout_seconds + (MAX_ATTEMPTS + 2) * CHECK_INTERVAL_SECONDS
        with contextlib.suppress(OSError, ValueError, AttributeError):  # standard error may not be a file
            faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)  # type: ignore[arg-type]

    def _message(self, frame: FrameType | None, is_call_stuck: bool) -> str:
        if self._loading_name:
            where = position_in(frame, self._files) or "not in its own file"
            return f"{self._loading_name} has not finished loading for {self._timeout_seconds:g} s: {where}"
        bot = self.bot
        if is_call_stuck and bot is not None:
            where = position_in(frame, files_of(type(bot))) or "not in its own file"
            return f"{bot.client_id} ({type(bot).__name__}) has not returned for {self._timeout_seconds:g} s: {where}"
        last = "" if bot is None else f"; {bot.client_id} was called last"
        seconds = CLOCK_TIMEOUT_FACTOR * self._timeout_seconds
        return f"the simulated clock stands still for {seconds:g} s: bots react to each other without a pause{last}"

    def _interrupt(self, *_: object) -> None:
        """Handle Ctrl-C: the first raises `KeyboardInterrupt`, the second ends the process, whatever the bot catches."""
        signal.signal(signal.SIGINT, lambda *_: _end("Interrupted."))
        raise KeyboardInterrupt


def _end(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.write(2, f"\nmicroexchange: {text}\n".encode())
    os._exit(EXIT_STUCK)
