"""Which exchanges run on this machine, and where.

Each `up` writes one file into one folder (`MX_RUNNING_DIR`, by default in the user's state folder) and holds a lock on it
until it ends. A file that nobody locks is left over from a launcher that was killed: the next reader removes it.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from exchange_launcher.terminal import CommandError, bad_use, place_settings

DEFAULT_GATEWAY = "http://127.0.0.1:8000"
MAX_SHOWN = 10


class Place(msgspec.Struct, frozen=True):
    """Where an exchange is. The file has the passwords of its servers in it, and mode 0600."""

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
    """What an admin's command needs to know of its exchange."""

    gateway_url: str
    admin_token: Path
    securities_url: str
    """Which address answers `GET /securities`."""


@contextlib.contextmanager
def announced(place: Place) -> Iterator[None]:
    """Keeps the file of an exchange for as long as the block lasts. Raises `OSError` where it cannot be written."""
    folder = place_settings().running_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{place.pid}-{secrets.token_hex(4)}.json"
    aside = path.with_suffix(".new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        try:
            # The lock comes before the name: a file that a reader can see is locked.
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(msgspec.json.format(msgspec.json.encode(place)))
            file.flush()
            aside.rename(path)
            yield
        finally:
            for one in (aside, path):
                one.unlink(missing_ok=True)


def places() -> list[Place]:
    """The exchanges that run, in the order of their data folders. Files that are left over are removed."""
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
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def running_place(data: Path | None, gateway: str | None) -> Place | None:
    """The exchange that runs on the folder `data`, or at the address `gateway`; without either, the only one that runs.

    Raises `CommandError` where several run and neither names one.
    """
    found = places()
    if data is not None:
        found = [place for place in found if Path(place.data).resolve() == data.resolve()]
    if gateway is not None:
        found = [place for place in found if _same_address(place.gateway_url, gateway)]
    if len(found) > 1:
        raise _several(found)
    return found[0] if found else None


def _same_address(one: str, other: str) -> bool:
    def plain(url: str) -> str:
        return url.rstrip("/").replace("//localhost:", "//127.0.0.1:")

    return plain(one) == plain(other)


def _several(found: Sequence[Place]) -> CommandError:
    shown = "; ".join(map(str, found[:MAX_SHOWN]))
    return bad_use(f"{len(found)} exchanges run on this machine: {shown}", f"Choose one, for example --data {found[0].data}")


def target(data: Path | None, gateway: str | None) -> Target:
    """The exchange that an admin's command is for. A flag goes before the environment (`MX_DATA_DIR`), and that before what
    runs on this machine. Raises `CommandError`."""
    settings = place_settings()
    if data is None and "data_dir" in settings.model_fields_set:
        data = settings.data_dir
    place = running_place(data, gateway)
    if place is not None:
        return Target(place.gateway_url if gateway is None else gateway, Path(place.admin_token), place.feed_url)
    if data is None and gateway is None:
        raise CommandError(
            "no exchange runs on this machine: no 'microexchange up' of yours is open",
            "Start one with 'microexchange up', or name one that was started otherwise with --data and --gateway",
        )
    url = DEFAULT_GATEWAY if gateway is None else gateway.rstrip("/")
    return Target(url, (data or settings.data_dir) / "secrets" / "admin-token", url)


__all__ = ["DEFAULT_GATEWAY", "Place", "Target", "announced", "places", "running_place", "target"]
