"""The commands for bots and competitions."""

import asyncio
import itertools
import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from exchange_launcher.compete import compete
from exchange_launcher.terminal import (
    CommandError,
    DatabaseUrl,
    Host,
    LogUrl,
    Namespace,
    Port,
    bad_use,
    console,
    errors,
    place_settings,
)
from exchange_launcher.up import UpOptions
from microexchange.batches import MalformedBatchError, UndecodableError
from microexchange.refusals import Refusal
from trading_bots.bot import Bot
from trading_bots.competition import recording, replay
from trading_bots.competition.durations import SeasonError, nanoseconds
from trading_bots.competition.loading import LoadError, files_named, find_bot, make_bot
from trading_bots.competition.output import write_output
from trading_bots.competition.report import tournament_page, write_played
from trading_bots.competition.results import RoundResult, as_json, idle, result_of
from trading_bots.competition.season import Season, parse_season, read_season
from trading_bots.competition.tournament import (
    DEFAULT,
    Tournament,
    output_of,
    results,
    tournament_of,
    with_contestants,
)
from trading_bots.connections import AccountError
from trading_bots.faults import plain
from trading_bots.runner import run
from trading_bots.simulation.rounds import play
from trading_bots.simulation.watchdog import CALLBACK_TIMEOUT_SECONDS, StuckError, Watchdog

SeasonFile = Annotated[Path, typer.Argument(help="The season: a TOML file.")]
OptionalSeasonFile = Annotated[
    Path | None, typer.Argument(help="The season: a TOML file. With --bot there is one built in.")
]
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
Patience = Annotated[float, typer.Option(min=0, help="Real seconds that one call into a bot may take; 0 for any.")]
Seed = Annotated[int | None, typer.Option(help="In place of the season's.")]
MAX_SHOWN = 50
"""Lines of one bot in one round that are printed. A file has all of them."""


@contextmanager
def complaining() -> Iterator[None]:
    """Turns the errors of a season, a bot or a recording into `CommandError`, with what to do."""
    try:
        yield
    except StuckError as error:
        raise CommandError(str(error), "Correct the line that it names; --patience allows more time") from error
    except tuple(_FIXES) as error:
        fix = next(text for kind, text in _FIXES.items() if isinstance(error, kind))
        what = "a file cannot be read: it is not UTF-8 text" if isinstance(error, UnicodeError) else str(error)
        raise bad_use(what, fix) from error


_RECORDING = "Name the folder of a round, with order_entry.log and data_feed.log as they were written"
_FIXES: dict[type[Exception], str] = {
    SeasonError: "Correct the season; docs/competitions.md has every field",
    LoadError: "Correct the bot, or name another; docs/bots.md says what a bot is",
    **dict.fromkeys((recording.RecordingError, msgspec.DecodeError, MalformedBatchError, UndecodableError), _RECORDING),
    UnicodeError: "Name a text file",
    Refusal: "Correct what it names; docs/refusals.md has every code",
}


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn())
    # It writes to standard error as it is now. While bots run, what they write there is theirs.
    to = Console(file=sys.stderr)
    return Progress(*columns, console=to, transient=True, redirect_stdout=False, redirect_stderr=False)


def simulate(
    season_file: OptionalSeasonFile = None,
    bots: Annotated[
        list[str] | None, typer.Option("--bot", help="Takes part too: my_bot.py, my_bot.py:MyBot or a class that ships.")
    ] = None,
    seed: Seed = None,
    speed: Annotated[str, typer.Option(help="max, or how many times faster than real time: 1, 10.")] = "max",
    patience: Patience = CALLBACK_TIMEOUT_SECONDS,
    out: Out = Path("results"),
) -> None:
    """Play a season in one process, on a clock of its own. The same seed gives the same results, to the byte.

    Without a season, the bots of `--bot` play one that is built in."""
    pace = _pace(speed)
    with complaining():
        season, folder = _season(season_file, bots or [], also=True)
        season = _seeded(season, seed)
        played = [_simulate_round(season, number, folder, pace, patience, out) for number in range(1, season.rounds + 1)]
    for one in played:
        print_ranking(one)
    if season.rounds > 1:
        _print_standings(_write_standings(season, played, out, "season"))
    console.print(f"results are in {out / season.name}", markup=False)


