"""A naive book with sorted lists. It shares no code with the engine.

It supports limit, market, ioc, fok and post_only orders, icebergs, cancels and amendments under the pricing rule `resting`.
It has no credit checks and no self-trade prevention.
"""

from dataclasses import dataclass, field


@dataclass
class Entry:
    """An open order."""

    number: int
    is_buy: bool
    price: int | None
    left: int
    display: int
    shown: int
    place: int
    """The priority at its price. The smallest trades first."""
    post: bool
    done: int = 0


@dataclass
class NaiveBook:
    """A book with all orders in one list."""

    entries: list[Entry] = field(default_factory=list)
    turn: int = 0
    trades: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Trades as (maker, taker, price, quantity)."""

    def side(self, is_buy: bool) -> list[Entry]:
        """Return the orders of a side in priority."""
        sign = -1 if is_buy else 1
        return sorted((e for e in self.entries if e.is_buy == is_buy), key=lambda e: (sign * (e.price or 0), e.place))

    def reach(self, is_buy: bool, price: int | None) -> list[Entry]:
        """Return the orders that an order of this side and limit could trade with."""
        others = self.side(not is_buy)
        if price is None:
            return others
        return [e for e in others if e.price is not None and (e.price <= price if is_buy else e.price >= price)]

    def enter(
        self, number: int, is_buy: bool, price: int | None, quantity: int, time_in_force: str, display: int, post: bool
    ) -> str:
        """Enter an order. Return how it ends, or `rests`."""
        reach = self.reach(is_buy, price)
        if post and reach:
            return "rejected"
        if time_in_force == "fok" and sum(e.left for e in reach) < quantity:
            return "rejected"
        entry = Entry(number, is_buy, price, quantity, display, 0, 0, post)
        self.trade(entry)
        if not entry.left:
            return "filled"
        if price is None or time_in_force == "ioc":
            return "cancelled"
        self.rest(entry)
        return "rests"

    def trade(self, entry: Entry) -> None:
        """Match an order as long as it crosses the other side."""
        while entry.left:
            reach = self.reach(entry.is_buy, entry.price)
            if not reach:
                return
            maker = reach[0]
            quantity = min(entry.left, maker.shown)
            self.trades.append((maker.number, entry.number, maker.price or 0, quantity))
            for order in (entry, maker):
                order.left -= quantity
                order.done += quantity
            maker.shown -= quantity
            if not maker.left:
                self.entries.remove(maker)
            elif not maker.shown:
                self.entries.remove(maker)
                self.rest(maker)

    def rest(self, entry: Entry) -> None:
        """Add an order to the back of its price."""
        self.turn += 1
        entry.place = self.turn
        entry.shown = min(entry.display or entry.left, entry.left)
        self.entries.append(entry)

    def find(self, number: int) -> Entry | None:
        """Return a resting order, or None."""
        return next((e for e in self.entries if e.number == number), None)

    def cancel(self, number: int) -> None:
        """Remove an order."""
        entry = self.find(number)
        if entry is not None:
            self.entries.remove(entry)

    def amend(self, number: int, quantity: int, price: int) -> None:
        """Amend an order. `quantity` includes the fills."""
        entry = self.find(number)
        if entry is None or quantity <= entry.done or entry.display > quantity:
            return
        left = quantity - entry.done
        if price == entry.price and left <= entry.left:
            entry.left = left
            entry.shown = min(entry.shown, left)
            return
        if entry.post and self.reach(entry.is_buy, price):
            return
        self.entries.remove(entry)
        entry.left, entry.price = left, price
        self.trade(entry)
        if entry.left:
            self.rest(entry)

    def levels(self, is_buy: bool) -> list[tuple[int, int, int]]:
        """Return the levels of a side as (price, shown, orders), best first."""
        levels: dict[int, tuple[int, int]] = {}
        for e in self.side(is_buy):
            shown, count = levels.get(e.price or 0, (0, 0))
            levels[e.price or 0] = (shown + e.shown, count + 1)
        return [(price, *rest) for price, rest in levels.items()]
