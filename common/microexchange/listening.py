"""The sockets that services listen on."""

import errno
import socket

DEAD_MS = 30_000
"""Milliseconds after which a client that takes nothing of what was sent to it is disconnected."""


class PortBusyError(OSError):
    """A service cannot listen at its address: the port is taken, or the machine has no such address."""

    def __init__(self, problem: str, fix: str, is_busy: bool = True) -> None:
        super().__init__(f"{problem}. {fix}")
        self.problem = problem
        self.fix = fix
        self.is_busy = is_busy


_OF_THE_PORT = (errno.EADDRINUSE, errno.EACCES)


def bind(host: str, port: int, flag: str) -> socket.socket:
    """A socket bound to `host` and `port`. Raises `PortBusyError`, which names both and what to change: `flag` for the
    port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # A client that reads nothing keeps its connection, and what waits for it, no longer than this. Sockets that are
        # accepted inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_MS)
    try:
        listener.bind((host, port))
    except (OSError, ValueError) as error:  # a name that cannot be encoded for a resolver is a ValueError
        listener.close()
        is_busy = isinstance(error, OSError) and error.errno in _OF_THE_PORT
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise PortBusyError(
            f"cannot listen on {host[:100]}:{port}: {reason}",
            f"Choose another port with {flag}" if is_busy else "Choose an address of this machine with --host",
            is_busy,
        ) from error
    return listener