def _season(file: Path | None, bots: Sequence[str], also: bool) -> tuple[Season, Path]:
    """The season that is played, and the folder of its contestants' files: `bots` in place of its contestants, or with
    `also` beside them. Raises `SeasonError`, `LoadError`, `StuckError` or `OSError`."""
    season = parse_season(DEFAULT) if file is None else read_season(file)
    for bot in bots:
        _find_bot(bot)
    if bots:
        season = with_contestants(season, bots, also)
    if file is None and not bots:
        raise SeasonError("nobody takes part: name bots, my_bot.py or MarketMaker, or a season with contestants")
    return season, Path() if file is None else file.parent


def _find_bot(text: str, folder: Path = Path()) -> type[Bot]:
    """The class that a text names. Raises `LoadError` or `StuckError`."""
    watchdog = Watchdog()
    with watchdog.watching(), watchdog.loading(text, files_named(text, folder)):
        return find_bot(text, folder)


def _seeded(season: Season, seed: int | None) -> Season:
    """The season with another seed, where one is given."""
    return season if seed is None else msgspec.structs.replace(season, seed=seed)


def _pace(speed: str) -> float:
    if speed == "max":
        return math.inf
    try:
        pace = float(speed)
    except ValueError:
        pace = 0
    if not pace > 0:
        raise bad_use(f"--speed cannot be {speed[:32]!r}: it is no speed", "Write max, or a number above 0")
    return pace


def _simulate_round(season: Season, number: int, folder: Path, pace: float, patience: float, out: Path) -> RoundResult:
    length, began = nanoseconds(season.length, "length") / 10**9, time.perf_counter()
    output: defaultdict[str, list[str]] = defaultdict(list)
    with _progress() as progress:
        task = progress.add_task(f"round {number}", total=1.0)

        def tell(part: float) -> None:
            progress.update(task, completed=part)
            ahead = part * length / pace - (time.perf_counter() - began)
            if ahead > 0:
                time.sleep(ahead)

        def said(who: str, line: str) -> None:
            lines = output[who]
            lines.append(line)
            if len(lines) <= MAX_SHOWN:
                progress.console.print(f"{who}: {line}", markup=False, highlight=False, soft_wrap=True)

        played = play(season, number, folder, tell, keep=True, timeout_seconds=patience, on_line=said)
    elapsed = time.perf_counter() - began
    place = out / season.name / f"round-{number}"
    write_played(place, played)
    write_output(place, output)
    for who, lines in output.items():
        if len(lines) > MAX_SHOWN:
            errors.print(f"{who} has printed {len(lines) - MAX_SHOWN:,} lines more: {place / 'output'}", markup=False)
    rate = played.result.orders / length
    console.print(f"round {number}: {length / elapsed:,.0f} times faster than real time, {rate:,.0f} orders/s in it")
    return played.result


def print_ranking(result: RoundResult) -> None:
    """Prints the ranking, the errors, and the bots that have not traded."""
    table = Table(title=escape(f"{result.season}, round {result.round}"), title_justify="left")
    wide = console.width >= 110
    parts = ("spread", "fees", "inventory", "drawdown") if wide else ()
    for heading in ("", "who", "score", "profit", *parts, "orders", "fills"):
        table.add_column(heading, justify="left" if heading == "who" else "right", no_wrap=True)
    for one in result.ranking:
        in_parts = (one.from_spread, one.from_fees, one.from_inventory, one.drawdown) if wide else ()
        amounts = (one.score, one.profit, *in_parts)
        cells = (f"{float(amount):,.2f}" for amount in amounts)
        style = "dim" if one.house else "red" if one.ended else None
        table.add_row(str(one.rank), escape(one.client_id), *cells, f"{one.orders:,}", f"{one.fills:,}", style=style)
    console.print(table)
    for one in result.ranking:
        for text in (*([one.ended] if one.ended else []), *one.errors[:1]):
            _warn(f"{one.client_id}: {text}", "red")
        for text in (one.note, "" if one.house else idle(one)):
            if text:
                _warn(f"{one.client_id}: {text}")


def _warn(text: str, style: str = "yellow") -> None:
    """Prints a text that may contain text of a bot."""
    errors.print(plain(text), style=style, markup=False, highlight=False, soft_wrap=True)


