"""The participants of a classroom, with their seats, nicknames and teams. A fold without I/O.

A person joins with the PIN and a nickname, and gets an API key. The name of a participant is used with its key only. The
teacher can invite names in advance, free the seat of a person that lost its key, and remove a person.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from hashlib import blake2b

from microexchange.auth import ADMIN
from microexchange.records import Record
from microexchange.refusals import Code, Refusal
from microexchange.reports import ParticipantChanged

MAX_NICKNAME = 24
"""The greatest number of characters of a nickname or a team."""
GUEST = "guest"
"""The client of a request that names none, in classroom mode."""
RESERVED = (ADMIN, GUEST)
"""Client ids that no participant can have."""
MAX_CLIENT_ID = 32
DIGEST_BYTES = 8
MAX_READABLE = 15
"""The characters of a nickname in its client id, if a digest follows."""
_SEPARATORS = re.compile(r"[^a-z0-9]+")


def clean_name(text: str, field: str) -> str:
    """Return a nickname or a team in its normal form (Unicode NFKC), with single spaces.

    Raises:
        Refusal: `INVALID_FIELD`: it has no letter or digit, is too long, or has characters that cannot be seen.
    """
    name = " ".join(unicodedata.normalize("NFKC", text).split())
    if any(unicodedata.category(character)[0] == "C" for character in name):
        raise Refusal(Code.INVALID_FIELD, f"{field} has characters that cannot be seen: write letters and digits", field)
    if len(name) > MAX_NICKNAME or not any(character.isalnum() for character in name):
        raise Refusal(Code.INVALID_FIELD, f"{field} must have 1 to {MAX_NICKNAME} characters, such as Ada or Team 3", field)
    return name


def clean_team(text: str) -> str:
    """Return a team as `clean_name` does; empty for none.

    Raises:
        Refusal: As `clean_name` does.
    """
    return clean_name(text, "team") if text.strip() else ""


def client_id_of(nickname: str) -> str:
    """Return the client id of a nickname: its letters and digits in ASCII.

    Nicknames that differ only in case, accents or spaces have the same client id, so that the engine accepts one of them.
    If letters or digits of other scripts are left out, or the rest is too long, a digest of the nickname follows.
    """
    plain = unicodedata.normalize("NFKD", nickname.casefold())
    name = _SEPARATORS.sub("-", plain.encode("ascii", "ignore").decode()).strip("-")
    is_part = any(character.isalnum() and not character.isascii() for character in plain)
    if is_part or not name or name in RESERVED or len(name) > MAX_CLIENT_ID:
        digest = blake2b(plain.encode(), digest_size=DIGEST_BYTES).hexdigest()
        name = f"{name[:MAX_READABLE]}-{digest}".strip("-")
    return name


def name_key(client_id: str) -> str:
    """Return the text that stands for the key of a connection whose client has only given its name."""
    return f"name:{client_id}"


class Participants(Mapping[str, ParticipantChanged]):
    """The newest report of each participant, by client id."""

    def __init__(self) -> None:
        self._newest: dict[str, ParticipantChanged] = {}
        self._client_ids: dict[str, str] = {}
        """By nickname without case."""

    def __getitem__(self, client_id: str) -> ParticipantChanged:
        return self._newest[client_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._newest)

    def __len__(self) -> int:
        return len(self._newest)

    def apply(self, report: Record) -> None:
        """Apply a report of a gateway."""
        if isinstance(report, ParticipantChanged):
            before = self._newest.get(report.client_id)
            if before is not None and self._client_ids.get(before.nickname.casefold()) == report.client_id:
                del self._client_ids[before.nickname.casefold()]
            self._newest[report.client_id] = report
            self._client_ids[report.nickname.casefold()] = report.client_id

    def client_id(self, nickname: str) -> str | None:
        """Return the client id of the participant with that nickname, or None."""
        return self._client_ids.get(nickname.casefold())

    def needs_key(self, client_id: str) -> bool:
        """Return whether only an API key identifies this client, since it is a participant."""
        return client_id in self._newest
