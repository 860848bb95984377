"""Child processes: how the launcher starts, watches, restarts and stops them."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from exchange_launcher.processes import reap
from microexchange.log import Backoff
from microexchange.service import EXIT_CONFIG

MAX_FAILURES = 5
"""The number of failures within `FAILURE_WINDOW_SECONDS` after which a service is not restarted."""
FAILURE_WINDOW_SECONDS = 30.0
"""The period in which failures are counted. After this time without a failure, the pause before a restart is short again."""


class ServiceFailedError(RuntimeError):
    """A service that cannot run. The message names the service and the reason."""


class Child:
    """The process of one service."""

    STOP_TIMEOUT_SECONDS = 20.0
    """The time between the request to stop and the kill."""

    def __init__(self, name: str, module: str, environment: Mapping[str, str], log_file: Path) -> None:
        self.name = name
        self._module = module
        self._environment = {**os.environ, **environment, "MX_PARENT_PIPE": "1"}
        self._log_file = log_file
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._failure_times: deque[float] = deque(maxlen=MAX_FAILURES)
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The process id, or None if the process does not run."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def start(self, on_failure: Callable[[ServiceFailedError], None]) -> None:
        """Start the process and watch it. If it cannot be kept running, call `on_failure` once."""
        await self._spawn()
        self._watching = asyncio.create_task(self._watch(on_failure))

    async def _spawn(self) -> None:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # A file in the current folder must not replace a module.
                "-m",
                self._module,
                env=self._environment,
                # The child stops when this pipe closes. So it stops with the launcher, even if the launcher is killed.
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Only the launcher receives Ctrl-C from the terminal. It then stops its children in order.
                start_new_session=True,
            )

    async def _watch(self, on_failure: Callable[[ServiceFailedError], None]) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        while True:
            assert self._process is not None  # noqa: S101 - spawned before
            started_at = loop.time()
            status = await self._process.wait()
            now = loop.time()
            # SIGKILL comes from a person, or from the system if it is out of memory. It is not counted as a failure.
            if status != -signal.SIGKILL:
                self._failure_times.append(now)
            too_often = len(self._failure_times) == MAX_FAILURES and now - self._failure_times[0] < FAILURE_WINDOW_SECONDS
            if status == EXIT_CONFIG or too_often:
                on_failure(ServiceFailedError(f"{self.name} failed ({_explain(status)}): {self.last_error()}"))
                return
            if now - started_at > FAILURE_WINDOW_SECONDS:
                backoff = Backoff()
            await backoff.wait()
            self.restarts += 1
            await self._spawn()

    def last_error(self) -> str:
        """Return the last error in the log of the process, or the path of the log."""
        with contextlib.suppress(OSError):
            for line in reversed(self._log_file.read_text(errors="replace").splitlines()[-200:]):
                with contextlib.suppress(ValueError, AttributeError):
                    entry = json.loads(line)
                    if entry.get("level") in ("error", "critical"):
                        return f"{entry.get('event')}: {entry.get('cause', '')} (log: {self._log_file})"
        return f"see {self._log_file}"

    async def stop(self) -> None:
        """Send SIGTERM to the process and wait until it ends. Kill it after `STOP_TIMEOUT_SECONDS`."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), self.STOP_TIMEOUT_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await reap(process)


def _explain(status: int) -> str:
    """Return the meaning of an exit status in words."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
