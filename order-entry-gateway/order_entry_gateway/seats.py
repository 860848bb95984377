"""The seats of a classroom: people join with the PIN, and the teacher invites, renames, frees and removes."""

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from hmac import compare_digest
from pathlib import Path

from microexchange.auth import write_private
from microexchange.commands import ResumeClient, SuspendClient
from microexchange.enums import Seat
from microexchange.limits import RateLimiter
from microexchange.participants import Participants, clean_name, clean_team, client_id_of
from microexchange.refusals import Code, Refusal
from microexchange.reports import ParticipantChanged
from order_entry_gateway.administration import Administration
from order_entry_gateway.order_service import OrderService
from order_entry_gateway.requests import ClientRequest

PIN_DIGITS = 6
WRONG_PINS_PER_SECOND = 2.0
"""Wrong PINs of one address that are checked, a second. Beyond them, its right PINs are refused too. At this rate, guessing
takes days."""
WRONG_PINS_AT_ONCE = 60.0
MAX_PARTICIPANTS = 2_000

IssueKey = Callable[[str], Awaitable[str]]
"""Issues an API key to a client, and returns it."""


def read_or_make_pin(data_dir: Path) -> str:
    """Return the PIN of the classroom. The first call makes it."""
    path = data_dir / "secrets" / "pin"
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, f"{secrets.randbelow(10**PIN_DIGITS):0{PIN_DIGITS}}\n")
    return path.read_text().strip()


