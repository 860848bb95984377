"""The sockets that services listen on."""

import socket

DEAD_MS = 30_000
"""Milliseconds after which a client that takes nothing of what was sent to it is disconnected."""


class PortBusyError(OSError):
    """Somebody listens on the port already."""


def bind(host: str, port: int, flag: str) -> socket.socket:
    """A socket bound to `host` and `port`. Raises `PortBusyError`, which names both and the flag that changes the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # A client that reads nothing keeps its connection, and what waits for it, no longer than this. Sockets that are
        # accepted inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_MS)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortBusyError(
            f"cannot listen on {host}:{port}: {error.strerror or error}. Choose another port with {flag}"
        ) from error
    return listener
