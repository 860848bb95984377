"""The one-time links to the console."""

import pytest

from microexchange.refusals import Code, Refusal
from order_entry_gateway.console_links import MAX_OPEN, VALID_SECONDS, WRONG_CODES_AT_ONCE, ConsoleLinks

HERE = "192.0.2.1"


def refusal_of(links: ConsoleLinks, code: str, now: float = 1.0, address: str = HERE) -> Code:
    with pytest.raises(Refusal) as refused:
        links.use(code, address, now)
    return refused.value.code


def test_a_link_works_once() -> None:
    links = ConsoleLinks()
    code = links.open(0)
    links.use(code, HERE, 1)
    assert refusal_of(links, code) is Code.FORBIDDEN


def test_a_link_expires_after_a_day() -> None:
    links = ConsoleLinks()
    first, second = links.open(0), links.open(0)
    links.use(first, HERE, VALID_SECONDS - 1)
    assert refusal_of(links, second, VALID_SECONDS) is Code.FORBIDDEN


def test_a_code_that_no_link_has_is_refused() -> None:
    links = ConsoleLinks()
    links.open(0)
    assert refusal_of(links, "") is Code.FORBIDDEN
    assert refusal_of(links, "x" * 32) is Code.FORBIDDEN


def test_a_new_link_beyond_the_limit_ends_the_oldest() -> None:
    links = ConsoleLinks()
    codes = [links.open(0) for _ in range(MAX_OPEN + 1)]
    assert refusal_of(links, codes[0]) is Code.FORBIDDEN
    for code in codes[1:]:
        links.use(code, HERE, 1)


def test_an_address_that_guesses_is_refused_and_others_are_not() -> None:
    links = ConsoleLinks()
    code = links.open(0)
    for _ in range(int(WRONG_CODES_AT_ONCE)):
        assert refusal_of(links, "wrong") is Code.FORBIDDEN
    assert refusal_of(links, code) is Code.RATE_LIMITED
    links.use(code, "192.0.2.2", 1)


def test_right_codes_do_not_count_as_guesses() -> None:
    links = ConsoleLinks()
    for _ in range(int(WRONG_CODES_AT_ONCE) + 5):
        links.use(links.open(0), HERE, 1)
