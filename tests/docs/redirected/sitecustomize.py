"""Redirects connections to the ports in the pages to the ports of the test's exchange.

Python imports this module at its start in the processes of `tests.docs.clone`. `MX_DOCS_PORTS` has pairs `port=port`, with
a comma between.
"""

import os
import socket
from typing import Any

_PORTS = {int(a): int(b) for a, b in (pair.split("=") for pair in os.environ["MX_DOCS_PORTS"].split(",") if pair)}
_connect, _connect_ex = socket.socket.connect, socket.socket.connect_ex


def _redirected(address: Any) -> Any:
    if isinstance(address, tuple) and address[1] in _PORTS:
        return (address[0], _PORTS[address[1]], *address[2:])
    return address


socket.socket.connect = lambda self, address: _connect(self, _redirected(address))  # type: ignore[method-assign]
socket.socket.connect_ex = lambda self, address: _connect_ex(self, _redirected(address))  # type: ignore[method-assign]
