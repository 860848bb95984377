"""Induced values: the competitive equilibrium and the efficiency of an experiment.

Each buyer has a redemption value for each unit that it buys, and each seller a cost for each unit that it sells (Smith,
Journal of Political Economy, 1962). Values and costs are in ticks. Pure: integers, no I/O.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

SELLER = "seller"
"""The role whose values are costs. The values of all other roles are redemption values."""


@dataclass(frozen=True, slots=True)
class Equilibrium:
    """The competitive equilibrium of a market."""

    quantity: int
    """The units that trade."""
    lowest_price: int | None
    """The lowest price at which this quantity is demanded and supplied, in ticks. None if nothing trades."""
    highest_price: int | None
    surplus: int
    """The greatest sum of values less costs, in ticks."""


def equilibrium(values: Iterable[int], costs: Iterable[int]) -> Equilibrium:
    """Return the equilibrium of the redemption values of all buyers and the costs of all sellers.

    A unit with equal value and cost trades: it adds nothing to the surplus.
    """
    demand, supply = sorted(values, reverse=True), sorted(costs)
    quantity = sum(1 for value, cost in zip(demand, supply, strict=False) if value >= cost)
    if not quantity:
        return Equilibrium(0, None, None, 0)
    lowest = max([supply[quantity - 1], *demand[quantity : quantity + 1]])
    highest = min([demand[quantity - 1], *supply[quantity : quantity + 1]])
    return Equilibrium(quantity, lowest, highest, sum(demand[:quantity]) - sum(supply[:quantity]))


def realised_surplus(
    values: Mapping[str, Sequence[int]], costs: Mapping[str, Sequence[int]], bought: Mapping[str, int]
) -> int:
    """Return the sum of the values of the units bought, less the costs of the units sold, in ticks.

    Args:
        values: The redemption values of each buyer, the first unit first.
        costs: The costs of each seller, the first unit first.
        bought: The units that each client has bought net; negative for units sold net.
    """
    gained = sum(sum(own[: max(bought.get(client, 0), 0)]) for client, own in values.items())
    paid = sum(sum(own[: max(-bought.get(client, 0), 0)]) for client, own in costs.items())
    return gained - paid


def efficiency(
    values: Mapping[str, Sequence[int]], costs: Mapping[str, Sequence[int]], bought: Mapping[str, int]
) -> Fraction | None:
    """Return the realised surplus as a part of the greatest one. None if no trade could gain anything."""
    best = equilibrium(
        (value for own in values.values() for value in own), (cost for own in costs.values() for cost in own)
    ).surplus
    return Fraction(realised_surplus(values, costs, bought), best) if best else None
