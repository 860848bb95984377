"""The commands for bots and competitions."""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import httpx
import msgspec
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
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
from microexchange.messages import MalformedBatchError, UndecodableError
from microexchange.refusals import Refusal
from trading_bots.competition import recording, replay
from trading_bots.competition.durations import SeasonError, nanoseconds
from trading_bots.competition.loading import LoadError, bot_in_file, make_bot
from trading_bots.competition.report import tournament_page, write_played
from trading_bots.competition.results import RoundResult, as_json, result_of
from trading_bots.competition.season import Season, parse_season, read_season
from trading_bots.competition.tournament import DEFAULT, Tournament, results, tournament_of, with_contestants
from trading_bots.runner import AccountError, run
from trading_bots.simulation.rounds import play

SeasonFile = Annotated[Path, typer.Argument(help="The season: a TOML file.")]
Out = Annotated[Path, typer.Option(help="Folder for the results.")]
Seed = Annotated[int | None, typer.Option(help="In place of the season's.")]


@contextmanager
def complaining() -> Iterator[None]:
    """Turns the errors of a season, a bot or a recording into `CommandError`, with what to do."""
    try:
        yield
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
    return Progress(*columns, console=errors, transient=True)


def simulate(
    season_file: SeasonFile,
    seed: Seed = None,
    speed: Annotated[str, typer.Option(help="max, or how many times faster than real time: 1, 10.")] = "max",
    out: Out = Path("results"),
) -> None:
    """Play a season in one process, on a clock of its own. The same seed gives the same results, to the byte."""
    pace = _pace(speed)
    with complaining():
        season = _seeded(read_season(season_file), seed)
        played = [_simulate_round(season, number, season_file.parent, pace, out) for number in range(1, season.rounds + 1)]
    for one in played:
        print_ranking(one)
    if season.rounds > 1:
        console.print(_tournament_table(_write_standings(season, played, out, "season")))
    console.print(f"results are in {out / season.name}")


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


def _simulate_round(season: Season, number: int, folder: Path, pace: float, out: Path) -> RoundResult:
    length, began = nanoseconds(season.length, "length") / 10**9, time.perf_counter()
    with _progress() as progress:
        task = progress.add_task(f"round {number}", total=1.0)

        def tell(part: float) -> None:
            progress.update(task, completed=part)
            ahead = part * length / pace - (time.perf_counter() - began)
            if ahead > 0:
                time.sleep(ahead)

        played = play(season, number, folder, tell, keep=True)
    elapsed = time.perf_counter() - began
    write_played(out / season.name / f"round-{number}", played)
    rate = played.result.orders / length
    console.print(f"round {number}: {length / elapsed:,.0f} times faster than real time, {rate:,.0f} orders/s in it")
    return played.result


def print_ranking(result: RoundResult) -> None:
    """Prints who did how well."""
    table = Table(title=f"{result.season}, round {result.round}", title_justify="left")
    wide = console.width >= 110
    parts = ("spread", "fees", "inventory", "drawdown") if wide else ()
    for heading in ("", "who", "score", "profit", *parts, "orders", "fills"):
        table.add_column(heading, justify="left" if heading == "who" else "right", no_wrap=True)
    for one in result.ranking:
        in_parts = (one.from_spread, one.from_fees, one.from_inventory, one.drawdown) if wide else ()
        amounts = (one.score, one.profit, *in_parts)
        cells = (f"{float(amount):,.2f}" for amount in amounts)
        style = "dim" if one.house else "red" if one.ended else None
        table.add_row(str(one.rank), one.client_id, *cells, f"{one.orders:,}", f"{one.fills:,}", style=style)
    console.print(table)
    for one in result.ranking:
        for text in (*([one.ended] if one.ended else []), *one.errors[:1]):
            errors.print(f"{one.client_id}: {text}", style="red", markup=False, highlight=False)


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
            if one.file:
                bot_in_file(one.file, season_file.parent)
        ports = (gateway_port, feed_port, engine_port, clearing_port)
        place = place_settings()
        log = log or (place.log_url.get_secret_value() if place.log_url else None)
        database = database or (place.database_url.get_secret_value() if place.database_url else None)
        options = UpOptions(out, log, database, namespace, host, *ports, bots=0)

        async def play_all() -> None:
            played = []
            async for result, folder in compete(season, season_file.absolute(), out.absolute(), options, console):
                print_ranking(result)
                console.print(f"results are in {folder}; the page: {folder / 'report.html'}")
                played.append(result)
            if len(played) > 1:
                console.print(_tournament_table(_write_standings(season, played, out, "season")))

        asyncio.run(play_all())


