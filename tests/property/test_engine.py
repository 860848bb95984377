"""Invariants under any commands: cash and shares, the book, priority, replay."""

import hashlib
import random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from clearinghouse.ledger import Ledger
from market_data_feed.market import MarketData
from matching_engine import state
from matching_engine.engine import Engine
from microexchange.batches import RECORD_TYPES
from microexchange.commands import (
    CancelAll,
    CancelOrder,
    ListSecurity,
    LoadBook,
    NewOrder,
    OpenAccount,
    ReplaceOrder,
    ResumeClient,
    SaveBook,
    SetTradingState,
    SuspendClient,
    TimeTick,
    TransferAssets,
)
from microexchange.enums import (
    OrderType,
    PricingRule,
    SelfTradePrevention,
    SettlementStatus,
    Side,
    TimeInForce,
    TradingState,
)
from microexchange.instructions import Execution, Transfer
from microexchange.records import ORDER_ENTRY
from microexchange.reports import Event, OrderReport, PriceUpdate, Trade, TradingStateChanged
from tests.property import invariants
from tests.unit.market import Floor, events_of

CLIENTS = ("a", "b", "c")
SYMBOLS = ("X", "Y")
SECOND = 1_000_000_000

PREVENTIONS = (SelfTradePrevention.CANCEL_NEWEST, SelfTradePrevention.DECREMENT, SelfTradePrevention.CANCEL_OLDEST)
STATES = [*TradingState, *[state for state in TradingState if state is not TradingState.DELISTED] * 3]
STATES += [TradingState.CONTINUOUS] * 20

TICKS = st.one_of(st.integers(1, 12), st.integers(1, 12), st.integers(1, 400))
"""Prices. Most are in a small range, so that orders match. Some are in a large range, so that levels become empty."""
QUANTITIES = st.integers(1, 30)


