"""Every value of an enum has a row in `enum_terms`, and all parts of the exchange follow the rows."""

import json
import re
from enum import Enum, StrEnum
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from microexchange import enum_terms, enums
from microexchange.commands import OpenAccount
from microexchange.enum_terms import ORDER_TYPES, PREVENTIONS, STATES, TIMES_IN_FORCE, Trigger
from microexchange.enums import ExecType, OrderStatus, OrderType, SelfTradePrevention, Side, TimeInForce, TradingState
from microexchange.number_fields import json_decoder, schema_components
from microexchange.numbers import CASH_SCALE
from microexchange.refusals import Code, Refusal
from microexchange.reports import OrderReport, Trade
from microexchange.securities import Security
from order_entry_gateway.requests import EntryType, OrderRequest, new_order
from tests.unit.market import fills, last_report, of
from tests.unit.test_order_types import Pit
from trading_bots import Bot, Order
from trading_bots import bot as sdk
from trading_bots.live import LiveVenue
from trading_bots.simulation.client import _ORDER_TYPES

ROOT = Path(__file__).parents[2]
TABLES = {OrderType: ORDER_TYPES, TimeInForce: TIMES_IN_FORCE, SelfTradePrevention: PREVENTIONS, TradingState: STATES}


# --- the tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("enum_type", TABLES, ids=lambda enum_type: enum_type.__name__)
def test_every_value_of_an_enum_has_a_row(enum_type: type[Enum]) -> None:
    assert list(TABLES[enum_type]) == list(enum_type)


@pytest.mark.parametrize("enum_type", TABLES, ids=lambda enum_type: enum_type.__name__)
def test_a_value_without_a_row_raises_an_error_when_the_table_is_built(enum_type: type[Enum]) -> None:
    wider = StrEnum("Wider", {**{value.name: value.value for value in enum_type}, "PEGGED": "pegged"})  # type: ignore[misc]
    rows = {wider(value.value): row for value, row in TABLES[enum_type].items()}
    with pytest.raises(LookupError, match="PEGGED"):
        enum_terms.complete(wider, rows)


def test_every_order_status_states_if_it_is_final() -> None:
    assert list(enums._IS_FINAL) == list(OrderStatus)


def test_every_trigger_rises_for_one_side_and_falls_for_the_other() -> None:
    assert set(enum_terms.RISES) == set(product(Trigger, Side))
    assert all(trigger.rises(Side.BUY) is not trigger.rises(Side.SELL) for trigger in Trigger)


@pytest.mark.parametrize("order_type", OrderType)
def test_a_triggered_order_has_an_order_type_without_a_trigger_and_with_the_same_limit(order_type: OrderType) -> None:
    row = ORDER_TYPES[order_type]
    after = ORDER_TYPES[row.becomes]
    assert (after.has_price, after.trigger) == (row.has_price, None)
    assert (row.becomes is order_type) is (row.trigger is None)
    assert row.times_in_force <= after.times_in_force


@pytest.mark.parametrize("state", TradingState)
def test_every_trading_state_either_trades_collects_orders_or_refuses_them(state: TradingState) -> None:
    row = STATES[state]
    assert [state is TradingState.CONTINUOUS, row.collects, row.refusal is not None].count(True) == 1


# --- the engine ---------------------------------------------------------------------------------------------------------


def terms_of(order_type: OrderType, price: int = 1000, trigger_price: int = 1000) -> dict[str, Any]:
    """Return the required terms of an order type."""
    row = ORDER_TYPES[order_type]
    terms: dict[str, Any] = {"order_type": order_type}
    terms |= {"price": price} if row.has_price else {}
    return terms | ({"trigger_price": trigger_price} if row.trigger else {})


