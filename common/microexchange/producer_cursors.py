"""The position of a reader in the records of each producer.

A cursor detects duplicates by their numbers, and replaced processes by their fencing tokens.
"""

from typing import Any

import msgspec

from microexchange.batches import Batch, R


class ProducerCursor(msgspec.Struct, array_like=True):
    """The position in the records of one producer."""

    fencing_token: int
    sequence: int
    """The number of the last record that was read."""


class SequenceGapError(Exception):
    """A batch before which records are missing. The producer sends the missing records, and then the batch again."""


class ProducerCursors:
    """The cursors of all producers of one topic. A service stores them with its state."""

    def __init__(self, cursors: "dict[str, ProducerCursor] | None" = None) -> None:
        self.by_producer: dict[str, ProducerCursor] = cursors or {}

    @classmethod
    def from_json(cls, stored: Any) -> "ProducerCursors":
        """Return the cursors that a database has as `as_json` returned them."""
        return cls(msgspec.convert(stored, dict[str, ProducerCursor]))

    def as_json(self) -> Any:
        """Return the cursors as lists and numbers by producer, for a column of JSON."""
        return msgspec.to_builtins(self.by_producer)

    def take(self, batch: Batch[R]) -> list[R]:
        """Return the new records of `batch`, and move the cursor past them.

        A batch with a lower fencing token than the newest of its producer has no new records. Its process was replaced, and
        the successor writes the same records. The engine and the clearinghouse continue their numbers after a restart. A
        gateway stores nothing, and begins at 1 again.

        Raises:
            SequenceGapError: Records are missing before the batch.
        """
        producer, fencing_token, first = batch.producer, batch.fencing_token, batch.sequence
        position = self.by_producer.get(producer)
        if position is None:
            position = self.by_producer[producer] = ProducerCursor(fencing_token, 0)
        if fencing_token < position.fencing_token:
            return []
        if fencing_token > position.fencing_token:
            position.fencing_token = fencing_token
            if producer.startswith("gateway"):
                position.sequence = 0
        skip = position.sequence + 1 - first
        if skip < 0:
            raise SequenceGapError(f"{producer}: expected record {position.sequence + 1}, got {first}")
        records = batch.records[skip:] if skip else batch.records
        position.sequence += len(records)
        return records
