"""The WebSocket messages as AsyncAPI 3.0 documents and as Markdown.

The requests are the types with which the services decode them. The answers and updates are the types in this module. A test
connects to a running exchange and checks every message against these types.
"""

import sys
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from market_data_feed import websocket as feed
from microexchange import __version__
from microexchange.enums import Side, TradingState
from microexchange.number_fields import schema_components
from microexchange.schemas import (
    BalanceView,
    BboView,
    BookView,
    CandleView,
    ErrorDetail,
    FullBookView,
    HoldingView,
    LeaderView,
    LevelView,
    OrderView,
    PositionView,
    ReportView,
    RestingOrderView,
    TickerView,
    TradeView,
)
from microexchange.session_views import NewsView, SessionView, TenderView
from order_entry_gateway import websocket as gateway
from order_entry_gateway.websocket import RequestId
from reference.fields import describe
from reference.rest import fields, type_text

Json = dict[str, Any]


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """Base of the messages that a service sends."""


# --- the gateway --------------------------------------------------------------------------------------------


class LoginAnswer(Message, tag_field="op", tag="login", kw_only=True):
    """The answer to a login: your client id, or the reason of a refusal."""

    id: RequestId = None
    ok: bool
    client_id: str | UnsetType = UNSET
    sequence: int | UnsetType = UNSET
    """The sequence of your newest report. Later reports have higher ones."""
    error: ErrorDetail | UnsetType = UNSET


class RequestAnswer(Message):
    """The answer to an order, an amendment, a cancel or a query. It has the `id` of the request."""

    id: RequestId
    ok: bool
    order: OrderView | UnsetType = UNSET
    orders: list[OrderView] | UnsetType = UNSET
    """The cancelled orders, in the answer to `cancel_all`."""
    error: ErrorDetail | UnsetType = UNSET


class Pong(Message, tag_field="op", tag="pong"):
    """The answer of the gateway to a ping."""

    id: RequestId
    ok: bool


class Report(Message, tag_field="op", tag="report"):
    """An execution report of one of your orders."""

    sequence: int
    """The number to give as `resume_from`."""
    report: ReportView


class Heartbeat(Message, tag_field="op", tag="heartbeat"):
    """A message at the interval that the login asked for."""

    timestamp: str
    sequence: int


# --- the feed -----------------------------------------------------------------------------------------------


class FeedLogin(Message, tag_field="op", tag="login"):
    """The answer to a login: your client id."""

    ok: bool
    client_id: str


class Subscribed(Message, tag_field="op", tag="subscribed"):
    """The channel and the securities that you are subscribed to."""

    channel: feed.Channel
    symbols: list[str]


class Unsubscribed(Message, tag_field="op", tag="unsubscribed"):
    """The channel and the securities that you are no longer subscribed to."""

    channel: feed.Channel
    symbols: list[str]


class FeedPong(Message, tag_field="op", tag="pong"):
    """The answer of the feed to a ping."""


class FeedError(Message, tag_field="op", tag="error"):
    """The refusal of a request."""

    error: ErrorDetail


class BookSnapshot(Message, tag_field="type", tag="snapshot"):
    """Channel `book`: the whole book at a sequence."""

    channel: Literal["book"]
    book: BookView


class BookUpdate(Message, tag_field="type", tag="update"):
    """Channel `book`: the levels that changed after `previous_sequence`. A removed level has the quantity 0."""

    channel: Literal["book"]
    symbol: str
    previous_sequence: int
    sequence: int
    changes: list[tuple[Side, LevelView]]


class FullBookSnapshot(Message, tag_field="type", tag="snapshot"):
    """Channel `book.full`: every order of the book, without its owner."""

    channel: Literal["book.full"]
    book: FullBookView


class FullBookUpdate(Message, tag_field="type", tag="update"):
    """Channel `book.full`: the orders that changed after `previous_sequence`. A removed order has the quantity 0."""

    channel: Literal["book.full"]
    symbol: str
    previous_sequence: int
    sequence: int
    changes: list[RestingOrderView]


class Bbo(Message, tag_field="type", tag="bbo"):
    """Channel `bbo`: the best bid and offer."""

    channel: Literal["bbo"]
    bbo: BboView


class TradeMessage(Message, tag_field="type", tag="trade"):
    """Channel `trades`: one trade."""

    channel: Literal["trades"]
    trade: TradeView


class Candle(Message, tag_field="type", tag="candle"):
    """Channel `candles`: the newest candle of an interval."""

    channel: Literal["candles"]
    symbol: str
    interval: str
    candle: CandleView | None


class Ticker(Message, tag_field="type", tag="ticker"):
    """Channel `ticker`: the statistics of the last 24 hours."""

    channel: Literal["ticker"]
    ticker: TickerView


class Status(Message, tag_field="type", tag="status"):
    """Channel `status`: the trading state of a security."""

    channel: Literal["status"]
    symbol: str
    state: TradingState
    ends_at: str | UnsetType | None = UNSET
    reason: str | UnsetType = UNSET


class Auction(Message, tag_field="type", tag="auction"):
    """Channel `auction`: the price at which the auction would end now. It is null outside of auctions."""

    channel: Literal["auction"]
    symbol: str
    auction: Any