@pytest.mark.parametrize("order_type", OrderType)
def test_the_engine_accepts_exactly_the_combinations_that_the_row_of_an_order_type_allows(order_type: OrderType) -> None:
    row = ORDER_TYPES[order_type]
    for time_in_force, post_only, display in product(TimeInForce, (False, True), (0, 2)):
        allowed = (
            time_in_force in row.times_in_force
            and (not post_only or (row.post_only and TIMES_IN_FORCE[time_in_force].rests))
            and (not display or (row.display and TIMES_IN_FORCE[time_in_force].rests))
        )
        more = {"expire_at": 10**18} if TIMES_IN_FORCE[time_in_force].has_end else {}
        pit = Pit()
        order, events = pit.order(
            "d",
            "buy",
            5,
            time_in_force=time_in_force,
            post_only=post_only,
            display_quantity=display,
            **more,
            **terms_of(order_type),
        )
        refused = events[0].code == Code.INVALID_FIELD
        assert refused is not allowed, (time_in_force, post_only, display, last_report(events, order).text)


@pytest.mark.parametrize("order_type", OrderType)
@pytest.mark.parametrize("field", ["price", "trigger_price"])
def test_the_engine_requires_a_price_and_a_trigger_as_the_row_of_the_order_type_states(
    order_type: OrderType, field: str
) -> None:
    terms = terms_of(order_type)
    other = {name: value for name, value in terms.items() if name != field} if field in terms else {**terms, field: 1000}
    assert Pit().order("d", "buy", 5, **other)[1][0].code == Code.INVALID_FIELD


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("order_type", [order_type for order_type in OrderType if ORDER_TYPES[order_type].trigger])
def test_an_order_waits_until_the_price_reaches_its_trigger_from_the_side_that_its_row_states(
    order_type: OrderType, side: Side
) -> None:
    trigger = ORDER_TYPES[order_type].trigger
    assert trigger is not None
    rises = trigger.rises(side)
    pit = Pit()
    pit.trade_at(1000)
    order, _ = pit.order("d", side, 2, **terms_of(order_type, trigger_price=1100 if rises else 900))
    before = pit.trade_at(1099 if rises else 901)
    assert order not in {report.order_id for report in of(OrderReport, before)}
    triggered = [report for report in of(OrderReport, pit.trade_at(1100 if rises else 900)) if report.order_id == order]
    assert triggered[0].exec_type is ExecType.TRIGGERED


@pytest.mark.parametrize("policy", SelfTradePrevention)
def test_the_engine_prevents_self_trades_as_the_row_of_the_policy_states(policy: SelfTradePrevention) -> None:
    row = PREVENTIONS[policy]
    pit = Pit()
    pit.apply(OpenAccount(pit.id(), 1, "g", 10_000 * CASH_SCALE, {"Y": 100}, policy))
    old, _ = pit.order("g", "sell", 3, 1000)
    new, events = pit.order("g", "buy", 5, 1000)
    assert bool(fills(events, new)) is row.trades
    cancelled = {r.order_id for r in of(OrderReport, events) if r.status is OrderStatus.CANCELED}
    assert (new in cancelled) is row.cancels_entering
    assert (old in cancelled) is (row.cancels_resting or row.decrements)
    assert (ExecType.RESTATED in {r.exec_type for r in of(OrderReport, events)}) is row.decrements


@pytest.mark.parametrize("state", TradingState)
def test_the_engine_trades_collects_or_refuses_as_the_row_of_the_trading_state_states(state: TradingState) -> None:
    row = STATES[state]
    pit = Pit()
    pit.state(state)
    assert pit.engine.markets["Y"].is_collecting is row.collects
    pit.order("d", "sell", 1, 1000)
    _, events = pit.order("e", "buy", 1, 1000)
    code = row.refusal[0] if row.refusal else ""
    assert of(OrderReport, events)[0].code == code
    assert bool(of(Trade, events)) is not (row.collects or row.refusal is not None)


# --- the gateway and the bots -------------------------------------------------------------------------------------------


def test_a_request_may_have_every_order_type_and_every_time_in_force_that_does_not_rest() -> None:
    wanted = {
        *(order_type.value for order_type in OrderType),
        *(time_in_force.value for time_in_force, row in TIMES_IN_FORCE.items() if not row.rests),
    }
    assert {order_type.value for order_type in EntryType} == set(_ORDER_TYPES) == wanted
    assert set(schema_components([OrderRequest])["EntryType"]["enum"]) == wanted


