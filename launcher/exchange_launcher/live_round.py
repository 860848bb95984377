"""One round of a season on the real services."""

import asyncio
import contextlib
import csv
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
from rich.console import Console
from rich.live import Live

from exchange_launcher.cgroups import Cgroup, CgroupError
from exchange_launcher.cgroups import make as make_cgroup
from exchange_launcher.contestants import MAX_TASKS, ContestantProcess, kill_group, wait_until_ended
from exchange_launcher.data_folder import UpError
from exchange_launcher.exchange import Exchange
from exchange_launcher.live_display import KEYS_HELP, best_score_text, leaderboard_table, typed_lines
from exchange_launcher.processes import reap
from exchange_launcher.services import UpOptions
from microexchange.auth import write_private
from microexchange.commands import ListSecurity
from microexchange.durations import nanoseconds
from microexchange.enums import TradingState
from microexchange.log import open_log
from microexchange.records import DATA_FEED, ORDER_ENTRY
from microexchange.securities import listing_json
from trading_bots.client_requests import amount_text
from trading_bots.competition import contestant as contestant_process
from trading_bots.competition import house as house_process
from trading_bots.competition.confinement import (
    BOT_FOLDER_INSIDE,
    SOCKET_INSIDE,
    TEMPORARY_BYTES,
    Confinement,
    available,
    visible_files,
)
from trading_bots.competition.record import record_of
from trading_bots.competition.report import write_played
from trading_bots.competition.results import RoundResult, result_of
from trading_bots.competition.season import Contestant, Season, files_of_others, house_of, listing_terms, shares_of
from trading_bots.competition.venue_proxy import VenueProxy
from trading_bots.connections import refusal_in
from trading_bots.simulation.rounds import Round, sample_pause, values_of

NANOSECONDS_PER_SECOND = 10**9
CHECK_INTERVAL_SECONDS = 0.2
"""The time between two checks of the contestants' limits, of the keyboard and of the state of the market."""
DISPLAY_INTERVAL_SECONDS = 1.0
"""The time between two leaderboards on a terminal."""
PRINT_INTERVAL_SECONDS = 10.0
"""The time between two lines in a file or pipe."""
REQUEST_TIMEOUT_SECONDS = 10
VENUE_URL = "http://venue"
"""The address of the exchange for a confined contestant. Its proxy finds the service by the path."""


@dataclass
class RoundClock:
    """The clock of a round. It stops while the round is paused."""

    began: float
    """The start of the round, in seconds of Unix time."""
    paused_at: float | None = None
    paused_seconds: float = 0.0
    """The total duration of earlier pauses."""

    def seconds(self) -> float:
        """Return the elapsed part of the round in seconds."""
        now = self.paused_at if self.paused_at is not None else time.time()
        return now - self.began - self.paused_seconds

    def pause(self) -> None:
        """Stop the clock."""
        self.paused_at = time.time()

    def resume(self) -> None:
        """Start the clock again."""
        if self.paused_at is not None:
            self.paused_seconds += time.time() - self.paused_at
            self.paused_at = None


class RoundAdmin:
    """A client that sends the admin's requests during a round."""

    def __init__(self, http: httpx.AsyncClient, gateway_url: str, data: Path) -> None:
        self._http, self._url = http, gateway_url
        token = (data / "secrets" / "admin-token").read_text().strip()
        self._headers = {"Authorization": f"Bearer {token}"}

    async def _send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """Send a request, and return the JSON of the answer.

        Raises:
            UpError: The gateway refuses the request.
        """
        answer = await self._http.request(method, f"{self._url}{path}", json=body, headers=self._headers)
        if not answer.is_success:
            raise UpError(f"{path}: {refusal_in(answer)}")
        return answer.json()

    async def open_account(self, client_id: str, house: bool = False) -> str:
        """Open an account, and return its API key."""
        return str((await self._send("PUT", f"/admin/clients/{client_id}", {"house": house}))["api_key"])

    async def set_state(self, symbol: str, state: str) -> None:
        """Set the trading state of a security."""
        await self._send("PUT", f"/admin/securities/{symbol}/state", {"state": state})