def tournament(
    bots: Annotated[list[str] | None, typer.Argument(help="Files of bots: my_bot.py or my_bot.py:MyBot.")] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    season_file: Annotated[Path | None, typer.Option("--season", help="The season to play; there is one built in.")] = None,
    seed: Seed = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as many as processors.")] = None,
    out: Out = Path("results"),
) -> None:
    """Play a season over many seeds, on all processors, and say how sure the ranking is."""
    with complaining():
        season = _seeded(parse_season(DEFAULT) if season_file is None else read_season(season_file), seed)
        if bots:
            for file in bots:
                bot_in_file(file)
            season = with_contestants(season, bots)
        if not season.contestant:
            raise SeasonError("nobody takes part: name files of bots, or a season with contestants")
        with _progress() as progress:
            task = progress.add_task(f"{rounds} rounds", total=rounds)
            folder = Path() if season_file is None else season_file.parent
            played = results(season, folder, rounds, workers, lambda: progress.advance(task))
        result = _write_standings(season, played, out, "tournament")
    console.print(_tournament_table(result))
    console.print(f"results are in {out / season.name}")


def _write_standings(season: Season, played: Sequence[RoundResult], out: Path, name: str) -> Tournament:
    """Writes how the contestants stand over several rounds, as JSON and as a page."""
    result, folder = tournament_of(season, played), out / season.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_bytes(as_json(result))
    page = tournament_page(result, _HEADS, list(_tournament_rows(result)))
    (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return result


_HEADS = ("", "who", "mean score", "± (95 %)", "mean rank", "wins", "worst", "best")


def _tournament_rows(result: Tournament) -> Iterator[tuple[str, ...]]:
    for one in result.places:
        amounts = (f"{one.mean_score:,.2f}", f"{one.margin:,.2f}", f"{one.mean_rank:.2f}")
        yield (str(one.rank), one.client_id, *amounts, str(one.wins), f"{one.worst:,.2f}", f"{one.best:,.2f}")


def _tournament_table(result: Tournament) -> Table:
    table = Table(title=f"{result.season}: {result.rounds} rounds", title_justify="left")
    for heading in _HEADS:
        table.add_column(heading, justify="left" if heading == "who" else "right")
    for row in _tournament_rows(result):
        table.add_row(*row)
    return table


def replay_command(
    folder: Annotated[Path, typer.Argument(help="A round's folder, with order_entry.log in it.")],
    bot: Annotated[str | None, typer.Option(help="Play along with this bot: my_bot.py:MyBot.")] = None,
    latency: Annotated[str, typer.Option(help="Of that bot, one way.")] = "1ms",
) -> None:
    """Run a recorded round into a new engine and compare every event; or play it with a bot of yours in it."""
    with complaining():
        if not (folder / recording.ORDER_ENTRY_FILE).stat().st_size:
            raise recording.RecordingError(f"the recording in {folder} cannot be played: it is empty")
        if bot is None:
            found = replay.compare(folder)
            for difference in found.differences:
                errors.print(difference, style="red", markup=False, highlight=False, soft_wrap=True)
            console.print(f"{found.commands:,} commands, {found.events:,} events compared: "
                          + ("not the same" if found.differences else "all the same"))  # fmt: skip
            raise typer.Exit(1 if found.differences else 0)
        kind = bot_in_file(bot)
        client, record = replay.play_along(folder, make_bot(kind, "replay"), kind.__name__, nanoseconds(latency, "latency"))
        season = Season(security=[], name=folder.name)
        seconds = (record.times[-1] - record.times[0]) / 10**9
        errors_of = {kind.__name__: client.errors}
        print_ranking(result_of(season, 1, "replay", record, house=set(), seconds=seconds, errors=errors_of))


_START = '''"""{name}: a bot for microexchange. Run it: microexchange bot {file}:{name}"""

from trading_bots import Bot, Fill, Order, Trade


class {name}(Bot):
    """Buys a little below the market, and sells what it bought a little above. Change it."""

    symbols = ("AAPL",)
    """What it wants to hear of; leave it out for everything that is listed."""
    timer = 2.0
    """Seconds between two calls of on_timer."""

    def on_start(self) -> None:
        # Connected, and everything is known: self.cash, self.position(symbol), self.book(symbol), self.open_orders …
        print(f"{{self.client_id}} has {{self.cash}} in cash, and is worth {{self.equity}}")
        self.cancel_all()

    def on_timer(self) -> None:
        for order in self.open_orders:
            if order.side == "buy":
                self.cancel(order)
        for symbol in self.securities:
            self.buy(symbol, 1, self.mid(symbol) * 999 / 1000)

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
    bot: Annotated[str, typer.Argument(help="my_bot.py:MyBot to run it; or: new")],
    name: Annotated[str | None, typer.Argument(help="After `new`: the name of the file to begin with.")] = None,
    url: Annotated[str, typer.Option(help="The gateway's address.")] = "http://127.0.0.1:8000",
    feed_url: Annotated[str | None, typer.Option(help="The feed's; the gateway's with the next port.")] = None,
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
        kind = bot_in_file(bot)
        instance = make_bot(kind, kind.__name__)
    try:
        run(instance, client_id=client_id, gateway_url=url, feed_url=feed_url or _next_port(url), keys=keys, key=key)
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


def _next_port(url: str) -> str:
    parts = httpx.URL(url)
    return str(parts.copy_with(port=(parts.port or 8000) + 1)).rstrip("/")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(name="bot")(bot_command)
    app.command()(simulate)
    app.command(name="compete")(compete_command)
    app.command()(tournament)
    app.command(name="replay")(replay_command)
