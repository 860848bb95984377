"""A whole exchange in one process, on a clock of its own: the cores of the four services, and clients at a distance.

What a client sends arrives `latency` later, and what the market says reaches it `latency` after that. The engine takes one
command at a time, in the order of arrival. Nothing depends on the machine: the same calls give the same market.
"""

import gc
import hashlib
import heapq
import inspect
import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from clearinghouse.ledger import Ledger
from market_data_feed.market import MarketData
from matching_engine.context import Outcome
from matching_engine.engine import Engine
from microexchange.batches import ENGINE, VERSION, Batch, encode_batch, gateway_name
from microexchange.commands import CancelOrder, Command, GatewayLogon, ListSecurity, OpenAccount, SetTradingState, TimeTick
from microexchange.enums import Side, TimeInForce, TradingState
from microexchange.ids import IdSequence
from microexchange.limits import RateLimiter
from microexchange.numbers import CASH_SCALE
from microexchange.refusals import Code, Refusal
from microexchange.reports import CommandRejected, Event, OrderReport, PriceUpdate, SecurityListed, TradingStateChanged
from microexchange.reports import Trade as Print
from microexchange.securities import Security as Terms
from order_entry_gateway.requests import AmendRequest, EntryType, OrderRequest, new_order, replace_order
from trading_bots.bot import Bot, Order, Security, Trade
from trading_bots.faults import Complaints, comes_from
from trading_bots.session import MAX_WAITING, TOO_MANY, News, Session, change_book
from trading_bots.simulation.watchdog import Stuck, Watchdog

SECOND = 1_000_000_000
TICK = SECOND
"""How often the market hears the time, in nanoseconds."""
_TYPES = {kind.value: kind for kind in EntryType}
_LIVES = {life.value: life for life in TimeInForce}
_SIDES = {side.value: side for side in Side}
_CASH = Decimal(CASH_SCALE)

Listener = Callable[[int, Sequence[Event]], None]
"""Hears every report, with the time."""


def order_request(order: Order) -> OrderRequest:
    """What a bot's order is for the gateway: the same as its JSON from `session.order_fields`."""
    return OrderRequest(
        symbol=order.symbol,
        side=_SIDES[order.side],
        quantity=order.quantity,
        order_type=_TYPES[order.order_type],
        price=order.price,
        trigger_price=order.trigger_price,
        time_in_force=_LIVES[order.time_in_force],
        post_only=order.post_only,
        display_quantity=order.display_quantity,
        client_order_id=order.client_order_id,
    )


class Steps(dict[int, Decimal]):
    """Amounts by how many steps they are: a tick, a lot. Made once each."""

    def __init__(self, step: Decimal) -> None:
        super().__init__()
        self.step = step

    def __missing__(self, count: int) -> Decimal:
        amount = self[count] = count * self.step
        return amount


class Distance:
    """All clients at one distance from the exchange: they see the same market at the same time."""

    def __init__(self, latency: int) -> None:
        self.latency = latency
        """Nanoseconds, one way."""
        self.securities: dict[str, Security] = {}
        self.hear: dict[tuple[str, str], list[Session]] = defaultdict(list)
        """Who has a callback for something, by symbol and callback."""


