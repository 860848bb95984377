"""The feed's fold: balances, the leaderboard, counts, and what subscribers hear."""

import json
from typing import Any

from market_data_feed.hub import MOST_QUEUED, Hub, Subscriber, snapshot_message
from market_data_feed.market import Market
from market_data_feed.store import Pending, seal
from microexchange.messages import Execution, KeyIssued, KeyRevoked, SettlementReport, SettlementStatus, Transfer
from microexchange.positions import Positions
from microexchange.web import json_text
from tests.unit.market import Floor


def fold(floor: Floor, *steps: Any) -> tuple[Market, list[Any]]:
    """A market that heard everything the floor's commands caused, and the reports."""
    from matching_engine.engine import Engine

    engine, market = Engine(), Market()
    reports = [e for c in floor.log for e in engine.apply(c) if not isinstance(e, (Execution, Transfer))]
    for report in reports:
        market.apply(report)
    return market, reports


def settled(market: Market, client: str, cash: int, lots: int) -> None:
    market.apply(
        SettlementReport(1, 1, SettlementStatus.SETTLED, 1, 0, [(client, cash)], [(client, "X", lots)]),
    )


def test_a_balance_is_what_is_settled_and_equity_is_marked_to_the_last_trade() -> None:
    floor = Floor()
    market, _ = fold(floor)
    settled(market, "a", 500 * 10**8, 10)
    assert market.balance_view("a").cash == "500.00"
    assert market.balance_view("a").equity == "1500.00", "ten shares at the reference price of 100.00"
    floor.sell("b", 1, 9_000)
    floor.buy("c", 1, 9_000)
    market, _ = fold(floor)
    settled(market, "a", 500 * 10**8, 10)
    assert market.balance_view("a").equity == "1400.00"


def test_the_leaderboard_puts_the_most_profit_first() -> None:
    market, _ = fold(Floor())
    for client, cash in (("a", 9_000), ("b", 11_000), ("c", 10_000)):
        settled(market, client, cash * 10**8, 100)
    board = market.leaderboard(10)
    assert [(leader.rank, leader.client_id, leader.profit) for leader in board] == [
        (1, "b", "1000.00"),
        (2, "c", "0.00"),
        (3, "a", "-1000.00"),
    ]
    assert len(market.leaderboard(1)) == 1


def test_orders_trades_rejects_and_cancels_are_counted() -> None:
    floor = Floor()
    order, _ = floor.sell("a", 2, 1000)
    floor.buy("b", 1, 1000)
    floor.cancel("a", order)
    floor.buy("nobody", 1, 1000)
    totals = fold(floor)[0].totals
    assert (totals.orders, totals.trades, totals.rejected, totals.canceled) == (3, 1, 1, 1)


def test_open_orders_are_known_until_they_end() -> None:
    floor = Floor()
    filled, _ = floor.sell("a", 1, 1000)
    open_, _ = floor.sell("a", 3, 1001)
    floor.buy("b", 2, 1001)
    cancelled, _ = floor.sell("a", 1, 1005)
    floor.cancel("a", cancelled)
    floor.buy("a", 1000, 1000)
    market, _ = fold(floor)
    (view,) = market.open_orders_view("a")
    assert (view.order_id, view.status, view.leaves_quantity) == (str(open_), "PARTIALLY_FILLED", "2")
    assert market.open_orders_view("b") == []
    assert filled not in market.clients["a"].orders


def drain(subscriber: Subscriber) -> list[Any]:
    messages = []
    while not subscriber.queue.empty():
        text = subscriber.queue.get_nowait()
        messages.append(None if text is None else json.loads(text))
    return messages


def test_a_subscriber_can_rebuild_the_book_from_a_snapshot_and_gapless_changes() -> None:
    floor, hub, subscriber = Floor(), Hub(), Subscriber()
    market, _ = fold(floor)
    snapshot = json.loads(json_text(snapshot_message(market, "X", 10)))["book"]
    hub.subscribe(subscriber, "book", "X")
    for step in (lambda: floor.sell("a", 3, 1000), lambda: floor.sell("a", 3, 1001), lambda: floor.buy("b", 4, 1001)):
        _, events = step()
        for event in events:
            if not isinstance(event, (Execution, Transfer)):
                market.apply(event)
        hub.publish(market, events)
    sequence, asks = snapshot["sequence"], {}
    for message in drain(subscriber):
        assert message["previous_sequence"] == sequence
        sequence = message["sequence"]
        for side, (price, quantity, _) in message["changes"]:
            assert side == "sell"
            asks[price] = quantity
    assert {price: quantity for price, quantity in asks.items() if quantity != "0"} == {"10.01": "2"}
    assert sequence == market.books["X"].sequence


def test_a_subscriber_hears_only_what_it_asked_for() -> None:
    floor, hub, books, trades = Floor(), Hub(), Subscriber(), Subscriber()
    market, _ = fold(floor)
    hub.subscribe(books, "book", "X")
    hub.subscribe(trades, "trades", "X")
    floor.sell("a", 3, 1000)
    _, events = floor.buy("b", 1, 1000)
    hub.publish(market, events)
    assert [message["type"] for message in drain(books)] == ["update"]
    assert [message["trade"]["price"] for message in drain(trades)] == ["10.00"]
    hub.leave(trades)
    hub.publish(market, events)
    assert drain(trades) == []


def test_a_slow_reader_is_cut_off_and_its_queue_does_not_grow() -> None:
    subscriber = Subscriber()
    for _ in range(MOST_QUEUED + 100):
        subscriber.send("x")
    assert subscriber.overflowed.is_set()
    assert subscriber.queue.qsize() == MOST_QUEUED + 1


def test_every_report_becomes_a_row_and_only_changes_are_upserted() -> None:
    floor = Floor()
    floor.sell("a", 3, 1000)
    floor.buy("b", 1, 1000)
    market, reports = fold(floor)
    pending = Pending()
    for number, report in enumerate(reports, 1):
        pending.add(number, report)
    assert sum(len(rows) for rows in pending.rows.values()) == len(reports) == pending.count
    sealed = seal(pending, market, Positions(), 17)
    assert sealed.offset == 17
    assert len(sealed.upserts) == 6, "securities, levels, orders that are open, orders that ended, clients, position"
    assert len(seal(Pending(), market, Positions(), 18).upserts) == 1, "nothing changed since: the position alone"


def test_a_key_that_is_revoked_before_it_was_stored_keeps_when_it_was_issued() -> None:
    market = Market()
    market.apply(KeyIssued("a", "k", 5))
    market.apply(KeyRevoked("a", "k", 9))
    assert market.changes.keys == {"k": ("a", 5, 9)}
    assert market.revoked_keys == {"k"}
