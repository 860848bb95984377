"""The private parts of uvicorn, websockets and pika on which the transport depends. An upgrade that changes one fails here.

docs/decisions/0020 explains why the transport uses them, and what to do after an upgrade.
"""

import inspect
from collections import deque
from importlib.metadata import requires, version
from typing import Any

import pika
import pytest
import uvicorn
from packaging.requirements import Requirement
from packaging.version import Version
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.connection import Connection as PikaConnection
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import apply_mask  # type: ignore[attr-defined]
from websockets.protocol import State

from microexchange.frames import Connection
from microexchange.http_connection import HttpConnection
from microexchange.log import rabbitmq

BOUND = {"uvicorn", "websockets", "pika"}
_INIT = ["self", "config", "server_state", "app_state", "_loop"]
OVERRIDDEN: dict[type, dict[str, list[str]]] = {
    Connection: {
        "__init__": _INIT,
        "connection_lost": ["self", "exc"],
        "data_received": ["self", "data"],
        "handle_connect": ["self", "event"],
        "keepalive_timeout": ["self"],
        "pause_writing": ["self"],
        "receive": ["self"],
        "resume_writing": ["self"],
        "run_asgi": ["self"],
        "send": ["self", "message"],
        "send_receive_event_to_app": ["self"],
        "shutdown": ["self"],
    },
    HttpConnection: {
        "__init__": _INIT,
        "_start_asgi_task": ["self", "cycle", "app"],
        "connection_lost": ["self", "exc"],
        "connection_made": ["self", "transport"],
        "data_received": ["self", "data"],
        "handle_websocket_upgrade": ["self"],
        "on_body": ["self", "body"],
        "on_headers_complete": ["self"],
        "on_message_begin": ["self"],
        "on_message_complete": ["self"],
        "on_response_complete": ["self"],
    },
}
"""The methods of uvicorn's protocols that our connections override, with their parameters."""
USED: dict[type, dict[str, type]] = {
    Connection: {
        "close_sent": bool,
        "curr_msg_data_type": str,
        "disconnected": bool,
        "frames": list,
        "handshake_complete": bool,
        "handshake_initiated": bool,
        "read_paused": bool,
    },
    HttpConnection: {
        "cycle": type(None),
        "flow": type(None),
        "headers": type(None),
        "pipeline": deque,
        "timeout_keep_alive_task": type(None),
        "transport": type(None),
    },
}
"""The attributes of uvicorn's protocols that our connections read or set."""


@pytest.mark.parametrize("package", sorted(BOUND))
def test_the_next_minor_version_is_not_installed_before_somebody_has_tested_it(package: str) -> None:
    (bound,) = [one for one in map(Requirement, requires("microexchange") or ()) if one.name == package]
    installed = Version(version(package))
    assert installed in bound.specifier
    assert f"{installed.major}.{installed.minor + 1}.0" not in bound.specifier
    assert f"{installed.major + 1}.0.0" not in bound.specifier


@pytest.mark.parametrize("ours", OVERRIDDEN)
def test_uvicorn_has_the_methods_that_our_connection_overrides_and_no_other_of_that_name(ours: type) -> None:
    theirs = ours.__mro__[1]
    shared = {name for name, value in vars(ours).items() if callable(value)} & set(vars(theirs))
    found = {name: list(inspect.signature(getattr(theirs, name)).parameters) for name in shared}
    assert found == OVERRIDDEN[ours]


async def _app(_scope: Any, _receive: Any, _send: Any) -> None: ...


@pytest.mark.parametrize("ours", USED)
async def test_uvicorn_has_the_attributes_that_our_connection_uses(ours: type) -> None:
    theirs: Any = ours.__mro__[1]
    connection = theirs(uvicorn.Config(_app, interface="asgi3", lifespan="off"), ServerState(), {})
    assert {name: type(getattr(connection, name)) for name in USED[ours]} == USED[ours]


async def test_uvicorn_has_the_objects_that_the_websocket_connection_uses() -> None:
    connection = WebSocketsSansIOProtocol(uvicorn.Config(_app, interface="asgi3", lifespan="off"), ServerState(), {})
    for name in ("handle_parser_exception", "stop_keepalive"):
        assert list(inspect.signature(getattr(connection, name)).parameters) == []
    assert (connection.queue.qsize(), connection.writable.is_set()) == (0, True)
    assert connection.config.ws_max_size == 16 << 20
    for name in ("fail", "data_to_send"):
        assert callable(getattr(connection.conn, name))
    assert connection.conn.handshake_exc is None
    assert connection.conn.state is State.CONNECTING


def test_a_cycle_of_uvicorn_has_the_callback_that_a_closed_connection_clears() -> None:
    assert "on_response" in inspect.signature(RequestResponseCycle).parameters
    assert "response_complete" in inspect.getsource(RequestResponseCycle.__init__)


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
