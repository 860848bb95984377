"""`microexchange compete`: a season live, over the real services."""

import asyncio
import contextlib
import csv
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from exchange_launcher.processes import let_go
from exchange_launcher.up import Exchange, UpError, UpOptions
from microexchange.auth import write_private
from microexchange.commands import ListSecurity
from microexchange.enums import TradingState
from microexchange.log import open_log
from microexchange.records import DATA_FEED, ORDER_ENTRY
from microexchange.securities import listing_json
from trading_bots.competition import contestant as contestant_process
from trading_bots.competition import house as house_process
from trading_bots.competition.durations import nanoseconds
from trading_bots.competition.record import record_of
from trading_bots.competition.report import write_played
from trading_bots.competition.results import RoundResult, result_of, round_seed
from trading_bots.competition.season import Contestant, Season, house_of, shares_of
from trading_bots.faults import plain
from trading_bots.simulation.rounds import Round, sample_pause, values_of
from trading_bots.simulation.rounds import listing as terms_of

SECOND = 10**9
LOOK = 0.2
"""Seconds between two looks at the contestants."""
READY_SECONDS = 15.0
"""How long a contestant's process has to say the first time that it is alive."""
HELP = "p and Enter pauses and resumes, q and Enter ends the round"


@dataclass
class Player:
    """A contestant's process, as the one who started it sees it."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    heard_at: float
    """When it last said that it is alive, by the clock of the loop."""
    has_spoken: bool = False
    ended: str = ""
    """Why it lost its turn; empty while it plays."""

    async def listen(self) -> None:
        """Notes each sign of life."""
        assert self.process.stdout is not None  # noqa: S101 - it was started with a pipe
        while await self.process.stdout.read(4096):
            self.heard_at, self.has_spoken = asyncio.get_running_loop().time(), True

    def end(self, why: str) -> None:
        """Takes its turn away, and all that it has started with it."""
        self.ended = self.ended or why
        _kill(self.process)

    def look(self, season: Season, seconds: float) -> None:
        """Ends it if it does what it may not: takes too much memory or processor, has children, answers nobody."""
        if self.ended:
            return
        status, limits = self.process.returncode, season.limits
        if status is not None:
            self.end(self._why_it_ended(status))
            return
        try:
            process = psutil.Process(self.process.pid)
            memory, used, children = process.memory_info().rss, process.cpu_times(), process.children(recursive=True)
        except psutil.Error:
            return
        silent = asyncio.get_running_loop().time() - self.heard_at
        if children:
            self.end("it started another process")
        elif memory > limits.memory_megabytes << 20:
            self.end(f"it took {memory >> 20} MB of memory; {limits.memory_megabytes} are allowed")
        elif used.user + used.system > limits.processor_share * seconds:
            self.end(
                f"it used {used.user + used.system:.1f} s of processor; {limits.processor_share * seconds:.1f} are allowed"
            )
        elif silent > (limits.answer_seconds if self.has_spoken else READY_SECONDS):
            self.end(f"a callback took more than {limits.answer_seconds:g} s")

    def _why_it_ended(self, status: int) -> str:
        said = self.log.read_text(errors="replace").strip().splitlines()
        last = plain(said[-1][:300]) if said else ""
        if status == contestant_process.EXIT_FORBIDDEN:
            return f"it tried to start another process: {last}"
        if status < 0:
            return f"it was ended by {signal.Signals(-status).name}: {last}".rstrip(": ")
        return f"it ended with status {status}: {last}".rstrip(": ")


@dataclass
class Clock:
    """The time of a round, which stands still while the round is paused."""

    began: float
    paused_at: float | None = None
    away: float = 0.0

    def seconds(self) -> float:
        """How much of the round is over."""
        now = self.paused_at if self.paused_at is not None else time.time()
        return now - self.began - self.away

    def pause(self) -> None:
        """Stands still."""
        self.paused_at = time.time()

    def resume(self) -> None:
        """Goes on."""
        if self.paused_at is not None:
            self.away += time.time() - self.paused_at
            self.paused_at = None


@dataclass
class LiveRound:
    """One round over the real services."""

    season: Season
    file: Path
    number: int
    folder: Path
    options: UpOptions
    console: Console
    players: list[Player] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    house: set[str] = field(default_factory=set)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends the round early."""
    _processes: list[asyncio.subprocess.Process] = field(default_factory=list)
    """The house's."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Its length."""
        return nanoseconds(self.season.length, "length") / SECOND

    async def play(self) -> RoundResult:
        """Plays it, and writes its results. Raises `UpError`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        several = f"r{self.number}_" if self.season.rounds > 1 else ""
        namespace = f"{self.options.namespace}{several}"
        data = self.folder / "exchange"
        self.options = replace(self.options, data=data, bots=0, settings=self._settings(), namespace=namespace)
        exchange = Exchange(self.options, self.console)
        try:
            await exchange.start()
            self.console.print(f"The market is open; the dashboard: {exchange.gateway_url}/#competition")
            async with httpx.AsyncClient(timeout=10) as http:
                admin = Admin(http, exchange.gateway_url, data)
                clock = await self._begin(exchange, admin)
                await self._run(exchange, admin, clock, http)
                await self._close(exchange, admin)
            return await self._results(exchange, clock)
        finally:
            for player in self.players:
                player.end("the round was broken off")
            for process in self._everybody():
                _kill(process)
                await let_go(process)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await exchange.stop()

    def _everybody(self) -> list[asyncio.subprocess.Process]:
        """The processes of the house and of the contestants."""
        return [*self._processes, *(player.process for player in self.players)]

    # --- the beginning --------------------------------------------------------------------------------------

    def _settings(self) -> dict[str, str]:
        """The settings of the services, and the listing file that one of them names."""
        listing, account = self.folder / "listing.csv", self.season.account
        rows = [listing_json(ListSecurity(0, 0, **terms_of(one, TradingState.CONTINUOUS))) for one in self.season.security]
        with listing.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return {
            "MX_LISTING": str(listing),
            "MX_REGISTRATION": "admin",
            "MX_ENDOWMENT_CASH": account.cash,
            "MX_ENDOWMENT_CREDIT": account.credit,
            "MX_ENDOWMENT_SHORT_LIMIT": "0",
            "MX_ENDOWMENT_SHARES": json.dumps(account.shares),
            "MX_REQUESTS_PER_SECOND": str(self.season.limits.requests_per_second),
        }

    async def _begin(self, exchange: Exchange, admin: "Admin") -> Clock:
        if nanoseconds(self.season.auctions.opening, "opening"):
            await self._all_to(admin, "pre_open")
        self.house.update(name for name, _ in house_of(self.season))
        for name in (*sorted(self.house), *(one.name for one in self.season.contestant)):
            self.keys[name] = await admin.open_account(name, house=name in self.house)
        for one in self.season.contestant:
            if one.external:
                path = self.folder / "keys" / f"{one.name}.key"
                path.parent.mkdir(exist_ok=True, mode=0o700)
                write_private(path, self.keys[one.name])
                self.console.print(f"{one.name} connects from outside, with the key in {path}")
        clock = Clock(time.time())
        await self._start_house(exchange, clock.began)
        for one in self.season.contestant:
            if not one.external:
                await self._start_contestant(exchange, one)
        return clock

    async def _start_house(self, exchange: Exchange, start: float) -> None:
        keys = {name: self.keys[name] for name in self.house}
        orders = house_process.HouseTask(
            str(self.file), self.number, start, keys, exchange.gateway_url, exchange.feed_url, self.season.seed
        )
        process, _ = await self._spawn("trading_bots.competition.house", orders, "house", asyncio.subprocess.DEVNULL)
        self._processes.append(process)

    async def _start_contestant(self, exchange: Exchange, one: Contestant) -> None:
        limits = self.season.limits
        orders = contestant_process.ContestantTask(
            one.name,
            self.keys[one.name],
            exchange.gateway_url,
            exchange.feed_url,
            f"{round_seed(self.season, self.number)}/{one.name}",
            str(self.file.parent.absolute()),
            one.file,
            one.strategy,
            limits.memory_megabytes,
            int(limits.processor_share * self.seconds) + 1,
            str(self.folder.absolute() / "output" / f"{one.name}.txt"),
        )
        process, log = await self._spawn("trading_bots.competition.contestant", orders, one.name)
        player = Player(one.name, process, log, asyncio.get_running_loop().time())
        self.players.append(player)
        self._tasks.append(asyncio.create_task(player.listen()))

    async def _spawn(
        self, module: str, orders: msgspec.Struct, name: str, stdout: int = asyncio.subprocess.PIPE
    ) -> tuple[asyncio.subprocess.Process, Path]:
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # No module comes from the folder that the command was run in.
                "-m",
                module,
                stdin=asyncio.subprocess.PIPE,
                stdout=stdout,
                stderr=output,
                start_new_session=True,
                env={key: text for key, text in os.environ.items() if not key.startswith("MX_")},
            )
        assert process.stdin is not None  # noqa: S101 - it was started with a pipe
        process.stdin.write(msgspec.json.encode(orders) + b"\n")
        await process.stdin.drain()
        return process, log

    async def _all_to(self, admin: "Admin", state: str) -> None:
        for one in self.season.security:
            await admin.set_state(one.symbol, state)

    # --- the round ------------------------------------------------------------------------------------------

    async def _run(self, exchange: Exchange, admin: "Admin", clock: Clock, http: httpx.AsyncClient) -> None:
        auctions = self.season.auctions
        opening, closing = (nanoseconds(text, "auctions") / SECOND for text in (auctions.opening, auctions.closing))
        plan: list[tuple[float, str]] = []
        if opening:
            plan.append((opening, "continuous"))
        if closing:
            plan.append((self.seconds - closing, "closing_auction"))
        state = "pre_open" if opening else "continuous"
        shown = -10.0
        with self._live() as live, _lines() as lines:
            while clock.seconds() < self.seconds and not self.stop.is_set():
                exchange.raise_failure()
                for player in self.players:
                    player.look(self.season, self.seconds)
                if plan and clock.seconds() >= plan[0][0] and clock.paused_at is None:
                    state = plan.pop(0)[1]
                    await self._all_to(admin, state)
                while lines:
                    line = lines.pop(0)
                    if line == "q":
                        self.stop.set()
                    elif line == "p" and clock.paused_at is None:
                        clock.pause()
                        await self._all_to(admin, "halted")
                    elif line == "p":
                        await self._all_to(admin, state)
                        clock.resume()
                if clock.seconds() - shown >= (1.0 if live is not None else 10.0):
                    shown = clock.seconds()
                    await self._show(live, clock, exchange, http)
                await asyncio.sleep(LOOK)

    def _live(self) -> contextlib.AbstractContextManager[Live | None]:
        if self.console.is_terminal:
            return Live(console=self.console, auto_refresh=False, transient=True)
        return contextlib.nullcontext()

    async def _show(self, live: Live | None, clock: Clock, exchange: Exchange, http: httpx.AsyncClient) -> None:
        try:
            leaders = (await http.get(f"{exchange.feed_url}/leaderboard")).json()
        except (httpx.HTTPError, ValueError):
            return
        at = f"{clock.seconds():.0f} of {self.seconds:g} s{', paused' if clock.paused_at is not None else ''}"
        if live is None:
            line = f"round {self.number}: {at}{leading(self.season, leaders, self.house)}"
            self.console.print(plain(line), markup=False, highlight=False)
            return
        ended = {player.name: player.ended for player in self.players}
        live.update(_board(leaders, f"Round {self.number}: {at}. {HELP}", self.house, ended), refresh=True)

    async def _close(self, exchange: Exchange, admin: "Admin") -> None:
        """Nobody acts any more; what an auction has collected trades, and everything is settled and stored."""
        for player in self.players:
            if not player.ended:
                player.process.terminate()
        for process in self._processes:
            process.terminate()
        await asyncio.gather(*map(_ended, self._everybody()))
        await self._all_to(admin, "closed")
        if not await exchange.quiesce():
            raise UpError("the market did not come to rest")

    # --- the results ----------------------------------------------------------------------------------------

    async def _results(self, exchange: Exchange, clock: Clock) -> RoundResult:
        log = open_log(exchange.log_url, self.options.namespace)
        try:
            orders, reports = [await _bodies(log, topic) for topic in (ORDER_ENTRY, DATA_FEED)]
        finally:
            await log.close()
        every = sample_pause(int(self.seconds * SECOND))
        initial = dict.fromkeys(self.keys, shares_of(self.season))
        record = record_of(reports, int(clock.began * SECOND), every, initial)
        ended = {player.name: player.ended for player in self.players if player.ended}
        errors = {player.name: _errors_in(player.log) for player in self.players}
        result = result_of(
            self.season, self.number, "live", record, house=self.house, seconds=self.seconds, ended=ended, errors=errors
        )
        values = {symbol: path.points() for symbol, path in values_of(self.season, self.number, clock.began).items()}
        write_played(self.folder, Round(result, record, values, orders, reports))
        return result


class Admin:
    """What only the admin may do, over REST."""

    def __init__(self, http: httpx.AsyncClient, gateway_url: str, data: Path) -> None:
        self._http, self._url = http, gateway_url
        token = (data / "secrets" / "admin-token").read_text().strip()
        self._headers = {"Authorization": f"Bearer {token}"}

    async def _ask(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        answer = await self._http.request(method, f"{self._url}{path}", json=body, headers=self._headers)
        if not answer.is_success:
            raise UpError(f"{path}: {answer.json()['error']['message']}")
        return answer.json()

    async def open_account(self, client_id: str, house: bool = False) -> str:
        """Opens an account; its key."""
        return str((await self._ask("PUT", f"/admin/clients/{client_id}", {"house": house}))["api_key"])

    async def set_state(self, symbol: str, state: str) -> None:
        """Moves a market to another state."""
        await self._ask("PUT", f"/admin/securities/{symbol}/state", {"state": state})


def leading(season: Season, leaders: list[dict[str, Any]], house: set[str]) -> str:
    """Which contestant has the best score so far, as a part of a line; empty without contestants. What only the end of the
    round tells, the penalty for shares held and the closing auction, is not in it."""
    by = season.scoring
    scores = [
        (float(one[by.by]) - by.drawdown_penalty * float(one["drawdown"]), one["client_id"])
        for one in leaders
        if one["client_id"] not in house and float(one["equity"])  # what an account begins with is not settled yet
    ]
    if not scores:
        return ""
    score, name = max(scores, key=lambda found: found[0])
    without = ", without the penalty for inventory" if by.inventory_penalty else ""
    return f", best score so far: {name} with {score:,.2f}{without}"


def _board(leaders: list[dict[str, Any]], title: str, house: set[str], ended: Mapping[str, str]) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for heading in ("", "who", "equity", "profit", "return", "trades", ""):
        table.add_column(heading, justify="left" if heading in ("who", "") else "right")
    for one in leaders[:30]:
        name = one["client_id"]
        why = ended.get(name, "")
        style = "red" if why else "dim" if name in house else None
        amounts = (f"{float(one['equity']):,.2f}", f"{float(one['profit']):+,.2f}", f"{one['return_percent'] or '–'} %")
        table.add_row(str(one["rank"]), escape(name), *amounts, str(one["trades"]), escape(plain(why)), style=style)
    return table


def _errors_in(log: Path) -> list[str]:
    """The first complaints in a bot's log."""
    text = log.read_text(errors="replace").strip()
    return [plain(part.strip()) for part in text.split("\n\n") if part.strip()][:5]


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), 10)
    except TimeoutError:
        _kill(process)
        await let_go(process)


