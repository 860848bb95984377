"""Other order books from PyPI, behind one small interface, so that the same flow runs over each."""

from collections.abc import Callable
from typing import Any, Protocol

from benchmarks.flow import Step


class Peer(Protocol):
    """One library."""

    name: str

    def prepare(self, steps: list[Step]) -> Callable[[], Any]:
        """Makes a new book, and returns what runs the flow over it and returns the number of trades."""
        ...

    def note(self, steps: list[Step], trades: int) -> str:
        """Whether it makes the same trades as ours."""
        ...


def peers() -> list[Peer]:
    """The libraries that are installed."""
    return []
