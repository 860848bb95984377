"""The routes and channels of the feed on a running exchange, and several feeds at once."""

import asyncio
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from websockets.exceptions import InvalidStatus

from order_entry_gateway.order_history import OrderHistory
from tests.integration.running import JsonSocket, Running, eventually, free_ports

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def running(postgres_url: str, module_namespace: str) -> Iterator[Running]:
    """An exchange in which AAPL has traded three times."""
    exchange = Running(None, postgres_url, module_namespace)
    exchange.start("--bots", "0")
    seller, buyer = exchange.open_account("seller"), exchange.open_account("buyer")
    for price, quantity in (("100.00", 3), ("102.00", 1), ("101.00", 2)):
        exchange.order(seller, symbol="AAPL", side="sell", quantity=quantity, price=price)
        exchange.order(buyer, symbol="AAPL", side="buy", quantity=quantity, price=price)
    exchange.order(seller, symbol="AAPL", side="sell", quantity=5, price="103.00")
    exchange.order(buyer, symbol="AAPL", side="buy", quantity=4, price="99.50")
    exchange.until_at_rest()
    yield exchange
    exchange.assert_whole_audit_is_clean()
    assert exchange.stop() == 0
    exchange.close()


def get(running: Running, path: str, client_id: str = "", status: int = 200) -> Any:
    answer = running.http.get(f"{running.feed}{path}", headers=key(running, client_id) if client_id else {})
    assert answer.status_code == status, answer.text
    return answer.json() if answer.headers["content-type"].startswith("application/json") else answer.text


def key(running: Running, client_id: str) -> dict[str, str]:
    """Return headers with a new key, which the admin token makes."""
    token = (running.data / "secrets" / "admin-token").read_text()
    answer = running.http.post(f"{running.gateway}/clients/{client_id}/keys", headers={"Authorization": f"Bearer {token}"})
    return {"Authorization": f"Bearer {answer.json()['api_key']}"}


def test_the_gateway_reads_what_the_feed_has_stored(running: Running) -> None:
    reports = running.until_at_rest()["reports"]

    async def stored() -> int:
        history = OrderHistory(running.server, running.namespace)
        await history.open()
        try:
            return await history.stored_report_id()
        finally:
            await history.close()

    assert asyncio.run(stored()) == reports > 0


def test_a_security_has_its_best_prices_and_its_last_day(running: Running) -> None:
    assert get(running, "/securities/AAPL")["last_price"] == "101.00"
    assert get(running, "/securities/NONE", status=404)["error"]["code"] == "UNKNOWN_SYMBOL"
    bbo = get(running, "/bbo/AAPL")
    assert bbo["sequence"] == get(running, "/book/AAPL")["sequence"]
    assert {name: bbo[name] for name in ("bid", "bid_quantity", "ask", "ask_quantity", "spread")} == {
        "bid": "99.50",
        "bid_quantity": "4",
        "ask": "103.00",
        "ask_quantity": "5",
        "spread": "3.50",
    }
    assert get(running, "/bbo/MSFT")["bid"] is None
    (ticker,) = get(running, "/ticker/24h?symbol=AAPL")
    assert [ticker[name] for name in ("open", "high", "low", "last", "volume", "trades", "change", "change_percent")] == [
        "100.00",
        "102.00",
        "100.00",
        "101.00",
        "6",
        3,
        "1.00",
        "1.00",
    ]
    assert len(get(running, "/ticker/24h")) > 100


@pytest.mark.parametrize("interval", ["1s", "1m", "5m", "1h", "1d"])
def test_candles_add_up_to_the_trades(running: Running, interval: str) -> None:
    candles = get(running, f"/candles/AAPL?interval={interval}&limit=1000")
    assert sum(candle["trades"] for candle in candles) == 3
    assert sum(int(candle["volume"]) for candle in candles) == 6
    assert (candles[0]["open"], candles[-1]["close"]) == ("100.00", "101.00")
    assert max(float(candle["high"]) for candle in candles) == 102
    assert get(running, "/candles/MSFT") == []
    assert get(running, "/candles/AAPL?until=2020-01-01T00:00:00Z") == []


