"""Tests of the state of the feed: balances, the leaderboard, statistics, and the messages to subscribers."""

import asyncio
import json
import statistics
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import astuple
from types import SimpleNamespace
from typing import Any

import pytest

from exchange_db.days import DAY_NS
from market_data_feed.candles import Chart
from market_data_feed.exports import as_csv
from market_data_feed.hub import CONFLATION_QUEUE_LENGTH, MAX_QUEUED, Hub, Subscriber, conflated_message, state_message
from market_data_feed.market import MIN_RATIO_SAMPLES, QUIET_AFTER_NS, SAMPLE_INTERVAL_NS, MarketData
from market_data_feed.rest.routes import time_to_ns
from market_data_feed.store import Pending, seal
from microexchange.commands import NewOrder, OpenAccount
from microexchange.enums import OrderType, SettlementStatus, Side
from microexchange.frames import frame
from microexchange.ids import MAX_ID
from microexchange.instructions import Execution, Transfer
from microexchange.producer_cursors import ProducerCursors
from microexchange.reports import AccountOpened, KeyIssued, KeyRevoked, SettlementReport, Trade
from microexchange.schemas import LeaderView
from microexchange.web import json_frame, json_text
from tests.unit.market import Floor


def fold(floor: Floor, *steps: Any) -> tuple[MarketData, list[Any]]:
    """Replay the commands of a floor. Return the market of the feed after all reports, and the reports."""
    from matching_engine.engine import Engine

    engine, market = Engine(), MarketData()
    reports = [report for command in floor.log for report in engine.apply(command).reports]
    for report in reports:
        market.apply(report)
    return market, reports


def settled(market: MarketData, client: str, cash: int, lots: int) -> None:
    market.apply(
        SettlementReport(1, 1, SettlementStatus.SETTLED, 1, 0, [(client, cash)], [(client, "X", lots)]),
    )


def given(market: MarketData, client: str, cash: int, lots: int) -> None:
    """Apply a settled transfer from the issuer, with the balances of the client after it."""
    market.apply(
        SettlementReport(1, 1, SettlementStatus.SETTLED, 0, 1, [(client, cash)], [(client, "X", lots)]),
    )


def leader(market: MarketData, client: str) -> LeaderView:
    """Return the row of a client on the leaderboard."""
    return next(row for row in market.leaderboard(10) if row.client_id == client)


def traded_at(floor: Floor, price: int) -> MarketData:
    """Return a market whose last trade was at `price`."""
    floor.sell("b", 1, price)
    floor.buy("c", 1, price)
    return fold(floor)[0]


def test_a_balance_is_the_settled_cash_and_equity_uses_the_last_price() -> None:
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


def test_the_leaderboard_ranks_by_profit() -> None:
    market, _ = fold(Floor())
    for client, cash in (("a", 9_000), ("b", 11_000), ("c", 10_000)):
        given(market, client, 10_000 * 10**8, 100)
        settled(market, client, cash * 10**8, 100)
    board = market.leaderboard(10)
    assert [(leader.rank, leader.client_id, leader.profit) for leader in board] == [
        (1, "b", "1000.00"),
        (2, "c", "0.00"),
        (3, "a", "-1000.00"),
    ]
    assert len(market.leaderboard(1)) == 1


def test_a_return_that_rounds_to_nothing_has_no_sign() -> None:
    market, _ = fold(Floor())
    for client, change in (("a", 10**7), ("b", -(10**7))):
        given(market, client, 10_000 * 10**8, 100)
        settled(market, client, 10_000 * 10**8 + change, 100)
    board = [leader(market, client) for client in ("a", "b")]
    assert [(row.profit, row.return_percent) for row in board] == [("0.10", "0.00"), ("-0.10", "0.00")]


def test_a_deposit_and_a_withdrawal_at_the_last_price_change_no_profit() -> None:
    market = traded_at(Floor(), 12_000)
    given(market, "a", 10_000 * 10**8, 100)
    assert (leader(market, "a").given, leader(market, "a").profit) == ("22000.00", "0.00")
    given(market, "a", 15_000 * 10**8, 110)
    assert (leader(market, "a").given, leader(market, "a").profit) == ("28200.00", "0.00")
    given(market, "a", 1_000 * 10**8, 10)
    assert (leader(market, "a").given, leader(market, "a").profit) == ("2200.00", "0.00")
    settled(market, "a", 1_011 * 10**8, 10)
    assert (leader(market, "a").profit, leader(market, "a").return_percent) == ("11.00", "0.50")


