"""An ASGI application on a real socket, served as the services are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from microexchange import web
from microexchange.listening import bind

START_SECONDS = 0.2


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[int]:
    """Serve `app` while the context is open. Yield its port on 127.0.0.1."""
    listener, stop = bind("127.0.0.1", 0, "--port"), asyncio.Event()
    serving = asyncio.create_task(web.serve(app, listener, stop))
    await asyncio.sleep(START_SECONDS)
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        await serving
