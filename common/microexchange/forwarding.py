"""The header with which the gateway names the client of a request that it forwards to the feed.

The header has a token that only services with the same data folder can make. So clients cannot claim another address, and
the limits of an address count the requests of its client, and not all that the gateway forwards.
"""

from hmac import compare_digest

from starlette.types import ASGIApp, Receive, Scope, Send

HEADER = b"microexchange-forwarded"
"""The name of the header. Its value is `TOKEN SCHEME ADDRESS PREFIX`.

`SCHEME` and `ADDRESS` are those of the client. `PREFIX` is the prefix that was removed from the path, or `/`."""
PURPOSE = "forwarding"
"""The purpose from which `Keys.derived` makes the token."""
PREFIX = "/market-data"
"""The gateway forwards all paths below this one to the feed."""
IS_FORWARDED = "microexchange.forwarded"
"""The field of a scope that is true for forwarded requests."""


def forwarded(token: str, scope: Scope, prefix: str = "") -> tuple[bytes, bytes]:
    """Return the header for a request that the gateway forwards for the client of `scope`."""
    client = scope.get("client")
    address = client[0] if client else "unknown"
    scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
    return HEADER, f"{token} {scheme} {address} {prefix or '/'}".encode()


class FromGateway:
    """Middleware that gives a forwarded request the address, scheme and path that its client used.

    It ignores a header without the right token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] in ("http", "websocket"):
            for name, value in scope["headers"]:
                if name == HEADER:
                    scope = self._as_sent(scope, value)
        await self._app(scope, receive, send)

    def _as_sent(self, scope: Scope, value: bytes) -> Scope:
        token, _, rest = value.partition(b" ")
        parts = rest.decode("latin-1").split(" ")
        if len(parts) != 3 or not compare_digest(token, self._token):
            return scope
        scheme, address, prefix = parts[0], parts[1], parts[2].rstrip("/")
        if scope["type"] == "websocket":
            scheme = "wss" if scheme == "https" else "ws"
        return {
            **scope,
            "client": (address, 0),
            "scheme": scheme,
            "root_path": prefix,
            "path": prefix + scope["path"],
            "raw_path": prefix.encode() + scope["raw_path"],
            IS_FORWARDED: True,
        }
