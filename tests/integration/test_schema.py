"""Schemathesis over the OpenAPI pages: every request gets an answer that the page describes, and none causes a fault."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.running import Running

pytestmark = pytest.mark.slow
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
PROFILE = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module", params=["market", "classroom"])
def running(postgres_url: str, module_namespace: str, request: pytest.FixtureRequest) -> Iterator[Running]:
    """An exchange, as a market and as a classroom."""
    exchange = Running(None, postgres_url, f"{module_namespace}_{request.param}")
    exchange.start("--bots", "0", *(["--classroom"] if request.param == "classroom" else []))
    yield exchange
    for base in (exchange.gateway, exchange.feed, exchange.engine, exchange.clearing):
        assert exchange.http.get(f"{base}/health/ready").status_code == 200
    assert exchange.stop() == 0
    for log in (exchange.data / "logs").glob("*.log"):
        assert "fault in a request" not in log.read_text(), log.read_text()[-3000:]
    exchange.close()


@pytest.fixture(scope="module")
def headers(running: Running) -> dict[str, str]:
    found = running.open_account("schema")
    running.order(found, symbol="AAPL", side="buy", quantity=1, price="1.00")
    return found


def faults(base: str, headers: dict[str, str]) -> list[str]:
    """Try every operation of the OpenAPI page of a service. Return a text for each operation that failed."""
    found = []
    page = schemathesis.openapi.from_url(f"{base}/openapi.json")
    operations = [result.ok() for result in page.get_all_operations()]
    assert len(operations) > 10
    for operation in operations:

        @PROFILE
        @given(case=operation.as_strategy())
        def try_it(case: Any) -> None:
            case.call_and_validate(headers=headers, checks=CHECKS)

        try:
            try_it()
        except (Exception, BaseExceptionGroup) as error:
            found.append(f"{operation.label}: {error}")
    return found


def test_the_gateway_answers_any_request_as_its_openapi_page_describes(running: Running, headers: dict[str, str]) -> None:
    found = faults(running.gateway, headers)
    assert not found, "\n\n".join(found)


def test_the_feed_answers_any_request_as_its_openapi_page_describes(running: Running, headers: dict[str, str]) -> None:
    found = faults(running.feed, headers)
    assert not found, "\n\n".join(found)
