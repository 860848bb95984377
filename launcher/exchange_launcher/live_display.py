"""The console of a live round: the leaderboard, the best score so far, and the keys that pause or end the round."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from trading_bots.competition.season import Season

KEYS_HELP = "p and Enter pause or resume the round, q and Enter end it"
MAX_LEADERS_SHOWN = 30


def best_score_text(season: Season, leaders: list[dict[str, Any]], house: set[str]) -> str:
    """Return the contestant with the best score so far, as a part of a line. Without contestants the text is empty.

    The score does not include the inventory penalty or the closing auction, because they are known only after the round.
    """
    scoring = season.scoring
    scores = [
        (float(leader[scoring.by]) - scoring.drawdown_penalty * float(leader["drawdown"]), leader["client_id"])
        for leader in leaders
        # The opening balance of an account without equity is not settled yet.
        if leader["client_id"] not in house and float(leader["equity"])
    ]
    if not scores:
        return ""
    score, name = max(scores, key=lambda pair: pair[0])
    suffix = ", without the penalty for inventory" if scoring.inventory_penalty else ""
    return f", best score so far: {name} with {score:,.2f}{suffix}"


def leaderboard_table(leaders: list[dict[str, Any]], title: str, house: set[str], ended: Mapping[str, str]) -> Table:
    """Return the leaderboard as a table. `ended` has the reason of each contestant that no longer plays."""
    table = Table(title=escape(title), title_justify="left")
    for heading in ("", "client", "equity", "profit", "return", "trades", ""):
        table.add_column(heading, justify="left" if heading in ("client", "") else "right")
    for leader in leaders[:MAX_LEADERS_SHOWN]:
        name = leader["client_id"]
        reason = ended.get(name, "")
        style = "red" if reason else "dim" if name in house else None
        amounts = (
            f"{float(leader['equity']):,.2f}",
            f"{float(leader['profit']):+,.2f}",
            f"{leader['return_percent'] or '–'} %",
        )
        table.add_row(str(leader["rank"]), escape(name), *amounts, str(leader["trades"]), escape(reason), style=style)
    return table


@contextlib.contextmanager
def typed_lines() -> Iterator[list[str]]:
    """Return a list that grows with each line that the user types. It stays empty if standard input cannot be watched."""
    lines: list[str] = []
    loop = asyncio.get_running_loop()
    try:
        descriptor = sys.stdin.fileno()
        loop.add_reader(descriptor, lambda: _read_lines(descriptor, lines, lambda: loop.remove_reader(descriptor)))
    except (OSError, ValueError):
        yield lines
        return
    try:
        yield lines
    finally:
        loop.remove_reader(descriptor)


def _read_lines(descriptor: int, lines: list[str], on_end: Callable[[], object]) -> None:
    """Append what was typed to `lines`. At the end of the input, call `on_end`."""
    data = os.read(descriptor, 4096)
    if not data:
        on_end()
    lines += [line.strip().lower() for line in data.decode(errors="replace").splitlines()]
