"""Invariants of sessions: any session commands among orders conserve money, give the same bytes and never raise."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearinghouse.ledger import Ledger
from matching_engine import state
from matching_engine.engine import Engine
from microexchange import session_commands as sessions
from microexchange.commands import OpenAccount, TimeTick
from microexchange.enums import SettlementStatus, Side, TradingState
from microexchange.instructions import Execution, Transfer
from microexchange.reports import Trade
from microexchange.session_commands import SessionAction, SessionState
from microexchange.session_reports import NewsPublished, PaidOut, RoundEnded, SessionChanged, TenderAnswered, TenderOffered
from tests.property import invariants
from tests.property.engine_attributes import attributes_of
from tests.property.test_engine import CLIENTS, SECOND, SYMBOLS, busy_day, commands_of, digest, run
from tests.unit.market import events_of

NEXT_ACTIONS = {
    SessionState.LOBBY: (SessionAction.START, SessionAction.START, SessionAction.NEXT, SessionAction.CLOSE),
    SessionState.RUNNING: (SessionAction.PAUSE, SessionAction.PAUSE, SessionAction.END),
    SessionState.PAUSED: (SessionAction.RESUME, SessionAction.RESUME, SessionAction.END),
    SessionState.ENDED: (SessionAction.NEXT, SessionAction.RESET),
}


def _round(rng: random.Random) -> sessions.RoundPlan:
    seconds = rng.randint(5, 60)
    events: list[Any] = []
    for _ in range(rng.randint(0, 4)):
        at, symbol = rng.randint(0, seconds), rng.choice(SYMBOLS)
        if rng.random() < 0.4:
            events.append(sessions.ScheduledPayout(at, symbol, rng.randint(0, 10**7), rng.random() < 0.1))
            terms = 2, 3, rng.choice(("", "buyer")), "", 5, rng.random() < 0.5
            events.append(sessions.ScheduledTender(at, symbol, Side.BUY, *terms))
            events.append(sessions.ScheduledNews(at, "news", "", rng.choice(("", "buyer")), "", {symbol: -1}))
        else:
            events.append(sessions.ScheduledState(at, symbol, rng.choice((TradingState.HALTED, TradingState.CONTINUOUS))))
    cash = rng.choice((None, rng.randint(0, 50) * 10**8))
    shares = rng.choice((None, {}, {"X": rng.randint(0, 60), "Y": 5}))
    has_house = rng.random() < 0.7
    return sessions.RoundPlan("round", seconds, rng.random() < 0.3, cash, shares, tuple(events), has_house)


def _session_commands(engine: Engine, rng: random.Random, ids: Any, now: int) -> list[Any]:
    """Return the next commands of a session. Most of them are possible in its state."""
    session, draw = engine.session, rng.random()
    if session is None or session.state is SessionState.CLOSED or draw < 0.1:
        return [sessions.PlanSession(ids(), now, "class", [_round(rng) for _ in range(rng.randint(1, 3))])]
    if draw < 0.2:
        values = {"X": [rng.randint(0, 9) for _ in range(3)]}
        return [sessions.AssignRole(ids(), now, rng.choice(CLIENTS), rng.choice(("buyer", "seller", "")), values)]
    if draw < 0.3:
        return [sessions.PublishNews(ids(), now, "news", "", rng.choice(("", "buyer")), rng.choice(("", "a", "nobody")))]
    if draw < 0.35:
        return [sessions.PayOut(ids(), now, rng.choice(SYMBOLS), rng.choice((0, 10**6, 10**8)), rng.random() < 0.1)]
    if session.state is SessionState.RUNNING and draw < 0.6:
        side, tender = rng.choice(list(Side)), ids()
        terms = side, rng.randint(1, 9), rng.randint(1, 9), rng.choice(("", "buyer")), ""
        auction = rng.random() < 0.5
        answers = [
            sessions.AnswerTender(ids(), now, client, tender, rng.random() < 0.8, auction * rng.randint(0, 12) * 10**6)
            for client in (*CLIENTS, "a")
        ]
        return [sessions.OfferTender(tender, now, "X", *terms, now + 10**9, auction), *answers]
    if draw < 0.4:
        return [sessions.ControlSession(ids(), now, rng.choice(list(SessionAction)))]
    return [sessions.ControlSession(ids(), now, rng.choice(NEXT_ACTIONS[session.state]))]


def session_day(seed: int) -> list[Any]:
    """Return the commands of a busy day in which a session takes place."""
    rng = random.Random(seed)
    engine, day, now = Engine(), commands_of(busy_day(seed)), 1
    last_id = day[-1].command_id

    def ids() -> int:
        nonlocal last_id
        last_id += 1 << 10  # an id of the same gateway
        return last_id

    commands: list[Any] = []

    def add(command: Any) -> None:
        commands.append(command)
        engine.apply(command)

    add_house = OpenAccount(0, 1, "house", 10**9, {"X": 9}, house=True)
    for number, command in enumerate(day):
        if rng.random() < 0.2:
            now += rng.randint(0, 9) * SECOND
            add(TimeTick(ids(), now))
        is_running = engine.session is not None and engine.session.state is SessionState.RUNNING
        if number > 6 and rng.random() < (0.06 if is_running else 0.4):
            for session_command in _session_commands(engine, rng, ids, now):
                add(session_command)
        if number == 7:
            add(msgspec.structs.replace(add_house, command_id=ids(), timestamp=now))
        add(msgspec.structs.replace(command, command_id=ids(), timestamp=now))
    return commands


days_with_sessions = st.integers(0, 2**32).map(session_day)


@settings(max_examples=40)
@given(days_with_sessions)
def test_sessions_conserve_cash_and_shares_and_the_clearinghouse_settles_their_transfers(commands: list[Any]) -> None:
    engine, events = run(commands)
    invariants.cash_and_shares_are_conserved(engine, events)
    invariants.no_account_exceeds_its_limits(engine)
    invariants.reserves_are_the_sum_over_open_orders(engine)
    invariants.every_order_ends_once_and_adds_up(engine, events)
    ledger = Ledger()
    transfers = [event.transfer_id for event in events if isinstance(event, Transfer)]
    assert len(transfers) == len(set(transfers))
    for number, instruction in enumerate([e for e in events if isinstance(e, (Execution, Transfer))], 1):
        assert ledger.settle(number, instruction).status is SettlementStatus.SETTLED
    for client_id, account in engine.accounts.items():
        assert ledger.cash[client_id] == account.cash


@settings(max_examples=20)
@given(days_with_sessions)
def test_a_session_on_an_engine_that_is_restored_at_any_time_gives_the_same_bytes(commands: list[Any]) -> None:
    expected = digest(run(commands)[1])
    engine, events, rng = Engine(), [], random.Random(len(commands))
    for command in commands:
        events += events_of(engine.apply(command))
        if rng.random() < 0.05:
            restored = state.restore(
                msgspec.msgpack.decode(msgspec.msgpack.encode(state.take(engine)), type=state.EngineState)
            )
            assert attributes_of(restored) == attributes_of(engine)
            engine = restored
    assert digest(events) == expected


@settings(max_examples=40)
@given(days_with_sessions)
def test_no_order_is_open_and_no_market_trades_outside_a_running_round(commands: list[Any]) -> None:
    engine = Engine()
    for command in commands:
        events = events_of(engine.apply(command))
        for place, event in enumerate(events):
            if isinstance(event, RoundEnded):
                assert not [trade for trade in events[place:] if isinstance(trade, Trade)]
            if isinstance(event, SessionChanged) and event.state in (SessionState.ENDED, SessionState.LOBBY):
                assert not any(account.orders for account in engine.accounts.values())
                states = {market.state for market in engine.markets.values()}
                assert states <= {TradingState.HALTED, TradingState.DELISTED}


@pytest.mark.parametrize("seed", [1, 2])
def test_the_drawn_days_have_rounds_that_end_by_time_with_trades_and_news(seed: int) -> None:
    _, events = run(session_day(seed))
    kinds = {type(event) for event in events}
    assert {RoundEnded, NewsPublished, PaidOut, TenderAnswered, Trade} <= kinds
    states = [event.state for event in events if isinstance(event, SessionChanged)]
    assert {SessionState.RUNNING, SessionState.PAUSED, SessionState.ENDED} <= set(states)
    assert any(event.remaining == 0 for event in events if isinstance(event, SessionChanged)), "a round ended by time"


@settings(max_examples=40)
@given(days_with_sessions)
def test_an_auction_goes_to_one_client_at_a_price_within_its_limit(commands: list[Any]) -> None:
    engine, auctions, winners = Engine(), dict[int, TenderOffered](), dict[int, str]()
    for command in commands:
        for event in events_of(engine.apply(command)):
            if isinstance(event, TenderOffered) and event.auction:
                auctions[event.tender_id] = event
            if isinstance(event, TenderAnswered) and event.tender_id in auctions and event.lots:
                assert event.tender_id not in winners
                winners[event.tender_id] = event.client_id
                tender = auctions[event.tender_id]
                tick_value = engine.markets[event.symbol].tick_value
                if tender.side is Side.BUY:
                    assert -event.cash >= tender.price * tender.quantity * tick_value
                else:
                    assert event.cash <= tender.price * tender.quantity * tick_value


def test_the_drawn_days_have_auctions_with_a_winner() -> None:
    events = [event for seed in range(6) for event in run(session_day(seed))[1]]
    auctions = {event.tender_id for event in events if isinstance(event, TenderOffered) and event.auction}
    assert any(isinstance(event, TenderAnswered) and event.tender_id in auctions and event.lots for event in events)
