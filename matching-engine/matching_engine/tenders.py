"""`OfferTender` and `AnswerTender`: the issuer trades with clients at a fixed price, or with the best one in an auction."""

import msgspec

from matching_engine.account import Account
from matching_engine.clients import refuse_transfer
from matching_engine.context import Outcome, Reason
from matching_engine.exchange import Exchange
from matching_engine.limits import MAX_INT
from matching_engine.reports import accepted, rejected, unknown_client
from matching_engine.session import Session, Tender
from matching_engine.session_checks import refuse_tender_terms
from matching_engine.session_news import NO_SESSION, audience, report_skipped
from matching_engine.session_terms import transfer
from microexchange.commands import Command
from microexchange.enums import Side
from microexchange.numbers import MAX_TICKS, NS_PER_SECOND
from microexchange.refusals import Code
from microexchange.session_commands import AnswerTender, OfferTender, ScheduledTender, SessionState
from microexchange.session_reports import TenderAnswered, TenderOffered

MAX_TENDERS = 100
"""The open tenders of a round."""


def _refuse_time(session: Session | None) -> Reason | None:
    """Return why there can be no tender now, or None."""
    if session is None:
        return Code.NO_SESSION, NO_SESSION
    if session.state is not SessionState.RUNNING:
        return Code.SESSION_STATE, f"the round is in the state {session.state}: tenders need a running round"
    return None


def offer_tender(exchange: Exchange, command: OfferTender, outcome: Outcome) -> None:
    """Apply an `OfferTender`."""
    session = exchange.session
    refusal = _refuse_time(session) or refuse_tender_terms(exchange, command)
    clients = audience(session, command.role, command.client_id)
    if refusal is None and not exchange.now < command.expires_at <= MAX_INT:
        refusal = Code.INVALID_FIELD, "expires_at must be later than now"
    if refusal is None and clients is not None and not any(client in exchange.accounts for client in clients):
        refusal = Code.INVALID_FIELD, "no client is in the audience"
    if refusal is None and session is not None and _open_tenders(exchange, session) >= MAX_TENDERS:
        refusal = Code.LIMIT_EXCEEDED, f"there are {MAX_TENDERS} open tenders already"
    if refusal is not None or session is None:
        outcome.reports.append(rejected(command, "", *(refusal or (Code.NO_SESSION, NO_SESSION))))
        return
    outcome.reports.append(accepted(command))
    terms = command.symbol, command.side, command.quantity, command.price
    tender = Tender(*terms, clients, command.expires_at, command.auction)
    _offer(exchange, session, command.command_id, tender, command, outcome)


def offer_scheduled(exchange: Exchange, tender: ScheduledTender, command: Command, outcome: Outcome) -> None:
    """Offer a tender of the plan. If too many are open, the admin receives news instead."""
    session = exchange.session
    if session is None or _open_tenders(exchange, session) >= MAX_TENDERS:
        text = f"the tender for {tender.symbol}: {MAX_TENDERS} tenders are open already"
        report_skipped(exchange, text, command, outcome)
        return
    clients = audience(session, tender.role, tender.client_id)
    expires_at = exchange.now + tender.seconds * NS_PER_SECOND
    terms = tender.symbol, tender.side, tender.quantity, tender.price
    offered = Tender(*terms, clients, expires_at, tender.auction)
    _offer(exchange, session, exchange.new_id(), offered, command, outcome)


def _open_tenders(exchange: Exchange, session: Session) -> int:
    """Return the number of tenders that have not expired. Remove all expired ones if there are too many."""
    still_open = {number: tender for number, tender in session.tenders.items() if tender.expires_at > exchange.now}
    if len(session.tenders) >= MAX_TENDERS:
        session.tenders = still_open
        session.answers = {number: clients for number, clients in session.answers.items() if number in still_open}
        session.bids = {number: prices for number, prices in session.bids.items() if number in still_open}
    return len(still_open)


def _offer(exchange: Exchange, session: Session, tender_id: int, tender: Tender, command: Command, outcome: Outcome) -> None:
    session.tenders[tender_id] = tender
    terms = tender.symbol, tender.side, tender.quantity, tender.price, tender.clients, tender.expires_at, tender.auction
    outcome.reports.append(TenderOffered(tender_id, command.timestamp, *terms))
    if tender.auction:
        exchange.plan_session_timer()


