"""The flow of orders for the benchmarks of book and engine: half adds, two fifths cancels, a tenth marketable orders.

Prices are around a mid price that drifts. Every order has 1 to 10 lots. A cancel is for an added order, which may have
traded before, as in a real market. The same seed gives the same flow.
"""

import random
from typing import NamedTuple


class Step(NamedTuple):
    """One event of the flow."""

    action: str
    """`add`, `cancel` or `take`."""
    order: int
    """The number of a new order, or of the order to cancel."""
    is_buy: bool
    price: int
    quantity: int


def flow(count: int, seed: int = 1) -> list[Step]:
    """Return a flow of `count` steps."""
    rng = random.Random(seed)
    mid_price, steps, live = 100_000, [], []
    for number in range(1, count + 1):
        mid_price += rng.choice((-1, 0, 0, 0, 1))
        draw = rng.random()
        is_buy = rng.random() < 0.5
        quantity = rng.randint(1, 10)
        if draw < 0.5 or not live:
            away = rng.randint(1, 40)
            live.append(number)
            steps.append(Step("add", number, is_buy, mid_price - away if is_buy else mid_price + away, quantity))
        elif draw < 0.9:
            place = rng.randrange(len(live))
            live[place], live[-1] = live[-1], live[place]
            steps.append(Step("cancel", live.pop(), is_buy, 0, 0))
        else:
            steps.append(Step("take", number, is_buy, mid_price + 50 if is_buy else mid_price - 50, quantity))
    return steps