def test_an_account_has_no_profit_before_its_first_deposit_is_settled() -> None:
    market, _ = fold(Floor())
    market.apply(AccountOpened(1, 1, "d", 10_000 * 10**8, {}))
    market.advance_to(SAMPLE_INTERVAL_NS)
    assert leader(market, "d").profit == "0.00"
    given(market, "d", 10_000 * 10**8, 0)
    market.advance_to(2 * SAMPLE_INTERVAL_NS)
    assert (leader(market, "d").profit, leader(market, "d").drawdown) == ("0.00", "0.00")


def test_a_withdrawal_does_not_count_as_a_drawdown() -> None:
    market, _ = fold(Floor())
    for number, (step, cash) in enumerate([(given, 10_000), (settled, 10_400), (given, 400), (settled, 100)], 1):
        step(market, "a", cash * 10**8, 0)
        market.advance_to(number * SAMPLE_INTERVAL_NS)
    assert leader(market, "a").drawdown == "300.00"


def test_the_sharpe_ratio_is_the_mean_change_of_profit_divided_by_its_deviation_over_all_samples() -> None:
    market, _ = fold(Floor())
    profits = [0, 0, 30, 30, 30, 10, 45, 45, 45, 45, 60, 55, 70, 70]
    given(market, "a", 10_000 * 10**8, 0)
    for number, profit in enumerate(profits, 1):
        settled(market, "a", (10_000 + profit) * 10**8, 0)
        market.advance_to(number * SAMPLE_INTERVAL_NS)
    changes = [after - before for before, after in zip([0, *profits], profits, strict=False)]
    expected = statistics.mean(changes) / statistics.pstdev(changes)
    assert leader(market, "a").sharpe == f"{expected:.4f}"


def test_there_is_no_sharpe_ratio_in_the_first_minute_or_without_a_change_of_profit() -> None:
    market, _ = fold(Floor())
    for number in range(1, MIN_RATIO_SAMPLES + 1):
        given(market, "b", 10_000 * 10**8, 0)
        settled(market, "a", number * number * 10**8, 0)
        market.advance_to(number * SAMPLE_INTERVAL_NS)
        assert (leader(market, "a").sharpe is None) is (number < MIN_RATIO_SAMPLES)
        assert leader(market, "b").sharpe is None


def test_a_loss_counts_in_its_sample_even_if_a_deposit_replaces_it() -> None:
    market, _ = fold(Floor())
    given(market, "a", 100 * 10**8, 0)
    market.advance_to(SAMPLE_INTERVAL_NS)
    settled(market, "a", 70 * 10**8, 0)
    given(market, "a", 100 * 10**8, 0)
    market.advance_to(2 * SAMPLE_INTERVAL_NS)
    client = market.clients["a"]
    assert (client.profit, client.gains, client.drawdown) == (-30 * 10**8, -30 * 10**8, 30 * 10**8)


def test_the_leaderboard_can_leave_the_house_bots_out() -> None:
    market, _ = fold(Floor())
    for client, house, cash in (("maker", True, 12_000), ("d", False, 11_000), ("noise", True, 10_500), ("e", False, 9_000)):
        market.apply(AccountOpened(1, 1, client, 10_000 * 10**8, {}, house))
        given(market, client, 10_000 * 10**8, 0)
        settled(market, client, cash * 10**8, 0)
    ranked = [(row.rank, row.client_id, row.house) for row in market.leaderboard(3)]
    assert ranked == [(1, "maker", True), (2, "d", False), (3, "noise", True)]
    assert [(row.rank, row.client_id) for row in market.leaderboard(1, house=False)] == [(1, "d")]
    assert [(row.rank, row.client_id) for row in market.leaders(1)] == [(1, "maker"), (2, "d")], (
        "one house bot and one other client"
    )


def test_a_security_is_quiet_ten_seconds_after_the_last_order_of_a_house_bot() -> None:
    floor = Floor()
    floor.apply(OpenAccount(floor.id(), 1, "maker", 0, {"X": 10}, house=True))
    floor.sell("a", 1, 11_000)
    market, _ = fold(floor)
    market.advance_to(QUIET_AFTER_NS)
    assert market.security_view("X").quiet, "orders of other clients do not count"
    offer, _ = floor.sell("maker", 1, 11_000)
    market, _ = fold(floor)
    market.advance_to(QUIET_AFTER_NS)
    assert not market.security_view("X").quiet
    for event in floor.cancel("maker", offer):
        market.apply(event)
    assert not market.ticker_view("X", 0).quiet, "the bot may replace its quote"
    market.advance_to(2 * QUIET_AFTER_NS)
    assert market.ticker_view("X", 0).quiet


