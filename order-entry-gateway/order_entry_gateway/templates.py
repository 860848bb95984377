"""The templates of sessions that the console offers: one TOML file each, in the folder `session_templates`."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Annotated

import msgspec

from microexchange.number_fields import json_decoder
from order_entry_gateway.requests import ListingRequest
from order_entry_gateway.session_requests import Hand, SessionRequest

ORDER = (
    "first-market",
    "order-book-tour",
    "market-making",
    "news-trading",
    "bots-against-humans",
    "bubble",
    "insider",
    "tender-day",
    "flash-crash",
)
"""The ids of the templates, the easiest lessons first. Each has the page `docs/lessons/<id>.md`."""


class SessionTemplate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A session for a lesson, with the securities and the roles that it needs."""

    name: str
    summary: str
    minutes: Annotated[int, msgspec.Meta(ge=1)]
    """The length of the lesson, with the talk before and after the rounds."""
    session: SessionRequest
    securities: list[ListingRequest] = []
    """Securities that are listed when the template is used, unless they are listed already."""
    hands: list[Hand] = []
    """Roles and private values, which are dealt to the participants in turn."""


@cache
def session_templates() -> dict[str, SessionTemplate]:
    """Return the templates by id, the easiest lessons first."""
    decoder, folder = json_decoder(SessionTemplate), files("order_entry_gateway").joinpath("session_templates")
    texts = {name: folder.joinpath(f"{name}.toml").read_text() for name in ORDER}
    return {name: decoder.decode(msgspec.json.encode(tomllib.loads(text))) for name, text in texts.items()}
