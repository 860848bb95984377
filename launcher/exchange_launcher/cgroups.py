"""Control groups: the kernel's limits of the memory, the threads and the processors of one contestant.

A group is made below the one of this process, where this user may do that: below a delegated folder of version 2, or in the
hierarchies of version 1. Sources: "Control Group v2" and "Control Groups version 1" in the kernel's documentation.
"""

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path("/sys/fs/cgroup")
_PREFIX = "microexchange"
_PERIOD_MICROSECONDS = 100_000
"""A group gets this much time of a processor in each period of this length: one processor."""
_REMOVE_SECONDS = 2.0
"""The longest wait for the kernel to release a group whose processes have ended."""
_ENTER = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'
"""A shell program that enters the groups before it becomes the command, so that no process of it is outside."""
_numbers = itertools.count(1)


class CgroupError(RuntimeError):
    """A group cannot be made. The message states why."""


@dataclass(frozen=True)
class Cgroup:
    """The group of one contestant. It has one folder in version 2, and one for each controller in version 1."""

    folders: tuple[Path, ...]

    def command(self, line: Sequence[str]) -> list[str]:
        """Return the command that runs `line` in this group."""
        return ["/bin/sh", "-c", _ENTER, "sh", *map(str, self.folders), "--", *line]

    def ran_out_of_memory(self) -> bool:
        """Return whether the kernel has ended a process of the group, since its memory was full."""
        for folder in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    counts = dict(line.split() for line in (folder / name).read_text().splitlines())
                    return int(counts.get("oom_kill", 0)) > 0
        return False

    def limits_processors(self) -> bool:
        """Return whether the group has a limit of processors. A folder may lack the controller."""
        return any((folder / name).exists() for folder in self.folders for name in ("cpu.max", "cpu.cfs_quota_us"))

    def kill(self) -> None:
        """Kill all processes of the group."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                if (folder / "cgroup.kill").exists():
                    (folder / "cgroup.kill").write_text("1")
                    continue
                for text in (folder / "cgroup.procs").read_text().split():
                    with contextlib.suppress(ProcessLookupError):  # it has ended since
                        os.kill(int(text), signal.SIGKILL)

    def remove(self) -> None:
        """Kill what is left in the group, and remove it."""
        self.kill()
        end = time.monotonic() + _REMOVE_SECONDS
        for folder in self.folders:
            while folder.exists() and time.monotonic() < end:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    break
                self.kill()
                time.sleep(0.01)


def make(memory_bytes: int, tasks: int) -> Cgroup:
    """Make a group with at most `memory_bytes` of memory, `tasks` processes and threads together, and one processor.

    A group in a folder without the controller of processors has no limit of them: see `limits_processors`.

    Raises:
        CgroupError: This user cannot make groups here.
    """
    settings = _version_2_settings(memory_bytes, tasks) if _is_version_2() else _version_1_settings(memory_bytes, tasks)
    name = f"{_PREFIX}-{os.getpid()}-{next(_numbers)}"
    cgroup = Cgroup(tuple(parent / name for parent in settings))
    try:
        for parent, values in settings.items():
            _remove_abandoned(parent)
            (parent / name).mkdir()
            for setting, value in values.items():
                # A kernel without swap has no limit of it, and a folder may lack the controller of processors.
                if (parent / name / setting).exists():
                    (parent / name / setting).write_text(value)
    except OSError as error:
        cgroup.remove()
        raise CgroupError(f"{error.filename or ROOT}: {error.strerror}") from error
    return cgroup


def _remove_abandoned(parent: Path) -> None:
    """Remove the groups of processes that were killed. A group with processes cannot be removed."""
    for folder in parent.glob(f"{_PREFIX}-*"):
        number = folder.name.split("-")[1]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _is_version_2() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def _own_paths() -> dict[str, str]:
    """Return the path of this process in each hierarchy, by its controllers. That of version 2 has the name ``."""
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    return {name: path for _, names, path in lines for name in names.split(",")}


def _version_2_settings(memory_bytes: int, tasks: int) -> Mapping[Path, dict[str, str]]:
    own = ROOT / _own_paths().get("", "/").lstrip("/")
    for parent in _and_parents(own):
        # Only a folder whose children have the controllers already: it has no processes of its own that would prevent it.
        try:
            controllers = set((parent / "cgroup.subtree_control").read_text().split())
        except OSError:
            continue
        if controllers >= {"memory", "pids"} and all(os.access(path, os.W_OK) for path in (parent, parent / "cgroup.procs")):
            return {
                parent: {
                    "memory.max": str(memory_bytes),
                    "memory.swap.max": "0",
                    "memory.oom.group": "1",
                    "pids.max": str(tasks),
                    "cpu.max": f"{_PERIOD_MICROSECONDS} {_PERIOD_MICROSECONDS}",
                }
            }
    raise CgroupError(f"no folder above {own} is delegated to this user with the controllers memory and pids")


def _and_parents(own: Path) -> Iterator[Path]:
    yield own
    for parent in own.parents:
        if parent == ROOT or ROOT in parent.parents:
            yield parent


def _version_1_settings(memory_bytes: int, tasks: int) -> Mapping[Path, dict[str, str]]:
    paths, settings = _own_paths(), {}
    for controller, values in (
        ("memory", {"memory.limit_in_bytes": str(memory_bytes)}),
        ("pids", {"pids.max": str(tasks)}),
        ("cpu", {"cpu.cfs_period_us": str(_PERIOD_MICROSECONDS), "cpu.cfs_quota_us": str(_PERIOD_MICROSECONDS)}),
    ):
        own = ROOT / controller / paths.get(controller, "/").lstrip("/")
        if not os.access(own / "cgroup.procs", os.W_OK):
            raise CgroupError(f"this user cannot write to {own}")
        settings[own] = values
    return settings
