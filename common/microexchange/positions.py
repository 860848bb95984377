"""What a reader has had from each producer: duplicates are recognised by their numbers, an older process by its epoch."""

import msgspec

from microexchange.messages import Batch, R


class Position(msgspec.Struct, array_like=True):
    """How far one producer was read."""

    epoch: int
    sequence: int
    """Number of the last record taken."""


class SequenceGapError(Exception):
    """Records are missing before this batch: it was not taken. The producer sends it again after what is missing."""


class Positions:
    """The positions of all producers of one topic. Part of a service's state: stored where the state is stored."""

    def __init__(self, positions: "dict[str, Position] | None" = None) -> None:
        self.by_producer: dict[str, Position] = positions or {}

    def take(self, batch: Batch[R]) -> list[R]:
        """The records of `batch` that are new, and moves on behind them.

        Nothing of a batch from an older epoch than the producer's newest: that process was replaced, and its successor
        writes the same records. The engine and the clearinghouse go on with their numbers from epoch to epoch; a
        gateway, which keeps nothing, begins each epoch at 1.

        Raises `SequenceGapError` where records are missing before the batch.
        """
        producer, epoch, first = batch.producer, batch.epoch, batch.sequence
        position = self.by_producer.get(producer)
        if position is None:
            position = self.by_producer[producer] = Position(epoch, 0)
        if epoch < position.epoch:
            return []
        if epoch > position.epoch:
            position.epoch = epoch
            if producer.startswith("gateway"):
                position.sequence = 0
        skip = position.sequence + 1 - first
        if skip < 0:
            raise SequenceGapError(f"{producer}: expected record {position.sequence + 1}, got {first}")
        fresh = batch.records[skip:] if skip else batch.records
        position.sequence += len(fresh)
        return fresh
