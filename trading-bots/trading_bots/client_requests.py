"""The requests of `ExchangeClient` and `AsyncExchangeClient`, and how their answers are read. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
import msgspec

from microexchange.schemas import AccountView, FillView, OrderView, TradeView

GATEWAY_URL = "http://127.0.0.1:8000"
MARKET_DATA = "/market-data"
"""The gateway serves the interface of the feed below this path."""
ACCOUNT_POLLS = 250
"""Requests for the balance of a new account, until the feed has the account."""
ACCOUNT_POLL_INTERVAL_SECONDS = 0.02
Amount = Decimal | int | float | str


class ExchangeError(RuntimeError):
    """A request that the exchange refused, or that no exchange answered.

    `code` is stable: one of the codes of `docs/refusals.md`, `UNREACHABLE` if no connection can be made, or `HTTP` if the
    answer is not one of an exchange. `message` explains it. `field` names the wrong field of the request, if there is one.
    `retry_after` is the time to wait in seconds, after a rate limit.
    """

    def __init__(self, code: str, message: str, field: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.field, self.retry_after = code, message, field, retry_after


class Page(msgspec.Struct):
    """An answer with one page of trades or fills."""

    trades: list[TradeView] = []
    fills: list[FillView] = []


class Request(msgspec.Struct, frozen=True):
    """A request to the exchange."""

    method: str
    to_feed: bool
    """True for the feed, False for the gateway."""
    path: str
    answer: Any
    """The type of the answer."""
    query: dict[str, Any] = {}
    body: dict[str, Any] | None = None


def new_order_request(side: str, symbol: str, quantity: Amount, price: Amount | None, terms: Mapping[str, Any]) -> Request:
    """Return the request that enters an order. `terms` are further fields of `POST /orders`."""
    body = {"symbol": symbol, "side": side, "quantity": str(quantity), **_as_json(terms)}
    if "order_type" not in terms:
        order_type = "market" if price is None else "limit"
        body["order_type"] = f"stop_{order_type}" if terms.get("trigger_price") is not None else order_type
    if price is not None:
        body["price"] = str(price)
    return Request("POST", False, "/orders", OrderView, body=body)


def amend_request(order_id: str, quantity: Amount | None, price: Amount | None, trigger_price: Amount | None) -> Request:
    """Return the request that amends an order. A value of None leaves a field as it is."""
    amounts = {"quantity": quantity, "price": price, "trigger_price": trigger_price}
    body = {name: str(amount) for name, amount in amounts.items() if amount is not None}
    return Request("PATCH", False, f"/orders/{order_id}", OrderView, body=body)


def open_account_request(client_id: str, invitation_code: str) -> Request:
    """Return the request that opens an account."""
    body = {"client_id": client_id, "invitation_code": invitation_code}
    return Request("POST", False, "/clients", AccountView, body={key: text for key, text in body.items() if text})


def _as_json(terms: Mapping[str, Any]) -> dict[str, Any]:
    def converted(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        return str(value) if isinstance(value, (Decimal, float)) else value

    return {name: converted(value) for name, value in terms.items() if value is not None}


def decode_answer(request: Request, answer: httpx.Response) -> Any:
    """Return the body of an answer as `request.answer`.

    Raises:
        ExchangeError: The exchange refused the request.
    """
    if answer.is_success:
        return msgspec.json.decode(answer.content, type=request.answer)
    try:
        error = answer.json()["error"]
        raise ExchangeError(error["code"], error["message"], error.get("field"), error.get("retry_after"))
    except (ValueError, KeyError, TypeError):
        raise ExchangeError("HTTP", f"{answer.status_code} from {answer.url}") from None


def unreachable(url: str) -> ExchangeError:
    """Return the error for an address at which no connection can be made."""
    parts = httpx.URL(url)
    address = f"{parts.scheme}://{parts.netloc.decode()}"
    return ExchangeError(
        "UNREACHABLE", f"no exchange answers at {address}: start it with ./mx up, or pass its address as gateway_url"
    )


class Account:
    """The account that a client uses."""

    client_id = ""
    """The client id of the account. Empty until `open_account`, unless it was passed."""

    def _own_id(self) -> str:
        if not self.client_id:
            raise ExchangeError("UNAUTHENTICATED", "no account: call open_account, or pass key and client_id")
        return self.client_id
