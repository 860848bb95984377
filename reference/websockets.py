"""The WebSockets: what clients send, from the types that the services decode it with, and what they hear. As AsyncAPI 3.0
documents, and as Markdown.

A test listens to a running exchange and holds every message to these types.
"""

import sys
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from market_data_feed import websocket as feed
from microexchange import __version__
from microexchange.enums import Side, TradingState
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
    ReportView,
    RestingOrderView,
    TickerView,
    TradeView,
)
from order_entry_gateway import websocket as gateway
from order_entry_gateway.websocket import RequestId
from reference.fields import describe
from reference.rest import fields, kind

Json = dict[str, Any]


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """Base of what a service says."""


# --- the gateway --------------------------------------------------------------------------------------------


class LoginAnswer(Said, tag_field="op", tag="login", kw_only=True):
    """Who you are on this connection, or why you are nobody."""

    id: RequestId = None
    ok: bool
    client_id: str | UnsetType = UNSET
    sequence: int | UnsetType = UNSET
    """Of the newest report there was: those that follow have higher ones."""
    error: ErrorDetail | UnsetType = UNSET


class RequestAnswer(Said):
    """The answer to an order, an amendment, a cancel, a question: it has the `id` of the request."""

    id: RequestId
    ok: bool
    order: OrderView | UnsetType = UNSET
    orders: list[OrderView] | UnsetType = UNSET
    """Of `cancel_all`: the orders that it cancelled."""
    error: ErrorDetail | UnsetType = UNSET


class Pong(Said, tag_field="op", tag="pong"):
    """The gateway hears."""

    id: RequestId
    ok: bool


class Report(Said, tag_field="op", tag="report"):
    """An execution report: an order of yours has changed."""

    sequence: int
    """For `resume_from`."""
    report: ReportView


class Heartbeat(Said, tag_field="op", tag="heartbeat"):
    """As often as the login has asked for."""

    timestamp: str
    sequence: int


# --- the feed -----------------------------------------------------------------------------------------------


class FeedLogin(Said, tag_field="op", tag="login"):
    """Who you are on this connection."""

    ok: bool
    client_id: str


class Subscribed(Said, tag_field="op", tag="subscribed"):
    """What you hear from now on."""

    channel: feed.Channel
    symbols: list[str]


class Unsubscribed(Said, tag_field="op", tag="unsubscribed"):
    """What you hear no longer."""

    channel: feed.Channel
    symbols: list[str]


class FeedPong(Said, tag_field="op", tag="pong"):
    """The feed hears."""


class FeedError(Said, tag_field="op", tag="error"):
    """A request was refused."""

    error: ErrorDetail


class BookSnapshot(Said, tag_field="type", tag="snapshot"):
    """Channel `book`: how it stands, at its sequence."""

    channel: Literal["book"]
    book: BookView


class BookUpdate(Said, tag_field="type", tag="update"):
    """Channel `book`: levels that have changed; a quantity of 0 for one that is gone. It follows `previous_sequence`."""

    channel: Literal["book"]
    symbol: str
    previous_sequence: int
    sequence: int
    changes: list[tuple[Side, LevelView]]


class FullBookSnapshot(Said, tag_field="type", tag="snapshot"):
    """Channel `book.full`: every order, without its owner."""

    channel: Literal["book.full"]
    book: FullBookView


class FullBookUpdate(Said, tag_field="type", tag="update"):
    """Channel `book.full`: orders that have changed; a quantity of 0 for one that is gone."""

    channel: Literal["book.full"]
    symbol: str
    previous_sequence: int
    sequence: int
    changes: list[RestingOrderView]


class Bbo(Said, tag_field="type", tag="bbo"):
    """Channel `bbo`: best bid and offer."""

    channel: Literal["bbo"]
    bbo: BboView


class TradeSaid(Said, tag_field="type", tag="trade"):
    """Channel `trades`."""

    channel: Literal["trades"]
    trade: TradeView


class Candle(Said, tag_field="type", tag="candle"):
    """Channel `candles`: the newest of the interval."""

    channel: Literal["candles"]
    symbol: str
    interval: str
    candle: CandleView | None


