"""An ASGI application on a real socket, served as the services are."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from microexchange import web
from microexchange.connection_limits import ConnectionLimits
from microexchange.listening import bind

START_SECONDS = 0.2


@asynccontextmanager
async def served(
    app: Any, limits: ConnectionLimits | None = None, trusted_proxies: Sequence[str] = ()
) -> AsyncIterator[int]:
    """Serve `app` while the context is open. Yield its port on 127.0.0.1."""
    listener, stop = bind("127.0.0.1", 0, "--port"), asyncio.Event()
    serving = asyncio.create_task(web.serve(app, listener, stop, limits, trusted_proxies))
    await asyncio.sleep(START_SECONDS)
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        await serving
