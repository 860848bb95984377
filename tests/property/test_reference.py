"""The engine has the same trades and levels as the naive book.

The environment variable MX_REFERENCE_COMMANDS sets the number of commands.
"""

import os
import random

from microexchange.commands import CancelOrder, NewOrder, ReplaceOrder
from microexchange.enums import OrderType, Side, TimeInForce
from microexchange.numbers import MAX_CASH
from microexchange.reports import Trade
from tests.property.reference import NaiveBook
from tests.unit.market import Floor, of

COMMANDS = int(os.environ.get("MX_REFERENCE_COMMANDS", "60000"))
TIMES_IN_FORCE = [TimeInForce.GTC] * 6 + [TimeInForce.IOC, TimeInForce.FOK]


def test_the_engine_agrees_with_the_naive_book() -> None:
    rng = random.Random(20)
    buyers = [f"b{number}" for number in range(4)]
    sellers = [f"s{number}" for number in range(4)]
    floor = Floor(clients=(*buyers, *sellers), cash=MAX_CASH, shares=10**9)
    naive, engine = NaiveBook(), floor.engine
    owners: dict[int, str] = {}
    numbers: list[int] = []
    for step in range(COMMANDS):
        draw = rng.random()
        command_id = floor.id()
        # The book has few orders at few prices, so that most orders match. Some market orders take all levels.
        if draw < 0.62 or not numbers:
            is_buy = rng.random() < 0.5
            owner = rng.choice(buyers if is_buy else sellers)
            price = None if rng.random() < 0.08 else 1000 + rng.randint(-6, 6)
            quantity = rng.randint(1, 12)
            time_in_force = TimeInForce.GTC if price is None else rng.choice(TIMES_IN_FORCE)
            plain = price is None or time_in_force is not TimeInForce.GTC
            display = 0 if plain or rng.random() < 0.8 else rng.randint(1, quantity)
            post = not plain and rng.random() < 0.1
            order_type = OrderType.MARKET if price is None else OrderType.LIMIT
            side = Side.BUY if is_buy else Side.SELL
            command = NewOrder(
                command_id, 1, owner, "X", side, order_type, quantity, price, "", time_in_force, 0, None, post, display
            )
            events = engine.apply(command).reports
            naive.enter(command_id, is_buy, price, quantity, time_in_force.value, display, post)
            owners[command_id] = owner
            numbers.append(command_id)
        else:
            target = numbers[-1 - min(int(rng.expovariate(0.05)), len(numbers) - 1)]
            if draw < 0.85:
                events = engine.apply(CancelOrder(command_id, 1, owners[target], target)).reports
                naive.cancel(target)
            else:
                quantity, price = rng.randint(1, 12), 1000 + rng.randint(-6, 6)
                events = engine.apply(ReplaceOrder(command_id, 1, owners[target], target, quantity, price)).reports
                naive.amend(target, quantity, price)
        trades = [(t.maker_order_id, t.taker_order_id, t.price, t.quantity) for t in of(Trade, events)]
        assert trades == naive.trades, f"step {step}: {command_id}"
        naive.trades.clear()
        if step % 50 == 0 or step == COMMANDS - 1:
            assert floor.levels("buy") == naive.levels(True)
            assert floor.levels("sell") == naive.levels(False)
        if len(naive.entries) > 60:
            for entry in naive.entries[:30]:
                engine.apply(CancelOrder(floor.id(), 1, owners[entry.number], entry.number))
            del naive.entries[:30]
