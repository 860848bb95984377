"""Plain clients with typed answers, for notebooks and scripts: one that waits, and one to `await`.

>>> with ExchangeClient() as exchange:  # doctest: +SKIP
...     exchange.open_account("ada")
...     exchange.buy("AAPL", 1, "190.00").status
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec

from microexchange.schemas import (
    AccountView,
    BalanceView,
    BboView,
    BookView,
    CandleView,
    EquityView,
    FillView,
    HoldingView,
    LeaderView,
    OrderView,
    SecurityView,
    TradeView,
)

GATEWAY_URL = "http://127.0.0.1:8000"
MARKET_DATA = "/market-data"
"""Below this path, the gateway serves what the feed serves."""
LOOKS, LOOK_SECONDS = 250, 0.02
"""How often to look whether the feed has heard of a new account, and how long to wait between."""
Amount = Decimal | int | float | str
T = TypeVar("T")


class ExchangeError(RuntimeError):
    """The exchange has refused a request. `code` is stable, `field` names what is at fault."""

    def __init__(self, code: str, message: str, field: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.field, self.retry_after = code, message, field, retry_after


class _Page(msgspec.Struct):
    trades: list[TradeView] = []
    orders: list[OrderView] = []
    fills: list[FillView] = []


class _Ask(msgspec.Struct, frozen=True):
    """A request: what both clients send."""

    method: str
    feed: bool
    path: str
    answer: Any
    query: dict[str, Any] = {}
    body: dict[str, Any] | None = None


def _order(side: str, symbol: str, quantity: Amount, price: Amount | None, terms: Mapping[str, Any]) -> _Ask:
    body = {"symbol": symbol, "side": side, "quantity": str(quantity), **_text(terms)}
    if "order_type" not in terms:
        kind = "market" if price is None else "limit"
        body["order_type"] = f"stop_{kind}" if terms.get("trigger_price") is not None else kind
    if price is not None:
        body["price"] = str(price)
    return _Ask("POST", False, "/orders", OrderView, body=body)


def _text(terms: Mapping[str, Any]) -> dict[str, Any]:
    def shown(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        return str(value) if isinstance(value, (Decimal, float)) else value

    return {name: shown(value) for name, value in terms.items() if value is not None}


def _read(ask: _Ask, answer: httpx.Response) -> Any:
    """What the exchange says. Raises `ExchangeError`."""
    if answer.is_success:
        return msgspec.json.decode(answer.content, type=ask.answer)
    try:
        error = answer.json()["error"]
        raise ExchangeError(error["code"], error["message"], error.get("field"), error.get("retry_after"))
    except (ValueError, KeyError, TypeError):
        raise ExchangeError("HTTP", f"{answer.status_code} from {answer.url}") from None


class _Requests:
    """The requests, the same for both clients."""

    client_id = ""
    """Who you are, once you have opened an account or named one."""

    def _own(self) -> str:
        if not self.client_id:
            raise ExchangeError("UNAUTHENTICATED", "who are you? open_account, or give key and client_id")
        return self.client_id

    def _open(self, client_id: str, invitation_code: str) -> _Ask:
        body = {"client_id": client_id, "invitation_code": invitation_code}
        return _Ask("POST", False, "/clients", AccountView, body={key: text for key, text in body.items() if text})

    def _amend(self, order_id: str, quantity: Amount | None, price: Amount | None, trigger_price: Amount | None) -> _Ask:
        amounts = {"quantity": quantity, "price": price, "trigger_price": trigger_price}
        body = {name: str(amount) for name, amount in amounts.items() if amount is not None}
        return _Ask("PATCH", False, f"/orders/{order_id}", OrderView, body=body)


class ExchangeClient(_Requests):
    """A client that waits for each answer. Every method raises `ExchangeError` where the exchange refuses."""

    def __init__(
        self, gateway_url: str = GATEWAY_URL, feed_url: str = "", key: str = "", client_id: str = "", **options: Any
    ) -> None:
        """Without a `feed_url`, market data comes from the gateway too. `options` go to `httpx.Client`."""
        gateway_url = gateway_url.rstrip("/")
        self._urls = (gateway_url, feed_url.rstrip("/") or f"{gateway_url}{MARKET_DATA}")
        self._http = httpx.Client(**{"timeout": 30, **options})
        self.client_id, self.key = client_id, key

    def __enter__(self) -> Self:
        """Closes itself at the end of the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes itself."""
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def _ask(self, ask: _Ask) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        url = self._urls[ask.feed] + ask.path
        return _read(ask, self._http.request(ask.method, url, params=ask.query, json=ask.body, headers=headers))

    def open_account(self, client_id: str, invitation_code: str = "") -> AccountView:
        """Opens an account, and is its client from then on: as soon as the feed knows of it too. Keep `key`: nobody else
        has it."""
        account: AccountView = self._ask(self._open(client_id, invitation_code))
        self.client_id, self.key = account.client_id, account.api_key
        for _ in range(LOOKS):
            try:
                self.balance()
                break
            except ExchangeError as error:
                if error.code != "UNKNOWN_CLIENT":
                    raise
            time.sleep(LOOK_SECONDS)
        return account

    def buy(self, symbol: str, quantity: Amount, price: Amount | None = None, **terms: Any) -> OrderView:
        """Enters a buy: a limit order at `price`, or a market order; with a `trigger_price`, a stop. `terms` as in
        `POST /orders`; a time may be a `datetime` with an offset."""
        order: OrderView = self._ask(_order("buy", symbol, quantity, price, terms))
        return order

    def sell(self, symbol: str, quantity: Amount, price: Amount | None = None, **terms: Any) -> OrderView:
        """Enters a sell."""
        order: OrderView = self._ask(_order("sell", symbol, quantity, price, terms))
        return order

    def amend(
        self,
        order_id: str,
        quantity: Amount | None = None,
        price: Amount | None = None,
        trigger_price: Amount | None = None,
    ) -> OrderView:
        """Changes an open order."""
        order: OrderView = self._ask(self._amend(order_id, quantity, price, trigger_price))
        return order

    def cancel(self, order_id: str) -> OrderView:
        """Cancels an open order."""
        order: OrderView = self._ask(_Ask("DELETE", False, f"/orders/{order_id}", OrderView))
        return order

    def cancel_all(self, symbol: str = "") -> list[OrderView]:
        """Cancels all open orders, or those of a security."""
        orders: list[OrderView] = self._ask(
            _Ask("DELETE", False, "/orders", list[OrderView], {"symbol": symbol} if symbol else {})
        )
        return orders

    def order(self, order_id: str) -> OrderView:
        """An order of yours."""
        order: OrderView = self._ask(_Ask("GET", False, f"/orders/{order_id}", OrderView))
        return order

    def open_orders(self) -> list[OrderView]:
        """Your open orders, as the feed knows them."""
        orders: list[OrderView] = self._ask(_Ask("GET", True, f"/orders/{self._own()}", list[OrderView]))
        return orders

    def fills(self, symbol: str = "", limit: int = 100) -> list[FillView]:
        """Your fills, newest first."""
        query = {"limit": limit, **({"symbol": symbol} if symbol else {})}
        page: _Page = self._ask(_Ask("GET", False, "/fills", _Page, query))
        return page.fills

    def balance(self) -> BalanceView:
        """Your settled cash, and what you are worth."""
        balance: BalanceView = self._ask(_Ask("GET", True, f"/balance/{self._own()}", BalanceView))
        return balance

    def holdings(self) -> list[HoldingView]:
        """Your settled holdings."""
        holdings: list[HoldingView] = self._ask(_Ask("GET", True, f"/holdings/{self._own()}", list[HoldingView]))
        return holdings

    def equity(self, limit: int = 1000) -> list[EquityView]:
        """What you were worth over time, oldest first."""
        points: list[EquityView] = self._ask(_Ask("GET", True, f"/equity/{self._own()}", list[EquityView], {"limit": limit}))
        return points

    def securities(self) -> list[SecurityView]:
        """What is listed."""
        found: list[SecurityView] = self._ask(_Ask("GET", True, "/securities", list[SecurityView], {"limit": 1000}))
        return found

    def book(self, symbol: str, depth: int = 10) -> BookView:
        """A book, best prices first."""
        book: BookView = self._ask(_Ask("GET", True, f"/book/{symbol}", BookView, {"depth": depth}))
        return book

    def bbo(self, symbol: str) -> BboView:
        """The best bid and offer."""
        bbo: BboView = self._ask(_Ask("GET", True, f"/bbo/{symbol}", BboView))
        return bbo

    def trades(self, symbol: str, limit: int = 100) -> list[TradeView]:
        """The market's trades, newest first."""
        page: _Page = self._ask(_Ask("GET", True, f"/trades/{symbol}", _Page, {"limit": limit}))
        return page.trades

    def candles(self, symbol: str, interval: str = "1m", limit: int = 500) -> list[CandleView]:
        """Candles, oldest first: 1s, 1m, 5m, 1h or 1d."""
        query = {"interval": interval, "limit": limit}
        candles: list[CandleView] = self._ask(_Ask("GET", True, f"/candles/{symbol}", list[CandleView], query))
        return candles

    def leaderboard(self, limit: int = 100) -> list[LeaderView]:
        """Who has made the most."""
        leaders: list[LeaderView] = self._ask(_Ask("GET", True, "/leaderboard", list[LeaderView], {"limit": limit}))
        return leaders


