"""The requests of `ExchangeClient` and `AsyncExchangeClient`, and how their answers are read. No I/O."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
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
RESEND_PAUSES_SECONDS = (0.5, 1.0, 2.0)
"""The pauses before each time that an order without an answer is sent again."""
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
    """Return the request that enters an order. `terms` are further fields of `POST /orders`.

    Without a `client_order_id` the order gets one, so that it can be sent again.
    """
    body = {"symbol": symbol, "side": side, "quantity": amount_text(quantity), **_as_json(terms)}
    body.setdefault("client_order_id", secrets.token_hex(8))
    if "order_type" not in terms:
        order_type = "market" if price is None else "limit"
        body["order_type"] = f"stop_{order_type}" if terms.get("trigger_price") is not None else order_type
    if price is not None:
        body["price"] = amount_text(price)
    return Request("POST", False, "/orders", OrderView, body=body)


def amend_request(order_id: str, quantity: Amount | None, price: Amount | None, trigger_price: Amount | None) -> Request:
    """Return the request that amends an order. A value of None leaves a field as it is."""
    amounts = {"quantity": quantity, "price": price, "trigger_price": trigger_price}
    body = {name: amount_text(amount) for name, amount in amounts.items() if amount is not None}
    return Request("PATCH", False, f"/orders/{order_id}", OrderView, body=body)


def answer_tender_request(tender_id: str, accept: bool, price: Amount | None) -> Request:
    """Return the request that answers a tender. `price` is None unless the tender is an auction."""
    body = {"accept": accept} if price is None else {"accept": accept, "price": amount_text(price)}
    return Request("POST", False, f"/tenders/{tender_id}/answer", dict[str, bool], body=body)


def key_headers(key: str) -> dict[str, str]:
    """Return the headers that log a client in. They are empty without a key."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def open_account_request(client_id: str, invitation_code: str) -> Request:
    """Return the request that opens an account."""
    body = {"client_id": client_id, "invitation_code": invitation_code}
    return Request("POST", False, "/clients", AccountView, body={key: text for key, text in body.items() if text})


def amount_text(amount: Amount) -> str:
    """Return an amount as plain decimal text. Text stays as it is: the exchange checks it, and names the field.

    >>> amount_text(1e-7), amount_text(5), amount_text("12.50")
    ('0.0000001', '5', '12.50')
    """
    return amount if isinstance(amount, str) else f"{Decimal(str(amount)):f}"


def _as_json(terms: Mapping[str, Any]) -> dict[str, Any]:
    def converted(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        return amount_text(value) if isinstance(value, (Decimal, float)) else value

    return {name: converted(value) for name, value in terms.items() if value is not None}


def decode_answer(request: Request, answer: httpx.Response) -> Any:
    """Return the body of an answer as `request.answer`.

    Raises:
        ExchangeError: The exchange refused the request, or the answer is not one of an exchange.
    """
    try:
        if answer.is_success:
            return msgspec.json.decode(answer.content, type=request.answer)
        error = answer.json()["error"]
        raise ExchangeError(error["code"], error["message"], error.get("field"), error.get("retry_after"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ExchangeError("HTTP", f"{answer.status_code} from {answer.url}") from None


def may_have_arrived(error: Exception) -> bool:
    """Return whether a request that ended with this error may have had an effect."""
    if isinstance(error, ExchangeError):
        return error.code == "OUTCOME_UNKNOWN"
    return isinstance(error, httpx.TransportError)


def had_no_effect(error: Exception) -> bool:
    """Return whether a request that ended with this error had no effect, and another attempt may have one."""
    return isinstance(error, ExchangeError) and error.code in ("UNAVAILABLE", "RATE_LIMITED", "UNREACHABLE")


def was_refused_unchecked(error: Exception) -> bool:
    """Return whether a request was refused before the exchange compared its `client_order_id` with earlier orders.

    Such a refusal states nothing about an earlier attempt under the same id.
    """
    return isinstance(error, ExchangeError) and error.code in ("DISK_FULL", "HTTP")


class Resends:
    """The times at which an order is sent again. The exchange enters it once, and answers with the first one.

    An order is sent again only if the first attempt may have arrived.
    """

    def __init__(self) -> None:
        self._unknown: Exception | None = None
        self._pauses: Iterator[float] = iter(RESEND_PAUSES_SECONDS)

    def pause_after(self, error: Exception) -> float:
        """Return the pause in seconds after which the order is sent again.

        Raises:
            ExchangeError, httpx.TransportError: The order is not sent again.
        """
        if may_have_arrived(error):
            self._unknown = self._unknown or error
        if self._unknown is None or not (may_have_arrived(error) or had_no_effect(error) or was_refused_unchecked(error)):
            raise error
        pause = next(self._pauses, None)
        if pause is None:
            raise self._unknown
        return pause


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