class FeedReport(Message, tag_field="type", tag="report"):
    """Channel `orders`: an execution report of one of your orders."""

    channel: Literal["orders"]
    sequence: int
    report: ReportView


class Balance(Message, tag_field="type", tag="balance"):
    """Channel `balances`: your cash and holdings."""

    channel: Literal["balances"]
    balance: BalanceView
    holdings: list[HoldingView]


class Positions(Message, tag_field="type", tag="positions"):
    """Channel `positions`: your positions, with their average cost and profit."""

    channel: Literal["positions"]
    positions: list[PositionView]


class Leaderboard(Message, tag_field="type", tag="leaderboard"):
    """Channel `leaderboard`: all accounts by profit."""

    channel: Literal["leaderboard"]
    leaders: list[LeaderView]


class Session(Message, tag_field="type", tag="session"):
    """Channel `session`: the session, its round and the clock. It is null if no session is planned."""

    channel: Literal["session"]
    session: SessionView | None


class News(Message, tag_field="type", tag="news"):
    """Channel `news`: news that you may read."""

    channel: Literal["news"]
    news: NewsView


class Tender(Message, tag_field="type", tag="tender"):
    """Channel `tenders`: a tender that you may answer."""

    channel: Literal["tenders"]
    tender: TenderView


class MarketData(Message):
    """`/ws/marketdata?symbol=`: the ten best levels of each side, as [price, quantity]."""

    timestamp: str
    symbol: str
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


TO_GATEWAY: list[type] = [
    gateway.Login, gateway.EnterOrder, gateway.Amend, gateway.Cancel, gateway.CancelAllOrders, gateway.Get, gateway.Ping
]  # fmt: skip
FROM_GATEWAY: list[type] = [LoginAnswer, RequestAnswer, Pong, Report, Heartbeat]
TO_FEED: list[type] = [feed.Login, feed.Subscribe, feed.Unsubscribe, feed.Ping]
FROM_FEED: list[type] = [
    FeedLogin, Subscribed, Unsubscribed, FeedPong, FeedError, BookSnapshot, BookUpdate, FullBookSnapshot, FullBookUpdate,
    Bbo, TradeMessage, Candle, Ticker, Status, Auction, FeedReport, Balance, Positions, Leaderboard, Session, News,
    Tender,
]  # fmt: skip
CHANNELS: dict[str, dict[str, tuple[list[type], list[type]]]] = {
    "Order entry": {"/ws/orders": (TO_GATEWAY, FROM_GATEWAY)},
    "Market data": {
        "/ws": (TO_FEED, FROM_FEED),
        "/ws/marketdata": ([], [MarketData]),
        "/ws/trades": ([], [TradeView]),
    },
}
"""The types that a client sends, and the types that it receives, by service and address."""


def document(title: str) -> Json:
    """Return the AsyncAPI document of one service. It `receive`s what clients send."""
    addresses = CHANNELS[title]
    types = list(dict.fromkeys(message_type for pair in addresses.values() for side in pair for message_type in side))
    schemas = schema_components(types)
    describe(schemas, sys.modules[__name__], gateway if addresses is CHANNELS["Order entry"] else feed)
    channels: Json = {}
    operations: Json = {}
    for address, (requests, messages) in addresses.items():
        name = address.strip("/").replace("/", "-")
        names = [message_type.__name__ for message_type in (*requests, *messages)]
        channels[name] = {
            "address": address,
            "messages": {message: {"$ref": f"#/components/messages/{message}"} for message in names},
        }
        for action, action_types in (("receive", requests), ("send", messages)):
            if action_types:
                operations[f"{action}-{name}"] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{name}"},
                    "messages": [
                        {"$ref": f"#/channels/{name}/messages/{message_type.__name__}"} for message_type in action_types
                    ],
                }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": f"microexchange {title.lower()}", "version": __version__},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {
                message_type.__name__: {
                    "summary": _summary(message_type),
                    "payload": {"$ref": f"#/components/schemas/{message_type.__name__}"},
                }
                for message_type in types
            },
            "schemas": schemas,
        },
    }


def _summary(message_type: type) -> str:
    return " ".join((message_type.__doc__ or "").split())


def page(title: str, file: str) -> str:
    """Return the page of one service in Markdown."""
    api = document(title)
    schemas = api["components"]["schemas"]
    parts = [
        f"# {title}: WebSockets",
        f"As an AsyncAPI document for tools: [{file}]({file}). Messages are JSON in text frames.",
    ]
    described: set[str] = set()
    for address, sides in CHANNELS[title].items():
        parts.append(f"## `{address}`")
        for heading, types in zip(("You send", "You receive"), sides, strict=True):
            if types:
                parts.append(f"### {heading}{'' if address == '/ws' or address == '/ws/orders' else f' on {address}'}")
            for message_type in types:
                name = message_type.__name__
                described.add(name)
                parts += [f"#### {name}", _summary(message_type), fields(schemas[name])]
    parts.append("## Types")
    for name in sorted(set(schemas) - described):
        schema = schemas[name]
        parts += [f"#### {name}", " ".join(schema.get("description", "").split())]
        parts.append(type_text(schema) if "enum" in schema or "prefixItems" in schema else fields(schema))
    return "\n\n".join(part for part in parts if part) + "\n"
