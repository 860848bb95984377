"""Attacks on a running market that it has withstood: other clients' data, keys, paths, bodies and half-open connections."""

import base64
import contextlib
import json
import resource
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest

from tests.integration.running import Running

pytestmark = pytest.mark.slow
HALF_OPEN_SOCKETS = 3_000
ADDRESSES = [f"127.0.0.{number}" for number in range(2, 6)]
METHODS = ("get", "post", "put", "patch", "delete")

VALUES = {
    "{security_id}": "AAPL",
    "{symbol}": "AAPL",
    "{order_id}": "1",
    "{key_id}": "x",
    "{action}": "start",
    "{number}": "1",
    "{tender_id}": "1",
    "{template_id}": "bubble",
}
"""Values of the parameters in paths."""


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """A market with two clients."""
    exchange = Running(None, postgres_url, module_namespace)
    exchange.start("--bots", "0")
    exchange.mallory, exchange.alice = exchange.open_account("mallory"), exchange.open_account("alice")  # type: ignore[attr-defined]
    token = (exchange.data / "secrets" / "admin-token").read_text().strip()
    exchange.admin = {"Authorization": f"Bearer {token}"}  # type: ignore[attr-defined]
    exchange.order(exchange.alice, symbol="AAPL", side="buy", quantity=1, price="1.00", client_order_id="of-alice")  # type: ignore[attr-defined]
    yield exchange
    exchange.until_at_rest()
    assert exchange.audit() == []
    assert exchange.stop() == 0
    exchange.close()


def routes(running: Running, base: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the method, path and description of each route of a service, from its OpenAPI document."""
    paths = running.http.get(f"{base}/openapi.json").json()["paths"]
    return [(method, path, found[method]) for path, found in paths.items() for method in METHODS if method in found]


def filled(path: str, client_id: str) -> str:
    """Return a path with values for its parameters."""
    for name, value in {**VALUES, "{client_id}": client_id}.items():
        path = path.replace(name, value)
    assert "{" not in path, path
    return path


def test_no_route_with_a_client_in_its_path_serves_another_client(running: Running) -> None:
    checked = 0
    for base in (running.gateway, running.feed):
        for method, path, _ in routes(running, base):
            if "{client" in path:
                url = f"{base}{filled(path, 'alice')}"
                answer = running.http.request(method, url, headers=running.mallory, json={} if method != "get" else None)  # type: ignore[attr-defined]
                assert answer.status_code in (403, 404), (method, path, answer.text)
                assert "of-alice" not in answer.text
                checked += 1
    assert checked >= 12


def test_no_export_has_orders_of_another_client(running: Running) -> None:
    for name in ("csv", "parquet"):
        answer = running.http.get(f"{running.feed}/export/orders.{name}", headers=running.mallory)  # type: ignore[attr-defined]
        assert answer.status_code == 200
        assert b"of-alice" not in answer.content


def forged_keys() -> list[str]:
    """Return keys of `alice` that the exchange has not issued."""
    claims = {"sub": "alice", "iat": 1, "jti": "0123456789abcdef"}
    header, body = ({"alg": "none", "typ": "JWT"}, claims)
    unsigned = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, body))
    return [
        f"{unsigned}.",
        jwt.encode(claims, "x" * 32, algorithm="HS256"),
        jwt.encode(claims, "x" * 64, algorithm="HS512"),
        "x",
        "a.b.c",
    ]


@pytest.mark.parametrize("number", range(len(forged_keys())))
def test_no_route_that_needs_a_key_takes_a_forged_one(running: Running, number: int) -> None:
    headers, checked = {"Authorization": f"Bearer {forged_keys()[number]}"}, 0
    for base in (running.gateway, running.feed):
        for method, path, description in routes(running, base):
            # Everybody may open an account here. No other route is open.
            if description.get("security") and path != "/clients":
                url = f"{base}{filled(path, 'alice')}?symbol=AAPL"
                answer = running.http.request(method, url, headers=headers, json={} if method != "get" else None)
                assert answer.status_code == 401, (method, path, answer.text)
                checked += 1
    assert checked >= 30


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/../../../../etc/passwd",
        "/dashboard/%2e%2e/%2e%2e/service.py",
        "/dashboard/..%2f..%2fservice.py",
        "/dashboard/js/%2e%2e/%2e%2e/service.py",
        "/dashboard//etc/passwd",
        "/market-data/dashboard/..%2fservice.py",
    ],
)
def test_no_path_leads_to_a_file_outside_of_the_dashboard(running: Running, path: str) -> None:
    for base in (running.gateway, running.feed):
        place = urlsplit(base)
        with socket.create_connection((place.hostname, place.port), 10) as raw:  # a client library would shorten the path
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: raw.recv(65536), b""))
        assert answer.split(b" ", 2)[1] in (b"404", b"400"), answer[:200]
        assert b"root:" not in answer
        assert b"import " not in answer


def test_a_deep_or_large_body_is_refused_on_every_route_that_reads_one(running: Running) -> None:
    deep, large = b"[" * 100_000, b'{"a":"' + b"x" * (2 << 20) + b'"}'
    checked = 0
    for method, path, description in routes(running, running.gateway):
        if "requestBody" in description:
            key = running.admin if path.startswith("/admin") else running.alice  # type: ignore[attr-defined]
            headers = {**key, "Content-Type": "application/json"}
            for body in (deep, large):
                url = f"{running.gateway}{filled(path, 'alice')}"
                answer = running.http.request(method, url, headers=headers, content=body)
                assert answer.status_code in (400, 413), (method, path, answer.text)
            checked += 1
    assert checked >= 8
    assert running.order(running.alice, symbol="AAPL", side="buy", quantity=1, price="1.00").status_code == 201  # type: ignore[attr-defined]


def test_three_thousand_half_open_connections_stop_nobody(running: Running) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = HALF_OPEN_SOCKETS + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"a process can open {hard} files here, and this test needs {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    place = urlsplit(running.gateway)
    try:
        with contextlib.ExitStack() as stack:
            for number in range(HALF_OPEN_SOCKETS):
                half_open = stack.enter_context(socket.socket())
                half_open.bind((ADDRESSES[number % len(ADDRESSES)], 0))
                half_open.connect((place.hostname, place.port))
                half_open.sendall(b"POST /orders HTTP/1.1\r\nHost: x\r\n")
            answer = running.order(running.alice, symbol="AAPL", side="buy", quantity=1, price="1.00")  # type: ignore[attr-defined]
            assert answer.status_code == 201
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
