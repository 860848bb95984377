"""The data folder of an exchange: its lock, its mode, and its embedded Postgres."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from exchange_launcher.postgres import EmbeddedPostgres, EmbeddedPostgresError
from exchange_launcher.terminal import BAD_USE, CommandError

OWN_NAMES = frozenset(("bots", "engine", "kind", "logs", "postgres", "secrets", "up.lock"))
"""The names that an exchange uses in its data folder, and those that begin with `GATEWAY_PREFIX`."""
GATEWAY_PREFIX = "gateway"


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
    """Create the data folder, lock it for this launcher, and take it from other users.

    The lock ends when the returned file is closed.

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
    try:
        make_private(data)
    except (OSError, UpError) as error:
        lock.close()
        raise (_unusable(data, error) if isinstance(error, OSError) else error) from error
    return lock


def make_private(data: Path) -> None:
    """Remove all rights of other users to what an exchange has stored in a data folder.

    The folder itself keeps its mode if it contains other files too, since it may be a home folder. The files of Postgres are
    not changed: nobody else can pass through its folder. Symbolic links are not followed.

    Raises:
        UpError: Every user can write to the folder, and it contains other files.
        OSError: A file belongs to another user.
    """
    paths = list(data.iterdir())
    own = [path for path in paths if path.name in OWN_NAMES or path.name.startswith(GATEWAY_PREFIX)]
    if len(own) == len(paths):
        _remove_rights_of_others(data)
    elif data.stat().st_mode & stat.S_IWOTH:
        raise UpError(
            f"the data folder {data} cannot be used: every user can write to it, and it contains other files",
            f"Choose a new folder, for example --data {data / 'exchange'}",
            BAD_USE,
        )
    for path in own:
        _remove_rights_of_others(path)
        if path.name == "postgres" or path.is_symlink():
            continue
        for folder, _, files in os.walk(path):
            _remove_rights_of_others(Path(folder))
            for file in files:
                _remove_rights_of_others(Path(folder, file))


def _remove_rights_of_others(path: Path) -> None:
    mode = path.lstat().st_mode
    if mode & 0o077 and not stat.S_ISLNK(mode):
        path.chmod(stat.S_IMODE(mode) & 0o700)


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