def compete_command(
    season_file: SeasonFile,
    seed: Seed = None,
    out: Out = Path("results"),
    log: LogUrl = None,
    database: DatabaseUrl = None,
    namespace: Namespace = "",
    host: Host = "127.0.0.1",
    gateway_port: Port = 8000,
    feed_port: Port = 8001,
    engine_port: Port = 8002,
    clearing_port: Port = 8003,
) -> None:
    """Play a season live, over the real services: each contestant's bot in a process of its own.

    Servers that are not named are those of MX_DATABASE_URL and MX_LOG_URL, or embedded ones."""
    with complaining():
        season = _seeded(read_season(season_file), seed)
        for one in season.contestant:
            if not one.external:
                _find_bot(one.file or one.strategy, season_file.parent)
        ports = (gateway_port, feed_port, engine_port, clearing_port)
        place = place_settings()
        log = log or (place.log_url.get_secret_value() if place.log_url else None)
        database = database or (place.database_url.get_secret_value() if place.database_url else None)
        options = UpOptions(out, log, database, namespace, host, *ports, bots=0)

        async def play_all() -> None:
            played = []
            async for result, folder in compete(season, season_file.absolute(), out.absolute(), options, console):
                print_ranking(result)
                console.print(f"results are in {folder}; the page: {folder / 'report.html'}", markup=False)
                played.append(result)
            if len(played) > 1:
                _print_standings(_write_standings(season, played, out, "season"))

        asyncio.run(play_all())