def test_trades_come_in_pages_and_between_two_times(running: Running) -> None:
    first = get(running, "/trades/AAPL?limit=2")
    second = get(running, f"/trades/AAPL?limit=2&before={first['next_before']}")
    trades = first["trades"] + second["trades"]
    assert [trade["price"] for trade in trades] == ["101.00", "102.00", "100.00"]
    middle = trades[1]["timestamp"]
    since = get(running, f"/trades/AAPL?since={middle}")["trades"]
    until = get(running, f"/trades/AAPL?until={middle}")["trades"]
    assert [trade["trade_id"] for trade in since + until] == [trade["trade_id"] for trade in trades]
    refused = get(running, "/trades/AAPL?since=yesterday", status=422)["error"]
    assert (refused["code"], refused["field"]) == ("INVALID_FIELD", "since")


def test_only_the_client_itself_can_read_its_holdings_and_equity(running: Running) -> None:
    holdings = {holding["symbol"]: holding["quantity"] for holding in get(running, "/holdings/buyer", "buyer")}
    assert holdings["AAPL"] == "106"
    points = eventually(lambda: len(get(running, "/equity/buyer", "buyer")) > 1 and get(running, "/equity/buyer", "buyer"))
    assert points[-1]["equity"] == get(running, "/balance/buyer", "buyer")["equity"]
    assert [point["timestamp"] for point in points] == sorted(point["timestamp"] for point in points)
    for path in ("/holdings/buyer", "/equity/buyer", "/export/orders.csv"):
        get(running, path, status=401)
    get(running, "/holdings/buyer", "seller", status=403)


def test_the_leaderboard_has_return_drawdown_trades_and_the_curves_of_the_leaders(running: Running) -> None:
    leaders = {leader["client_id"]: leader for leader in get(running, "/leaderboard")}
    assert leaders["buyer"]["trades"] == leaders["seller"]["trades"] == 3
    profit, equity = (float(leaders["buyer"][name]) for name in ("profit", "equity"))
    assert float(leaders["buyer"]["return_percent"]) == pytest.approx(100 * profit / (equity - profit), abs=0.01)
    curves = get(running, "/leaderboard/equity?limit=2")
    assert {curve["client_id"] for curve in curves} == {"buyer", "seller"}
    assert all(curve["points"] for curve in curves)


def test_a_client_can_export_trades_and_its_own_orders(running: Running) -> None:
    rows = list(csv.DictReader(get(running, "/export/trades.csv?symbol=AAPL").splitlines()))
    assert [row["price"] for row in rows] == ["101.00", "102.00", "100.00"]
    rows = list(csv.DictReader(get(running, "/export/orders.csv", "seller").splitlines()))
    assert [row["exec_type"] for row in rows if row["exec_type"] != "PENDING_NEW"] == ["NEW", "TRADE"] * 3 + ["NEW"]
    get(running, "/export/trades.csv?symbol=NONE", status=404)


def test_an_export_without_a_symbol_has_the_trades_of_all_securities(running: Running) -> None:
    seller, buyer = key(running, "seller"), key(running, "buyer")
    before = len(get(running, "/export/trades.csv").splitlines())
    running.order(seller, symbol="AMZN", side="sell", quantity=1, price="50.00")
    running.order(buyer, symbol="AMZN", side="buy", quantity=1, price="50.00")
    running.until_at_rest()
    rows = list(csv.DictReader(get(running, "/export/trades.csv").splitlines()))
    assert len(rows) == before, "one trade is new, and the lines before included the heading"
    assert {row["symbol"] for row in rows} >= {"AAPL", "AMZN"}
    assert [row["price"] for row in rows if row["symbol"] == "AAPL"] == ["101.00", "102.00", "100.00"]
    assert [int(row["trade_id"]) for row in rows] == sorted((int(row["trade_id"]) for row in rows), reverse=True)
    since = rows[0]["timestamp"]
    assert list(csv.DictReader(get(running, f"/export/trades.csv?since={since}").splitlines())) == rows[:1]
    answer = running.http.get(f"{running.feed}/export/trades.parquet")
    assert len(pq.read_table(io.BytesIO(answer.content))) == len(rows)
    assert answer.headers["content-disposition"] == 'attachment; filename="trades.parquet"'


def test_an_unknown_export_format_is_refused(running: Running) -> None:
    get(running, "/export/trades.txt?symbol=AAPL", status=422)


