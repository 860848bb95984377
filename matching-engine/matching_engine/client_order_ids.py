"""The client order ids that are taken, so that an order which is sent twice is entered once.

An accepted order takes its id for at least `PERIOD`, also after it has ended. The ids of a client are in two generations.
When the newer one is full or a period old, it becomes the older one, and the ids of the older one are free again. So no id
needs a timer. All clients together have two generations in the same way, to bound the memory.
"""

from operator import attrgetter

import msgspec

from microexchange.commands import NewOrder
from microexchange.reports import ORDER_TERMS

PERIOD = 86_400 * 10**9
"""An id stays taken for at least this time in nanoseconds, and for less than three times as long."""
MAX_CLIENT_IDS = 10_000
"""The ids of one client in one generation. Beyond it, the oldest ids of this client are free again."""
MAX_IDS = 250_000
"""The ids of all clients in one generation. Beyond it, the oldest ids of all clients are free again."""

_FIELDS = ("command_id", *(name for name in ORDER_TERMS if name not in ("client_id", "client_order_id")))
_fields_of = attrgetter(*_FIELDS)
_encode = msgspec.msgpack.Encoder().encode
_decode_id = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


def encoded(entry: NewOrder) -> bytes:
    """Return the id and the terms of an order as bytes. They take a third of the memory of a `NewOrder`."""
    return _encode(_fields_of(entry))


def order_id_in(taken: bytes) -> int:
    """Return the id of an encoded order."""
    order_id: int = msgspec.msgpack.decode(_decode_id(taken)[0], type=int)
    return order_id


def has_terms(taken: bytes, entry: NewOrder) -> bool:
    """Return whether an encoded order has the same terms as `entry`."""
    return _decode_id(taken)[1:] == _decode_id(encoded(entry))[1:]


class TakenIds:
    """The taken ids of one client, each with its encoded order."""

    __slots__ = ("began_at", "newer", "older")

    def __init__(self, began_at: int) -> None:
        self.newer: dict[str, bytes] = {}
        self.older: dict[str, bytes] = {}
        self.began_at = began_at
        """The time at which `newer` began, in nanoseconds."""

    def get(self, client_order_id: str) -> bytes | None:
        """Return the encoded order that has taken an id, or None if the id is free."""
        return self.newer.get(client_order_id) or self.older.get(client_order_id)

    def begin(self, now: int) -> int:
        """Begin a new generation. Return the number of ids that are free again."""
        freed = len(self.older)
        self.older = self.newer
        if now - self.began_at >= 2 * PERIOD:
            freed += len(self.older)
            self.older = {}
        self.newer, self.began_at = {}, now
        return freed


class ClientOrderIds:
    """The taken ids of all clients.

    `current` and `previous` are two generations of all clients. Within them, each client has two generations of its own.
    """

    __slots__ = ("count", "current", "previous")

    def __init__(self) -> None:
        self.current: dict[str, TakenIds] = {}
        """By client id."""
        self.previous: dict[str, TakenIds] = {}
        self.count = 0
        """The ids of all clients in `current`."""

    def find(self, client_id: str, client_order_id: str, now: int) -> bytes | None:
        """Return the encoded order that has taken an id, or None if the id is free. `now` is in nanoseconds."""
        taken = self.current.get(client_id)
        if taken is not None:
            if now - taken.began_at >= PERIOD:
                self.count -= taken.begin(now)
            if (first := taken.get(client_order_id)) is not None:
                return first
        taken = self.previous.get(client_id)
        if taken is None:
            return None
        if now - taken.began_at >= PERIOD:
            taken.begin(now)
        return taken.get(client_order_id)

    def take(self, entry: NewOrder, now: int) -> None:
        """Take the id of an accepted order."""
        if self.count >= MAX_IDS:
            self.previous, self.current, self.count = self.current, {}, 0
        taken = self.current.get(entry.client_id)
        if taken is None:
            taken = self.current[entry.client_id] = TakenIds(now)
        elif len(taken.newer) >= MAX_CLIENT_IDS:
            self.count -= taken.begin(now)
        taken.newer[entry.client_order_id] = encoded(entry)
        self.count += 1