def tournament(
    bots: Annotated[
        list[str] | None,
        typer.Argument(help="Files of bots, my_bot.py or my_bot.py:MyBot, or classes that ship: MarketMaker."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    season_file: Annotated[Path | None, typer.Option("--season", help="The season to play; there is one built in.")] = None,
    seed: Seed = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as many as processors.")] = None,
    patience: Patience = CALLBACK_TIMEOUT_SECONDS,
    show_output: Annotated[
        bool, typer.Option("--show-output", help="Print what the bots have printed, at the end.")
    ] = False,
    out: Out = Path("results"),
) -> None:
    """Play a season over many seeds, on all processors, and say how sure the ranking is."""
    with complaining():
        season, folder = _season(season_file, bots or [], also=False)
        season = _seeded(season, seed)
        if not season.contestant:
            raise SeasonError("nobody takes part: name bots, my_bot.py or MarketMaker, or a season with contestants")
        with _progress() as progress:
            task = progress.add_task(f"{rounds} rounds", total=rounds)
            played = results(season, folder, rounds, workers, _counted(progress, task, rounds), patience)
        result = _write_standings(season, [one.result for one in played], out, "tournament")
        output = output_of(played)
        write_output(out / season.name, output)
    if show_output:
        for who, lines in output.items():
            for line in lines:
                console.print(f"{who}: {line}", markup=False, highlight=False, soft_wrap=True)
    _print_standings(result)
    _warn_of_faults([one.result for one in played])
    if output and not show_output:
        console.print(f"what the bots have printed is in {out / season.name / 'output'}", markup=False)
    console.print(f"results are in {out / season.name}", markup=False)


def _counted(progress: Progress, task: TaskID, rounds: int) -> Callable[[], None]:
    """Moves the bar on with each round. Without a terminal, prints a line for every tenth part."""
    numbers = itertools.count(1)

    def done() -> None:
        progress.advance(task)
        number = next(numbers)
        if not progress.console.is_terminal and number * 10 // rounds > (number - 1) * 10 // rounds:
            progress.console.print(f"{number} of {rounds} rounds", highlight=False)

    return done


def _warn_of_faults(played: Sequence[RoundResult]) -> None:
    """Prints the bots that made errors, and those that traded in no round."""
    first: dict[str, str] = {}
    rounds: Counter[str] = Counter()
    trades: Counter[str] = Counter()
    why: dict[str, str] = {}
    for result in played:
        for one in result.ranking:
            for text in (one.ended, *one.errors[:1], one.note):
                if text:
                    first.setdefault(one.client_id, text)
            rounds[one.client_id] += bool(one.ended or one.errors)
            trades[one.client_id] += one.fills
            if not one.house:
                why[one.client_id] = idle(one)
    for name, text in first.items():
        _warn(f"{name}: {text}" + (f"(in {rounds[name]} of {len(played)} rounds)" if rounds[name] else ""), "red")
    for name, text in why.items():
        if not trades[name]:
            _warn(f"{name}, in every round: {text}")


def _write_standings(season: Season, played: Sequence[RoundResult], out: Path, name: str) -> Tournament:
    """Writes how the contestants stand over several rounds, as JSON and as a page."""
    result, folder = tournament_of(season, played), out / season.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_bytes(as_json(result))
    page = tournament_page(result, _HEADS, list(_tournament_rows(result)), differences_in_words(result))
    (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return result


_HEADS = ("", "who", "mean score", "± (95 %)", "mean rank", "wins", "worst", "best", "ahead of the next")
_WIDE = ("mean rank", "worst", "best")
"""Columns for which a narrow terminal has no room."""
MAX_IN_WORDS = 10
"""Differences that are printed. The page and the JSON have all that there are."""


def _tournament_rows(result: Tournament) -> Iterator[tuple[str, ...]]:
    ahead = {(one.ahead, one.behind): one for one in result.differences}
    for one, after in itertools.zip_longest(result.places, result.places[1:]):
        amounts = (f"{one.mean_score:,.2f}", f"{one.margin:,.2f}", f"{one.mean_rank:.2f}")
        lead = "" if after is None else "yes" if ahead[one.client_id, after.client_id].significant else "not sure"
        yield (str(one.rank), one.client_id, *amounts, str(one.wins), f"{one.worst:,.2f}", f"{one.best:,.2f}", lead)


def differences_in_words(result: Tournament) -> list[str]:
    """What may be said of every two contestants, the neighbours first."""
    rank = {place.client_id: place.rank for place in result.places}
    found = []
    for one in sorted(result.differences, key=lambda one: rank[one.behind] - rank[one.ahead]):
        if one.low is None or one.high is None:
            found.append(f"{one.ahead} and {one.behind}: one round does not tell who is better.")
            continue
        interval = f"{one.mean:+,.2f} a round on average, 95 % interval {one.low:+,.2f} to {one.high:+,.2f}"
        if one.significant:
            found.append(f"{one.ahead} is ahead of {one.behind}: {interval}.")
        else:
            found.append(f"{one.ahead} and {one.behind}: the difference is not significant: {interval}.")
    return found


def _print_standings(result: Tournament) -> None:
    table = Table(title=escape(f"{result.season}: {result.rounds} rounds"), title_justify="left")
    shown = [number for number, heading in enumerate(_HEADS) if console.width >= 110 or heading not in _WIDE]
    for number in shown:
        is_name = _HEADS[number] == "who"
        table.add_column(_HEADS[number], justify="left" if is_name else "right", no_wrap=is_name)
    for row in _tournament_rows(result):
        table.add_row(*(escape(row[number]) for number in shown))
    console.print(table)
    said = differences_in_words(result)
    for text in said[:MAX_IN_WORDS]:
        console.print(text, markup=False, highlight=False)
    if len(said) > MAX_IN_WORDS:
        console.print(f"and {len(said) - MAX_IN_WORDS} more differences, in the results", markup=False, highlight=False)


def replay_command(
    folder: Annotated[Path, typer.Argument(help="A round's folder, with order_entry.log in it.")],
    bot: Annotated[str | None, typer.Option(help="Play along with this bot: my_bot.py, or a class that ships.")] = None,
    latency: Annotated[str, typer.Option(help="Of that bot, one way.")] = "1ms",
) -> None:
    """Run a recorded round into a new engine and compare every event; or play it with a bot of yours in it."""
    with complaining():
        if not (folder / recording.ORDER_ENTRY_FILE).stat().st_size:
            raise recording.RecordingError(f"the recording in {folder} cannot be played: it is empty")
        if bot is None:
            found = replay.compare(folder)
            for difference in found.differences:
                _warn(difference, "red")
            console.print(f"{found.commands:,} commands, {found.events:,} events compared: "
                          + ("not the same" if found.differences else "all the same"))  # fmt: skip
            raise typer.Exit(1 if found.differences else 0)
        kind = _find_bot(bot)
        client, record = replay.play_along(folder, make_bot(kind, "replay"), kind.__name__, nanoseconds(latency, "latency"))
        season = Season(security=[], name=folder.name)
        seconds = (record.times[-1] - record.times[0]) / 10**9
        errors_of = {kind.__name__: client.errors}
        notes = {kind.__name__: client.note}
        played = result_of(season, 1, "replay", record, house=set(), seconds=seconds, errors=errors_of, notes=notes)
        print_ranking(played)


_START = '''"""{name}: a bot for microexchange. Run it: microexchange bot {file}:{name}"""

from trading_bots import Bot, Fill, Order, Trade


class {name}(Bot):
    """Buys a little below the market, and sells what it bought a little above. Change it."""

    symbols = ()
    """What it follows; empty for everything that is listed, or name some: ("AAPL", "MSFT")."""
    timer = 2.0
    """Seconds between two calls of on_timer."""
    most = 5
    """Securities that it trades at a time."""

    def on_start(self) -> None:
        # Connected, and everything is known: self.cash, self.position(symbol), self.book(symbol), self.open_orders …
        print(f"{{self.client_id}} has {{self.cash}} in cash, and is worth {{self.equity}}")
        self.cancel_all()

    def on_timer(self) -> None:
        for order in self.open_orders:
            if order.side == "buy":
                self.cancel(order)
        for symbol in self.busy()[: self.most]:
            price = self.mid(symbol) * 999 / 1000
            if price < self.free_cash:
                self.buy(symbol, 1, price)

    def busy(self) -> list[str]:
        """The securities that trade now and have orders on both sides."""
        return [
            symbol
            for symbol in self.securities
            if self.state(symbol) == "continuous" and self.best_bid(symbol) and self.best_ask(symbol)
        ]

    def on_fill(self, fill: Fill) -> None:
        print(f"{{fill.side}} {{fill.quantity}} {{fill.symbol}} at {{fill.price}}: worth {{self.equity:.2f}} now")
        if fill.side == "buy":
            self.sell(fill.symbol, fill.quantity, fill.price * 1002 / 1000)

    def on_reject(self, order: Order) -> None:
        print(f"refused: {{order.reason}}")

    # These are called too, if you write them. Each may be plain or async.

    def on_book(self, symbol: str) -> None:
        """A book has changed."""

    def on_bbo(self, symbol: str) -> None:
        """The best bid or offer has changed."""

    def on_trade(self, trade: Trade) -> None:
        """Somebody has traded."""

    def on_order(self, order: Order) -> None:
        """An order of yours has changed."""

    def on_state(self, symbol: str, state: str) -> None:
        """A market was halted, has begun an auction, or trades again."""

    def on_stop(self) -> None:
        """The end."""
'''


def bot_command(
    bot: Annotated[str, typer.Argument(help="my_bot.py:MyBot, or a class that ships, to run it; or: new")],
    name: Annotated[str | None, typer.Argument(help="After `new`: the name of the file to begin with.")] = None,
    url: Annotated[str, typer.Option(help="The gateway's address.")] = "http://127.0.0.1:8000",
    feed_url: Annotated[str | None, typer.Option(help="Address of the feed. Default: the gateway's.")] = None,
    key: Annotated[str, typer.Option(envvar="MX_KEY", help="An API key; without one, an account is opened.")] = "",
    client_id: Annotated[str | None, typer.Option(help="Who you want to be; the name of the class.")] = None,
    keys: Annotated[Path, typer.Option(help="Where keys of accounts that are opened are kept.")] = Path("keys.json"),
) -> None:
    """Run a bot on an exchange until Ctrl-C; `bot new my_bot` writes one to begin with."""
    if bot == "new":
        _write_bot("my_bot" if name is None else name)
        return
    _check_address("--url", url)
    _check_address("--feed-url", feed_url or url)
    with complaining():
        kind = find_bot(bot)
        instance = make_bot(kind, kind.__name__)
    try:
        run(instance, client_id=client_id, gateway_url=url, feed_url=feed_url or "", keys=keys, key=key)
    except AccountError as error:
        raise CommandError(
            f"the exchange does not let the bot in: {error}", "Correct --key, --client-id or --keys"
        ) from error
    except ValueError as error:
        raise bad_use(f"the keys in {keys} cannot be read: {error}", "Name another file with --keys") from error


def _check_address(flag: str, address: str) -> None:
    """Raises `CommandError` unless it is a URL of HTTP."""
    try:
        parts = urlsplit(address)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well_formed = False
    if not well_formed:
        raise bad_use(f"{flag} cannot be {address[:100]!r}: it is no address", f"Write it like {flag} http://127.0.0.1:8000")


def _write_bot(name: str) -> None:
    stem = Path(name).stem
    class_name = "".join(part.capitalize() for part in stem.replace("-", "_").split("_"))
    if not class_name.isidentifier():
        raise bad_use(f"a bot cannot be called {name[:64]!r}: no class can have that name", "Use letters, digits and _")
    path = Path(name).with_suffix(".py")
    if path.exists():
        raise bad_use(f"{path} cannot be written: it is there already", "Choose another name, or remove it")
    path.write_text(_START.format(name=class_name, file=path.name), encoding="utf-8")
    console.print(f"{path} is written; run it: microexchange bot {path}:{class_name}")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(name="bot")(bot_command)
    app.command()(simulate)
    app.command(name="compete")(compete_command)
    app.command()(tournament)
    app.command(name="replay")(replay_command)
