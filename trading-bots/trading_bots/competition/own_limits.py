"""The limits that the process of a bot sets on itself, before it loads the code of a bot."""

import resource
import sys
from collections.abc import Iterable
from pathlib import Path

from trading_bots.competition import landlock
from trading_bots.competition.confinement import TEMPORARY_INSIDE, shared_paths

EXIT_NOT_RESTRICTED = 71
"""The status of a process that was to restrict itself and could not. It has loaded no bot."""


def set_limits(limits: Iterable[tuple[int, int]]) -> None:
    """Set limits of resources, given as pairs of an `RLIMIT_` constant and its value. They cannot be raised again."""
    for resource_type, limit in limits:
        _, hard = resource.getrlimit(resource_type)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource_type, (limit, limit))


def restrict_itself(files: Iterable[str], required: bool) -> int:
    """Restrict this process by Landlock to what a sandbox has, with `files`. Return the version of Landlock, 0 if none.

    Call it inside of a sandbox, before the code of a bot is loaded.

    Raises:
        OSError: The kernel has Landlock and refuses the restriction, or it has none and `required` is set.
    """
    folders = [str(path) for path in map(Path, sys.path) if path.is_absolute()]
    version = landlock.restrict([*shared_paths(), *folders, *files], [TEMPORARY_INSIDE, "/dev/null"])
    if required and not version:
        raise OSError("the kernel has no Landlock")
    return version
