"""Seats of a classroom when a step of a join fails."""

import asyncio
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from microexchange.commands import OpenAccount
from microexchange.enums import Seat
from microexchange.participants import Participants
from microexchange.refusals import Code, Refusal
from microexchange.reports import AccountOpened, CommandRejected, ParticipantChanged
from order_entry_gateway.requests import Endowment
from order_entry_gateway.seats import WRONG_PINS_AT_ONCE, Seats


class Service:
    """An order service that opens accounts, unless `fails` is set. It then opens one all the same, without an answer."""

    def __init__(self) -> None:
        self.participants = Participants()
        self.state = SimpleNamespace(clients=set(), suspended=set(), securities={})
        self.endowment = Endowment.of(Decimal(10_000), {})
        self.keys = SimpleNamespace(publish=self._publish, valid_ids=self._valid_ids, revoke=self._revoke)
        self.revoked: list[str] = []
        self.fails = False

    async def _publish(self, report: object) -> None:
        await asyncio.sleep(0)

    async def _valid_ids(self, client_id: str) -> list[str]:
        return [f"old key of {client_id}"]

    async def _revoke(self, client_id: str, key_id: str) -> None:
        self.revoked.append(key_id)

    def apply_participant(self, report: ParticipantChanged) -> None:
        self.participants.apply(report)

    def next_command(self) -> tuple[int, int]:
        return 1, 1

    async def request(self, command: OpenAccount) -> list[AccountOpened | CommandRejected]:
        await asyncio.sleep(0)
        if command.client_id in self.state.clients:
            return [CommandRejected(1, 1, command.client_id, Code.CLIENT_EXISTS, "exists")]
        self.state.clients.add(command.client_id)
        if self.fails:
            raise Refusal(Code.OUTCOME_UNKNOWN, "the engine has not answered")
        return [AccountOpened(1, 1, command.client_id, 0, {})]


def seats_of(service: Service) -> Seats:
    async def issue_key(client_id: str) -> str:
        return f"key of {client_id}"

    return Seats(cast(Any, service), "123456", issue_key)


async def test_a_person_joins_again_after_a_join_that_opened_the_account_and_failed() -> None:
    service = Service()
    seats = seats_of(service)
    service.fails = True
    with pytest.raises(Refusal) as refused:
        await seats.join("123456", "Ada")
    assert refused.value.code is Code.OUTCOME_UNKNOWN
    service.fails = False
    joined, key = await seats.join("123456", "Ada")
    assert (joined.client_id, joined.seat, key) == ("ada", Seat.JOINED, "key of ada")


async def test_the_name_of_a_program_that_has_an_account_cannot_be_joined() -> None:
    service = Service()
    service.state.clients.add("ada")
    with pytest.raises(Refusal) as refused:
        await seats_of(service).join("123456", "Ada")
    assert refused.value.code is Code.CLIENT_EXISTS
    assert not service.participants


async def test_one_of_two_persons_that_join_at_once_under_a_nickname_gets_the_seat() -> None:
    seats = seats_of(Service())
    results = await asyncio.gather(*(seats.join("123456", name) for name in ("Ada", "ADA")), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Refusal", "tuple"]


async def test_a_join_ends_the_keys_that_somebody_made_for_the_name_before() -> None:
    service = Service()
    await seats_of(service).join("123456", "Ada")
    assert service.revoked == ["old key of ada"]


async def test_an_address_that_guesses_is_refused_also_with_the_right_pin_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 1.0)
    seats, codes = seats_of(Service()), []
    for number in range(int(WRONG_PINS_AT_ONCE) + 1):
        with pytest.raises(Refusal) as refused:
            await seats.join(f"wrong {number}", "Eve", address="192.0.2.1")
        codes.append(refused.value.code)
    assert codes == [Code.FORBIDDEN] * int(WRONG_PINS_AT_ONCE) + [Code.RATE_LIMITED]
    with pytest.raises(Refusal, match="too many wrong PINs"):
        await seats.join("123456", "Eve", address="192.0.2.1")
    for number in range(2 * int(WRONG_PINS_AT_ONCE)):
        await seats.join("123456", f"Person {number}", address="192.0.2.2")


async def test_a_seat_that_was_renamed_is_not_given_to_a_person_with_the_old_nickname() -> None:
    seats = seats_of(Service())
    await seats.invite("Ada", "")
    await seats.rename("ada", "Zoe", "")
    with pytest.raises(Refusal) as refused:
        await seats.join("123456", "Ada")
    assert refused.value.code is Code.CLIENT_EXISTS
    assert (await seats.join("123456", "Zoe"))[0].client_id == "ada"


async def test_of_two_renames_to_one_nickname_at_once_one_is_refused() -> None:
    seats = seats_of(Service())
    for name in ("Ada", "Bob"):
        await seats.join("123456", name)
    results = await asyncio.gather(*(seats.rename(name, "Eve", "") for name in ("ada", "bob")), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["ParticipantChanged", "Refusal"]


async def test_a_roster_that_is_loaded_again_leaves_the_participants_that_have_joined() -> None:
    seats = seats_of(Service())
    joined, _ = await seats.join("123456", "Ada", "Red")
    assert await seats.invite("ada", "Blue") == joined
    assert (await seats.invite("Bob", "Blue")).seat is Seat.INVITED