def test_parquet_and_csv_exports_have_the_same_content(running: Running) -> None:
    for path, client in (("trades.{}?symbol=AAPL", ""), ("orders.{}", "seller")):
        headers = key(running, client) if client else {}
        rows = list(csv.DictReader(get(running, f"/export/{path.format('csv')}", client).splitlines()))
        answer = running.http.get(f"{running.feed}/export/{path.format('parquet')}", headers=headers)
        assert answer.headers["content-type"] == "application/vnd.apache.parquet"
        table = pq.read_table(io.BytesIO(answer.content))
        assert table.column_names == list(rows[0])
        assert str(table.schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
        assert table.schema.field("price").type == pa.decimal128(38, 8)
        for row, found in zip(rows, table.to_pylist(), strict=True):
            assert found["timestamp"] == datetime.fromisoformat(row["timestamp"])
            assert found["price"] == Decimal(row["price"])
            assert [str(found["trade_id"] or "")] == [row["trade_id"]]


def next_message(ws: JsonSocket, channel: str) -> Any:
    """Return the next message of a channel."""
    while (message := ws.receive()).get("channel") != channel or "op" in message:
        pass
    return message


def test_channels_send_the_current_state_and_then_each_change(running: Running) -> None:
    carl = running.open_account("carl")
    with running.socket(running.feed, "/ws", carl) as ws:
        for channel in ("bbo", "trades", "candles", "ticker", "auction", "status", "balances", "orders", "leaderboard"):
            ws.send({"op": "subscribe", "channel": channel, "symbols": ["GOOG"]})
        assert next_message(ws, "bbo")["bbo"]["bid"] is None
        assert next_message(ws, "candles")["candle"] is None
        assert next_message(ws, "status")["state"] == "continuous"
        assert next_message(ws, "balances")["balance"]["client_id"] == "carl"
        assert next_message(ws, "leaderboard")["leaders"]
        running.order(carl, symbol="GOOG", side="sell", quantity=2, price="140.00")
        assert next_message(ws, "orders")["report"]["exec_type"] == "NEW"
        assert next_message(ws, "bbo")["bbo"]["ask"] == "140.00"
        running.order(key(running, "buyer"), symbol="GOOG", side="buy", quantity=1, price="140.00")
        assert next_message(ws, "trades")["trade"]["price"] == "140.00"
        candle = next_message(ws, "candles")
        assert (candle["interval"], candle["candle"]["close"]) == ("1m", "140.00")
        assert next_message(ws, "ticker")["ticker"]["last"] == "140.00"
    with running.socket(running.feed, "/ws", carl) as ws:
        ws.send({"op": "subscribe", "channel": "orders"})
        running.order(carl, symbol="GOOG", side="sell", quantity=1, price="141.00")
        report = next_message(ws, "orders")
        assert report["report"]["client_id"] == "carl", "the channel has only the reports of the client itself"
        assert report["sequence"] > 0


def test_private_channels_need_a_key_that_may_come_after_the_connection(running: Running) -> None:
    with running.socket(running.feed, "/ws") as ws:
        ws.send({"op": "subscribe", "channel": "balances"})
        assert ws.receive()["error"]["code"] == "UNAUTHENTICATED"
        ws.send({"op": "login", "key": "a.b.c"})
        assert ws.receive()["error"]["code"] == "UNAUTHENTICATED"
        ws.send({"op": "login", "key": key(running, "buyer")["Authorization"].removeprefix("Bearer ")})
        assert ws.receive() == {"op": "login", "ok": True, "client_id": "buyer"}
        ws.send({"op": "subscribe", "channel": "balances"})
        assert next_message(ws, "balances")["balance"]["client_id"] == "buyer"


def test_channels_send_the_states_of_auctions(running: Running) -> None:
    token = {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text()}"}
    url = f"{running.gateway}/admin/securities/INTC/state"
    with running.socket(running.feed, "/ws") as ws:
        for channel in ("status", "auction"):
            ws.send({"op": "subscribe", "channel": channel, "symbols": ["INTC"]})
        assert next_message(ws, "auction")["auction"] is None
        running.http.put(url, json={"state": "opening_auction"}, headers=token)
        assert next_message(ws, "status")["state"] == "opening_auction"
        running.order(key(running, "seller"), symbol="INTC", side="sell", quantity=2, price="40.00")
        running.order(key(running, "buyer"), symbol="INTC", side="buy", quantity=3, price="41.00")
        while (auction := next_message(ws, "auction")["auction"]) is None or auction["quantity"] != "2":
            pass
        assert auction["imbalance"] == "1"
        running.http.put(url, json={"state": "continuous"}, headers=token)
        assert next_message(ws, "status")["state"] == "continuous"


def test_the_websockets_of_one_security_need_no_request(running: Running) -> None:
    eve = running.open_account("eve")
    with (
        running.socket(running.feed, "/ws/marketdata?symbol=NVDA") as book,
        running.socket(running.feed, "/ws/trades?symbol=NVDA") as tape,
    ):
        assert book.receive()["bids"] == []
        running.order(eve, symbol="NVDA", side="sell", quantity=2, price="450.00")
        message = book.receive()
        assert (message["symbol"], message["asks"], set(message)) == (
            "NVDA",
            [["450.00", "2"]],
            {"timestamp", "symbol", "bids", "asks"},
        )
        running.order(key(running, "buyer"), symbol="NVDA", side="buy", quantity=1, price="450.00")
        trade = tape.receive()
        assert (trade["symbol"], trade["price"], trade["quantity"], trade["aggressor_side"]) == (
            "NVDA",
            "450.00",
            "1",
            "buy",
        )
        assert {"timestamp", "trade_id", "maker_order_id", "taker_order_id", "maker_fee", "taker_fee"} < set(trade)
    with pytest.raises(InvalidStatus) as refused, running.socket(running.feed, "/ws/trades?symbol=NONE"):
        pass
    assert refused.value.response.status_code == 404


def test_one_request_subscribes_to_all_securities_and_one_unsubscribes(running: Running) -> None:
    with running.socket(running.feed, "/ws") as ws:
        ws.send({"op": "subscribe", "channel": "book"})
        symbols = {next_message(ws, "book")["book"]["symbol"] for _ in range(102)}
        assert len(symbols) == 102
        ws.send({"op": "unsubscribe", "channel": "book"})
        assert len(ws.receive()["symbols"]) == 102
        ws.send({"op": "subscribe", "channel": "book", "symbols": ["AAPL"] * 20_001})
        assert ws.receive()["error"]["field"] == "symbols"


def test_operations_lists_every_service(running: Running) -> None:
    def with_all_services() -> Any:
        operations = get(running, "/operations")
        services = operations["services"].values()
        return operations if len(services) == 4 and all(service["alive"] for service in services) else None

    operations = eventually(with_all_services)
    assert set(operations["services"]) == {"matching-engine", "clearinghouse", "market-data-feed", "order-entry-gateway"}
    assert all(not service["waiting_for"] for service in operations["services"].values())
    stages = {name: stage["p50"] for name, stage in operations["latency_ms"].items()}
    assert all(milliseconds >= 0 for milliseconds in stages.values())
    whole = stages.pop("gateway_in_to_feed_out")
    assert 0 < max(stages.values()) <= whole <= 2 * sum(stages.values())
    assert 'microexchange_latency_p99_seconds{name="log_to_engine_in"}' in get(running, "/metrics")
    bad = running.order(key(running, "seller"), symbol="AAPL", side="sell", quantity=10**6, price="1.00")
    assert bad.status_code == 409
    eventually(lambda: get(running, "/operations")["rejects"].get("INSUFFICIENT_SHARES"))


def test_the_monitoring_dashboard_uses_only_existing_metrics(running: Running) -> None:
    services = (running.gateway, running.feed, running.engine, running.clearing)
    metrics = "\n".join(running.http.get(f"{service}/metrics").text for service in services)
    panels = json.loads((ROOT / "monitoring/grafana/microexchange.json").read_text())["panels"]
    used = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"(?:microexchange|process)_\w+", target["expr"])
    }
    assert len(used) > 10
    assert used - set(re.findall(r"^\w+", metrics, re.MULTILINE)) == set()
    wanted = {
        name for panel in panels for target in panel["targets"] for name in re.findall(r"name=\"(\w+)", target["expr"])
    }
    assert all(f'name="{name}"' in metrics for name in wanted)