def test_no_security_is_quiet_in_a_market_without_house_bots() -> None:
    market, _ = fold(Floor())
    market.advance_to(QUIET_AFTER_NS)
    assert not market.security_view("X").quiet


def test_orders_trades_rejects_and_cancels_are_counted() -> None:
    floor = Floor()
    order, _ = floor.sell("a", 2, 1000)
    floor.buy("b", 1, 1000)
    floor.cancel("a", order)
    floor.buy("nobody", 1, 1000)
    totals = fold(floor)[0].totals
    assert (totals.orders, totals.trades, totals.rejected, totals.canceled) == (3, 1, 1, 1)


def test_an_order_is_listed_as_open_until_it_ends() -> None:
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


def content(frame: bytes) -> bytes:
    """Return the content of a text frame, decoded according to RFC 6455."""
    assert frame[0] == 0x81
    size = {126: 2, 127: 8}.get(frame[1], 0)
    length = int.from_bytes(frame[2 : 2 + size], "big") if size else frame[1]
    assert len(frame) == 2 + size + length
    return frame[2 + size :]


def drain(subscriber: Subscriber, market: MarketData) -> list[Any]:
    """Return all messages that the connection of a subscriber would send."""
    messages = []
    while (item := subscriber.take()) is not None:
        frame = item if isinstance(item, bytes) else json_frame(conflated_message(market, *item))
        messages.append(json.loads(content(frame)))
    return messages


def rebuilt(snapshot: dict[str, Any], messages: list[Any]) -> tuple[int, dict[str, dict[str, str]]]:
    """Check that no change is missing. Return the sequence of the book and its quantities by side and price."""
    sequence = snapshot["sequence"]
    sides = {side: {p: q for p, q, _ in snapshot[name]} for side, name in (("buy", "bids"), ("sell", "asks"))}
    for message in messages:
        assert message["previous_sequence"] == sequence
        sequence = message["sequence"]
        for side, (price, quantity, _) in message["changes"]:
            sides[side][price] = quantity
    return sequence, {side: {p: q for p, q in levels.items() if q != "0"} for side, levels in sides.items()}


def walk(floor: Floor, hub: Hub, market: MarketData, steps: int) -> None:
    """Enter `steps` orders and publish their reports."""
    for number in range(steps):
        step = floor.sell if number % 3 else floor.buy
        _, events = step("a" if number % 2 else "b", 1, 1000 + number * 7 % 11)
        reports = [event for event in events if not isinstance(event, (Execution, Transfer))]
        for event in reports:
            market.apply(event)
        hub.publish(market, reports)


def test_a_slow_reader_of_a_book_receives_the_newest_state_and_misses_no_change() -> None:
    floor, hub, slow, quick = Floor(cash=10**15, shares=10**6), Hub(), Subscriber(), Subscriber()
    market, _ = fold(floor)
    snapshot = json.loads(json_text(state_message(market, ("book", "X"))))["book"]
    for subscriber in (slow, quick):
        hub.subscribe(subscriber, ("book", "X"))
        hub.subscribe(subscriber, ("bbo", "X"))
    received = []
    for _ in range(10):
        walk(floor, hub, market, 50)
        received += drain(quick, market)
    assert len(slow) <= CONFLATION_QUEUE_LENGTH + 1, "a reader that is 500 changes behind has no backlog"
    late = drain(slow, market)
    books = [[message for message in messages if message["channel"] == "book"] for messages in (received, late)]
    assert rebuilt(snapshot, books[0]) == rebuilt(snapshot, books[1])
    assert rebuilt(snapshot, books[1])[0] == market.books["X"].sequence
    assert late[-1]["channel"] == "bbo" or late[-2]["channel"] == "bbo"
    assert [m for m in late if m["channel"] == "bbo"][-1] == [m for m in received if m["channel"] == "bbo"][-1]