class Client:
    """A bot's end of the connection: its `Venue`."""

    def __init__(self, exchange: "SimulatedExchange", bot: Bot, client_id: str, distance: Distance) -> None:
        self._exchange = exchange
        self._distance = distance
        self.bot = bot
        self.alive = True
        self.ended = ""
        """Why it did not play to the end."""
        self.note = ""
        """A message for the person who runs the bot."""
        self._complaints = Complaints(bot)
        self._waiting = 0
        """Requests that the exchange has not taken yet."""
        self.session = Session(bot, self.call)
        bot.client_id, bot._venue, bot._life = client_id, self, "s"

    def call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Calls into the bot. Its error does not stop it."""
        if not self.alive:
            return
        watchdog = self._exchange.watchdog
        if watchdog.text:
            raise Stuck(watchdog.text)
        watchdog.bot, watchdog.is_in_bot = self.bot, True
        watchdog.count += 1
        try:
            result = callback(*arguments)
            if result is not None and inspect.iscoroutine(result):
                self._drive(result)
        except SystemExit:
            self.ended = "it has ended itself with exit()"
            self.alive = False
        except Exception as error:
            self._complaints.add(error)
        finally:
            watchdog.is_in_bot = False

    @property
    def latency(self) -> int:
        """Nanoseconds to the exchange, one way."""
        return self._distance.latency

    @property
    def errors(self) -> list[str]:
        """What went wrong in the bot: each kind once, with its count."""
        return list(self._complaints)

    def _drive(self, coroutine: Any) -> None:
        nothing = "in a simulation there is nothing to wait for: use every(seconds, function)"
        try:
            coroutine.send(None)
        except StopIteration:
            return
        except RuntimeError as error:
            if comes_from(error, "asyncio"):
                raise RuntimeError(nothing) from error
            raise
        coroutine.close()
        raise RuntimeError(nothing)

    # --- Venue ----------------------------------------------------------------------------------------------

    def send_order(self, order: Order) -> None:
        """See `Venue`."""
        if self._waiting >= MAX_WAITING:
            self._later(max(2 * self._distance.latency, SECOND // 100), self.session.refused, order, TOO_MANY)
            return
        self._ask(self._enter, order)

    def send_cancel(self, order: Order) -> None:
        """See `Venue`. An order that the exchange has not answered yet is cancelled when it has."""
        if order.order_id is not None:
            self._ask(self._cancel, order)

    def send_amend(self, order: Order, quantity: Decimal | None, price: Decimal | None) -> None:
        """See `Venue`. An order that the exchange has not answered yet stays as it is."""
        if order.order_id is not None:
            self._ask(self._amend, order, quantity, price)

    def start_timer(self, seconds: float, function: Callable[[], Any]) -> None:
        """See `Venue`."""
        pause = max(int(seconds * SECOND), 1)

        def again() -> None:
            if self.alive:
                self._later(pause, again)
                self.call(function)

        self._later(pause, again)

    def now(self) -> float:
        """See `Venue`."""
        return self._exchange.now / SECOND

    def _later(self, pause: int, function: Callable[..., object], *arguments: Any) -> None:
        self._exchange.at(self._exchange.now + pause, function, *arguments)

    def _ask(self, function: Callable[..., object], *arguments: Any) -> None:
        self._waiting += 1
        self._later(self._distance.latency, function, *arguments)

    # --- at the exchange ------------------------------------------------------------------------------------

    def _admitted(self, function: Callable[..., None], *arguments: Any) -> bool:
        """Whether the gateway lets the client ask for one thing more; otherwise it asks again when it may."""
        exchange = self._exchange
        seconds = exchange.limiter.take(self.bot.client_id, exchange.now / SECOND)
        if seconds:
            self._later(int(seconds * SECOND) + 2 * self._distance.latency, function, *arguments)
        else:
            self._waiting -= 1
        return not seconds

    def _enter(self, order: Order) -> None:
        if not self._admitted(self._enter, order):
            return
        exchange = self._exchange
        try:
            request = order_request(order)
            client_id = self.bot.client_id
            command = new_order(request, exchange.terms, client_id, exchange.next_id(), exchange.now)
        except Refusal as refusal:
            self._later(self._distance.latency, self.session.refused, order, refusal.message)
            return
        exchange.apply(command)

    def _cancel(self, order: Order) -> None:
        if order.order_id is None or not self._admitted(self._cancel, order):
            return
        exchange = self._exchange
        command = CancelOrder(exchange.next_id(), exchange.now, self.bot.client_id, int(order.order_id))
        if any(isinstance(report, CommandRejected) for report in exchange.apply(command).reports):
            self._later(self._distance.latency, self._not_cancelled, order)

    def _not_cancelled(self, order: Order) -> None:
        order.cancelling = False

    def _amend(self, order: Order, quantity: Decimal | None, price: Decimal | None) -> None:
        if order.order_id is None or not self._admitted(self._amend, order, quantity, price):
            return
        exchange = self._exchange
        request = AmendRequest(quantity=quantity, price=price)
        try:
            terms, order_id = exchange.terms[order.symbol], int(order.order_id)
            command = replace_order(request, terms, self.bot.client_id, order_id, exchange.next_id(), exchange.now)
        except Refusal:
            return
        exchange.apply(command)

    def die(self) -> None:
        """The bot ends: `on_stop` is called, and nothing after it. What the bot has sent arrives."""
        self.call(self.bot.on_stop)
        self.alive = False


class SimulatedExchange:
    """Engine, ledger and feed, and a calendar of what happens next."""

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
        """Begins at a time in nanoseconds of Unix time. Without `ticks`, only commands move the market's clock. With `keep`,
        the engine's reports are kept. Without `keep_commands`, there is no fingerprint, and memory does not grow. `watchdog`
        ends a bot that does not return."""
        self.now = start
        """Nanoseconds of Unix time."""
        self.engine, self.ledger, self.market = Engine(), Ledger(), MarketData()
        self.terms: dict[str, Terms] = self.market.securities
        self.clients: dict[str, Client] = {}
        self.listeners: list[Listener] = []
        self.watchdog = watchdog or Watchdog()
        self.watchdog.clock = lambda: self.now
        self.commands: list[bytes] = []
        """The topic `order_entry`: a body for each command."""
        self.reports: list[bytes] = []
        """The topic `data_feed`, as far as the engine wrote it, where it is kept."""
        self._keeps = keep
        self._keeps_commands = keep_commands
        self._reported = 1
        self.limiter = RateLimiter(requests_per_second, 2 * requests_per_second)
        self._name = gateway_name(gateway)
        self._ids = IdSequence(gateway)
        self._instruction = itertools.count(1)
        self._distances: dict[int, Distance] = {}
        self._prices: dict[str, Steps] = {}
        self._lots: dict[str, Steps] = {}
        self._calendar: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self.apply(GatewayLogon(0, self.now, gateway, 1))
        if ticks:
            self.at(start + TICK, self._tick)

    # --- time -----------------------------------------------------------------------------------------------

    def at(self, when: int, function: Callable[..., object], *arguments: Any) -> None:
        """Calls a function at that time; what is planned for the same time, in the order of planning."""
        heapq.heappush(self._calendar, (when, next(self._order), function, arguments))

    def run_until(self, end: int) -> None:
        """Lets everything happen that is planned up to `end`, and what comes of it."""
        calendar, pop = self._calendar, heapq.heappop
        # Nothing here has cycles that matter; to look for some takes a third of the time.
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
        self.at(self.now + TICK, self._tick)

    def next_id(self) -> int:
        """The id of a command that is sent now."""
        return self._ids.next(self.now)

    # --- the market -----------------------------------------------------------------------------------------

    def apply(self, command: Command) -> Outcome:
        """Match, settle and publish one command. Return the engine's records."""
        if self._keeps_commands:
            batch = Batch(VERSION, self._name, 1, len(self.commands) + 1, self.now, [command])
            self.commands.append(encode_batch(batch))
        outcome = self.engine.apply(command)
        settlements = [self.ledger.settle(next(self._instruction), one) for one in outcome.instructions]
        if self._keeps:
            self.reports.append(encode_batch(Batch(VERSION, ENGINE, 1, self._reported, self.now, outcome.reports)))
            self._reported += len(outcome.reports)
        reports: list[Event] = [*outcome.reports, *settlements]
        market = self.market
        for report in reports:
            market.apply(report)
        for listener in self.listeners:
            listener(self.now, reports)
        self._tell(reports)
        return outcome

    def _tell(self, reports: Sequence[Event]) -> None:
        """Sends reports on their way: to their owners, and to everybody who watches that market."""
        news: list[tuple[Client, News]] = []
        changes: dict[str, list[tuple[str, Decimal, Decimal]]] = {}
        trades: list[Trade] = []
        states: list[tuple[str, str]] = []
        for report in reports:
            if isinstance(report, OrderReport):
                client = self.clients.get(report.client_id)
                if client is not None:
                    news.append((client, self._news(report)))
            elif isinstance(report, PriceUpdate):
                symbol = report.symbol
                change = report.side, self._prices[symbol][report.price], self._lots[symbol][report.quantity]
                changes.setdefault(symbol, []).append(change)
            elif isinstance(report, Print):
                price, lots = self._prices[report.symbol][report.price], self._lots[report.symbol][report.quantity]
                trades.append(Trade(report.symbol, price, lots, report.aggressor_side))
            elif isinstance(report, TradingStateChanged):
                states.append((report.symbol, report.state.value))
            elif isinstance(report, SecurityListed):
                self._prices[report.symbol] = Steps(Decimal(report.tick_size))
                self._lots[report.symbol] = Steps(Decimal(report.lot_size))
        if not (news or changes or trades or states):
            return
        for distance in self._distances.values():
            own = [one for one in news if one[0]._distance is distance]
            if own or changes or trades or states:
                self.at(self.now + distance.latency, self._hear, distance, own, changes, trades, states)

    def _hear(
        self,
        distance: Distance,
        own: list[tuple[Client, News]],
        changes: dict[str, list[tuple[str, Decimal, Decimal]]],
        trades: list[Trade],
        states: list[tuple[str, str]],
    ) -> None:
        securities = distance.securities
        bbo_changed = {symbol: change_book(securities[symbol], changed) for symbol, changed in changes.items()}
        for trade in trades:
            securities[trade.symbol].last = trade.price
        for symbol, state in states:
            securities[symbol].state = state
        for client, news in own:
            client.session.heard(news)
        hear = distance.hear
        for symbol, state in states:
            for session in hear[symbol, "on_state"]:
                session.state_changed(symbol, state)
        for trade in trades:
            for session in hear[trade.symbol, "on_trade"]:
                session.traded(trade)
        for symbol, changed in bbo_changed.items():
            for session in hear[symbol, "on_book"]:
                session.told(symbol, changed)

    def _news(self, report: OrderReport) -> News:
        prices, lots = self._prices[report.symbol], self._lots[report.symbol]
        return News(
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

    # --- who takes part -------------------------------------------------------------------------------------

    def list_security(self, **terms: Any) -> None:
        """Lists a security: the fields of `ListSecurity`. Raises `Refusal`."""
        self._do(ListSecurity(self.next_id(), self.now, **terms))

    def set_state(self, symbol: str, state: TradingState) -> None:
        """Moves a market to another state. Raises `Refusal`."""
        self._do(SetTradingState(self.next_id(), self.now, symbol, state))

    def join(self, bot: Bot, client_id: str, cash: int, shares: dict[str, int], latency: int, **terms: Any) -> Client:
        """Opens an account, in cash units and lots, and connects the bot, `latency` nanoseconds away. `on_start` is called
        as soon as the clock goes on. Raises `Refusal`."""
        self._do(OpenAccount(self.next_id(), self.now, client_id, cash, shares, **terms))
        distance = self._distances.setdefault(latency, Distance(latency))
        for symbol, terms_ in self.terms.items():
            if symbol not in distance.securities:
                listing = terms_.listing
                last = self._prices[symbol][listing.reference_price]
                state = self.market.states[symbol].value
                distance.securities[symbol] = Security(symbol, terms_.tick_size, terms_.lot_size, last, state)
        client = self.clients[client_id] = Client(self, bot, client_id, distance)
        bot._listed = distance.securities
        client.note = client.session.choose(list(distance.securities))
        bot.securities = {s: one for s, one in distance.securities.items() if not bot.symbols or s in bot.symbols}
        bot.cash = Decimal(cash) / _CASH
        bot._positions = {symbol: self._lots[symbol][lots] for symbol, lots in shares.items()}
        for symbol in bot.securities:
            distance.hear[symbol, "on_state"].append(client.session)
            if "on_trade" in client.session.hears:
                distance.hear[symbol, "on_trade"].append(client.session)
            if client.session.hears & {"on_book", "on_bbo"}:
                distance.hear[symbol, "on_book"].append(client.session)
        self.at(self.now, client.session.start)
        return client

    def _do(self, command: Command) -> None:
        for report in self.apply(command).reports:
            if isinstance(report, CommandRejected):
                raise Refusal(Code(report.code), report.text)

    def digest(self) -> str:
        """A fingerprint of everything that was ordered, and when: two markets with the same one are the same."""
        return hashlib.sha256(b"".join(self.commands)).hexdigest()