class Ticker(Said, tag_field="type", tag="ticker"):
    """Channel `ticker`: the last 24 hours."""

    channel: Literal["ticker"]
    ticker: TickerView


class Status(Said, tag_field="type", tag="status"):
    """Channel `status`: the state of a security's market."""

    channel: Literal["status"]
    symbol: str
    state: TradingState
    ends_at: str | UnsetType | None = UNSET
    reason: str | UnsetType = UNSET


class Auction(Said, tag_field="type", tag="auction"):
    """Channel `auction`: the price at which an auction would end now; null where there is none."""

    channel: Literal["auction"]
    symbol: str
    auction: Any


class FeedReport(Said, tag_field="type", tag="report"):
    """Channel `orders`, your own: an execution report."""

    channel: Literal["orders"]
    sequence: int
    report: ReportView


class Balance(Said, tag_field="type", tag="balance"):
    """Channel `balances`, your own: cash and holdings."""

    channel: Literal["balances"]
    balance: BalanceView
    holdings: list[HoldingView]


class Leaderboard(Said, tag_field="type", tag="leaderboard"):
    """Channel `leaderboard`."""

    channel: Literal["leaderboard"]
    leaders: list[LeaderView]


class MarketData(Said):
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
    Bbo, TradeSaid, Candle, Ticker, Status, Auction, FeedReport, Balance, Leaderboard,
]  # fmt: skip
CHANNELS: dict[str, dict[str, tuple[list[type], list[type]]]] = {
    "Order entry": {"/ws/orders": (TO_GATEWAY, FROM_GATEWAY)},
    "Market data": {
        "/ws": (TO_FEED, FROM_FEED),
        "/ws/marketdata": ([], [MarketData]),
        "/ws/trades": ([], [TradeView]),
    },
}
"""By service and address: what a client sends there, and what it hears."""


def document(title: str) -> Json:
    """The AsyncAPI document of one service. Its point of view is the service's: it receives what clients send."""
    addresses = CHANNELS[title]
    types = list(dict.fromkeys(kind_ for pair in addresses.values() for side in pair for kind_ in side))
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    describe(schemas, sys.modules[__name__], gateway if addresses is CHANNELS["Order entry"] else feed)
    channels: Json = {}
    operations: Json = {}
    for address, (sent, heard) in addresses.items():
        name = address.strip("/").replace("/", "-")
        names = [one.__name__ for one in (*sent, *heard)]
        channels[name] = {
            "address": address,
            "messages": {one: {"$ref": f"#/components/messages/{one}"} for one in names},
        }
        for action, of in (("receive", sent), ("send", heard)):
            if of:
                operations[f"{action}-{name}"] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{name}"},
                    "messages": [{"$ref": f"#/channels/{name}/messages/{one.__name__}"} for one in of],
                }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": f"microexchange {title.lower()}", "version": __version__},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {
                one.__name__: {
                    "summary": _summary(one),
                    "payload": {"$ref": f"#/components/schemas/{one.__name__}"},
                }
                for one in types
            },
            "schemas": schemas,
        },
    }


def _summary(kind_: type) -> str:
    return " ".join((kind_.__doc__ or "").split())


def page(title: str, file: str) -> str:
    """Markdown of the same."""
    made = document(title)
    schemas = made["components"]["schemas"]
    parts = [
        f"# {title}: WebSockets",
        f"As an AsyncAPI document for tools: [{file}]({file}). Messages are JSON in text frames.",
    ]
    told: set[str] = set()
    for address, sides in CHANNELS[title].items():
        parts.append(f"## `{address}`")
        for heading, types in zip(("You send", "You hear"), sides, strict=True):
            if types:
                parts.append(f"### {heading}{'' if address == '/ws' or address == '/ws/orders' else f' on {address}'}")
            for one in types:
                told.add(one.__name__)
                parts += [f"#### {one.__name__}", _summary(one), fields(schemas[one.__name__])]
    parts.append("## Types")
    for name in sorted(set(schemas) - told):
        schema = schemas[name]
        parts += [f"#### {name}", " ".join(schema.get("description", "").split())]
        parts.append(kind(schema) if "enum" in schema or "prefixItems" in schema else fields(schema))
    return "\n\n".join(part for part in parts if part) + "\n"
