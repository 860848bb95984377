"""The scores of a round, and the grades of clients and teams over the rounds of a session. Pure.

The sums are exact. Ratios are rounded when they become text.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from microexchange.induced_values import SELLER, Equilibrium, efficiency, equilibrium
from microexchange.numbers import cash_to_text
from microexchange.round_activity import RoundActivity, progress
from microexchange.schemas import Answer
from microexchange.session_commands import Assignment
from microexchange.session_reports import RoundEnded


class ScoreView(Answer, frozen=True, kw_only=True):
    """The result of a client in a round. Equal profits have the same rank."""

    rank: int
    client_id: str
    nickname: str
    """The name that pages show. It is the client id outside of a classroom."""
    team: str
    start: str
    """Cash and holdings at the start, with the deposits and withdrawals of the admin during the round."""
    end: str
    profit: str
    return_percent: str | None
    """Profit as a percentage of `start`; null if `start` is not positive."""
    orders: int
    """Orders that were accepted."""
    trades: int
    fill_ratio: str | None
    """The part of the ordered quantity that has traded; null without orders."""
    efficiency: str | None
    """The gain from private values as a part of the gain at the price of the equilibrium; null if that is zero."""
    tasks_met: int
    tasks: int


class GradeView(ScoreView, frozen=True, kw_only=True):
    """The result of a client over all rounds that count. Amounts and counts are sums over the rounds."""

    rounds: int
    """The number of rounds in which the client had an account."""


class TeamView(Answer, frozen=True, kw_only=True):
    """The result of a team over all rounds that count. Equal profits for a member have the same rank."""

    rank: int
    team: str
    members: int
    profit: str
    """The sum over its members."""
    profit_per_member: str
    """Rounded to cents."""
    tasks_met: int
    tasks: int


@dataclass(frozen=True)
class Round:
    """All that the scores of a round are made from."""

    result: RoundEnded
    activities: Mapping[str, RoundActivity]
    """By client id."""
    assignments: tuple[Assignment, ...] = ()
    tick_values: Mapping[str, int] = field(default_factory=dict)
    """Cash units of a tick of a lot, by symbol."""


@dataclass(frozen=True)
class Person:
    """The names of a client."""

    nickname: str
    team: str = ""


@dataclass
class _Sum:
    """The sums of a client over rounds."""

    client_id: str
    start: int = 0
    profit: int = 0
    rounds: int = 0
    orders: int = 0
    trades: int = 0
    ordered: int = 0
    filled: int = 0
    gain: int = 0
    """The gain from private values, in cash units."""
    possible: Fraction = Fraction(0)
    """That gain at the price of the equilibrium."""
    met: int = 0
    tasks: int = 0


def scores(round_data: Round, people: Mapping[str, Person], left_out: Collection[str] = ()) -> list[ScoreView]:
    """Return the scores of a round, without the clients `left_out`, the best first."""
    return [ScoreView(**_fields(rank, total, people)) for rank, total in _ranked(_sums([round_data], left_out))]


def grades(rounds: Iterable[Round], people: Mapping[str, Person], left_out: Collection[str] = ()) -> list[GradeView]:
    """Return the grades over several rounds, without the clients `left_out`, the best first."""
    totals = _ranked(_sums(rounds, left_out))
    return [GradeView(rounds=total.rounds, **_fields(rank, total, people)) for rank, total in totals]


def team_grades(rounds: Iterable[Round], people: Mapping[str, Person], left_out: Collection[str] = ()) -> list[TeamView]:
    """Return the grades of teams, the best profit for a member first. Clients without a team are left out."""
    teams: dict[str, list[_Sum]] = {}
    for total in _sums(rounds, left_out):
        team = people[total.client_id].team if total.client_id in people else ""
        if team:
            teams.setdefault(team, []).append(total)
    rows = [(Fraction(sum(one.profit for one in members), len(members)), team, members) for team, members in teams.items()]
    rows.sort(key=lambda row: (-row[0], row[1]))
    return [
        TeamView(
            rank=1 + sum(other[0] > row[0] for other in rows),
            team=row[1],
            members=len(row[2]),
            profit=cash_to_text(sum(one.profit for one in row[2])),
            profit_per_member=f"{Decimal(cash_to_text(round(row[0]))):.2f}",
            tasks_met=sum(one.met for one in row[2]),
            tasks=sum(one.tasks for one in row[2]),
        )
        for row in rows
    ]


def _sums(rounds: Iterable[Round], left_out: Collection[str]) -> list[_Sum]:
    """Return the sums of each client over the rounds."""
    sums: dict[str, _Sum] = {}
    for one in rounds:
        possible, realised = possible_gains(one), realised_gains(one)
        for client_id, start, end in one.result.values:
            if client_id in left_out:
                continue
            total = sums.setdefault(client_id, _Sum(client_id))
            activity = one.activities.get(client_id) or RoundActivity(client_id, one.result.round_number)
            profit = end - start
            total.rounds += 1
            total.start += start
            total.profit += profit
            total.orders += activity.orders
            total.trades += sum(activity.trades.values())
            total.ordered += activity.ordered
            total.filled += activity.filled
            if possible.get(client_id):
                total.gain += realised[client_id]
                total.possible += possible[client_id]
            total.tasks += len(one.assignments)
            total.met += sum(progress(task, activity, profit, one.result.timestamp).is_met for task in one.assignments)
    return list(sums.values())


def _ranked(sums: Iterable[_Sum]) -> list[tuple[int, _Sum]]:
    """Return (rank, sums), the highest profit first, and equal profits by name."""
    ordered = sorted(sums, key=lambda total: (-total.profit, total.client_id))
    profits = [total.profit for total in ordered]
    return [(profits.index(total.profit) + 1, total) for total in ordered]


def _fields(rank: int, total: _Sum, people: Mapping[str, Person]) -> dict[str, Any]:
    person = people.get(total.client_id) or Person(total.client_id)
    return {
        "rank": rank,
        "client_id": total.client_id,
        "nickname": person.nickname,
        "team": person.team,
        "start": cash_to_text(total.start),
        "end": cash_to_text(total.start + total.profit),
        "profit": cash_to_text(total.profit),
        "return_percent": f"{Decimal(100 * total.profit) / total.start:z.2f}" if total.start > 0 else None,
        "orders": total.orders,
        "trades": total.trades,
        "fill_ratio": ratio_text(Fraction(total.filled, total.ordered)) if total.ordered else None,
        "efficiency": ratio_text(Fraction(total.gain) / total.possible) if total.possible else None,
        "tasks_met": total.met,
        "tasks": total.tasks,
    }


def ratio_text(ratio: Fraction) -> str:
    """Return a ratio with two decimals."""
    return f"{Decimal(ratio.numerator) / ratio.denominator:z.2f}"


def units_of(round_data: Round, symbol: str) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Return the values of all buyers and the costs of all sellers in ticks, by client id."""
    found: tuple[dict[str, list[int]], dict[str, list[int]]] = {}, {}
    for client_id, activity in round_data.activities.items():
        if units := activity.values.get(symbol):
            found[activity.role == SELLER][client_id] = units
    return found


