"""The private parts of uvicorn, websockets and pika on which the transport depends. An upgrade that changes one fails here.

docs/decisions/0020 explains why the transport uses them, and what to do after an upgrade.
"""

import inspect
from importlib.metadata import requires, version
from typing import Any

import pika
import pytest
import uvicorn
from packaging.requirements import Requirement
from packaging.version import Version
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.connection import Connection as PikaConnection
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import apply_mask  # type: ignore[attr-defined]

from microexchange import frames
from microexchange.log import rabbitmq

BOUND = {"uvicorn", "websockets", "pika"}
OVERRIDDEN = {
    "__init__": ["self", "config", "server_state", "app_state", "_loop"],
    "handle_connect": ["self", "event"],
    "data_received": ["self", "data"],
    "send_receive_event_to_app": ["self"],
    "send": ["self", "message"],
    "shutdown": ["self"],
}
"""The methods of uvicorn's protocol that `frames.Connection` overrides, with their parameters."""
USED = {
    "close_sent": bool,
    "curr_msg_data_type": str,
    "disconnected": bool,
    "frames": list,
    "handshake_complete": bool,
    "handshake_initiated": bool,
    "read_paused": bool,
}
"""The attributes of uvicorn's protocol that `frames.Connection` reads or sets."""


@pytest.mark.parametrize("package", sorted(BOUND))
def test_the_next_minor_version_is_not_installed_before_somebody_has_tested_it(package: str) -> None:
    (bound,) = [one for one in map(Requirement, requires("microexchange") or ()) if one.name == package]
    installed = Version(version(package))
    assert installed in bound.specifier
    assert f"{installed.major}.{installed.minor + 1}.0" not in bound.specifier
    assert f"{installed.major + 1}.0.0" not in bound.specifier


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_uvicorn_has_the_methods_that_the_connection_overrides(name: str) -> None:
    assert list(inspect.signature(getattr(WebSocketsSansIOProtocol, name)).parameters) == OVERRIDDEN[name]


def test_the_connection_overrides_no_other_method_of_uvicorn() -> None:
    shared = {name for name, value in vars(frames.Connection).items() if callable(value)} & set(
        vars(WebSocketsSansIOProtocol)
    )
    assert shared == set(OVERRIDDEN)


async def test_uvicorn_has_the_attributes_that_the_connection_uses() -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None: ...

    connection = WebSocketsSansIOProtocol(uvicorn.Config(app, interface="asgi3", lifespan="off"), ServerState(), {})
    assert {name: type(getattr(connection, name)) for name in USED} == USED
    for name in ("handle_parser_exception", "stop_keepalive"):
        assert list(inspect.signature(getattr(connection, name)).parameters) == []
    assert (connection.queue.qsize(), connection.writable.is_set()) == (0, True)
    assert connection.config.ws_max_size == 16 << 20
    assert hasattr(connection.conn.reader, "buffer"), "the bytes that websockets has read and not parsed"


def test_websockets_masks_a_payload() -> None:
    assert apply_mask(b"abcde", b"\x01\x02\x03\x04") == bytes(
        a ^ b for a, b in zip(b"abcde", b"\x01\x02\x03\x04\x01", strict=True)
    )


def test_pika_writes_all_frames_of_a_message_by_the_method_that_the_log_overrides() -> None:
    written: list[bytes] = []

    class Recorded(rabbitmq._Connection):
        def __init__(self) -> None:
            self.bytes_sent = self.frames_sent = 0
            self._body_max_length = 4

        def _adapter_emit_data(self, data: bytes) -> None:
            written.append(data)

    class Plain(Recorded):
        _output_marshaled_frames = PikaConnection._output_marshaled_frames

    assert issubclass(rabbitmq._Connection, AsyncioConnection)
    method, properties = pika.spec.Basic.Publish(exchange="x", routing_key="y"), pika.BasicProperties()
    Plain()._send_message(1, method, (properties, b"1234567"))
    separate, written[:] = written[:], []
    Recorded()._send_message(1, method, (properties, b"1234567"))
    assert len(separate) == 4, "the method, the header, and two parts of the body"
    assert written == [b"".join(separate)]
