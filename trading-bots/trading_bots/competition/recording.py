"""Recordings: a topic of the log as a file, so that a round can be replayed.

Each body follows its length, which is four bytes, big-endian.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

ORDER_ENTRY_FILE, DATA_FEED_FILE = "order_entry.log", "data_feed.log"


class RecordingError(ValueError):
    """The file is not a recording, or ends in the middle of a body."""


def write_bodies(path: Path, bodies: Iterable[bytes]) -> None:
    """Write a recording."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for body in bodies:
            file.write(len(body).to_bytes(4, "big"))
            file.write(body)


def read_bodies(path: Path) -> Iterator[bytes]:
    """Read the bodies of a recording.

    Raises:
        RecordingError: The file ends in the middle of a body.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        while head := file.read(4):
            body = file.read(int.from_bytes(head, "big"))
            if len(head) < 4 or len(body) < int.from_bytes(head, "big"):
                raise RecordingError(f"{path} ends in the middle of a body")
            yield body
