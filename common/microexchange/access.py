"""Authentication and authorization of requests.

A request is from the owner of its API key. In classroom mode, a request without a key is from the client that its
`Client-ID` header names, or from `guest`. In that mode, a request from this machine may also do what the admin may do.
"""

import re
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from microexchange.auth import ADMIN, Keys, bearer_key
from microexchange.listening import is_loopback
from microexchange.participants import GUEST, Participants
from microexchange.refusals import Code, Refusal

_OF_A_PROXY = ("forwarded", "x-forwarded-for")
"""The headers in which a proxy names the address of its client."""
_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")


def checked_client_id(name: str, field: str = "client_id") -> str:
    """Return `name`. A client cannot have the name of the admin, nor of an account of the exchange, which begins with `$`.

    Raises:
        Refusal: `INVALID_FIELD` with that field, if a client cannot have the name.
    """
    if not _CLIENT_ID.fullmatch(name) or name.lower() == ADMIN:
        text = f"{field} must be 1 to 32 characters of A-Z a-z 0-9 _ . -, begin with a letter or digit, and not be 'admin'"
        raise Refusal(Code.INVALID_FIELD, text, field)
    return name


class Access:
    """The check of which client sends a request, and of what that client may do."""

    def __init__(self, keys: Keys, classroom: bool = False) -> None:
        self.keys = keys
        self.classroom = classroom
        self.participants = Participants()
        """The service replaces it with the state that it reads."""

    def named(self, name: str, field: str) -> str:
        """Return the client that a request in a classroom names, without a key.

        Raises:
            Refusal: `INVALID_FIELD`: it is not a valid name. `UNAUTHENTICATED`: it is the name of a participant.
        """
        client_id = checked_client_id(name or GUEST, field)
        if self.participants.needs_key(client_id):
            text = f"{client_id!r} is a participant: join with the PIN and send the API key, or use another name"
            raise Refusal(Code.UNAUTHENTICATED, text, field)
        return client_id

    def identify(self, connection: HTTPConnection) -> tuple[str, str]:
        """Return the sender of a request, a client or `ADMIN`, and the id of its key.

        The id is empty for the admin, and for a request without a key.

        Raises:
            Refusal: `UNAUTHENTICATED`, or `INVALID_FIELD` for a `Client-ID` that is not a valid name.
        """
        authorization = connection.headers.get("authorization")
        if authorization or not self.classroom:
            return self.keys.identify(bearer_key(authorization))
        return self.named(connection.headers.get("client-id", ""), "Client-ID"), ""

    def login(self, key: str, client_id: str = "") -> tuple[str, str]:
        """Return the sender of a login message, and the id of its key. In classroom mode a name is enough.

        Raises:
            Refusal: `UNAUTHENTICATED`, or `INVALID_FIELD` for a `client_id` that is not a valid name.
        """
        if key:
            return self.keys.identify(key)
        if not self.classroom:
            raise Refusal(Code.UNAUTHENTICATED, "send your API key in the field `key`", "key")
        return self.named(client_id, "client_id"), ""

    def client(self, connection: HTTPConnection) -> str:
        """Return the client that sends a request.

        Raises:
            Refusal: As `identify`, and `FORBIDDEN` for the admin.
        """
        return as_client(self.identify(connection)[0])

    def owner(self, connection: HTTPConnection, client_id: str) -> str:
        """Return the sender of a request for data of `client_id`: that client or the admin.

        Raises:
            Refusal: As `identify`, and `FORBIDDEN` for other clients.
        """
        sender = self.identify(connection)[0]
        if sender not in (client_id, ADMIN):
            raise Refusal(Code.FORBIDDEN, f"you are {sender}: you have no access to the data of {client_id[:32]!r}")
        return sender

    def is_admin(self, connection: HTTPConnection) -> bool:
        """Return whether the admin sends a request.

        Raises:
            Refusal: `UNAUTHENTICATED`, for a key that is not valid.
        """
        if connection.headers.get("authorization"):
            return self.identify(connection)[0] == ADMIN
        return self.classroom and _is_local(connection)

    def counted_address(self, connection: HTTPConnection) -> str:
        """Return the address whose limits a request counts for; empty for the admin, who has none.

        Raises:
            Refusal: `UNAUTHENTICATED`, for a key that is not valid.
        """
        return "" if connection.client is None or self.is_admin(connection) else connection.client.host

    def admin(self, connection: HTTPConnection) -> None:
        """Require that the admin sends a request.

        Raises:
            Refusal: `UNAUTHENTICATED`, or `FORBIDDEN` for a client.
        """
        if not self.is_admin(connection):
            if not self.classroom:
                self.identify(connection)
            raise Refusal(Code.FORBIDDEN, "only the admin may do this: send the admin token")


def as_client(sender: str) -> str:
    """Return `sender`.

    Raises:
        Refusal: `FORBIDDEN`, if it is the admin.
    """
    if sender == ADMIN:
        raise Refusal(Code.FORBIDDEN, "the admin has no account and cannot trade: use a client's key")
    return sender


def _is_local(connection: HTTPConnection) -> bool:
    """Return whether the request is from a program on this machine.

    A page in a browser counts only if this machine serves it. Otherwise any page on the web could act as the admin. A
    request that a proxy has forwarded is from elsewhere, also if the setting does not name the proxy.
    """
    origin = connection.headers.get("origin")
    if any(name in connection.headers for name in _OF_A_PROXY):
        return False
    if connection.client is None or (origin is not None and not is_loopback(urlsplit(origin).hostname)):
        return False
    return is_loopback(connection.client.host)
