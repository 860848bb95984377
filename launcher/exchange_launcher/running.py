"""The exchanges that run on this machine, and their addresses.

Each `up` writes one file into one folder and locks the file until it ends. The folder is `MX_RUNNING_DIR`, by default in the
user's state folder. A file without a lock is left over from a launcher that was killed. The next reader removes it.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from exchange_launcher.terminal import CommandError, bad_use, place_settings, program_name

DEFAULT_GATEWAY = "http://127.0.0.1:8000"
MAX_EXCHANGES_SHOWN = 10
"""The number of running exchanges that an error lists at most."""


class Place(msgspec.Struct, frozen=True):
    """The addresses of a running exchange. The file has mode 0600, because the URLs of servers contain passwords."""

    pid: int
    mode: str
    """`market` or `classroom`."""
    data: str
    namespace: str
    gateway_url: str
    feed_url: str
    engine_url: str
    clearing_url: str
    database_url: str
    log_url: str
    admin_token: str
    """Path of the file with the token."""

    def __str__(self) -> str:
        return f"{self.mode} in {self.data} at {self.gateway_url} (process {self.pid})"


class Target(msgspec.Struct, frozen=True):
    """The exchange that an admin command uses."""

    gateway_url: str
    admin_token: Path
    securities_url: str
    """The base URL of the service that answers `GET /securities`."""


@contextlib.contextmanager
def announced(place: Place) -> Iterator[None]:
    """Publish the addresses of an exchange in a file until the block ends.

    Raises:
        OSError: The file cannot be written.
    """
    folder = place_settings().running_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{place.pid}-{secrets.token_hex(4)}.json"
    new_path = path.with_suffix(".new")
    descriptor = os.open(new_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        try:
            # Readers find the file only by its last name. So the file is locked before it gets that name.
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(msgspec.json.format(msgspec.json.encode(place)))
            file.flush()
            new_path.rename(path)
            yield
        finally:
            new_path.unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def places() -> list[Place]:
    """Return the exchanges that run, ordered by data folder. Remove files that are left over."""
    found = []
    with contextlib.suppress(OSError):
        for path in place_settings().running_dir.glob("*.json"):
            with contextlib.suppress(OSError, msgspec.MsgspecError), path.open("rb") as file:
                if _is_locked(file):
                    found.append(msgspec.json.decode(file.read(), type=Place))
                else:
                    path.unlink(missing_ok=True)
    return sorted(found, key=lambda place: place.data)


def _is_locked(file: IO[bytes]) -> bool:
    """Return whether another process has an exclusive lock on a file."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def running_place(data: Path | None, gateway: str | None) -> Place | None:
    """Return the exchange that runs on the folder `data` or at the address `gateway`, or None.

    Without either argument, return the only exchange that runs.

    Raises:
        CommandError: Several exchanges match.
    """
    found = places()
    if data is not None:
        found = [place for place in found if Path(place.data).resolve() == data.resolve()]
    if gateway is not None:
        found = [place for place in found if _same_address(place.gateway_url, gateway)]
    if len(found) > 1:
        raise _several(found)
    return found[0] if found else None


def _same_address(url: str, other_url: str) -> bool:
    """Return whether two URLs are equal apart from a slash at the end and the name of localhost."""

    def normalized(url: str) -> str:
        return url.rstrip("/").replace("//localhost:", "//127.0.0.1:")

    return normalized(url) == normalized(other_url)


def _several(found: Sequence[Place]) -> CommandError:
    """Return the error for a choice between several exchanges."""
    shown = "; ".join(map(str, found[:MAX_EXCHANGES_SHOWN]))
    return bad_use(f"{len(found)} exchanges run on this machine: {shown}", f"Choose one, for example --data {found[0].data}")


def target(data: Path | None, gateway: str | None) -> Target:
    """Return the exchange that an admin command uses.

    A flag has priority over `MX_DATA_DIR`, and `MX_DATA_DIR` over the exchanges that run on this machine.

    Raises:
        CommandError: No exchange runs and none is named, or several run.
    """
    settings = place_settings()
    if data is None and "data_dir" in settings.model_fields_set:
        data = settings.data_dir
    place = running_place(data, gateway)
    if place is not None:
        return Target(place.gateway_url if gateway is None else gateway, Path(place.admin_token), place.feed_url)
    if data is None and gateway is None:
        raise CommandError(
            f"no exchange runs on this machine: no '{program_name()} up' of yours is running",
            f"Start one with '{program_name()} up', or name an exchange that was started in another way with --data and "
            "--gateway",
        )
    url = DEFAULT_GATEWAY if gateway is None else gateway.rstrip("/")
    return Target(url, (data or settings.data_dir) / "secrets" / "admin-token", url)


__all__ = ["DEFAULT_GATEWAY", "Place", "Target", "announced", "places", "running_place", "target"]
