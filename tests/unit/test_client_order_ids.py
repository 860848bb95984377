"""Tests of client order ids: an order that is sent again is entered once, and the first order is its answer."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from matching_engine import client_order_ids, state
from matching_engine.client_order_ids import PERIOD, ClientOrderIds, order_id_in
from microexchange.commands import LoadBook, NewOrder, SaveBook, SuspendClient
from microexchange.enums import OrderStatus, OrderType, Side, TimeInForce, TradingState
from microexchange.refusals import Code
from microexchange.reports import Event, OrderRepeated, OrderReport, Trade
from tests.property.engine_attributes import attributes_of
from tests.unit.market import Floor, of
from tests.unit.test_order_types import Pit


def repeats(order_id: int, events: list[Event]) -> bool:
    """Return whether the events are those of an order that repeats the order `order_id`, and nothing else."""
    rejected, repeated = events
    assert isinstance(rejected, OrderReport)
    assert isinstance(repeated, OrderRepeated)
    assert (rejected.status, rejected.code) == (OrderStatus.REJECTED, Code.DUPLICATE_CLIENT_ORDER_ID)
    assert rejected.order_id == rejected.command_id == repeated.command_id
    return repeated.order_id == order_id


def enters(events: list[Event]) -> bool:
    return of(OrderReport, events)[0].status is OrderStatus.NEW


def is_refused(order_id: int, events: list[Event]) -> bool:
    """Return whether an order was refused because its id belongs to the order `order_id` with other terms."""
    (report,) = of(OrderReport, events)
    assert len(events) == 1
    return report.code == Code.DUPLICATE_CLIENT_ORDER_ID and str(order_id) in report.text


def test_an_open_order_that_is_sent_again_is_not_entered_again() -> None:
    floor = Floor()
    first, _ = floor.buy("a", 1, 1000, "mine")
    assert repeats(first, floor.buy("a", 1, 1000, "mine")[1])
    assert floor.levels("buy") == [(1000, 1, 1)]


@pytest.mark.parametrize("ended_by", ["a fill on entry", "a fill", "a cancel", "an amendment and a fill", "a suspension"])
def test_an_order_that_is_sent_again_after_its_end_is_not_entered_again(ended_by: str) -> None:
    pit = Pit()
    if ended_by == "a fill on entry":
        pit.order("e", "sell", 1, 1000)
    first, _ = pit.order("d", "buy", 1, 1000, client_order_id="mine")
    if ended_by == "a cancel":
        pit.cancel("d", first)
    elif ended_by == "a suspension":
        pit.apply(SuspendClient(pit.id(), pit.now, "d", ""))
    elif ended_by == "an amendment and a fill":
        pit.replace("d", first, quantity=2, price=1001)
    pit.order("e", "sell", 2, 1000)
    assert repeats(first, pit.order("d", "buy", 1, 1000, client_order_id="mine")[1])


def test_a_resend_has_the_first_answer_even_if_the_order_could_not_enter_any_more() -> None:
    pit = Pit()
    first, _ = pit.order("d", "buy", 900, 1000, client_order_id="mine")
    pit.state(TradingState.HALTED)
    assert pit.engine.accounts["d"].buying_power < 900 * 1000 * 10**6
    assert repeats(first, pit.order("d", "buy", 900, 1000, client_order_id="mine")[1])


@pytest.mark.parametrize(
    "change",
    [
        {"side": "sell"},
        {"symbol": "X"},
        {"price": 999},
        {"quantity": 2},
        {"post_only": True},
        {"time_in_force": TimeInForce.IOC},
        {"order_type": OrderType.MARKET, "price": None},
        {"display_quantity": 1},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "ended"])
def test_another_order_under_a_taken_id_is_refused_and_the_refusal_names_the_first_order(
    change: dict[str, Any], is_open: bool
) -> None:
    pit = Pit()
    terms: dict[str, Any] = {"symbol": "Y", "side": "buy", "quantity": 1, "price": 1000, "client_order_id": "mine"}
    first, _ = pit.order("d", **terms)
    if not is_open:
        pit.cancel("d", first)
    assert is_refused(first, pit.order("d", **(terms | change))[1])


def test_a_rejected_order_does_not_take_its_id() -> None:
    pit = Pit()
    pit.order("d", "buy", 10**9, 1000, client_order_id="mine")
    assert enters(pit.order("d", "buy", 1, 1000, client_order_id="mine")[1])


def test_each_client_has_its_own_ids() -> None:
    pit = Pit()
    pit.order("d", "buy", 1, 1000, client_order_id="mine")
    assert enters(pit.order("e", "buy", 1, 1000, client_order_id="mine")[1])


def test_orders_without_an_id_are_never_the_same() -> None:
    floor = Floor()
    floor.buy("a", 1, 1000)
    assert enters(floor.buy("a", 1, 1000)[1])


def test_an_id_stays_taken_for_at_least_a_day() -> None:
    pit = Pit()
    pit.now = PERIOD // 2
    first, _ = pit.order("d", "buy", 1, 1000, client_order_id="mine")
    pit.cancel("d", first)
    for later in (PERIOD, PERIOD + PERIOD // 2):
        pit.now = later
        pit.order("e", "buy", 1, 900, client_order_id=f"at {later}")
        assert repeats(first, pit.order("d", "buy", 1, 1000, client_order_id="mine")[1])
    pit.now = 5 * PERIOD // 2
    assert enters(pit.order("d", "buy", 1, 1000, client_order_id="mine")[1])


def test_an_id_stays_taken_for_less_than_three_days_whenever_the_client_sends_orders() -> None:
    pit = Pit()
    first, _ = pit.order("d", "buy", 1, 1000, client_order_id="mine")
    pit.cancel("d", first)
    began = pit.now
    pit.now = began + 2 * PERIOD - 1
    pit.order("d", "buy", 1, 900, client_order_id="other")
    pit.now = began + 3 * PERIOD - 2
    assert repeats(first, pit.order("d", "buy", 1, 1000, client_order_id="mine")[1])
    pit.now += 1
    assert enters(pit.order("d", "buy", 1, 1000, client_order_id="mine")[1])


def test_the_id_of_an_open_order_stays_taken_without_end() -> None:
    pit = Pit()
    first, _ = pit.order("d", "buy", 1, 1000, client_order_id="mine")
    pit.now = 10 * PERIOD
    assert repeats(first, pit.order("d", "buy", 1, 1000, client_order_id="mine")[1])
    assert is_refused(first, pit.order("d", "buy", 2, 1000, client_order_id="mine")[1])


def test_many_ids_of_one_client_free_its_own_oldest_ids_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_order_ids, "MAX_CLIENT_IDS", 10)
    pit = Pit()
    other, _ = pit.order("e", "buy", 1, 900, client_order_id="other")
    names = [f"n{number}" for number in range(25)]
    orders = [pit.order("d", "buy", 1, 900, client_order_id=name)[0] for name in names]
    for order_id in (*orders, other):
        pit.cancel("e" if order_id == other else "d", order_id)
    assert repeats(orders[-15], pit.order("d", "buy", 1, 900, client_order_id=names[-15])[1]), "ten and five are left"
    assert repeats(other, pit.order("e", "buy", 1, 900, client_order_id="other")[1])
    assert enters(pit.order("d", "buy", 1, 900, client_order_id=names[0])[1])


def test_many_ids_of_all_clients_free_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_order_ids, "MAX_IDS", 10)
    pit = Pit()
    orders = [pit.order("def"[number % 3], "buy", 1, 900, client_order_id=f"n{number}")[0] for number in range(25)]
    for number, order_id in enumerate(orders):
        pit.cancel("def"[number % 3], order_id)
    taken = [pit.engine.client_order_ids.find("def"[number % 3], f"n{number}", pit.now) for number in range(25)]
    assert [number for number, found in enumerate(taken) if found is None] == list(range(10))
    assert pit.engine.client_order_ids.count == 5


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 15), st.sampled_from((0, 0, 0, 1, 3, 9, 10, 25))), max_size=80)
)
@example([("a", 1, 0), ("b", 2, 9), ("a", 2, 10), ("a", 1, 9)])
def test_the_newest_ids_of_a_period_are_taken_and_no_others_for_long(steps: list[tuple[str, int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("PERIOD", 10), ("MAX_CLIENT_IDS", 3), ("MAX_IDS", 5)):
            patch.setattr(client_order_ids, name, value)
        ids, now, history = ClientOrderIds(), 0, list[tuple[str, int, int]]()
        for client, number, gap in steps:
            now += gap
            found = ids.find(client, str(number), now)
            places = [place for place, (other, name, _) in enumerate(history) if (other, name) == (client, number)]
            if found is not None:
                assert places, "no order has taken it"
                assert order_id_in(found) == places[-1]
                assert now - history[places[-1]][2] < 3 * 10
            elif places:
                later = history[places[-1] + 1 :]
                own = [entry for entry in later if entry[0] == client]
                assert len(own) > 3 or len(later) > 5 or now - history[places[-1]][2] >= 10
            if found is None:
                entry = NewOrder(len(history), now, client, "X", Side.BUY, OrderType.LIMIT, 1, 1, str(number))
                ids.take(entry, now)
                history.append((client, number, now))
            generations = [*ids.current.values(), *ids.previous.values()]
            assert sum(len(taken.newer) + len(taken.older) for taken in generations) <= 2 * 5
            assert ids.count == sum(len(taken.newer) + len(taken.older) for taken in ids.current.values())


def test_a_snapshot_has_the_taken_ids_of_both_generations() -> None:
    pit = Pit()
    old, _ = pit.order("d", "buy", 1, 900, client_order_id="old")
    pit.cancel("d", old)
    pit.now = PERIOD + 10
    new, _ = pit.order("d", "buy", 1, 900, client_order_id="new")
    pit.cancel("d", new)
    encoded = msgspec.msgpack.encode(state.take(pit.engine))
    restored = state.restore(msgspec.msgpack.decode(encoded, type=state.EngineState))
    assert attributes_of(restored) == attributes_of(pit.engine)
    pit.engine = restored
    assert repeats(old, pit.order("d", "buy", 1, 900, client_order_id="old")[1])
    assert repeats(new, pit.order("d", "buy", 1, 900, client_order_id="new")[1])


def test_a_snapshot_of_an_older_version_is_restored_without_ended_ids() -> None:
    pit = Pit()
    ended, _ = pit.order("d", "buy", 1, 900, client_order_id="ended")
    pit.cancel("d", ended)
    open_order, _ = pit.order("d", "buy", 1, 900, client_order_id="open")
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(state.take(pit.engine)))
    older = msgspec.msgpack.encode(fields[: state.EngineState.__struct_fields__.index("client_order_ids")])
    pit.engine = state.restore(msgspec.msgpack.decode(older, type=state.EngineState))
    assert repeats(open_order, pit.order("d", "buy", 1, 900, client_order_id="open")[1])
    assert enters(pit.order("d", "buy", 1, 900, client_order_id="ended")[1])


def test_an_order_of_a_loaded_book_is_not_entered_again() -> None:
    pit = Pit()
    first, _ = pit.order("d", "buy", 1, 900, client_order_id="mine")
    pit.apply(SaveBook(pit.id(), pit.now, "Y", "one"))
    pit.apply(LoadBook(pit.id(), pit.now, "Y", "one"))
    assert repeats(first, pit.order("d", "buy", 1, 900, client_order_id="mine")[1])
    assert pit.levels("buy", "Y") == [(900, 1, 1)]


def test_a_repeated_order_moves_neither_cash_nor_shares() -> None:
    floor = Floor()
    floor.sell("b", 5, 1000)
    floor.buy("a", 5, 1000, "mine")
    before = attributes_of(floor.engine)
    assert not of(Trade, floor.buy("a", 5, 1000, "mine")[1])
    after = attributes_of(floor.engine)
    assert {name for name in after if after[name] != before[name]} == {"last_command_ids"}
