"""The base class of all records on the log, and the topics of the log.

Records are arrays in msgpack. Their class name comes first (the *tag*). A new field is added at the end, with a default, so
that older records can still be read. Units: prices in ticks, quantities in lots, cash in 1e-8, times in nanoseconds of Unix
time. `timestamp` is the time that the gateway put on the command that caused the record.
"""

import msgspec

ORDER_ENTRY = "order_entry"
"""Commands, which ask the matching engine for something."""
ORDER_EXECUTION = "order_execution"
"""Instructions, which the clearinghouse settles."""
DATA_FEED = "data_feed"
"""Reports, which state what happened."""
TOPICS = (ORDER_ENTRY, ORDER_EXECUTION, DATA_FEED)


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=True):
    """Base of all records."""


def shared_fields(first: type[Record], second: type[Record]) -> tuple[str, ...]:
    """Return the names of the fields that both records have, without the id and the time of a command.

    Records with the same terms have them at different places, since records only grow at their ends. So terms are copied
    from one record to another by name.
    """
    own = {"command_id", "timestamp"}
    return tuple(name for name in first.__struct_fields__ if name in second.__struct_fields__ and name not in own)
