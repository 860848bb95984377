"""A whole exchange in one process, on a simulated clock: the cores of the four services.

A request arrives at the exchange `latency` after a client has sent it, and each report arrives at the client `latency`
after it was made. The engine applies one command at a time, in the order of arrival. Nothing depends on the machine: the
same calls give the same market.
"""

import gc
import hashlib
import heapq
import itertools
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from clearinghouse.ledger import Ledger
from market_data_feed.market import MarketData
from matching_engine.context import Outcome
from matching_engine.engine import Engine
from microexchange.batches import ENGINE, VERSION, Batch, encode_batch, gateway_name
from microexchange.commands import Command, GatewayLogon, ListSecurity, OpenAccount, SetTradingState, TimeTick
from microexchange.enums import TradingState
from microexchange.ids import IdSequence
from microexchange.limits import RateLimiter
from microexchange.numbers import CASH_SCALE
from microexchange.refusals import Code, Refusal
from microexchange.reports import CommandRejected, Event, OrderReport, PriceUpdate, SecurityListed, TradingStateChanged
from microexchange.reports import Trade as MarketTrade
from microexchange.securities import Security as Terms
from trading_bots.bot import Bot, Security, Trade
from trading_bots.bot_state import OrderUpdate, change_book
from trading_bots.simulation.client import SECOND, Client, LatencyGroup
from trading_bots.simulation.watchdog import Watchdog

CLOCK_INTERVAL = SECOND
"""The interval of the exchange's `TimeTick` commands, in nanoseconds."""
_CASH = Decimal(CASH_SCALE)

Listener = Callable[[int, Sequence[Event]], None]
"""A function that receives the time in nanoseconds and all reports of one command."""


class StepAmounts(dict[int, Decimal]):
    """Decimal amounts by their number of steps, which are ticks or lots. Each amount is computed once."""

    def __init__(self, step: Decimal) -> None:
        super().__init__()
        self.step = step

    def __missing__(self, count: int) -> Decimal:
        amount = self[count] = count * self.step
        return amount


