"""Snapshot files: the engine's state, with its positions in the input and the output.

A file is written under a temporary name, synced and renamed, so that a crash does not damage the older files. It has a
checksum. If a file is damaged, the engine uses the one before. The last three files are kept.
"""

import fcntl
import gc
import hashlib
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NoReturn

import msgspec
import structlog

from matching_engine.engine import Engine
from matching_engine.state import EngineState, StateError, restore
from microexchange.fencing import next_fencing_token

_logger = structlog.get_logger(__name__)
_MAGIC = b"microexchange snapshot 1\n"
_DIGEST_SIZE = 32
KEPT = 3


class Snapshot(msgspec.Struct, array_like=True):
    """The state of the engine at one offset of its input, and the sequences of its output at that offset."""

    offset: int
    """The offset of `order_entry` to read next."""
    instruction_sequence: int
    """The sequence of the next instruction."""
    report_sequence: int
    """The sequence of the next report."""
    state: EngineState


class FolderInUseError(OSError):
    """Another running engine uses the folder."""


def read_snapshots(folder: Path) -> Iterator[Snapshot]:
    """Iterate over the snapshots in `folder`, newest first, without damaged ones. Snapshots never change: use no lock."""
    for path in _files(folder):
        try:
            yield _read(path)
        except (OSError, ValueError) as error:
            _logger.error("skipped a damaged snapshot", file=str(path), cause=str(error))


def read_engines(folder: Path) -> Iterator[tuple[Snapshot, Engine]]:
    """Iterate over the snapshots that an engine can have, newest first, each with its engine."""
    for snapshot in read_snapshots(folder):
        try:
            yield snapshot, restore(snapshot.state)
        except StateError as error:
            _logger.error("skipped a snapshot that cannot be restored", offset=snapshot.offset, cause=str(error))


def _files(folder: Path) -> list[Path]:
    """Return the snapshot files in `folder`, newest first."""
    return sorted(folder.glob("snapshot-*.bin"), reverse=True)


def encode_snapshot(payload: bytes) -> bytes:
    """Return the content of a snapshot file: a heading, the checksum and the payload."""
    return _MAGIC + hashlib.blake2b(payload, digest_size=_DIGEST_SIZE).digest() + payload


def _read(path: Path) -> Snapshot:
    content = path.read_bytes()
    header = len(_MAGIC) + _DIGEST_SIZE
    payload = content[header:]
    if content[: len(_MAGIC)] != _MAGIC:
        raise ValueError("not a snapshot of this version")
    if content[len(_MAGIC) : header] != hashlib.blake2b(payload, digest_size=_DIGEST_SIZE).digest():
        raise ValueError("the checksum is wrong")
    return msgspec.msgpack.decode(payload, type=Snapshot)


class SnapshotStore:
    """The snapshots in one folder. Only one engine at a time can use the folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock: IO[str] = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise FolderInUseError(f"another matching engine uses {folder}") from error
        self._begun = 0
        for unfinished in folder.glob("*.new"):
            unfinished.unlink()

    def next_fencing_token(self) -> int:
        """Return the fencing token of this start."""
        return next_fencing_token(self._folder / "epoch")

    def begin(self, offset: int, take: Callable[[], Snapshot]) -> "Writing":
        """Begin to write the snapshot that `take` makes of the current state.

        The process forks. The child writes the snapshot from its copy of the memory, while the parent continues to apply
        commands. The parent is blocked only while it forks. `Writing.finish` gives the file its name.
        """
        path = self._folder / f"snapshot-{offset:020d}.bin"
        self._begun += 1
        temporary = path.with_suffix(f".{self._begun}.new")
        with warnings.catch_warnings():
            # Other threads may hold locks that the child could never take. It takes only those of the allocator.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _write_in_child(temporary, take)
        return Writing(self, pid, temporary, path)

    def save(self, snapshot: Snapshot) -> None:
        """Write `snapshot` durably, and delete the oldest."""
        self.begin(snapshot.offset, lambda: snapshot).finish()

    def publish(self, temporary: Path, path: Path) -> None:
        """Rename a written file to its final name, durably, and delete the oldest."""
        temporary.replace(path)
        self._sync_folder()
        for old in _files(self._folder)[KEPT:]:
            old.unlink(missing_ok=True)

    def newest(self) -> Snapshot | None:
        """Return the newest snapshot that is not damaged, or None."""
        return next(read_snapshots(self._folder), None)

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Release the folder for another engine."""
        self._lock.close()


class Writing:
    """A snapshot that a child process is writing."""

    def __init__(self, store: SnapshotStore, pid: int, temporary: Path, path: Path) -> None:
        self._store = store
        self._pid = pid
        self._temporary = temporary
        self._path = path

    def finish(self) -> None:
        """Wait for the child, and give the file its name.

        Raises:
            OSError: The child could not write the file.
        """
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            self._temporary.unlink(missing_ok=True)
            reason = os.strerror(code) if 0 < code < _OTHER_FAULT else f"its writer ended with {code}"
            raise OSError(max(code, 1), f"cannot write {self._path}: {reason}")
        try:
            self._store.publish(self._temporary, self._path)
        except OSError:
            self._temporary.unlink(missing_ok=True)
            raise

    def abandon(self) -> None:
        """Kill the child, and delete its file."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._temporary.unlink(missing_ok=True)


_OTHER_FAULT = 255
"""The exit status of a child that failed without a system error. For a system error the status is its number."""


def _write_in_child(temporary: Path, take: Callable[[], Snapshot]) -> NoReturn:
    """Write the snapshot and end the process without the parent's clean-up."""
    status = _OTHER_FAULT
    try:
        gc.disable()
        payload = msgspec.msgpack.encode(take())
        _write_durably(temporary, encode_snapshot(payload))
        status = 0
    except OSError as error:
        status = min(error.errno or 1, _OTHER_FAULT - 1)
    finally:
        os._exit(status)


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