def test_the_orders_of_a_full_book_sum_to_its_levels_for_a_slow_reader_as_well() -> None:
    floor, hub, slow, quick = Floor(cash=10**15, shares=10**6), Hub(), Subscriber(), Subscriber()
    market, _ = fold(floor)
    market.take_changed_orders()
    for subscriber in (slow, quick):
        hub.subscribe(subscriber, ("book.full", "X"))
    messages: list[Any] = []
    for _ in range(10):
        walk(floor, hub, market, 40)
        messages += drain(quick, market)
    assert len(slow) <= CONFLATION_QUEUE_LENGTH
    books = []
    for updates in (messages, drain(slow, market)):
        orders: dict[str, tuple[str, str, int]] = {}
        sequence = updates[0]["previous_sequence"]
        for message in updates:
            assert message["previous_sequence"] == sequence
            sequence = message["sequence"]
            for order_id, side, price, quantity in message["changes"]:
                orders[order_id] = (side, price, int(quantity))
        by_price: Counter[tuple[str, str]] = Counter()
        for side, price, quantity in orders.values():
            by_price[side, price] += quantity
        books.append({key: quantity for key, quantity in by_price.items() if quantity})
        assert sequence == market.order_sequences["X"]
    view = market.book_view("X", 1000)
    sides = {"buy": view.bids, "sell": view.asks}
    levels = {(side, level.price): int(level.quantity) for side in ("buy", "sell") for level in sides[side]}
    assert books == [levels, levels]
    full = market.full_book_view("X")
    assert [order.price for order in full.bids] == sorted((order.price for order in full.bids), key=float, reverse=True)
    assert "a" not in json.loads(json_text(full.bids[0])), "the public view has no client ids"


def test_an_iceberg_shows_the_rest_of_its_displayed_slice() -> None:
    floor = Floor()
    floor.apply(NewOrder(floor.id(), 1, "a", "X", Side.SELL, OrderType.LIMIT, 10, 1000, display_quantity=4))
    for taken, left in ((0, 4), (1, 3), (3, 4), (4, 2)):
        if taken:
            floor.buy("b", taken, 1000)
        market, _ = fold(floor)
        (order,) = market.full_book_view("X").asks
        assert (order.quantity, market.book_view("X", 1).asks[0].quantity) == (str(left), str(left)), taken


def test_a_candle_aggregates_the_trades_of_its_interval() -> None:
    chart = Chart()
    for second, price, quantity in ((59, 10, 1), (60, 12, 2), (61, 8, 3), (119, 9, 4), (3600, 20, 5)):
        chart.add(Trade(1, second * 10**9, "X", price, quantity, Side.BUY, 1, 2, 0, 0))
    assert [astuple(candle) for candle in chart.minutes] == [
        (0, 10, 10, 10, 10, 1, 1),
        (60, 12, 12, 8, 9, 9, 3),
        (3600, 20, 20, 20, 20, 5, 1),
    ]
    assert astuple(chart.newest["1h"]) == (3600, 20, 20, 20, 20, 5, 1)
    assert astuple(chart.newest["1d"]) == (0, 10, 20, 8, 20, 15, 5)
    day = chart.last_day(3601)
    assert day is not None
    assert (day.open, day.high, day.low, day.close, day.volume, day.trades) == (10, 20, 8, 20, 15, 5)
    assert chart.last_day(3600 + 86_400) is None