def test_the_alerts_use_only_existing_metrics(running: Running) -> None:
    services = (running.gateway, running.feed, running.engine, running.clearing)
    metrics = "\n".join(running.http.get(f"{service}/metrics").text for service in services)
    used = set(re.findall(r"microexchange_\w+", (ROOT / "monitoring/alerts.yml").read_text()))
    assert len(used) > 2
    assert used - set(re.findall(r"^\w+", metrics, re.MULTILINE)) == set()


def test_one_of_several_feeds_stores_and_another_takes_over(running: Running) -> None:
    (port,) = free_ports(1)
    server = running.server
    environment = {
        **os.environ,
        "MX_DATABASE_URL": server,
        "MX_LOG_URL": running.log or server,
        "MX_NAMESPACE": running.namespace,
        "MX_DATA_DIR": str(running.data),
        "MX_PORT": str(port),
    }
    url = f"http://127.0.0.1:{port}"
    second = subprocess.Popen([sys.executable, "-m", "market_data_feed"], env=environment, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: running.http.get(f"{url}/health/ready").status_code == 200)
        olaf = running.open_account("olaf")

        def same(symbol: str) -> bool:
            first, other = (running.http.get(f"{base}/book/{symbol}").json() for base in (running.feed, url))
            return bool(first == other and first["bids"])

        running.order(olaf, symbol="MSFT", side="buy", quantity=1, price="10.00")
        eventually(lambda: same("MSFT"), what="both feeds have the same book")
        # The feed that stores is killed. Reports before its restart, or before the other takes over, are stored too.
        running.kill("market_data_feed")
        for price in range(11, 31):
            running.order(olaf, symbol="MSFT", side="buy", quantity=1, price=f"{price}.00")
        eventually(lambda: running.http.get(f"{running.feed}/health/ready").status_code == 200)
        eventually(lambda: same("MSFT"), what="both feeds have the same book again")
        status = eventually(lambda: (s := running.http.get(f"{url}/status").json())["offset"] == s["stored_offset"] and s)
        assert status["orders"] > 20
        running.until_at_rest()
        assert running.audit() == []
    finally:
        second.terminate()
        second.wait(30)


