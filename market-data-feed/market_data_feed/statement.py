"""A client's statement: every movement of its account, from the settlements in `clearing_data`.

A trade of a client with itself is two movements. So the key of a movement is twice its instruction, plus one for a sale.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from microexchange.databases import QUERY_TIMEOUT_SECONDS
from microexchange.numbers import cash_to_text
from microexchange.schemas import MovementView, time_text
from microexchange.securities import Security, shares_text

_TRADE = """
SELECT instruction * 2 + {sale} AS movement, timestamp, '{kind}' AS kind, {order_id} AS order_id, trade_id, 0 AS transfer_id,
    price, {units} AS cash, {fee} AS fee, {cash_after} AS cash_after, jsonb_build_object(symbol, {sign}quantity) AS shares,
    jsonb_build_object(symbol, {shares_after}) AS shares_after, '' AS memo
FROM settlements
WHERE {client} = %(client)s AND status = 'SETTLED' AND instruction >= %(after)s / 2 AND instruction * 2 + {sale} > %(after)s
ORDER BY instruction LIMIT %(limit)s
"""
_BUYS = _TRADE.format(
    sale=0, kind="buy", order_id="buy_order_id", units="-buyer_pays - buyer_fee", fee="buyer_fee", sign="",
    cash_after="buyer_cash", shares_after="buyer_quantity", client="buyer",
)  # fmt: skip
_SALES = _TRADE.format(
    sale=1, kind="sell", order_id="sell_order_id", units="seller_receives - seller_fee", fee="seller_fee", sign="-",
    cash_after="seller_cash", shares_after="seller_quantity", client="seller",
)  # fmt: skip
_TRANSFERS = """
SELECT instruction * 2, timestamp, 'transfer', 0, 0, transfer_id, 0, cash, 0, cash_after, shares, shares_after, memo
FROM transfers
WHERE client_id = %(client)s AND status = 'SETTLED' AND instruction >= %(after)s / 2 AND instruction * 2 > %(after)s
ORDER BY instruction LIMIT %(limit)s
"""
_STATEMENT = f"({_BUYS}) UNION ALL ({_SALES}) UNION ALL ({_TRANSFERS}) ORDER BY movement LIMIT %(limit)s"


async def movements(
    pool: AsyncConnectionPool, securities: Mapping[str, Security], client_id: str, after: int, limit: int
) -> list[MovementView]:
    """Return the first `limit` movements after the key `after`, oldest first.

    Raises:
        psycopg.Error: The query failed.
        TimeoutError: The ledger did not answer within `QUERY_TIMEOUT_SECONDS`.
    """
    values = {"client": client_id, "after": after, "limit": limit}
    async with asyncio.timeout(QUERY_TIMEOUT_SECONDS), pool.connection(timeout=2) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(_STATEMENT.encode(), values)
        return [_view(row, securities) for row in await cursor.fetchall()]


async def all_movements(
    pool: AsyncConnectionPool, securities: Mapping[str, Security], client_id: str, page: int = 1000
) -> AsyncIterator[list[MovementView]]:
    """Yield the pages of the whole statement. Errors are those of `movements`."""
    after = 0
    while True:
        found = await movements(pool, securities, client_id, after, page)
        yield found
        if len(found) < page:
            return
        after = int(found[-1].movement_id)


def _view(row: dict[str, Any], securities: Mapping[str, Security]) -> MovementView:
    symbol = next(iter(row["shares"])) if row["trade_id"] else None
    return MovementView(
        movement_id=str(row["movement"]),
        timestamp=time_text(row["timestamp"]),
        kind=row["kind"],
        cash=cash_to_text(row["cash"]),
        shares=shares_text(securities, row["shares"]),
        fee=cash_to_text(row["fee"]),
        price=None if symbol is None else securities[symbol].price_text(row["price"]),
        cash_after=cash_to_text(row["cash_after"]),
        shares_after=shares_text(securities, row["shares_after"]),
        trade_id=str(row["trade_id"]) if row["trade_id"] else None,
        order_id=str(row["order_id"]) if row["order_id"] else None,
        transfer_id=str(row["transfer_id"]) if row["transfer_id"] else None,
        memo=row["memo"],
    )
