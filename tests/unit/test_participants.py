"""Nicknames, client ids and seats of a classroom, without I/O."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from microexchange.access import checked_client_id
from microexchange.enums import Seat
from microexchange.participants import Participants, clean_name, client_id_of
from microexchange.refusals import Code, Refusal
from microexchange.reports import ParticipantChanged
from order_entry_gateway.participant_routes import read_roster


def participant(client_id: str, nickname: str, seat: Seat = Seat.JOINED) -> ParticipantChanged:
    return ParticipantChanged(client_id, 1, nickname, "", seat)


@pytest.mark.parametrize(
    ("text", "name"),
    [("  Ada  Lovelace ", "Ada Lovelace"), ("Zoë", "Zoë"), ("张伟", "张伟"), ("ＡＤＡ", "ADA"), ("a\tb", "a b")],
)
def test_a_nickname_has_single_spaces_and_the_normal_form_of_unicode(text: str, name: str) -> None:
    assert clean_name(text, "nickname") == name


@pytest.mark.parametrize("text", ["", "   ", "...", "x" * 25, "a\x1b[31m", "a\u202eb", "a\u200bb", "\ud800a"])
def test_a_nickname_that_is_empty_long_or_invisible_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        clean_name(text, "nickname")
    assert (refused.value.code, refused.value.field) == (Code.INVALID_FIELD, "nickname")


@pytest.mark.parametrize(("one", "other"), [("Ada", "ADA"), ("Zoë", "zoe"), ("Ada L.", "ada  l"), ("Straße", "strasse")])
def test_nicknames_that_look_alike_have_one_client_id(one: str, other: str) -> None:
    assert client_id_of(clean_name(one, "nickname")) == client_id_of(clean_name(other, "nickname"))


@pytest.mark.parametrize(
    ("one", "other"),
    [("张伟", "王芳"), ("김민수", "김민지"), ("Александр П.", "Александр К."), ("Иван 1", "Пётр 1"), ("张伟 A", "李娜 A")],
)
def test_different_nicknames_in_other_scripts_have_different_client_ids(one: str, other: str) -> None:
    assert client_id_of(one) != client_id_of(other)


@pytest.mark.parametrize("name", ["Admin", "GUEST"])
def test_no_participant_has_a_reserved_client_id(name: str) -> None:
    assert client_id_of(name) not in ("admin", "guest")


def test_a_rename_to_a_nickname_that_somebody_took_leaves_it_to_the_last_one() -> None:
    participants = Participants()
    for client_id, nickname in (("ada", "Ada"), ("bob", "Bob"), ("bob", "Ada"), ("ada", "Eve")):
        participants.apply(participant(client_id, nickname))
    assert participants.client_id("Ada") == "bob"


@given(st.text(max_size=30))
@example("ß" * 24)
def test_the_client_id_of_every_nickname_is_valid(text: str) -> None:
    try:
        name = clean_name(text, "nickname")
    except Refusal:
        return
    assert checked_client_id(client_id_of(name)) == client_id_of(name)


@pytest.mark.parametrize("seat", list(Seat))
def test_a_participant_needs_its_key_whatever_its_seat(seat: Seat) -> None:
    participants = Participants()
    assert not participants.needs_key("ada")
    participants.apply(participant("ada", "Ada", seat))
    assert participants.needs_key("ada")


def test_a_nickname_belongs_to_the_participant_that_has_it_now() -> None:
    participants = Participants()
    participants.apply(participant("ada", "Ada"))
    participants.apply(participant("ada", "Countess"))
    assert participants.client_id("COUNTESS") == "ada"
    assert participants.client_id("Ada") is None


def test_a_roster_has_nicknames_and_teams() -> None:
    assert read_roster("\ufeffnickname,team\nAda,Red\nBob,\n") == [("Ada", "Red"), ("Bob", "")]
    assert read_roster("nickname\nAda\n") == [("Ada", "")]


@pytest.mark.parametrize(
    "text", ["", "name\nAda\n", "nickname,team\nAda,Red,x\n", 'nickname\n"Ada\n', "nickname,pin\nAda,1\n"]
)
def test_a_roster_that_is_wrong_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_roster(text)
    assert (refused.value.code, refused.value.field) == (Code.INVALID_FIELD, "csv")


def test_a_roster_with_a_wrong_nickname_is_refused_with_its_line() -> None:
    with pytest.raises(Refusal, match="line 3 of the roster: nickname must have 1 to 24 characters"):
        read_roster("nickname,team\nAda,Red\n...,Red\n")
