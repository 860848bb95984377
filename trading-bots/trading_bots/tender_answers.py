"""The answer of a live bot to a tender, sent until the gateway has it."""

import asyncio
from decimal import Decimal

import httpx

from trading_bots.bot import Tender
from trading_bots.client_requests import (
    RESEND_PAUSES_SECONDS,
    ExchangeError,
    answer_tender_request,
    decode_answer,
    had_no_effect,
    may_have_arrived,
    unreachable,
    was_refused_unchecked,
)
from trading_bots.connections import Endpoint


async def send_tender_answer(
    endpoint: Endpoint, url: str, headers: dict[str, str], tender: Tender, accept: bool, price: Decimal | None
) -> str:
    """Send an answer until the gateway has received it. Return why it was refused, or an empty text.

    The gateway takes one answer. So a repeated answer is refused as closed if an earlier attempt has arrived.
    """
    request = answer_tender_request(tender.tender_id, accept, price)
    is_unknown, failure = False, ""
    async with endpoint.http() as http:
        for pause in (*RESEND_PAUSES_SECONDS, 0.0):
            try:
                answer = await http.request(request.method, url + request.path, json=request.body, headers=headers)
                decode_answer(request, answer)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                failure = unreachable(url).message
            except httpx.TransportError as error:
                is_unknown, failure = True, str(error)
            except ExchangeError as error:
                failure = error.message
                is_unknown = is_unknown or may_have_arrived(error)
                if not (may_have_arrived(error) or had_no_effect(error) or was_refused_unchecked(error)):
                    return "" if is_unknown and error.code == "TENDER_CLOSED" else failure
            else:
                return ""
            await asyncio.sleep(pause)
    return failure
