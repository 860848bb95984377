"""The console output of competitions: the progress bar, the ranking of a round, and the standings after several rounds."""

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from exchange_launcher.terminal import PlainConsole, console, errors
from trading_bots.competition.report import tournament_page
from trading_bots.competition.results import RoundResult, as_json, idle
from trading_bots.competition.season import Season
from trading_bots.competition.tournament import Tournament, tournament_of

WIDE_CONSOLE_CHARACTERS = 110
"""The width from which tables have all columns."""
MAX_DIFFERENCES_SHOWN = 10
"""The number of differences that are printed. The page and the JSON have all of them."""
_STANDINGS_HEADINGS = ("", "client", "mean score", "± (95 %)", "mean rank", "wins", "worst", "best", "ahead of the next")
_WIDE_STANDINGS_HEADINGS = ("mean rank", "worst", "best")
"""The columns that a narrow terminal does not show."""


def progress_bar() -> Progress:
    """Return a progress bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn())
    # While bots run, `sys.stderr` is replaced to collect their output. So the bar keeps the present one.
    console_of_bar = PlainConsole(file=sys.stderr)
    return Progress(*columns, console=console_of_bar, transient=True, redirect_stdout=False, redirect_stderr=False)


def round_counter(progress: Progress, task: TaskID, rounds: int) -> Callable[[], None]:
    """Return a function to call after each round. It advances the bar. Without a terminal, it prints ten lines in total."""
    numbers = itertools.count(1)

    def count() -> None:
        progress.advance(task)
        number = next(numbers)
        if not progress.console.is_terminal and number * 10 // rounds > (number - 1) * 10 // rounds:
            progress.console.print(f"{number} of {rounds} rounds", highlight=False)

    return count


def _is_wide() -> bool:
    return console.width >= WIDE_CONSOLE_CHARACTERS


def print_ranking(result: RoundResult) -> None:
    """Print the ranking of a round, the errors, and the bots that have not traded."""
    table = Table(title=escape(f"{result.season}, round {result.round}"), title_justify="left")
    parts = ("spread", "fees", "inventory", "drawdown") if _is_wide() else ()
    for heading in ("", "client", "score", "profit", *parts, "orders", "fills"):
        table.add_column(heading, justify="left" if heading == "client" else "right", no_wrap=True)
    for place in result.ranking:
        part_amounts = (place.from_spread, place.from_fees, place.from_inventory, place.drawdown) if parts else ()
        amounts = (place.score, place.profit, *part_amounts)
        cells = (f"{float(amount):,.2f}" for amount in amounts)
        style = "dim" if place.house else "red" if place.ended else None
        table.add_row(str(place.rank), escape(place.client_id), *cells, f"{place.orders:,}", f"{place.fills:,}", style=style)
    console.print(table)
    for place in result.ranking:
        for text in (*([place.ended] if place.ended else []), *place.errors[:1]):
            print_warning(f"{place.client_id}: {text}", "red")
        for text in (place.note, "" if place.house else idle(place)):
            if text:
                print_warning(f"{place.client_id}: {text}")


def print_warning(text: str, style: str = "yellow") -> None:
    """Print a text on standard error. The text may contain output of a bot."""
    errors.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_faults(results: Sequence[RoundResult]) -> None:
    """Print the bots that had errors in at least one round, and the bots that traded in no round."""
    first_error: dict[str, str] = {}
    rounds_with_errors: Counter[str] = Counter()
    fills: Counter[str] = Counter()
    idle_reason: dict[str, str] = {}
    for result in results:
        for place in result.ranking:
            for text in (place.ended, *place.errors[:1], place.note):
                if text:
                    first_error.setdefault(place.client_id, text)
            rounds_with_errors[place.client_id] += bool(place.ended or place.errors)
            fills[place.client_id] += place.fills
            if not place.house:
                idle_reason[place.client_id] = idle(place)
    for name, text in first_error.items():
        count = rounds_with_errors[name]
        print_warning(f"{name}: {text}" + (f"(in {count} of {len(results)} rounds)" if count else ""), "red")
    for name, text in idle_reason.items():
        if not fills[name]:
            print_warning(f"{name}, in every round: {text}")


def write_standings(season: Season, results: Sequence[RoundResult], out: Path, name: str) -> Tournament:
    """Write the standings after several rounds as JSON and as a page, and return them."""
    standings, folder = tournament_of(season, results), out / season.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_bytes(as_json(standings))
    rows = list(_standings_rows(standings))
    page = tournament_page(standings, _STANDINGS_HEADINGS, rows, difference_sentences(standings))
    (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return standings


def _standings_rows(standings: Tournament) -> Iterator[tuple[str, ...]]:
    """Yield one row of text for each contestant, in the order of `_STANDINGS_HEADINGS`."""
    differences = {(difference.ahead, difference.behind): difference for difference in standings.differences}
    for place, following in itertools.zip_longest(standings.places, standings.places[1:]):
        amounts = (f"{place.mean_score:,.2f}", f"{place.margin:,.2f}", f"{place.mean_rank:.2f}")
        if following is None:
            is_ahead = ""
        else:
            is_ahead = "yes" if differences[place.client_id, following.client_id].significant else "not sure"
        extremes = (f"{place.worst:,.2f}", f"{place.best:,.2f}")
        yield (str(place.rank), place.client_id, *amounts, str(place.wins), *extremes, is_ahead)


def difference_sentences(standings: Tournament) -> list[str]:
    """Return one sentence for each pair of contestants. Pairs of neighbours come first."""
    rank = {place.client_id: place.rank for place in standings.places}
    sentences = []
    for pair in sorted(standings.differences, key=lambda pair: rank[pair.behind] - rank[pair.ahead]):
        if pair.low is None or pair.high is None:
            sentences.append(f"{pair.ahead} and {pair.behind}: one round does not show which is better.")
            continue
        interval = f"{pair.mean:+,.2f} a round on average, 95 % interval {pair.low:+,.2f} to {pair.high:+,.2f}"
        if pair.significant:
            sentences.append(f"{pair.ahead} is ahead of {pair.behind}: {interval}.")
        else:
            sentences.append(f"{pair.ahead} and {pair.behind}: the difference is not significant: {interval}.")
    return sentences


def print_standings(standings: Tournament) -> None:
    """Print the standings after several rounds, and the most important differences."""
    table = Table(title=escape(f"{standings.season}: {standings.rounds} rounds"), title_justify="left")
    shown = [
        number for number, heading in enumerate(_STANDINGS_HEADINGS) if _is_wide() or heading not in _WIDE_STANDINGS_HEADINGS
    ]
    for number in shown:
        is_name = _STANDINGS_HEADINGS[number] == "client"
        table.add_column(_STANDINGS_HEADINGS[number], justify="left" if is_name else "right", no_wrap=is_name)
    for row in _standings_rows(standings):
        table.add_row(*(escape(row[number]) for number in shown))
    console.print(table)
    sentences = difference_sentences(standings)
    for sentence in sentences[:MAX_DIFFERENCES_SHOWN]:
        console.print(sentence, markup=False, highlight=False)
    if len(sentences) > MAX_DIFFERENCES_SHOWN:
        more = len(sentences) - MAX_DIFFERENCES_SHOWN
        console.print(f"The results contain {more} more differences.", markup=False, highlight=False)