@dataclass
class LiveRound:
    """One round of a season on the real services."""

    season: Season
    file: Path
    number: int
    folder: Path
    options: UpOptions
    console: Console
    players: list[ContestantProcess] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    """The API key of each contestant and house bot."""
    house: set[str] = field(default_factory=set)
    """The names of the house bots."""
    trust_bots: bool = False
    """Whether contestants run without confinement."""
    no_cgroup: str = ""
    """Why contestants have no control group. Empty if they have one."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """If it is set, the round ends early."""
    _house_processes: list[asyncio.subprocess.Process] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    """The proxies of the contestants, and the folder of their sockets."""

    @property
    def seconds(self) -> float:
        """The length of the round in seconds."""
        return nanoseconds(self.season.length, "length") / NANOSECONDS_PER_SECOND

    async def play(self) -> RoundResult:
        """Play the round and write its results.

        Raises:
            UpError: The exchange cannot start, or has failed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        suffix = f"r{self.number}_" if self.season.rounds > 1 else ""
        namespace = f"{self.options.namespace}{suffix}"
        data = self.folder / "exchange"
        self.options = replace(self.options, data=data, bots=0, settings=self._settings(), namespace=namespace)
        exchange = Exchange(self.options, self.console)
        try:
            await exchange.start()
            self.console.print(f"The market is open. Dashboard: {exchange.gateway_url}/#competition")
            async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_SECONDS) as http:
                admin = RoundAdmin(http, exchange.gateway_url, data)
                clock = await self._begin(exchange, admin)
                await self._run(exchange, admin, clock, http)
                await self._close(exchange, admin)
            return await self._results(exchange, clock)
        finally:
            for player in self.players:
                player.end("the round was aborted")
            for process in self._all_processes():
                kill_group(process)
                await reap(process)
            for player in self.players:
                if player.cgroup is not None:
                    player.cgroup.remove()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._stack.aclose()
            await exchange.stop()

    def _all_processes(self) -> list[asyncio.subprocess.Process]:
        """Return the processes of the house and of the contestants."""
        return [*self._house_processes, *(player.process for player in self.players)]

    # --- start ----------------------------------------------------------------------------------------------

    def _settings(self) -> dict[str, str]:
        """Write the listing file, and return the settings of the services."""
        listing, account = self.folder / "listing.csv", self.season.account
        rows = [
            listing_json(ListSecurity(0, 0, **listing_terms(security, TradingState.CONTINUOUS)))
            for security in self.season.security
        ]
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
            "MX_REQUESTS_PER_SECOND": amount_text(self.season.limits.requests_per_second),
        }

    async def _begin(self, exchange: Exchange, admin: RoundAdmin) -> RoundClock:
        """Open the accounts, start the clock, and start the processes of the house and of the contestants."""
        if nanoseconds(self.season.auctions.opening, "opening"):
            await self._set_all_states(admin, "pre_open")
        self.house.update(name for name, _ in house_of(self.season))
        for name in (*sorted(self.house), *(contestant.name for contestant in self.season.contestant)):
            self.keys[name] = await admin.open_account(name, house=name in self.house)
        for contestant in self.season.contestant:
            if contestant.external:
                path = self.folder / "keys" / f"{contestant.name}.key"
                path.parent.mkdir(exist_ok=True, mode=0o700)
                write_private(path, self.keys[contestant.name])
                self.console.print(f"{contestant.name} is external. Its API key is in {path}")
        clock = RoundClock(time.time())
        await self._start_house(exchange, clock.began)
        sockets = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mx-")))
        for contestant in self.season.contestant:
            if not contestant.external:
                await self._start_contestant(exchange, contestant, sockets)
        return clock

    async def _start_house(self, exchange: Exchange, start: float) -> None:
        keys = {name: self.keys[name] for name in self.house}
        task = house_process.HouseTask(
            str(self.file), self.number, start, keys, exchange.gateway_url, exchange.feed_url, self.season.seed
        )
        command = module_command("trading_bots.competition.house")
        process, _ = await self._spawn(command, task, "house", stdout=asyncio.subprocess.DEVNULL)
        self._house_processes.append(process)

    async def _start_contestant(self, exchange: Exchange, contestant: Contestant, sockets: Path) -> None:
        """Start the process of a contestant: confined, with a proxy to the exchange, unless bots are trusted."""
        name = contestant.name
        output = self.folder.absolute() / "output" / f"{name}.txt"
        output.parent.mkdir(exist_ok=True)
        # Without bubblewrap, only strategies that ship come here: `compete` refuses files.
        confinement = Confinement(reason="bots are trusted") if self.trust_bots else available()
        with output.open("ab") as file, contextlib.ExitStack() as stack:
            task = self._task(exchange, contestant, file.fileno())
            command = module_command("trading_bots.competition.contestant")
            descriptors: tuple[int, ...] = (file.fileno(),)
            if confinement.bubblewrap:
                venue = sockets / f"{len(self.players)}.sock"
                proxy = VenueProxy(name, self.keys[name], exchange.gateway_url, exchange.feed_url)
                await self._stack.enter_async_context(proxy.listening(venue))
                command, more = stack.enter_context(confinement.command(command, self._visible_files(contestant), venue))
                descriptors += more
                task = confined(task, landlock=bool(confinement.landlock))
            cgroup = self._cgroup()
            command = command if cgroup is None else cgroup.command(command)
            try:
                process, log = await self._spawn(command, task, name, descriptors, is_confined=bool(confinement.bubblewrap))
            except BaseException:
                if cgroup is not None:
                    cgroup.remove()
                raise
        player = ContestantProcess(name, process, log, confinement, cgroup, asyncio.get_running_loop().time())
        self.players.append(player)
        self._tasks.append(asyncio.create_task(player.read_heartbeats()))

    def _cgroup(self) -> Cgroup | None:
        """Return a control group for a contestant, or None with the reason in `no_cgroup`."""
        try:
            return make_cgroup((self.season.limits.memory_megabytes << 20) + TEMPORARY_BYTES, MAX_TASKS)
        except CgroupError as error:
            self.no_cgroup = str(error)
            return None

    def _limits_text(self, player: ContestantProcess) -> str:
        if player.cgroup is not None:
            return f"control group: memory, threads{', one processor' if player.cgroup.limits_processors() else ''}"
        return f"no control group, but limits of the process and checks, since {self.no_cgroup}"

    def _task(self, exchange: Exchange, contestant: Contestant, output_descriptor: int) -> contestant_process.ContestantTask:
        """Return the task of a contestant's process, as an unconfined one needs it."""
        limits = self.season.limits
        return contestant_process.ContestantTask(
            name=contestant.name,
            key=self.keys[contestant.name],
            gateway_url=exchange.gateway_url,
            feed_url=exchange.feed_url,
            seed=secrets.token_hex(16),  # with the season's seed, a bot could compute the fundamental values
            folder=str(self.file.parent.absolute()),
            file=contestant.file,
            strategy=contestant.strategy,
            memory_megabytes=limits.memory_megabytes,
            processor_seconds=int(limits.processor_share * self.seconds) + 1,
            output_descriptor=output_descriptor,
        )

    def _visible_files(self, contestant: Contestant) -> list[tuple[Path, str]]:
        """Return the files that a confined contestant can read."""
        others = files_of_others(self.season, contestant)
        return visible_files(contestant.file, self.file.parent, others) if contestant.file else []

    async def _spawn(
        self,
        command: list[str],
        task: msgspec.Struct,
        name: str,
        descriptors: tuple[int, ...] = (),
        stdout: int = asyncio.subprocess.PIPE,
        is_confined: bool = False,
    ) -> tuple[asyncio.subprocess.Process, Path]:
        """Start a process, and write `task` to its standard input. Return the process and its log file."""
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        own = {key: text for key, text in os.environ.items() if not key.startswith("MX_")}
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=stdout,
                stderr=output,
                start_new_session=True,
                pass_fds=descriptors,
                env={} if is_confined else own,
            )
        assert process.stdin is not None  # noqa: S101 - it was started with a pipe
        process.stdin.write(msgspec.json.encode(task) + b"\n")
        await process.stdin.drain()
        return process, log

    async def _set_all_states(self, admin: RoundAdmin, state: str) -> None:
        for security in self.season.security:
            await admin.set_state(security.symbol, state)

    # --- run ------------------------------------------------------------------------------------------------

    async def _run(self, exchange: Exchange, admin: RoundAdmin, clock: RoundClock, http: httpx.AsyncClient) -> None:
        """Run the round until its length is over, the user ends it, or a service fails.

        Raises:
            UpError: A service has failed permanently.
        """
        auctions = self.season.auctions
        opening, closing = (
            nanoseconds(text, "auctions") / NANOSECONDS_PER_SECOND for text in (auctions.opening, auctions.closing)
        )
        state_changes: list[tuple[float, str]] = []
        if opening:
            state_changes.append((opening, "continuous"))
        if closing:
            state_changes.append((self.seconds - closing, "closing_auction"))
        state = "pre_open" if opening else "continuous"
        shown_at = -PRINT_INTERVAL_SECONDS
        with self._live() as live, typed_lines() as lines:
            while clock.seconds() < self.seconds and not self.stop.is_set():
                exchange.raise_failure()
                for player in self.players:
                    player.check_limits(self.season, self.seconds)
                if state_changes and clock.seconds() >= state_changes[0][0] and clock.paused_at is None:
                    state = state_changes.pop(0)[1]
                    await self._set_all_states(admin, state)
                while lines:
                    line = lines.pop(0)
                    if line == "q":
                        self.stop.set()
                    elif line == "p" and clock.paused_at is None:
                        clock.pause()
                        await self._set_all_states(admin, "halted")
                    elif line == "p":
                        await self._set_all_states(admin, state)
                        clock.resume()
                interval = PRINT_INTERVAL_SECONDS if live is None else DISPLAY_INTERVAL_SECONDS
                if clock.seconds() - shown_at >= interval:
                    shown_at = clock.seconds()
                    await self._show(live, clock, exchange, http)
                await asyncio.sleep(CHECK_INTERVAL_SECONDS)

    def _live(self) -> contextlib.AbstractContextManager[Live | None]:
        """Return the display of a terminal, or None for a file or pipe."""
        if self.console.is_terminal:
            return Live(console=self.console, auto_refresh=False, transient=True)
        return contextlib.nullcontext()

    async def _show(self, live: Live | None, clock: RoundClock, exchange: Exchange, http: httpx.AsyncClient) -> None:
        """Show the leaderboard on a terminal, or the best score in a file or pipe."""
        try:
            leaders = (await http.get(f"{exchange.feed_url}/leaderboard")).json()
        except (httpx.HTTPError, ValueError):
            return
        progress = f"{clock.seconds():.0f} of {self.seconds:g} s{', paused' if clock.paused_at is not None else ''}"
        if live is None:
            line = f"round {self.number}: {progress}{best_score_text(self.season, leaders, self.house)}"
            self.console.print(line, markup=False, highlight=False)
            return
        ended = {player.name: player.ended for player in self.players}
        title = f"Round {self.number}: {progress}. {KEYS_HELP}"
        live.update(leaderboard_table(leaders, title, self.house, ended), refresh=True)

    async def _close(self, exchange: Exchange, admin: RoundAdmin) -> None:
        """End all bots, close the market, and wait until all orders are settled and stored.

        Orders in a closing auction trade when the market closes.

        Raises:
            UpError: The services still have unprocessed records after the time limit.
        """
        for player in self.players:
            if not player.ended:
                player.terminate()
        for process in self._house_processes:
            process.terminate()
        await asyncio.gather(*map(wait_until_ended, self._all_processes()))
        await self._set_all_states(admin, "closed")
        if not await exchange.quiesce():
            raise UpError("the market did not become idle")

    # --- results --------------------------------------------------------------------------------------------

    async def _results(self, exchange: Exchange, clock: RoundClock) -> RoundResult:
        """Compute the results from the log, and write them into the folder of the round."""
        log = open_log(exchange.log_url, self.options.namespace)
        try:
            orders, reports = [await _bodies(log, topic) for topic in (ORDER_ENTRY, DATA_FEED)]
        finally:
            await log.close()
        every = sample_pause(int(self.seconds * NANOSECONDS_PER_SECOND))
        initial = dict.fromkeys(self.keys, shares_of(self.season))
        record = record_of(reports, int(clock.began * NANOSECONDS_PER_SECOND), every, initial)
        ended = {player.name: player.ended for player in self.players if player.ended}
        errors = {player.name: player.errors() for player in self.players}
        result = result_of(
            self.season,
            self.number,
            "live",
            record,
            house=self.house,
            seconds=self.seconds,
            ended=ended,
            errors=errors,
            confinement={player.name: f"{player.confinement}; {self._limits_text(player)}" for player in self.players},
        )
        values = {symbol: path.points() for symbol, path in values_of(self.season, self.number, clock.began).items()}
        write_played(self.folder, Round(result, record, values, orders, reports))
        return result


def module_command(module: str) -> list[str]:
    """Return the command that runs a module. A file in the current folder cannot replace a module."""
    return [sys.executable, "-P", "-m", module]


def confined(task: contestant_process.ContestantTask, landlock: bool) -> contestant_process.ContestantTask:
    """Return the task as a confined process sees it: paths inside, a socket, and no key."""
    path, separator, name = task.file.partition(":")
    return msgspec.structs.replace(
        task,
        key="",
        gateway_url=VENUE_URL,
        feed_url=VENUE_URL,
        folder=BOT_FOLDER_INSIDE,
        file=f"{Path(path).name}{separator}{name}" if path else "",
        socket=SOCKET_INSIDE,
        landlock=landlock,
    )


async def _bodies(log: Any, topic: str) -> list[bytes]:
    """Return all bodies of a topic of the log."""
    bodies: list[bytes] = []
    end = await log.tail(topic)
    if end:
        async with contextlib.aclosing(log.read(topic, 0)) as entries:
            async for found in entries:
                bodies += [body for offset, body in found if offset < end]
                if found[-1][0] >= end - 1:
                    break
    return bodies
