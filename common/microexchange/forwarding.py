"""How the feed learns which client a forwarded request comes from.

The gateway names its client in a header of its own, with a token. Services with the same data folder can make that token,
and nobody else: a client cannot claim another address, and the limits of an address count clients and not the gateway.
"""

from hmac import compare_digest

from starlette.types import ASGIApp, Receive, Scope, Send

HEADER = b"microexchange-forwarded"
"""`TOKEN SCHEME ADDRESS PREFIX`: the scheme and the address of the client, and what was cut off the path, or `/`."""
PURPOSE = "forwarding"
"""What the token is derived for."""
PREFIX = "/market-data"
"""Below this path the gateway has everything of the feed's, with the routes that both services have."""
IS_FORWARDED = "microexchange.forwarded"
"""The field of a scope that is true for what the gateway forwards."""


def forwarded(token: str, scope: Scope, prefix: str = "") -> tuple[bytes, bytes]:
    """The header of a request that the gateway forwards for the client of `scope`."""
    client = scope.get("client")
    address = client[0] if client else "unknown"
    scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
    return HEADER, f"{token} {scheme} {address} {prefix or '/'}".encode()


class FromGateway:
    """Gives a request that the gateway forwards the address, the scheme and the path that its client has used.

    The header without the right token changes nothing.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request."""
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
