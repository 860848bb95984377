"""Plays the default house for hours in a simulation, and checks that its market is alive."""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from market_data_feed.market import Changes
from microexchange.reports import Event, Trade
from trading_bots.bot import Bot
from trading_bots.house import HouseValues
from trading_bots.simulation.exchange import SECOND, SimulatedExchange
from trading_bots.simulation.house import open_house
from trading_bots.simulation.rounds import START
from trading_bots.strategies.trader import Trader, unit_of

PRICE_SECONDS = 600
"""Seconds between two prices that are kept for a plot."""
ACCOUNT_SECONDS = 60
"""Seconds between two looks at the accounts and at the depth."""
FAR = 0.01
"""Relative distance from the value at which a price counts as far from it."""
NEAR_BOOK = Decimal("0.01")
"""Depth counts up to this relative distance from the middle."""


@dataclass(frozen=True)
class Check:
    """One condition of a living market."""

    name: str
    figure: float
    """The worst that was seen."""
    bound: float
    is_minimum: bool = False
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the worst is within the limit."""
        return self.figure >= self.bound if self.is_minimum else self.figure <= self.bound

    @property
    def severity(self) -> float:
        """Greater is worse."""
        return -self.figure if self.is_minimum else self.figure

    @property
    def text(self) -> str:
        """The figure with its unit."""
        return f"{self.figure:.3g}{self.unit}"

    @property
    def limit(self) -> str:
        """The limit with its unit."""
        return f"{'at least' if self.is_minimum else 'at most'} {self.bound:g}{self.unit}"


@dataclass
class SecurityDay:
    """What one security did."""

    prices: list[tuple[int, float]] = field(default_factory=list)
    """(second, middle), now and then."""
    spreads: list[float] = field(default_factory=list)
    """Relative, second by second."""
    depths: list[float] = field(default_factory=list)
    """Units near the middle on the thinner side."""
    trades: int = 0
    last_trade: int = 0
    longest_pause: int = 0
    """Seconds without a trade."""
    empty: int = 0
    longest_empty: int = 0
    """Seconds in a row with an empty side."""
    far: int = 0
    longest_far: int = 0
    """Seconds in a row far from the value."""
    high: float = 0.0
    low: float = math.inf
    value_high: float = 0.0
    value_low: float = math.inf

    def look(self, second: int, bid: Decimal | None, ask: Decimal | None, value: float) -> None:
        """Takes in the state of the market at a second."""
        self.longest_pause = max(self.longest_pause, second - self.last_trade)
        self.empty = self.empty + 1 if bid is None or ask is None else 0
        self.longest_empty = max(self.longest_empty, self.empty)
        if bid is None or ask is None:
            return
        middle = float(bid + ask) / 2
        self.far = self.far + 1 if abs(middle / value - 1) > FAR else 0
        self.longest_far = max(self.longest_far, self.far)
        self.spreads.append(float(ask - bid) / middle)
        self.high, self.low = max(self.high, middle), min(self.low, middle)
        self.value_high, self.value_low = max(self.value_high, value), min(self.value_low, value)
        if second % PRICE_SECONDS == 0:
            self.prices.append((second, middle))


@dataclass
class HouseDay:
    """What the house did on one day."""

    seed: str
    securities: dict[str, SecurityDay] = field(default_factory=lambda: defaultdict(SecurityDay))
    cash_left: float = 1.0
    """The smallest part of its initial cash that a bot had."""
    short_left: float = 1.0
    """The smallest part of its short limit in a security that a bot had left."""

    @property
    def trades(self) -> int:
        """Trades in all securities."""
        return sum(one.trades for one in self.securities.values())

    def checks(self) -> list[Check]:
        """The conditions of a living market, each with the worst security."""
        days = list(self.securities.values())
        return [
            Check("seconds without a trade", max(one.longest_pause for one in days), 300, unit=" s"),
            Check("seconds with an empty side", max(one.longest_empty for one in days), 5, unit=" s"),
            Check("seconds in a row over 1 % from the value", max(one.longest_far for one in days), 60, unit=" s"),
            Check("high to low of a day", max(100 * (one.high / one.low - 1) for one in days), 25, unit=" %"),
            Check(
                "the same, beyond that of the value",
                max(100 * abs(one.high / one.low - one.value_high / one.value_low) for one in days), 2, unit=" %",
            ),
            Check("median spread", max(1e4 * statistics.median(one.spreads) for one in days), 10, unit=" bp"),
            Check(
                "time with a spread over 50 bp",
                max(100 * sum(spread > 0.005 for spread in one.spreads) / len(one.spreads) for one in days), 0.5, unit=" %",
            ),
            Check(
                "median depth of a side within 1 %", min(statistics.median(one.depths) for one in days), 100, True, " units",
            ),
            Check("least depth of a side within 1 %", min(min(one.depths) for one in days), 10, True, " units"),
            Check("least cash of a bot, of what it began with", 100 * self.cash_left, 10, True, " %"),
            Check("least room of a bot to sell short, of its limit", 100 * self.short_left, 10, True, " %"),
        ]  # fmt: skip


class _Observer:
    """Looks at a market second by second."""

    def __init__(self, exchange: SimulatedExchange, values: HouseValues, day: HouseDay) -> None:
        self._exchange, self._values, self._day = exchange, values, day
        self._second = 0
        self._bots = [client.bot for client in exchange.clients.values()]
        self._cash = {bot.client_id: bot.cash for bot in self._bots}

    def on_reports(self, _: int, reports: Sequence[Event]) -> None:
        """Counts trades."""
        for report in reports:
            if isinstance(report, Trade):
                one = self._day.securities[report.symbol]
                one.trades += 1
                one.last_trade = self._second

    def look(self, second: int) -> None:
        """Takes in the state of everything at a second."""
        self._second = second
        self._exchange.market.changes = Changes()  # nobody stores them
        self._exchange.market.take_changed_orders()
        watcher = self._bots[0]
        for symbol, security in watcher.securities.items():
            value = float(self._values.at(symbol, START / SECOND + second))
            self._day.securities[symbol].look(second, security.book.bids.best, security.book.asks.best, value)
        if second % ACCOUNT_SECONDS == 0:
            self._look_at_accounts()
            for symbol in watcher.securities:
                self._day.securities[symbol].depths.append(_depth(watcher, symbol))

    def _look_at_accounts(self) -> None:
        day = self._day
        for bot in self._bots:
            day.cash_left = min(day.cash_left, float(bot.cash / self._cash[bot.client_id]))
            if isinstance(bot, Trader):
                for symbol, limit in bot.borrowable.items():
                    day.short_left = min(day.short_left, float(bot.sellable(symbol) / limit))


def _depth(bot: Bot, symbol: str) -> float:
    """Units near the middle on the thinner side; 0 if a side is empty."""
    book = bot.book(symbol)
    if book.bids.best is None or book.asks.best is None:
        return 0.0
    middle = (book.bids.best + book.asks.best) / 2
    sides = (
        sum(level.quantity for level in side.top(1000) if abs(level.price / middle - 1) <= NEAR_BOOK)
        for side in (book.bids, book.asks)
    )
    security = bot.securities[symbol]
    return float(min(sides) / unit_of(middle, security.lot))


def play_house(seed: str, seconds: int, bots: int = 12) -> HouseDay:
    """Plays the default house for so many seconds."""
    exchange, values = open_house(START, seed, count=bots)
    day = HouseDay(seed)
    observer = _Observer(exchange, values, day)
    exchange.listeners.append(observer.on_reports)
    opening = 10
    for second in range(1, seconds + 1):
        exchange.run_until(START + second * SECOND)
        if second > opening:
            observer.look(second)
    return day