def _kill(process: asyncio.subprocess.Process) -> None:
    """Ends a process, and all that it has started with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


async def _bodies(log: Any, topic: str) -> list[bytes]:
    """All that stands on a topic."""
    bodies: list[bytes] = []
    end = await log.tail(topic)
    if end:
        async with contextlib.aclosing(log.read(topic, 0)) as entries:
            async for found in entries:
                bodies += [body for offset, body in found if offset < end]
                if found[-1][0] >= end - 1:
                    break
    return bodies


@contextlib.contextmanager
def _lines() -> Iterator[list[str]]:
    """What is typed, line by line, as it comes."""
    found: list[str] = []
    loop = asyncio.get_running_loop()
    try:
        descriptor = sys.stdin.fileno()
        loop.add_reader(descriptor, lambda: _take(descriptor, found, lambda: loop.remove_reader(descriptor)))
    except (OSError, ValueError):
        yield found  # there is nobody who types
        return
    try:
        yield found
    finally:
        loop.remove_reader(descriptor)


def _take(descriptor: int, found: list[str], end: Callable[[], object]) -> None:
    data = os.read(descriptor, 4096)
    if not data:
        end()
    found += [line.strip().lower() for line in data.decode(errors="replace").splitlines()]


async def compete(
    season: Season, file: Path, out: Path, options: UpOptions, console: Console
) -> AsyncIterator[tuple[RoundResult, Path]]:
    """Plays all rounds of a season; each one's result as soon as it is there, and its folder. Raises `UpError`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(ending, stop.set)
    for number in range(1, season.rounds + 1):
        if stop.is_set():
            return
        folder = out / season.name / f"round-{number}"
        if (folder / "exchange").exists():
            raise UpError(f"{folder} has a round already: choose another folder with --out, or remove it")
        one = LiveRound(season, file, number, folder, options, console, stop=stop)
        yield await one.play(), folder
