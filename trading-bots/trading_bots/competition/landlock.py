"""Landlock: a process restricts its own access to files and to the network, in addition to what confines it from outside.

The restriction is one of the kernel, for this thread and for all that it starts. It cannot be lifted. The libraries for
Landlock on PyPI are first releases, so this module makes the three system calls itself.

Source: landlock(7), landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2).
"""

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The numbers of the system calls. They are the same on all architectures."""
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_PR_SET_NO_NEW_PRIVS = 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE, _IOCTL_DEV = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
"""The rights that a rule for a file may name. All others are rights for folders."""
_FIRST_RIGHTS, _VERSIONS_WITH_ONE_MORE_RIGHT = 13, (2, 3, 5)
_NETWORK_VERSION, _SCOPE_VERSION = 4, 6
_ALL_NETWORK, _ALL_SCOPES = 0b11, 0b11
"""TCP connections in both directions; abstract Unix sockets and signals to processes outside."""


def version() -> int:
    """Return the version of Landlock in this kernel. 0 if it has none, or if Landlock is off."""
    if sys.platform != "linux":
        return 0
    return max(_system_call(_CREATE_RULESET, None, 0, _VERSION_FLAG), 0)


def restrict(readable: Iterable[str], writable: Iterable[str] = ()) -> int:
    """Restrict this process to files below `readable` and `writable`, and return the version of Landlock.

    A path that does not exist is left out. The version is 0 if the kernel has no Landlock. Then nothing is restricted.

    Raises:
        OSError: The kernel has Landlock and refuses the restriction.
    """
    found = version()
    if not found:
        return 0
    rights = (1 << _FIRST_RIGHTS + sum(found >= since for since in _VERSIONS_WITH_ONE_MORE_RIGHT)) - 1
    network = _ALL_NETWORK if found >= _NETWORK_VERSION else 0
    scopes = _ALL_SCOPES if found >= _SCOPE_VERSION else 0
    # An older kernel has a shorter structure. It accepts a longer one whose rest is zero.
    attributes = struct.pack("=QQQ", rights, network, scopes)
    ruleset = _checked(_system_call(_CREATE_RULESET, attributes, len(attributes), 0))
    try:
        for path in readable:
            _allow(ruleset, path, rights & (_EXECUTE | _READ_FILE | _READ_DIR))
        for path in writable:
            _allow(ruleset, path, rights)
        _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(_system_call(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return found


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _FILE_RIGHTS
        _checked(_system_call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0))
    finally:
        os.close(descriptor)


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _system_call(number: int, *arguments: int | bytes | None) -> int:
    # The C library reads whole registers, so numbers must not be passed as 32 bits.
    passed = [ctypes.c_long(argument) if isinstance(argument, int) else ctypes.c_char_p(argument) for argument in arguments]
    return int(_libc.syscall(ctypes.c_long(number), *passed))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
