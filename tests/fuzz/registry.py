"""The list of targets. A target is a function that takes any bytes and raises only if an invariant does not hold."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.fuzz.mutation import Format

Run = Callable[[bytes], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """One parser under test."""

    run: Run
    format: Format
    """The structure of the input, for mutations that keep it."""
    max_bytes: int
    """The longest input."""


TARGETS: dict[str, Target] = {}
"""The targets by name."""


def target(format: Format = Format.BYTES, max_bytes: int = 4096) -> Callable[[Run], Run]:
    """Add the decorated function to `TARGETS`, under its own name."""

    def add(run: Run) -> Run:
        TARGETS[run.__name__] = Target(run, format, max_bytes)
        return run

    return add


def choose(data: bytes, choices: Sequence[T]) -> tuple[T, bytes]:
    """Return the choice that the first byte names, and the other bytes."""
    return choices[(data[0] if data else 0) % len(choices)], data[1:]


_loops: list[asyncio.AbstractEventLoop] = []


def run_async(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine. An error in a callback of the loop is raised, too."""
    if not _loops:
        _loops.append(asyncio.new_event_loop())
    loop, errors = _loops[0], []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    loop.run_until_complete(work)
    if errors:
        raise AssertionError(errors[0]["message"]) from errors[0].get("exception")
