"""Fencing tokens: numbers that grow with each start of a process. Readers ignore records with a lower token."""

import errno
import time
from pathlib import Path

import structlog

from microexchange.auth import write_private

_logger = structlog.get_logger(__name__)


def next_fencing_token(path: Path) -> int:
    """Return a fencing token for this start: greater than every token in the file `path`, whatever the clock shows.

    The token contains the time. So it also increases between folders, and while a full disk prevents the write, as long as
    the clock does not go back.
    """
    last = int(path.read_text()) if path.exists() else 0
    fencing_token = max(last + 1, time.time_ns())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, str(fencing_token))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # The token is valid without the file. To wait for free space would only keep the market closed.
        _logger.error("could not write the fencing token", file=str(path), cause=str(error))
    return fencing_token
