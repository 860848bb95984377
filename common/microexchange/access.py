"""Who asks: by API key; in a classroom, where a request has none, by name.

In a classroom everybody is believed: a request is from the client that its `Client-ID` header names, or from `guest`, and
one from this machine may do what the admin may. With a key it is from the key's owner there too.
"""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from microexchange.auth import ADMIN, Keys, key_in
from microexchange.refusals import Code, Refusal

GUEST = "guest"
"""Whom a classroom takes for the sender of a request that names nobody."""
_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")


def checked_client_id(name: str, field: str = "client_id") -> str:
    """`name`, if a client may be called so: not like one of the exchange's own accounts, which begin with $, nor like the
    admin. Raises `Refusal` (`INVALID_FIELD`, that field)."""
    if not _CLIENT_ID.fullmatch(name) or name.lower() == ADMIN:
        text = f"{field} must be 1 to 32 of A-Z a-z 0-9 _ . - beginning with a letter or digit, and not 'admin'"
        raise Refusal(Code.INVALID_FIELD, text, field)
    return name


class Access:
    """Tells who asks, and whether they may."""

    def __init__(self, keys: Keys, classroom: bool = False) -> None:
        self.keys = keys
        self.classroom = classroom

    def identify(self, connection: HTTPConnection) -> tuple[str, str]:
        """Who asks, a client or `ADMIN`, and the id of their key; empty for the admin's, and for none. Raises `Refusal`."""
        authorization = connection.headers.get("authorization")
        if authorization or not self.classroom:
            return self.keys.identify(key_in(authorization))
        return checked_client_id(connection.headers.get("client-id") or GUEST, "Client-ID"), ""

    def login(self, key: str, client_id: str = "") -> tuple[str, str]:
        """Who says so in a message that logs in, by a key or, in a classroom, by name; and the id of the key. Raises
        `Refusal`."""
        if key:
            return self.keys.identify(key)
        if not self.classroom:
            raise Refusal(Code.UNAUTHENTICATED, "log in with your API key", "key")
        return checked_client_id(client_id or GUEST), ""

    def client(self, connection: HTTPConnection) -> str:
        """The client that asks. Raises `Refusal`, for the admin too."""
        return as_client(self.identify(connection)[0])

    def owner(self, connection: HTTPConnection, client_id: str) -> str:
        """Who asks, if that is the client or the admin. Raises `Refusal` (`FORBIDDEN`)."""
        who = self.identify(connection)[0]
        if who not in (client_id, ADMIN):
            raise Refusal(Code.FORBIDDEN, f"you are {who}, and have no access to what is {client_id[:32]!r}'s")
        return who

    def is_admin(self, connection: HTTPConnection) -> bool:
        """Whether the admin asks. Raises `Refusal` for a key that is not valid."""
        if connection.headers.get("authorization"):
            return self.identify(connection)[0] == ADMIN
        return self.classroom and _is_local(connection)

    def admin(self, connection: HTTPConnection) -> None:
        """Raises `Refusal` unless the admin asks."""
        if not self.is_admin(connection):
            if not self.classroom:
                self.identify(connection)
            raise Refusal(Code.FORBIDDEN, "this is the admin's: use the admin token")


def as_client(who: str) -> str:
    """`who`, if it is a client. Raises `Refusal` (`FORBIDDEN`)."""
    if who == ADMIN:
        raise Refusal(Code.FORBIDDEN, "the admin has no account and cannot trade: use a client's key")
    return who


def _is_local(connection: HTTPConnection) -> bool:
    """Whether a program on this machine asks. A browser's page does not count for one unless it is of this machine too: any
    page that somebody looks at here could ask."""
    origin = connection.headers.get("origin")
    if connection.client is None or (origin is not None and not _is_loopback(urlsplit(origin).hostname)):
        return False
    return _is_loopback(connection.client.host)


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False
