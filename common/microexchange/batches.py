"""Batches of records on the log, and their encoding."""

from typing import Any, Generic, TypeVar

import msgspec

from microexchange.commands import Command
from microexchange.instructions import Instruction
from microexchange.records import DATA_FEED, ORDER_ENTRY, ORDER_EXECUTION, Record
from microexchange.reports import Report

VERSION = 1
"""The version of a batch. It increases with a change that an older reader would read wrongly."""

R = TypeVar("R")


class Batch(msgspec.Struct, Generic[R], frozen=True, array_like=True, gc=False):
    """Records of one producer that are appended together, in order. Encoded, it is a body of the log."""

    version: int
    producer: str
    """The name of the process that wrote it: `engine`, `clearing`, `gateway-3`."""
    fencing_token: int
    """A number that grows with each start of the producer. Readers ignore an older process that still writes."""
    sequence: int
    """The number of the first record. Each further record has the next number."""
    stamp: int
    """The time at which it was appended, in nanoseconds. A replay writes the same records with another stamp."""
    records: list[R]
    cause: tuple[int, int] = (0, 0)
    """The stamp of the batch of commands that caused the newest of these records, and the time at which the engine read it.

    Both are in nanoseconds, and 0 if there is no such batch. A replay writes other times."""


ENGINE = "engine"
CLEARING = "clearing"


def gateway_name(number: int) -> str:
    """Return the producer name of a gateway."""
    return f"gateway-{number}"


class UndecodableError(ValueError):
    """A body on the log that this version cannot read."""


class UnknownVersionError(UndecodableError):
    """A batch of a version that this program does not support. A newer program wrote it."""


class UnknownRecordError(UndecodableError):
    """A batch with a record that this program does not support. A newer program wrote it."""

    def __init__(self, tag: object) -> None:
        super().__init__(f"unknown record {tag!r}: a newer version wrote it; upgrade this service")
        self.tag = tag


class MalformedBatchError(UndecodableError):
    """A body that is not a batch, or has a field of the wrong type. No version of the program writes it."""


_encoder = msgspec.msgpack.Encoder()
_decoders: dict[str, msgspec.msgpack.Decoder[Any]] = {
    ORDER_ENTRY: msgspec.msgpack.Decoder(Batch[Command]),
    ORDER_EXECUTION: msgspec.msgpack.Decoder(Batch[Instruction]),
    DATA_FEED: msgspec.msgpack.Decoder(Batch[Report]),
}
RECORD_TYPES: dict[str, tuple[type[Record], ...]] = {
    ORDER_ENTRY: Command.__args__,
    ORDER_EXECUTION: Instruction.__args__,
    DATA_FEED: Report.__args__,
}
"""The record types of each topic."""


def encode_batch(batch: Batch[Any]) -> bytes:
    """Return `batch` as bytes."""
    return _encoder.encode(batch)


def decode_batch(topic: str, body: bytes) -> Batch[Any]:
    """Return the batch of a body of `topic`.

    Raises:
        UnknownVersionError: A newer program wrote the batch.
        UnknownRecordError: A newer program wrote a record in it. The error has its tag.
        MalformedBatchError: The body is not a batch.
    """
    try:
        batch: Batch[Any] = _decoders[topic].decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _explain(topic, body, error) from error
    if batch.version != VERSION:
        raise UnknownVersionError(f"batch version {batch.version}: this program reads version {VERSION}; upgrade it")
    return batch


def _explain(topic: str, body: bytes, error: Exception) -> UndecodableError:
    """Return the reason why a body could not be decoded."""
    try:
        raw = msgspec.msgpack.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return MalformedBatchError(f"not msgpack: {error}")
    if not isinstance(raw, list) or not raw or not isinstance(raw[0], int):
        return MalformedBatchError(f"not a batch: {error}")
    if raw[0] != VERSION:
        return UnknownVersionError(f"batch version {raw[0]}: this program reads version {VERSION}; upgrade it")
    known = {record_type.__name__ for record_type in RECORD_TYPES[topic]}
    records = raw[5] if len(raw) > 5 and isinstance(raw[5], list) else []
    for record in records:
        if isinstance(record, list) and record and isinstance(record[0], str) and record[0] not in known:
            return UnknownRecordError(record[0])
    return MalformedBatchError(str(error))