class Seats:
    """The changes of participants. Each is a report on `data_feed`, and has no effect before it is durable."""

    def __init__(self, order_service: OrderService, pin: str, issue_key: IssueKey) -> None:
        self.pin = pin
        self._order_service = order_service
        self._administration = Administration(order_service)
        self._issue_key = issue_key
        self._wrong_pins = RateLimiter(WRONG_PINS_PER_SECOND, WRONG_PINS_AT_ONCE)
        self._being_changed: set[tuple[str, str]] = set()
        """Clients and nicknames with a change that is not durable yet."""

    @property
    def participants(self) -> Participants:
        """The participants, as read from `data_feed`."""
        return self._order_service.participants

    async def join(self, pin: str, nickname: str, team: str = "", address: str = "") -> tuple[ParticipantChanged, str]:
        """Give a person a seat. Return the participant and its API key.

        Raises:
            Refusal: `FORBIDDEN`: the PIN is wrong. `RATE_LIMITED`: too many PINs were wrong. `CLIENT_EXISTS`: somebody has
                the nickname. `INVALID_FIELD`: it cannot be a nickname. Otherwise as `Administration.open_account` raises it.
        """
        self._check_pin(pin, address)
        async with self._reserved(nickname, team) as (invited, team):
            client_id = invited.client_id
            await self._revoke_keys(client_id)  # somebody may have made one before the name was a participant's
            key = await self._issue_key(client_id)
            return await self._change(client_id, invited.nickname, invited.team or team, Seat.JOINED), key

    async def invite(self, nickname: str, team: str) -> ParticipantChanged:
        """Keep a seat for a person of the roster. The person joins with the PIN and this nickname.

        A participant that is invited already changes its team. One that has joined, or was removed, stays as it is.

        Raises:
            Refusal: As `join` does, without the PIN.
        """
        present = self.participants.get(self.participants.client_id(clean_name(nickname, "nickname")) or "")
        if present is not None and present.seat is not Seat.INVITED:
            return present
        async with self._reserved(nickname, team) as (invited, team):
            return await self._change(invited.client_id, clean_name(nickname, "nickname"), team, Seat.INVITED)

    async def rename(self, client_id: str, nickname: str, team: str) -> ParticipantChanged:
        """Change what the pages show of a participant. Its client id stays.

        Raises:
            Refusal: `UNKNOWN_CLIENT`: there is no such participant. `CLIENT_EXISTS`: another one has the nickname.
        """
        participant = self._find(client_id)
        name, team = clean_name(nickname, "nickname"), clean_team(team)
        async with self._alone(client_id, name.casefold()):
            if self.participants.client_id(name) not in (None, client_id):
                raise _taken()
            return await self._change(client_id, name, team, participant.seat)

    async def free(self, client_id: str) -> ParticipantChanged:
        """End the keys of a participant, so that the person can join again under the same nickname and keep the account.

        Raises:
            Refusal: `UNKNOWN_CLIENT`. Otherwise as `KeyRegistry.revoke` raises it.
        """
        participant = self._find(client_id)
        async with self._alone(client_id):
            await self._revoke_keys(client_id)
            if participant.seat is Seat.REMOVED and client_id in self._order_service.state.suspended:
                ids = self._order_service.next_command(even_if_full=True)
                await self._administration.request(ResumeClient(*ids, client_id))
            return await self._change(client_id, participant.nickname, participant.team, Seat.INVITED)

    async def remove(self, client_id: str) -> ParticipantChanged:
        """End the keys of a participant, cancel its orders, and refuse new ones.

        Raises:
            Refusal: As `free` does.
        """
        participant = self._find(client_id)
        async with self._alone(client_id):
            ids = self._order_service.next_command(even_if_full=True)
            await self._administration.request(SuspendClient(*ids, client_id, "removed by the teacher"))
            await self._revoke_keys(client_id)
            return await self._change(client_id, participant.nickname, participant.team, Seat.REMOVED)

    def _check_pin(self, pin: str, address: str) -> None:
        wait = self._wrong_pins.take(address, time.monotonic())
        if not wait and compare_digest(pin.strip().encode(), self.pin.encode()):
            self._wrong_pins.give_back(address)
            return
        if wait:
            raise Refusal(
                Code.RATE_LIMITED,
                "too many wrong PINs: wait, then read the PIN on the wall",
                "pin",
                wait,
                WRONG_PINS_PER_SECOND,
            )
        raise Refusal(Code.FORBIDDEN, f"the PIN is wrong: type the {PIN_DIGITS} digits that the teacher shows", "pin")

    def _find(self, client_id: str) -> ParticipantChanged:
        participant = self.participants.get(client_id)
        if participant is None:
            raise Refusal(Code.UNKNOWN_CLIENT, f"{client_id[:32]!r} is no participant", "client_id")
        return participant

    @contextlib.asynccontextmanager
    async def _reserved(self, nickname: str, team: str) -> AsyncIterator[tuple[ParticipantChanged, str]]:
        """Reserve the seat of a nickname, with its account. Return the invited participant, and the team in its normal form.

        The invitation is durable before the account is opened. So a person can join again after a crash between the two.
        """
        name, team = clean_name(nickname, "nickname"), clean_team(team)
        client_id = self.participants.client_id(name) or client_id_of(name)
        has_account = client_id in self._order_service.state.clients
        async with self._alone(client_id, name.casefold()):
            participant = self.participants.get(client_id)
            if participant is None:
                if has_account:
                    raise _taken()
                if len(self.participants) >= MAX_PARTICIPANTS:
                    text = f"a classroom has at most {MAX_PARTICIPANTS} participants"
                    raise Refusal(Code.LIMIT_EXCEEDED, text, "nickname")
                participant = await self._change(client_id, name, team, Seat.INVITED)
            elif participant.seat is not Seat.INVITED or client_id_of(participant.nickname) != client_id_of(name):
                raise _taken()  # it has joined, or was renamed since
            if not has_account:
                await self._open_account(client_id)
            yield participant, team

    @contextlib.asynccontextmanager
    async def _alone(self, client_id: str, nickname: str = "") -> AsyncIterator[None]:
        """Refuse other changes of a participant and of a nickname in the meantime."""
        places = {("client", client_id), ("nickname", nickname)} if nickname else {("client", client_id)}
        if places & self._being_changed:
            raise _taken()
        self._being_changed |= places
        try:
            yield
        finally:
            self._being_changed -= places

    async def _open_account(self, client_id: str) -> None:
        try:
            await self._administration.open_account(ClientRequest(client_id=client_id))
        except Refusal as refusal:
            raise _taken() if refusal.code is Code.CLIENT_EXISTS else refusal from refusal

    async def _change(self, client_id: str, nickname: str, team: str, seat: Seat) -> ParticipantChanged:
        changed = ParticipantChanged(client_id, time.time_ns(), nickname, team, seat)
        await self._order_service.keys.publish(changed)
        self._order_service.apply_participant(changed)
        return changed

    async def _revoke_keys(self, client_id: str) -> None:
        for key_id in await self._order_service.keys.valid_ids(client_id):
            await self._order_service.keys.revoke(client_id, key_id)


def _taken() -> Refusal:
    text = "somebody has this nickname: choose another one. If it is yours, ask the teacher to free your seat"
    return Refusal(Code.CLIENT_EXISTS, text, "nickname")