@pytest.mark.parametrize("order_type", OrderType)
def test_the_gateway_requires_a_price_and_a_trigger_as_the_row_of_the_order_type_states(order_type: OrderType) -> None:
    row = ORDER_TYPES[order_type]
    securities = {"X": Security(Pit().engine.markets["X"].listing)}
    for price, trigger_price in product((None, 10), repeat=2):
        body = {"symbol": "X", "side": "buy", "quantity": 1, "order_type": order_type.value}
        text = json.dumps({**body, "price": price, "trigger_price": trigger_price})
        request = json_decoder(OrderRequest).decode(text)
        right = (price is not None, trigger_price is not None) == (row.has_price, row.trigger is not None)
        if not right:
            with pytest.raises(Refusal) as refusal:
                new_order(request, securities, "a", 1, 1)
            assert (refusal.value.code, refusal.value.field in ("price", "trigger_price")) == (Code.INVALID_FIELD, True)
        else:
            assert new_order(request, securities, "a", 1, 1).order_type is order_type


@pytest.mark.parametrize(("price", "trigger"), list(product((None, 10), repeat=2)))
def test_a_bot_sends_the_order_type_of_the_table_with_all_its_terms(price: int | None, trigger: int | None) -> None:
    bot = Bot()
    venue = LiveVenue(bot, "a", "key", "http://127.0.0.1:1", "http://127.0.0.1:1")
    sent: list[dict[str, Any]] = []
    venue._send = lambda _, request: sent.append(request)  # type: ignore[method-assign]
    listing = Pit().engine.markets["X"].listing
    bot.securities["X"] = sdk.Security("X", sdk.Decimal(listing.tick_size), sdk.Decimal(listing.lot_size), sdk.Decimal(10))
    bot.buy("X", 1, price, trigger_price=trigger, time_in_force="day")
    order_type = enum_terms.order_type_of(price is not None, None if trigger is None else Trigger.STOP)
    assert (sent[0]["order_type"], sent[0]["time_in_force"]) == (order_type, "day")


@pytest.mark.parametrize("status", OrderStatus)
def test_the_order_of_a_bot_is_open_until_its_status_is_final(status: OrderStatus) -> None:
    order = Order("1", "X", "buy", sdk.Decimal(1), None, status=status.value)
    assert order.is_open is not status.is_final


# --- the pages ----------------------------------------------------------------------------------------------------------


def test_the_table_of_order_types_in_the_rule_book_equals_the_rows() -> None:
    page = (ROOT / "docs" / "rulebook.md").read_text()
    (table,) = re.findall(r"^\| order type .+\n\| --- .+\n((?:\|.+\n)+)", page, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows == [
        [
            f"`{order_type}`",
            "yes" if row.has_price else "no",
            f"`{row.trigger}`" if row.trigger else "–",
            "–" if row.becomes is order_type else f"`{row.becomes}`",
            ", ".join(f"`{time_in_force}`" for time_in_force in TimeInForce if time_in_force in row.times_in_force),
            "yes" if row.post_only else "no",
            "yes" if row.display else "no",
        ]
        for order_type, row in ORDER_TYPES.items()
    ]


def test_the_page_of_interfaces_names_every_order_type_and_time_in_force() -> None:
    page = (ROOT / "docs" / "interfaces.md").read_text()
    for field, values in (("order_type", EntryType), ("time_in_force", TimeInForce)):
        (row,) = re.findall(rf"^\| `{field}` \| (.+) \|$", page, re.MULTILINE)
        assert {value.value for value in values} <= set(re.findall(r"`(\w+)`", row))  # type: ignore[attr-defined]


def test_the_order_form_of_the_dashboard_has_a_name_for_every_order_type_and_time_in_force() -> None:
    """The form reads the fields of each type from `enum_terms`, by `/dashboard/config.json`. Only the names are its own."""
    script = (ROOT / "market-data-feed" / "market_data_feed" / "static" / "js" / "ticket.js").read_text()

    def listed(name: str) -> set[str]:
        (text,) = re.findall(rf"\b{name} = {{(.+?)}}", script)
        return set(re.findall(r"(\w+):", text))

    assert listed("TYPES") == {order_type.value for order_type in OrderType}
    assert listed("TIMES_IN_FORCE") == {time_in_force.value for time_in_force in TimeInForce}