class SimulatedExchange:
    """Engine, ledger and feed on a simulated clock, with a calendar of future events."""

    def __init__(
        self,
        start: int,
        requests_per_second: float = 0,
        gateway: int = 0,
        ticks: bool = True,
        keep: bool = False,
        keep_commands: bool = True,
        watchdog: Watchdog | None = None,
    ) -> None:
        """Create an exchange without securities and clients.

        Args:
            start: The start, in nanoseconds of Unix time.
            requests_per_second: The rate limit of each client. 0 for none.
            gateway: The number of the gateway in ids.
            ticks: Whether the clock of the market moves each second. If not, only commands move it.
            keep: Whether the reports of the engine are stored.
            keep_commands: Whether commands are stored. Without them there is no fingerprint, and memory does not grow.
            watchdog: Ends a bot that does not return.
        """
        self.now = start
        """Nanoseconds of Unix time."""
        self.engine, self.ledger, self.market = Engine(), Ledger(), MarketData()
        self.terms: dict[str, Terms] = self.market.securities
        self.clients: dict[str, Client] = {}
        self.listeners: list[Listener] = []
        self.watchdog = watchdog or Watchdog()
        self.watchdog.clock = lambda: self.now
        self.commands: list[bytes] = []
        """The topic `order_entry`: one body for each command."""
        self.reports: list[bytes] = []
        """The engine's bodies of the topic `data_feed`, if they are stored."""
        self._stores_reports = keep
        self._stores_commands = keep_commands
        self._next_report = 1
        self.limiter = RateLimiter(requests_per_second, 2 * requests_per_second)
        self._name = gateway_name(gateway)
        self._ids = IdSequence(gateway)
        self._instruction_numbers = itertools.count(1)
        self._groups: dict[int, LatencyGroup] = {}
        self._prices: dict[str, StepAmounts] = {}
        self._lots: dict[str, StepAmounts] = {}
        self._calendar: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._event_numbers = itertools.count()
        self.apply(GatewayLogon(0, self.now, gateway, 1))
        if ticks:
            self.at(start + CLOCK_INTERVAL, self._tick)

    # --- time -----------------------------------------------------------------------------------------------

    def at(self, when: int, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function at a time. Calls at the same time are made in the order in which they were planned."""
        heapq.heappush(self._calendar, (when, next(self._event_numbers), function, arguments))

    def run_until(self, end: int) -> None:
        """Process all events up to `end`, in nanoseconds of Unix time, and those that they cause."""
        calendar, pop = self._calendar, heapq.heappop
        # The garbage collector takes a third of the time here, and finds no cycles that matter.
        collects = gc.isenabled()
        gc.disable()
        try:
            while calendar and calendar[0][0] <= end:
                self.now, _, function, arguments = pop(calendar)
                function(*arguments)
        finally:
            if collects:
                gc.enable()
        self.now = end

    def _tick(self) -> None:
        self.apply(TimeTick(self.next_id(), self.now))
        self.market.advance_to(self.now)
        self.at(self.now + CLOCK_INTERVAL, self._tick)

    def next_id(self) -> int:
        """Return the id of a command that is sent now."""
        return self._ids.next(self.now)

    # --- the market -----------------------------------------------------------------------------------------

    def apply(self, command: Command) -> Outcome:
        """Match, settle and publish one command. Return the records of the engine."""
        if self._stores_commands:
            batch = Batch(VERSION, self._name, 1, len(self.commands) + 1, self.now, [command])
            self.commands.append(encode_batch(batch))
        outcome = self.engine.apply(command)
        settlements = [
            self.ledger.settle(next(self._instruction_numbers), instruction) for instruction in outcome.instructions
        ]
        if self._stores_reports:
            self.reports.append(encode_batch(Batch(VERSION, ENGINE, 1, self._next_report, self.now, outcome.reports)))
            self._next_report += len(outcome.reports)
        reports: list[Event] = [*outcome.reports, *settlements]
        market = self.market
        for report in reports:
            market.apply(report)
        for listener in self.listeners:
            listener(self.now, reports)
        self._publish(reports)
        return outcome

    def _publish(self, reports: Sequence[Event]) -> None:
        """Plan the delivery of reports: order reports to their clients, market data to all."""
        updates: list[tuple[Client, OrderUpdate]] = []
        changes: dict[str, list[tuple[str, Decimal, Decimal]]] = {}
        trades: list[Trade] = []
        states: list[tuple[str, str]] = []
        for report in reports:
            if isinstance(report, OrderReport):
                client = self.clients.get(report.client_id)
                if client is not None:
                    updates.append((client, self._order_update(report)))
            elif isinstance(report, PriceUpdate):
                symbol = report.symbol
                change = report.side, self._prices[symbol][report.price], self._lots[symbol][report.quantity]
                changes.setdefault(symbol, []).append(change)
            elif isinstance(report, MarketTrade):
                price, lots = self._prices[report.symbol][report.price], self._lots[report.symbol][report.quantity]
                trades.append(Trade(report.symbol, price, lots, report.aggressor_side))
            elif isinstance(report, TradingStateChanged):
                states.append((report.symbol, report.state.value))
            elif isinstance(report, SecurityListed):
                self._prices[report.symbol] = StepAmounts(Decimal(report.tick_size))
                self._lots[report.symbol] = StepAmounts(Decimal(report.lot_size))
        if not (updates or changes or trades or states):
            return
        for group in self._groups.values():
            group_updates = [(client, update) for client, update in updates if client._group is group]
            if group_updates or changes or trades or states:
                self.at(self.now + group.latency, self._deliver, group, group_updates, changes, trades, states)

    def _deliver(
        self,
        group: LatencyGroup,
        group_updates: list[tuple[Client, OrderUpdate]],
        changes: dict[str, list[tuple[str, Decimal, Decimal]]],
        trades: list[Trade],
        states: list[tuple[str, str]],
    ) -> None:
        securities = group.securities
        bbo_changed = {symbol: change_book(securities[symbol], changed) for symbol, changed in changes.items()}
        for trade in trades:
            securities[trade.symbol].last = trade.price
        for symbol, state in states:
            securities[symbol].state = state
        for client, update in group_updates:
            client.state.apply_update(update)
        subscribers = group.subscribers
        for symbol, state in states:
            for subscriber in subscribers[symbol, "on_state"]:
                subscriber.notify_state(symbol, state)
        for trade in trades:
            for subscriber in subscribers[trade.symbol, "on_trade"]:
                subscriber.notify_trade(trade)
        for symbol, changed in bbo_changed.items():
            for subscriber in subscribers[symbol, "on_book"]:
                subscriber.notify_book(symbol, changed)

    def _order_update(self, report: OrderReport) -> OrderUpdate:
        prices, lots = self._prices[report.symbol], self._lots[report.symbol]
        return OrderUpdate(
            str(report.order_id),
            report.client_order_id,
            report.symbol,
            report.side,
            report.exec_type,
            report.status,
            lots[report.quantity],
            None if report.price is None else prices[report.price],
            lots[report.cumulative_quantity],
            lots[report.last_quantity],
            prices[report.last_price],
            Decimal(report.fee) / _CASH if report.fee else Decimal(0),
            report.liquidity,
            report.text,
        )

    # --- securities and clients -----------------------------------------------------------------------------

    def list_security(self, **terms: Any) -> None:
        """List a security. `terms` are fields of `ListSecurity`.

        Raises:
            Refusal: The engine rejects the terms.
        """
        self._apply_or_raise(ListSecurity(self.next_id(), self.now, **terms))

    def set_state(self, symbol: str, state: TradingState) -> None:
        """Change the trading state of a security.

        Raises:
            Refusal: The engine rejects the change.
        """
        self._apply_or_raise(SetTradingState(self.next_id(), self.now, symbol, state))

    def join(self, bot: Bot, client_id: str, cash: int, shares: dict[str, int], latency: int, **terms: Any) -> Client:
        """Open an account and connect a bot. `on_start` is called as soon as the clock moves.

        Args:
            bot: The bot.
            client_id: The client id of its account.
            cash: Its initial cash in cash units.
            shares: Its initial holdings in lots, by symbol.
            latency: The latency to the exchange, one way, in nanoseconds.
            terms: Further fields of `OpenAccount`.

        Raises:
            Refusal: The engine rejects the account.
        """
        self._apply_or_raise(OpenAccount(self.next_id(), self.now, client_id, cash, shares, **terms))
        group = self._groups.setdefault(latency, LatencyGroup(latency))
        for symbol, security in self.terms.items():
            if symbol not in group.securities:
                listing = security.listing
                last = self._prices[symbol][listing.reference_price]
                state = self.market.states[symbol].value
                group.securities[symbol] = Security(symbol, security.tick_size, security.lot_size, last, state)
        client = self.clients[client_id] = Client(self, bot, client_id, group)
        bot._listed = group.securities
        client.note = client.state.choose_symbols(list(group.securities))
        bot.securities = {
            symbol: security for symbol, security in group.securities.items() if not bot.symbols or symbol in bot.symbols
        }
        bot.cash = Decimal(cash) / _CASH
        bot._positions = {symbol: self._lots[symbol][lots] for symbol, lots in shares.items()}
        for symbol in bot.securities:
            group.subscribers[symbol, "on_state"].append(client.state)
            if "on_trade" in client.state.overridden:
                group.subscribers[symbol, "on_trade"].append(client.state)
            if client.state.overridden & {"on_book", "on_bbo"}:
                group.subscribers[symbol, "on_book"].append(client.state)
        self.at(self.now, client.state.start)
        return client

    def _apply_or_raise(self, command: Command) -> None:
        for report in self.apply(command).reports:
            if isinstance(report, CommandRejected):
                raise Refusal(Code(report.code), report.text)

    def digest(self) -> str:
        """Return a fingerprint of all commands and their times. Two markets with the same fingerprint are the same."""
        return hashlib.sha256(b"".join(self.commands)).hexdigest()
