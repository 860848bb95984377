"""Snapshot files: the engine's state with the positions that belong to it.

A file is written aside, synced and renamed, so that a crash leaves the old ones; it carries a checksum, and a damaged one
is passed over for the one before. The last three are kept.
"""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import IO

import msgspec
import structlog

from matching_engine.state import EngineState

_logger = structlog.get_logger(__name__)
_MAGIC = b"microexchange snapshot 1\n"
_DIGEST_SIZE = 32
KEPT = 3


class Snapshot(msgspec.Struct, array_like=True):
    """The engine at one position of its input, and where its output stood there."""

    offset: int
    """The offset of `order_entry` to go on from."""
    instruction_sequence: int
    """Number of the next instruction to emit."""
    report_sequence: int
    """Number of the next report to emit."""
    state: EngineState


class FolderInUseError(OSError):
    """Another engine that runs has the folder."""


class SnapshotStore:
    """The snapshots in one folder, which one engine at a time may have."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock: IO[str] = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise FolderInUseError(f"another matching engine runs on {folder}") from error

    def next_epoch(self) -> int:
        """A number that grows with each start on this folder."""
        path = self._folder / "epoch"
        epoch = int(path.read_text()) + 1 if path.exists() else 1
        self._write(path, str(epoch).encode())
        return epoch

    def save(self, snapshot: Snapshot) -> None:
        """Writes `snapshot` durably, and drops the oldest."""
        payload = msgspec.msgpack.encode(snapshot)
        digest = hashlib.blake2b(payload, digest_size=_DIGEST_SIZE).digest()
        self._write(self._folder / f"snapshot-{snapshot.offset:020d}.bin", _MAGIC + digest + payload)
        for old in self._files()[KEPT:]:
            old.unlink(missing_ok=True)

    def newest(self) -> Snapshot | None:
        """The newest snapshot that is whole, or None."""
        for path in self._files():
            try:
                return self._read(path)
            except (OSError, ValueError) as error:
                _logger.error("passed over a damaged snapshot", file=str(path), cause=str(error))
        return None

    @staticmethod
    def _read(path: Path) -> Snapshot:
        content = path.read_bytes()
        header = len(_MAGIC) + _DIGEST_SIZE
        payload = content[header:]
        if content[: len(_MAGIC)] != _MAGIC:
            raise ValueError("not a snapshot of this version")
        if content[len(_MAGIC) : header] != hashlib.blake2b(payload, digest_size=_DIGEST_SIZE).digest():
            raise ValueError("the checksum does not fit")
        return msgspec.msgpack.decode(payload, type=Snapshot)

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted(self._folder.glob("snapshot-*.bin"), reverse=True)

    def _write(self, path: Path, content: bytes) -> None:
        aside = path.with_suffix(".new")
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Lets another engine have the folder."""
        self._lock.close()
