"""The request with which a live bot answers a tender."""

import asyncio
from decimal import Decimal
from typing import Any

import httpx

from trading_bots.bot import Tender
from trading_bots.client_requests import RESEND_PAUSES_SECONDS
from trading_bots.connections import LOST, Endpoint, refusal_in

_UNKNOWN, _CLOSED = 504, 409
_RETRIED = (429, 503, _UNKNOWN)
"""The status of a refusal after which the answer is sent again."""


async def send_tender_answer(
    endpoint: Endpoint, url: str, headers: dict[str, str], tender: Tender, accept: bool, price: Decimal | None
) -> str:
    """Send an answer until the gateway has received it. Return why it was refused, or an empty text.

    The gateway takes one answer. So a repeated answer is refused as closed if an earlier attempt has arrived.
    """
    body: dict[str, Any] = {"accept": accept}
    if price is not None:
        body["price"] = f"{price:f}"
    may_have_arrived, failure = False, ""
    async with endpoint.http() as http:
        for pause in (*RESEND_PAUSES_SECONDS, 0.0):
            try:
                answer = await http.post(f"{url}/tenders/{tender.tender_id}/answer", json=body, headers=headers)
            except LOST as error:
                may_have_arrived, failure = may_have_arrived or not isinstance(error, httpx.ConnectError), str(error)
            else:
                failure = "" if answer.is_success else refusal_in(answer)
                may_have_arrived = may_have_arrived or answer.status_code == _UNKNOWN
                if answer.status_code not in _RETRIED:
                    return "" if may_have_arrived and answer.status_code == _CLOSED else failure
            await asyncio.sleep(pause)
    return failure
