"""What stands before all routes."""

import time

from starlette.types import ASGIApp, Receive, Scope, Send

from microexchange.refusals import Code, Refusal
from microexchange.web import refuse
from order_entry_gateway.limits import RateLimiter


class AddressLimit:
    """Refuses what an address asks too often, before anything else is done for it."""

    def __init__(self, app: ASGIApp, limiter: RateLimiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request, or refuses it."""
        client = scope.get("client")
        if scope["type"] in ("http", "websocket") and client is not None:
            seconds = self._limiter.take(client[0], time.monotonic())
            if seconds:
                text = f"more than {self._limiter.rate:g} requests a second from {client[0]}: wait {seconds:.3f} s"
                refusal = Refusal(Code.RATE_LIMITED, text, retry_after=seconds, limit=self._limiter.rate)
                if scope["type"] == "websocket":
                    await receive()
                    await send({"type": "websocket.close", "code": 1013, "reason": "too many connections a second"})
                else:
                    await refuse(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)
