"""Routes of whole histories as files."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Request, Response

from market_data_feed.exports import ORDERS, TRADES, as_csv, as_parquet
from market_data_feed.rest.routes import OneSymbol, Routes, Since, Until, describe_file, period_ns, stream_file


@dataclass(frozen=True)
class FileFormat:
    """A format of an export."""

    media_type: str
    encode: Callable[[Sequence[str], AsyncIterator[Sequence[Any]]], AsyncIterator[bytes]]
    """Encodes columns and pages of views as parts of a file."""


FORMATS = {
    "csv": FileFormat("text/csv", as_csv),
    "parquet": FileFormat("application/vnd.apache.parquet", as_parquet),
}
FormatName = Literal["csv", "parquet"]
_MEDIA_TYPES = [file_format.media_type for file_format in FORMATS.values()]


def export_routes(routes: Routes) -> APIRouter:
    """Return the routes of exports."""
    router, state = APIRouter(), routes.state

    @router.get(
        "/export/trades.{kind}",
        tags=["market"],
        **describe_file("All trades, newest first", 404, 422, 503, media_types=_MEDIA_TYPES),
    )
    async def export_trades(kind: FormatName, symbol: OneSymbol = "", since: Since = None, until: Until = None) -> Response:
        suffix = f"-{routes.known_symbol(symbol)}" if symbol else ""
        pages = routes.history.all_trades(state.market.securities, symbol, *period_ns(since, until))
        parts = FORMATS[kind].encode(TRADES, pages)
        return await stream_file(parts, f"trades{suffix}.{kind}", FORMATS[kind].media_type)

    @router.get(
        "/export/orders.{kind}",
        tags=["accounts"],
        **describe_file("All reports of your orders, oldest first", 401, 403, 422, 503, media_types=_MEDIA_TYPES),
    )
    async def export_orders(request: Request, kind: FormatName) -> Response:
        client_id = routes.access.client(request)
        pages = routes.history.all_orders(client_id, state.market.securities)
        parts = FORMATS[kind].encode(ORDERS, pages)
        return await stream_file(parts, f"orders-{client_id}.{kind}", FORMATS[kind].media_type)

    return router
