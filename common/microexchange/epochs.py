"""Epochs: a number that grows with each start of a process, by which a reader tells it from the one that it replaced."""

import errno
import time
from pathlib import Path

import structlog

from microexchange.auth import write_private

_logger = structlog.get_logger(__name__)


def next_epoch(path: Path) -> int:
    """The epoch of this start, kept in the file `path`: greater than all that were given there, whatever the clock says.

    As the time is in it, it also grows from folder to folder, and where a full disk keeps it from being written, as long as
    the clock does not go back.
    """
    last = int(path.read_text()) if path.exists() else 0
    epoch = max(last + 1, time.time_ns())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, str(epoch))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # A start that waited for room would keep the market closed for a number that is right anyway.
        _logger.error("could not keep the epoch", file=str(path), cause=str(error))
    return epoch