class AsyncExchangeClient(_Requests):
    """A client to `await`. Every method raises `ExchangeError` where the exchange refuses."""

    def __init__(
        self, gateway_url: str = GATEWAY_URL, feed_url: str = "", key: str = "", client_id: str = "", **options: Any
    ) -> None:
        """Without a `feed_url`, market data comes from the gateway too. `options` go to `httpx.AsyncClient`."""
        gateway_url = gateway_url.rstrip("/")
        self._urls = (gateway_url, feed_url.rstrip("/") or f"{gateway_url}{MARKET_DATA}")
        self._http = httpx.AsyncClient(**{"timeout": 30, **options})
        self.client_id, self.key = client_id, key

    async def __aenter__(self) -> Self:
        """Closes itself at the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes itself."""
        await self.close()

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def _ask(self, ask: _Ask) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        url = self._urls[ask.feed] + ask.path
        return _read(ask, await self._http.request(ask.method, url, params=ask.query, json=ask.body, headers=headers))

    async def open_account(self, client_id: str, invitation_code: str = "") -> AccountView:
        """Opens an account, and is its client from then on: as soon as the feed knows of it too. Keep `key`: nobody else
        has it."""
        account: AccountView = await self._ask(self._open(client_id, invitation_code))
        self.client_id, self.key = account.client_id, account.api_key
        for _ in range(LOOKS):
            try:
                await self.balance()
                break
            except ExchangeError as error:
                if error.code != "UNKNOWN_CLIENT":
                    raise
            await asyncio.sleep(LOOK_SECONDS)
        return account

    async def buy(self, symbol: str, quantity: Amount, price: Amount | None = None, **terms: Any) -> OrderView:
        """Enters a buy: a limit order at `price`, or a market order; with a `trigger_price`, a stop. `terms` as in
        `POST /orders`; a time may be a `datetime` with an offset."""
        order: OrderView = await self._ask(_order("buy", symbol, quantity, price, terms))
        return order

    async def sell(self, symbol: str, quantity: Amount, price: Amount | None = None, **terms: Any) -> OrderView:
        """Enters a sell."""
        order: OrderView = await self._ask(_order("sell", symbol, quantity, price, terms))
        return order

    async def amend(
        self,
        order_id: str,
        quantity: Amount | None = None,
        price: Amount | None = None,
        trigger_price: Amount | None = None,
    ) -> OrderView:
        """Changes an open order."""
        order: OrderView = await self._ask(self._amend(order_id, quantity, price, trigger_price))
        return order

    async def cancel(self, order_id: str) -> OrderView:
        """Cancels an open order."""
        order: OrderView = await self._ask(_Ask("DELETE", False, f"/orders/{order_id}", OrderView))
        return order

    async def cancel_all(self, symbol: str = "") -> list[OrderView]:
        """Cancels all open orders, or those of a security."""
        orders: list[OrderView] = await self._ask(
            _Ask("DELETE", False, "/orders", list[OrderView], {"symbol": symbol} if symbol else {})
        )
        return orders

    async def order(self, order_id: str) -> OrderView:
        """An order of yours."""
        order: OrderView = await self._ask(_Ask("GET", False, f"/orders/{order_id}", OrderView))
        return order

    async def open_orders(self) -> list[OrderView]:
        """Your open orders, as the feed knows them."""
        orders: list[OrderView] = await self._ask(_Ask("GET", True, f"/orders/{self._own()}", list[OrderView]))
        return orders

    async def fills(self, symbol: str = "", limit: int = 100) -> list[FillView]:
        """Your fills, newest first."""
        query = {"limit": limit, **({"symbol": symbol} if symbol else {})}
        page: _Page = await self._ask(_Ask("GET", False, "/fills", _Page, query))
        return page.fills

    async def balance(self) -> BalanceView:
        """Your settled cash, and what you are worth."""
        balance: BalanceView = await self._ask(_Ask("GET", True, f"/balance/{self._own()}", BalanceView))
        return balance

    async def holdings(self) -> list[HoldingView]:
        """Your settled holdings."""
        holdings: list[HoldingView] = await self._ask(_Ask("GET", True, f"/holdings/{self._own()}", list[HoldingView]))
        return holdings

    async def equity(self, limit: int = 1000) -> list[EquityView]:
        """What you were worth over time, oldest first."""
        points: list[EquityView] = await self._ask(
            _Ask("GET", True, f"/equity/{self._own()}", list[EquityView], {"limit": limit})
        )
        return points

    async def securities(self) -> list[SecurityView]:
        """What is listed."""
        found: list[SecurityView] = await self._ask(_Ask("GET", True, "/securities", list[SecurityView], {"limit": 1000}))
        return found

    async def book(self, symbol: str, depth: int = 10) -> BookView:
        """A book, best prices first."""
        book: BookView = await self._ask(_Ask("GET", True, f"/book/{symbol}", BookView, {"depth": depth}))
        return book

    async def bbo(self, symbol: str) -> BboView:
        """The best bid and offer."""
        bbo: BboView = await self._ask(_Ask("GET", True, f"/bbo/{symbol}", BboView))
        return bbo

    async def trades(self, symbol: str, limit: int = 100) -> list[TradeView]:
        """The market's trades, newest first."""
        page: _Page = await self._ask(_Ask("GET", True, f"/trades/{symbol}", _Page, {"limit": limit}))
        return page.trades

    async def candles(self, symbol: str, interval: str = "1m", limit: int = 500) -> list[CandleView]:
        """Candles, oldest first: 1s, 1m, 5m, 1h or 1d."""
        query = {"interval": interval, "limit": limit}
        candles: list[CandleView] = await self._ask(_Ask("GET", True, f"/candles/{symbol}", list[CandleView], query))
        return candles

    async def leaderboard(self, limit: int = 100) -> list[LeaderView]:
        """Who has made the most."""
        leaders: list[LeaderView] = await self._ask(_Ask("GET", True, "/leaderboard", list[LeaderView], {"limit": limit}))
        return leaders
