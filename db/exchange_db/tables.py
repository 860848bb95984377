"""The tables of the three databases for SQLAlchemy. The migrations make them, and a test compares both.

Prices are in ticks, quantities in lots, cash in units of 1e-8, and times in nanoseconds of Unix time, unless a table states
another unit.

The tables that grow with the market (`days.BY_DAY`) are partitioned by day, so their primary keys include the time.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

from exchange_db.accounts import FEES, ISSUER

clearing_data = sa.MetaData()
market_data = sa.MetaData()
exchange_log = sa.MetaData()

# --- exchange_log -------------------------------------------------------------------------------------------

log = sa.Table(
    "log",
    exchange_log,
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("offset", sa.BigInteger, primary_key=True),
    sa.Column("body", BYTEA, nullable=False),
)

# --- clearing_data ------------------------------------------------------------------------------------------

accounts = sa.Table(
    "accounts",
    clearing_data,
    sa.Column("client_id", sa.Text, primary_key=True),
    sa.Column("cash", sa.BigInteger, nullable=False),
    sa.Column("credit_limit", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint(f"cash >= -credit_limit OR client_id IN ('{ISSUER}', '{FEES}')", name="cash_within_credit"),
)
"""The cash of all accounts, and how far below zero it may be. The sum over all accounts is 0."""

holdings = sa.Table(
    "holdings",
    clearing_data,
    sa.Column("client_id", sa.Text, primary_key=True),
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("short_limit", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint(f"quantity >= -short_limit OR client_id = '{ISSUER}'", name="quantity_within_short_limit"),
)
"""The shares of all accounts, and how far below zero they may be. The sum over all accounts is 0 for each symbol."""

settlements = sa.Table(
    "settlements",
    clearing_data,
    sa.Column("instruction", sa.BigInteger, primary_key=True),
    sa.Column("trade_id", sa.BigInteger, nullable=False, unique=True),
    sa.Column("timestamp", sa.BigInteger, nullable=False),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("price", sa.BigInteger, nullable=False),
    sa.Column("aggressor_side", sa.Text, nullable=False),
    sa.Column("buy_order_id", sa.BigInteger, nullable=False),
    sa.Column("buyer", sa.Text, nullable=False),
    sa.Column("sell_order_id", sa.BigInteger, nullable=False),
    sa.Column("seller", sa.Text, nullable=False),
    sa.Column("buyer_pays", sa.BigInteger, nullable=False),
    sa.Column("seller_receives", sa.BigInteger, nullable=False),
    sa.Column("buyer_fee", sa.BigInteger, nullable=False),
    sa.Column("seller_fee", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("buyer_cash", sa.BigInteger, nullable=False),
    sa.Column("buyer_quantity", sa.BigInteger, nullable=False),
    sa.Column("seller_cash", sa.BigInteger, nullable=False),
    sa.Column("seller_quantity", sa.BigInteger, nullable=False),
    sa.Index("settlements_by_buyer", "buyer", "instruction"),
    sa.Index("settlements_by_seller", "seller", "instruction"),
)
"""One row for each execution: its terms, and the balances after it."""

transfers = sa.Table(
    "transfers",
    clearing_data,
    sa.Column("instruction", sa.BigInteger, primary_key=True),
    sa.Column("transfer_id", sa.BigInteger, nullable=False, unique=True),
    sa.Column("timestamp", sa.BigInteger, nullable=False),
    sa.Column("client_id", sa.Text, nullable=False),
    sa.Column("cash", sa.BigInteger, nullable=False),
    sa.Column("shares", JSONB, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("cash_after", sa.BigInteger, nullable=False),
    sa.Column("shares_after", JSONB, nullable=False),
    sa.Column("opens", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("memo", sa.Text, nullable=False, server_default=""),
    sa.Index("transfers_by_client", "client_id", "instruction"),
)
"""One row for each transfer of cash and shares between the issuer and a client.

The views `cash_legs` (instruction, account, units) and `share_legs` (instruction, account, symbol, lots) have the legs of
all settled instructions. Each balance is the sum of its legs, and the legs of an instruction sum to zero."""

clearing_consumed = sa.Table(
    "consumed",
    clearing_data,
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("producers", JSONB, nullable=False),
    sa.Column("reported", sa.BigInteger, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
)
"""The position of the clearinghouse on `order_execution`.

