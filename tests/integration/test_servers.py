"""The outcome of tests that need a broker, on a machine without one."""

from collections.abc import Iterator

import pytest
from _pytest.outcomes import Failed, Skipped

from tests import conftest, servers
from tests.integration.running import free_ports


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without a Docker engine and without RabbitMQ."""
    (port,) = free_ports(1)
    monkeypatch.delenv("MX_TEST_AMQP_URL", raising=False)
    monkeypatch.setattr(servers, "LOCAL_RABBITMQ", f"amqp://guest:guest@127.0.0.1:{port}/%2f")
    monkeypatch.setattr(servers, "has_image", lambda name: False)
    monkeypatch.setattr(servers.shutil, "which", lambda name: None)
    return


def test_without_a_broker_the_tests_that_need_one_are_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "IN_CI", False)
    with pytest.raises(Skipped, match=r"no RabbitMQ at 127.+ install rabbitmq-server"), conftest.broker():
        pass


def test_without_a_broker_the_tests_that_need_one_fail_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "IN_CI", True)
    with pytest.raises(Failed, match=r"no RabbitMQ at 127.+ install rabbitmq-server"), conftest.broker():
        pass


def test_a_named_broker_that_does_not_answer_fails_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "IN_CI", False)
    monkeypatch.setenv("MX_TEST_AMQP_URL", servers.LOCAL_RABBITMQ)
    with pytest.raises(Failed, match="from MX_TEST_AMQP_URL"), conftest.broker():
        pass
