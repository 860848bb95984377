"""Play the default house for hours in a simulation, and check that its market keeps trading."""

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
from trading_bots.simulation.client import SECOND
from trading_bots.simulation.exchange import SimulatedExchange
from trading_bots.simulation.house import open_house
from trading_bots.simulation.rounds import START
from trading_bots.strategies.trader import Trader, unit_of

PRICE_SECONDS = 600
"""The interval of the prices that are stored for a plot."""
ACCOUNT_SECONDS = 60
"""The interval at which accounts and depth are measured."""
FAR_FROM_VALUE = 0.01
"""The relative distance from the value beyond which a price counts as far from it."""
MAX_DEPTH_DISTANCE = Decimal("0.01")
"""Depth counts orders up to this relative distance from the mid price."""


@dataclass(frozen=True)
class Check:
    """One condition that a liquid market fulfils."""

    name: str
    figure: float
    """The worst measurement."""
    bound: float
    is_minimum: bool = False
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Return whether the worst measurement is within the limit."""
        return self.figure >= self.bound if self.is_minimum else self.figure <= self.bound

    @property
    def severity(self) -> float:
        """A measure of badness. Greater is worse."""
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
    """The measurements of one security."""

    prices: list[tuple[int, float]] = field(default_factory=list)
    """(second, mid price), every `PRICE_SECONDS`."""
    spreads: list[float] = field(default_factory=list)
    """Relative to the mid price, second by second."""
    depths: list[float] = field(default_factory=list)
    """Units near the mid price, on the thinner side."""
    trades: int = 0
    last_trade: int = 0
    longest_pause: int = 0
    """The most seconds without a trade."""
    empty: int = 0
    longest_empty: int = 0
    """The most seconds in a row with an empty side."""
    far: int = 0
    longest_far: int = 0
    """The most seconds in a row far from the value."""
    high: float = 0.0
    low: float = math.inf
    value_high: float = 0.0
    value_low: float = math.inf

    def observe(self, second: int, bid: Decimal | None, ask: Decimal | None, value: float) -> None:
        """Add the state of the market at a second."""
        self.longest_pause = max(self.longest_pause, second - self.last_trade)
        self.empty = self.empty + 1 if bid is None or ask is None else 0
        self.longest_empty = max(self.longest_empty, self.empty)
        if bid is None or ask is None:
            return
        mid_price = float(bid + ask) / 2
        self.far = self.far + 1 if abs(mid_price / value - 1) > FAR_FROM_VALUE else 0
        self.longest_far = max(self.longest_far, self.far)
        self.spreads.append(float(ask - bid) / mid_price)
        self.high, self.low = max(self.high, mid_price), min(self.low, mid_price)
        self.value_high, self.value_low = max(self.value_high, value), min(self.value_low, value)
        if second % PRICE_SECONDS == 0:
            self.prices.append((second, mid_price))


@dataclass
class HouseDay:
    """The measurements of the house on one day."""

    seed: str
    securities: dict[str, SecurityDay] = field(default_factory=lambda: defaultdict(SecurityDay))
    cash_left: float = 1.0
    """The smallest cash of a bot, as a part of its initial cash."""
    short_left: float = 1.0
    """The smallest room of a bot to sell short, as a part of its limit."""

    @property
    def trades(self) -> int:
        """The trades in all securities."""
        return sum(day.trades for day in self.securities.values())

    def checks(self) -> list[Check]:
        """Return the conditions of a liquid market, each with the worst security."""
        days = list(self.securities.values())
        return [
            Check("seconds without a trade", max(day.longest_pause for day in days), 300, unit=" s"),
            Check("seconds with an empty side", max(day.longest_empty for day in days), 5, unit=" s"),
            Check("seconds in a row over 1 % from the value", max(day.longest_far for day in days), 60, unit=" s"),
            Check("high to low of a day", max(100 * (day.high / day.low - 1) for day in days), 25, unit=" %"),
            Check(
                "the same, beyond that of the value",
                max(100 * abs(day.high / day.low - day.value_high / day.value_low) for day in days), 2, unit=" %",
            ),
            Check("median spread", max(1e4 * statistics.median(day.spreads) for day in days), 10, unit=" bp"),
            Check(
                "time with a spread over 50 bp",
                max(100 * sum(spread > 0.005 for spread in day.spreads) / len(day.spreads) for day in days), 0.5, unit=" %",
            ),
            Check(
                "median depth of a side within 1 %", min(statistics.median(day.depths) for day in days), 100, True, " units",
            ),
            Check("least depth of a side within 1 %", min(min(day.depths) for day in days), 10, True, " units"),
            Check("least cash of a bot, of what it began with", 100 * self.cash_left, 10, True, " %"),
            Check("least room of a bot to sell short, of its limit", 100 * self.short_left, 10, True, " %"),
        ]  # fmt: skip


class _Observer:
    """An observer that measures a market second by second."""

    def __init__(self, exchange: SimulatedExchange, values: HouseValues, day: HouseDay) -> None:
        self._exchange, self._values, self._day = exchange, values, day
        self._second = 0
        self._bots = [client.bot for client in exchange.clients.values()]
        self._cash = {bot.client_id: bot.cash for bot in self._bots}

    def on_reports(self, _: int, reports: Sequence[Event]) -> None:
        """Count trades."""
        for report in reports:
            if isinstance(report, Trade):
                day = self._day.securities[report.symbol]
                day.trades += 1
                day.last_trade = self._second

    def observe(self, second: int) -> None:
        """Measure the market and the accounts at a second."""
        self._second = second
        self._exchange.market.changes = Changes()  # not stored in a simulation
        self._exchange.market.take_changed_orders()
        any_bot = self._bots[0]
        for symbol, security in any_bot.securities.items():
            value = float(self._values.at(symbol, START / SECOND + second))
            self._day.securities[symbol].observe(second, security.book.bids.best, security.book.asks.best, value)
        if second % ACCOUNT_SECONDS == 0:
            self._observe_accounts()
            for symbol in any_bot.securities:
                self._day.securities[symbol].depths.append(_depth(any_bot, symbol))

    def _observe_accounts(self) -> None:
        day = self._day
        for bot in self._bots:
            day.cash_left = min(day.cash_left, float(bot.cash / self._cash[bot.client_id]))
            if isinstance(bot, Trader):
                for symbol, limit in bot.borrowable.items():
                    day.short_left = min(day.short_left, float(bot.sellable(symbol) / limit))


def _depth(bot: Bot, symbol: str) -> float:
    """Return the units near the mid price on the thinner side. 0 if a side is empty."""
    book = bot.book(symbol)
    if book.bids.best is None or book.asks.best is None:
        return 0.0
    mid_price = (book.bids.best + book.asks.best) / 2
    sides = (
        sum(level.quantity for level in side.top(1000) if abs(level.price / mid_price - 1) <= MAX_DEPTH_DISTANCE)
        for side in (book.bids, book.asks)
    )
    security = bot.securities[symbol]
    return float(min(sides) / unit_of(mid_price, security.lot))


def play_house(seed: str, seconds: int, bots: int = 12) -> HouseDay:
    """Play the default house for `seconds` seconds, and return the measurements."""
    exchange, values = open_house(START, seed, count=bots)
    day = HouseDay(seed)
    observer = _Observer(exchange, values, day)
    exchange.listeners.append(observer.on_reports)
    opening = 10
    for second in range(1, seconds + 1):
        exchange.run_until(START + second * SECOND)
        if second > opening:
            observer.observe(second)
    return day
