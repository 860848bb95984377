"""Snapshot files: the engine's state with the positions that belong to it.

A file is written aside, synced and renamed, so that a crash leaves the old ones; it carries a checksum, and a damaged one
is passed over for the one before. The last three are kept.
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

from matching_engine.state import EngineState
from microexchange.fencing import next_fencing_token

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


def read_snapshots(folder: Path) -> Iterator[Snapshot]:
    """The snapshots in `folder`, newest first. A damaged one is passed over. Needs no lock: a snapshot never changes."""
    for path in _files(folder):
        try:
            yield _read(path)
        except (OSError, ValueError) as error:
            _logger.error("passed over a damaged snapshot", file=str(path), cause=str(error))


def _files(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("snapshot-*.bin"), reverse=True)


def _read(path: Path) -> Snapshot:
    content = path.read_bytes()
    header = len(_MAGIC) + _DIGEST_SIZE
    payload = content[header:]
    if content[: len(_MAGIC)] != _MAGIC:
        raise ValueError("not a snapshot of this version")
    if content[len(_MAGIC) : header] != hashlib.blake2b(payload, digest_size=_DIGEST_SIZE).digest():
        raise ValueError("the checksum does not fit")
    return msgspec.msgpack.decode(payload, type=Snapshot)


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
        self._begun = 0
        for unfinished in folder.glob("*.new"):
            unfinished.unlink()

    def next_fencing_token(self) -> int:
        """The fencing_token of this start."""
        return next_fencing_token(self._folder / "epoch")

    def begin(self, offset: int, take: Callable[[], Snapshot]) -> "Writing":
        """Begins to write the snapshot that `take` makes of this moment.

        The process forks, and the child has all the time it needs: what it sees stands still, while the market goes on. For
        the market it takes as long as a fork. Nothing is to be seen of it until `Writing.finish`.
        """
        path = self._folder / f"snapshot-{offset:020d}.bin"
        self._begun += 1
        aside = path.with_suffix(f".{self._begun}.new")
        with warnings.catch_warnings():
            # Other threads may hold locks, which the child then waits for in vain: it takes none but the allocator's.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _write_in_child(aside, take)
        return Writing(self, pid, aside, path)

    def save(self, snapshot: Snapshot) -> None:
        """Writes `snapshot` durably, and drops the oldest."""
        self.begin(snapshot.offset, lambda: snapshot).finish()

    def publish(self, aside: Path, path: Path) -> None:
        """Gives a written file its name, durably, and drops the oldest."""
        aside.replace(path)
        self._sync_folder()
        for old in _files(self._folder)[KEPT:]:
            old.unlink(missing_ok=True)

    def newest(self) -> Snapshot | None:
        """The newest snapshot that is whole, or None."""
        return next(read_snapshots(self._folder), None)

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Lets another engine have the folder."""
        self._lock.close()


class Writing:
    """A snapshot that a child process is writing."""

    def __init__(self, store: SnapshotStore, pid: int, aside: Path, path: Path) -> None:
        self._store = store
        self._pid = pid
        self._aside = aside
        self._path = path

    def finish(self) -> None:
        """Waits for the child, and gives the file its name. Raises `OSError` where it could not be written."""
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            self._aside.unlink(missing_ok=True)
            reason = os.strerror(code) if 0 < code < _OTHER_FAULT else f"its writer ended with {code}"
            raise OSError(max(code, 1), f"cannot write {self._path}: {reason}")
        self._store.publish(self._aside, self._path)

    def abandon(self) -> None:
        """Ends the child; of this snapshot nothing remains."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._aside.unlink(missing_ok=True)


_OTHER_FAULT = 255
"""Exit status of a child that failed otherwise than by an error of the system, whose number it gives."""


def _write_in_child(aside: Path, take: Callable[[], Snapshot]) -> NoReturn:
    """Writes the snapshot and ends the process, without any of the parent's clean-up."""
    status = _OTHER_FAULT
    try:
        gc.disable()
        payload = msgspec.msgpack.encode(take())
        digest = hashlib.blake2b(payload, digest_size=_DIGEST_SIZE).digest()
        _write_durably(aside, _MAGIC + digest + payload)
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
