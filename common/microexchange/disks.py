"""The space on the disks of an exchange: first a warning, then a refusal of new orders, before a disk is full."""

import asyncio
import contextlib
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from microexchange.health import Health

_logger = structlog.get_logger(__name__)

CHECK_INTERVAL_SECONDS = 1.0
RESUME_MARGIN_PERCENT = 1.0
"""The amount by which the use of a disk must be below the limit before new orders are accepted again."""
SUBJECT = "disk"
"""The subject of the warning in the health of the service."""


def used_percent(folder: Path) -> float:
    """Return the used part of the file system of a folder, in percent: of the space or of the files, whichever is greater.

    As in df(1), space that only root can use counts as used.

    Raises:
        OSError: The folder cannot be reached.
    """
    found = os.statvfs(folder)
    used = found.f_blocks - found.f_bfree
    shares = [used / (used + found.f_bavail) if used + found.f_bavail else 0.0]
    if found.f_files:
        used_files = found.f_files - found.f_ffree
        shares.append(used_files / (used_files + found.f_favail) if used_files + found.f_favail else 0.0)
    return 100 * max(shares)


def one_of_each_file_system(folders: Iterable[Path]) -> list[Path]:
    """Return the first folder of each file system. Leave out folders that do not exist."""
    found: dict[int, Path] = {}
    for folder in folders:
        try:
            found.setdefault(folder.stat().st_dev, folder)
        except OSError:
            continue
    return list(found.values())


class DiskGuard:
    """Checks the disks of an exchange once a second.

    From the first limit on it adds a warning to the health of the service. From the second one on the gateway must refuse
    new orders. The rest of the space is for cancels, and for the trades and settlements of accepted orders.
    """

    def __init__(
        self,
        data: Path,
        others: Iterable[Path],
        warning_percent: float,
        halt_percent: float,
        health: Health,
        measure: Callable[[Path], float] = used_percent,
    ) -> None:
        """`data` is the data folder, and `others` are folders outside it. A limit of 0 is never reached."""
        self._data = data
        self._others = tuple(others)
        self._warning_percent = warning_percent or math.inf
        self._halt_percent = halt_percent or math.inf
        self._health = health
        self._measure = measure
        self.used_percent = 0.0
        """The use of the fullest disk."""
        self.is_full = False
        """Whether new orders must be refused."""

    async def watch(self) -> None:
        """Check the disks without end."""
        while True:
            # A file system of a network may not answer. Then only this thread waits.
            self._judge(*await asyncio.to_thread(self._fullest))
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)

    def check(self) -> None:
        """Check the disks once."""
        self._judge(*self._fullest())

    def _fullest(self) -> tuple[Path, float]:
        """Return a folder on the fullest disk, and the use of that disk in percent."""
        found = self._data, 0.0
        for folder in one_of_each_file_system((self._data, *self._subfolders(), *self._others)):
            with contextlib.suppress(OSError):  # it was removed or unmounted in the meantime
                found = max(found, (folder, self._measure(folder)), key=lambda measured: measured[1])
        return found

    def _subfolders(self) -> list[Path]:
        """Return the folders in the data folder. Each may be on a disk of its own."""
        try:
            return sorted(path for path in self._data.iterdir() if path.is_dir())
        except OSError:
            return []

    def _judge(self, folder: Path, percent: float) -> None:
        """Set or remove the warning and the refusal. Log each change."""
        was_full, had_warning = self.is_full, SUBJECT in self._health.warnings
        self.used_percent = percent
        self.is_full = percent >= self._halt_percent - (RESUME_MARGIN_PERCENT if was_full else 0)
        fact = f"the disk of {folder} is {percent:.1f} % full"
        if self.is_full:
            self._health.warn(SUBJECT, f"{fact}: new orders are refused. Free some space")
        elif percent >= self._warning_percent:
            self._health.warn(SUBJECT, f"{fact}: free some space")
        else:
            self._health.drop_warning(SUBJECT)
        if self.is_full and not was_full:
            _logger.error("new orders are refused: a disk is nearly full", cause=fact)
        elif was_full and not self.is_full:
            _logger.warning("new orders are accepted again: there is space on the disks", cause=fact)
        elif SUBJECT in self._health.warnings and not had_warning:
            _logger.warning("a disk is filling up", cause=fact)
