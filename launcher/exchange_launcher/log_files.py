"""The log files of the services: bounded in size, while processes write to them."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

MAX_LOG_BYTES = 20_000_000
"""The size from which a log file is moved to `.1`. So a service has at most about twice as much."""
CHECK_INTERVAL_SECONDS = 5.0


def bound_file(path: Path, max_bytes: int = MAX_LOG_BYTES) -> bool:
    """If a file is larger than `max_bytes`, move its content to `<name>.1`, and return True. Replace an older `<name>.1`.

    A process writes to the file through a descriptor in append mode, so the file is copied and emptied, not renamed. A line
    that is written between the two is lost. If there is no space for the copy, the content is dropped, since a file that
    grows on a full disk does more harm.

    Raises:
        OSError: The file cannot be opened, or it is a link.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    with os.fdopen(descriptor, "r+b") as source:
        if os.fstat(descriptor).st_size <= max_bytes:
            return False
        old = path.with_name(f"{path.name}.1")
        old.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(old, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
                shutil.copyfileobj(source, target)
        except OSError:
            old.unlink(missing_ok=True)
        os.ftruncate(descriptor, 0)
    return True


async def bound_files(files: Callable[[], Iterable[Path]], max_bytes: int = MAX_LOG_BYTES) -> None:
    """Bound the files that `files` returns, without end."""
    while True:
        for path in files():
            with contextlib.suppress(OSError):  # the next round tries it again
                await asyncio.to_thread(bound_file, path, max_bytes)
        await asyncio.sleep(CHECK_INTERVAL_SECONDS)