def symbols_with_values(round_data: Round) -> list[str]:
    """Return the securities in which clients have private values."""
    return sorted({symbol for activity in round_data.activities.values() for symbol in activity.values})


def equilibrium_of(round_data: Round, symbol: str) -> Equilibrium:
    """Return the competitive equilibrium of a security with private values."""
    values, costs = units_of(round_data, symbol)
    return equilibrium(
        [unit for units in values.values() for unit in units], [unit for units in costs.values() for unit in units]
    )


def efficiency_of(round_data: Round, symbol: str) -> Fraction | None:
    """Return the realised part of the greatest surplus. None if no trade could gain anything."""
    bought = {client_id: activity.net.get(symbol, 0) for client_id, activity in round_data.activities.items()}
    return efficiency(*units_of(round_data, symbol), bought)


def realised_gains(round_data: Round) -> dict[str, int]:
    """Return the gain of each client with private values from its trades, in cash units, without fees.

    A buyer gains the values of its units less what it has paid. A seller gains what it has received less the costs.
    """
    gains: dict[str, int] = {}
    for symbol in symbols_with_values(round_data):
        for units_by_client, sign in zip(units_of(round_data, symbol), (1, -1), strict=True):
            for client_id, units in units_by_client.items():
                activity = round_data.activities[client_id]
                count = max(sign * activity.net.get(symbol, 0), 0)
                ticks = sign * sum(units[:count]) - activity.spent.get(symbol, 0)
                gains[client_id] = gains.get(client_id, 0) + ticks * round_data.tick_values.get(symbol, 0)
    return gains


def possible_gains(round_data: Round) -> dict[str, Fraction]:
    """Return the gain of each client with private values at the price of the equilibrium, in cash units.

    The price is the middle of the prices at which the market clears.
    """
    gains: dict[str, Fraction] = {}
    for symbol in symbols_with_values(round_data):
        found, tick_value = equilibrium_of(round_data, symbol), round_data.tick_values.get(symbol, 0)
        if found.lowest_price is None or found.highest_price is None:
            continue
        price = Fraction(found.lowest_price + found.highest_price, 2)
        for units_by_client, sign in zip(units_of(round_data, symbol), (1, -1), strict=True):
            for client_id, units in units_by_client.items():
                gain = sum((max(sign * (unit - price), Fraction(0)) for unit in units), Fraction(0))
                gains[client_id] = gains.get(client_id, Fraction(0)) + gain * tick_value
    return gains
