"""The equilibrium and the efficiency of an experiment with induced values.

The example was computed by hand. Values in descending order are 10, 9, 8, 4, and costs in ascending order 3, 5, 7, 9. Three
units trade: 10 - 3, 9 - 5 and 8 - 7 are a surplus of 12. The price is at least 7, the third cost, and at most 8, the third
value.
"""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from microexchange.induced_values import efficiency, equilibrium, realised_surplus

VALUES = {"ann": [10, 8], "bea": [9, 4]}
COSTS = {"sam": [3, 7], "tom": [5, 9]}
units = st.lists(st.integers(0, 50), max_size=8)


def test_the_equilibrium_of_the_example() -> None:
    found = equilibrium([10, 8, 9, 4], [3, 7, 5, 9])
    assert (found.quantity, found.lowest_price, found.highest_price, found.surplus) == (3, 7, 8, 12)


def test_the_marginal_units_that_do_not_trade_bound_the_price() -> None:
    found = equilibrium([10, 9], [3, 12])
    assert (found.quantity, found.lowest_price, found.highest_price) == (1, 9, 10)


def test_without_a_gain_from_trade_there_is_no_price_and_no_efficiency() -> None:
    assert equilibrium([3], [4]).lowest_price is None
    assert efficiency({"ann": [3]}, {"sam": [4]}, {}) is None


def test_the_equilibrium_trades_have_an_efficiency_of_one() -> None:
    assert efficiency(VALUES, COSTS, {"ann": 2, "bea": 1, "sam": -2, "tom": -1}) == 1


def test_the_wrong_seller_lowers_the_efficiency() -> None:
    bought = {"ann": 2, "bea": 1, "sam": -1, "tom": -2}
    assert realised_surplus(VALUES, COSTS, bought) == 10 + 8 + 9 - 3 - 5 - 9
    assert efficiency(VALUES, COSTS, bought) == Fraction(10, 12)


@given(units, units)
def test_no_other_quantity_has_a_greater_surplus(values: list[int], costs: list[int]) -> None:
    found, demand, supply = equilibrium(values, costs), sorted(values, reverse=True), sorted(costs)
    for quantity in range(min(len(demand), len(supply)) + 1):
        assert sum(demand[:quantity]) - sum(supply[:quantity]) <= found.surplus


@given(units, units)
def test_at_each_equilibrium_price_the_quantity_is_demanded_and_supplied(values: list[int], costs: list[int]) -> None:
    found = equilibrium(values, costs)
    if found.lowest_price is None or found.highest_price is None:
        return
    assert found.lowest_price <= found.highest_price
    for price in (found.lowest_price, found.highest_price):
        for units_of, would in (
            (values, [sum(v > price for v in values), sum(v >= price for v in values)]),
            (costs, [sum(c < price for c in costs), sum(c <= price for c in costs)]),
        ):
            assert would[0] <= found.quantity <= would[1], units_of
