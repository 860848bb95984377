"""The flow of orders that the book and the engine are measured with: half adds, two fifths cancels, a tenth marketable.

Prices are around a middle that drifts; every order is for 1 to 10 lots; a cancel is of an order that was added and may have
traded since, as in a real market. The same seed gives the same flow.
"""

import random
from typing import NamedTuple


class Step(NamedTuple):
    """One event of the flow."""

    kind: str
    """`add`, `cancel` or `take`."""
    order: int
    """The number of the order: a new one, or the one to cancel."""
    is_buy: bool
    price: int
    quantity: int


def flow(count: int, seed: int = 1) -> list[Step]:
    """`count` steps."""
    dice = random.Random(seed)
    middle, steps, live = 100_000, [], []
    for number in range(1, count + 1):
        middle += dice.choice((-1, 0, 0, 0, 1))
        draw = dice.random()
        is_buy = dice.random() < 0.5
        quantity = dice.randint(1, 10)
        if draw < 0.5 or not live:
            away = dice.randint(1, 40)
            live.append(number)
            steps.append(Step("add", number, is_buy, middle - away if is_buy else middle + away, quantity))
        elif draw < 0.9:
            place = dice.randrange(len(live))
            live[place], live[-1] = live[-1], live[place]
            steps.append(Step("cancel", live.pop(), is_buy, 0, 0))
        else:
            steps.append(Step("take", number, is_buy, middle + 50 if is_buy else middle - 50, quantity))
    return steps
