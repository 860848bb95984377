"""Three gateways on one log: ids are unique, each gateway answers its own clients, and all have the same market."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.integration.running import Running, environment, eventually, free_ports

pytestmark = pytest.mark.slow
ORDERS = 150


@pytest.fixture(params=["postgres", "rabbitmq"])
def running(request: pytest.FixtureRequest, postgres_url: str, postgres_namespace: str) -> Iterator[Running]:
    """An exchange over each log."""
    amqp = None
    if request.param == "rabbitmq":
        amqp = request.getfixturevalue("amqp_url")
    exchange = Running(amqp, postgres_url, postgres_namespace)
    exchange.start("--bots", "3")
    yield exchange
    exchange.stop()
    exchange.close()
    if amqp is not None:
        from tests.conftest import delete_streams

        delete_streams(amqp, postgres_namespace)


def test_three_gateways_serve_one_market(running: Running, postgres_url: str, postgres_namespace: str) -> None:
    gateways = [running.gateway]
    processes = []
    for number, port in enumerate(free_ports(2), 1):
        with environment(
            MX_LOG_URL=running.log or postgres_url,
            MX_DATABASE_URL=postgres_url,
            MX_NAMESPACE=postgres_namespace,
            MX_DATA_DIR=str(running.data),
            MX_GATEWAY_NUMBER=str(number),
            MX_PORT=str(port),
        ):
            processes.append(subprocess.Popen([sys.executable, "-m", "order_entry_gateway"], stderr=subprocess.DEVNULL))
        gateways.append(f"http://127.0.0.1:{port}")
    try:
        for gateway in gateways:
            eventually(lambda gateway=gateway: running.http.get(f"{gateway}/health/ready").status_code == 200, 60, gateway)
        # The cash and the shares are enough for all orders at their limits, also where the house quotes one side.
        start = {"cash": "1000000.00", "shares": {"AAPL": "1000"}}
        token = (running.data / "secrets" / "admin-token").read_text().strip()
        admin = {"Authorization": f"Bearer {token}"}
        account = (
            running.http.put(f"{gateways[0]}/admin/clients/everywhere", json=start, headers=admin).raise_for_status().json()
        )
        headers = {"Authorization": f"Bearer {account['api_key']}"}

        def trade(gateway: str) -> list[str]:
            order_ids = []
            with httpx.Client(timeout=60) as http:
                for number in range(ORDERS):
                    side, price = (("buy", "900.00"), ("sell", "1.00"))[number % 2]
                    order = {"symbol": "AAPL", "side": side, "quantity": 1, "price": price, "order_type": "ioc"}
                    answer = http.post(f"{gateway}/orders", json=order, headers=headers)
                    assert answer.status_code == 201, answer.text
                    order_ids.append(answer.json()["order_id"])
            return order_ids

        with ThreadPoolExecutor(len(gateways)) as threads:
            ids = list(threads.map(trade, gateways))
        all_ids = [order_id for gateway_ids in ids for order_id in gateway_ids]
        assert len(all_ids) == len(set(all_ids)) == 3 * ORDERS, "ids are unique"
        # Each gateway finds the orders of the others.
        eventually(lambda: running.http.get(f"{gateways[0]}/orders/{ids[2][-1]}", headers=headers).status_code == 200, 20)
        resting = running.order(headers, symbol="AAPL", side="buy", quantity=1, price="1.00").json()["order_id"]
        eventually(lambda: running.http.get(f"{gateways[1]}/orders/{resting}", headers=headers).status_code == 200, 20)
        cancelled = running.http.delete(f"{gateways[2]}/orders/{resting}", headers=headers)
        assert cancelled.json()["status"] == "CANCELED"
        assert running.audit() == []
    finally:
        for process in processes:
            process.terminate()
            assert process.wait(30) == 0
