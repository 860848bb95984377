"""The one-time links that open the console. Without I/O."""

import secrets
from collections import OrderedDict
from hashlib import sha256

from microexchange.limits import RateLimiter
from microexchange.refusals import Code, Refusal

MAX_OPEN = 20
"""The links that are open at once. A new one beyond them ends the oldest."""
VALID_SECONDS = 24 * 3600.0
WRONG_CODES_PER_SECOND = 1.0
"""Wrong codes of one address that are checked, a second."""
WRONG_CODES_AT_ONCE = 20.0


class ConsoleLinks:
    """The codes of the open links. Only their digests are kept, so memory does not have a code that still works."""

    def __init__(self) -> None:
        self._expiries: OrderedDict[bytes, float] = OrderedDict()
        """The time in seconds at which each code expires, by digest, the oldest code first."""
        self._wrong = RateLimiter(WRONG_CODES_PER_SECOND, WRONG_CODES_AT_ONCE)

    def open(self, now: float) -> str:
        """Return the code of a new link. `now` is in seconds of a steady clock."""
        code = secrets.token_urlsafe(24)
        self._expiries[_digest(code)] = now + VALID_SECONDS
        while len(self._expiries) > MAX_OPEN:
            self._expiries.popitem(last=False)
        return code

    def use(self, code: str, address: str, now: float) -> None:
        """Use a code, which ends it. `address` is that of the sender.

        Raises:
            Refusal: `RATE_LIMITED`: the address has sent too many wrong codes. `FORBIDDEN`: no open link has the code.
        """
        wait = self._wrong.take(address, now)
        if wait:
            text = "too many wrong codes: wait, then open a new link"
            raise Refusal(Code.RATE_LIMITED, text, "code", wait, WRONG_CODES_PER_SECOND)
        if self._expiries.pop(_digest(code), 0.0) <= now:
            text = "this link was used already, or is more than a day old: './mx console' prints a new one"
            raise Refusal(Code.FORBIDDEN, text, "code")
        self._wrong.give_back(address)


def _digest(code: str) -> bytes:
    return sha256(code.encode()).digest()
