"""The sockets that services listen on."""

import errno
import socket
from ipaddress import ip_address

UNREAD_TIMEOUT_MS = 30_000
"""Milliseconds after which a client that reads nothing is disconnected."""

CLOSE_SECONDS = 2.0
"""The time for a peer to read what was sent before its connection closes. Then the connection is aborted."""


def is_loopback(host: str | None) -> bool:
    """Return whether `host` is `localhost` or a loopback address."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


class PortBusyError(OSError):
    """A service cannot listen on its address: the port is busy, or the machine does not have the address."""

    def __init__(self, problem: str, fix: str, is_busy: bool = True) -> None:
        super().__init__(f"{problem}. {fix}")
        self.problem = problem
        self.fix = fix
        self.is_busy = is_busy


_PORT_ERRORS = (errno.EADDRINUSE, errno.EACCES)


def bind(host: str, port: int, flag: str) -> socket.socket:
    """Return a socket that is bound to `host` and `port`.

    Raises:
        PortBusyError: It cannot be bound. The error names `flag` if another port helps.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Otherwise the kernel keeps the connection of a client that reads nothing for minutes. Accepted sockets inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_TIMEOUT_MS)
    try:
        listener.bind((host, port))
    except (OSError, ValueError) as error:  # a host name that cannot be encoded is a ValueError
        listener.close()
        is_busy = isinstance(error, OSError) and error.errno in _PORT_ERRORS
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise PortBusyError(
            f"cannot listen on {host[:100]}:{port}: {reason}",
            f"Choose another port with {flag}" if is_busy else "Choose an address of this machine with --host",
            is_busy,
        ) from error
    return listener