def entry(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Draw the fields of an order. `fields` replaces the defaults."""
    defaults = {"client_id": st.sampled_from(CLIENTS), "symbol": st.sampled_from(SYMBOLS), "side": st.sampled_from(Side)}
    return st.fixed_dictionaries({**defaults, "quantity": QUANTITIES, "order_type": st.just(OrderType.LIMIT), **fields})


PLAIN = entry(price=TICKS)
# Most orders are valid, because few random orders would match. Some have arbitrary fields.
ENTRIES = st.one_of(
    *[PLAIN] * 4,
    entry(price=TICKS, client_order_id=st.just("mine")),
    entry(price=TICKS, time_in_force=st.sampled_from((TimeInForce.IOC, TimeInForce.FOK, TimeInForce.DAY))),
    entry(
        price=TICKS,
        time_in_force=st.just(TimeInForce.GTD),
        expire_at=st.integers(1, 40).map(lambda seconds: seconds * SECOND),
    ),
    entry(price=TICKS, post_only=st.just(True)),
    entry(price=TICKS, quantity=st.integers(5, 30), display_quantity=st.integers(1, 5)),
    entry(order_type=st.just(OrderType.MARKET), price=st.none()),
    entry(order_type=st.sampled_from((OrderType.STOP_MARKET, OrderType.TAKE_PROFIT)), price=st.none(), trigger_price=TICKS),
    entry(order_type=st.sampled_from((OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT)), price=TICKS, trigger_price=TICKS),
    entry(
        quantity=st.integers(-1, 40),
        order_type=st.sampled_from(OrderType),
        time_in_force=st.sampled_from(TimeInForce),
        price=st.one_of(st.none(), st.integers(-1, 12)),
        trigger_price=st.one_of(st.none(), st.integers(-1, 12)),
        post_only=st.booleans(),
        display_quantity=st.integers(-1, 10),
        expire_at=st.integers(0, 40 * SECOND),
    ),
)
prices = st.one_of(st.none(), TICKS)
actions = st.lists(
    st.one_of(
        *[st.tuples(st.just("enter"), ENTRIES)] * 4,
        st.tuples(st.just("cancel"), st.sampled_from(CLIENTS), st.integers(0, 30)),
        st.tuples(st.just("replace"), st.sampled_from(CLIENTS), st.integers(0, 30), st.integers(0, 40), prices, prices),
        st.tuples(st.just("cancel all"), st.sampled_from(CLIENTS), st.sampled_from(("", "X"))),
        st.tuples(st.just("state"), st.sampled_from(SYMBOLS), st.sampled_from(STATES)),
        st.tuples(st.just("tick"), st.integers(0, 20)),
        st.tuples(st.sampled_from((SaveBook, LoadBook)), st.sampled_from(SYMBOLS)),
        st.tuples(st.just("suspend"), st.sampled_from(("c", "nobody"))),
        st.tuples(st.just("resume"), st.just("c")),
        st.tuples(st.just("transfer"), st.sampled_from(CLIENTS), st.integers(-3, 3), st.integers(-9, 9)),
        st.integers(0, 2**32).map(lambda seed: ladder(random.Random(seed))),
    ),
    max_size=60,
)
LADDER_CLIENTS = ("d", "e")
"""Clients with large holdings of both securities. They enter only ladders."""


def ladder(rng: random.Random) -> tuple[str, str, Side, int, int]:
    """Return a step for `rungs_of`: security, side, lowest price, number of prices."""
    side = rng.choice((Side.SELL, Side.SELL, Side.BUY))
    return "ladder", rng.choice(SYMBOLS), side, rng.randint(5, 40), rng.randint(66, 130)


def rungs_of(floor: Floor, now: int, symbol: str, side: Side, low: int, count: int) -> list[Any]:
    """Return commands: an iceberg at the best price of a side, one order at each of `count` prices behind it, and cancels.

    Most of the orders are cancelled. Near the time when the side removes its empty prices, cancels alternate with trades
    against the iceberg.
    """
    maker, taker = LADDER_CLIENTS
    best = low if side is Side.SELL else low + count
    behind = range(low + 1, low + count + 1) if side is Side.SELL else range(low + count - 1, low - 1, -1)
    iceberg = NewOrder(floor.id(), now, maker, symbol, side, OrderType.LIMIT, 30, best, display_quantity=2)
    rungs = [NewOrder(floor.id(), now, maker, symbol, side, OrderType.LIMIT, 1, price) for price in behind]
    commands = [iceberg, *rungs]
    early = count * 3 // 4 - 8
    for number, rung in enumerate(rungs[: early + 14]):
        commands.append(CancelOrder(floor.id(), now, maker, rung.command_id))
        if number >= early:
            commands.append(NewOrder(floor.id(), now, taker, symbol, opposite(side), OrderType.LIMIT, 2, best))
    return commands


def busy_day(seed: int) -> list[Any]:
    """Return 300 steps in the proportions of a real market. Orders from hypothesis alone rarely match."""
    rng = random.Random(seed)
    step_types = (
        "enter",
        "cancel",
        "replace",
        "tick",
        "state",
        "cancel all",
        "suspend",
        "resume",
        "transfer",
        "ladder",
        SaveBook,
        LoadBook,
    )
    steps: list[Any] = []
    for step_type in rng.choices(step_types, (62, 12, 10, 8, 2, 1, 0.3, 1.5, 2, 1, 0.5, 0.5), k=300):
        client, symbol, back = rng.choice(CLIENTS), rng.choice(SYMBOLS), int(rng.expovariate(0.3))
        price = rng.randint(3, 9) if rng.random() < 0.9 else rng.randint(1, 300)
        match step_type:
            case "enter":
                steps.append((step_type, busy_order(rng, client, symbol, price)))
            case "cancel":
                steps.append((step_type, client, back))
            case "replace":
                change = rng.choice(((None, price), (rng.randint(1, 30), None), (rng.randint(1, 30), price)))
                steps.append((step_type, client, back, *change, None))
            case "tick":
                steps.append((step_type, rng.randint(0, 4)))
            case "state":
                steps += [
                    (step_type, symbol, rng.choice(STATES)),
                    ("tick", 1),
                    ("enter", busy_order(rng, client, symbol, price)),
                ]
                steps.append((step_type, symbol, TradingState.CONTINUOUS))
            case "cancel all":
                steps.append((step_type, client, symbol))
            case "transfer":
                steps.append((step_type, client, rng.randint(-2, 2), rng.randint(-9, 9)))
            case "ladder":
                steps.append(ladder(rng))
            case "suspend" | "resume":
                steps.append((step_type, "c"))
            case _:
                steps.append((step_type, symbol))
    return steps


def busy_order(rng: random.Random, client: str, symbol: str, price: int) -> dict[str, Any]:
    """Return the fields of a valid order."""
    order: dict[str, Any] = {
        "client_id": client,
        "symbol": symbol,
        "side": rng.choice(list(Side)),
        "quantity": rng.randint(1, 12),
        "order_type": OrderType.LIMIT,
        "price": price,
    }
    draw = rng.random()
    if draw < 0.1:
        order |= {"order_type": OrderType.MARKET, "price": None}
    elif draw < 0.17:
        order |= {"display_quantity": rng.randint(1, order["quantity"])}
    elif draw < 0.24:
        order_type = rng.choice((OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT))
        order |= {"order_type": order_type, "trigger_price": rng.randint(3, 9)}
    elif draw < 0.31:
        order_type = rng.choice((OrderType.STOP_MARKET, OrderType.TAKE_PROFIT))
        order |= {"order_type": order_type, "trigger_price": rng.randint(3, 9), "price": None}
    elif draw < 0.4:
        order |= {"time_in_force": rng.choice((TimeInForce.IOC, TimeInForce.FOK, TimeInForce.DAY))}
    elif draw < 0.44:
        order |= {"time_in_force": TimeInForce.GTD, "expire_at": rng.randint(1, 100) * SECOND}
    elif draw < 0.48:
        order |= {"post_only": True}
    elif draw < 0.52:
        order |= {"client_order_id": "mine"}
    return order


days = st.one_of(actions, st.integers(0, 2**32).map(busy_day), st.integers(0, 2**32).map(busy_day))


def commands_of(steps: list[Any], pricing_rule: PricingRule = PricingRule.SPREAD_CAPTURE) -> list[Any]:
    """Return the commands of `steps`, after two listings and five accounts.

    The securities have different pricing rules. Three accounts have different self-trade preventions, two are for ladders.
    """
    # Accounts have little cash and few shares, so that credit checks reject some orders. 40 lots at 12 ticks cost 4.80.
    floor = Floor(clients=(), cash=0)
    commands = list(floor.log)
    terms = {"pricing_rule": pricing_rule, "band_bps": 3000, "auction_seconds": 5, "short_limit": 4}
    limits = {"position_limit": 60, "max_order_quantity": 35}
    commands.append(ListSecurity(floor.id(), 1, "Y", "Y", "0.01", "1", 6, -3, 7, **terms, **limits))
    for client, prevention in zip(CLIENTS, PREVENTIONS, strict=True):
        # Against a short limit, a lot of X counts as 100.00 and a lot of Y as 0.06.
        credit, short = 10**8 if client == "b" else 0, 350 * 10**8 if client == "c" else 0
        account = OpenAccount(floor.id(), 1, client, 10 * 10**8 + 7, {"X": 50, "Y": 20}, prevention, credit, short)
        commands.append(account)
    for client in LADDER_CLIENTS:
        commands.append(OpenAccount(floor.id(), 1, client, 10**15, {"X": 10**6, "Y": 10**6}))
    orders: list[int] = []
    now = 1
    for step in steps:
        match step:
            case "enter", fields:
                orders.append(floor.id())
                commands.append(NewOrder(orders[-1], now, **fields))
            case "cancel", client, back:
                commands.append(CancelOrder(floor.id(), now, client, orders[-1 - back % len(orders)] if orders else 0))
            case "replace", client, back, quantity, price, trigger:
                target = orders[-1 - back % len(orders)] if orders else 0
                commands.append(ReplaceOrder(floor.id(), now, client, target, quantity or None, price, trigger))
            case "ladder", symbol, side, low, count:
                commands += rungs_of(floor, now, symbol, side, low, count)
            case "cancel all", client, symbol:
                commands.append(CancelAll(floor.id(), now, client, symbol))
            case "state", symbol, state:
                commands.append(SetTradingState(floor.id(), now, symbol, state))
            case type() as command_type, symbol:
                commands.append(command_type(floor.id(), now, symbol, "then"))
            case "tick", seconds:
                now += seconds * SECOND
                commands.append(TimeTick(floor.id(), now))
            case "transfer", client, cash, lots:
                commands.append(TransferAssets(floor.id(), now, client, cash * 10**8, {"X": lots}, "a test"))
            case "suspend", client:
                commands.append(SuspendClient(floor.id(), now, client))
            case _, client:
                commands.append(ResumeClient(floor.id(), now, client))
    return commands


def run(commands: list[Any], engine: Engine | None = None) -> tuple[Engine, list[Event]]:
    engine = engine or Engine()
    return engine, [event for command in commands for event in events_of(engine.apply(command))]


def digest(events: list[Event]) -> str:
    return hashlib.sha256(msgspec.msgpack.encode(events)).hexdigest()


@settings(max_examples=100)
@given(days)
def test_cash_and_shares_are_conserved_and_no_account_exceeds_its_limits(steps: list[Any]) -> None:
    engine, events = run(commands_of(steps))
    invariants.cash_and_shares_are_conserved(engine, events)
    invariants.no_account_exceeds_its_limits(engine)


@settings(max_examples=100)
@given(days)
def test_reserved_cash_and_shares_equal_the_sum_over_open_orders(steps: list[Any]) -> None:
    engine, _ = run(commands_of(steps))
    invariants.reserves_are_the_sum_over_open_orders(engine)


@settings(max_examples=100)
@given(days)
def test_the_book_is_never_crossed_and_each_level_is_the_sum_of_its_orders(steps: list[Any]) -> None:
    engine = Engine()
    for command in commands_of(steps):
        engine.apply(command)
        invariants.no_book_is_crossed(engine)
    invariants.levels_are_the_sum_of_their_orders(engine)


@settings(max_examples=100)
@given(days)
def test_no_trade_passes_over_a_better_price(steps: list[Any]) -> None:
    """An order on the side of the maker at a better price than the maker must trade before it."""
    engine = Engine()
    for command in commands_of(steps):
        before = {
            (symbol, side): [(order.entry.command_id, order.price) for order in market.book.side(side)]
            for symbol, market in engine.markets.items()
            for side in Side
        }
        events = engine.apply(command).reports
        if not isinstance(command, NewOrder) or command.symbol not in engine.markets:
            continue
        if any(isinstance(event, TradingStateChanged) for event in events):
            continue
        gone: set[int] = set()
        for event in events:
            if isinstance(event, OrderReport) and event.status.is_final:
                gone.add(event.order_id)
            if isinstance(event, Trade) and event.taker_order_id == command.command_id:
                resting = [entry for entry in before[event.symbol, opposite(command.side)] if entry[0] not in gone]
                prices = dict(resting)
                best = (min if command.side is Side.BUY else max)(prices.values())
                assert prices[event.maker_order_id] == best


def opposite(side: Side) -> Side:
    return Side.SELL if side is Side.BUY else Side.BUY


@settings(max_examples=100)
@given(days)
def test_every_order_ends_once_and_its_quantities_add_up(steps: list[Any]) -> None:
    engine, events = run(commands_of(steps))
    invariants.every_order_ends_once_and_adds_up(engine, events)


@settings(max_examples=100)
@given(days)
def test_a_replay_gives_the_same_bytes(steps: list[Any]) -> None:
    commands = commands_of(steps)
    assert digest(run(commands)[1]) == digest(run(commands)[1])


@settings(max_examples=100)
@given(days, st.integers(0, 310))
def test_a_snapshot_and_a_replay_from_it_give_the_same_bytes(steps: list[Any], cut: int) -> None:
    commands = commands_of(steps)
    whole, events = run(commands)
    first, before = run(commands[:cut])
    encoded = msgspec.msgpack.encode(state.take(first))
    restored = state.restore(msgspec.msgpack.decode(encoded, type=state.EngineState))
    second, after = run(commands[cut:], restored)
    assert digest(before + after) == digest(events)
    assert state.take(second) == state.take(whole)


@settings(max_examples=100)
@given(days)
def test_repeated_commands_change_nothing(steps: list[Any]) -> None:
    commands = commands_of(steps)
    twice = [command for command in commands for _ in range(2)]
    assert digest(run(twice)[1]) == digest(run(commands)[1])


@settings(max_examples=100)
@given(days)
def test_the_clearinghouse_settles_every_instruction_and_has_the_balances_of_the_engine(steps: list[Any]) -> None:
    engine, events = run(commands_of(steps))
    ledger = Ledger()
    instructions = [event for event in events if isinstance(event, (Execution, Transfer))]
    for number, instruction in enumerate(instructions, 1):
        assert ledger.settle(number, instruction).status is SettlementStatus.SETTLED
        assert sum(ledger.cash.values()) == 0
        for symbol in SYMBOLS:
            assert sum(lots for (_, s), lots in ledger.holdings.items() if s == symbol) == 0
    for client_id, account in engine.accounts.items():
        assert ledger.cash[client_id] == account.cash
        for symbol in SYMBOLS:
            assert ledger.holdings.get((client_id, symbol), 0) == account.holding(symbol).quantity


@settings(max_examples=100)
@given(days)
def test_the_book_of_the_feed_equals_the_book_of_the_engine(steps: list[Any]) -> None:
    engine, events = run(commands_of(steps))
    market = MarketData()
    for event in events:
        if not isinstance(event, (Execution, Transfer)):
            market.apply(event)
    for symbol in SYMBOLS:
        book = engine.markets[symbol].book
        for levels, side in ((market.books[symbol].bids, book.bids), (market.books[symbol].asks, book.asks)):
            assert levels == {level.price: (level.quantity, level.count) for level in side.best_first()}
        numbers = [e.book_sequence for e in events if isinstance(e, PriceUpdate) and e.symbol == symbol]
        assert numbers == list(range(1, len(numbers) + 1))


def _any_command() -> st.SearchStrategy[Any]:
    used = st.sampled_from(("a", "b", "X", "Y", ""))
    texts = st.one_of(used, st.text(max_size=20))
    numbers = st.one_of(st.integers(-3, 60), st.integers(-(2**63), 2**64 - 1))
    by_type: dict[Any, st.SearchStrategy[Any]] = {int: numbers, str: texts, int | None: st.one_of(st.none(), numbers)}
    by_type[dict[str, int]] = st.dictionaries(texts, numbers, max_size=3)
    return st.one_of(
        *(
            st.builds(
                record_type,
                **{f.name: by_type.get(f.type, st.from_type(f.type)) for f in msgspec.structs.fields(record_type)},
            )
            for record_type in RECORD_TYPES[ORDER_ENTRY]
        )
    )


@settings(max_examples=100)
@given(days, st.lists(_any_command(), max_size=10))
def test_a_command_of_any_values_is_applied_or_refused_and_never_raises(steps: list[Any], arbitrary: list[Any]) -> None:
    engine, _ = run(commands_of(steps))
    _, events = run(arbitrary, engine)
    msgspec.msgpack.encode(events)
    state.restore(state.take(engine))
