"""The check of a classroom that no page of another origin trades in the name of the person who opens it.

In a classroom a request needs no key. So any page that a browser on the network opens could send one. A browser states the
page's origin in `Origin`, and the host of the address in `Host`. A request is refused if

- its `Origin` is not the address that it is sent to, and not an allowed one,
- its `Host` is neither an IP address nor a name of this machine (DNS rebinding: a name of the page's author that resolves to
  this machine, so that page and exchange have one origin), or
- it has a body that is not JSON. A browser sends such a body without asking first (CORS-safelisted types, Fetch standard).

Programs other than browsers send no `Origin`.
"""

import socket
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from microexchange.refusals import Code, Refusal

_SETTING = "MX_CORS_ORIGINS"


def names_of_this_machine() -> frozenset[str]:
    """Return the host names by which this machine may be addressed, in lower case."""
    name = socket.gethostname().lower()
    short = name.split(".", 1)[0]
    return frozenset(("localhost", name, short, f"{short}.local"))


class PageRules:
    """The origins and hosts that a request may name."""

    def __init__(self, origins: Sequence[str], own_names: Iterable[str]) -> None:
        """`origins` are those of the setting; `*` is all. `own_names` are host names of this machine."""
        self._allows_all = "*" in origins
        self._origins = {origin.lower().rstrip("/") for origin in origins}
        self._hosts = {*own_names, *(urlsplit(origin).hostname or "localhost" for origin in self._origins)}

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Check the head of a request.

        Raises:
            Refusal: `FOREIGN_ORIGIN` or `UNSUPPORTED_MEDIA_TYPE`, with the header as the field.
        """
        found: dict[str, list[str]] = {}
        for name, value in headers:
            found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        hosts = found.get("host", [])
        for host in () if self._allows_all else hosts:
            if not self._is_allowed_host(host):
                text = f"{host[:100]!r} is no name of this machine: use its address, or add the origin to {_SETTING}"
                raise Refusal(Code.FOREIGN_ORIGIN, text, "Host")
        for origin in () if self._allows_all else found.get("origin", []):
            if origin.lower() not in self._origins and not _is_same(origin, hosts):
                text = f"pages of {origin[:100]!r} may not send requests: open the dashboard, or add it to {_SETTING}"
                raise Refusal(Code.FOREIGN_ORIGIN, text, "Origin")
        has_body = "transfer-encoding" in found or found.get("content-length", ["0"]) != ["0"]
        if has_body and not _are_json(found.get("content-type", [])):
            text = "send the body as JSON, with the header 'Content-Type: application/json'"
            raise Refusal(Code.UNSUPPORTED_MEDIA_TYPE, text, "Content-Type")

    def _is_allowed_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if "@" in host or "/" in host:
                return False
            if name in self._hosts:
                return True
            ip_address(name)
        except ValueError:
            return False
        return True


def _is_same(origin: str, hosts: Sequence[str]) -> bool:
    """Return whether a page of `origin` was loaded from the address that its request is sent to.

    The scheme is not compared: a proxy in front may add TLS.
    """
    scheme, _, host = origin.lower().partition("://")
    return scheme in ("http", "https") and [host] == [name.lower() for name in hosts]


def _are_json(content_types: Sequence[str]) -> bool:
    return bool(content_types) and all(text.split(";", 1)[0].strip().lower() == "application/json" for text in content_types)
