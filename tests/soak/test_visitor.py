"""The errors that a visitor counts as a broken connection, and those that are faults."""

from typing import NoReturn
from unittest.mock import Mock

import pytest

from tests.soak.visitor import Visitor


def test_a_refused_account_is_a_broken_connection() -> None:
    running = Mock()
    visitor = Visitor(running, "visitor")

    def refuse(_: str) -> NoReturn:
        visitor._stop.set()
        raise AssertionError("503")

    running.open_account.side_effect = refuse
    visitor._run()
    assert (dict(visitor.counts), visitor.fault) == ({"ended by ConnectionError": 1}, "")


def test_a_false_assertion_in_a_visit_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = Visitor(Mock(), "visitor")
    monkeypatch.setattr(visitor, "_visit", Mock(side_effect=AssertionError("a message has no answer")))
    monkeypatch.setattr(visitor._stop, "wait", lambda _: visitor._stop.set())
    with pytest.raises(AssertionError, match="no answer"):
        visitor._run()
    assert "a message has no answer" in visitor.fault
