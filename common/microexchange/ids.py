"""Identities that only grow.

A command id has 63 bits: 41 of milliseconds since 2024, 10 of the gateway's number, 12 of a counter. So several gateways
never clash, ids of one gateway only grow, and a table keyed by them stays in order of time. (The layout is Snowflake's:
Twitter, 2010.)
"""

EPOCH_MS = 1_704_067_200_000
"""2024-01-01T00:00:00Z in milliseconds of Unix time."""

MAX_ID = (1 << 63) - 1
"""No id of anything is higher, and no time in nanoseconds."""
GATEWAY_BITS = 10
COUNTER_BITS = 12
MAX_GATEWAY = (1 << GATEWAY_BITS) - 1
"""The highest number. It is the engine's own, for orders that it enters itself: no gateway has it."""
_COUNTER_MASK = (1 << COUNTER_BITS) - 1


class IdSequence:
    """The ids of one gateway. Pure: the caller says what time it is.

    A clock that stands still or is set back does no harm: the sequence then counts on from its last id. `floor` is an id
    that was already used; every new one is greater.
    """

    def __init__(self, gateway: int, floor: int = 0) -> None:
        if not 0 <= gateway <= MAX_GATEWAY:
            raise ValueError(f"gateway number {gateway} is not in 0..{MAX_GATEWAY}")
        self.gateway = gateway
        self._ticks = 0
        """Milliseconds and counter as one number: a full counter carries into the next millisecond."""
        self.raise_floor(floor)

    def raise_floor(self, used: int) -> None:
        """Makes every later id greater than `used`."""
        milliseconds = used >> (GATEWAY_BITS + COUNTER_BITS)
        self._ticks = max(self._ticks, (milliseconds << COUNTER_BITS) | (used & _COUNTER_MASK))

    def next(self, now_ns: int) -> int:
        """The next id, at `now_ns` nanoseconds of Unix time."""
        now = max(0, now_ns // 1_000_000 - EPOCH_MS) << COUNTER_BITS
        self._ticks = max(self._ticks + 1, now)
        milliseconds, counter = self._ticks >> COUNTER_BITS, self._ticks & _COUNTER_MASK
        return (milliseconds << (GATEWAY_BITS + COUNTER_BITS)) | (self.gateway << COUNTER_BITS) | counter


def gateway_of(command_id: int) -> int:
    """The number of the gateway that gave `command_id`."""
    return (command_id >> COUNTER_BITS) & MAX_GATEWAY
