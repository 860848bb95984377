"""A TCP proxy for tests without an event loop."""

import asyncio
import threading

from tests.conftest import Proxy


class ProxyThread:
    """A `Proxy` in its own thread."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._proxy = Proxy(target)
        self.mend()

    @property
    def port(self) -> int:
        return self._proxy.port

    def mend(self) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.mend(), self._loop).result(10)

    def cut(self) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.cut(), self._loop).result(10)
