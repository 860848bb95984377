"""The process of a contestant in a live round, and the limits that it must keep."""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil

from exchange_launcher.cgroups import Cgroup
from exchange_launcher.processes import reap
from microexchange.plain_text import plain
from trading_bots.competition import contestant as contestant_process
from trading_bots.competition.confinement import Confinement
from trading_bots.competition.season import Season

START_TIMEOUT_SECONDS = 15.0
"""The longest wait for the first heartbeat of a contestant's process."""
EXIT_TIMEOUT_SECONDS = 10.0
"""The time between the request to end and the kill."""
MAX_ERRORS = 5
"""The number of errors of a contestant that the results list at most."""
MAX_MESSAGE_CHARACTERS = 300
HEARTBEAT_READ_INTERVAL_SECONDS = 0.05
CONFINED_PROCESSES = 3
"""`bwrap` outside, its init process inside, and the bot."""
MAX_TASKS = contestant_process.MAX_THREADS + CONFINED_PROCESSES
"""Processes and threads of a contestant together."""
SIGNAL_STATUS = 128
"""The exit status of `bwrap` for a bot that a signal has ended is this plus the signal."""


@dataclass
class ContestantProcess:
    """The process of one contestant."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    confinement: Confinement
    cgroup: Cgroup | None
    """Its control group. None if this user cannot make one here."""
    last_heartbeat_at: float
    """The time of the last heartbeat, or of the start before the first, on the clock of the event loop."""
    has_sent_heartbeat: bool = False
    ended: str = ""
    """The reason why the contestant was disqualified or its process ended. It is empty while the contestant plays."""

    async def read_heartbeats(self) -> None:
        """Record the time of each heartbeat until the process closes its output."""
        assert self.process.stdout is not None  # noqa: S101 - it was started with a pipe
        while await self.process.stdout.read(4096):
            self.last_heartbeat_at, self.has_sent_heartbeat = asyncio.get_running_loop().time(), True
            await asyncio.sleep(HEARTBEAT_READ_INTERVAL_SECONDS)  # a flood of heartbeats must not keep the loop busy

    def end(self, reason: str) -> None:
        """Kill the process and all its children. Only the first reason is stored."""
        self.ended = self.ended or reason
        kill_group(self.process)
        if self.cgroup is not None:
            self.cgroup.kill()

    def terminate(self) -> None:
        """Ask the bot to end. The bot is the last process of a chain if `bwrap` has started it."""
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            self._processes()[-1].terminate()

    def _processes(self) -> list[psutil.Process]:
        """Return the process that was started and its descendants."""
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]

    def check_limits(self, season: Season, round_seconds: float) -> None:
        """End the process if it exceeds a limit: of memory, processor time, child processes or time of one callback."""
        if self.ended:
            return
        status, limits = self.process.returncode, season.limits
        if status is not None:
            self.end(self._reason_of_exit(status, limits.memory_megabytes))
            return
        try:
            processes = self._processes()
            memory = sum(process.memory_info().rss for process in processes)
            times = [process.cpu_times() for process in processes]
            threads = sum(process.num_threads() for process in processes)
        except psutil.Error:
            return
        silent_seconds = asyncio.get_running_loop().time() - self.last_heartbeat_at
        used_seconds = sum(used.user + used.system for used in times)
        allowed_seconds = limits.processor_share * round_seconds
        if len(processes) > (CONFINED_PROCESSES if self.confinement.bubblewrap else 1):
            self.end("it started another process")
        elif threads > MAX_TASKS:
            self.end(f"it started {threads} threads; {contestant_process.MAX_THREADS} are allowed")
        elif memory > limits.memory_megabytes << 20:
            self.end(f"it took {memory >> 20} MB of memory; {limits.memory_megabytes} are allowed")
        elif used_seconds > allowed_seconds:
            self.end(f"it used {used_seconds:.1f} s of processor time; {allowed_seconds:.1f} are allowed")
        elif silent_seconds > (limits.answer_seconds if self.has_sent_heartbeat else START_TIMEOUT_SECONDS):
            self.end(f"a callback took more than {limits.answer_seconds:g} s")

    def _reason_of_exit(self, status: int, memory_megabytes: int) -> str:
        """Return why the process ended by itself, with the last line of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        last = plain(lines[-1][:MAX_MESSAGE_CHARACTERS]) if lines else ""
        if self.cgroup is not None and self.cgroup.ran_out_of_memory():
            return f"it took more than {memory_megabytes} MB of memory"
        if status == contestant_process.EXIT_FORBIDDEN:
            return f"it tried to start another process: {last}"
        if self.confinement.bubblewrap and status > SIGNAL_STATUS:
            status = SIGNAL_STATUS - status
        if status < 0:
            return f"it was ended by {signal.Signals(-status).name}: {last}".rstrip(": ")
        return f"it ended with status {status}: {last}".rstrip(": ")

    def errors(self) -> list[str]:
        """Return the first errors in the log of the process."""
        text = self.log.read_text(errors="replace").strip()
        return [plain(part.strip()) for part in text.split("\n\n") if part.strip()][:MAX_ERRORS]


async def wait_until_ended(process: asyncio.subprocess.Process) -> None:
    """Wait until a process ends. Kill it after `EXIT_TIMEOUT_SECONDS`."""
    try:
        await asyncio.wait_for(process.wait(), EXIT_TIMEOUT_SECONDS)
    except TimeoutError:
        kill_group(process)
        await reap(process)


def kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill a process and all processes that it has started.

    A sandbox is a session of its own, so a signal to the group does not reach it. It normally ends with `bwrap`, but a bot
    may have prevented that.
    """
    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        descendants = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for descendant in descendants:
        with contextlib.suppress(psutil.Error):
            descendant.kill()
