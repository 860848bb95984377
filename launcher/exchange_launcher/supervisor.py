"""Child processes: started, watched, started again when they die, stopped in order."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from exchange_launcher.processes import let_go
from microexchange.log import Backoff
from microexchange.service import EXIT_CONFIG

OFTEN = 5
WITHIN = 30.0
"""A service that fails this often within so many seconds is not started again: it cannot work."""


class ServiceFailedError(RuntimeError):
    """A service does not work; the message says which, and why."""


class Child:
    """One service as a process."""

    STOP_SECONDS = 20.0

    def __init__(self, name: str, module: str, environment: Mapping[str, str], log_file: Path) -> None:
        self.name = name
        self._module = module
        self._environment = {**os.environ, **environment, "MX_PARENT_PIPE": "1"}
        self._log_file = log_file
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._deaths: deque[float] = deque(maxlen=OFTEN)
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def start(self, on_failure: Callable[[ServiceFailedError], None]) -> None:
        """Starts the process and watches it; `on_failure` hears when it cannot be kept running."""
        await self._spawn()
        self._watching = asyncio.create_task(self._watch(on_failure))

    async def _spawn(self) -> None:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # No module comes from the folder that the command was run in.
                "-m",
                self._module,
                env=self._environment,
                # The child stops when this pipe closes: it never outlives the launcher, however that ends.
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal is the launcher's to hear: it stops its children in order.
                start_new_session=True,
            )

    async def _watch(self, on_failure: Callable[[ServiceFailedError], None]) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        while True:
            assert self._process is not None  # noqa: S101 - spawned before
            began = loop.time()
            status = await self._process.wait()
            now = loop.time()
            if status != -signal.SIGKILL:
                # Who is killed did not fail: somebody else has done it, or the machine is out of memory for a while.
                self._deaths.append(now)
            often = len(self._deaths) == OFTEN and now - self._deaths[0] < WITHIN
            if status == EXIT_CONFIG or often:
                on_failure(ServiceFailedError(f"{self.name} failed ({_explain(status)}): {self.last_error()}"))
                return
            if now - began > WITHIN:
                backoff = Backoff()
            await backoff.wait()
            self.restarts += 1
            await self._spawn()

    def last_error(self) -> str:
        """The last error that the process wrote to its log."""
        with contextlib.suppress(OSError):
            for line in reversed(self._log_file.read_text(errors="replace").splitlines()[-200:]):
                with contextlib.suppress(ValueError, AttributeError):
                    entry = json.loads(line)
                    if entry.get("level") in ("error", "critical"):
                        return f"{entry.get('event')}: {entry.get('cause', '')} (log: {self._log_file})"
        return f"see {self._log_file}"

    async def stop(self) -> None:
        """Asks the process to stop, and waits; kills it if it does not."""
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
            await asyncio.wait_for(process.wait(), self.STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await let_go(process)


def _explain(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
