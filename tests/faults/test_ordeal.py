"""A short ordeal over each log. `./mx faults --minutes N` runs a long one."""

from collections.abc import Iterator

import pytest

from tests.faults.ordeal import Ordeal, can_stop_the_broker

pytestmark = pytest.mark.slow


@pytest.fixture(params=["embedded", "rabbitmq"])
def ordeal(request: pytest.FixtureRequest) -> Iterator[Ordeal]:
    if request.param == "embedded":
        opened = Ordeal(1)
    else:
        opened = Ordeal(2, request.getfixturevalue("amqp_url"), request.getfixturevalue("postgres_url"))
    yield opened
    opened.close()


def test_accepted_orders_exist_once_and_the_audit_is_clean_after_each_fault(ordeal: Ordeal) -> None:
    try:
        ordeal.start()
        for _ in range(3):
            ordeal.inject(ordeal.kill_a_service)
        ordeal.inject(ordeal.deliver_twice)
        ordeal.inject(ordeal.set_the_clock_back)
        ordeal.inject(ordeal.damage_the_snapshot)
        ordeal.inject(ordeal.stop_and_start)
        if ordeal.is_embedded:
            ordeal.inject(ordeal.kill_postgres)
            ordeal.inject(ordeal.kill_all_at_once)
        else:
            ordeal.inject(ordeal.cut_the_broker)
            ordeal.inject(ordeal.cut_the_database)
            if ordeal.is_local and can_stop_the_broker():
                ordeal.inject(lambda: ordeal.stop_the_broker(5), "stop_the_broker")
        outcome = ordeal.finish()
    except BaseException:
        print(ordeal.recent_output())
        raise
    assert outcome.answers["accepted"] > 200, str(outcome)
    assert outcome.is_clean, str(outcome)