def test_equity_is_sampled_when_it_changes_and_the_drawdown_includes_every_change() -> None:
    market, _ = fold(Floor())
    second = 10**9
    for at, cash in ((5, 100), (10, 100), (12, 50), (15, 150), (20, 90), (25, 200), (30, 180)):
        settled(market, "a", cash * 10**8, 0)
        market.advance_to(at * second)
    sampled = [(at // second, units // 10**8) for client, at, units in market.changes.equity if client == "a"]
    assert sampled == [(5, 100), (15, 150), (20, 90), (25, 200), (30, 180)]
    assert leader(market, "a").drawdown == "60.00"


def test_a_subscriber_can_rebuild_the_book_from_a_snapshot_and_the_changes() -> None:
    floor, hub, subscriber = Floor(), Hub(), Subscriber()
    market, _ = fold(floor)
    snapshot = json.loads(json_text(state_message(market, ("book", "X"))))["book"]
    hub.subscribe(subscriber, ("book", "X"))
    for step in (lambda: floor.sell("a", 3, 1000), lambda: floor.sell("a", 3, 1001), lambda: floor.buy("b", 4, 1001)):
        _, events = step()
        for event in events:
            if not isinstance(event, (Execution, Transfer)):
                market.apply(event)
        hub.publish(market, events)
    sequence, sides = rebuilt(snapshot, drain(subscriber, market))
    assert sides == {"buy": {}, "sell": {"10.01": "2"}}
    assert sequence == market.books["X"].sequence


def test_a_subscriber_receives_only_its_channels() -> None:
    floor, hub, books, trades = Floor(), Hub(), Subscriber(), Subscriber()
    market, _ = fold(floor)
    hub.subscribe(books, ("book", "X"))
    hub.subscribe(trades, ("trades", "X"))
    floor.sell("a", 3, 1000)
    _, events = floor.buy("b", 1, 1000)
    hub.publish(market, events)
    assert [message["type"] for message in drain(books, market)] == ["update"]
    assert [message["trade"]["price"] for message in drain(trades, market)] == ["10.00"]
    hub.leave(trades)
    hub.publish(market, events)
    assert drain(trades, market) == []


def test_a_slow_reader_of_events_is_disconnected_at_the_maximum_of_its_queue() -> None:
    subscriber = Subscriber()
    for _ in range(MAX_QUEUED + 100):
        subscriber.send(b"x")
    assert subscriber.overflowed.is_set()
    assert len(subscriber) == MAX_QUEUED


async def test_frames_for_a_fast_reader_are_written_at_once_and_never_overtake_waiting_frames() -> None:
    written: list[bytes] = []
    is_writable = True

    def put(frame: bytes) -> bool:
        if is_writable:
            written.append(frame)
        return is_writable

    subscriber = Subscriber(put)

    async def write() -> None:
        while isinstance(waiting := await subscriber.next(), bytes):
            while not put(waiting):
                await asyncio.sleep(0)

    writing = asyncio.create_task(write())
    subscriber.send(b"before the writer runs")
    await asyncio.sleep(0.01)
    subscriber.send(b"at once")
    assert written == [b"before the writer runs", b"at once"]
    is_writable = False
    subscriber.send(b"waits")
    await asyncio.sleep(0)
    is_writable = True
    subscriber.send(b"after the waiting frame")
    assert written[2:] == []
    await asyncio.sleep(0.01)
    assert written[2:] == [b"waits", b"after the waiting frame"]
    writing.cancel()


def test_the_header_of_a_frame_has_the_length_of_its_content() -> None:
    for length in (0, 1, 125, 126, 65_535, 65_536, 70_000):
        assert content(frame(b"x" * length)) == b"x" * length
    assert frame(b"x", binary=True)[0] == 0x82


def test_every_report_is_stored_as_a_row_and_only_changed_state_is_upserted() -> None:
    floor = Floor()
    floor.sell("a", 3, 1000)
    floor.buy("b", 1, 1000)
    market, reports = fold(floor)
    pending = Pending()
    for number, report in enumerate(reports, 1):
        pending.add(number, report)
    assert sum(len(rows) for rows in pending.rows.values()) == len(reports) == pending.count
    sealed = seal(pending, market, ProducerCursors(), 17)
    assert sealed.offset == 17
    assert len(sealed.upserts) == 8, "securities, levels, open orders, ended orders, clients, positions, candles, offset"
    assert len(seal(Pending(), market, ProducerCursors(), 18).upserts) == 1, "without changes, only the offset is written"


def test_a_sample_of_equity_requests_the_partition_of_its_day() -> None:
    market, _ = fold(Floor())
    market.changes.equity.append(("a", 3 * DAY_NS + 5, 7))
    sealed = seal(Pending(), market, ProducerCursors(), 17)
    assert dict(sealed.rows) == {("equity", 3): []}


def test_a_key_that_is_revoked_before_it_is_stored_keeps_its_time_of_issue() -> None:
    market = MarketData()
    market.apply(KeyIssued("a", "k", 5))
    market.apply(KeyRevoked("a", "k", 9))
    assert market.changes.keys == {"k": ("a", 5, 9)}
    assert market.revoked_keys == {"k"}


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+49", "'+49"),
        ("-cmd", "'-cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("-5.00", "-5.00"),
        ("alice", "alice"),
        (None, ""),
    ],
)
async def test_a_text_in_an_export_is_no_formula_of_a_spreadsheet(value: str | None, cell: str) -> None:
    async def pages() -> AsyncIterator[Any]:
        yield [SimpleNamespace(memo=value)]

    lines = b"".join([part async for part in as_csv(["memo"], pages())]).decode().split("\r\n")
    assert lines[1] in (cell, f'"{cell}"')


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("0001-01-01T00:00:00+23:59", 0), ("1970-01-01T00:00:01Z", 10**9), ("9999-12-31T23:59:59-23:59", MAX_ID)],
)
def test_a_time_of_a_query_fits_a_column_of_the_database(text: str, nanoseconds: int) -> None:
    assert time_to_ns("since", text) == nanoseconds
