"""A client of the exchange for `asyncio`."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import httpx

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
from microexchange.session_views import NewsView, RoleView, SessionView, TenderView
from trading_bots.client_requests import (
    ACCOUNT_POLL_INTERVAL_SECONDS,
    ACCOUNT_POLLS,
    GATEWAY_URL,
    MARKET_DATA,
    Account,
    Amount,
    ExchangeError,
    Page,
    Request,
    Resends,
    amend_request,
    answer_tender_request,
    decode_answer,
    key_headers,
    new_order_request,
    open_account_request,
    unreachable,
)


class AsyncExchangeClient(Account):
    """A client of the exchange for `asyncio`. It has the methods of `ExchangeClient`, each to be awaited.

    Every method that sends a request raises `ExchangeError` if the exchange refuses the request, or if no exchange answers.

    ```python
    async with AsyncExchangeClient() as exchange:
        await exchange.open_account("ada")
        order = await exchange.buy("AAPL", 1, "190.00")
        print(order.status)
    ```
    """

    def __init__(
        self, gateway_url: str = GATEWAY_URL, feed_url: str = "", key: str = "", client_id: str = "", **options: Any
    ) -> None:
        """Create a client. It connects with its first request.

        Args:
            gateway_url: The address of the gateway.
            feed_url: The address of the market-data feed. By default, market data comes through the gateway.
            key: The API key of an account. Leave it out to read public market data, or to open an account.
            client_id: The client id that `key` belongs to.
            options: Further arguments of `httpx.AsyncClient`. The default `timeout` is 30 seconds.
        """
        gateway_url = gateway_url.rstrip("/")
        self._urls = (gateway_url, feed_url.rstrip("/") or f"{gateway_url}{MARKET_DATA}")
        self._http = httpx.AsyncClient(**{"timeout": 30, **options})
        self.client_id, self.key = client_id, key

    async def __aenter__(self) -> Self:
        """Return the client. It is closed at the end of the block."""
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close the connections of the client."""
        await self._http.aclose()

    async def _send(self, request: Request) -> Any:
        url = self._urls[request.to_feed] + request.path
        try:
            answer = await self._http.request(
                request.method, url, params=request.query, json=request.body, headers=key_headers(self.key)
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise unreachable(url) from error
        return decode_answer(request, answer)

    async def _enter(self, request: Request) -> OrderView:
        """Send a new order. If it has no answer, send it again: the exchange enters it once."""
        resends = Resends()
        while True:
            try:
                order: OrderView = await self._send(request)
            except (ExchangeError, httpx.TransportError) as error:
                await asyncio.sleep(resends.pause_after(error))
            else:
                return order

    async def open_account(self, client_id: str, invitation_code: str = "") -> AccountView:
        """Open an account, and use it for all requests from now on.

        It returns when the feed has the account too. Store `api_key` of the answer: the exchange does not return it again.

        Args:
            client_id: The name of the account.
            invitation_code: The code that the exchange may require.
        """
        account: AccountView = await self._send(open_account_request(client_id, invitation_code))
        self.client_id, self.key = account.client_id, account.api_key
        for _ in range(ACCOUNT_POLLS):
            try:
                await self.balance()
                break
            except ExchangeError as error:
                if error.code != "UNKNOWN_CLIENT":
                    raise
            await asyncio.sleep(ACCOUNT_POLL_INTERVAL_SECONDS)
        return account

    async def buy(self, symbol: str, quantity: Amount, price: Amount | None = None, **terms: Any) -> OrderView:
        """Enter an order to buy.

        Args:
            symbol: The security, for example `AAPL`.
            quantity: The quantity in shares or coins, a multiple of the lot size.
            price: The limit price in cash, a multiple of the tick size. None for a market order.
            terms: Further fields of `POST /orders`, for example `time_in_force`, `post_only`, `display_quantity` and
                `client_order_id`. With a `trigger_price` the order is a stop order. `expire_at` may be a `datetime` with a
                time zone.

        If the order has no answer, it is sent again under its `client_order_id`: the exchange enters it once. Without one,
        it gets a random one.

        Returns the order as it is after its entry: a market order may have traded already.
        """
        return await self._enter(new_order_request("buy", symbol, quantity, price, terms))

    async def sell(self, symbol: str, quantity: Amount, price: Amount | None = None, **terms: Any) -> OrderView:
        """Enter an order to sell. Parameters and result are those of `buy`."""
        return await self._enter(new_order_request("sell", symbol, quantity, price, terms))

    async def amend(
        self,
        order_id: str,
        quantity: Amount | None = None,
        price: Amount | None = None,
        trigger_price: Amount | None = None,
    ) -> OrderView:
        """Change an open order, and return it.

        Args:
            order_id: The id of the order.
            quantity: The new quantity. It includes what has already traded.
            price: The new limit price.
            trigger_price: The new trigger price of a stop order.

        A value of None leaves a field as it is. If only the quantity is reduced, the order keeps its place in the book.
        """
        order: OrderView = await self._send(amend_request(order_id, quantity, price, trigger_price))
        return order

    async def cancel(self, order_id: str) -> OrderView:
        """Cancel an open order, and return it."""
        order: OrderView = await self._send(Request("DELETE", False, f"/orders/{order_id}", OrderView))
        return order

    async def cancel_all(self, symbol: str = "") -> list[OrderView]:
        """Cancel all open orders, or those of one security. Return the cancelled orders."""
        orders: list[OrderView] = await self._send(
            Request("DELETE", False, "/orders", list[OrderView], {"symbol": symbol} if symbol else {})
        )
        return orders

    async def order(self, order_id: str) -> OrderView:
        """Return one of your orders, open or not."""
        order: OrderView = await self._send(Request("GET", False, f"/orders/{order_id}", OrderView))
        return order

    async def open_orders(self) -> list[OrderView]:
        """Return your open orders, as the feed has them."""
        orders: list[OrderView] = await self._send(Request("GET", True, f"/orders/{self._own_id()}", list[OrderView]))
        return orders

    async def fills(self, symbol: str = "", limit: int = 100) -> list[FillView]:
        """Return your last `limit` fills, newest first, of all securities or of one."""
        query = {"limit": limit, **({"symbol": symbol} if symbol else {})}
        page: Page = await self._send(Request("GET", False, "/fills", Page, query))
        return page.fills

    async def balance(self) -> BalanceView:
        """Return your settled cash, and your equity."""
        balance: BalanceView = await self._send(Request("GET", True, f"/balance/{self._own_id()}", BalanceView))
        return balance

    async def holdings(self) -> list[HoldingView]:
        """Return your settled holdings."""
        holdings: list[HoldingView] = await self._send(
            Request("GET", True, f"/holdings/{self._own_id()}", list[HoldingView])
        )
        return holdings

    async def equity(self, limit: int = 1000) -> list[EquityView]:
        """Return the last `limit` points of your equity over time, oldest first."""
        points: list[EquityView] = await self._send(
            Request("GET", True, f"/equity/{self._own_id()}", list[EquityView], {"limit": limit})
        )
        return points

    async def securities(self) -> list[SecurityView]:
        """Return the listed securities and their terms."""
        securities: list[SecurityView] = await self._send(
            Request("GET", True, "/securities", list[SecurityView], {"limit": 1000})
        )
        return securities

    async def book(self, symbol: str, depth: int = 10) -> BookView:
        """Return the `depth` best levels of each side of a book, best price first."""
        book: BookView = await self._send(Request("GET", True, f"/book/{symbol}", BookView, {"depth": depth}))
        return book

    async def bbo(self, symbol: str) -> BboView:
        """Return the best bid and offer of a security."""
        bbo: BboView = await self._send(Request("GET", True, f"/bbo/{symbol}", BboView))
        return bbo

    async def trades(self, symbol: str, limit: int = 100) -> list[TradeView]:
        """Return the last `limit` trades of a security, newest first."""
        page: Page = await self._send(Request("GET", True, f"/trades/{symbol}", Page, {"limit": limit}))
        return page.trades

    async def candles(self, symbol: str, interval: str = "1m", limit: int = 500) -> list[CandleView]:
        """Return the last `limit` candles of a security, oldest first. `interval` is `1s`, `1m`, `5m`, `1h` or `1d`."""
        query = {"interval": interval, "limit": limit}
        candles: list[CandleView] = await self._send(Request("GET", True, f"/candles/{symbol}", list[CandleView], query))
        return candles

    async def leaderboard(self, limit: int = 100) -> list[LeaderView]:
        """Return the `limit` clients with the highest profit."""
        leaders: list[LeaderView] = await self._send(
            Request("GET", True, "/leaderboard", list[LeaderView], {"limit": limit})
        )
        return leaders

    async def session(self) -> SessionView:
        """Return the session of rounds: its state, its round and the clock."""
        session: SessionView = await self._send(Request("GET", True, "/session", SessionView))
        return session

    async def news(self) -> list[NewsView]:
        """Return the news that you may read, newest first."""
        news: list[NewsView] = await self._send(Request("GET", True, "/news", list[NewsView]))
        return news

    async def role(self) -> RoleView:
        """Return your role in the session, and your private values."""
        role: RoleView = await self._send(Request("GET", True, f"/role/{self._own_id()}", RoleView))
        return role

    async def tenders(self) -> list[TenderView]:
        """Return the open tenders that you may answer, newest first."""
        tenders: list[TenderView] = await self._send(Request("GET", True, "/tenders", list[TenderView]))
        return tenders

    async def answer_tender(self, tender_id: str, accept: bool, price: Amount | None = None) -> None:
        """Accept or decline a tender. Each client answers once. In an auction, give your `price`."""
        await self._send(answer_tender_request(tender_id, accept, price))
