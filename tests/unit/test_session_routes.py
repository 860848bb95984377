"""The actions of a session while a disk of the exchange is nearly full."""

import msgspec
import pytest

from microexchange.refusals import Code, Refusal
from microexchange.session_commands import SessionAction, SessionState
from tests.fuzz.venue import ADMIN_TOKEN, Venue, gateway_app, status_of

STOPPING = (SessionAction.PAUSE, SessionAction.END, SessionAction.CLOSE)
"""Actions that stop trading."""


class FullVenue(Venue):
    """A venue with a running round, whose disk is then nearly full."""

    is_full = False

    def next_command(self, even_if_full: bool = False) -> tuple[int, int]:
        if self.is_full and not even_if_full:
            raise Refusal(Code.DISK_FULL, "a disk is nearly full")
        return super().next_command(even_if_full)


class Admin:
    """The admin of a venue."""

    def __init__(self) -> None:
        self.venue = FullVenue()
        self._app = gateway_app(self.venue, classroom=False)

    async def post(self, path: str, body: bytes = b"") -> tuple[int, str]:
        """Return the status and the code of the answer to a request."""
        headers = {b"authorization": b"Bearer " + ADMIN_TOKEN.encode()}
        status, content = await status_of(self._app, "POST", b"/admin/session" + path.encode(), b"", body, headers)
        return status, msgspec.json.decode(content).get("error", {}).get("code", "")

    @property
    def state(self) -> SessionState:
        session = self.venue.engine.session
        assert session is not None
        return session.state


async def test_the_admin_can_pause_end_and_close_a_session_while_a_disk_is_nearly_full() -> None:
    admin = Admin()
    await admin.post("", b'{"rounds": [{"seconds": 60}]}')
    await admin.post("/start")
    admin.venue.is_full = True
    states = []
    for action in STOPPING:
        assert await admin.post(f"/{action}") == (200, "")
        states.append(admin.state)
    assert states == [SessionState.PAUSED, SessionState.ENDED, SessionState.CLOSED]


@pytest.mark.parametrize("action", [action for action in SessionAction if action not in STOPPING])
async def test_no_trading_begins_while_a_disk_is_nearly_full(action: SessionAction) -> None:
    admin = Admin()
    await admin.post("", b'{"rounds": [{"seconds": 60}]}')
    admin.venue.is_full = True
    assert await admin.post(f"/{action}") == (503, Code.DISK_FULL)
    assert admin.state is SessionState.LOBBY
