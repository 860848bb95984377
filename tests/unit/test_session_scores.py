"""The scores of rounds, and the grades of clients and teams."""

import random
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from microexchange.numbers import CASH_SCALE
from microexchange.round_activity import RoundActivity
from microexchange.session_commands import Assignment, AssignmentType
from microexchange.session_reports import RoundEnded
from microexchange.session_scores import (
    Person,
    Round,
    efficiency_of,
    equilibrium_of,
    grades,
    possible_gains,
    realised_gains,
    scores,
    team_grades,
)


def result(number: int, **values: tuple[int, int]) -> RoundEnded:
    rows = [(client_id, start * CASH_SCALE, end * CASH_SCALE) for client_id, (start, end) in values.items()]
    return RoundEnded(1, 1, number, rows, [])


def played(number: int, *activities: RoundActivity, tasks: tuple[Assignment, ...] = (), **values: tuple[int, int]) -> Round:
    """Return a round. A tick of X is 0.01."""
    return Round(result(number, **values), {one.client_id: one for one in activities}, tasks, {"X": CASH_SCALE // 100})


def test_scores_rank_by_profit_and_equal_profits_share_a_rank() -> None:
    found = scores(played(1, ann=(100, 90), ben=(100, 110), cid=(200, 210), mm=(1, 999)), {}, {"mm"})
    assert [(score.rank, score.client_id, score.profit) for score in found] == [
        (1, "ben", "10.00"),
        (1, "cid", "10.00"),
        (3, "ann", "-10.00"),
    ]
    assert [score.return_percent for score in found] == ["10.00", "5.00", "-10.00"]


def test_a_start_of_zero_has_no_return() -> None:
    assert scores(played(1, ann=(0, 5)), {})[0].return_percent is None


def test_grades_sum_the_rounds_of_each_client() -> None:
    found = grades([played(1, ann=(100, 90), ben=(100, 110)), played(2, ann=(100, 150))], {})
    assert [(grade.rank, grade.client_id, grade.profit, grade.rounds) for grade in found] == [
        (1, "ann", "40.00", 2),
        (2, "ben", "10.00", 1),
    ]
    assert found[0].return_percent == "20.00"
    assert (found[0].start, found[0].end) == ("200.00", "240.00")


def test_a_participant_has_its_nickname_and_team_and_others_their_client_id() -> None:
    found = scores(played(1, ann=(1, 1), zoe=(1, 1)), {"zoe": Person("Zoë", "Red")})
    assert [(score.nickname, score.team) for score in found] == [("ann", ""), ("Zoë", "Red")]


def test_the_fill_ratio_is_the_part_of_the_ordered_quantity_that_has_traded() -> None:
    ann = RoundActivity("ann", 1, orders=3, ordered=8, filled=2, trades={"X": 2})
    (found,) = scores(played(1, ann, ann=(1, 1)), {})
    assert (found.orders, found.trades, found.fill_ratio) == (3, 2, "0.25")
    (idle,) = scores(played(1, ann=(1, 1)), {})
    assert (idle.orders, idle.trades, idle.fill_ratio) == (0, 0, None)


def test_tasks_are_counted_over_the_rounds() -> None:
    tasks = (Assignment(AssignmentType.LIMIT_ORDERS, 2), Assignment(AssignmentType.PROFIT, 10 * CASH_SCALE))
    ann = RoundActivity("ann", 1, limit_orders={"X": 2})
    rounds = [played(1, ann, tasks=tasks, ann=(100, 109)), played(2, tasks=tasks, ann=(100, 110))]
    (found,) = grades(rounds, {})
    assert (found.tasks_met, found.tasks) == (2, 4)


def test_teams_rank_by_the_profit_for_a_member() -> None:
    people = {"ann": Person("Ann", "Red"), "ben": Person("Ben", "Red"), "cid": Person("Cid", "Blue"), "dan": Person("Dan")}
    found = team_grades([played(1, ann=(0, 10), ben=(0, 5), cid=(0, 8), dan=(0, 99))], people)
    assert [(one.rank, one.team, one.members, one.profit, one.profit_per_member) for one in found] == [
        (1, "Blue", 1, "8.00", "8.00"),
        (2, "Red", 2, "15.00", "7.50"),
    ]


def smith() -> Round:
    """A buyer with the values 10, 6 and a seller with the costs 2, 8: one unit gains, at a price from 6 to 8."""
    buyer = RoundActivity("b", 1, role="buyer", values={"X": [1000, 600]}, net={"X": 1}, spent={"X": 700})
    seller = RoundActivity("s", 1, role="seller", values={"X": [200, 800]}, net={"X": -1}, spent={"X": -700})
    return played(1, buyer, seller, b=(0, 99), s=(0, -99))  # the price of other holdings may move the profits


def test_the_efficiency_of_a_client_compares_its_gain_with_that_at_the_equilibrium() -> None:
    assert (equilibrium_of(smith(), "X").lowest_price, equilibrium_of(smith(), "X").highest_price) == (600, 800)
    assert realised_gains(smith()) == {"b": 3 * CASH_SCALE, "s": 5 * CASH_SCALE}
    assert possible_gains(smith()) == {"b": Fraction(3 * CASH_SCALE), "s": Fraction(5 * CASH_SCALE)}
    assert {score.client_id: score.efficiency for score in scores(smith(), {})} == {"b": "1.00", "s": "1.00"}
    assert efficiency_of(smith(), "X") == 1


def test_a_client_without_private_values_has_no_efficiency() -> None:
    assert scores(played(1, ann=(1, 2)), {})[0].efficiency is None


@given(st.integers(0, 2**32))
def test_grades_are_the_sums_of_the_scores_of_the_rounds(seed: int) -> None:
    rng = random.Random(seed)
    rounds = []
    for number in range(1, rng.randint(2, 5)):
        clients = rng.sample(["ann", "ben", "cid", "dan"], rng.randint(1, 4))
        activities = [RoundActivity(c, number, orders=rng.randint(0, 9), trades={"X": rng.randint(0, 9)}) for c in clients]
        rounds.append(played(number, *activities, **{c: (rng.randint(0, 99), rng.randint(0, 99)) for c in clients}))
    all_scores = [score for one in rounds for score in scores(one, {})]
    for grade in grades(rounds, {}):
        mine = [score for score in all_scores if score.client_id == grade.client_id]
        assert grade.rounds == len(mine)
        for name in ("profit", "start", "end"):
            assert Decimal(getattr(grade, name)) == sum(Decimal(getattr(score, name)) for score in mine)
        assert (grade.orders, grade.trades) == (sum(one.orders for one in mine), sum(one.trades for one in mine))
    profits = [Decimal(grade.profit) for grade in grades(rounds, {})]
    assert profits == sorted(profits, reverse=True)
