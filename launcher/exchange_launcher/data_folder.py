"""The data folder of an exchange: its lock, its mode, and its embedded Postgres."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from exchange_launcher.postgres import EmbeddedPostgres, EmbeddedPostgresError
from exchange_launcher.terminal import BAD_USE, CommandError


class UpError(CommandError):
    """An exchange that cannot start or has failed."""


def _unusable(data: Path, error: OSError | UnicodeError) -> UpError:
    """Return the error of a data folder that cannot be used."""
    reason = (error.strerror or type(error).__name__).lower() if isinstance(error, OSError) else "a file in it is not text"
    return UpError(
        f"the data folder {str(data)[:300]} cannot be used: {reason}",
        "Choose another folder, or the name of a new one, with --data",
        BAD_USE,
    )


def lock_folder(data: Path) -> IO[str]:
    """Create the data folder, and lock it for this launcher. The lock ends when the returned file is closed.

    Raises:
        UpError: The folder cannot be used, or another launcher has locked it.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "up.lock").open("w")
    except (OSError, ValueError) as error:
        raise _unusable(data, error if isinstance(error, OSError) else OSError(str(error))) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise UpError(
            f"the data folder {data} cannot be used: an exchange already runs on it",
            "Stop that exchange, or choose another folder with --data",
        ) from error
    return lock


def check_mode(data: Path, classroom: bool) -> None:
    """Check that the folder is for this mode, classroom or market. Store the mode in a new folder.

    Accounts and securities of one mode cannot be used in the other.

    Raises:
        UpError: The folder is for the other mode, or cannot be used.
    """
    mode, file = "classroom" if classroom else "market", data / "kind"
    try:
        stored_mode = file.read_text().strip() if file.exists() else ""
        if not stored_mode:
            file.write_text(f"{mode}\n")
            return
    except (OSError, UnicodeError) as error:
        raise _unusable(data, error) from error
    if stored_mode != mode:
        flag = "with" if stored_mode == "classroom" else "without"
        raise UpError(
            f"the exchange cannot start: the one in {data} was created {flag} --classroom",
            f"Start it {flag} --classroom, or choose another folder with --data",
        )


@contextlib.contextmanager
def running_postgres(data: Path) -> Iterator[str]:
    """Return the URL of the embedded Postgres in a data folder. If the server does not run, start it until the block ends.

    Raises:
        UpError: The folder has no database, or the server does not start.
    """
    try:
        server = EmbeddedPostgres(data / "postgres")
        if server.is_running:
            yield server.url
            return
        if not (data / "postgres" / "PG_VERSION").exists():
            raise UpError(
                f"there is no exchange in {data}: it has no database",
                "Name the folder of an exchange with --data, or its Postgres server with --database",
                BAD_USE,
            )
        with lock_folder(data):
            server.start()
            try:
                yield server.url
            finally:
                server.stop()
    except EmbeddedPostgresError as error:
        raise UpError(error.problem, error.fix, error.status) from error