`reported` is the last instruction whose report is certainly on `data_feed`. `epoch` is the fencing token."""

# --- market_data --------------------------------------------------------------------------------------------

order_reports = sa.Table(
    "order_reports",
    market_data,
    sa.Column("report_id", sa.BigInteger, primary_key=True),
    sa.Column("order_id", sa.BigInteger, nullable=False),
    sa.Column("command_id", sa.BigInteger, nullable=False),
    sa.Column("timestamp", sa.BigInteger, primary_key=True),
    sa.Column("client_id", sa.Text, nullable=False),
    sa.Column("client_order_id", sa.Text, nullable=False),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("order_type", sa.Text, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("price", sa.BigInteger),
    sa.Column("exec_type", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("leaves_quantity", sa.BigInteger, nullable=False),
    sa.Column("cumulative_quantity", sa.BigInteger, nullable=False),
    sa.Column("notional", sa.BigInteger, nullable=False),
    sa.Column("last_quantity", sa.BigInteger, nullable=False),
    sa.Column("last_price", sa.BigInteger, nullable=False),
    sa.Column("fee", sa.BigInteger, nullable=False),
    sa.Column("trade_id", sa.BigInteger, nullable=False),
    sa.Column("liquidity", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("time_in_force", sa.Text, nullable=False, server_default="gtc"),
    sa.Column("expire_at", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("trigger_price", sa.BigInteger),
    sa.Column("post_only", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("display_quantity", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("order_reports_by_client", "client_id", "order_id", "report_id"),
    sa.Index(
        "order_reports_by_client_order_id",
        "client_id",
        "client_order_id",
        "order_id",
        postgresql_where=sa.text("client_order_id <> ''"),
    ),
    sa.Index("order_reports_of_fills", "client_id", "report_id", postgresql_where=sa.text("exec_type = 'TRADE'")),
    postgresql_partition_by="RANGE (timestamp)",
)
"""Every order report. The newest report of an order that is not `PENDING_NEW` has its current state."""

trades = sa.Table(
    "trades",
    market_data,
    sa.Column("trade_id", sa.BigInteger, primary_key=True),
    sa.Column("timestamp", sa.BigInteger, primary_key=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("price", sa.BigInteger, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("aggressor_side", sa.Text, nullable=False),
    sa.Column("maker_order_id", sa.BigInteger, nullable=False),
    sa.Column("taker_order_id", sa.BigInteger, nullable=False),
    sa.Column("maker_fee", sa.BigInteger, nullable=False),
    sa.Column("taker_fee", sa.BigInteger, nullable=False),
    sa.Index("trades_by_symbol", "symbol", "trade_id"),
    sa.Index("trades_by_time", "symbol", "timestamp"),
    postgresql_partition_by="RANGE (timestamp)",
)
"""Every trade."""

price_updates = sa.Table(
    "price_updates",
    market_data,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("book_sequence", sa.BigInteger, primary_key=True),
    sa.Column("timestamp", sa.BigInteger, primary_key=True),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("price", sa.BigInteger, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("order_count", sa.BigInteger, nullable=False),
    postgresql_partition_by="RANGE (timestamp)",
)
"""Every change of a price level."""

settlement_reports = sa.Table(
    "settlement_reports",
    market_data,
    sa.Column("instruction", sa.BigInteger, primary_key=True),
    sa.Column("timestamp", sa.BigInteger, primary_key=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("trade_id", sa.BigInteger, nullable=False),
    sa.Column("transfer_id", sa.BigInteger, nullable=False),
    sa.Column("cash", JSONB, nullable=False),
    sa.Column("holdings", JSONB, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Index("settlement_reports_rejected", "instruction", postgresql_where=sa.text("status = 'REJECTED'")),
    postgresql_partition_by="RANGE (timestamp)",
)
"""Every settlement report."""

events = sa.Table(
    "events",
    market_data,
    sa.Column("report_id", sa.BigInteger, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("timestamp", sa.BigInteger, primary_key=True),
    sa.Column("body", JSONB, nullable=False),
    postgresql_partition_by="RANGE (timestamp)",
)
"""Every other report, as JSON. `kind` is the name of the record."""

securities = sa.Table(
    "securities",
    market_data,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("tick_size", sa.Text, nullable=False),
    sa.Column("lot_size", sa.Text, nullable=False),
    sa.Column("tick_value", sa.BigInteger, nullable=False),
    sa.Column("reference_price", sa.BigInteger, nullable=False),
    sa.Column("maker_fee_bps", sa.Integer, nullable=False),
    sa.Column("taker_fee_bps", sa.Integer, nullable=False),
    sa.Column("pricing_rule", sa.Text, nullable=False, server_default="resting"),
    sa.Column("band_bps", sa.Integer, nullable=False, server_default="0"),
    sa.Column("auction_seconds", sa.Integer, nullable=False, server_default="30"),
    sa.Column("max_order_quantity", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("max_order_value", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("short_limit", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("position_limit", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("state", sa.Text, nullable=False, server_default="continuous"),
    sa.Column("last_price", sa.BigInteger, nullable=False),
    sa.Column("book_sequence", sa.BigInteger, nullable=False),
    sa.Column("opening_day", sa.BigInteger, nullable=False, server_default="-1"),
    sa.Column("opening_price", sa.BigInteger, nullable=False, server_default="0"),
)
"""Read model: the listed securities, their last prices, and the number of the newest price update in `levels`.

