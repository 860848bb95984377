"""Command ids, which only increase.

A command id has 63 bits: 41 for the milliseconds since 2024, 10 for the number of the gateway, 12 for a counter. So ids of
different gateways differ, ids of one gateway increase, and a table that has them as its key is nearly in order of time. The
layout is that of Snowflake ids (Twitter, 2010).
"""

EPOCH_MS = 1_704_067_200_000
"""2024-01-01T00:00:00Z in milliseconds of Unix time."""

MAX_ID = (1 << 63) - 1
"""The greatest id, and the greatest time in nanoseconds."""
GATEWAY_BITS = 10
COUNTER_BITS = 12
MAX_GATEWAY = (1 << GATEWAY_BITS) - 1
"""The greatest gateway number. The engine uses it for orders that it enters itself. No gateway has it."""
_COUNTER_MASK = (1 << COUNTER_BITS) - 1


class IdSequence:
    """The ids of one gateway. Pure: the caller gives the time.

    If the clock stops or goes back, the sequence counts on from its last id. Each new id is greater than `floor`, an id that
    was already used.
    """

    def __init__(self, gateway: int, floor: int = 0) -> None:
        if not 0 <= gateway <= MAX_GATEWAY:
            raise ValueError(f"gateway number {gateway} is not in 0..{MAX_GATEWAY}")
        self.gateway = gateway
        self._ticks = 0
        """Milliseconds and counter as one number, so that a full counter carries into the next millisecond."""
        self.raise_floor(floor)

    def raise_floor(self, used: int) -> None:
        """Make each later id greater than `used`."""
        milliseconds = used >> (GATEWAY_BITS + COUNTER_BITS)
        self._ticks = max(self._ticks, (milliseconds << COUNTER_BITS) | (used & _COUNTER_MASK))

    def next(self, now_ns: int) -> int:
        """Return the next id. `now_ns` is the time in nanoseconds of Unix time."""
        now = max(0, now_ns // 1_000_000 - EPOCH_MS) << COUNTER_BITS
        self._ticks = max(self._ticks + 1, now)
        milliseconds, counter = self._ticks >> COUNTER_BITS, self._ticks & _COUNTER_MASK
        return (milliseconds << (GATEWAY_BITS + COUNTER_BITS)) | (self.gateway << COUNTER_BITS) | counter


def gateway_of(command_id: int) -> int:
    """Return the number of the gateway that made `command_id`."""
    return (command_id >> COUNTER_BITS) & MAX_GATEWAY
