"""Tests of the JSON views of orders, reports and trades."""

import msgspec

from microexchange.enums import ExecType, Liquidity, OrderStatus, OrderType, Side, TimeInForce
from microexchange.reports import OrderReport, SecurityListed, Trade
from microexchange.schemas import order_view, report_view
from microexchange.securities import Security

X = Security(SecurityListed(1, 1, "X", "X Inc.", "0.01", "0.1", 10**5, 10_000, 10, 20))
SECOND = 1_000_000_000
FILL = OrderReport(
    order_id=11,
    command_id=12,
    timestamp=13 * SECOND,
    client_id="alice",
    client_order_id="mine",
    symbol="X",
    side=Side.SELL,
    order_type=OrderType.STOP_LIMIT,
    quantity=140,
    price=1500,
    exec_type=ExecType.TRADE,
    status=OrderStatus.PARTIALLY_FILLED,
    leaves_quantity=100,
    cumulative_quantity=40,
    notional=16 * 40 * 10**7,
    last_quantity=30,
    last_price=1700,
    fee=-180_000_000,
    trade_id=19,
    liquidity=Liquidity.MAKER,
    code="A_CODE",
    text="a text",
    time_in_force=TimeInForce.GTD,
    expire_at=20 * SECOND,
    trigger_price=2100,
    post_only=True,
    display_quantity=22,
)
ORDER = {
    "order_id": "11",
    "client_id": "alice",
    "client_order_id": "mine",
    "timestamp": "1970-01-01T00:00:13.000000Z",
    "symbol": "X",
    "side": "sell",
    "order_type": "stop_limit",
    "time_in_force": "gtd",
    "expire_at": "1970-01-01T00:00:20.000000Z",
    "quantity": "14.0",
    "display_quantity": "2.2",
    "price": "15.00",
    "trigger_price": "21.00",
    "post_only": True,
    "status": "PARTIALLY_FILLED",
    "filled_quantity": "4.0",
    "leaves_quantity": "10.0",
    "average_price": "16",
    "resting": True,
    "resting_order_id": "11",
    "resting_qty": "10.0",
    "code": "A_CODE",
    "text": "a text",
    "trades": [],
    "duplicate": False,
}


def test_the_view_of_an_order_has_every_field_of_its_newest_report() -> None:
    assert msgspec.to_builtins(order_view(FILL, X)) == ORDER


def test_the_view_of_a_report_is_the_order_and_the_fields_of_its_change() -> None:
    change = {
        "exec_type": "TRADE",
        "last_quantity": "3.0",
        "last_price": "17.00",
        "fee": "-1.80",
        "trade_id": "19",
        "liquidity": "maker",
    }
    assert msgspec.to_builtins(report_view(FILL, X)) == ORDER | change


def test_fields_that_do_not_apply_are_null() -> None:
    bare = OrderReport(
        11, 12, 13, "a", "", "X", Side.BUY, OrderType.MARKET, 140, None, ExecType.CANCELED, OrderStatus.CANCELED, 0, 0, 0
    )
    view = msgspec.to_builtins(report_view(bare, X))
    of_order = {"expire_at", "display_quantity", "price", "trigger_price", "average_price", "resting_order_id"}
    assert {name for name, value in view.items() if value is None} == of_order | {"last_price", "trade_id"}
    assert (view["resting"], view["resting_qty"], view["fee"]) == (False, "0.0", "0.00")


def test_the_view_of_an_order_has_its_trades() -> None:
    trade = Trade(19, 13, "X", 1700, 30, Side.BUY, 11, 18, 5, 6)
    (view,) = order_view(FILL, X, [trade]).trades
    assert (view.trade_id, view.price, view.quantity, view.maker_order_id) == ("19", "17.00", "3.0", "11")