`opening_price` is the price at the start of `opening_day`, the day of the last trade in days of Unix time."""

levels = sa.Table(
    "levels",
    market_data,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("side", sa.Text, primary_key=True),
    sa.Column("price", sa.BigInteger, primary_key=True),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("order_count", sa.BigInteger, nullable=False),
)
"""Read model: the current price levels of all books."""

open_orders = sa.Table(
    "open_orders",
    market_data,
    sa.Column("order_id", sa.BigInteger, primary_key=True),
    sa.Column("report_id", sa.BigInteger, nullable=False),
)
"""Read model: the open orders, each with the id of its newest report."""

clients = sa.Table(
    "clients",
    market_data,
    sa.Column("client_id", sa.Text, primary_key=True),
    sa.Column("cash", sa.BigInteger, nullable=False),
    sa.Column("suspended", sa.Boolean, nullable=False),
    sa.Column("opened_with", sa.Numeric, nullable=False),
    sa.Column("trades", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("peak", sa.Numeric, nullable=False, server_default="0"),
    sa.Column("drawdown", sa.Numeric, nullable=False, server_default="0"),
    sa.Column("house", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("since", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("profit", sa.Numeric, nullable=False, server_default="0"),
    sa.Column("gains", sa.Numeric, nullable=False, server_default="0"),
    sa.Column("squares", sa.Numeric, nullable=False, server_default="0"),
)
"""Read model: clients and their settled cash.

- `opened_with`: deposits less withdrawals, shares at their prices at that time (`given` in JSON)
- `trades`: the number of fills
- `house`: whether the account is of one of the exchange's own bots
- `peak`, `drawdown`, `profit`: the greatest profit of all samples, the greatest fall from a peak, and the newest profit
- `gains`, `squares`: the sum of the changes of the profit between samples, and of their squares, from sample `since` on

Amounts that contain the value of holdings may need more than 64 bits, so they are numeric."""

candles = sa.Table(
    "candles",
    market_data,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("start", sa.BigInteger, primary_key=True),
    sa.Column("open", sa.BigInteger, nullable=False),
    sa.Column("high", sa.BigInteger, nullable=False),
    sa.Column("low", sa.BigInteger, nullable=False),
    sa.Column("close", sa.BigInteger, nullable=False),
    sa.Column("volume", sa.BigInteger, nullable=False),
    sa.Column("trades", sa.BigInteger, nullable=False),
)
"""Read model: the trades of each minute. `start` is in seconds of Unix time."""

equity = sa.Table(
    "equity",
    market_data,
    sa.Column("client_id", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, primary_key=True),
    sa.Column("equity", sa.Numeric, nullable=False),
    sa.Index("equity_by_time", "at"),
    postgresql_partition_by="RANGE (at)",
)
"""Samples of the equity of clients. A sample that is equal to the one before it is not stored."""

keys = sa.Table(
    "keys",
    market_data,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("client_id", sa.Text, nullable=False),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("revoked_at", sa.BigInteger),
    sa.Index("keys_by_client", "client_id", "issued_at"),
)
"""Read model: the ids of all issued API keys. The keys themselves are not stored."""

participants = sa.Table(
    "participants",
    market_data,
    sa.Column("client_id", sa.Text, primary_key=True),
    sa.Column("timestamp", sa.BigInteger, nullable=False),
    sa.Column("nickname", sa.Text, nullable=False),
    sa.Column("team", sa.Text, nullable=False),
    sa.Column("seat", sa.Text, nullable=False),
)
"""Read model: the participants of a classroom."""

client_holdings = sa.Table(
    "holdings",
    market_data,
    sa.Column("client_id", sa.Text, primary_key=True),
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("quantity", sa.BigInteger, nullable=False),
)
"""Read model: the settled holdings of clients."""

positions = sa.Table(
    "positions",
    market_data,
    sa.Column("client_id", sa.Text, primary_key=True),
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("cost", sa.Numeric, nullable=False),
    sa.Column("realised", sa.Numeric, nullable=False),
    sa.Column("fees", sa.Numeric, nullable=False),
    sa.Column("day", sa.BigInteger, nullable=False),
    sa.Column("opening_quantity", sa.BigInteger, nullable=False),
    sa.Column("opening_result", sa.Numeric, nullable=False),
    sa.Column("trades", sa.BigInteger, nullable=False),
)
"""Read model: the positions of clients by the average-cost method, with all fills.

At the start of `day`, `opening_quantity` was the quantity, and `opening_result` the payments for all trades, less fees."""

market_consumed = sa.Table(
    "consumed",
    market_data,
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("producers", JSONB, nullable=False),
    sa.Column("totals", JSONB, nullable=False),
)
"""The position of the feed on `data_feed`, and its counts at that position.

In `totals`, `sampled_at` is the time of the newest sample of equities, and `samples` is the number of samples."""

session_reports = sa.Table(
    "session_reports",
    market_data,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("body", JSONB, nullable=False),
)
"""Read model: the reports that make the state of the session, as JSON.

- `session`: the newest state, with an empty key
- `news`: by id
- `role`: by client
- `round`: the result of a round, by its number
- `tender`: the tenders of the round, by id
- `plan`: the plan, with an empty key
- `begun`: the start of a round, by its number
- `activity`: what a client has done in a round, by the number of the round and the client"""

retired = sa.Table(
    "retired",
    market_data,
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("rows", sa.BigInteger, nullable=False),
)
"""The number of rows of a day that were removed because they were too old. Price updates are counted by symbol.

With it, the audit distinguishes removed rows from missing rows."""
