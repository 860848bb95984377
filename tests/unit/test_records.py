"""Tests of the encoding of records: every record is decoded unchanged, and undecodable bytes raise an error."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microexchange.batches import (
    RECORD_TYPES,
    VERSION,
    Batch,
    MalformedBatchError,
    UndecodableError,
    UnknownRecordError,
    UnknownVersionError,
    decode_batch,
    encode_batch,
)
from microexchange.commands import GatewayLogon, ListSecurity, NewOrder
from microexchange.enums import OrderStatus
from microexchange.records import DATA_FEED, ORDER_ENTRY, TOPICS, Record
from microexchange.reports import ORDER_TERMS, SECURITY_TERMS, OrderReport, SecurityListed

INTEGERS = st.integers(-(2**63), 2**63 - 1)


def value_of(field_type: Any) -> st.SearchStrategy[Any]:
    if field_type is int:
        return INTEGERS
    return st.from_type(field_type)


def records(record_type: type[Record]) -> st.SearchStrategy[Record]:
    fields = {field.name: value_of(field.type) for field in msgspec.structs.fields(record_type)}
    st.register_type_strategy(int, INTEGERS)
    return st.builds(record_type, **fields)


CASES = [(topic, record_type) for topic in TOPICS for record_type in RECORD_TYPES[topic]]


@pytest.mark.parametrize(("topic", "record_type"), CASES, ids=lambda case: getattr(case, "__name__", case))
@given(data=st.data())
def test_a_decoded_record_equals_the_encoded_record(topic: str, record_type: type[Record], data: st.DataObject) -> None:
    record = data.draw(records(record_type))
    batch = Batch(VERSION, "engine", 3, 17, 99, [record])
    assert decode_batch(topic, encode_batch(batch)) == batch


def test_every_record_of_a_topic_has_a_unique_tag() -> None:
    for topic in TOPICS:
        tags = [record_type.__struct_config__.tag for record_type in RECORD_TYPES[topic]]
        assert len(set(tags)) == len(tags)


def test_the_error_for_an_unknown_record_names_its_tag() -> None:
    body = msgspec.msgpack.encode([VERSION, "gateway-0", 1, 1, 0, [["GatewayLogon", 0, 1, 2, 3], ["AmendOrder", 1, 2]]])
    with pytest.raises(UnknownRecordError, match="AmendOrder") as error:
        decode_batch(ORDER_ENTRY, body)
    assert error.value.tag == "AmendOrder"


def test_a_record_of_another_topic_is_unknown() -> None:
    body = encode_batch(Batch(VERSION, "gateway-0", 1, 1, 0, [GatewayLogon(0, 1, 2, 3)]))
    with pytest.raises(UnknownRecordError, match="GatewayLogon"):
        decode_batch(DATA_FEED, body)


def test_the_error_for_a_batch_of_another_version_names_the_version() -> None:
    body = msgspec.msgpack.encode([VERSION + 1, "engine", "in another shape"])
    with pytest.raises(UnknownVersionError, match=str(VERSION + 1)):
        decode_batch(DATA_FEED, body)


def test_an_older_record_without_the_newest_fields_is_decoded() -> None:
    body = msgspec.msgpack.encode([VERSION, "gateway-0", 1, 1, 0, [["NewOrder", 9, 1, "a", "X", "buy", "market", 5]]])
    (order,) = decode_batch(ORDER_ENTRY, body).records
    assert (order.price, order.client_order_id) == (None, "")


def test_a_newer_record_with_additional_fields_is_decoded() -> None:
    body = msgspec.msgpack.encode([VERSION, "gateway-0", 1, 1, 0, [["GatewayLogon", 0, 1, 2, 3, "new"]]])
    assert decode_batch(ORDER_ENTRY, body).records == [GatewayLogon(0, 1, 2, 3)]


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"no msgpack", b"\x80", b"\x90", b"\x91\xa1x", msgspec.msgpack.encode([VERSION]), b"\x92" * 100_000],
)
def test_a_body_that_is_no_batch_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBatchError):
        decode_batch(ORDER_ENTRY, body)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_raise_an_undecodable_error(body: bytes) -> None:
    for topic in TOPICS:
        with contextlib.suppress(UndecodableError):
            decode_batch(topic, body)


def test_a_record_with_a_field_of_the_wrong_type_is_malformed() -> None:
    body = msgspec.msgpack.encode([VERSION, "gateway-0", 1, 1, 0, [["GatewayLogon", 0, 1, "two", 3]]])
    with pytest.raises(MalformedBatchError):
        decode_batch(ORDER_ENTRY, body)


def test_filled_canceled_rejected_and_expired_are_the_final_statuses() -> None:
    assert {status for status in OrderStatus if status.is_final} == {
        OrderStatus.FILLED,
        OrderStatus.CANCELED,
        OrderStatus.REJECTED,
        OrderStatus.EXPIRED,
    }


def test_reports_repeat_the_terms_of_their_commands_by_name() -> None:
    listed = marked(ListSecurity)
    report: Any = SecurityListed.of(listed, 7)
    assert set(SECURITY_TERMS) == set(ListSecurity.__struct_fields__) - {"command_id", "timestamp"}
    assert all(getattr(report, name) == name for name in ListSecurity.__struct_fields__)
    assert report.tick_value == 7

    order = marked(NewOrder)
    pending: Any = OrderReport.pending(order)
    assert set(ORDER_TERMS) == set(NewOrder.__struct_fields__) - {"command_id", "timestamp"}
    assert all(getattr(pending, name) == name for name in NewOrder.__struct_fields__)
    assert (pending.order_id, pending.leaves_quantity) == ("command_id", "quantity")


def marked(record_type: type[Record]) -> Any:
    """A record in which each field has its own name as its value."""
    return record_type(**{name: name for name in record_type.__struct_fields__})