def answer_tender(exchange: Exchange, command: AnswerTender, outcome: Outcome) -> None:
    """Apply an `AnswerTender`. If it accepts, cash and shares move at once."""
    session, account = exchange.session, exchange.accounts.get(command.client_id)
    if account is None:
        outcome.reports.append(unknown_client(command, command.client_id))
        return
    tender = None if session is None else session.tenders.get(command.tender_id)
    refusal = _refuse_time(session)
    if refusal is None and (tender is None or (tender.clients is not None and command.client_id not in tender.clients)):
        refusal = Code.UNKNOWN_TENDER, f"there is no tender {command.tender_id} for {command.client_id}"
    if refusal is not None or session is None or tender is None:
        outcome.reports.append(rejected(command, command.client_id, *(refusal or (Code.NO_SESSION, NO_SESSION))))
        return
    refusal = _refuse_answer(exchange, session, account, tender, command)
    if refusal is not None:
        outcome.reports.append(rejected(command, command.client_id, *refusal))
        return
    session.answers.setdefault(command.tender_id, []).append(command.client_id)
    outcome.reports.append(accepted(command))
    if command.accept and tender.auction:
        price = exchange.markets[tender.symbol].ticks_of(command.price) or 0
        session.bids.setdefault(command.tender_id, {})[command.client_id] = price
    elif command.accept:
        _trade(exchange, account, command.tender_id, tender, tender.price, command, outcome)
        return
    answer = TenderAnswered(command.tender_id, command.timestamp, command.client_id, command.accept, tender.symbol, 0, 0)
    outcome.reports.append(answer)


def _refuse_answer(
    exchange: Exchange, session: Session, account: Account, tender: Tender, command: AnswerTender
) -> Reason | None:
    """Return why a client cannot give this answer to a tender, or None."""
    if tender.expires_at <= exchange.now:
        return Code.TENDER_CLOSED, "the tender has expired"
    if command.client_id in session.answers.get(command.tender_id, ()):
        return Code.TENDER_CLOSED, "you have answered this tender already"
    if not command.accept:
        return None
    if not tender.auction:
        if command.price:
            return Code.INVALID_FIELD, "price must be left out: this tender is not an auction"
        return _refuse_trade(exchange, account, tender, tender.price)
    price = exchange.markets[tender.symbol].ticks_of(command.price)
    if price is None:
        return Code.INVALID_FIELD, "price must be a multiple of the tick size"
    lowest, highest = (tender.price, MAX_TICKS) if tender.side is Side.BUY else (1, tender.price)
    if not lowest <= price <= highest:
        word = "at least" if tender.side is Side.BUY else "at most"
        return Code.INVALID_FIELD, f"price must be {word} the price of the tender, which is an auction"
    return _refuse_trade(exchange, account, tender, price)


def _changes(exchange: Exchange, tender: Tender, price: int) -> tuple[int, int]:
    """Return the cash units and the lots that the account of a client receives."""
    lots = tender.quantity if tender.side is Side.BUY else -tender.quantity
    return -lots * price * exchange.markets[tender.symbol].tick_value, lots


def _refuse_trade(exchange: Exchange, account: Account, tender: Tender, price: int) -> Reason | None:
    """Return why a client cannot trade with the issuer at a price, or None."""
    if account.suspended:
        return Code.CLIENT_SUSPENDED, f"{account.client_id} is suspended"
    cash, lots = _changes(exchange, tender, price)
    return refuse_transfer(exchange, account, cash, {tender.symbol: lots})


def _trade(
    exchange: Exchange, account: Account, tender_id: int, tender: Tender, price: int, command: Command, outcome: Outcome
) -> None:
    """Trade with a client at a price. The caller has checked that the client can."""
    cash, lots = _changes(exchange, tender, price)
    transfer(exchange, account, cash, {tender.symbol: lots}, f"tender {tender_id}", command, outcome)
    terms = account.client_id, True, tender.symbol, cash, lots
    outcome.reports.append(TenderAnswered(tender_id, command.timestamp, *terms))


def end_auction(exchange: Exchange, session: Session, tender_id: int, command: Command, outcome: Outcome) -> None:
    """Trade with the client that has bid the best price and can pay. The earlier of two equal bids is the better one."""
    tender = session.tenders[tender_id]
    session.tenders[tender_id] = msgspec.structs.replace(tender, auction=False)  # a late answer is refused as such
    bids = session.bids.pop(tender_id, {})
    for client_id, price in sorted(bids.items(), key=lambda bid: bid[1], reverse=tender.side is Side.BUY):
        account = exchange.accounts[client_id]
        if _refuse_trade(exchange, account, tender, price) is None:
            _trade(exchange, account, tender_id, tender, price, command, outcome)
            return
