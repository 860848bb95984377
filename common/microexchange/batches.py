"""The batch, which carries records on the log, and its encoding."""

from typing import Any, Generic, TypeVar

import msgspec

from microexchange.commands import Command
from microexchange.instructions import Instruction
from microexchange.records import DATA_FEED, ORDER_ENTRY, ORDER_EXECUTION, Record
from microexchange.reports import Report

VERSION = 1
"""Version of the batch envelope. It increases if an older reader could not read a new batch correctly."""

R = TypeVar("R")


class Batch(msgspec.Struct, Generic[R], frozen=True, array_like=True, gc=False):
    """The body of one message on the log: records of one producer, in order."""

    version: int
    producer: str
    """Who wrote it: `engine`, `clearing`, `gateway-3`."""
    fencing_token: int
    """Grows with each start of the producer: an older process that still writes is told from the newer one by it."""
    sequence: int
    """Number of the first record; the others count up by one."""
    stamp: int
    """When it was appended. Not part of the record: a replay carries another."""
    records: list[R]
    cause: tuple[int, int] = (0, 0)
    """Of the batch of commands that the newest of these records answer: when it was appended, and when the engine read it; 0
    where there is none. As with `stamp`, a replay carries others."""


ENGINE = "engine"
CLEARING = "clearing"


def gateway_name(number: int) -> str:
    """The producer name of a gateway."""
    return f"gateway-{number}"


class UndecodableError(ValueError):
    """A body on the log that this version cannot read."""


class UnknownVersionError(UndecodableError):
    """The batch is of a version that this program does not know: a newer program wrote it."""


class UnknownRecordError(UndecodableError):
    """The batch holds a record whose tag this program does not know: a newer program wrote it."""

    def __init__(self, tag: object) -> None:
        super().__init__(f"unknown record {tag!r}: a newer version wrote it; upgrade this service")
        self.tag = tag


class MalformedBatchError(UndecodableError):
    """The body is no batch at all, or a record in it breaks its own type: no version wrote this."""


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
    """The body of `batch`."""
    return _encoder.encode(batch)


def decode_batch(topic: str, body: bytes) -> Batch[Any]:
    """Reads a body of `topic`.

    Raises `UnknownVersionError`, `UnknownRecordError` (it names the tag) or `MalformedBatchError`.
    """
    try:
        batch: Batch[Any] = _decoders[topic].decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _explain(topic, body, error) from error
    if batch.version != VERSION:
        raise UnknownVersionError(f"batch version {batch.version}: this program reads version {VERSION}; upgrade it")
    return batch


def _explain(topic: str, body: bytes, error: Exception) -> UndecodableError:
    """Finds out why a body did not decode; off the hot path."""
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
