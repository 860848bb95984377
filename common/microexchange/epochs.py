"""Epochs: a number that grows with each start of a process, by which a reader tells it from the one that it replaced."""

import time
from pathlib import Path

from microexchange.auth import write_private


def next_epoch(path: Path) -> int:
    """The epoch of this start, kept in the file `path`: greater than all that were given there, whatever the clock says.

    As the time is in it, it also grows from folder to folder, as long as the clock does not go back.
    """
    last = int(path.read_text()) if path.exists() else 0
    epoch = max(last + 1, time.time_ns())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, str(epoch))
    return epoch