def test_the_equity_of_a_client_may_exceed_64_bits(running: Running) -> None:
    token = {"Authorization": f"Bearer {(running.data / 'secrets' / 'admin-token').read_text()}"}
    running.open_account("croesus")
    url = f"{running.gateway}/admin/clients/croesus/deposits"
    answer = running.http.post(url, json={"shares": {"AAPL": 10**11, "BKNG": 10**11}}, headers=token)
    assert answer.status_code == 201, answer.text
    eventually(lambda: float(get(running, "/balance/croesus", "croesus")["equity"]) > 10**14, what="the deposit is settled")
    running.until_at_rest()
    running.kill("market_data_feed")
    eventually(lambda: running.http.get(f"{running.feed}/health/ready").status_code == 200)
    assert float(get(running, "/balance/croesus", "croesus")["equity"]) > 10**14


def test_positions_with_their_profit_survive_a_restart_of_the_feed(running: Running) -> None:
    long, short = running.open_account("pia"), running.open_account("sam")
    with running.socket(running.feed, "/ws", long) as ws:
        ws.send({"op": "subscribe", "channel": "positions"})
        assert next_message(ws, "positions")["positions"]
        for price in ("70.00", "71.00"):
            running.order(short, symbol="SBUX", side="sell", quantity=4, price=price)
            running.order(long, symbol="SBUX", side="buy", quantity=4, price=price)
        running.order(long, symbol="SBUX", side="sell", quantity=3, price="75.00")
        running.order(short, symbol="SBUX", side="buy", quantity=3, price="75.00")

        def newest() -> dict[str, Any]:
            found = next_message(ws, "positions")["positions"]
            return next(one for one in found if one["symbol"] == "SBUX")

        while newest()["quantity"] != "105":
            pass
    url = f"{running.feed}/positions/pia"
    before = running.http.get(url, headers=long).json()
    (position,) = [one for one in before if one["symbol"] == "SBUX"]
    assert float(position["realised"]) != 0
    assert float(position["value"]) - float(position["cost"]) == pytest.approx(float(position["unrealised"]))
    running.until_at_rest()
    running.kill("market_data_feed")
    eventually(lambda: running.http.get(f"{running.feed}/health/ready").status_code == 200)
    assert running.http.get(url, headers=long).json() == before
    assert running.http.get(url, headers=short).status_code == 403
