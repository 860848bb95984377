"""How far a reader has read each producer. It finds duplicates by their numbers, and replaced processes by their token."""

import msgspec

from microexchange.batches import Batch, R


class ProducerCursor(msgspec.Struct, array_like=True):
    """How far one producer was read."""

    fencing_token: int
    sequence: int
    """Number of the last record taken."""


class SequenceGapError(Exception):
    """Records are missing before this batch: it was not taken. The producer sends it again after what is missing."""


class ProducerCursors:
    """The cursors of all producers of one topic. Part of a service's state: stored where the state is stored."""

    def __init__(self, cursors: "dict[str, ProducerCursor] | None" = None) -> None:
        self.by_producer: dict[str, ProducerCursor] = cursors or {}

    def take(self, batch: Batch[R]) -> list[R]:
        """Return the new records of `batch`, and move the cursor behind them.

        A batch with a lower fencing token than the newest of its producer has no new records. Its process was replaced, and
        the successor writes the same records. The engine and the clearinghouse continue their numbers after a restart. A
        gateway stores nothing, and begins at 1 again.

        Raises:
            SequenceGapError: records are missing before the batch.

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
        fresh = batch.records[skip:] if skip else batch.records
        position.sequence += len(fresh)
        return fresh
