"""The competition commands: `simulate`, `compete`, `tournament` and `replay`."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Protocol

import typer

from exchange_launcher import bot_command
from exchange_launcher.compete import compete
from exchange_launcher.competition_inputs import (
    CallLimit,
    Out,
    Seed,
    TrustBots,
    check_contestants,
    command_errors,
    confinement_for,
    load_bot,
    load_season,
    load_season_with_bots,
    parse_speed,
)
from exchange_launcher.competition_output import (
    print_faults,
    print_ranking,
    print_standings,
    print_warning,
    progress_bar,
    round_counter,
    write_standings,
)
from exchange_launcher.number_options import whole_option
from exchange_launcher.options import (
    ClearingPort,
    DatabaseUrl,
    EnginePort,
    FeedPort,
    GatewayPort,
    Host,
    LogUrl,
    Namespace,
)
from exchange_launcher.services import UpOptions
from exchange_launcher.terminal import CommandError, console, errors, given_or_secret, place_settings, program_name
from microexchange.durations import nanoseconds
from trading_bots.competition import recording, replay
from trading_bots.competition.confinement import Confinement, available
from trading_bots.competition.loading import make_bot
from trading_bots.competition.output import write_output
from trading_bots.competition.report import write_played
from trading_bots.competition.results import RoundResult, result_of
from trading_bots.competition.season import Season, files_of_others
from trading_bots.competition.tournament import output_of, results
from trading_bots.simulation.confined import check_bot, round_of, worker_for
from trading_bots.simulation.rounds import Round, play
from trading_bots.simulation.watchdog import CALLBACK_TIMEOUT_SECONDS

NANOSECONDS_PER_SECOND = 10**9
MAX_OUTPUT_LINES_SHOWN = 50
"""The number of lines of one bot in one round that are printed. A file has all of them."""


# --- simulate -------------------------------------------------------------------------------------------------------------


def simulate(
    season_file: Annotated[
        Path | None, typer.Argument(help="TOML file of the season. Default with --bot: the built-in season.")
    ] = None,
    bots: Annotated[
        list[str] | None,
        typer.Option(
            "--bot",
            help="Bot that takes part beside the season's contestants: my_bot.py, my_bot.py:MyBot, or a strategy such as "
            "MarketMaker. You can repeat the option.",
        ),
    ] = None,
    seed: Seed = None,
    speed: Annotated[
        str, typer.Option(help="Simulated seconds per real second, for example 1 or 10. max runs as fast as possible.")
    ] = "max",
    patience: CallLimit = CALLBACK_TIMEOUT_SECONDS,
    trust_bots: TrustBots = False,
    out: Out = Path("results"),
) -> None:
    """Play a season in one process on a simulated clock.

    The same seed gives exactly the same results. Without a season, the bots of --bot play the built-in one. Bubblewrap
    confines the process if the season has bots in files."""
    simulated_per_real_second = parse_speed(speed)
    bot_fix = f"Write '{program_name()} simulate --bot {season_file}', or name a season that has the bot as a contestant"
    with command_errors():
        season, folder = load_season_with_bots(season_file, bots or [], seed, beside=True, fix_for_bot_file=bot_fix)
        with _player(season, folder, confinement_for(season, trust_bots)) as play_round:
            played = [
                _simulate_round(season, number, simulated_per_real_second, patience, out, play_round)
                for number in range(1, season.rounds + 1)
            ]
    for result in played:
        print_ranking(result)
    if season.rounds > 1:
        print_standings(write_standings(season, played, out, "season"))
    console.print(f"results are in {out / season.name}", markup=False)


class _PlayRound(Protocol):
    """The part of `simulation.rounds.play` that a command needs."""

    def __call__(
        self,
        number: int,
        progress: Callable[[float], None],
        timeout_seconds: float,
        on_line: Callable[[str, str], None],
    ) -> Round:
        """Play a round with its recordings."""


@contextmanager
def _player(season: Season, folder: Path, confinement: Confinement | None) -> Iterator[_PlayRound]:
    """Yield a function that plays a round of a season: in this process, or in a confined one."""
    if confinement is None:
        yield lambda number, progress, timeout_seconds, on_line: play(
            season, number, folder, progress, True, timeout_seconds, on_line
        )
        return
    with worker_for(confinement, season, folder) as worker:
        yield lambda number, progress, timeout_seconds, on_line: round_of(
            worker.play(season, number, folder, progress, True, timeout_seconds, on_line), season, number
        )


def _simulate_round(
    season: Season, number: int, speed: float, patience: float, out: Path, play_round: _PlayRound
) -> RoundResult:
    """Play one round, write its results, and return them. `speed` is in simulated seconds per real second."""
    length, started_at = nanoseconds(season.length, "length") / NANOSECONDS_PER_SECOND, time.perf_counter()
    output: defaultdict[str, list[str]] = defaultdict(list)
    with progress_bar() as progress:
        task = progress.add_task(f"round {number}", total=1.0)

        def on_progress(fraction: float) -> None:
            progress.update(task, completed=fraction)
            seconds_ahead = fraction * length / speed - (time.perf_counter() - started_at)
            if seconds_ahead > 0:
                time.sleep(seconds_ahead)

        def on_output(name: str, line: str) -> None:
            lines = output[name]
            lines.append(line)
            if len(lines) <= MAX_OUTPUT_LINES_SHOWN:
                progress.console.print(f"{name}: {line}", markup=False, highlight=False, soft_wrap=True)

        played = play_round(number, on_progress, patience, on_output)
    elapsed = time.perf_counter() - started_at
    round_folder = out / season.name / f"round-{number}"
    write_played(round_folder, played)
    write_output(round_folder, output)
    for name, lines in output.items():
        if len(lines) > MAX_OUTPUT_LINES_SHOWN:
            hidden = len(lines) - MAX_OUTPUT_LINES_SHOWN
            errors.print(f"{name} has printed {hidden:,} more lines: {round_folder / 'output'}", markup=False)
    orders_per_second = played.result.orders / length
    console.print(
        f"round {number}: {length / elapsed:,.0f} times as fast as real time, {orders_per_second:,.0f} orders per "
        "simulated second"
    )
    return played.result


# --- compete --------------------------------------------------------------------------------------------------------------


def compete_command(
    season_file: Annotated[Path, typer.Argument(help="TOML file of the season.")],
    seed: Seed = None,
    out: Out = Path("results"),
    log: LogUrl = None,
    database: DatabaseUrl = None,
    namespace: Namespace = "",
    host: Host = "127.0.0.1",
    gateway_port: GatewayPort = 8000,
    feed_port: FeedPort = 8001,
    engine_port: EnginePort = 8002,
    clearing_port: ClearingPort = 8003,
    trust_bots: TrustBots = False,
) -> None:
    """Play a season live, on the real services and the real clock.

    Each contestant's bot runs in its own process, which bubblewrap confines. Without --database and --log, the servers are
    those of MX_DATABASE_URL and MX_LOG_URL, or embedded ones."""
    bot_fix = "Name a season that has the bot as a contestant; docs/competitions.md has an example"
    with command_errors():
        season = load_season(season_file, seed, bot_fix)
        _check_bots(season, season_file.parent, trust_bots)
        settings = place_settings()
        log = given_or_secret(log, settings.log_url)
        database = given_or_secret(database, settings.database_url)
        options = UpOptions(
            data=out,
            log=log,
            database=database,
            namespace=namespace,
            host=host,
            gateway_port=gateway_port,
            feed_port=feed_port,
            engine_port=engine_port,
            clearing_port=clearing_port,
        )

        async def play_all() -> None:
            played = []
            async for result, folder in compete(
                season, season_file.absolute(), out.absolute(), options, console, trust_bots
            ):
                print_ranking(result)
                console.print(f"results are in {folder}; the report is {folder / 'report.html'}", markup=False)
                played.append(result)
            if len(played) > 1:
                print_standings(write_standings(season, played, out, "season"))

        asyncio.run(play_all())


def _check_bots(season: Season, folder: Path, trust_bots: bool) -> None:
    """Load every contestant's bot as a check: in a sandbox, unless bots are trusted.

    Raises:
        CommandError: A bot in a file cannot be confined.
        LoadError: A bot cannot be loaded.
        StuckError: The load of a bot takes too long.
        WorkerError: The process that loads a bot has failed.
    """
    for contestant in season.contestant:
        if contestant.external:
            continue
        if contestant.strategy or trust_bots:
            load_bot(contestant.file or contestant.strategy, folder)
            continue
        confinement = available()
        if not confinement.bubblewrap:
            raise CommandError(
                f"the bot of {contestant.name} cannot be confined: {confinement.reason}",
                "Correct that, make the contestant external, or use --trust-bots if you have read every bot",
            )
        check_bot(confinement, contestant.file, folder, files_of_others(season, contestant))


# --- tournament -----------------------------------------------------------------------------------------------------------


def tournament(
    bots: Annotated[
        list[str] | None,
        typer.Argument(
            help="Contestants in place of the season's: my_bot.py, my_bot.py:MyBot, or a strategy such as MarketMaker."
        ),
    ] = None,
    rounds: Annotated[int, whole_option(minimum=1, maximum=100_000, help="Number of rounds, each with another seed.")] = 100,
    season_file: Annotated[
        Path | None, typer.Option("--season", help="TOML file of the season. Default: the built-in season.")
    ] = None,
    seed: Seed = None,
    workers: Annotated[
        int | None, whole_option(minimum=1, help="Number of worker processes. Default: the number of processors.")
    ] = None,
    patience: CallLimit = CALLBACK_TIMEOUT_SECONDS,
    trust_bots: TrustBots = False,
    show_output: Annotated[bool, typer.Option("--show-output", help="Print the output of the bots at the end.")] = False,
    out: Out = Path("results"),
) -> None:
    """Simulate many rounds of a season with different seeds, on all processors.

    The results show how certain the ranking is. Bubblewrap confines the processes if a contestant is a file."""
    bot_fix = f"Write '{program_name()} tournament {season_file}', or name a season that has the bot as a contestant"
    with command_errors():
        season, folder = load_season_with_bots(season_file, bots or [], seed, beside=False, fix_for_bot_file=bot_fix)
        check_contestants(season)
        confinement = confinement_for(season, trust_bots)
        with progress_bar() as progress:
            task = progress.add_task(f"{rounds} rounds", total=rounds)
            on_round_end = round_counter(progress, task, rounds)
            played = results(season, folder, rounds, workers, on_round_end, patience, confinement)
        round_results = [played_round.result for played_round in played]
        standings = write_standings(season, round_results, out, "tournament")
        output = output_of(played)
        write_output(out / season.name, output)
    if show_output:
        for name, lines in output.items():
            for line in lines:
                console.print(f"{name}: {line}", markup=False, highlight=False, soft_wrap=True)
    print_standings(standings)
    print_faults(round_results)
    if output and not show_output:
        console.print(f"the output of the bots is in {out / season.name / 'output'}", markup=False)
    console.print(f"results are in {out / season.name}", markup=False)


# --- replay ---------------------------------------------------------------------------------------------------------------


def replay_command(
    folder: Annotated[Path, typer.Argument(help="Folder of the round, with its files order_entry.log and data_feed.log.")],
    bot: Annotated[
        str | None,
        typer.Option(
            help="Bot that trades in the recorded market: my_bot.py, my_bot.py:MyBot, or a strategy such as MarketMaker. "
            "Default: no bot, only a comparison."
        ),
    ] = None,
    latency: Annotated[
        str, typer.Option(help="Latency between the bot and the exchange in one direction, for example 500us or 3ms.")
    ] = "1ms",
) -> None:
    """Replay a recorded round in a new engine, and compare every event.

    With --bot, let a bot trade in the recorded market."""
    with command_errors():
        if not (folder / recording.ORDER_ENTRY_FILE).stat().st_size:
            raise recording.RecordingError(f"the recording in {folder} cannot be replayed: it is empty")
        if bot is None:
            comparison = replay.compare(folder)
            for difference in comparison.differences:
                print_warning(difference, "red")
            verdict = "there are differences" if comparison.differences else "all the same"
            console.print(f"{comparison.commands:,} commands and {comparison.events:,} events compared: {verdict}")
            raise typer.Exit(1 if comparison.differences else 0)
        bot_class = load_bot(bot)
        name = bot_class.__name__
        client, record = replay.play_along(folder, make_bot(bot_class, "replay"), name, nanoseconds(latency, "latency"))
        season = Season(security=[], name=folder.name)
        seconds = (record.times[-1] - record.times[0]) / NANOSECONDS_PER_SECOND
        errors_of, notes = {name: client.errors}, {name: client.note}
        result = result_of(season, 1, "replay", record, house=set(), seconds=seconds, errors=errors_of, notes=notes)
        print_ranking(result)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(name="bot")(bot_command.bot_command)
    app.command()(simulate)
    app.command(name="compete")(compete_command)
    app.command()(tournament)
    app.command(name="replay")(replay_command)
